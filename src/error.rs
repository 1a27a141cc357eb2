//! What can go wrong: one variant for each thing a caller can do about it.

use std::fmt::Display;
use std::path::{Path, PathBuf};

pub type Result<T> = std::result::Result<T, Error>;

/// Every message names the value, where it came from and what was expected.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An argument or option is out of range, or two contradict each other.
    #[error("{name} is {got}, expected {expected}")]
    Argument { name: String, got: String, expected: String },

    /// A file that a newer trajgan made.
    #[error("{}: made by a newer trajgan (format {got}, this one reads up to {newest})", path.display())]
    Version { path: PathBuf, got: u64, newest: u64 },

    /// A call out of order.
    #[error("{call}: {problem}")]
    State { call: &'static str, problem: String },

    /// The caller's buffer is too small.
    #[error("{name} has room for {got}, needs {needed}")]
    Buffer { name: &'static str, got: usize, needed: usize },

    /// The file or folder could not be read or written.
    #[error("{}: {source}", path.display())]
    Io { path: PathBuf, source: std::io::Error },

    /// The file was read, but is not what it should be.
    #[error("{}: {field}: {problem}", path.display())]
    Format { path: PathBuf, field: String, problem: String },

    /// No such device, no driver, or it failed.
    #[error("device {device}: {reason}")]
    Device { device: i32, reason: String },

    /// A buffer whose size came from a configuration or a file could not be had.
    #[error("out of memory: {bytes} bytes for {purpose}")]
    Memory { bytes: usize, purpose: &'static str },

    /// A loss or gradient is not finite. The model keeps its last finite weights.
    #[error(
        "stage {stage} diverged at iteration {iteration}: {what} is not finite; lower the learning rates or the gradient clip"
    )]
    Diverged { stage: u32, iteration: u64, what: &'static str },

    /// The progress callback said stop. All finished iterations are kept.
    #[error("cancelled at iteration {iteration}")]
    Cancelled { iteration: u64 },
}

impl Error {
    pub fn argument(name: impl Into<String>, got: impl ToString, expected: impl Into<String>) -> Self {
        Error::Argument { name: name.into(), got: got.to_string(), expected: expected.into() }
    }

    pub fn io(path: impl AsRef<Path>, source: std::io::Error) -> Self {
        Error::Io { path: path.as_ref().to_owned(), source }
    }

    pub fn format(path: impl AsRef<Path>, field: impl Into<String>, problem: impl ToString) -> Self {
        Error::Format { path: path.as_ref().to_owned(), field: field.into(), problem: problem.to_string() }
    }
}

/// An `Argument` that names the first of some numbers that is not finite.
pub(crate) fn all_finite<T: Copy + Display + Into<f64>>(name: &str, numbers: &[T]) -> Result<()> {
    match numbers.iter().position(|&x| !x.into().is_finite()) {
        Some(i) => Err(Error::argument(format!("{name}[{i}]"), numbers[i], "a finite number")),
        None => Ok(()),
    }
}

/// Is there so much memory? Work that allocates in many places asks before it begins: Rust's own allocations cannot
/// fail but by ending the process. What others take meanwhile it cannot know.
pub(crate) fn afford(bytes: usize, purpose: &'static str) -> Result<()> {
    let mut all: Vec<u8> = Vec::new();
    all.try_reserve_exact(bytes).map_err(|_| Error::Memory { bytes, purpose })
}

/// Adds to a list that a file makes as long as it likes: too little memory is an error, not an abort.
pub(crate) fn try_push<T>(list: &mut Vec<T>, item: T, purpose: &'static str) -> Result<()> {
    if list.len() == list.capacity() {
        let bytes = 2 * list.len().max(1) * size_of::<T>();
        list.try_reserve(1).map_err(|_| Error::Memory { bytes, purpose })?;
    }
    list.push(item);
    Ok(())
}

/// A zeroed buffer whose size comes from outside: too little memory is an error, not an abort.
pub(crate) fn try_zeroed<T: Copy + Default>(len: usize, purpose: &'static str) -> Result<Vec<T>> {
    let mut v = Vec::new();
    v.try_reserve_exact(len).map_err(|_| Error::Memory { bytes: len.saturating_mul(size_of::<T>()), purpose })?;
    v.resize(len, T::default());
    Ok(v)
}
