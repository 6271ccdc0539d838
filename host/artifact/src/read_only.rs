//! The parts of an artifact that nothing writes once the loader has mapped it: code, constants, and constants that contain addresses
//! (RELRO). [`ReadOnlyParts`] is made of the linted bytes. With the address of the mapped image it becomes a [`Reference`]: a checksum of
//! each block of [`BLOCK`] bytes. So the reference takes a five-hundredth of the image's size, and shares no page with the image or with
//! a copy of its file.
//!
//! # What relocations make of the bytes
//! A relative relocation is the image's address plus a number that the bytes contain, so its result is computed. The words that the loader
//! binds to other libraries (functions of libc, numbers of thread-local storage) are not in the bytes. The reference takes them from the
//! image, and counts them ([`Reference::bound_bytes`]).
//!
//! # What is left out
//! Writable data (`.data`, `.bss`), the heap, and the rest of a page behind its segment. In an artifact that was linked without RELRO,
//! constants with addresses are writable data.

use object::{
    NativeEndian, elf,
    read::elf::{FileHeader as _, ProgramHeader as _, SectionHeader as _},
};
use std::{fmt, ops::Range, sync::Arc};
use xxhash_rust::xxh3::xxh3_64;

type Header = elf::FileHeader64<NativeEndian>;
const ENDIAN: NativeEndian = NativeEndian;

/// How many bytes have one checksum.
pub const BLOCK: usize = 4096;

/// What a read-only part of an image contains.
///
/// ```
/// # use reslot_artifact as reslot;
/// assert_eq!(reslot::ImagePart::Code.name(), "code");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum ImagePart {
    /// Machine code.
    Code,
    /// Constants, and the tables of the loader.
    Constants,
    /// Constants with addresses, which the loader has relocated and then made read-only (RELRO).
    Relocated,
    /// The private copy from which the image was mapped: its bytes have changed since they were linted, and no intact copy says where.
    PrivateCopy,
}

impl ImagePart {
    /// Its name: `code`, `constants`, `relocated` or `private-copy`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Code => "code",
            Self::Constants => "constants",
            Self::Relocated => "relocated",
            Self::PrivateCopy => "private-copy",
        }
    }
}

/// A place where an image in memory differs from its artifact.
///
/// ```
/// # use reslot_artifact as reslot;
/// use reslot::{ImageDifference, ImagePart};
///
/// let difference = ImageDifference::new(ImagePart::Code, ".text", 0x1a0, 0x81a0, 1, Some(0b100));
/// assert_eq!(difference.to_string(), ".text+0x1a0 (address 0x81a0 of the artifact), bit 2");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ImageDifference {
    /// The part that it lies in.
    pub part: ImagePart,
    /// The section, such as `.text`. The part's name if the artifact names no section there.
    pub section: Arc<str>,
    /// Its first byte, counted from the section's start.
    pub offset: u64,
    /// The same byte's address in the artifact, as `objdump` and `addr2line` count it.
    pub address: u64,
    /// How many bytes it has. If the place could not be found to the byte, the length of the block that it lies in.
    pub len: usize,
    /// The bits that differ, if it is one byte.
    pub bits: Option<u8>,
}

impl ImageDifference {
    /// A difference at this place.
    #[must_use]
    pub fn new(
        part: ImagePart,
        section: impl Into<Arc<str>>,
        offset: u64,
        address: u64,
        len: usize,
        bits: Option<u8>,
    ) -> Self {
        Self {
            part,
            section: section.into(),
            offset,
            address,
            len,
            bits,
        }
    }
}

impl fmt::Display for ImageDifference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.part == ImagePart::PrivateCopy {
            return write!(f, "an unknown place in its private copy ({} bytes)", self.len);
        }
        write!(
            f,
            "{}+{:#x} (address {:#x} of the artifact), ",
            self.section, self.offset, self.address
        )
        .and_then(|()| match self.bits {
            Some(bits) if bits.count_ones() == 1 => write!(f, "bit {}", bits.trailing_zeros()),
            Some(bits) => write!(f, "{} bits of a byte", bits.count_ones()),
            None => write!(f, "within {} bytes", self.len),
        })
    }
}

/// The read-only parts of an artifact, before it is mapped.
pub struct ReadOnlyParts {
    parts: Vec<UnmappedPart>,
    sections: Vec<Section>,
}

struct UnmappedPart {
    place: Place,
    content: Content,
}

