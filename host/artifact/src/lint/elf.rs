//! Parses the structure of an ELF file, and checks that every table and range is inside the file, so that neither the lint
//! nor the dynamic loader reads beyond it. The lint decides what the contents mean for a plugin.

use object::NativeEndian;
use object::elf::{self, FileHeader64, ProgramHeader64, Sym64};
use object::read::StringTable;
use object::read::elf::{Dyn as _, FileHeader as _, ProgramHeader as _, SectionHeader as _, SectionTable, SymbolTable};
use reslot_plugin_api::__private::cut_words;

use super::LintError;

/// The only form that this host can load: 64 bits, in its own byte order.
pub(super) type Header = FileHeader64<NativeEndian>;

/// The byte order of this host, and of every file that got past [`Elf::parse`].
pub(super) const ENDIAN: NativeEndian = NativeEndian;

/// A file with a valid structure.
pub(super) struct Elf<'data> {
    pub data: &'data [u8],
    pub header: &'data Header,
    pub segments: &'data [ProgramHeader64<NativeEndian>],
    pub sections: SectionTable<'data, Header>,
    pub symbols: SymbolTable<'data, Header>,
    /// The dynamic entries up to the first DT_NULL, as the loader sees them.
    pub dynamic: Vec<Entry>,
    names: StringTable<'data>,
}

/// One dynamic entry.
#[derive(Clone, Copy)]
pub(super) struct Entry {
    pub tag: elf::DynamicTag,
    pub value: u64,
    /// The value's offset in the file.
    pub offset: u64,
}

impl<'data> Elf<'data> {
    pub fn parse(data: &'data [u8]) -> Result<Self, LintError> {
        identify(data)?;
        let header = Header::parse(data).map_err(damaged)?;

        let count = header.phnum(ENDIAN, data).map_err(damaged)?;
        let offset = header.e_phoff(ENDIAN);
        within(
            data,
            || "the program header table".into(),
            offset,
            table_size::<ProgramHeader64<NativeEndian>>(count),
        )?;
        let segments = header.program_headers(ENDIAN, data).map_err(damaged)?;
        for (i, segment) in segments.iter().enumerate() {
            let (offset, size) = segment.file_range(ENDIAN);
            within(data, || format!("segment {i}"), offset, size)?;
        }

        // The first section header may contain the real number of sections, so it is read before the whole table.
        let offset = header.e_shoff(ENDIAN);
        if offset != 0 {
            let size = |count| table_size::<elf::SectionHeader64<NativeEndian>>(count);
            let table = || "the section header table".into();
            within(data, table, offset, size(1))?;
            within(data, table, offset, size(header.shnum(ENDIAN, data).map_err(damaged)?))?;
        }
        let sections = header.sections(ENDIAN, data).map_err(damaged)?;
        for (index, section) in sections
            .enumerate()
            .filter(|(_, section)| section.sh_type(ENDIAN) != elf::SHT_NULL)
        {
            let what = || match sections.section_name(ENDIAN, section) {
                Ok(name) => format!("section {}", shown(name)),
                Err(_) => format!("section {}", index.0),
            };
            if let Some((offset, size)) = section.file_range(ENDIAN) {
                within(data, what, offset, size)?;
            }
        }
        let symbols = sections.symbols(ENDIAN, data, elf::SHT_DYNSYM).map_err(damaged)?;

        let mut elf = Elf {
            data,
            header,
            segments,
            sections,
            symbols,
            dynamic: Vec::new(),
            names: StringTable::default(),
        };
        elf.read_dynamic()?;
        Ok(elf)
    }

    /// Reads the dynamic segment as the loader does, not the section with the same content.
    fn read_dynamic(&mut self) -> Result<(), LintError> {
        let Some(segment) = self
            .segments
            .iter()
            .rfind(|segment| segment.p_type(ENDIAN) == elf::PT_DYNAMIC)
        else {
            return Ok(());
        };
        let (start, size) = segment.file_range(ENDIAN);
        if size == 0 {
            return Ok(());
        }
        if self.offset_of(segment.p_vaddr(ENDIAN)) != Some(start) {
            return Err(damaged("the dynamic segment is not part of what is loaded"));
        }
        let entries = segment.dynamic(ENDIAN, self.data).map_err(damaged)?.unwrap_or_default();
        // Each entry is two words, the value being the second. All of them lie within the file, so this cannot overflow.
        let offsets = (start + 8..).step_by(16);
        for (entry, offset) in entries
            .iter()
            .zip(offsets)
            .take_while(|(entry, _)| entry.d_tag(ENDIAN) != elf::DT_NULL)
        {
            self.dynamic.push(Entry {
                tag: entry.d_tag(ENDIAN),
                value: entry.d_val(ENDIAN),
                offset,
            });
        }

        let last = |tag| self.dynamic.iter().rfind(|entry| entry.tag == tag).map(|entry| entry.value);
        if let Some(address) = last(elf::DT_STRTAB) {
            let offset = self
                .offset_of(address)
                .ok_or_else(|| damaged("the dynamic string table is not loaded"))?;
            let size = last(elf::DT_STRSZ).unwrap_or(0);
            within(self.data, || "the dynamic string table".into(), offset, size)?;
            self.names = StringTable::new(self.data, offset, offset + size);
        }
        Ok(())
    }

    /// The offset in the file of the byte that is loaded at this address.
    fn offset_of(&self, address: u64) -> Option<u64> {
        self.segments
            .iter()
            .filter(|segment| segment.p_type(ENDIAN) == elf::PT_LOAD)
            .find_map(|segment| {
                let (offset, size) = segment.file_range(ENDIAN);
                let inside = address.checked_sub(segment.p_vaddr(ENDIAN)).filter(|inside| *inside < size)?;
                offset.checked_add(inside)
            })
    }

