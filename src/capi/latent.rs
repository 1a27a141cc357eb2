//! Into the latent space and back: movements, features and their summaries.

use ndarray::ArrayView2;

use super::data::{movement, tg_point};
use super::generate::{Rows, points_of, put_array};
use super::guard::{Failure, guard};
use super::memory::{Output, bug, input, product, with_room};
use super::model::tg_model;
use super::status::tg_status;
use super::{handle, options};
use crate::error::{Error, try_zeroed};
use crate::model::Model;

/// The first `length` of each row's `stride` places, which have `width` values each.
fn used<'a, T>(
    rows: &'a [T],
    width: usize,
    stride: usize,
    lengths: &'a [u32],
) -> impl Iterator<Item = Result<&'a [T], Failure>> {
    lengths.iter().enumerate().map(move |(i, &length)| {
        let row = &rows[i * stride * width..][..stride * width];
        (length as usize <= stride)
            .then(|| &row[..length as usize * width])
            .ok_or_else(|| Failure::argument(&format!("lengths[{i}]"), length, format!("up to stride, {stride}")))
    })
}

/// count x summary_dim numbers and count lengths of movements to decode.
///
/// # Safety
/// As for `memory::input`.
unsafe fn to_decode<'a>(
    model: &Model,
    summaries: *const f32,
    lengths: *const u32,
    count: usize,
) -> Result<(ArrayView2<'a, f32>, Vec<usize>), Failure> {
    let dim = model.config().summary_dim;
    // SAFETY: the caller's promise.
    let (z, lengths) = unsafe {
        (input("summaries", summaries, product("summaries", count, dim)?)?, input("lengths", lengths, count)?)
    };
    let mut wanted = with_room(count, "lengths")?;
    wanted.extend(lengths.iter().map(|n| *n as usize));
    model.check_lengths(&wanted)?;
    Ok((ArrayView2::from_shape((count, dim), z).map_err(|e| bug(e.to_string()))?, wanted))
}

/// Movements to their summaries: count x summary_dim floats, in a buffer with room for capacity. lengths[i] >= 3 and up
/// to max_seq_len; t_ms rising. threads: 0 is one per core. [shared]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tg_encode(
    model: *const tg_model,
    points: *const tg_point,
    stride: usize,
    lengths: *const u32,
    count: usize,
    threads: u32,
    summaries: *mut f32,
    capacity: usize,
) -> tg_status {
    guard(|| {
        // SAFETY: a handle of ours.
        let model = unsafe { handle::borrow(model, "model")? };
        model.handle.shared("tg_encode", |model| {
            let needed = product("summaries", count, model.config().summary_dim)?;
            // SAFETY: the buffers are the caller's.
            let (points, lengths, mut out) = unsafe {
                let points = input("points", points, product("points", count, stride)?)?;
                let lengths = input("lengths", lengths, count)?;
                (points, lengths, Output::new("summaries", summaries, capacity, needed)?)
            };
            let mut movements = with_room(count, "movements")?;
            for (i, points) in used(points, 1, stride, lengths).enumerate() {
                let named = |e: Failure| Failure { message: format!("movement {i}: {}", e.message), ..e };
                movements.push(movement(points?).map_err(named)?);
            }
            let encoded = model.encode(&movements, options::threads(threads)?)?;
            put_array(&mut out, encoded.iter().copied(), encoded.len(), needed)
        })
    })
}

/// The same for movements as the model's own numbers, as tg_generate_features() gives them: movement i is the first
/// lengths[i] x feature_dim floats of features[i * stride * feature_dim]; lengths[i] >= 1. V6 only, as tg_decode(). [shared]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tg_encode_features(
    model: *const tg_model,
    features: *const f32,
    stride: usize,
    lengths: *const u32,
    count: usize,
    threads: u32,
    summaries: *mut f32,
    capacity: usize,
) -> tg_status {
    guard(|| {
        // SAFETY: a handle of ours.
        let model = unsafe { handle::borrow(model, "model")? };
        model.handle.shared("tg_encode_features", |model| {
            let needed = product("summaries", count, model.config().summary_dim)?;
            let width = model.config().feature_dim;
            let size = product("features", product("features", count, stride)?, width)?;
            // SAFETY: the buffers are the caller's.
            let (features, lengths, mut out) = unsafe {
                let (features, lengths) = (input("features", features, size)?, input("lengths", lengths, count)?);
                (features, lengths, Output::new("summaries", summaries, capacity, needed)?)
            };
            let mut rows = with_room(count, "features")?;
            for row in used(features, width, stride, lengths) {
                let row = row?;
                let mut own = with_room(row.len(), "features")?;
                own.extend_from_slice(row);
                rows.push(own);
            }
            let encoded = model.encode_features(&rows, options::threads(threads)?)?;
            put_array(&mut out, encoded.iter().copied(), encoded.len(), needed)
        })
    })
}

