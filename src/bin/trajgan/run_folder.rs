//! Run folders: everything that one training makes.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use trajgan::files::write_whole;
use trajgan::train::diagnose::Diagnosis;
use trajgan::{Device, Error, Model, Progress, Stage};

use crate::console;
use crate::failure::{Failure, Result};
use crate::settings::Settings;

const CONFIG: &str = "config.toml";
const PROGRESS: &str = "progress.jsonl";
const EXTENSION: &str = "safetensors";

#[derive(Clone, Debug)]
pub struct RunFolder {
    path: PathBuf,
}

impl RunFolder {
    /// A new folder in `parent`: `name`, or run_YYYYMMDD_HHMMSS (UTC) with a suffix where that is taken.
    pub fn create(parent: &Path, name: Option<&str>) -> Result<RunFolder> {
        fs::create_dir_all(parent).map_err(|e| Failure::io(parent, e))?;
        let base = name.map_or_else(|| format!("run_{}", timestamp(SystemTime::now())), str::to_owned);
        let mut attempt = 1;
        loop {
            let path = parent.join(if attempt == 1 { base.clone() } else { format!("{base}_{attempt}") });
            match fs::create_dir(&path) {
                Err(e) if e.kind() == ErrorKind::AlreadyExists && name.is_none() => {}
                Err(e) => return Err(Failure::io(&path, e)),
                Ok(()) => return RunFolder { path }.with_logs(),
            }
            attempt += 1;
        }
    }

    /// The folder that a checkpoint lies in, if it is one of ours.
    pub fn of(checkpoint: &Path) -> Option<RunFolder> {
        let path = checkpoint.parent()?.to_owned();
        path.join(CONFIG).is_file().then_some(RunFolder { path })
    }

    pub fn with_logs(self) -> Result<RunFolder> {
        let logs = self.logs();
        fs::create_dir_all(&logs).map_err(|e| Failure::io(&logs, e))?;
        Ok(self)
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn config(&self) -> PathBuf {
        self.path.join(CONFIG)
    }

    pub fn model(&self, name: &str) -> PathBuf {
        self.path.join(format!("{name}.{EXTENSION}"))
    }

    pub fn samples(&self) -> PathBuf {
        self.path.join(format!("generated_samples_{}.npz", timestamp(SystemTime::now())))
    }

    /// Of the plots of a run.
    pub fn picture(&self, kind: &str) -> PathBuf {
        self.path.join(picture_name(kind))
    }

    /// Progress for programs, and TensorBoard's files.
    pub fn logs(&self) -> PathBuf {
        self.path.join("logs")
    }

    /// To be held while this run trains: another training of it would write over its checkpoints. It goes with the process.
    pub fn alone(&self) -> Result<File> {
        let path = self.logs().join(".training");
        let file = OpenOptions::new().create(true).truncate(false).write(true).open(&path);
        let file = file.map_err(|e| Failure::io(&path, e))?;
        match file.try_lock() {
            Err(TryLockError::WouldBlock) => {
                Err(Failure::Work(format!("{}: another training of this run is under way", self.path.display())))
            }
            // Some network folders have no locks.
            Ok(()) | Err(TryLockError::Error(_)) => Ok(file),
        }
    }

    pub fn write_config(&self, settings: &Settings) -> Result<()> {
        let text = settings.to_toml()?;
        Ok(write_whole(&self.config(), |out| out.write_all(text.as_bytes()))?)
    }

    /// The log that a run appends to.
    pub fn log(&self) -> Result<Log> {
        let path = self.logs().join(PROGRESS);
        let open = || {
            let mut file = OpenOptions::new().create(true).read(true).append(true).open(&path)?;
            let mut last = [b'\n'];
            if file.metadata()?.len() > 0 {
                file.seek(SeekFrom::End(-1))?;
                file.read_exact(&mut last)?;
            }
            // A line that a full disk has cut is no line of the next one.
            if last != [b'\n'] { file.write_all(b"\n").map(|()| file) } else { Ok(file) }
        };
        open().map(|file| Log { file }).map_err(|e| Failure::io(&path, e))
    }
}

pub struct Log {
    file: File,
}

impl Log {
    /// One JSON object a line.
    pub fn write(&mut self, p: &Progress) -> io::Result<()> {
        let mut line = json!({
            "stage": p.stage as u32,
            "iteration": p.iteration,
            "iterations": p.iterations,
            "learning_rate": p.learning_rate,
            "iterations_per_second": p.iterations_per_second,
            "loss": p.loss,
        });
        // The parts of the loss, as the stage and the decoder have them.
        let (names, parts) = match (p.stage, p.nats) {
            (Stage::Autoencoder, None) => (["direct", "recon", "latent"], [p.direct, p.recon, p.latent]),
            (Stage::Autoencoder, Some(nats)) => (["steps", "ticks", "stop"], nats),
            (Stage::Gan, _) => {
                (["critic", "wasserstein", "gradient_penalty"], [p.critic, p.wasserstein, p.gradient_penalty])
            }
        };
        names.iter().zip(parts).for_each(|(name, loss)| line[*name] = loss.into());
        if let Some([first, second, third, total]) = p.validation {
            let [a, b, c] = names;
            line["validation"] = json!({ a: first, b: second, c: third, "loss": total });
        }
        self.put(&line)
    }

