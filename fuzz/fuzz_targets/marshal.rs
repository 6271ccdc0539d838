//! See `reslot_fuzz::marshal`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| reslot_fuzz::marshal(bytes));
