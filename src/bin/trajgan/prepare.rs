//! `prepare`: recordings into arrays that load fast and that NumPy reads.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::json;
use trajgan::Dataset;
use trajgan::data::Prepared;

use crate::console::{self, Console, shown};
use crate::failure::{Failure, Result};
use crate::recordings;
use crate::run_folder;
use crate::settings::{Flags, Settings};

/// Turn recordings into training arrays, and say what was left out
#[derive(clap::Args)]
#[command(
    after_help = "Reads .json, .jsonl, .csv (each also .gz) and session files, in folders up to 8 deep. Continuous recordings are cut into movements; the thresholds are settings such as pause_ms and min_distance. Arrays are for the v6 decoder, which is the default here; C is the straight line (--set condition=path: the length of the way), and the limits in scaler.json are those of mirror images, too.

Example: trajgan prepare recordings/ -o prepared --set min_points=10"
)]
pub struct Args {
    /// File or folder of recordings
    input: PathBuf,
    /// Folder for the arrays: X_, C_, L_ of train, val and test, scaler.json, normalization.json
    #[arg(short, long, value_name = "FOLDER")]
    out: PathBuf,
    /// Replace the folder if it is there and has nothing else in it
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
    let mut settings = Settings::for_arrays(&args.settings)?;
    args.check_replaceable()?;
    let (data, read) = recordings::open(&args.input, &mut settings, console)?;
    let prepared = data.prepare(&settings.config, None)?;
    recordings::splits(&prepared.report, console);
    let check = || args.check_replaceable(); // again: reading takes its time
    replace_folder(&args.out, check, |folder| Ok(prepared.export(folder)?))?;
    console.line(&format!("Written: {}", args.out.display()));
    if args.json {
        let read = recordings::read_json(&read);
        console::say_json(&json!({ "out": shown(&args.out), "read": read, "prepared": prepared.report }));
    }
    Ok(())
}

impl Args {
    /// A folder is replaced if that is wanted, all in it is what `prepare` writes, and none of it is what is to be read.
    fn check_replaceable(&self) -> Result<()> {
        let folder = &self.out;
        if !folder.exists() {
            return Ok(());
        }
        if !self.overwrite {
            return Err(Failure::Usage(format!("{}: is there already (--overwrite replaces it)", folder.display())));
        }
        let refused = |problem: &str| Err(Failure::Usage(format!("{}: {problem}, not replaced", folder.display())));
        if !Dataset::is_arrays(folder) {
            return refused("not a folder of arrays");
        }
        let input = self.input.canonicalize();
        if input.is_ok_and(|input| folder.canonicalize().is_ok_and(|folder| input.starts_with(folder))) {
            return refused("the recordings lie in it");
        }
        let names = Prepared::file_names();
        let ours = |path: &PathBuf| path.is_file() && names.iter().any(|name| path.ends_with(name));
        match run_folder::entries(folder)?.iter().find(|path| !ours(path)) {
            Some(other) => {
                let name = Path::new(other.file_name().unwrap_or_default()).display();
                refused(&format!("{name} is in it, which prepare does not write"))
            }
            None => Ok(()),
        }
    }
}

/// The folder appears filled, or not at all: it is filled beside its place and then renamed. check: whether it may.
fn replace_folder(
    folder: &Path,
    check: impl FnOnce() -> Result<()>,
    fill: impl FnOnce(&Path) -> Result<()>,
) -> Result<()> {
    let Some(name) = folder.file_name() else {
        return Err(Failure::Usage(format!("{}: not the name of a folder", folder.display())));
    };
    let sibling = |suffix: &str| folder.with_file_name(format!(".{}.{suffix}", name.display()));
    let (new, old, locked) = (sibling("preparing"), sibling("old"), sibling("lock"));
    if let Some(parent) = folder.parent().filter(|p| !p.as_os_str().is_empty()) {
        fs::create_dir_all(parent).map_err(|e| Failure::io(parent, e))?;
    }
    // Two at once would fill one folder.
    let lock = trajgan::files::lock(&locked).map_err(|e| Failure::io(folder, e))?;
    let done = check().and_then(|()| replace(folder, &new, &old, fill));
    if cfg!(unix) {
        let _ = fs::remove_file(&locked);
    }
    drop(lock);
    done
}

fn replace(folder: &Path, new: &Path, old: &Path, fill: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    // Leftovers of a run that was killed. Between its two renames only the old folder was there.
    let _ = fs::remove_dir_all(new);
    if old.exists() {
        let back = if folder.exists() { fs::remove_dir_all(old) } else { fs::rename(old, folder) };
        back.map_err(|e| Failure::io(old, e))?;
    }
    let put_there = || {
        let there = folder.exists();
        if there {
            fs::rename(folder, old)?;
        }
        fs::rename(new, folder).inspect_err(|_| {
            let _ = there.then(|| fs::rename(old, folder));
        })
    };
    let done = fs::create_dir(new).map_err(|e| Failure::io(new, e)).and_then(|()| fill(new));
    let done = done.and_then(|()| put_there().map_err(|e| Failure::io(folder, e)));
    let _ = fs::remove_dir_all(if done.is_ok() { old } else { new });
    done
}
