//! See `reslot_fuzz::metrics`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| reslot_fuzz::metrics(bytes));