    /// The bits of all entries with this tag.
    pub fn flags(&self, tag: elf::DynamicTag) -> u64 {
        self.dynamic
            .iter()
            .filter(|entry| entry.tag == tag)
            .fold(0, |flags, entry| flags | entry.value)
    }

    /// The text that a dynamic entry points to.
    pub fn text(&self, entry: Entry) -> Option<&'data [u8]> {
        self.names.get(u32::try_from(entry.value).ok()?).ok()
    }

    /// The contents of the first section of this name.
    pub fn section(&self, name: &str) -> Option<&'data [u8]> {
        let (_, section) = self.sections.section_by_name(ENDIAN, name.as_bytes())?;
        section.data(ENDIAN, self.data).ok()
    }

    /// The dynamic symbols that have a name.
    pub fn named_symbols(&self) -> impl Iterator<Item = (&'data [u8], &'data Sym64<NativeEndian>)> {
        use object::read::elf::Sym as _;
        let strings = self.symbols.strings();
        let named = move |symbol: &'data Sym64<NativeEndian>| Some((symbol.name(ENDIAN, strings).ok()?, symbol));
        self.symbols.iter().filter_map(named).filter(|(name, _)| !name.is_empty())
    }
}

/// Text from a file, safe for a terminal: without control characters, and cut if it is longer than any symbol's name.
pub(super) fn shown(name: &[u8]) -> String {
    cut_words(name.escape_ascii())
}

fn damaged(what: impl ToString) -> LintError {
    LintError::Malformed { what: what.to_string() }
}

fn table_size<T>(count: u32) -> u64 {
    u64::from(count) * size_of::<T>() as u64
}

/// Checks that a range is inside the file. An empty range always is.
fn within(data: &[u8], what: impl Fn() -> String, offset: u64, size: u64) -> Result<(), LintError> {
    let has = data.len() as u64;
    match offset.checked_add(size) {
        _ if size == 0 => Ok(()),
        Some(end) if end <= has => Ok(()),
        Some(needs) => Err(LintError::Truncated {
            what: what(),
            needs,
            has,
        }),
        None => Err(damaged(format!("{} begins at {offset:#x} and has {size:#x} bytes", what()))),
    }
}

/// Checks by the first bytes that this is an ELF file in a form that this host can load.
fn identify(data: &[u8]) -> Result<(), LintError> {
    const HEADER: usize = size_of::<Header>();
    if data.is_empty() {
        return Err(LintError::Empty);
    }
    let magic = &elf::ELFMAG[..data.len().min(4)];
    if !data.starts_with(magic) {
        let first = data[..data.len().min(8)].to_vec();
        return Err(LintError::NotElf {
            first,
            looks_like: looks_like(data),
        });
    }
    // Class and byte order are checked first, because the header of another class has another size.
    if let Some(class) = data.get(4).filter(|class| **class != elf::ELFCLASS64.0) {
        let found = if *class == elf::ELFCLASS32.0 {
            "32-bit"
        } else {
            "neither 32-bit nor 64-bit"
        };
        return Err(LintError::WrongClass {
            found,
            expected: "64-bit",
        });
    }
    const ORDERS: [(u8, &str); 2] = [(elf::ELFDATA2LSB.0, "little-endian"), (elf::ELFDATA2MSB.0, "big-endian")];
    let native = ORDERS[usize::from(cfg!(target_endian = "big"))];
    if let Some(order) = data.get(5).filter(|order| **order != native.0) {
        let found = ORDERS
            .iter()
            .find(|(code, _)| code == order)
            .map_or("strangely ordered", |(_, name)| name);
        return Err(LintError::WrongEndianness {
            found,
            expected: native.1,
        });
    }
    within(data, || "the ELF header".into(), 0, HEADER as u64)
}

/// Recognises files that people publish by mistake.
fn looks_like(data: &[u8]) -> Option<&'static str> {
    let start = &data[..data.len().min(4096)];
    // An archive begins with its list of symbols, which may be long; the members come after it.
    let rlib = || {
        data[..data.len().min(1 << 20)]
            .windows(9)
            .any(|window| window == b"lib.rmeta")
    };
    Some(match start {
        [b'!', b'<', b'a', b'r', b'c', b'h', b'>', ..] if rlib() => "an rlib (Rust library for the compiler)",
        [b'!', b'<', b'a', b'r', b'c', b'h' | b'i', ..] | [b'!', b'<', b't', b'h', b'i', b'n', b'>', ..] => {
            "an ar archive (static library)"
        }
        [0xcf | 0xce, 0xfa, 0xed, 0xfe, ..] | [0xfe, 0xed, 0xfa, 0xce | 0xcf, ..] => "a Mach-O file (macOS)",
        [0xca, 0xfe, 0xba, 0xbe, ..] => "a universal Mach-O file (macOS)",
        [b'M', b'Z', ..] => "a PE file (Windows)",
        [0, b'a', b's', b'm', ..] => "a WebAssembly module",
        [b'r', b'u', b's', b't', 0, 0, ..] => "Rust metadata (.rmeta)",
        [b'B', b'C', 0xc0, 0xde, ..] => "LLVM bitcode",
        [b'#', b'!', ..] => "a script",
        _ if start.iter().all(|byte| *byte == 0) => "a file of zeros that is still to be written",
        _ if start
            .iter()
            .all(|byte| !byte.is_ascii_control() || byte.is_ascii_whitespace()) =>
        {
            "a text file"
        }
        _ => return None,
    })
}
