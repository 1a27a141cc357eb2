//! `runs`: what is in a folder of runs, and how runs differ.

use std::cmp::Reverse;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use trajgan::{Device, Model};

use crate::console::{self, say, say_json, shown};
use crate::failure::Result;
use crate::run_folder;
use crate::training::watched;

/// List and compare run folders
#[derive(clap::Subcommand)]
pub enum Command {
    /// One line for each run: how far it is, and its losses
    #[command(after_help = "Examples:
  trajgan runs list --checkpoints checkpoints
  trajgan runs list run_20260131 --latest 3")]
    List {
        /// Only runs with this in their names
        part: Option<String>,
        /// Only so many, those that were changed last
        #[arg(long, value_name = "N")]
        latest: Option<usize>,
        /// Where run folders are
        #[arg(long, value_name = "FOLDER", default_value = "checkpoints")]
        checkpoints: PathBuf,
        /// Print as JSON
        #[arg(long)]
        json: bool,
    },
    /// Settings in which runs differ, and their losses
    #[command(
        after_help = "Example: trajgan runs compare checkpoints/run_20260131_120000 checkpoints/run_20260131_130000"
    )]
    Compare {
        /// Run folders or model files, two or more
        #[arg(required = true, num_args = 2..)]
        runs: Vec<PathBuf>,
        /// Print as JSON
        #[arg(long)]
        json: bool,
    },
}

pub fn run(command: &Command) -> Result<()> {
    match command {
        Command::List { part, latest, checkpoints, json } => {
            list(&run_folders(checkpoints, part.as_deref().unwrap_or(""), *latest)?, *json)
        }
        Command::Compare { runs, json } => compare(runs, *json),
    }
}

/// By name: all with `part` in theirs, or the `latest` of them.
fn run_folders(folder: &Path, part: &str, latest: Option<usize>) -> Result<Vec<PathBuf>> {
    let is_named = |path: &Path| path.file_name().is_some_and(|name| name.to_string_lossy().contains(part));
    let mut paths = run_folder::entries(folder)?;
    paths.retain(|path| is_named(path) && path.is_dir());
    if let Some(latest) = latest {
        paths.sort_by_cached_key(|path| Reverse(std::fs::metadata(path).and_then(|m| m.modified()).ok()));
        paths.truncate(latest);
        paths.sort();
    }
    Ok(paths)
}

fn list(paths: &[PathBuf], json: bool) -> Result<()> {
    let mut rows = Vec::new();
    for path in paths {
        // A run that has saved nothing yet is one too, and so is one that cannot be read.
        let newest = run_folder::checkpoints(path).and_then(|files| {
            let newest = if files.is_empty() { None } else { Some(run_folder::load(path, Device::Cpu)?.1) };
            Ok((files.len(), newest))
        });
        let (files, model) = newest.unwrap_or_else(|failure| {
            console::complain(&format!("left aside: {}", failure.message()));
            (0, None)
        });
        rows.push(row(path, files, model.as_ref()));
    }
    if json {
        say_json(&Value::Array(rows));
        return Ok(());
    }
    say(&format!("{:28} {:>5} {:>9} {:>8} {:>9} {:>11}", "run", "files", "stage 1", "loss", "stage 2", "wasserstein"));
    for row in &rows {
        let name = row["run"].as_str().and_then(|run| Path::new(run).file_name()).unwrap_or_default();
        let number = |v: &Value| v.as_f64().map_or_else(|| "-".into(), |v| format!("{v:.4}"));
        let columns = [number(&row["stage1_loss"]), number(&row["wasserstein"])];
        say(&format!(
            "{:28} {:>5} {:>9} {:>8} {:>9} {:>11}",
            name.display().to_string(),
            row["files"].to_string(),
            row["stage1_iterations"].to_string(),
            columns[0],
            row["stage2_iterations"].to_string(),
            columns[1],
        ));
    }
    Ok(())
}

fn row(path: &Path, files: usize, model: Option<&Model>) -> Value {
    let stage = |k: usize| model.map(|m| &m.stages()[k]);
    let iterations = |k| stage(k).map_or(0, |s| s.iteration);
    let loss = |k, which: usize| stage(k).and_then(|s| s.history.last()).map(|record| record.losses[which]);
    json!({
        "run": shown(path),
        "files": files,
        "stage1_iterations": iterations(0),
        "stage1_loss": model.and_then(|m| loss(0, watched(m.config()).1)),
        "stage2_iterations": iterations(1),
        "wasserstein": loss(1, 2),
    })
}

fn compare(runs: &[PathBuf], json: bool) -> Result<()> {
    let loaded = runs.iter().map(|path| run_folder::load(path, Device::Cpu)).collect::<Result<Vec<_>>>()?;
    let configs: Vec<Value> = loaded.iter().map(|(_, model)| json!(model.config())).collect();
    let mut rows: Vec<(String, Vec<Value>)> = Vec::new();
    for name in configs.iter().filter_map(Value::as_object).take(1).flat_map(|fields| fields.keys()) {
        let values: Vec<Value> = configs.iter().map(|config| config[name].clone()).collect();
        if values.iter().any(|value| *value != values[0]) {
            rows.push((name.clone(), values));
        }
    }
    let facts: Vec<Value> = runs.iter().zip(&loaded).map(|(path, (_, model))| row(path, 0, Some(model))).collect();
    for name in ["stage1_iterations", "stage1_loss", "stage2_iterations", "wasserstein"] {
        // Done, where a setting of that name is what was to be done.
        let name_here = if name.ends_with("iterations") { format!("{name} done") } else { name.to_owned() };
        rows.push((name_here, facts.iter().map(|fact| fact[name].clone()).collect()));
    }
    if json {
        let table: Vec<Value> = rows.iter().map(|(name, values)| json!({ "name": name, "values": values })).collect();
        say_json(&json!({ "runs": runs.iter().map(|run| shown(run)).collect::<Vec<_>>(), "differences": table }));
        return Ok(());
    }
    say(&line("", runs.iter().map(|path| path.file_name().unwrap_or(path.as_os_str()).display().to_string())));
    for (name, values) in &rows {
        let text = |v: &Value| match v {
            Value::Number(n) if n.is_f64() => {
                format!("{:.6}", n.as_f64().unwrap_or(f64::NAN)).trim_end_matches('0').into()
            }
            Value::String(s) => s.clone(),
            Value::Null => "-".into(),
            other => other.to_string(),
        };
        say(&line(name, values.iter().map(text)));
    }
    Ok(())
}

fn line(name: &str, values: impl Iterator<Item = String>) -> String {
    values.fold(format!("{name:24}"), |line, value| format!("{line} {value:>24}"))
}