/// Where a part is.
#[derive(Clone)]
struct Place {
    kind: ImagePart,
    /// Its address in the artifact.
    address: u64,
    /// Its offset in the file.
    file: u64,
    len: usize,
}

enum Content {
    /// The loader changes nothing of it.
    Fixed(Box<[u64]>),
    /// The loader relocates words of it.
    Relocated { bytes: Vec<u8>, words: Vec<(usize, Word)> },
}

/// What the loader makes of a word.
#[derive(Clone, Copy)]
enum Word {
    /// The image's address plus this number.
    Relative(u64),
    /// A value that only the loader knows, with its length in bytes.
    Bound(usize),
    /// A value of the dynamic section: as it is in the file, or plus the image's address. That depends on the loader and on the entry.
    Dynamic,
}

struct Section {
    name: Arc<str>,
    range: Range<u64>,
}

impl ReadOnlyParts {
    /// Those of a linted artifact. None if it has none, or if its structure cannot be read.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Option<Self> {
        read(bytes).filter(|read| !read.parts.is_empty())
    }

    /// The reference for an image that lies at `base`. `read` reads the image's memory at an address of the artifact. It is called only for
    /// parts that have relocations.
    ///
    /// # Errors
    /// The first error of `read`.
    pub fn relocate<E>(self, base: u64, mut read: impl FnMut(u64, &mut [u8]) -> Result<(), E>) -> Result<Reference, E> {
        let mut bound_bytes = 0;
        let parts = self.parts.into_iter().map(|part| {
            let UnmappedPart { place, content } = part;
            let (checksums, is_in_file) = match content {
                Content::Fixed(checksums) => (checksums, true),
                Content::Relocated { mut bytes, words } => {
                    let mut mapped = vec![0; bytes.len()];
                    read(place.address, &mut mapped)?;
                    bound_bytes += relocate(&mut bytes, &mapped, &words, base);
                    (checksums(&bytes), false)
                }
            };
            Ok(Part {
                place,
                checksums,
                is_in_file,
            })
        });
        Ok(Reference {
            parts: parts.collect::<Result<_, E>>()?,
            sections: self.sections,
            bound_bytes,
        })
    }
}

/// Relocates the bytes of a part. Answers how many bytes were taken from the mapped part.
fn relocate(bytes: &mut [u8], mapped: &[u8], words: &[(usize, Word)], base: u64) -> usize {
    let mut bound = 0;
    for (at, word) in words {
        let len = match word {
            Word::Relative(_) | Word::Dynamic => 8,
            Word::Bound(len) => *len,
        };
        let (Some(word_bytes), Some(found)) = (bytes.get_mut(*at..*at + len), mapped.get(*at..*at + len)) else {
            continue;
        };
        match word {
            Word::Relative(addend) => word_bytes.copy_from_slice(&base.wrapping_add(*addend).to_ne_bytes()),
            Word::Bound(len) => {
                word_bytes.copy_from_slice(found);
                bound += len;
            }
            Word::Dynamic => {
                let relocated = word_at(word_bytes, 0).map(|value| base.wrapping_add(value).to_ne_bytes());
                if relocated.is_some_and(|relocated| relocated == found) {
                    word_bytes.copy_from_slice(found);
                }
            }
        }
    }
    bound
}

/// What the read-only parts of a mapped image must contain.
pub struct Reference {
    parts: Vec<Part>,
    sections: Vec<Section>,
    bound_bytes: usize,
}

struct Part {
    place: Place,
    checksums: Box<[u64]>,
    /// The artifact's file has the same bytes.
    is_in_file: bool,
}

/// A block of a mapped image.
#[derive(Clone, Copy)]
pub struct Block<'a> {
    part: &'a Part,
    number: usize,
}

