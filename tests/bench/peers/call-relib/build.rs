//! The bindings of this side.

fn main() {
    relib_interface::module::generate(
        call_relib_shared::EXPORTS,
        "call_relib_shared::exports::Exports",
        call_relib_shared::IMPORTS,
        "call_relib_shared::imports::Imports",
    );
}
