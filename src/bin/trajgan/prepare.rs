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
    after_help = "Reads .json, .jsonl, .csv (each also .gz) and session files, in folders up to 8 deep. Continuous recordings are cut into movements; the thresholds are settings such as pause_ms and min_distance.

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
    // Arrays are for the v6 decoder, and what it would filter is filtered here.
    let mut settings = Settings::new(&args.settings.for_arrays()?, None)?;
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
    // Leftovers of a run that was killed. Between its two renames only the old folder was there.
    let _ = fs::remove_dir_all(&new);
    if old.exists() {
        let back = if folder.exists() { fs::remove_dir_all(&old) } else { fs::rename(&old, folder) };
        back.map_err(|e| Failure::io(&old, e))?;
    }
    let replace = || {
        let there = folder.exists();
        if there {
            fs::rename(folder, &old)?;
        }
        fs::rename(&new, folder).inspect_err(|_| {
            let _ = there.then(|| fs::rename(&old, folder));
        })
    };
    let done = fs::create_dir(&new).map_err(|e| Failure::io(&new, e)).and_then(|()| fill(&new));
    let done = done.and_then(|()| replace().map_err(|e| Failure::io(folder, e)));
    let _ = fs::remove_dir_all(if done.is_ok() { &old } else { &new });
    done
}
