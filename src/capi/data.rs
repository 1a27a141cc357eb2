//! Handles of data sets.

use std::ffi::c_char;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::guard::{Failure, guard};
use super::handle::{self, Handle};
use super::memory::{self, check, input, put};
use super::options::{self, Options, flag};
use super::status::tg_status;
use crate::data::{CutOptions, Dataset, Movement, Point, ReadOptions, ReadReport};

/// A pointer event. An array of n is also an n x 3 row-major matrix of double.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct tg_point {
    /// Pixels, rightwards.
    pub x: f64,
    /// Pixels, downwards.
    pub y: f64,
    /// Milliseconds.
    pub t_ms: f64,
}

/// How recordings are read: what is not a usable movement is left out and counted.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct tg_read_options {
    pub struct_size: u32,
    /// 1: the columns t and timestamp of CSV files are in seconds; 0: in milliseconds. t_ms is always in milliseconds, Balabit's
    /// client timestamp always in seconds.
    pub csv_seconds: u32,
    /// Largest file, after decompression.
    pub max_bytes: u64,
    /// How a session is cut into movements: shortest and longest, in points. Limits are 0 or more; INFINITY: none.
    pub min_points: u32,
    pub max_points: u32,
    /// A longer pause ends a movement.
    pub pause_ms: f64,
    /// Coordinates from here on are no positions.
    pub max_coordinate: f64,
    /// From start to end, in pixels.
    pub min_distance: f64,
    pub min_duration_ms: f64,
    pub max_duration_ms: f64,
    /// Way over distance.
    pub max_path_ratio: f64,
    /// Pixels per ms.
    pub max_speed: f64,
    /// Longest step over the way.
    pub max_step_share: f64,
    /// Speed at the end over the highest.
    pub max_end_speed: f64,
}

// SAFETY: repr(C), of numbers only; the size below says that there is no padding.
unsafe impl Options for tg_read_options {
    const NAME: &'static str = "tg_read_options";

    fn struct_size(&mut self) -> &mut u32 {
        &mut self.struct_size
    }
}

const _: () = assert!(size_of::<tg_read_options>() == 2 * 4 + 8 + 2 * 4 + 9 * 8);

/// Recorded movements to learn from.
pub struct tg_dataset {
    handle: Handle<Contents>,
    /// Apart, so that they can be asked at any time.
    len: AtomicUsize,
    condition_dim: u32,
}

pub(super) struct Contents {
    pub data: Dataset,
    report: ReadReport,
}

impl tg_dataset {
    pub(super) fn handle(&self) -> &Handle<Contents> {
        &self.handle
    }
}

impl From<Handle<Contents>> for tg_dataset {
    fn from(handle: Handle<Contents>) -> Self {
        let of = |contents: &Contents| Ok((contents.data.len(), contents.data.condition_dim() as u32));
        let (len, condition_dim) = handle.shared("new", of).unwrap_or((0, 1));
        tg_dataset { handle, len: AtomicUsize::new(len), condition_dim }
    }
}

impl AsRef<Handle<Contents>> for tg_dataset {
    fn as_ref(&self) -> &Handle<Contents> {
        &self.handle
    }
}

impl tg_read_options {
    fn of(options: &ReadOptions) -> tg_read_options {
        let cut = &options.cut;
        tg_read_options {
            struct_size: 0,
            csv_seconds: options.csv_seconds.into(),
            max_bytes: options.max_bytes,
            min_points: cut.min_points as u32,
            max_points: cut.max_points as u32,
            pause_ms: cut.pause_ms,
            max_coordinate: cut.max_coordinate,
            min_distance: cut.min_distance,
            min_duration_ms: cut.min_duration_ms,
            max_duration_ms: cut.max_duration_ms,
            max_path_ratio: cut.max_path_ratio,
            max_speed: cut.max_speed,
            max_step_share: cut.max_step_share,
            max_end_speed: cut.max_end_speed,
        }
    }

    fn options(&self) -> Result<ReadOptions, Failure> {
        Ok(ReadOptions {
            max_bytes: self.max_bytes,
            csv_seconds: flag("csv_seconds", self.csv_seconds)?,
            cut: CutOptions {
                max_coordinate: self.max_coordinate,
                pause_ms: self.pause_ms,
                min_points: self.min_points as usize,
                max_points: self.max_points as usize,
                min_distance: self.min_distance,
                min_duration_ms: self.min_duration_ms,
                max_duration_ms: self.max_duration_ms,
                max_path_ratio: self.max_path_ratio,
                max_speed: self.max_speed,
                max_step_share: self.max_step_share,
                max_end_speed: self.max_end_speed,
            },
        })
    }
}

/// ---- data ----
///
/// An empty set, to push movements to. [any]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tg_dataset_new(condition_dim: u32, out: *mut *mut tg_dataset) -> tg_status {
    guard(|| {
        check("out", out, 1)?;
        if !(1..=crate::config::MAX_DIM as u32).contains(&condition_dim) {
            let expected = format!("1 to {}", crate::config::MAX_DIM);
            return Err(Failure::argument("condition_dim", condition_dim, expected));
        }
        let contents = Contents { data: Dataset::new(condition_dim as usize), report: ReadReport::default() };
        // SAFETY: out is the caller's.
        unsafe { put("out", out, Handle::new(contents).into_raw::<tg_dataset>().cast_mut()) }
    })
}

