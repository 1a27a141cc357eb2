//! A file is replaced whole or not at all.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::error::{Error, Result};

/// Replaces the file at `path` by what `write` writes: a temporary sibling is written, flushed to the disk, read back
/// and compared, then renamed. Until the rename, what was at `path` survives every failure and every kill.
///
/// What a link leads to is replaced, not the link; on Unix the mode stays. The sibling is `.NAME.saving` (of a name too long for
/// that, of its hash), one per target, so that a killed save leaves at most one, which the next save takes over. Two saves to one path at the same time do not mix: the later one fails.
///
/// # Errors
/// `Io` with the path and the cause. If only the last step fails, the flush of the folder, the new file is in place.
pub fn write_whole(path: &Path, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<()> {
    let fail = |e| Error::io(path, e);
    let (target, old) = target(path).map_err(fail)?;
    let temporary = sibling(&target).map_err(fail)?;
    let file = lock(&temporary).map_err(fail)?;
    // As private as the old file from the start, and as read-only at the end.
    let keep = |also: u32| old.as_ref().map_or(Ok(()), |old| keep_mode(&file, old, also));
    let done = keep(0o200).and_then(|()| fill(&file, write));
    let done = done.and_then(|()| keep(0));
    let done = done.and_then(|()| fs::rename(&temporary, &target));
    if let Err(e) = done {
        // The first failure is the one to report; a sibling that stays is taken over by the next save.
        let _ = fs::remove_file(&temporary);
        return Err(fail(e));
    }
    drop(file); // only now: the lock has to outlast the rename
    flush_folder(&target).map_err(fail)
}

/// What a path leads to, and the file that is there: behind a link that, not the link, is replaced. A folder, a device or a pipe is
/// not: the file would take its place.
fn target(path: &Path) -> io::Result<(PathBuf, Option<fs::Metadata>)> {
    match fs::metadata(path) {
        Ok(old) if old.is_dir() => Err(io::ErrorKind::IsADirectory.into()),
        Ok(old) if !old.is_file() => Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file")),
        Ok(old) if fs::symlink_metadata(path)?.is_symlink() => Ok((fs::canonicalize(path)?, Some(old))),
        Ok(old) => Ok((path.to_owned(), Some(old))),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok((end_of_links(path)?, None)),
        Err(e) => Err(e),
    }
}

/// Where links that lead to nothing yet would have the file.
fn end_of_links(path: &Path) -> io::Result<PathBuf> {
    let mut end = path.to_owned();
    for _ in 0..40 {
        match fs::symlink_metadata(&end) {
            Ok(there) if there.is_symlink() => end = end.with_file_name("").join(fs::read_link(&end)?),
            _ => break,
        }
    }
    Ok(end)
}

/// Who could not read the old file cannot read the new one.
#[cfg(unix)]
fn keep_mode(file: &File, old: &fs::Metadata, also: u32) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    file.set_permissions(fs::Permissions::from_mode(old.permissions().mode() | also))
}

#[cfg(not(unix))]
fn keep_mode(_: &File, _: &fs::Metadata, _: u32) -> io::Result<()> {
    Ok(())
}

/// Writes, flushes, and compares what can be read with what was written: a disk that loses data without an error must
/// not cost the last good file.
fn fill(file: &File, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<()> {
    file.set_len(0)?;
    let mut out = BufWriter::with_capacity(1 << 16, Hashing { file, hash: Sha256::new() });
    write(&mut out)?;
    out.flush()?;
    let written = out.get_ref().hash.clone().finalize();
    file.sync_all()?;
    // Through the handle that holds the lock: on Windows no other may read.
    let (mut read, mut again) = (Sha256::new(), file);
    again.seek(SeekFrom::Start(0))?;
    let mut buffer = vec![0; 1 << 16];
    loop {
        match again.read(&mut buffer) {
            Ok(0) => break,
            Ok(n) => read.update(&buffer[..n]),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    if read.finalize() != written {
        return Err(io::Error::other("what was read back is not what was written"));
    }
    Ok(())
}

struct Hashing<'a> {
    file: &'a File,
    hash: Sha256,
}

impl Write for Hashing<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let n = self.file.write(bytes)?;
        self.hash.update(&bytes[..n]);
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

fn sibling(path: &Path) -> io::Result<PathBuf> {
    let name = path.file_name().ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "not the name of a file"))?;
    /// Bytes that a name may have on most systems, less what is added here.
    const MOST: usize = 255 - ".".len() - ".saving".len();
    let mut hidden = std::ffi::OsString::from(".");
    match name.len() {
        0..=MOST => hidden.push(name),
        _ => Sha256::digest(name.as_encoded_bytes()).iter().for_each(|byte| hidden.push(format!("{byte:02x}"))),
    }
    hidden.push(".saving");
    Ok(path.with_file_name(hidden))
}

/// Opens a file, new or not, for one save alone. The lock goes with the process, however that ends. On Unix who holds it may
/// remove the file.
pub fn lock(path: &Path) -> io::Result<File> {
    for _ in 0..100 {
        let open = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path);
        let file = match open {
            Err(e) if e.kind() == io::ErrorKind::PermissionDenied => match abandoned(path) {
                true => continue,
                false => return Err(e),
            },
            open => open?,
        };
        match file.try_lock() {
            Err(TryLockError::WouldBlock) => {
                return Err(io::Error::new(io::ErrorKind::ResourceBusy, "another save to it is under way"));
            }
            // Some network folders have no locks; there the last of two saves wins.
            Ok(()) | Err(TryLockError::Error(_)) => {}
        }
        if still_at(&file, path)? {
            return Ok(file);
        }
    }
    Err(io::ErrorKind::ResourceBusy.into())
}

/// Removes what a killed save has left of a file that was read-only, if it is that. What is no longer there is nobody's, too: a
/// save that held it may just have ended, and another one begun.
fn abandoned(path: &Path) -> bool {
    let left = fs::symlink_metadata(path).is_ok_and(|there| there.is_file());
    let nobodys = |file: File| {
        file.try_lock().is_ok() && (!still_at(&file, path).unwrap_or(true) || fs::remove_file(path).is_ok())
    };
    left && match File::open(path) {
        Ok(file) => nobodys(file),
        Err(e) => e.kind() == io::ErrorKind::NotFound,
    }
}

/// Between open and lock, another save may have renamed the file we hold: writing to it would tear its result.
#[cfg(unix)]
fn still_at(file: &File, path: &Path) -> io::Result<bool> {
    use std::os::unix::fs::MetadataExt;
    let ours = file.metadata()?;
    match fs::symlink_metadata(path) {
        Ok(there) if there.is_symlink() => Err(io::Error::other(format!("{} is a link", path.display()))),
        Ok(there) => Ok((there.dev(), there.ino()) == (ours.dev(), ours.ino())),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(e) => Err(e),
    }
}

/// Elsewhere an open file cannot be renamed away.
#[cfg(not(unix))]
fn still_at(_: &File, _: &Path) -> io::Result<bool> {
    Ok(true)
}

/// Without this a power failure could undo the rename.
#[cfg(unix)]
fn flush_folder(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let flushed = File::open(folder).and_then(|folder| folder.sync_all());
    // A folder that may be written but not read, and file systems whose folders cannot be flushed: no more can be done.
    let cannot = |e: &io::Error| matches!(e.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::InvalidInput);
    flushed.or_else(|e| if cannot(&e) { Ok(()) } else { Err(e) })
}

#[cfg(not(unix))]
fn flush_folder(_: &Path) -> io::Result<()> {
    Ok(())
}
