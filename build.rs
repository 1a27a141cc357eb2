//! What Cargo has no setting for: link options of the shared library, and the kernels' PTX, packed.

use std::io::Write;
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::ZlibEncoder;

fn main() -> std::io::Result<()> {
    println!("cargo:rerun-if-changed=build.rs");
    if std::env::var("CARGO_CFG_TARGET_OS").is_ok_and(|os| os == "linux") {
        // Programs ask for the ABI they were built with.
        println!("cargo:rustc-cdylib-link-arg=-Wl,-soname,libtrajgan.so.0");
        // A library that has had threads cannot be unloaded safely: their exit code is in it.
        println!("cargo:rustc-cdylib-link-arg=-Wl,-z,nodelete");
    }
    match (std::env::var_os("CARGO_FEATURE_CUDA"), std::env::var_os("OUT_DIR")) {
        (Some(_), Some(out)) => pack_kernels(Path::new("kernels/gen"), &PathBuf::from(out)),
        _ => Ok(()),
    }
}

/// Each name.ptx becomes name.ptx.z in another folder: the text is five times as large.
fn pack_kernels(from: &Path, to: &Path) -> std::io::Result<()> {
    println!("cargo:rerun-if-changed={}", from.display());
    for entry in std::fs::read_dir(from)? {
        let path = entry?.path();
        let Some(name) = path.file_stem().filter(|_| path.extension().is_some_and(|e| e == "ptx")) else { continue };
        let packed = std::fs::File::create(to.join(name).with_extension("ptx.z"))?;
        let mut encoder = ZlibEncoder::new(packed, Compression::best());
        encoder.write_all(&std::fs::read(&path)?)?;
        encoder.finish()?;
    }
    Ok(())
}
