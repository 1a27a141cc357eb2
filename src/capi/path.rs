//! Paths: movements between two places on a screen.

use super::data::tg_point;
use super::generate::Rows;
use super::guard::{Failure, guard};
use super::handle;
use super::memory::{Output, check, input, product, with_room};
use super::model::tg_model;
use super::options::{self, Options, flag};
use super::status::{tg_path_flag, tg_status};
use crate::error::Error;
use crate::sample::path::{Ends, Path, PathOptions};

/// How paths are drawn. 0 switches an option off where nothing else is said.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct tg_path_options {
    pub struct_size: u32,
    /// CPU threads; 0: one per core. The default is 1.
    pub threads: u32,
    /// Same seed, same paths, whatever the threads.
    pub seed: u64,
    /// Index of the first path. Path i is a function of model, seed, i, its ends and the options alone.
    pub first: u64,
    /// 1 to 4096: that many are drawn for each path, and a lottery keeps one, the likelier the more often recordings are
    /// like it (closed loop), the better the critic likes its summary (v6). 1, the default: no lottery. 0: the model's own
    /// number (4 for the closed loop), or 1 of a model that cannot choose; 2 or more of a closed loop that cannot choose:
    /// TG_ERR_STATE. A stream draws them when it begins.
    pub candidates: u64,
    /// 1, the default: every point in whole pixels, and the ends are rounded; 0: not.
    pub integer_pixels: u32,
    /// 1: the path does not leave the rectangle below, edges included. Ends outside are an error.
    pub bounded: u32,
    pub left: f64,
    pub top: f64,
    pub right: f64,
    pub bottom: f64,
    /// Factor on all times: 0.001 to 1000.
    pub duration_scale: f64,
    /// 60 to 8000: resampled to that many points a second.
    pub polling_hz: f64,
    /// Shortest and longest, after duration_scale; the longest is 1 to 3600000.
    pub min_duration_ms: f64,
    pub max_duration_ms: f64,
    /// Closed loop: 1: as learnt; below 1: likelier steps, likelier times.
    pub step_temperature: f64,
    pub time_temperature: f64,
}

// SAFETY: repr(C), of numbers only; the size below says that there is no padding.
unsafe impl Options for tg_path_options {
    const NAME: &'static str = "tg_path_options";

    fn struct_size(&mut self) -> &mut u32 {
        &mut self.struct_size
    }
}

const _: () = assert!(size_of::<tg_path_options>() == 4 * 4 + 13 * 8);

impl Default for tg_path_options {
    fn default() -> Self {
        let own = PathOptions::default();
        let [left, top, right, bottom] = own.bounds.unwrap_or_default();
        tg_path_options {
            struct_size: 0,
            threads: own.threads as u32,
            seed: own.seed,
            first: own.first,
            candidates: own.candidates.into(),
            integer_pixels: own.integer_pixels.into(),
            bounded: own.bounds.is_some().into(),
            left,
            top,
            right,
            bottom,
            duration_scale: own.duration_scale,
            polling_hz: own.polling_hz,
            min_duration_ms: own.min_duration_ms,
            max_duration_ms: own.max_duration_ms,
            step_temperature: own.step_temperature,
            time_temperature: own.time_temperature,
        }
    }
}

impl tg_path_options {
    /// What the host asks for.
    ///
    /// # Safety
    /// As for `options::read`.
    pub(super) unsafe fn get(given: *const tg_path_options, count: usize) -> Result<PathOptions, Failure> {
        // SAFETY: the caller's promise.
        let given = unsafe { options::read(given, tg_path_options::default())? };
        options::first(given.first, count)?;
        let bounds = [given.left, given.top, given.right, given.bottom];
        Ok(PathOptions {
            seed: given.seed,
            first: given.first,
            candidates: options::candidates(given.candidates, "0 to 4096")?,
            duration_scale: given.duration_scale,
            polling_hz: given.polling_hz,
            integer_pixels: flag("integer_pixels", given.integer_pixels)?,
            bounds: flag("bounded", given.bounded)?.then_some(bounds),
            min_duration_ms: given.min_duration_ms,
            max_duration_ms: given.max_duration_ms,
            step_temperature: given.step_temperature,
            time_temperature: given.time_temperature,
            threads: options::threads(given.threads)?,
        })
    }
}

/// ---- paths ----
///
/// A path goes from one place on the screen to another at least 1 px away, within 1000000 px of 0. It begins at 0 ms
/// exactly at the one and ends exactly at the other, and time rises from point to point. Length and timing are the
/// model's own. Of a v6 model the one condition is taken for the distance in pixels, whatever it has learnt it as.
///
/// Fills *out, which has struct_size bytes, with the defaults. [any]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tg_path_options_init(out: *mut tg_path_options, struct_size: usize) -> tg_status {
    // SAFETY: out is the caller's, with the size it says.
    guard(|| unsafe { options::write(out, struct_size, tg_path_options::default()) })
}

