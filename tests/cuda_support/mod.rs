//! The emulated CUDA driver: tests/emu/emudrv.cpp, built once and loaded before anything asks for a driver.
#![allow(dead_code)] // each test uses part of it

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, OnceLock};
use std::time::SystemTime;

use trajgan::backend::cuda::Context;
use trajgan::backend::cuda::probe::symbols;

unsafe extern "C" {
    fn dlopen(path: *const c_char, flags: c_int) -> *mut c_void;
    fn dlsym(library: *mut c_void, name: *const c_char) -> *mut c_void;
}

const RTLD_NOW: c_int = 2;

/// Device 0 of the emulated driver, or None with a printed reason.
pub fn device() -> Option<Arc<Context>> {
    load().then(|| Arc::new(Context::open(0).unwrap()))
}

/// What a host program has current on this thread of the emulated driver: any number, which it is not asked to use.
pub fn context() -> usize {
    let mut context = 0;
    // SAFETY: the driver's function has this signature, and writes a pointer.
    unsafe {
        std::mem::transmute::<*mut c_void, extern "C" fn(*mut usize) -> c_int>(symbol(c"cuCtxGetCurrent"))(&mut context)
    };
    context
}

pub fn set_context(context: usize) {
    // SAFETY: the driver's function has this signature; the emulated one keeps the pointer and does nothing with it.
    unsafe { std::mem::transmute::<*mut c_void, extern "C" fn(usize) -> c_int>(symbol(c"cuCtxSetCurrent"))(context) };
}

fn symbol(name: &CStr) -> *mut c_void {
    let path = CString::new(library().unwrap().to_str().unwrap()).unwrap();
    // SAFETY: a library that has been loaded, and is not loaded twice.
    let symbol = unsafe { dlsym(dlopen(path.as_ptr(), RTLD_NOW), name.as_ptr()) };
    assert!(!symbol.is_null(), "{name:?}");
    symbol
}

/// Makes the emulated driver this process's driver; false, with a printed reason, where it cannot be built.
pub fn load() -> bool {
    static LOADED: OnceLock<bool> = OnceLock::new();
    *LOADED.get_or_init(|| {
        if std::env::var_os("TRAJGAN_DRIVER").is_some_and(|driver| driver == "system") {
            return true; // the machine's own: scripts/gpu-check
        }
        let Some(library) = library() else { return false };
        let path = CString::new(library.to_str().unwrap()).unwrap();
        // SAFETY: a library of ours. Its name is what is looked for first, so that later searches find this one.
        let handle = unsafe { dlopen(path.as_ptr(), RTLD_NOW) };
        assert!(!handle.is_null(), "{} does not load", library.display());
        true
    })
}

/// libcuda.so in a folder of its own; None, with a printed reason, where it cannot be built.
pub fn library() -> Option<PathBuf> {
    static LIBRARY: OnceLock<Option<PathBuf>> = OnceLock::new();
    LIBRARY.get_or_init(build).clone()
}

/// Runs the test `child` of this program in a process whose device has 10,000 bytes. It must succeed and print "usable".
pub fn run_with_little_memory() {
    run_child("child", "EMU_MEMORY", "10000");
}

/// Runs a test of this program in a process with a variable. It must succeed and print "usable".
pub fn run_child(test: &str, variable: &str, value: &str) {
    if std::env::var_os("TRAJGAN_DRIVER").is_some() || library().is_none() {
        return; // only the emulated driver can be told what becomes of it
    }
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args(["--exact", test, "--nocapture", "--test-threads=1"]).env(variable, value);
    let output = child.output().unwrap();
    let text = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    assert!(output.status.success() && text.contains("usable"), "{text}");
}

/// The test `name` of this program on an emulated device with these variables, and the kernels that ran, a line each.
pub fn kernels_of<const N: usize>(name: &str, variables: [(&str, &str); N]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let trace = folder.path().join("trace");
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args(["--exact", name]).envs(variables).env("EMU_TRACE", &trace);
    assert!(child.status().unwrap().success());
    std::fs::read_to_string(&trace).unwrap()
}

fn build() -> Option<PathBuf> {
    if Command::new("g++").arg("--version").output().is_err() {
        crate::skip::skipped("g++ is not installed, and the emulated CUDA driver needs it");
        return None;
    }
    if !cfg!(all(target_os = "linux", target_arch = "x86_64")) {
        crate::skip::skipped("the emulated CUDA driver is for Linux on x86-64");
        return None;
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("emulated-driver");
    std::fs::create_dir_all(&folder).unwrap();
    let library = folder.join("libcuda.so");
    let changed = |path: &Path| path.metadata().and_then(|m| m.modified()).unwrap_or(SystemTime::UNIX_EPOCH);
    let sources = ["kernels", "tests/emu", "src/backend/cuda/probe.rs"].map(|name| root.join(name));
    let files = sources.iter().flat_map(|path| {
        let inside = std::fs::read_dir(path).map(|dir| dir.map(|entry| entry.unwrap().path()).collect());
        inside.unwrap_or_else(|_| vec![path.clone()])
    });
    if files.map(|file| changed(&file)).max() < Some(changed(&library)) {
        return Some(library);
    }
    // Only what the probe asks for: what else the backend called would be missing.
    let exports = folder.join("exports.map");
    let names: String = symbols().map(|name| format!("{name}; ")).collect();
    std::fs::write(&exports, format!("{{ global: {names}local: *; }};")).unwrap();
    // Whole or not at all: other tests may be looking for it.
    let building = folder.join(format!("building-{}", std::process::id()));
    let mut gcc = Command::new("g++");
    gcc.args([
        "-std=c++17",
        "-O1",
        "-ffp-contract=off",
        "-mfma",
        "-shared",
        "-fPIC",
        "-Wl,-soname,libcuda.so",
        "-pthread",
    ]);
    gcc.arg(format!("-Wl,--version-script={}", exports.display()));
    let status = gcc.arg(root.join("tests/emu/emudrv.cpp")).arg("-o").arg(&building).status().unwrap();
    assert!(status.success(), "the emulated driver does not compile");
    std::fs::rename(&building, &library).unwrap();
    Some(library)
}
