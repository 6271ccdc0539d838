//! A plugin in WebAssembly is never linked into a program.

/// No value of it exists.
#[derive(Debug)]
pub(crate) enum Attachment {}