/// Adds one movement: count >= 3 points, t_ms rising. condition: condition_dim numbers, with every movement or with
/// none; NULL, allowed when condition_dim is 1: the distance from the first point to the last. [exclusive]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tg_dataset_push(
    data: *mut tg_dataset,
    points: *const tg_point,
    count: usize,
    condition: *const f64,
) -> tg_status {
    guard(|| {
        // SAFETY: data is a handle of ours, points and condition are the caller's, by the contract of the API.
        let (data, points) = unsafe { (handle::borrow(data, "data")?, input("points", points, count)?) };
        data.handle.exclusive("tg_dataset_push", |contents| {
            let dim = contents.data.condition_dim();
            // SAFETY: as above.
            let condition =
                (!condition.is_null()).then(|| unsafe { input("condition", condition, dim) }).transpose()?;
            contents.data.push(movement(points)?, condition)?;
            data.len.store(contents.data.len(), Ordering::Release);
            Ok(())
        })
    })
}

/// Fills *out, which has struct_size bytes, with the defaults. [any]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tg_read_options_init(out: *mut tg_read_options, struct_size: usize) -> tg_status {
    // SAFETY: out is the caller's, with the size it says.
    guard(|| unsafe { options::write(out, struct_size, tg_read_options::of(&ReadOptions::default())) })
}

/// Reads a file, or a folder and what is up to 8 deep in it, of recordings: .json, .jsonl and .csv, each also .gz, and
/// session files of the Balabit kind; or a folder of prepared .npy arrays, among them X_train.npy. A .csv begins with a line of
/// names: t_ms (or t, timestamp), x, y and, if need be, button, state, session and user. path is UTF-8. What
/// was left out, and why, is in tg_dataset_info(); it is an error if nothing is left. Sessions of one name in several .csv are
/// one only where the rows name a user. [any]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tg_dataset_open(
    path: *const c_char,
    options: *const tg_read_options,
    out: *mut *mut tg_dataset,
) -> tg_status {
    guard(|| {
        check("out", out, 1)?;
        // SAFETY: path and options are the caller's, as the contract of the API says.
        let (path, options) =
            unsafe { (memory::path(path)?, options::read(options, tg_read_options::of(&ReadOptions::default()))?) };
        let (data, report) = Dataset::open(path, &options.options()?)?;
        // SAFETY: out is the caller's.
        unsafe { put("out", out, Handle::new(Contents { data, report }).into_raw::<tg_dataset>().cast_mut()) }
    })
}

/// Movements; 0 for NULL. [any]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tg_dataset_len(data: *const tg_dataset) -> usize {
    // SAFETY: a handle of ours, or NULL.
    unsafe { data.as_ref() }.map_or(0, |data| data.len.load(Ordering::Acquire))
}

/// Numbers that the condition of each movement has; 0 for NULL. [any]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tg_dataset_condition_dim(data: *const tg_dataset) -> u32 {
    // SAFETY: a handle of ours, or NULL.
    unsafe { data.as_ref() }.map_or(0, |data| data.condition_dim)
}

/// What is in the set, as JSON: {"movements":n,"condition_dim":c,"feature_dim":f,"longest":points,"rejected":
/// {"counts":{"reason":n},"examples":[{"source","reason"}]}}. Writes it with a NUL to json and its size with the NUL to
/// *needed, which may be NULL; if capacity is less, *needed is still written. json NULL and capacity 0: only the size
/// is asked for. [shared]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tg_dataset_info(
    data: *const tg_dataset,
    json: *mut c_char,
    capacity: usize,
    needed: *mut usize,
) -> tg_status {
    guard(|| {
        // SAFETY: a handle of ours.
        let data = unsafe { handle::borrow(data, "data")? };
        let info = data.handle.shared("tg_dataset_info", |contents| {
            let Contents { data, report } = contents;
            Ok(serde_json::json!({
                "movements": data.len(),
                "condition_dim": data.condition_dim(),
                "feature_dim": data.feature_dim(),
                "longest": data.longest(),
                "rejected": { "counts": report.counts, "examples": report.rejected },
            }))
        })?;
        // SAFETY: json and needed are the caller's.
        unsafe { memory::text(&info.to_string(), json, capacity, needed) }
    })
}

/// [exclusive]; if calls that use the set are still running, it goes with the last of them.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tg_dataset_free(data: *mut tg_dataset) {
    guard(|| {
        // SAFETY: a handle of ours, used for the last time.
        unsafe { handle::free::<tg_dataset, Contents>(data) };
        Ok(())
    });
}

/// Points of the host -> a movement of ours.
pub(super) fn movement(points: &[tg_point]) -> Result<Movement, Failure> {
    let mut copy = memory::with_room(points.len(), "a movement")?;
    copy.extend(points.iter().map(|p| Point { x: p.x, y: p.y, t_ms: p.t_ms }));
    Ok(Movement::new(copy)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each has a value of its own, so that none can take another's place.
    #[test]
    fn every_rule_survives_the_way_through_c() {
        let cut = CutOptions {
            max_coordinate: 1.5,
            pause_ms: 2.5,
            min_points: 3,
            max_points: 4,
            min_distance: 5.5,
            min_duration_ms: 6.5,
            max_duration_ms: 7.5,
            max_path_ratio: 8.5,
            max_speed: 9.5,
            max_step_share: 10.5,
            max_end_speed: 11.5,
        };
        let options = ReadOptions { max_bytes: 1 << 40, csv_seconds: true, cut };
        assert_eq!(tg_read_options::of(&options).options().unwrap(), options);
    }
}
