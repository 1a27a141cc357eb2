//! Recordings as JSON Lines; the first line alone as a .json file, too.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    trajgan_fuzz::open(&trajgan_fuzz::put("a.jsonl", bytes));
    let line = bytes.split(|b| *b == b'\n').next().unwrap_or_default();
    trajgan_fuzz::open(&trajgan_fuzz::put("a.json", line));
});
