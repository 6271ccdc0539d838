//! Makes the test binaries export the symbols that `same_symbol` defines, as a program linked with `-rdynamic` does. Cargo
//! cannot set this for one test alone; the other tests define no such symbols.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    for symbol in ["reslot_test_helper", "RESLOT_TEST_NUMBER"] {
        println!("cargo::rustc-link-arg-tests=-Wl,--export-dynamic-symbol={symbol}");
    }
    // `cargo xtask sanitize`: the sanitizer's code is in the program, and plugins that were compiled for it need it.
    let prefixes: &[&str] = match std::env::var("CARGO_CFG_SANITIZE").as_deref() {
        Ok("address") => &["__asan_", "___asan_", "__sanitizer_", "__lsan_"],
        Ok("thread") => &["__tsan_", "__sanitizer_"],
        _ => &[],
    };
    for prefix in prefixes {
        println!("cargo::rustc-link-arg-tests=-Wl,--export-dynamic-symbol={prefix}*");
    }
}
