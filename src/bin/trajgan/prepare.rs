//! `prepare`: recordings into arrays that load fast and that NumPy reads.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::json;

use crate::console::{self, Console};
use crate::failure::{Failure, Result};
use crate::recordings;
use crate::settings::{Flags, Settings};

/// Turn recordings into training arrays, and say what was left out
#[derive(clap::Args)]
#[command(
    after_help = "Reads .json, .jsonl, .csv (each also .gz) and session files, in folders of any depth. Continuous recordings are cut into movements; the thresholds are settings such as pause_ms and min_distance.

Example: trajgan prepare recordings/ -o prepared --set min_points=10"
)]
pub struct Args {
    /// File or folder of recordings
    input: PathBuf,
    /// Folder for the arrays: X_, C_, L_ of train, val and test, scaler.json, normalization.json
    #[arg(short, long, value_name = "FOLDER")]
    out: PathBuf,
    /// Replace the folder if it is there
    #[arg(long)]
    overwrite: bool,
    #[command(flatten)]
    settings: Flags,
    /// Print the report as JSON
    #[arg(long)]
    json: bool,
}

pub fn run(args: &Args) -> Result<()> {
    let console = Console { json: args.json };
    let mut settings = Settings::new(&args.settings, None)?;
    if args.out.exists() && !args.overwrite {
        return Err(Failure::Usage(format!("{}: is there already (--overwrite replaces it)", args.out.display())));
    }
    let (data, read) = recordings::open(&args.input, &mut settings, console)?;
    let prepared = data.prepare(&settings.config, None)?;
    recordings::splits(&prepared.report, console);
    replace_folder(&args.out, |folder| Ok(prepared.export(folder)?))?;
    console.line(&format!("Written: {}", args.out.display()));
    if args.json {
        let read = recordings::read_json(&read);
        console::say_json(&json!({ "out": args.out, "read": read, "prepared": prepared.report }));
    }
    Ok(())
}

/// The folder appears filled, or not at all: it is filled beside its place and then renamed.
fn replace_folder(folder: &Path, fill: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    let Some(name) = folder.file_name() else {
        return Err(Failure::Usage(format!("{}: not the name of a folder", folder.display())));
    };
    if folder.exists() && !folder.join("X_train.npy").is_file() {
        return Err(Failure::Usage(format!("{}: not a folder of arrays, not replaced", folder.display())));
    }
    let sibling = |suffix: &str| folder.with_file_name(format!(".{}.{suffix}", name.display()));
    let (new, old) = (sibling("preparing"), sibling("old"));
    if let Some(parent) = folder.parent().filter(|p| !p.as_os_str().is_empty()) {
        fs::create_dir_all(parent).map_err(|e| Failure::io(parent, e))?;
    }
    // A leftover of a run that was killed.
    let _ = fs::remove_dir_all(&new);
    let done = fs::create_dir(&new).map_err(|e| Failure::io(&new, e)).and_then(|()| fill(&new)).and_then(|()| {
        if folder.exists() {
            fs::rename(folder, &old).map_err(|e| Failure::io(folder, e))?;
        }
        fs::rename(&new, folder).map_err(|e| Failure::io(folder, e))
    });
    let _ = fs::remove_dir_all(if done.is_ok() { &old } else { &new });
    done
}
