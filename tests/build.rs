//! Makes the test binaries export the symbols that `same_symbol` defines, as a program linked with `-rdynamic` does. Cargo
//! cannot set this for one test alone; the other tests define no such symbols.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    for symbol in ["reslot_test_helper", "RESLOT_TEST_NUMBER"] {
        println!("cargo::rustc-link-arg-tests=-Wl,--export-dynamic-symbol={symbol}");
    }
}
