//! The committed PTX against its sources, and against what the launch code believes of it. Needs neither device nor compiler.
#![cfg(feature = "cuda")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use trajgan::backend::cuda::kernels::{File, Kernel};

fn kernels() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("kernels")
}

/// Kernels of a PTX text, with a letter for each argument.
fn entries(ptx: &str) -> BTreeMap<String, String> {
    let mut entries = BTreeMap::new();
    for part in ptx.split(".visible .entry ").skip(1) {
        let (name, rest) = part.split_once('(').unwrap();
        let arguments = rest.split_once(')').unwrap().0.lines().filter_map(|line| line.trim().strip_prefix(".param ."));
        let letters = arguments.map(|argument| match argument.split_once(' ').unwrap().0 {
            "u64" => 'p', // or a 64-bit number
            "u32" => 'i',
            "f32" => 'f',
            "f64" => 'd',
            other => panic!("{name} has an argument of {other}"),
        });
        entries.insert(name.to_string(), letters.collect());
    }
    entries
}

#[test]
fn every_kernel_is_in_its_file_with_these_arguments() {
    for &file in File::ALL {
        let mut entries = entries(&file.ptx().unwrap());
        for kernel in Kernel::ALL.iter().filter(|kernel| kernel.file() == file) {
            let arguments = entries.remove(kernel.name());
            let arguments = arguments.unwrap_or_else(|| panic!("{} is not in {}", kernel.name(), file.name()));
            assert_eq!(arguments, kernel.arguments().replace('l', "p"), "{}", kernel.name());
        }
        assert!(entries.is_empty(), "nothing launches {:?}", entries.into_keys());
    }
}

/// A file of kernels, after all that it includes.
fn made_of(path: &Path) -> Vec<PathBuf> {
    let text = std::fs::read_to_string(path).unwrap();
    let headers = text.lines().filter_map(|line| line.strip_prefix("#include \"")?.strip_suffix(".h\""));
    let headers = headers.filter(|name| !name.contains('/')).map(|name| kernels().join(format!("{name}.h")));
    headers.flat_map(|header| made_of(&header)).chain([path.to_owned()]).collect()
}

/// Where the tools that make PTX are missing, this still tells that it was not made again: run scripts/ptx.
#[test]
fn the_ptx_is_made_of_these_sources() {
    let mut count = 0;
    for path in std::fs::read_dir(kernels()).unwrap().map(|entry| entry.unwrap().path()) {
        if path.extension().is_none_or(|e| e != "cu") {
            continue;
        }
        let name = path.file_stem().unwrap().to_str().unwrap();
        let mut hash = Sha256::new();
        made_of(&path).iter().for_each(|file| hash.update(std::fs::read(file).unwrap()));
        let hash: String = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        let ptx = std::fs::read_to_string(kernels().join(format!("gen/{name}.ptx"))).unwrap();
        assert!(ptx.lines().take(3).any(|line| line.ends_with(&hash)), "{name}.ptx is stale: run scripts/ptx");
        count += 1;
    }
    assert!(count >= File::ALL.len(), "{count} sources");
}
