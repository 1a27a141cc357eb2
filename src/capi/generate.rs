//! Movements and features out of a model.

use super::data::tg_point;
use super::guard::{Failure, guard};
use super::handle;
use super::memory::{Output, bug, input, product, with_room};
use super::model::tg_model;
use super::options;
use super::settings::tg_sample_options;
use super::status::tg_status;
use crate::data::{Movement, Point};
use crate::error::Error;
use crate::model::Model;
use crate::sample::SampleOptions;

impl tg_sample_options {
    /// What the host asks for.
    ///
    /// # Safety
    /// As for `options::read`.
    unsafe fn get(given: *const tg_sample_options, count: usize) -> Result<SampleOptions, Failure> {
        // SAFETY: the caller's promise.
        let given = unsafe { options::read(given, tg_sample_options::default())? };
        options::first(given.first, count)?;
        Ok(SampleOptions {
            seed: given.seed,
            first: given.first,
            seq_len: usize::try_from(given.seq_len)
                .map_err(|_| Failure::argument("seq_len", given.seq_len, "a size"))?,
            truncation_psi: given.truncation_psi,
            step_temperature: given.step_temperature,
            time_temperature: given.time_temperature,
            candidates: given.candidates,
            allow_tf32: options::flag("allow_tf32", given.allow_tf32)?,
            allow_amx: options::flag("allow_amx", given.allow_amx)?,
            threads: options::threads(given.threads)?,
        })
    }
}

/// With what the model's settings say in place of 0.
fn completed(mut options: SampleOptions, model: &Model) -> SampleOptions {
    if options.truncation_psi == 0.0 {
        options.truncation_psi = model.config().truncation_psi;
    }
    options
}

/// A batch of movements in the host's memory: count rows of `stride` points, and how many of each are used.
pub(super) struct Rows {
    points: Output<tg_point>,
    lengths: Option<Output<u32>>,
    stride: usize,
}

impl Rows {
    /// `needed`: the longest movement that may come.
    ///
    /// # Safety
    /// As for `Output::new`, for count rows and for count lengths, which may be NULL.
    pub(super) unsafe fn new(
        points: *mut tg_point,
        stride: usize,
        needed: usize,
        count: usize,
        lengths: *mut u32,
    ) -> Result<Rows, Failure> {
        if stride < needed {
            return Err(Error::Buffer { name: "a row of points", got: stride, needed }.into());
        }
        let room = product("points", count, stride)?;
        // SAFETY: the caller's promise.
        let (points, lengths) =
            unsafe { (Output::new("points", points, room, room)?, Output::optional("lengths", lengths, count)?) };
        Ok(Rows { points, lengths, stride })
    }

    /// What a row has beyond its movement repeats the last point: a pointer that rests.
    pub(super) fn put<'a>(&mut self, movements: impl Iterator<Item = &'a [Point]> + Clone) -> Result<(), Failure> {
        if let Some(long) = movements.clone().find(|points| points.len() > self.stride || points.is_empty()) {
            return Err(bug(format!("bug in trajgan: a movement of {} points", long.len())));
        }
        let mut row = with_room(self.stride, "a row of points")?;
        for (i, points) in movements.clone().enumerate() {
            let last = points.len() - 1;
            row.clear();
            row.extend((0..self.stride).map(|t| of(points[t.min(last)])));
            self.points.put(i * self.stride, &row);
        }
        self.put_lengths(movements.map(<[Point]>::len));
        Ok(())
    }

    pub(super) fn put_lengths(&mut self, lengths: impl Iterator<Item = usize>) {
        if let Some(out) = &mut self.lengths {
            put_lengths(out, lengths);
        }
    }
}

pub(super) fn points_of(movements: &[Movement]) -> impl Iterator<Item = &[Point]> + Clone {
    movements.iter().map(|m| m.points.as_slice())
}

pub(super) fn of(point: Point) -> tg_point {
    tg_point { x: point.x, y: point.y, t_ms: point.t_ms }
}

/// count x condition_dim numbers, or None for NULL.
///
/// # Safety
/// As for `memory::input`.
unsafe fn wanted<'a>(model: &Model, conditions: *const f64, count: usize) -> Result<Option<&'a [f64]>, Failure> {
    if conditions.is_null() {
        return Ok(None);
    }
    let len = product("conditions", count, model.config().condition_dim)?;
    // SAFETY: the caller's promise.
    unsafe { input("conditions", conditions, len).map(Some) }
}

/// ---- generation ----
///
/// A batch of movements lies in memory as count rows of stride points: movement i is the first lengths[i] points of row
/// i, points[i * stride]. That is a count x stride x 3 array of double.
///
/// Fills *out, which has struct_size bytes, with the defaults. [any]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tg_sample_options_init(out: *mut tg_sample_options, struct_size: usize) -> tg_status {
    // SAFETY: out is the caller's, with the size it says.
    guard(|| unsafe { options::write(out, struct_size, tg_sample_options::default()) })
}

