//! Option structs that carry their size, so that programs and libraries of different age understand each other.

use super::guard::Failure;
use super::status::tg_status;
use crate::backend::cpu::MOST_THREADS;

/// Above this a struct_size is garbage rather than the future.
const MAX_STRUCT: usize = 4096;

/// A struct of the API whose first field is `uint32_t struct_size`.
///
/// # Safety
/// The type is repr(C), consists of numbers and pointers only, has no padding, and any bytes are a value of it.
pub unsafe trait Options: Copy {
    const NAME: &'static str;
    fn struct_size(&mut self) -> &mut u32;
}

/// What the host asks for: `defaults` where `given` is NULL, or older than a field.
///
/// # Safety
/// `given` is NULL or points to the struct_size bytes that it says it has.
pub unsafe fn read<T: Options>(given: *const T, defaults: T) -> Result<T, Failure> {
    let mut options = defaults;
    if given.is_null() {
        return Ok(options);
    }
    // SAFETY: every such struct begins with its size.
    let size = unsafe { given.cast::<u32>().read_unaligned() } as usize;
    check_size::<T>(size)?;
    if size > size_of::<T>() {
        // SAFETY: the caller's promise; what is read lies within its struct.
        let beyond =
            unsafe { std::slice::from_raw_parts(given.cast::<u8>().add(size_of::<T>()), size - size_of::<T>()) };
        if beyond.iter().any(|byte| *byte != 0) {
            let message = format!("{} sets a field that this trajgan does not have", T::NAME);
            return Err(Failure::new(tg_status::TG_ERR_VERSION, message));
        }
    }
    let known = size.min(size_of::<T>());
    // SAFETY: `known` bytes are within both, and any bytes are a value of T.
    unsafe { std::ptr::copy_nonoverlapping(given.cast::<u8>(), (&raw mut options).cast::<u8>(), known) };
    Ok(options)
}

/// Gives `value` to the host: as much as its struct holds, zeros for what only it knows.
///
/// # Safety
/// `out` is NULL or points to `size` bytes that may be written.
pub unsafe fn write<T: Options>(out: *mut T, size: usize, mut value: T) -> Result<(), Failure> {
    if out.is_null() {
        return Err(Failure::argument(T::NAME, "NULL", "a struct to fill"));
    }
    check_size::<T>(size)?;
    *value.struct_size() = size as u32;
    let known = size.min(size_of::<T>());
    // SAFETY: the caller's promise, and `known` bytes are within `value`.
    unsafe {
        std::ptr::copy_nonoverlapping((&raw const value).cast::<u8>(), out.cast::<u8>(), known);
        out.cast::<u8>().add(known).write_bytes(0, size - known);
    }
    Ok(())
}

fn check_size<T>(size: usize) -> Result<(), Failure>
where
    T: Options,
{
    if size > MAX_STRUCT {
        let message = format!("{}.struct_size is {size}, expected up to {MAX_STRUCT}", T::NAME);
        return Err(Failure::new(tg_status::TG_ERR_VERSION, message));
    }
    // Fields end at multiples of the alignment in pairs, so that no size cuts one in two.
    if size < align_of::<T>() || !size.is_multiple_of(align_of::<T>()) {
        let expected = format!("sizeof ({}), as its _init sets it", T::NAME);
        return Err(Failure::argument(&format!("{}.struct_size", T::NAME), size, expected));
    }
    Ok(())
}

/// 0 or 1.
pub fn flag(name: &str, value: impl Into<u64>) -> Result<bool, Failure> {
    match value.into() {
        0 => Ok(false),
        1 => Ok(true),
        value => Err(Failure::argument(name, value, "0 or 1")),
    }
}

/// The entry of `table` that an int32_t of the API stands for.
pub fn choose<T: Copy>(name: &str, value: i32, table: &[T]) -> Result<T, Failure> {
    let entry = usize::try_from(value).ok().and_then(|i| table.get(i));
    entry.copied().ok_or_else(|| Failure::argument(name, value, format!("0 to {}", table.len() - 1)))
}

/// The int32_t of the API that stands for `value`, which is in `table`.
pub fn code<T: PartialEq>(value: T, table: &[T]) -> i32 {
    table.iter().position(|entry| *entry == value).map_or(-1, |i| i as i32)
}

/// A number of walks, of which what is not one says so; that it is in bounds others check.
pub fn candidates(value: u64, expected: &'static str) -> Result<u32, Failure> {
    u32::try_from(value).map_err(|_| Failure::argument("candidates", value, expected))
}

/// CPU threads: 0 is one per core. More than any machine has is an error, not an attempt.
pub fn threads(value: u32) -> Result<usize, Failure> {
    match value as usize {
        threads if threads <= MOST_THREADS => Ok(threads),
        _ => Err(Failure::argument("threads", value, format!("0 to {MOST_THREADS}"))),
    }
}

/// Samples first, first + 1, ... and the one after them have a number.
pub fn first(first: u64, count: usize) -> Result<(), Failure> {
    let most = u64::MAX - count as u64;
    if first > most {
        return Err(Failure::argument("first", first, format!("{most} or less")));
    }
    Ok(())
}
