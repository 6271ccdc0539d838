//! See `reslot_fuzz::manifest`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| reslot_fuzz::manifest(bytes));