/// Summaries, count x summary_dim finite numbers, back to movements of the given lengths, each from x = y = t_ms = 0.
/// lengths[i] is 1 or more and up to max_seq_len and stride. TG_ERR_STATE with the closed loop, which needs a target.
/// [shared]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tg_decode(
    model: *const tg_model,
    summaries: *const f32,
    lengths: *const u32,
    count: usize,
    threads: u32,
    points: *mut tg_point,
    stride: usize,
) -> tg_status {
    guard(|| {
        // SAFETY: a handle of ours.
        let model = unsafe { handle::borrow(model, "model")? };
        model.handle.shared("tg_decode", |model| {
            // SAFETY: the arrays are the caller's.
            let (z, wanted) = unsafe { to_decode(model, summaries, lengths, count)? };
            let longest = wanted.iter().copied().max().unwrap_or(0);
            // SAFETY: the buffer is the caller's.
            let mut rows = unsafe { Rows::new(points, stride, longest, count, std::ptr::null_mut())? };
            rows.put(points_of(&model.decode(z, &wanted, options::threads(threads)?)?))
        })
    })
}

/// The same as the model's own numbers: count x stride x feature_dim floats in [-1,1], of which features has room; what a
/// movement does not use is 0. [shared]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tg_decode_features(
    model: *const tg_model,
    summaries: *const f32,
    lengths: *const u32,
    count: usize,
    threads: u32,
    features: *mut f32,
    stride: usize,
) -> tg_status {
    guard(|| {
        // SAFETY: a handle of ours.
        let model = unsafe { handle::borrow(model, "model")? };
        model.handle.shared("tg_decode_features", |model| {
            // SAFETY: the arrays are the caller's.
            let (z, wanted) = unsafe { to_decode(model, summaries, lengths, count)? };
            let longest = wanted.iter().copied().max().unwrap_or(0);
            if stride < longest {
                return Err(Error::Buffer { name: "a row of features", got: stride, needed: longest }.into());
            }
            let row = product("features", stride, model.config().feature_dim)?;
            let size = product("features", count, row)?;
            // SAFETY: the buffer is the caller's.
            let mut out = unsafe { Output::new("features", features, size, size)? };
            let mut padded = try_zeroed(row, "a row of features")?;
            for (i, values) in model.decode_features(z, &wanted, options::threads(threads)?)?.iter().enumerate() {
                let (used, rest) = padded.split_at_mut(values.len());
                used.copy_from_slice(values);
                rest.fill(0.0);
                out.put(i * row, &padded);
            }
            Ok(())
        })
    })
}

/// steps >= 2 summaries on the way from one to another, both included: steps x summary_dim floats, in a buffer with room
/// for capacity. [shared]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tg_interpolate(
    model: *const tg_model,
    from: *const f32,
    to: *const f32,
    steps: usize,
    summaries: *mut f32,
    capacity: usize,
) -> tg_status {
    guard(|| {
        // SAFETY: a handle of ours.
        let model = unsafe { handle::borrow(model, "model")? };
        model.handle.shared("tg_interpolate", |model| {
            let dim = model.config().summary_dim;
            let needed = product("summaries", steps, dim)?;
            // SAFETY: the buffers are the caller's.
            let (from, to, mut out) = unsafe {
                let out = Output::new("summaries", summaries, capacity, needed)?;
                (input("from", from, dim)?, input("to", to, dim)?, out)
            };
            let path = model.interpolate(from, to, steps)?;
            put_array(&mut out, path.iter().copied(), path.len(), needed)
        })
    })
}
