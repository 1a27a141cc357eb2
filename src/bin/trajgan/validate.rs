//! `validate`: can this data be trained on? File by file: shapes, ranges, units, clock, duplicates, lengths.

mod arrays;
mod movements;

use std::path::PathBuf;

use serde::Serialize;
use trajgan::Dataset;

use crate::console::{say, say_json, shown};
use crate::failure::{Failure, Result};
use crate::settings::{Flags, Settings};

/// Check recordings or prepared arrays, file by file; exit code 1 if a file cannot be used
#[derive(clap::Args)]
#[command(after_help = "Example: trajgan validate recordings/ --json")]
pub struct Args {
    /// File or folder of recordings, or a folder of arrays
    data: PathBuf,
    #[command(flatten)]
    settings: Flags,
    /// Print the report as JSON
    #[arg(long)]
    json: bool,
}

/// Of one file; what does not apply is left out.
#[derive(Debug, Default, Serialize)]
struct FileReport {
    path: String,
    /// Why the file, or a part of it, cannot be used.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    unusable: Vec<String>,
    /// What is allowed but looks wrong.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<String>,
    /// What is there, as name and value.
    facts: serde_json::Map<String, serde_json::Value>,
    #[serde(skip)]
    summary: String,
}

impl FileReport {
    fn fact(&mut self, name: &str, value: impl Into<serde_json::Value>) {
        self.facts.insert(name.to_owned(), value.into());
    }
}

/// More lines than this are no help; `--json` has them all.
const SHOWN: usize = 40;

pub fn run(args: &Args) -> Result<()> {
    let settings = Settings::for_data(&args.settings, Some(&args.data))?;
    let reports = if Dataset::is_arrays(&args.data) {
        arrays::check(&args.data, &settings)
    } else {
        movements::check(&args.data, &settings)?
    };
    let unusable = reports.iter().filter(|r| !r.unusable.is_empty()).count();
    let warned = reports.iter().filter(|r| !r.warnings.is_empty()).count();
    if args.json {
        let ok = unusable == 0;
        say_json(&serde_json::json!({ "data": shown(&args.data), "usable": ok, "files": reports }));
    } else {
        show(&reports);
        say(&format!("{} files, {unusable} not usable, {warned} with warnings", reports.len()));
    }
    if unusable > 0 {
        return Err(Failure::Work(format!("{unusable} of {} files cannot be used as they are", reports.len())));
    }
    Ok(())
}

fn show(reports: &[FileReport]) {
    // Files with something to say come before those that are as they should be.
    let quiet = |r: &&FileReport| r.unusable.is_empty() && r.warnings.is_empty();
    let loud = reports.iter().filter(|r| !quiet(r));
    for report in loud.chain(reports.iter().filter(quiet)).take(SHOWN) {
        say(&format!("{}: {}", report.path, report.summary));
        report.unusable.iter().for_each(|problem| say(&format!("    NOT USABLE  {problem}")));
        report.warnings.iter().for_each(|warning| say(&format!("    warning     {warning}")));
    }
    if reports.len() > SHOWN {
        say(&format!("... and {} more files (--json shows all)", reports.len() - SHOWN));
    }
}

/// Smallest, middle and largest; None of none.
fn spread(values: &mut [f64]) -> Option<[f64; 3]> {
    values.sort_unstable_by(f64::total_cmp);
    Some([*values.first()?, values[values.len() / 2], *values.last()?])
}
