//! See `reslot_fuzz::compare`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| reslot_fuzz::compare(bytes));
