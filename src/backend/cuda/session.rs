//! One piece of work on a device: its memory, and the queue that its kernels run in, one after the other.

use std::cell::{Cell, RefCell};
use std::ffi::c_void;
use std::sync::Arc;

use cudarc::driver::{CudaFunction, CudaSlice, CudaStream, DevicePtr, LaunchConfig, PushKernelArg, result, sys};

use super::context::{Context, Host};
use super::kernels::Kernel;
use super::plan::{Plan, Rows, Span};
use super::routine::Routine;
use crate::error::{Error, Result};

/// What gaps are filled with: floats of such bytes are no numbers.
const GAP: u8 = 0xff;

/// How many blocks of how many threads: the names of kernels/tg_cuda.h.
#[derive(Clone, Copy, Debug)]
pub(super) enum Shape {
    /// One thread an element.
    Each(usize),
    /// One warp a row.
    Warps(usize),
    /// One block of 256 threads for each.
    Blocks(usize),
    /// So many blocks of 256 threads.
    Grid(usize, usize, usize),
    /// So many blocks, and the threads of each.
    Tiles(usize, usize),
    /// One column of 8 threads a column, so many times.
    Columns(usize, usize),
    One,
}

/// Which blocks run at the same time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Together {
    /// So many neighbours, which reach each other's shared memory: compute capability 9.0 and above.
    Cluster(usize),
    /// All, which the device must have the room for.
    All,
}

impl Together {
    fn attribute(self) -> sys::CUlaunchAttribute {
        use sys::CUlaunchAttributeID as Id;
        let (id, value) = match self {
            Together::Cluster(size) => {
                let blocks = sys::CUlaunchAttributeValue_union__bindgen_ty_1 { x: size as u32, y: 1, z: 1 };
                (Id::CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION, sys::CUlaunchAttributeValue { clusterDim: blocks })
            }
            Together::All => (Id::CU_LAUNCH_ATTRIBUTE_COOPERATIVE, sys::CUlaunchAttributeValue { cooperative: 1 }),
        };
        sys::CUlaunchAttribute { id, pad: [0; 4], value }
    }
}

/// What a kernel is given.
#[derive(Clone, Copy, Debug)]
pub(super) enum Arg {
    Span(Span),
    Null,
    Int(i32),
    Long(u64),
    Float(f32),
    Double(f64),
}

impl From<Span> for Arg {
    fn from(span: Span) -> Arg {
        Arg::Span(span)
    }
}

impl From<Option<Span>> for Arg {
    fn from(span: Option<Span>) -> Arg {
        span.map_or(Arg::Null, Arg::Span)
    }
}

impl From<Rows> for Arg {
    fn from(rows: Rows) -> Arg {
        Arg::Span(rows.count)
    }
}

/// Sizes, which are far below 2^31: a model has at most 2^28 parameters.
impl From<usize> for Arg {
    fn from(size: usize) -> Arg {
        Arg::Int(size as i32)
    }
}

impl Arg {
    /// Its letter in the table of kernels.
    fn letter(self) -> char {
        match self {
            Arg::Span(_) | Arg::Null => 'p',
            Arg::Int(_) => 'i',
            Arg::Long(_) => 'l',
            Arg::Float(_) => 'f',
            Arg::Double(_) => 'd',
        }
    }
}

/// Numbers that go to and from the device as they are.
pub trait Plain: Copy {}
impl Plain for f32 {}
impl Plain for f64 {}
impl Plain for i32 {}
impl Plain for u32 {}

/// Numbers of one of two kinds.
#[derive(Clone, Copy, Debug)]
pub(super) enum Numbers<'a> {
    Floats(&'a [f32]),
    Words(&'a [u32]),
}

/// A kernel, its blocks, and their bytes of shared memory.
type Question = (Kernel, Together, usize);

/// Memory and a queue of a device.
pub struct Session {
    // The driver gives graphs and memory back to the context that is current: they come before the host's, which is put back
    // before the device may be closed.
    routine: Cell<Routine>,
    _memory: CudaSlice<f32>,
    stream: Arc<CudaStream>,
    host: Host,
    context: Arc<Context>,
    start: u64,
    len: usize,
    gaps: Vec<Span>,
    /// Set by blocks that waited too long for each other (kernels/expander_group.h), and whether any have been launched that may.
    late: Span,
    waiting: Cell<bool>,
    /// What `at_once` has answered.
    at_once: RefCell<Vec<(Question, usize)>>,
    pub(super) multiprocessors: usize,
    /// Whether products forward round their factors to TF32.
    pub(super) tf32: bool,
}

impl Drop for Session {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.check_gaps();
        }
        self.host = Host::now();
        self.context.make_current();
    }
}

