//! Has the test binaries export what `same_symbol` defines, as a program linked with `-rdynamic` does. Cargo cannot say this for one
//! test alone; in the others there is nothing of these names.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    for symbol in ["reslot_test_helper", "RESLOT_TEST_NUMBER"] {
        println!("cargo::rustc-link-arg-tests=-Wl,--export-dynamic-symbol={symbol}");
    }
}
