//! Recordings from files. Every file is taken to be hostile: sizes are checked before anything is allocated,
//! and what is refused is counted and named.

mod csv;
mod cut;
mod json;
pub(crate) mod npy;
mod pickle;
pub(crate) mod v4;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;
use serde::{Deserialize, Serialize};

pub use cut::CutOptions;

use super::Movement;
use crate::backend::cpu::worker_thread;
use crate::error::{Error, Result, afford, try_push};
use crate::files::open_regular;
use crate::order;

/// How many rejected files, lines and movements a report names; all are counted.
const EXAMPLES: usize = 100;
/// U+FEFF: some programs begin text with it.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";
/// Of folders within folders.
const MAX_DEPTH: usize = 8;
/// A movement, or a line of a recording, that is longer is not one.
const MAX_LINE: u64 = 8 << 20;
/// More than what is made of a line takes: so many bytes, and so many for each of its own.
const ROOM_FOR_LINE: usize = 1 << 18;
const PARSED: usize = 32;

/// What `Dataset::open` may do.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ReadOptions {
    /// Largest file in bytes, after decompression. A CSV may have a sixteenth as many rows, but 8 million in any case and 67
    /// million at most.
    pub max_bytes: u64,
    /// CSV columns named `t` or `timestamp` are in seconds (else milliseconds).
    pub csv_seconds: bool,
    /// How continuous recordings are cut into movements.
    pub cut: CutOptions,
}

impl Default for ReadOptions {
    fn default() -> Self {
        ReadOptions { max_bytes: 1 << 30, csv_seconds: false, cut: CutOptions::default() }
    }
}

impl ReadOptions {
    pub(crate) fn check(&self) -> Result<()> {
        self.cut.check()
    }
}

/// A file, line or movement that was not taken.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Rejected {
    /// The file, with line or movement where there is one.
    pub source: String,
    pub reason: String,
}

/// What became of the files.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct ReadReport {
    /// Movements taken.
    pub read: usize,
    /// The first 100 that were not.
    pub rejected: Vec<Rejected>,
    /// Kind of reason to how many were rejected for it.
    pub counts: BTreeMap<String, usize>,
}

impl ReadReport {
    /// How many were rejected, named or not.
    pub fn rejections(&self) -> usize {
        self.counts.values().sum()
    }

    fn reject(&mut self, kind: &str, source: impl FnOnce() -> String, reason: impl FnOnce() -> String) {
        *self.counts.entry(kind.to_owned()).or_default() += 1;
        if self.rejected.len() < EXAMPLES {
            self.rejected.push(Rejected { source: source(), reason: reason() });
        }
    }
}

/// A movement and, where the file gives them, its own condition numbers.
pub(crate) type Entry = (Movement, Option<Vec<f64>>);

/// What the readers fill.
#[derive(Default)]
pub(crate) struct Found {
    /// What was opened: a folder, or the one file.
    root: PathBuf,
    pub entries: Vec<Entry>,
    pub report: ReadReport,
    /// The error to return if nothing at all could be read.
    pub first_error: Option<Error>,
    /// What the first file of rows without any movement looks like, where it can be told.
    hint: Option<String>,
    /// How many condition numbers the first movement brings; all others must bring as many.
    condition_dim: Option<Option<usize>>,
}

impl Found {
    fn add(&mut self, entry: Entry, path: &Path, place: &str) -> Result<()> {
        let count = entry.1.as_ref().map(Vec::len);
        let wanted = *self.condition_dim.get_or_insert(count);
        if count == wanted {
            return try_push(&mut self.entries, entry, "recordings");
        }
        let show = |count: Option<usize>| count.map_or("is missing".to_owned(), |n| format!("has {n} numbers"));
        let problem = format!("{}, but that of the first movement {}", show(count), show(wanted));
        let field = if place.is_empty() { "condition".to_owned() } else { format!("{place}: condition") };
        self.refuse("condition unlike the first movement's", Error::format(path, field, problem));
        Ok(())
    }

    /// Counts an error whose message names file and place.
    fn refuse(&mut self, kind: &str, error: Error) {
        let (source, reason) = match &error {
            Error::Format { path, field, problem } => (path.display().to_string(), format!("{field}: {problem}")),
            Error::Io { path, source } => (path.display().to_string(), source.to_string()),
            other => (String::new(), other.to_string()),
        };
        self.report.reject(kind, || source, || reason);
        self.first_error.get_or_insert(error);
    }
}

/// Reads one file, or all files of a folder and its folders in the order of their names.
pub(crate) fn read(path: &Path, options: &ReadOptions) -> Result<Found> {
    let meta = fs::metadata(path).map_err(|e| Error::io(path, e))?;
    let mut found = Found { root: path.to_owned(), ..Found::default() };
    if meta.is_dir() {
        let mut files = Vec::new();
        list(path, 0, &mut files)?;
        if files.is_empty() {
            return Err(Error::format(path, "folder", "is empty, expected recordings"));
        }
        for file in files {
            match read_file(&file, options, &mut found) {
                // Of all files, not of this one.
                Err(error @ Error::Memory { .. }) => return Err(error),
                Err(error) => found.refuse("broken file", error),
                Ok(()) => {}
            }
        }
    } else {
        read_file(path, options, &mut found)?;
    }
    if found.entries.is_empty() {
        // Of many reasons the first may be the least: a stray file's.
        let only = found.first_error.filter(|_| found.report.rejections() == 1);
        return Err(only.unwrap_or_else(|| {
            let reasons: Vec<_> = found.report.counts.iter().map(|(kind, n)| format!("{n} {kind}")).collect();
            let first = found.report.rejected.first().map(|r| format!("; first {}: {}", r.source, r.reason));
            let hint = found.hint.map(|hint| format!("; {hint}")).unwrap_or_default();
            let problem = format!("none found ({}{}){hint}", reasons.join(", "), first.unwrap_or_default());
            Error::format(path, "movements", problem)
        }));
    }
    found.report.read = found.entries.len();
    Ok(found)
}