impl Reference {
    /// All blocks of all parts.
    pub fn blocks(&self) -> impl Iterator<Item = Block<'_>> {
        self.parts
            .iter()
            .flat_map(|part| (0..part.checksums.len()).map(move |number| Block { part, number }))
    }

    /// How many bytes each part has.
    pub fn parts(&self) -> impl Iterator<Item = (ImagePart, usize)> {
        self.parts.iter().map(|part| (part.place.kind, part.place.len))
    }

    /// How many bytes the loader has bound to other libraries. The reference has them as they were when it was made.
    #[must_use]
    pub fn bound_bytes(&self) -> usize {
        self.bound_bytes
    }

    /// Where a block in memory differs from what it must be. `in_file` has the same block of a copy of the artifact's file, if there is one;
    /// it is used only if it is intact.
    #[must_use]
    pub fn differences(&self, block: Block<'_>, found: &[u8], in_file: Option<&[u8]>) -> Vec<ImageDifference> {
        if block.is_intact(found) {
            return Vec::new();
        }
        let ranges = match block.intact(found.len(), in_file) {
            Some(intact) => runs(found, intact),
            None => match flipped_bit(block, found) {
                Some((at, bits)) => vec![(at..at + 1, Some(bits))],
                None => vec![(0..found.len(), None)],
            },
        };
        let difference = |(range, bits): (Range<usize>, Option<u8>)| {
            let kind = block.part.place.kind;
            let address = block.address() + range.start as u64;
            let section = self.sections.iter().find(|section| section.range.contains(&address));
            let (name, start) = match section {
                Some(section) => (section.name.clone(), section.range.start),
                None => (kind.name().into(), block.part.place.address),
            };
            ImageDifference::new(kind, name, address - start, address, range.len(), bits)
        };
        ranges.into_iter().map(difference).collect()
    }

    /// How many differences a block has, if only their number is wanted: without an intact copy it counts as one.
    #[must_use]
    pub fn count_differences(&self, block: Block<'_>, found: &[u8], in_file: Option<&[u8]>) -> usize {
        match block.intact(found.len(), in_file) {
            _ if block.is_intact(found) => 0,
            Some(intact) => runs(found, intact).len(),
            None => 1,
        }
    }
}

/// The runs of bytes that differ, each with the bits that differ if it is one byte.
fn runs(found: &[u8], intact: &[u8]) -> Vec<(Range<usize>, Option<u8>)> {
    let mut runs: Vec<(Range<usize>, Option<u8>)> = Vec::new();
    for (at, (found, intact)) in found.iter().zip(intact).enumerate().filter(|(_, (one, other))| one != other) {
        match runs.last_mut().filter(|(range, _)| range.end == at) {
            Some((range, bits)) => (range.end, *bits) = (at + 1, None),
            None => runs.push((at..at + 1, Some(found ^ intact))),
        }
    }
    runs
}

/// The byte and the bit in it that make the block what it must be when the bit is flipped back. There are 32,768 tries, a few milliseconds.
fn flipped_bit(block: Block<'_>, found: &[u8]) -> Option<(usize, u8)> {
    let mut tried = found.to_vec();
    let bits = (0..8).map(|bit| 1 << bit);
    let mut all = (0..found.len()).flat_map(|at| bits.clone().map(move |bit: u8| (at, bit)));
    all.find(|(at, bit)| {
        tried[*at] ^= bit;
        let is_it = block.is_intact(&tried);
        tried[*at] ^= bit;
        is_it
    })
}

impl Block<'_> {
    /// Its address in the artifact.
    #[must_use]
    pub fn address(&self) -> u64 {
        self.part.place.address + (self.number * BLOCK) as u64
    }

    /// How many bytes it has.
    #[must_use]
    #[allow(clippy::len_without_is_empty, reason = "no block is empty")]
    pub fn len(&self) -> usize {
        (self.part.place.len - self.number * BLOCK).min(BLOCK)
    }

    /// The part that it belongs to.
    #[must_use]
    pub fn part(&self) -> ImagePart {
        self.part.place.kind
    }

    /// Its offset in a copy of the artifact's file, if the file has the same bytes.
    #[must_use]
    pub fn offset_in_file(&self) -> Option<u64> {
        self.part
            .is_in_file
            .then(|| self.part.place.file + (self.number * BLOCK) as u64)
    }

    /// These bytes of a copy, if they are the block's.
    fn intact<'b>(&self, len: usize, in_file: Option<&'b [u8]>) -> Option<&'b [u8]> {
        in_file.filter(|bytes| bytes.len() == len && self.is_intact(bytes))
    }

    /// Whether these are its bytes.
    #[must_use]
    pub fn is_intact(&self, bytes: &[u8]) -> bool {
        xxh3_64(bytes) == self.part.checksums[self.number]
    }
}

fn checksums(bytes: &[u8]) -> Box<[u64]> {
    bytes.chunks(BLOCK).map(xxh3_64).collect()
}

