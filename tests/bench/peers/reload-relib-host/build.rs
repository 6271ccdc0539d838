//! relib's glue for the traits of the module, as its manual has it.

fn main() {
    #[cfg(feature = "host")]
    relib_interface::host::generate(
        include_str!("../reload-relib/src/exports.rs"),
        "crate::exports::Exports",
        include_str!("../reload-relib/src/imports.rs"),
        "crate::imports::Imports",
    );
}