/// One path: tg_paths() with a count of 1. [shared]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tg_path(
    model: *const tg_model,
    from_x: f64,
    from_y: f64,
    to_x: f64,
    to_y: f64,
    options: *const tg_path_options,
    points: *mut tg_point,
    capacity: usize,
    length: *mut u32,
    flags: *mut u32,
) -> tg_status {
    guard(|| {
        check("length", length, 1)?;
        let ends = [[[from_x, from_y], [to_x, to_y]]];
        // SAFETY: the caller's pointers, each for one path.
        unsafe { draw("tg_path", model, &ends, options, (points, capacity, length, flags)) }
    })
}

/// Draws count paths. ends: count x 4 numbers, from x, y to x, y of each. points: count rows of stride points; path i is
/// the first lengths[i] points of row i, and beyond it the row repeats its last point. stride: max_seq_len or more. With
/// polling_hz it has to hold the longest path, which only drawing shows: if it does not, TG_ERR_BUFFER names what is
/// needed, and lengths is written all the same, flags and points are not; max_duration_ms * polling_hz / 1000 + 2 is
/// always enough. A path of more than 1000000 points is TG_ERR_ARGUMENT. flags: TG_PATH_* of each, or NULL. [shared]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tg_paths(
    model: *const tg_model,
    ends: *const f64,
    count: usize,
    options: *const tg_path_options,
    points: *mut tg_point,
    stride: usize,
    lengths: *mut u32,
    flags: *mut u32,
) -> tg_status {
    guard(|| {
        check("lengths", lengths, count)?;
        // SAFETY: the caller's array.
        let numbers = unsafe { input("ends", ends, product("ends", count, 4)?)? };
        let mut ends = with_room(count, "ends")?;
        ends.extend(numbers.chunks_exact(4).map(|e| [[e[0], e[1]], [e[2], e[3]]]));
        // SAFETY: the caller's pointers.
        unsafe { draw("tg_paths", model, &ends, options, (points, stride, lengths, flags)) }
    })
}

/// # Safety
/// As for `tg_paths`, with points, stride, lengths and flags in `to`.
unsafe fn draw(
    call: &'static str,
    model: *const tg_model,
    ends: &[Ends],
    options: *const tg_path_options,
    to: (*mut tg_point, usize, *mut u32, *mut u32),
) -> Result<(), Failure> {
    let (count, (points, stride, lengths, flags)) = (ends.len(), to);
    // SAFETY: a handle of ours, and the caller's options.
    let (model, options) = unsafe { (handle::borrow(model, "model")?, tg_path_options::get(options, count)?) };
    model.handle.shared(call, |model| {
        let polled = options.polling_hz != 0.0;
        let needed = if polled { 0 } else { model.config().max_seq_len };
        // SAFETY: the caller's promise.
        let (mut rows, mut flags) =
            unsafe { (Rows::new(points, stride, needed, count, lengths)?, Output::optional("flags", flags, count)?) };
        let paths = model.paths(ends, &options)?;
        let lengths = paths.iter().map(|path| path.points.len());
        let longest = lengths.clone().max().unwrap_or(0);
        if longest > stride {
            rows.put_lengths(lengths);
            return Err(Error::Buffer { name: "a row of points", got: stride, needed: longest }.into());
        }
        rows.put(paths.iter().map(|path| path.points.as_slice()))?;
        if let Some(flags) = &mut flags {
            paths.iter().enumerate().for_each(|(i, path)| flags.put(i, &[flags_of(path)]));
        }
        Ok(())
    })
}

fn flags_of(path: &Path) -> u32 {
    let bit = |is: bool, flag: tg_path_flag| if is { flag as u32 } else { 0 };
    bit(path.scaled, tg_path_flag::TG_PATH_SCALED) | bit(path.forced, tg_path_flag::TG_PATH_FORCED)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each has a value of its own, so that none can take another's place.
    #[test]
    fn every_option_of_a_path_arrives() {
        let given = tg_path_options {
            struct_size: size_of::<tg_path_options>() as u32,
            threads: 3,
            seed: 1 << 40,
            first: 1 << 41,
            candidates: 4,
            integer_pixels: 0,
            bounded: 1,
            left: 1.5,
            top: 2.5,
            right: 3.5,
            bottom: 4.5,
            duration_scale: 5.5,
            polling_hz: 6.5,
            min_duration_ms: 7.5,
            max_duration_ms: 8.5,
            step_temperature: 9.5,
            time_temperature: 10.5,
        };
        let wanted = PathOptions {
            seed: 1 << 40,
            first: 1 << 41,
            candidates: 4,
            duration_scale: 5.5,
            polling_hz: 6.5,
            integer_pixels: false,
            bounds: Some([1.5, 2.5, 3.5, 4.5]),
            min_duration_ms: 7.5,
            max_duration_ms: 8.5,
            step_temperature: 9.5,
            time_temperature: 10.5,
            threads: 3,
        };
        // SAFETY: a whole struct.
        assert_eq!(unsafe { tg_path_options::get(&given, 1) }.ok(), Some(wanted));
    }
}
