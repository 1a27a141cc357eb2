//! The host's pointers.

use std::ffi::{CStr, c_char};
use std::path::Path;

use super::guard::Failure;
use super::status::tg_status;
use crate::error::Error;

/// Numbers that the host hands over.
///
/// # Safety
/// `from` is NULL or points to `len` values that stay as they are during the call.
pub unsafe fn input<'a, T>(name: &str, from: *const T, len: usize) -> Result<&'a [T], Failure> {
    check(name, from, len)?;
    if len == 0 {
        return Ok(&[]);
    }
    // SAFETY: not NULL, aligned and within the address space, as just checked; the rest is the caller's promise.
    Ok(unsafe { std::slice::from_raw_parts(from, len) })
}

/// A buffer of the host that results go to. Nothing is written before there is a result.
pub struct Output<T> {
    to: *mut T,
    len: usize,
}

impl<T: Copy> Output<T> {
    /// `needed` values go to a buffer with room for `capacity`.
    ///
    /// # Safety
    /// `to` is NULL or points to `capacity` values that nobody else uses during the call.
    pub unsafe fn new(name: &'static str, to: *mut T, capacity: usize, needed: usize) -> Result<Output<T>, Failure> {
        check(name, to, needed)?;
        if capacity < needed {
            return Err(Error::Buffer { name, got: capacity, needed }.into());
        }
        Ok(Output { to, len: needed })
    }

    /// The same for exactly `len` values that the host may not want: NULL is None.
    ///
    /// # Safety
    /// As for `new`.
    pub unsafe fn optional(name: &'static str, to: *mut T, len: usize) -> Result<Option<Output<T>>, Failure> {
        // SAFETY: the caller's promise.
        (!to.is_null()).then(|| unsafe { Output::new(name, to, len, len) }).transpose()
    }

    /// Values for the places from `at` on.
    pub fn put(&mut self, at: usize, values: &[T]) {
        assert!(at <= self.len && values.len() <= self.len - at, "{} at {at} of {}", values.len(), self.len);
        // SAFETY: within the buffer, as just checked; it is the host's, so it does not overlap ours.
        unsafe { std::ptr::copy_nonoverlapping(values.as_ptr(), self.to.add(at), values.len()) };
    }
}

/// Where one value goes.
///
/// # Safety
/// `to` is NULL or may be written.
pub unsafe fn put<T>(name: &str, to: *mut T, value: T) -> Result<(), Failure> {
    check(name, to, 1)?;
    // SAFETY: not NULL and aligned, as just checked; the rest is the caller's promise.
    unsafe { to.write(value) };
    Ok(())
}

/// NULL is allowed where nothing is needed.
pub fn check<T>(name: &str, pointer: *const T, len: usize) -> Result<(), Failure> {
    if len > isize::MAX as usize / size_of::<T>() {
        return Err(Failure::argument(&format!("size of {name}"), len, "what memory can hold"));
    }
    if pointer.is_null() && len > 0 {
        return Err(Failure::argument(name, "NULL", format!("{len} values")));
    }
    if !pointer.is_aligned() {
        return Err(Failure::argument(name, format!("{pointer:p}"), format!("a multiple of {}", align_of::<T>())));
    }
    Ok(())
}

/// a * b values, or an error where that is more than memory can hold.
pub fn product(name: &str, a: usize, b: usize) -> Result<usize, Failure> {
    a.checked_mul(b)
        .ok_or_else(|| Failure::argument(&format!("size of {name}"), format!("{a} x {b}"), "what memory can hold"))
}

/// A NUL-terminated UTF-8 path.
///
/// # Safety
/// `path` is NULL or points to a NUL-terminated string that stays as it is during the call.
pub unsafe fn path<'a>(path: *const c_char) -> Result<&'a Path, Failure> {
    if path.is_null() {
        return Err(Failure::argument("path", "NULL", "a path"));
    }
    // SAFETY: the caller's promise.
    let bytes = unsafe { CStr::from_ptr(path) };
    match bytes.to_str() {
        Ok("") => Err(Failure::argument("path", "empty", "a path")),
        Ok(text) => Ok(Path::new(text)),
        Err(_) => Err(Failure::argument("path", format!("{bytes:?}"), "UTF-8")),
    }
}

/// Text for the host, with a NUL. `needed` gets the size with the NUL, even if it does not fit; both NULL and 0 room
/// only ask for the size.
///
/// # Safety
/// As for `Output::new` and `put`.
pub unsafe fn text(value: &str, to: *mut c_char, capacity: usize, needed: *mut usize) -> Result<(), Failure> {
    let size = value.len() + 1;
    check_text(to, capacity, needed)?;
    // SAFETY: the caller's promise, for both.
    unsafe {
        if !needed.is_null() {
            put("needed", needed, size)?;
        }
        if to.is_null() && capacity == 0 {
            return Ok(());
        }
        let mut out = Output::new("json", to.cast::<u8>(), capacity, size)?;
        out.put(0, value.as_bytes());
        out.put(size - 1, &[0]);
    }
    Ok(())
}

/// What of `text` can be checked before there is a text.
pub fn check_text(to: *const c_char, capacity: usize, needed: *const usize) -> Result<(), Failure> {
    check("needed", needed, usize::from(to.is_null() && capacity == 0))?;
    check("json", to, capacity)
}

/// Room for `len` values, or TG_ERR_MEMORY.
pub fn with_room<T>(len: usize, purpose: &'static str) -> Result<Vec<T>, Failure> {
    let mut values = Vec::new();
    match values.try_reserve_exact(len) {
        Ok(()) => Ok(values),
        Err(_) => Err(Error::Memory { bytes: len.saturating_mul(size_of::<T>()), purpose }.into()),
    }
}

/// For results that a bug made the wrong size.
pub fn bug(message: impl Into<String>) -> Failure {
    Failure::new(tg_status::TG_ERR_INTERNAL, message)
}
