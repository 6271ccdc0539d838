//! relib's glue for the traits in `src`, as its manual has it.

fn main() {
    #[cfg(feature = "plugin")]
    relib_interface::module::generate(
        include_str!("src/exports.rs"),
        "crate::exports::Exports",
        include_str!("src/imports.rs"),
        "crate::imports::Imports",
    );
}
