//! A folder of arrays in which one file is the input: the first byte says which. So .npy, pickles and scaler.json.
#![no_main]

use libfuzzer_sys::fuzz_target;
use trajgan_fuzz::{folder, open, put};

const FILES: [&str; 6] =
    ["X_train.npy", "C_train.npy", "L_train.npy", "normalization_params.npy", "scaler.json", "normalization.json"];

/// Two movements of four points.
fn good(name: &str) -> Vec<u8> {
    let (descr, shape, data) = match name.as_bytes()[0] {
        b'X' => ("<f4", "(2, 4, 8)", vec![0; 2 * 4 * 8 * 4]),
        b'C' => ("<f4", "(2,)", vec![0; 8]),
        _ => ("<i4", "(2,)", [3i32, 4].iter().flat_map(|n| n.to_le_bytes()).collect()),
    };
    let header = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}\n");
    [b"\x93NUMPY\x01\x00", &(header.len() as u16).to_le_bytes()[..], header.as_bytes(), &data].concat()
}

fuzz_target!(|bytes: &[u8]| {
    let Some((which, bytes)) = bytes.split_first() else { return };
    let chosen = FILES[usize::from(*which) % FILES.len()];
    for split in ["train", "val", "test"] {
        for letter in ["X", "C", "L"] {
            let name = format!("{letter}_{split}.npy");
            if name == chosen || !folder().join(&name).exists() || split == "train" {
                put(&name, &good(&name));
            }
        }
    }
    FILES[3..].iter().for_each(|name| _ = std::fs::remove_file(folder().join(name)));
    put(chosen, bytes);
    open(folder());
});
