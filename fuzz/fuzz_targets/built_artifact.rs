//! See `reslot_fuzz::built_artifact`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| reslot_fuzz::built_artifact(bytes));
