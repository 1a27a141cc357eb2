//! Why a command did not do what it was asked.

use std::io::{ErrorKind, Read};
use std::path::Path;
use std::process::ExitCode;

use trajgan::Error;

/// Says what the caller can do about it.
#[derive(Debug)]
pub enum Failure {
    /// Mend the command line, name a file that is there, a folder that can be written: exit code 2.
    Usage(String),
    /// The work itself failed or was stopped: exit code 1.
    Work(String),
}

pub type Result<T> = std::result::Result<T, Failure>;

impl Failure {
    pub fn message(&self) -> &str {
        let (Failure::Usage(message) | Failure::Work(message)) = self;
        message
    }

    /// One line on stderr.
    pub fn report(&self) -> ExitCode {
        let code = match self {
            Failure::Usage(_) => 2,
            Failure::Work(_) => 1,
        };
        let line: Vec<&str> = self.message().split_whitespace().collect();
        crate::console::complain(&format!("error: {}", line.join(" ")));
        ExitCode::from(code)
    }

    pub fn io(path: &Path, error: std::io::Error) -> Failure {
        Error::io(path, error).into()
    }
}

/// Whether a file can be made there, to say so now rather than after minutes of work.
pub fn check_place(path: &Path) -> Result<()> {
    let Some(name) = path.file_name() else {
        return Err(Failure::Usage(format!("{}: not the name of a file", path.display())));
    };
    if path.is_dir() {
        return Err(Failure::Usage(format!("{}: is a folder, expected the name of a file", path.display())));
    }
    let trial = path.with_file_name(format!(".{}.{}.trial", name.display(), std::process::id()));
    std::fs::File::create_new(&trial).and_then(|_| std::fs::remove_file(&trial)).map_err(|e| Failure::io(path, e))
}

/// A file or pipe of text that people write.
pub fn read_text(path: &Path) -> Result<String> {
    const MOST: u64 = 1 << 30;
    let mut text = String::new();
    let read = std::fs::File::open(path).and_then(|file| file.take(MOST + 1).read_to_string(&mut text));
    match read.map_err(|e| Failure::io(path, e))? as u64 {
        n if n > MOST => Err(Failure::Usage(format!("{}: is above {MOST} bytes", path.display()))),
        _ => Ok(text),
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        let message = error.to_string();
        match error {
            Error::Argument { .. } | Error::Device { .. } | Error::Version { .. } => Failure::Usage(message),
            Error::Io { source, .. } if callers_fault(source.kind()) => Failure::Usage(message),
            _ => Failure::Work(message),
        }
    }
}

/// The path was wrong, rather than the disk.
fn callers_fault(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::NotFound
            | ErrorKind::PermissionDenied
            | ErrorKind::AlreadyExists
            | ErrorKind::NotADirectory
            | ErrorKind::IsADirectory
            | ErrorKind::InvalidInput
            | ErrorKind::InvalidFilename
            | ErrorKind::ReadOnlyFilesystem
    )
}