fn word_at(bytes: &[u8], at: usize) -> Option<u64> {
    let word = bytes.get(at..at.checked_add(8)?)?;
    Some(u64::from_ne_bytes(word.try_into().ok()?))
}

/// None if something lies outside of the file; the lint has refused such a file.
fn read(data: &[u8]) -> Option<ReadOnlyParts> {
    let header = Header::parse(data).ok()?;
    let segments = header.program_headers(ENDIAN, data).ok()?;
    let loads: Vec<_> = segments
        .iter()
        .filter(|segment| segment.p_type(ENDIAN) == elf::PT_LOAD)
        .map(|segment| Load {
            address: segment.p_vaddr(ENDIAN),
            file: segment.p_offset(ENDIAN),
            in_file: segment.p_filesz(ENDIAN),
            in_memory: segment.p_memsz(ENDIAN),
            is_written: segment.p_flags(ENDIAN).contains(elf::PF_W),
            is_code: segment.p_flags(ENDIAN).contains(elf::PF_X),
        })
        .collect();
    let mut places: Vec<(Place, usize)> = Vec::new();
    for load in loads.iter().filter(|load| !load.is_written) {
        let kind = match load.is_code {
            true => ImagePart::Code,
            false => ImagePart::Constants,
        };
        places.push(load.place(kind, load.address, load.in_file)?);
    }
    for segment in segments.iter().filter(|segment| segment.p_type(ENDIAN) == elf::PT_GNU_RELRO) {
        let start = segment.p_vaddr(ENDIAN);
        let load = loads
            .iter()
            .find(|load| (load.address..load.address.saturating_add(load.in_memory)).contains(&start))?;
        // The loader protects whole pages, so the rest behind the last whole page stays writable.
        let end = start.checked_add(segment.p_memsz(ENDIAN))?.min(load.address + load.in_memory);
        let end = end / BLOCK as u64 * BLOCK as u64;
        if let Some(len) = end.checked_sub(start).filter(|len| *len > 0) {
            places.push(load.place(ImagePart::Relocated, start, len)?);
        }
    }
    places.retain(|(place, _)| place.len > 0);
    let mut words = words(data, &loads, segments)?;
    words.sort_unstable_by_key(|(address, _)| *address);
    let parts = places.into_iter().map(|(place, in_file)| {
        let start = usize::try_from(place.file).ok()?;
        let bytes = data.get(start..start.checked_add(in_file)?)?;
        let (from, to) = (place.address, place.address + place.len as u64);
        let first = words.partition_point(|(address, _)| *address < from);
        let last = words.partition_point(|(address, _)| *address < to);
        let content = match first == last && in_file == place.len {
            true => Content::Fixed(checksums(bytes)),
            false => {
                let mut bytes = bytes.to_vec();
                bytes.resize(place.len, 0);
                let inside = words[first..last].iter();
                let words = inside.map(|(address, word)| ((address - from) as usize, *word)).collect();
                Content::Relocated { bytes, words }
            }
        };
        Some(UnmappedPart { place, content })
    });
    Some(ReadOnlyParts {
        parts: parts.collect::<Option<_>>()?,
        sections: sections(header, data).unwrap_or_default(),
    })
}

/// A loaded segment.
struct Load {
    address: u64,
    file: u64,
    in_file: u64,
    in_memory: u64,
    is_written: bool,
    is_code: bool,
}

impl Load {
    /// A part of it, and how many of its bytes are in the file. The others are zeros.
    fn place(&self, kind: ImagePart, address: u64, len: u64) -> Option<(Place, usize)> {
        let inside = address.checked_sub(self.address)?;
        let in_file = self.in_file.saturating_sub(inside).min(len);
        let place = Place {
            kind,
            address,
            file: self.file.checked_add(inside)?,
            len: usize::try_from(len).ok()?,
        };
        Some((place, usize::try_from(in_file).ok()?))
    }
}