fn list(folder: &Path, depth: usize, files: &mut Vec<PathBuf>) -> Result<()> {
    let entries = fs::read_dir(folder).and_then(|entries| entries.collect::<std::io::Result<Vec<_>>>());
    let paths: Vec<PathBuf> = entries.map_err(|e| Error::io(folder, e))?.iter().map(|e| e.path()).collect();
    for path in order::sorted(&paths, PathBuf::cmp) {
        if !path.is_dir() {
            files.push(path);
        } else if depth < MAX_DEPTH {
            list(&path, depth + 1, files)?;
        } else {
            return Err(Error::format(&path, "folder", format!("is nested more than {MAX_DEPTH} deep")));
        }
    }
    Ok(())
}

fn read_file(path: &Path, options: &ReadOptions, found: &mut Found) -> Result<()> {
    let name = path.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
    let name = name.strip_suffix(".gz").unwrap_or(&name);
    match name.rsplit_once('.').map(|(_, extension)| extension) {
        Some("json") => json::read_json(path, options, found),
        Some("jsonl" | "ndjson") => json::read_lines(path, options, found),
        Some("csv") => csv::read(path, options, found),
        None => csv::read(path, options, found),
        Some(extension) => {
            let problem = format!("is .{extension}, expected .json, .jsonl, .csv (each also .gz) or a session file");
            found.refuse("unknown kind of file", Error::format(path, "name", problem));
            Ok(())
        }
    }
}

/// Opens a regular file, through a decompressor if its name ends in .gz; no more than `max_bytes` come out.
fn open(path: &Path, options: &ReadOptions) -> Result<Lines> {
    let (file, _) = open_regular(path)?;
    let packed = path.extension().is_some_and(|e| e.eq_ignore_ascii_case("gz"));
    let reader: Box<dyn Read> = if packed { Box::new(unpacked(file, path)?) } else { Box::new(file) };
    // One more than allowed, so that a file that is too large is told from one that just fits.
    let reader = BufReader::with_capacity(1 << 16, reader.take(options.max_bytes.saturating_add(1)));
    Ok(Lines { reader, path: path.to_owned(), number: 0, bytes: 0, max_bytes: options.max_bytes })
}

/// Begins to unpack a file: on a thread of ours, since 43 KB of tables come into being on the stack, which a host's thread may
/// not have.
fn unpacked(file: File, path: &Path) -> Result<MultiGzDecoder<BufReader<File>>> {
    let begin = move || MultiGzDecoder::new(BufReader::new(file));
    let thread = worker_thread(0).spawn(begin).map_err(|e| Error::io(path, e))?;
    thread.join().map_err(|_| Error::format(path, "gzip", "cannot be unpacked"))
}

/// The lines of a file of bounded size.
struct Lines {
    reader: BufReader<std::io::Take<Box<dyn Read>>>,
    path: PathBuf,
    /// Of the line read last, from 1.
    number: usize,
    bytes: u64,
    max_bytes: u64,
}

impl Lines {
    /// The next line without its end, in `line`; false at the end of the file. A byte order mark is no part of the first.
    fn next(&mut self, line: &mut Vec<u8>) -> Result<bool> {
        line.clear();
        let most = MAX_LINE.min(self.max_bytes);
        let read = (&mut self.reader).take(most + 1).read_until(b'\n', line);
        let read = read.map_err(|e| unreadable(&self.path, e))? as u64;
        self.number += 1;
        self.bytes += read;
        if self.bytes > self.max_bytes {
            return Err(Error::format(&self.path, "size", format!("is above {} bytes", self.max_bytes)));
        }
        if read > most {
            return Err(Error::format(&self.path, format!("line {}", self.number), "is longer than any recording"));
        }
        if self.number == 1 && line.starts_with(BYTE_ORDER_MARK) {
            line.drain(..BYTE_ORDER_MARK.len());
        }
        while line.last().is_some_and(|&b| b == b'\n' || b == b'\r') {
            line.pop();
        }
        afford(ROOM_FOR_LINE + PARSED * line.len(), "a line of a recording")?;
        Ok(read > 0)
    }

    /// The whole file, but for a byte order mark.
    fn all(&mut self) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let most = MAX_LINE.min(self.max_bytes);
        (&mut self.reader).take(most + 1).read_to_end(&mut bytes).map_err(|e| unreadable(&self.path, e))?;
        if bytes.len() as u64 > most {
            return Err(Error::format(&self.path, "size", format!("is above {most} bytes")));
        }
        if bytes.starts_with(BYTE_ORDER_MARK) {
            bytes.drain(..BYTE_ORDER_MARK.len());
        }
        afford(ROOM_FOR_LINE + PARSED * bytes.len(), "a recording")?;
        Ok(bytes)
    }
}

/// What a decompressor finds wrong is the file's fault, not the disk's.
fn unreadable(path: &Path, e: std::io::Error) -> Error {
    use std::io::ErrorKind::{InvalidData, InvalidInput, UnexpectedEof};
    match e.kind() {
        InvalidData | InvalidInput | UnexpectedEof => Error::format(path, "gzip", e),
        _ => Error::io(path, e),
    }
}

/// An error about an argument, said of a place in a file.
pub(crate) fn in_file(path: &Path, place: &str, error: Error) -> Error {
    match error {
        Error::Argument { name, got, expected } => {
            let field = if place.is_empty() { name } else { format!("{place}: {name}") };
            Error::format(path, field, format!("is {got}, expected {expected}"))
        }
        other => other,
    }
}
