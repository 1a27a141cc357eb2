//! Is there a CUDA driver that can be used? Asked before the first call of cudarc, which panics where the library or a
//! symbol of it is missing.

use std::ffi::c_int;

use cudarc::driver::sys;

/// Why no CUDA device can be used. Each has words of its own, because each has a remedy of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Absence {
    #[error("no CUDA driver: its library (libcuda.so.1, nvcuda.dll) is not there")]
    NoLibrary,
    #[error("the CUDA driver's library is the toolkit's stub, made for linking only")]
    Stub,
    #[error("the CUDA driver's library lacks {0}: no driver, or one older than {FLOOR_TEXT}")]
    MissingSymbol(&'static str),
    #[error("the CUDA driver speaks CUDA {}.{}, expected {FLOOR_TEXT} or newer", .0 / 1000, .0 % 1000 / 10)]
    TooOld(i32),
    #[error("the CUDA driver finds no device")]
    NoDevice,
    #[error("the CUDA driver finds {count} device(s), the first is 0")]
    NoSuchDevice { count: i32 },
    #[error("the CUDA driver does not start: {0} gives CUDA error {1}")]
    Failed(&'static str, u32),
}

/// What reads the PTX that the kernels are shipped as (ISA 8.1).
const FLOOR: c_int = 12_010;
const FLOOR_TEXT: &str = "CUDA 12.1 (driver 530)";

/// The symbols that must be there before the version can be asked for.
const FIRST: [&str; 3] = ["cuInit", "cuDriverGetVersion", "cuDeviceGetCount"];

/// All the others that this backend calls, through cudarc. A test holds the emulated driver to exactly these.
const REST: [&str; 42] = [
    "cuCtxGetCurrent",
    "cuCtxSetCurrent",
    "cuCtxSynchronize",
    "cuDeviceGet",
    "cuDeviceGetAttribute",
    "cuDeviceGetName",
    "cuDevicePrimaryCtxRelease_v2",
    "cuDevicePrimaryCtxRetain",
    "cuEventCreate",
    "cuEventDestroy_v2",
    "cuEventRecord",
    "cuEventSynchronize",
    "cuFuncGetAttribute",
    "cuFuncSetAttribute",
    "cuGetErrorName",
    "cuGetErrorString",
    "cuGraphDestroy",
    "cuGraphExecDestroy",
    "cuGraphInstantiateWithFlags",
    "cuGraphLaunch",
    "cuGraphUpload",
    "cuLaunchKernel",
    "cuLaunchKernelEx",
    "cuMemAllocAsync",
    "cuMemAlloc_v2",
    "cuMemFreeAsync",
    "cuMemFree_v2",
    "cuMemGetInfo_v2",
    "cuMemcpyDtoDAsync_v2",
    "cuMemcpyDtoHAsync_v2",
    "cuMemcpyHtoDAsync_v2",
    "cuMemsetD8Async",
    "cuModuleGetFunction",
    "cuModuleLoadData",
    "cuModuleUnload",
    "cuOccupancyMaxActiveBlocksPerMultiprocessor",
    "cuOccupancyMaxActiveClusters",
    "cuStreamBeginCapture_v2",
    "cuStreamCreate",
    "cuStreamDestroy_v2",
    "cuStreamEndCapture",
    "cuStreamSynchronize",
];

/// The driver's symbols that this backend calls.
pub fn symbols() -> impl Iterator<Item = &'static str> {
    FIRST.into_iter().chain(REST)
}

/// cudarc's types for codes and devices know only what its version knows, so nothing of them is used here.
type Start = unsafe extern "C" fn(u32) -> u32;
type GetInt = unsafe extern "C" fn(*mut c_int) -> u32;

const NO_DEVICE: u32 = 100;
const STUB_LIBRARY: u32 = 34;

/// Whether device `ordinal` is there. Never panics; waits for nothing but the driver's own start.
pub fn probe(ordinal: u32) -> Result<(), Absence> {
    // SAFETY: opening the driver's library runs its constructors and nothing else.
    if !unsafe { sys::is_culib_present() } {
        return Err(Absence::NoLibrary);
    }
    // SAFETY: as above. It tries the same names in the same order and panics only where none opens, which one just did.
    let library = unsafe { sys::culib() };
    let has = |name: &&'static str| {
        // SAFETY: the symbol is looked up, not called.
        unsafe { library.get::<unsafe extern "C" fn()>(name.as_bytes()) }.is_ok()
    };
    let expect_all = |names: &[&'static str]| match names.iter().find(|name| !has(name)) {
        Some(missing) => Err(Absence::MissingSymbol(missing)),
        None => Ok(()),
    };
    expect_all(&FIRST)?;
    let get = |name: &'static str| {
        let mut value = 0;
        // SAFETY: cuDriverGetVersion and cuDeviceGetCount have this signature in every driver; one int is written.
        let call = unsafe { library.get::<GetInt>(name.as_bytes()) }.map_err(|_| Absence::MissingSymbol(name))?;
        // SAFETY: as above.
        checked(name, unsafe { call(&mut value) }).map(|()| value)
    };
    let version = get("cuDriverGetVersion")?;
    if version < FLOOR {
        return Err(Absence::TooOld(version));
    }
    expect_all(&REST)?;
    // SAFETY: cuInit has this signature in every driver.
    let start = unsafe { library.get::<Start>(b"cuInit") }.map_err(|_| Absence::MissingSymbol("cuInit"))?;
    // SAFETY: as above; 0 is the only flag there is.
    checked("cuInit", unsafe { start(0) })?;
    match get("cuDeviceGetCount")? {
        count if count < 1 => Err(Absence::NoDevice),
        count if i64::from(ordinal) >= i64::from(count) => Err(Absence::NoSuchDevice { count }),
        _ => Ok(()),
    }
}

fn checked(call: &'static str, code: u32) -> Result<(), Absence> {
    match code {
        0 => Ok(()),
        NO_DEVICE => Err(Absence::NoDevice),
        STUB_LIBRARY => Err(Absence::Stub),
        code => Err(Absence::Failed(call, code)),
    }
}