/// Numbers of the host that are on their way: they cannot go before the device has them.
#[must_use]
pub(super) struct Sent<'a>(&'a Session);

impl Drop for Sent<'_> {
    fn drop(&mut self) {
        let _ = self.0.wait(); // what fails here fails in the next call, too
    }
}

impl Session {
    /// # Errors
    /// `Memory` where the device has too little, with what it is for; `Device` where it fails.
    pub fn new(context: &Arc<Context>, mut plan: Plan, purpose: &'static str) -> Result<Session> {
        let late = plan.floats(1);
        let (len, bytes) = (plan.used, plan.bytes());
        let too_much = || Error::Memory { bytes, purpose };
        if bytes > isize::MAX as usize {
            return Err(too_much());
        }
        let failed = |e| context.failed("making a stream", e);
        let _host = context.enter().map_err(failed)?;
        let stream = context.cuda.new_stream().map_err(failed)?;
        let memory = stream.alloc_zeros::<f32>(len).map_err(|error| match error.0 {
            sys::CUresult::CUDA_ERROR_OUT_OF_MEMORY => too_much(),
            _ => context.failed("asking for memory", error),
        })?;
        let start = memory.device_ptr(&stream).0;
        let (context, multiprocessors) = (context.clone(), context.multiprocessors());
        let session = Session {
            routine: Cell::default(),
            _memory: memory,
            stream,
            host: Host::default(),
            context,
            start,
            len,
            gaps: plan.gaps,
            late,
            waiting: Cell::default(),
            at_once: RefCell::default(),
            multiprocessors,
            tf32: false,
        };
        session.gaps.iter().try_for_each(|&gap| session.set_bytes(gap, GAP))?;
        session.wait()?;
        Ok(session)
    }

    /// # Panics
    /// If a kernel has written beyond its span. What a device that has failed holds says nothing.
    fn check_gaps(&self) {
        for &gap in &self.gaps {
            let mut words = vec![u32::from_ne_bytes([GAP; 4]); gap.len()];
            if self.receive(gap, &mut words).is_ok() {
                let whole = words.iter().all(|word| word.to_ne_bytes() == [GAP; 4]);
                assert!(whole, "a kernel wrote beyond the span that ends at {}", gap.start);
            }
        }
    }

    pub(super) fn context(&self) -> &Context {
        &self.context
    }

    /// For kernels whose blocks wait for each other: int (1).
    pub(super) fn late(&self) -> Span {
        self.late
    }

    fn address(&self, span: Span) -> u64 {
        assert!(span.start + span.len() <= self.len, "a span of another session");
        self.start + 4 * span.start as u64
    }

    /// Waits until all that was asked for is done.
    pub fn wait(&self) -> Result<()> {
        let failed = |e| self.context.failed("waiting for the device", e);
        let _host = self.context.enter().map_err(failed)?;
        self.stream.synchronize().map_err(failed)
    }

    /// Fills the beginning of a span.
    pub fn upload<T: Plain>(&self, to: Span, from: &[T]) -> Result<()> {
        self.send(to, from)?;
        self.wait()
    }

    /// The same for several spans, with one wait.
    pub(super) fn upload_all(&self, copies: &[(Span, Numbers)]) -> Result<()> {
        let _sent = self.send_all(copies)?;
        self.wait()
    }

