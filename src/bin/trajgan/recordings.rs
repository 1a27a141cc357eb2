//! Opening data, and telling what was left out of it.

use std::path::Path;

use serde_json::{Value, json};
use trajgan::Dataset;
use trajgan::data::{PrepareReport, ReadReport};

use crate::console::Console;
use crate::failure::Result;
use crate::settings::Settings;

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