/// The words that the loader changes, by their addresses.
fn words(data: &[u8], loads: &[Load], segments: &[elf::ProgramHeader64<NativeEndian>]) -> Option<Vec<(u64, Word)>> {
    let offset_of = |address: u64| {
        loads.iter().find_map(|load| {
            let inside = address.checked_sub(load.address).filter(|inside| *inside < load.in_file)?;
            usize::try_from(load.file.checked_add(inside)?).ok()
        })
    };
    let mut words = Vec::new();
    let dynamic = segments.iter().find(|segment| segment.p_type(ENDIAN) == elf::PT_DYNAMIC);
    let Some(dynamic) = dynamic else { return Some(words) };
    let (start, len) = dynamic.file_range(ENDIAN);
    let start = usize::try_from(start).ok()?;
    let entries: Vec<(u64, u64)> = data
        .get(start..start.checked_add(usize::try_from(len).ok()?)?)?
        .chunks_exact(16)
        .map_while(|entry| Some((word_at(entry, 0)?, word_at(entry, 8)?)))
        .take_while(|(tag, _)| *tag != 0)
        .collect();
    for number in 0..entries.len() as u64 {
        words.push((dynamic.p_vaddr(ENDIAN) + 16 * number + 8, Word::Dynamic));
    }
    let value = |tag: elf::DynamicTag| {
        let entry = entries.iter().rfind(|(known, _)| *known == tag.0 as u64);
        entry.map(|(_, value)| *value)
    };
    let table = |start, len| {
        let (Some(start), Some(len)) = (value(start), value(len)) else {
            return Some(&[][..]);
        };
        let start = offset_of(start)?;
        data.get(start..start.checked_add(usize::try_from(len).ok()?)?)
    };
    let tables = [table(elf::DT_RELA, elf::DT_RELASZ)?, table(elf::DT_JMPREL, elf::DT_PLTRELSZ)?];
    for entry in tables.into_iter().flat_map(|table| table.chunks_exact(24)) {
        let (address, kind, addend) = (word_at(entry, 0)?, word_at(entry, 8)?, word_at(entry, 16)?);
        words.push((address, Word::of(kind as u32, addend)));
    }
    let mut next = 0;
    for entry in table(elf::DT_RELR, elf::DT_RELRSZ)?.chunks_exact(8) {
        let entry = word_at(entry, 0)?;
        let mut relative = |address: u64| {
            words.push((address, Word::Relative(word_at(data, offset_of(address)?)?)));
            Some(())
        };
        match entry & 1 {
            0 => {
                relative(entry)?;
                next = entry + 8;
            }
            _ => {
                for bit in (1..64).filter(|bit| entry >> bit & 1 == 1) {
                    relative(next + 8 * (bit - 1))?;
                }
                next += 8 * 63;
            }
        }
    }
    Some(words)
}

impl Word {
    /// What a relocation of this type does.
    fn of(kind: u32, addend: u64) -> Self {
        let (relative, descriptor) = match cfg!(target_arch = "aarch64") {
            true => (elf::R_AARCH64_RELATIVE, elf::R_AARCH64_TLSDESC),
            false => (elf::R_X86_64_RELATIVE, elf::R_X86_64_TLSDESC),
        };
        match kind {
            kind if kind == relative.0 => Self::Relative(addend),
            kind if kind == descriptor.0 => Self::Bound(16),
            _ => Self::Bound(8),
        }
    }
}

/// The sections that are loaded.
fn sections(header: &Header, data: &[u8]) -> Option<Vec<Section>> {
    let table = header.sections(ENDIAN, data).ok()?;
    let loaded = table
        .iter()
        .filter(|section| section.sh_flags(ENDIAN).contains(elf::SHF_ALLOC) && section.sh_size(ENDIAN) > 0)
        // The thread-local zeros have no address of their own.
        .filter(|section| !section.sh_flags(ENDIAN).contains(elf::SHF_TLS) || section.sh_type(ENDIAN) != elf::SHT_NOBITS);
    let sections = loaded.filter_map(|section| {
        let name = table.section_name(ENDIAN, section).ok()?;
        let start = section.sh_addr(ENDIAN);
        Some(Section {
            name: reslot_plugin_api::__private::cut_words(name.escape_ascii()).into(),
            range: start..start.checked_add(section.sh_size(ENDIAN))?,
        })
    });
    Some(sections.collect())
}

#[cfg(test)]
mod tests {
    use super::{ImageDifference, ImagePart, ReadOnlyParts};

    #[test]
    fn what_is_no_library_has_no_parts() {
        assert!(ReadOnlyParts::of(b"").is_none());
        assert!(ReadOnlyParts::of(b"\x7fELF, and no more").is_none());
    }

    #[test]
    fn difference_without_a_known_place_says_so() {
        let difference = ImageDifference::new(ImagePart::PrivateCopy, "private-copy", 0, 0, 700, None);
        assert_eq!(difference.to_string(), "an unknown place in its private copy (700 bytes)");
    }
}