    /// The same without a wait: the device is asked for more while numbers are on their way.
    pub(super) fn send_all<'a>(&'a self, copies: &[(Span, Numbers<'a>)]) -> Result<Sent<'a>> {
        let sent = Sent(self); // waits even where something fails
        copies.iter().try_for_each(|&(to, from)| match from {
            Numbers::Floats(from) => self.send(to, from),
            Numbers::Words(from) => self.send(to, from),
        })?;
        Ok(sent)
    }

    /// Asks for a copy; `from` must stay until it has been waited for.
    fn send<T: Plain>(&self, to: Span, from: &[T]) -> Result<()> {
        assert!(size_of_val(from) <= 4 * to.len(), "{} bytes into {to:?}", size_of_val(from));
        if from.is_empty() {
            return Ok(()); // nothing has no address
        }
        let failed = |e| self.context.failed("copying to the device", e);
        let _host = self.context.enter().map_err(failed)?;
        // SAFETY: the span has room for it, and callers wait before they give `from` back, or leave that to a `Sent`.
        unsafe { result::memcpy_htod_async(self.address(to), from, self.stream.cu_stream()) }.map_err(failed)
    }

    /// Asks for a copy of a span, and does not wait.
    pub(super) fn copy(&self, to: Span, from: Span) -> Result<()> {
        assert_eq!(to.len(), from.len(), "{from:?} to {to:?}");
        let failed = |e| self.context.failed("copying on the device", e);
        let _host = self.context.enter().map_err(failed)?;
        let (to, from, bytes) = (self.address(to), self.address(from), 4 * from.len());
        // SAFETY: both are whole spans of this session.
        unsafe { result::memcpy_dtod_async(to, from, bytes, self.stream.cu_stream()) }.map_err(failed)
    }

    /// The beginning of a span, once all that was asked for is done.
    ///
    /// # Errors
    /// `Device` where it fails, or where blocks that wait for each other have given up: the span then says nothing.
    pub fn download<T: Plain>(&self, from: Span, to: &mut [T]) -> Result<()> {
        self.receive(from, to)?;
        let mut late = [0i32];
        if self.waiting.get() {
            self.receive(self.late, &mut late)?;
        }
        let reason = "blocks of an expander gave up waiting for each other: they do not run at the same time";
        if late == [0] { Ok(()) } else { Err(self.context.error(reason)) }
    }

    fn receive<T: Plain>(&self, from: Span, to: &mut [T]) -> Result<()> {
        assert!(size_of_val(to) <= 4 * from.len(), "{} bytes from {from:?}", size_of_val(to));
        if to.is_empty() {
            return self.wait();
        }
        let failed = |e| self.context.failed("copying from the device", e);
        let _host = self.context.enter().map_err(failed)?;
        // SAFETY: the span has as much, any bits are a number, and `to` lives until the wait is over.
        unsafe { result::memcpy_dtoh_async(to, self.address(from), self.stream.cu_stream()) }.map_err(failed)?;
        self.wait()
    }

    /// Asks for a kernel, and does not wait. shared: bytes of dynamic shared memory.
    pub(super) fn launch(&self, kernel: Kernel, shape: Shape, shared: usize, args: &[Arg]) -> Result<()> {
        let failed = |e| self.context.failed(kernel.name(), e);
        let _host = self.context.enter().map_err(failed)?;
        let (function, places) = self.prepare(kernel, args)?;
        let mut builder = self.stream.launch_builder(function);
        places.iter().for_each(|place| {
            builder.arg(place);
        });
        let more = || self.context.error(format!("{} in {shape:?}: more blocks than a grid can have", kernel.name()));
        let config = config(shape, shared).ok_or_else(more)?;
        // SAFETY: number and types of the arguments are those of the kernel's table, which tests compare with the PTX;
        // a launch function gives spans of the sizes that its kernel, quoted above it, asks for.
        unsafe { builder.launch(config) }.map_err(failed)?;
        Ok(())
    }

    /// The same for blocks of 256 threads that run at the same time.
    pub(super) fn launch_together(
        &self,
        kernel: Kernel,
        (blocks, together): (usize, Together),
        shared: usize,
        args: &[Arg],
    ) -> Result<()> {
        let failed = |e| self.context.failed(kernel.name(), e);
        let _host = self.context.enter().map_err(failed)?;
        let (function, mut places) = self.prepare(kernel, args)?;
        self.waiting.set(self.waiting.get() || matches!(together, Together::All));
        let mut attribute = together.attribute();
        let config = together_config(blocks, shared, &mut attribute, self.stream.cu_stream());
        let mut places: Vec<*mut c_void> = places.iter_mut().map(|place| std::ptr::from_mut(place).cast()).collect();
        // SAFETY: as for `launch`; attribute and places live until the call is over, which reads them.
        let code = unsafe {
            sys::cuLaunchKernelEx(&config, function.cu_function(), places.as_mut_ptr(), std::ptr::null_mut())
        };
        code.result().map_err(failed)
    }

    /// How many blocks of 256 threads run at the same time, in whole clusters where those are asked for; 0 where the driver has
    /// no answer, as for clusters larger than a slice of a device can have.
    ///
    /// It is asked once, before a graph is recorded.
    pub(super) fn at_once(&self, kernel: Kernel, together: Together, shared: usize) -> Result<usize> {
        let key = (kernel, together, shared);
        if let Some(&(_, blocks)) = self.at_once.borrow().iter().find(|(asked, _)| *asked == key) {
            return Ok(blocks);
        }
        let failed = |e| self.context.failed("asking for the room of a kernel", e);
        let _host = self.context.enter().map_err(failed)?;
        let function = self.context.kernel(kernel)?.cu_function();
        let blocks = match together {
            Together::Cluster(size) => {
                let (mut attribute, mut clusters) = (together.attribute(), 0);
                let config = together_config(size, shared, &mut attribute, self.stream.cu_stream());
                // SAFETY: a number is written; the configuration and its attribute live until the call is over.
                let code = unsafe { sys::cuOccupancyMaxActiveClusters(&mut clusters, function, &config) };
                code.result().map_or(0, |()| clusters.max(0) as usize * size)
            }
            Together::All => {
                // SAFETY: the function is there.
                let each = unsafe { result::occupancy::max_active_block_per_multiprocessor(function, 256, shared) };
                each.map_or(0, |each| each.max(0) as usize * self.multiprocessors)
            }
        };
        self.at_once.borrow_mut().push((key, blocks));
        Ok(blocks)
    }

    /// A kernel, and what is in the places of its arguments.
    fn prepare(&self, kernel: Kernel, args: &[Arg]) -> Result<(&CudaFunction, Vec<u64>)> {
        debug_assert_eq!(args.iter().map(|arg| arg.letter()).collect::<String>(), kernel.arguments(), "{kernel:?}");
        let function = self.context.kernel(kernel)?;
        // A parameter is read from the first bytes of its place: these are little-endian machines.
        Ok((function, args.iter().map(|&arg| self.bits(arg)).collect()))
    }

    /// Asks for zeros in a span, and does not wait.
    pub(super) fn clear(&self, span: Span) -> Result<()> {
        self.set_bytes(span, 0)
    }

    fn set_bytes(&self, span: Span, byte: u8) -> Result<()> {
        let failed = |e| self.context.failed("filling memory", e);
        let _host = self.context.enter().map_err(failed)?;
        let (at, bytes) = (self.address(span), 4 * span.len());
        // SAFETY: a whole span of this session.
        unsafe { result::memset_d8_async(at, byte, bytes, self.stream.cu_stream()) }.map_err(failed)
    }

    fn bits(&self, arg: Arg) -> u64 {
        match arg {
            Arg::Span(span) => self.address(span),
            Arg::Null => 0,
            Arg::Int(x) => u64::from(x as u32),
            Arg::Long(x) => x,
            Arg::Float(x) => u64::from(x.to_bits()),
            Arg::Double(x) => x.to_bits(),
        }
    }

    /// Asks for the session's routine, which is the same work every time. Nothing in it may wait.
    ///
    /// # Errors
    /// Those of the work; `Device` where it cannot be recorded or done again.
    pub fn ask(&self, work: impl FnOnce() -> Result<()>) -> Result<()> {
        // A graph that fails is dropped here, in the device's context.
        let _host = self.context.enter().map_err(|e| self.context.failed("launching a graph", e))?;
        self.routine.set(self.routine.take().again(&self.context, &self.stream, work)?);
        Ok(())
    }
}

/// So many blocks of 256 threads, with an attribute that the call reads.
fn together_config(
    blocks: usize,
    shared: usize,
    attribute: &mut sys::CUlaunchAttribute,
    stream: sys::CUstream,
) -> sys::CUlaunchConfig {
    sys::CUlaunchConfig {
        gridDimX: blocks as u32,
        gridDimY: 1,
        gridDimZ: 1,
        blockDimX: 256,
        blockDimY: 1,
        blockDimZ: 1,
        sharedMemBytes: shared as u32,
        hStream: stream,
        attrs: attribute,
        numAttrs: 1,
    }
}

/// None for more blocks than a grid can have.
fn config(shape: Shape, shared: usize) -> Option<LaunchConfig> {
    const MOST: [usize; 3] = [i32::MAX as usize, 65_535, 65_535];
    let (grid, block) = match shape {
        Shape::Each(n) => ((n.div_ceil(256), 1, 1), (256, 1)),
        Shape::Warps(n) => ((n.div_ceil(4), 1, 1), (128, 1)),
        Shape::Blocks(n) => ((n, 1, 1), (256, 1)),
        Shape::Grid(x, y, z) => ((x, y, z), (256, 1)),
        Shape::Tiles(n, threads) => ((n, 1, 1), (threads as u32, 1)),
        Shape::Columns(n, times) => ((n.div_ceil(32), times, 1), (32, 8)),
        Shape::One => ((1, 1, 1), (1, 1)),
    };
    let fits = [grid.0, grid.1, grid.2].into_iter().zip(MOST).all(|(blocks, most)| blocks <= most);
    fits.then_some(LaunchConfig {
        grid_dim: (grid.0 as u32, grid.1 as u32, grid.2 as u32),
        block_dim: (block.0, block.1, 1),
        shared_mem_bytes: shared as u32,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grids_have_an_end() {
        let blocks = |shape| config(shape, 0).map(|config| config.grid_dim);
        assert_eq!(blocks(Shape::Columns(33, 65_535)), Some((2, 65_535, 1)));
        assert_eq!(blocks(Shape::Grid(1 << 20, 3, 65_535)), Some((1 << 20, 3, 65_535)));
        for more in
            [Shape::Columns(33, 65_536), Shape::Grid(1, 65_536, 1), Shape::Grid(1, 1, 65_536), Shape::Each(1 << 40)]
        {
            assert_eq!(blocks(more), None, "{more:?}");
        }
    }
}
