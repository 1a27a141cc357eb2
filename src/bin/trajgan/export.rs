//! `export`: a model to pass on.

use std::path::{Path, PathBuf};

use serde_json::json;
use trajgan::Device;

use crate::console::{say, say_json, shown};
use crate::failure::{Failure, Result};
use crate::run_folder;

/// Write a model without its training state, to pass on
#[derive(clap::Args)]
#[command(after_help = "Example: trajgan export checkpoints/run_20260131_120000 -o my.safetensors --half")]
pub struct Args {
    /// Model file, or a run folder for its newest
    model: PathBuf,
    /// Where the model goes (.safetensors)
    #[arg(short, long, value_name = "FILE")]
    out: PathBuf,
    /// 16-bit weights: half the size, nearly the same movements
    #[arg(long)]
    half: bool,
    /// Print what was written as JSON
    #[arg(long)]
    json: bool,
}

pub fn run(args: &Args) -> Result<()> {
    if args.out.extension().is_none_or(|e| e != "safetensors") {
        return Err(Failure::Usage(format!("{}: expected a name in .safetensors", args.out.display())));
    }
    let (path, model) = run_folder::load(&args.model, Device::Cpu)?;
    if same_file(&path, &args.out) {
        let problem = "is the model itself, whose training state would be lost: name another file";
        return Err(Failure::Usage(format!("{}: {problem}", args.out.display())));
    }
    model.export(&args.out, args.half)?;
    let bytes = std::fs::metadata(&args.out).map_err(|e| Failure::io(&args.out, e))?.len();
    if args.json {
        say_json(&json!({ "model": shown(&path), "out": shown(&args.out), "half": args.half, "bytes": bytes }));
    } else {
        say(&format!("{} ({:.1} MB), from {}", args.out.display(), bytes as f64 / 1e6, path.display()));
    }
    Ok(())
}

fn same_file(a: &Path, b: &Path) -> bool {
    a.canonicalize().is_ok_and(|a| b.canonicalize().is_ok_and(|b| a == b))
}
