//! What Cargo has no setting for: link options of the shared library, and the kernels' PTX, packed.

use std::io::Write;
use std::path::{Path, PathBuf};

use lzma_rust2::{LzmaOptions, LzmaWriter};

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

/// Each name.ptx becomes name.ptx.lzma in another folder, without comments: the text is eight times as large.
fn pack_kernels(from: &Path, to: &Path) -> std::io::Result<()> {
    println!("cargo:rerun-if-changed={}", from.display());
    let options = LzmaOptions { lc: 4, pb: 0, dict_size: 1 << 20, ..LzmaOptions::with_preset(9) }; // pb: text is not aligned
    for entry in std::fs::read_dir(from)? {
        let path = entry?.path();
        let Some(name) = path.file_stem().filter(|_| path.extension().is_some_and(|e| e == "ptx")) else { continue };
        let text = std::fs::read_to_string(&path)?;
        let code = text.split_inclusive('\n').filter(|line| !line.trim_start().starts_with("//")).collect::<String>();
        let packed = std::fs::File::create(to.join(name).with_extension("ptx.lzma"))?;
        let mut encoder = LzmaWriter::new_use_header(packed, &options, Some(code.len() as u64))?;
        encoder.write_all(code.as_bytes())?;
        encoder.finish()?;
    }
    Ok(())
}
