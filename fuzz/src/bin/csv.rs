//! Continuous recordings, cut into movements.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| trajgan_fuzz::open(&trajgan_fuzz::put("a.csv", bytes)));
