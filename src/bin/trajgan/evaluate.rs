//! `evaluate`: how close a model's movements are to recordings it has not seen.

use std::path::PathBuf;

use trajgan::eval::EvalOptions;
use trajgan::files::write_whole;

use crate::console::{Console, say};
use crate::failure::{Failure, Result, check_place};
use crate::hardware::Hardware;
use crate::recordings;
use crate::run_folder::{self, RunFolder};

/// Judge a model's movements against held-out recordings, beside real against real
#[derive(clap::Args)]
#[command(after_help = "Give the data that the model was trained on: the test split is what it has not seen.

Examples:
  trajgan evaluate --model checkpoints/run_20260131_120000 --html report.html
  trajgan evaluate --model my.safetensors recordings.jsonl --quick --json")]
pub struct Args {
    /// Recordings or a folder of arrays, as for train [default: those of the model's run]
    data: Option<PathBuf>,
    /// Model file, or a run folder for its newest
    #[arg(long)]
    model: PathBuf,
    /// How recordings are read, where the model lies in no run folder or they differ: NAME=VALUE, as for train (csv_seconds=true)
    #[arg(long, value_name = "NAME=VALUE")]
    set: Vec<String>,
    /// Fewer movements, permutations and runs
    #[arg(long)]
    quick: bool,
    /// Also write a page with pictures
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Same seed, same report
    #[arg(long, default_value_t = 0)]
    seed: u64,
    #[command(flatten)]
    hardware: Hardware,
    /// Print the report as JSON
    #[arg(long)]
    json: bool,
}

pub fn run(args: &Args) -> Result<()> {
    let console = Console { json: args.json };
    // Now rather than after minutes of work.
    if let Some(html) = args.html.as_ref().filter(|html| html.extension().is_none_or(|e| e != "html")) {
        return Err(Failure::Usage(format!("{}: expected a name in .html", html.display())));
    }
    args.html.as_deref().map_or(Ok(()), check_place)?;
    let (path, model) = run_folder::load(&args.model, args.hardware.device)?;
    let folder = RunFolder::of(&path);
    let data = recordings::of_model(&model, folder.as_ref(), args.data.as_deref(), &args.set, console)?;
    console.line(&format!("{} against the test split of {} movements", path.display(), data.len()));
    if !recordings::seen(&model, &data, model.config())? {
        console.line(
            "Other data than it was trained on, or read otherwise: some of the test split may be what it has learnt.",
        );
    }
    let options = EvalOptions { seed: args.seed, threads: args.hardware.threads, quick: args.quick };
    let report = model.evaluate(&data, &options)?;
    // First what cannot fail any more.
    say(&if args.json { report.to_json()? } else { report.to_text() });
    if let Some(html) = &args.html {
        let page = report.to_html();
        write_whole(html, |out| out.write_all(page.as_bytes()))?;
        console.line(&format!("Pictures: {}", html.display()));
    }
    Ok(())
}