/// Draws count movements, each from x = y = t_ms = 0. conditions: count x condition_dim numbers, in pixels or the units
/// of the data's own conditions (of a folder of arrays, too, whose conditions are scaled: the model scales them); only a
/// model of arrays without limits takes them scaled. NULL: drawn as they were in training. The closed loop takes
/// distances, 1 to 1000000 px, whatever the conditions of its data set were: it ends exactly that far off, to the pixel,
/// in the direction of some training movement. stride: seq_len or more, max_seq_len or more if that is 0. Beyond its movement a row repeats the last
/// point. lengths may be NULL if seq_len is not 0. [shared]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tg_generate(
    model: *const tg_model,
    conditions: *const f64,
    count: usize,
    options: *const tg_sample_options,
    points: *mut tg_point,
    stride: usize,
    lengths: *mut u32,
) -> tg_status {
    guard(|| {
        // SAFETY: a handle of ours, and the caller's options.
        let (model, options) = unsafe { (handle::borrow(model, "model")?, tg_sample_options::get(options, count)?) };
        model.handle.shared("tg_generate", |model| {
            let options = completed(options, model);
            let own_lengths = options.seq_len == 0;
            if own_lengths && lengths.is_null() && count > 0 {
                return Err(Failure::argument("lengths", "NULL", format!("{count} values, as seq_len is 0")));
            }
            let needed = model.most_steps(options.seq_len)?;
            // SAFETY: the buffers are the caller's.
            let (mut rows, conditions) =
                unsafe { (Rows::new(points, stride, needed, count, lengths)?, wanted(model, conditions, count)?) };
            rows.put(points_of(&model.generate(count, conditions, &options)?))
        })
    })
}

/// The same movements as the model's own numbers: count x T x feature_dim floats in [-1,1], where T is seq_len, or
/// max_seq_len if that is 0; what a movement does not use is 0. features has room for capacity floats. lengths: count
/// numbers of points, or NULL. [shared]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tg_generate_features(
    model: *const tg_model,
    conditions: *const f64,
    count: usize,
    options: *const tg_sample_options,
    features: *mut f32,
    capacity: usize,
    lengths: *mut u32,
) -> tg_status {
    guard(|| {
        // SAFETY: a handle of ours, and the caller's options.
        let (model, options) = unsafe { (handle::borrow(model, "model")?, tg_sample_options::get(options, count)?) };
        model.handle.shared("tg_generate_features", |model| {
            let options = completed(options, model);
            let steps = model.most_steps(options.seq_len)?;
            let needed = product("features", product("features", count, steps)?, model.config().feature_dim)?;
            // SAFETY: the buffers are the caller's.
            let (mut out, mut used, conditions) = unsafe {
                let used = Output::optional("lengths", lengths, count)?;
                (Output::new("features", features, capacity, needed)?, used, wanted(model, conditions, count)?)
            };
            let (drawn, drawn_lengths) = model.generate_features(count, conditions, &options)?;
            put_array(&mut out, drawn.iter().copied(), drawn.len(), needed)?;
            used.iter_mut().for_each(|used| put_lengths(used, drawn_lengths.iter().copied()));
            Ok(())
        })
    })
}

fn put_lengths(out: &mut Output<u32>, lengths: impl Iterator<Item = usize>) {
    lengths.enumerate().for_each(|(i, length)| out.put(i, &[length as u32])); // far below 2^32
}

pub(super) fn put_array(
    out: &mut Output<f32>,
    values: impl Iterator<Item = f32>,
    len: usize,
    needed: usize,
) -> Result<(), Failure> {
    if len != needed {
        return Err(bug(format!("bug in trajgan: {len} numbers, expected {needed}")));
    }
    values.enumerate().for_each(|(i, value)| out.put(i, &[value]));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each has a value of its own, so that none can take another's place.
    #[test]
    fn every_option_of_a_sample_arrives() {
        let given = tg_sample_options {
            struct_size: size_of::<tg_sample_options>() as u32,
            threads: 3,
            seed: 1 << 40,
            first: 1 << 41,
            seq_len: 4,
            truncation_psi: 5.5,
            step_temperature: 6.5,
            time_temperature: 7.5,
            allow_tf32: 1,
            candidates: 8,
            allow_amx: 1,
        };
        let wanted = SampleOptions {
            seed: 1 << 40,
            first: 1 << 41,
            seq_len: 4,
            truncation_psi: 5.5,
            step_temperature: 6.5,
            time_temperature: 7.5,
            candidates: 8,
            allow_tf32: true,
            allow_amx: true,
            threads: 3,
        };
        // SAFETY: a whole struct.
        assert_eq!(unsafe { tg_sample_options::get(&given, 1) }.ok(), Some(wanted));
    }
}
