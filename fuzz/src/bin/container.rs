//! The safetensors container. What is read is written, and read again as the same.
#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use trajgan::files::TensorFile;

fuzz_target!(|bytes: &[u8]| {
    let Ok(file) = TensorFile::from_bytes(Path::new("input"), bytes) else { return };
    let path = trajgan_fuzz::folder().join("again.safetensors");
    if file.write(&path, false).is_ok() {
        let again = TensorFile::read(&path).expect("what was written is read");
        // NaN is not equal to itself: compare names and shapes.
        let shape = |file: &TensorFile| file.tensors.iter().map(|(n, t)| (n.clone(), t.shape.clone())).collect::<Vec<_>>();
        assert_eq!((again.metadata == file.metadata, shape(&again)), (true, shape(&file)));
    }
});
