//! A device that is open, with the kernels that have been asked for.

use std::sync::{Arc, OnceLock};

use cudarc::driver::sys::CUfunction_attribute as Attribute;
use cudarc::driver::{CudaContext, CudaFunction, CudaModule, DriverError, result, sys};
use cudarc::nvrtc::Ptx;

use super::kernels::{File, Kernel};
use super::probe::probe;
use crate::error::{Error, Result};

/// A CUDA device. It takes the device's primary context, which a host program may be using too.
#[derive(Debug)]
pub struct Context {
    ordinal: u32,
    name: String,
    limits: Limits,
    pub(super) cuda: Arc<CudaContext>,
    /// What has been used so far: the driver compiles a file when it is first needed.
    files: [OnceLock<Arc<CudaModule>>; File::ALL.len()],
    kernels: [OnceLock<CudaFunction>; Kernel::ALL.len()],
    host: Host,
}

/// What the device has and can do.
#[derive(Clone, Copy, Debug)]
struct Limits {
    /// Bytes of shared memory of a block.
    shared: usize,
    multiprocessors: usize,
    /// The first number of the compute capability.
    capability: usize,
    clusters: bool,
    cooperative: bool,
}

impl Limits {
    fn of(cuda: &CudaContext) -> std::result::Result<Limits, DriverError> {
        use sys::CUdevice_attribute as Which;
        let ask = |which| cuda.attribute(which).map(|value| value.max(0) as usize);
        Ok(Limits {
            shared: ask(Which::CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN)?,
            multiprocessors: ask(Which::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT)?,
            capability: ask(Which::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?,
            clusters: ask(Which::CU_DEVICE_ATTRIBUTE_CLUSTER_LAUNCH)? > 0,
            cooperative: ask(Which::CU_DEVICE_ATTRIBUTE_COOPERATIVE_LAUNCH)? > 0,
        })
    }
}

/// The context that a thread had current before ours: of a host program that uses CUDA itself. It is current again once this
/// is dropped. What ends with cudarc's objects in it has one as a field below them, which is dropped after them, and sets it
/// first.
#[derive(Debug, Default)]
pub(super) struct Host(Option<usize>);

impl Host {
    /// The thread's current context, 0 for none; nothing is put back where the driver does not say.
    pub fn now() -> Host {
        Host(result::ctx::get_current().ok().map(|current| current.map_or(0, |context| context as usize)))
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        if let Some(context) = self.0 {
            // SAFETY: it was current on this thread when the call began, which has not destroyed it.
            _ = unsafe { result::ctx::set_current(context as sys::CUcontext) };
        }
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        self.host = Host::now();
        self.make_current();
    }
}

impl Context {
    /// # Errors
    /// The reason why the device cannot be used, in words.
    pub fn open(ordinal: u32) -> std::result::Result<Context, String> {
        probe(ordinal).map_err(|absence| absence.to_string())?;
        let words = |error: Error| match error {
            Error::Device { reason, .. } => reason,
            other => other.to_string(),
        };
        let failed = |call| move |error| words(failure(ordinal, call, error));
        let _host = Host::now();
        let cuda = CudaContext::new(ordinal as usize).map_err(failed("opening the device"))?;
        // SAFETY: a session uses its memory from its own stream only, and waits for that before it reads.
        unsafe { cuda.disable_event_tracking() };
        let name = cuda.name().map_err(failed("asking for the device's name"))?;
        let limits = Limits::of(&cuda).map_err(failed("asking what the device can do"))?;
        let (files, kernels) = ([const { OnceLock::new() }; _], [const { OnceLock::new() }; _]);
        let context = Context { ordinal, name, limits, cuda, files, kernels, host: Host::default() };
        // A driver that cannot compile our PTX is found out here, where Auto can still take the CPU.
        context.kernel(Kernel::fill).map_err(words)?;
        Ok(context)
    }

    pub fn ordinal(&self) -> u32 {
        self.ordinal
    }

    /// As the driver calls it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Bytes of shared memory that a block can have.
    pub(super) fn shared(&self) -> usize {
        self.limits.shared
    }

    /// How many blocks can run at the same time at least.
    pub(super) fn multiprocessors(&self) -> usize {
        self.limits.multiprocessors
    }

    /// Whether blocks can be launched in clusters: from compute capability 9.0 on.
    pub(super) fn has_clusters(&self) -> bool {
        self.limits.clusters
    }

    /// Whether all blocks of a grid can be launched at the same time.
    pub(super) fn has_cooperative(&self) -> bool {
        self.limits.cooperative
    }

    /// Whether its tensor cores know TF32: compute capability 8.0 and above.
    pub fn has_tf32(&self) -> bool {
        self.limits.capability >= 8
    }

    /// Bytes of the device's memory that nobody uses at the moment.
    pub(super) fn free_memory(&self) -> Result<usize> {
        let _host = Host::now();
        self.cuda.mem_get_info().map(|(free, _)| free).map_err(|e| self.failed("asking for the device's memory", e))
    }

    /// Makes it current on this thread for as long as what is returned lives.
    pub(super) fn enter(&self) -> std::result::Result<Host, DriverError> {
        let host = Host::now();
        self.cuda.bind_to_thread().map(|()| host)
    }

    /// The same for good, whatever has failed before: for what ends, and cannot tell.
    pub(super) fn make_current(&self) {
        // SAFETY: cudarc's context is there for as long as this one.
        _ = unsafe { result::ctx::set_current(self.cuda.cu_ctx()) };
    }

    /// The context has been entered.
    pub(super) fn kernel(&self, kernel: Kernel) -> Result<&CudaFunction> {
        let place = &self.kernels[kernel as usize];
        if let Some(function) = place.get() {
            return Ok(function);
        }
        let file = &self.files[kernel.file() as usize];
        let module = match file.get() {
            Some(module) => module,
            None => {
                let damaged = |e| self.error(format!("unpacking kernels: {e}"));
                let ptx = Ptx::from_src(kernel.file().ptx().map_err(damaged)?);
                let module = self.cuda.load_module(ptx).map_err(|e| self.failed("compiling the kernels", e))?;
                file.get_or_init(|| module)
            }
        };
        let function = module.load_function(kernel.name()).map_err(|e| self.failed("finding a kernel", e))?;
        // A block has 48 KiB of shared memory, for what is its own and what it is given, unless all there is is asked for.
        let failed = |e| self.failed("asking for shared memory", e);
        let own = function.get_attribute(Attribute::CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES).map_err(failed)?;
        let most = self.shared() as i32 - own;
        function.set_attribute(Attribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, most).map_err(failed)?;
        Ok(place.get_or_init(|| function))
    }

    pub(super) fn error(&self, reason: impl Into<String>) -> Error {
        Error::Device { device: self.ordinal as i32, reason: reason.into() }
    }

    /// What a call that failed means for the caller.
    pub(super) fn failed(&self, call: &'static str, error: DriverError) -> Error {
        failure(self.ordinal, call, error)
    }
}

fn failure(ordinal: u32, call: &'static str, error: DriverError) -> Error {
    match error.0 {
        sys::CUresult::CUDA_ERROR_OUT_OF_MEMORY => Error::Memory { bytes: 0, purpose: call },
        code => Error::Device { device: ordinal as i32, reason: format!("{call} gives {code:?} ({})", code as u32) },
    }
}
