//! The plugin that hot-lib-reloader reloads in the reload and storm benchmarks. Its macro reads the functions'
//! signatures from this file.

/// The number stamped into the file; the same body as the other plugins' of the benchmark.
#[unsafe(no_mangle)]
pub fn peer_hot_lib_stamp() -> u64 {
    static STAMP: [u8; 31] = *b"RESLOT-FIXTURE-STAMP:0000000000";
    // Through a black box: the compiler must not know what the file will say.
    let stamp = std::hint::black_box(&STAMP);
    stamp[21..]
        .iter()
        .fold(0, |number, digit| number * 10 + u64::from(digit - b'0'))
}