    /// The line that a training ends with which its losses have ended.
    pub fn write_failure(&mut self, stage: Stage, what: &Diagnosis) -> io::Result<()> {
        self.put(&json!({ "stage": stage as u32, "diagnosis": what }))
    }

    /// At once: a kill leaves whole lines.
    fn put(&mut self, line: &Value) -> io::Result<()> {
        self.file.write_all(format!("{line}\n").as_bytes())
    }
}

/// What the log of a run knows and its model does not.
#[derive(Default)]
pub struct LogEnd {
    /// Of the last line that has one.
    pub speed: Option<(Stage, f64)>,
    /// The last line says so: stage, and the finding in words.
    pub failure: Option<Value>,
}

impl LogEnd {
    /// Nothing where there is no log; lines that are no JSON (a disk was full) are passed over.
    pub fn of(folder: &RunFolder) -> LogEnd {
        let text = fs::read_to_string(folder.logs().join(PROGRESS)).unwrap_or_default();
        let mut end = LogEnd::default();
        for line in text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()) {
            let stage = line["stage"].as_i64().and_then(|code| Stage::from_code(code as i32).ok());
            if let (Some(stage), Some(speed)) = (stage, line["iterations_per_second"].as_f64()) {
                end.speed = Some((stage, speed));
            }
            end.failure = line.get("diagnosis").cloned();
        }
        end
    }
}

/// With the time, as the original names pictures.
pub fn picture_name(kind: &str) -> String {
    format!("{kind}_{}.png", timestamp(SystemTime::now()))
}

/// A model file, or the one of a run folder that has trained longest.
pub fn load(path: &Path, device: Device) -> Result<(PathBuf, Model)> {
    if !path.is_dir() {
        return Ok((path.to_owned(), Model::load(path, device)?));
    }
    let mut best: Option<(PathBuf, Model)> = None;
    for file in checkpoints(path)? {
        match Model::load(&file, device) {
            Ok(model) => {
                if best.as_ref().is_none_or(|(_, old)| progress(old) < progress(&model)) {
                    best = Some((file, model));
                }
            }
            Err(error @ Error::Device { .. }) => return Err(error.into()),
            Err(error) => console::complain(&format!("left aside: {error}")),
        }
    }
    best.ok_or_else(|| Failure::Usage(format!("{}: no .{EXTENSION} file that can be read", path.display())))
}

/// The model files of a folder by name.
pub fn checkpoints(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = entries(folder)?;
    files.retain(|path| path.extension().is_some_and(|e| e == EXTENSION));
    Ok(files)
}

/// What is in a folder, by name.
pub fn entries(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder).and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect());
    let mut paths: Vec<PathBuf> = entries.map_err(|e| Failure::io(folder, e))?;
    paths.sort();
    Ok(paths)
}

/// How far a model is; of equals the one that knows how to go on, which an exported one does not.
fn progress(model: &Model) -> (u64, u64, bool) {
    let [first, second] = model.stages();
    let goes_on = model.parameter_names().any(|name| model.remembered_gradient(name).is_some());
    (second.iteration, first.iteration, goes_on)
}

/// YYYYMMDD_HHMMSS in UTC. Days to date: Howard Hinnant, "chrono-compatible low-level date algorithms".
pub fn timestamp(time: SystemTime) -> String {
    let seconds = time.duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs());
    let (days, rest) = (seconds / 86_400 + 719_468, seconds % 86_400);
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153; // months from March
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    format!("{year:04}{month:02}{day:02}_{:02}{:02}{:02}", rest / 3600, rest / 60 % 60, rest % 60)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn timestamps_are_dates() {
        let at = |seconds| timestamp(UNIX_EPOCH + Duration::from_secs(seconds));
        assert_eq!(at(0), "19700101_000000");
        assert_eq!(at(951_827_696), "20000229_123456");
        assert_eq!(at(1_733_322_622), "20241204_143022");
        assert_eq!(at(4_102_444_799), "20991231_235959");
    }
}
