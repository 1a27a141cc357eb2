//! Opening data, and telling what was left out of it.

use std::path::Path;

use serde_json::{Value, json};
use trajgan::data::{PrepareReport, ReadOptions, ReadReport};
use trajgan::{Config, Dataset, Model};

use crate::console::Console;
use crate::failure::{Failure, Result};
use crate::run_folder::RunFolder;
use crate::settings::{Flags, Settings};

/// Examples of each report that people see; programs get all that the library keeps.
const SHOWN: usize = 5;

/// Reads the data and says what became of it.
pub fn open(path: &Path, settings: &mut Settings, console: Console) -> Result<(Dataset, ReadReport)> {
    let (data, report) = Dataset::open(path, &settings.read)?;
    settings.fit(&data);
    console.line(&format!("{}: {} movements, up to {} points", path.display(), data.len(), data.longest()));
    rejections(&report, console);
    Ok((data, report))
}

/// The data that the command line names, else that of the model's run; read as the run has read it.
pub fn of_model(model: &Model, folder: Option<&RunFolder>, data: Option<&Path>, console: Console) -> Result<Dataset> {
    let settings = match folder {
        Some(folder) => Some(Settings::resumed(&Flags::default(), model.config(), &folder.config())?),
        None => None,
    };
    let path = match (data, &settings) {
        (None, None) => {
            return Err(Failure::Usage(
                "the model lies in no run folder: name its recordings (plot: with --data)".into(),
            ));
        }
        (Some(data), _) => data.to_owned(),
        (None, Some(settings)) => settings.data(None)?,
    };
    let read = settings.map_or_else(ReadOptions::default, |settings| settings.read);
    let (data, report) = Dataset::open(&path, &read)?;
    rejections(&report, console);
    Ok(data)
}

/// Whether the training split is what the model has learnt from. True for a model that has learnt nothing.
pub fn seen(model: &Model, data: &Dataset, config: &Config) -> Result<bool> {
    let Some(known) = model.data() else { return Ok(true) };
    Ok(data.prepare(config, known.scaler.as_ref())?.hash == known.hash)
}

/// Nothing if nothing was rejected.
pub fn rejections(report: &ReadReport, console: Console) {
    if report.rejections() == 0 {
        return;
    }
    console.line(&format!("Rejected: {}", report.rejections()));
    for (kind, count) in &report.counts {
        console.line(&format!("  {count:6}  {kind}"));
    }
    console.line("  for example");
    for rejected in report.rejected.iter().take(SHOWN) {
        console.line(&format!("          {}: {}", rejected.source, rejected.reason));
    }
}

/// Where the movements went.
pub fn splits(report: &PrepareReport, console: Console) {
    let PrepareReport { too_long, too_short, outliers, train, validation, test, sessions, .. } = report;
    let whole = if *sessions > 0 { format!(" ({sessions} sessions, each in one split)") } else { String::new() };
    console.line(&format!("Split: {train} train, {validation} validation, {test} test{whole}"));
    if too_long + too_short + outliers > 0 {
        let reasons = format!("{too_long} too long, {too_short} too short, {outliers} unlike the others");
        console.line(&format!("Left out: {reasons} (max_seq_len, quality_min_length, quality_z)"));
    }
}

pub fn read_json(report: &ReadReport) -> Value {
    json!({ "read": report.read, "rejected": report.rejections(), "counts": report.counts, "examples": report.rejected })
}
