//! Handles of streams: paths point by point.

use super::data::tg_point;
use super::generate::of;
use super::guard::{Failure, guard};
use super::handle::{self, Handle};
use super::memory::{Output, check, put};
use super::model::tg_model;
use super::path::tg_path_options;
use super::status::tg_status;
use crate::sample::stream::Stream;

/// A path under way. It keeps the weights that it began with: the model may be trained on or freed.
pub struct tg_stream {
    handle: Handle<Stream>,
}

impl From<Handle<Stream>> for tg_stream {
    fn from(handle: Handle<Stream>) -> Self {
        tg_stream { handle }
    }
}

impl AsRef<Handle<Stream>> for tg_stream {
    fn as_ref(&self) -> &Handle<Stream> {
        &self.handle
    }
}

/// ---- streams ----
///
/// Begins the path that tg_path() draws for the same ends and options: the same points, bit for bit, but one at a time,
/// with bounded work and no allocation for each. bounded, polling_hz and durations have to be off, as they need the
/// whole path. [shared] for model.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tg_stream_new(
    model: *const tg_model,
    from_x: f64,
    from_y: f64,
    to_x: f64,
    to_y: f64,
    options: *const tg_path_options,
    out: *mut *mut tg_stream,
) -> tg_status {
    guard(|| {
        check("out", out, 1)?;
        // SAFETY: a handle of ours, and the caller's options.
        let (model, options) = unsafe { (handle::borrow(model, "model")?, tg_path_options::get(options, 1)?) };
        let stream = model
            .handle
            .shared("tg_stream_new", |model| Ok(model.stream([from_x, from_y], [to_x, to_y], &options)?))?;
        // SAFETY: out is the caller's.
        unsafe { put("out", out, Handle::new(stream).into_raw::<tg_stream>().cast_mut()) }
    })
}

/// The next points, as many as points has room for; the first of all is where the path begins. *written: how many came;
/// less than capacity: the path has ended. [exclusive]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tg_stream_next(
    stream: *mut tg_stream,
    points: *mut tg_point,
    capacity: usize,
    written: *mut usize,
) -> tg_status {
    guard(|| {
        check("written", written, 1)?;
        // SAFETY: a handle of ours, and the caller's buffer.
        let (stream, mut out) =
            unsafe { (handle::borrow(stream, "stream")?, Output::new("points", points, capacity, capacity)?) };
        stream.handle.exclusive("tg_stream_next", |stream| {
            let mut count = 0;
            for point in stream.by_ref().take(capacity) {
                out.put(count, &[of(point)]);
                count += 1;
            }
            // SAFETY: written is the caller's.
            unsafe { put("written", written, count) }
        })
    })
}

/// Another end for the rest of the way, from where the stream is. It must be within 1000000 px of 0, and is rounded with
/// integer_pixels. A closed loop's path that is shorter than all that the model has learnt is a longer walk scaled down:
/// then it must be within 10000000 px of the start, scaled down as much. No step gets longer than twice the longest
/// that the movement would have had (with v6 and an eighth of that for each further end), but for rounding to whole
/// pixels, so that the path may take more than max_seq_len points; v6 adds 65536 of them at most, and steps get longer
/// to an end that is too far for those. To know that step, a closed loop's first new end takes as long as the rest of
/// its points, and memory. TG_ERR_STATE once the path has ended. [exclusive]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tg_stream_aim(stream: *mut tg_stream, x: f64, y: f64) -> tg_status {
    guard(|| {
        // SAFETY: a handle of ours.
        let stream = unsafe { handle::borrow(stream, "stream")? };
        stream.handle.exclusive("tg_stream_aim", |stream| Ok(stream.aim([x, y])?))
    })
}

/// Where the pointer is at a time since the start, between points in a straight line; before the start and after the end
/// it rests. t_ms must not fall from call to call: of what is past the last point alone is known, and given. The stream
/// goes on as far as needed, so that tg_stream_next() gives what comes after. *ended, which may be NULL: 1 if t_ms is
/// behind the last point or tg_stream_next() has said that the path has ended, else 0. [exclusive]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tg_stream_at(
    stream: *mut tg_stream,
    t_ms: f64,
    point: *mut tg_point,
    ended: *mut u32,
) -> tg_status {
    guard(|| {
        check("point", point, 1)?;
        // SAFETY: a handle of ours, and the caller's place for a number.
        let (stream, mut over) = unsafe { (handle::borrow(stream, "stream")?, Output::optional("ended", ended, 1)?) };
        if !t_ms.is_finite() {
            return Err(Failure::argument("t_ms", t_ms, "a finite number"));
        }
        stream.handle.exclusive("tg_stream_at", |stream| {
            let here = of(stream.at(t_ms));
            if let Some(over) = &mut over {
                over.put(0, &[stream.has_ended().into()]);
            }
            // SAFETY: point is the caller's.
            unsafe { put("point", point, here) }
        })
    })
}

/// [exclusive]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tg_stream_free(stream: *mut tg_stream) {
    guard(|| {
        // SAFETY: a handle of ours, used for the last time.
        unsafe { handle::free::<tg_stream, Stream>(stream) };
        Ok(())
    });
}
