//! An artifact and the host program may export the same symbol. By ELF's rules the loader then silently uses the host's for
//! both. So the host marks its private copy such that the loader searches the artifact first, as `-Bsymbolic` does.

use object::elf as format;
use object::read::elf::Sym as _;

use super::elf::{ENDIAN, Elf, shown};
use super::{ROOT, change_word};

/// The highest number of symbols in the warning.
const MOST_NAMED: usize = 3;

/// The place in the file where the loader's search order can be changed.
#[derive(Clone, Copy, Debug)]
pub(super) enum Place {
    /// The offset of the value of DT_FLAGS, in which DF_SYMBOLIC is set.
    Flags(u64),
    /// The offset of the tag of a DT_RELACOUNT, which becomes DT_SYMBOLIC. The count only saves the loader time: without it,
    /// the loader processes relative relocations like all others.
    Tag(u64),
}

impl Place {
    pub(super) fn change(self, bytes: &mut [u8]) {
        match self {
            Self::Flags(offset) => change_word(bytes, offset, |flags| flags | format::DF_SYMBOLIC.0),
            Self::Tag(offset) => change_word(bytes, offset, |_| format::DT_SYMBOLIC.0.cast_unsigned()),
        }
    }
}

/// The place to change, so that an artifact finds its own symbols first. None if it exports only its root, or finds them
/// first already. If the change is needed and impossible, the error is a warning with the names.
pub(super) fn place(elf: &Elf<'_>) -> Result<Option<Place>, String> {
    let mut own = elf.named_symbols().filter(|(name, symbol)| {
        let bind = symbol.st_bind();
        !symbol.is_undefined(ENDIAN)
            && symbol.st_visibility() == format::STV_DEFAULT
            && (bind == format::STB_GLOBAL || bind == format::STB_WEAK)
            && *name != ROOT.as_bytes()
    });
    let has = |tag| elf.dynamic.iter().any(|entry| entry.tag == tag);
    let Some((first, _)) = own.next() else { return Ok(None) };
    if has(format::DT_SYMBOLIC) || elf.flags(format::DT_FLAGS) & format::DF_SYMBOLIC.0 != 0 {
        return Ok(None);
    }
    // If there are several entries with the same tag, the loader uses the last one.
    let last = |tag| elf.dynamic.iter().rfind(|entry| entry.tag == tag);
    if let Some(flags) = last(format::DT_FLAGS) {
        return Ok(Some(Place::Flags(flags.offset)));
    }
    if let Some(count) = last(format::DT_RELACOUNT) {
        // The tag is the word before the value.
        return Ok(Some(Place::Tag(count.offset - 8)));
    }
    let mut names = vec![shown(first)];
    names.extend(own.by_ref().take(MOST_NAMED - 1).map(|(name, _)| shown(name)));
    let more = match own.count() {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    Err(format!(
        "exports {}{more}: if the host program exports a symbol of the same name, the plugin uses the host's. Link the plugin with \
         -Wl,-Bsymbolic, or do not export the symbol",
        names.join(", ")
    ))
}
