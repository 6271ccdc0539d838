//! Inspects a foreign library, which has no manifest, by its bytes alone: whether the loader can map it without reading
//! beyond the end of the file, and what will keep it mapped.

use object::elf as format;
use object::read::elf::Sym as _;

use super::elf::{ENDIAN, Elf, shown};
use super::{Expectations, Inspection, LintError, aligned, check_kind, clear_nodelete, nodelete_words};

/// Declarations of a library that keep it mapped.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Foreign {
    /// Whether DF_1_NODELETE was set.
    pub nodelete: bool,
    /// Its unique symbols.
    pub unique: Vec<String>,
}

/// Refuses a file that is damaged or not a library for this machine. In an accepted library DF_1_NODELETE is cleared, unless
/// `keep_nodelete` is set.
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
