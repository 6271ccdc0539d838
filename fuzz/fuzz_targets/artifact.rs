//! See `reslot_fuzz::artifact`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| reslot_fuzz::artifact(bytes));
