//! What the program says, and to whom: results on stdout, complaints on stderr. With `--json` stdout is one JSON
//! document and everything for people goes to stderr.

use std::io::{self, ErrorKind, IsTerminal, Write, stderr, stdout};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock, OnceLock};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::Value;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;
use trajgan::Progress;

use crate::failure::{Failure, Result};

/// The first thing that kept a line of the result from being written.
static LOST: OnceLock<io::Error> = OnceLock::new();

/// A line of the result. A reader that is gone (`trajgan ... | head`) is no failure; others come to light in [`finish`].
pub fn say(line: &str) {
    written(writeln!(stdout(), "{line}"));
}

/// What became of something for stdout.
pub fn written(done: io::Result<()>) {
    if let Err(error) = done
        && error.kind() != ErrorKind::BrokenPipe
    {
        // Only the first counts.
        let _ = LOST.set(error);
    }
}

/// Comes last: a failure if some of the result is lost.
pub fn finish() -> Result<()> {
    written(stdout().flush());
    LOST.get().map_or(Ok(()), |error| Err(Failure::Work(format!("the result cannot be written to stdout: {error}"))))
}

/// A line about what went wrong.
pub fn complain(line: &str) {
    let _ = writeln!(stderr(), "{line}");
}

/// A path in JSON and TOML, which hold nothing but UTF-8: what is none shows as U+FFFD.
pub fn shown(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

/// The result for programs.
pub fn say_json(value: &Value) {
    say(&format!("{value:#}"));
}

/// Where people read while a command works.
#[derive(Clone, Copy)]
pub struct Console {
    pub json: bool,
}

impl Console {
    pub fn line(self, line: &str) {
        if self.json { complain(line) } else { say(line) }
    }

    fn is_terminal(self) -> bool {
        if self.json { stderr().is_terminal() } else { stdout().is_terminal() }
    }

    /// Shows a stage of training: a bar on a terminal, the log lines above it; the log lines alone elsewhere.
    pub fn meter(self) -> Meter {
        let bar = self.is_terminal().then(|| {
            let target = if self.json { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::stdout() };
            let style = ProgressStyle::with_template("{prefix} [{bar:32}] {pos}/{len} {msg} {eta} left");
            let bar = ProgressBar::with_draw_target(None, target);
            bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("=> "))
        });
        Meter { console: self, bar }
    }
}

pub struct Meter {
    console: Console,
    bar: Option<ProgressBar>,
}

impl Meter {
    pub fn show(&self, progress: &Progress) {
        let Some(bar) = &self.bar else {
            if progress.log {
                self.console.line(&progress.to_string());
            }
            return;
        };
        if bar.length() != Some(progress.iterations) {
            bar.set_length(progress.iterations);
            bar.set_prefix(format!("Stage {}", progress.stage as u32));
        }
        if progress.log {
            bar.println(progress.to_string());
        }
        bar.set_message(format!("loss {:.4}, {:.1} it/s,", progress.loss, progress.iterations_per_second));
        bar.set_position(progress.iteration);
    }

    /// A line above the bar.
    pub fn line(&self, line: &str) {
        match &self.bar {
            Some(bar) => bar.println(line),
            None => self.console.line(line),
        }
    }

    /// Takes the bar away.
    pub fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// Whether Ctrl-C, SIGTERM or SIGHUP has come since [`watch_interrupts`].
static INTERRUPTED: LazyLock<Arc<AtomicBool>> = LazyLock::new(Arc::default);

#[cfg(unix)]
const SIGNALS: &[i32] = &[SIGINT, SIGTERM, signal_hook::consts::SIGHUP];
#[cfg(not(unix))]
const SIGNALS: &[i32] = &[SIGINT, SIGTERM];

/// From now on the first Ctrl-C only asks; the second ends the program at once. Files are written whole or not at all,
/// so that this loses nothing but the iterations since the last checkpoint.
pub fn watch_interrupts() -> Result<()> {
    static WATCHING: OnceLock<()> = OnceLock::new();
    if WATCHING.set(()).is_err() {
        return Ok(());
    }
    let watch = |&signal: &i32| {
        // In this order: the first sees that none has come before.
        flag::register_conditional_shutdown(signal, 1, Arc::clone(&INTERRUPTED))?;
        flag::register(signal, Arc::clone(&INTERRUPTED)).map(drop)
    };
    let watched = SIGNALS.iter().filter(|&&signal| !is_ignored(signal)).try_for_each(watch);
    watched.map_err(|e| Failure::Work(format!("Ctrl-C cannot be watched for: {e}")))
}

/// From now on a file that grows beyond the shell's limit (`ulimit -f`) is an error with a name, as on a full disk.
pub fn survive_long_files() {
    #[cfg(unix)]
    let _ = flag::register(signal_hook::consts::SIGXFSZ, Arc::default()); // a handler is enough: the write fails then
}

/// Whether who started the program wants it to go on in spite of a signal: `nohup`, or a shell's `&`. Linux tells.
fn is_ignored(signal: i32) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let ignored = ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0);
    ignored >> (signal - 1) & 1 == 1
}

pub fn interrupted() -> bool {
    INTERRUPTED.load(Ordering::Relaxed)
}

/// A path as a shell takes it.
pub fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = |c: char| c.is_alphanumeric() || "_-./\\:".contains(c);
    if text.chars().all(plain) { text } else { format!("'{}'", text.replace('\'', r"'\''")) }
}
