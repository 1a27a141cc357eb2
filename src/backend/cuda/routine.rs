//! Work that a session is asked for again and again: done, then recorded, from then on one launch.

use std::sync::Arc;

use cudarc::driver::{CudaGraph, CudaStream, DriverError, sys};

use super::context::Context;
use crate::error::Result;

#[derive(Default)]
pub(super) enum Routine {
    #[default]
    New,
    Tried,
    Recorded(CudaGraph),
}

impl Routine {
    /// Asks for the work once more. The context has been entered; nothing in the work may wait.
    pub(super) fn again(
        self,
        context: &Context,
        stream: &Arc<CudaStream>,
        work: impl FnOnce() -> Result<()>,
    ) -> Result<Routine> {
        let routine = match self {
            // The first time finds and compiles the kernels, which must not happen while a graph is recorded.
            Routine::New => work().map(|()| Routine::Tried)?,
            Routine::Tried => Routine::Recorded(record(context, stream, work)?),
            recorded => recorded,
        };
        if let Routine::Recorded(graph) = &routine {
            graph.launch().map_err(|e| context.failed("launching a graph", e))?;
        }
        Ok(routine)
    }
}

/// Records what `work` asks for instead of doing it.
fn record(context: &Context, stream: &Arc<CudaStream>, work: impl FnOnce() -> Result<()>) -> Result<CudaGraph> {
    let failed = |e| context.failed("recording a graph", e);
    stream.begin_capture(sys::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL).map_err(failed)?;
    let recording = Recording(stream);
    work()?;
    recording.end().map_err(failed)?.ok_or_else(|| context.error("an empty graph"))
}

/// A stream that records. It ends where the work that is recorded fails or panics.
struct Recording<'a>(&'a Arc<CudaStream>);

impl Recording<'_> {
    fn end(self) -> std::result::Result<Option<CudaGraph>, DriverError> {
        let stream = self.0;
        std::mem::forget(self);
        stream.end_capture(sys::CUgraphInstantiate_flags(0))
    }
}

impl Drop for Recording<'_> {
    fn drop(&mut self) {
        _ = self.0.end_capture(sys::CUgraphInstantiate_flags(0));
    }
}
