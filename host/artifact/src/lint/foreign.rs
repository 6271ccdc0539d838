//! What can be said of a library that nobody here wrote, from its bytes alone: whether the loader can map it without reading beyond
//! the file's end, and what will keep it mapped. There is no manifest to judge it by.

use object::elf as format;
use object::read::elf::Sym as _;

use super::elf::{ENDIAN, Elf, shown};
use super::{Expectations, Inspection, LintError, aligned, check_kind, clear_nodelete, nodelete_words};

/// What keeps a library mapped by its own declaration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Foreign {
    /// Whether DF_1_NODELETE was set.
    pub nodelete: bool,
    /// Its unique symbols.
    pub unique: Vec<String>,
}

/// Refuses a file that is damaged or no library for this machine. In one that is, DF_1_NODELETE is cleared unless it is to be
/// kept.
pub fn examine_foreign(bytes: &mut [u8], keep_nodelete: bool) -> Result<Foreign, LintError> {
    let mut words = Vec::new();
    let elf = Elf::parse(aligned(bytes, &mut words))?;
    let mut inspection = Inspection::default();
    check_kind(&elf, &Expectations::of_this_build(), &mut inspection);
    if let Some(finding) = inspection.findings.into_iter().next() {
        return Err(finding);
    }
    let unique = elf
        .named_symbols()
        .filter(|(_, symbol)| !symbol.is_undefined(ENDIAN) && symbol.st_bind() == format::STB_GNU_UNIQUE);
    let unique = unique.map(|(name, _)| shown(name)).collect();
    let flags = nodelete_words(&elf);
    let nodelete = !flags.is_empty();
    if !keep_nodelete {
        clear_nodelete(bytes, &flags);
    }
    Ok(Foreign { nodelete, unique })
}
