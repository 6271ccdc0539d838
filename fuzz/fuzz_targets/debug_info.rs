//! See `reslot_fuzz::debug_info`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| reslot_fuzz::debug_info(bytes));
