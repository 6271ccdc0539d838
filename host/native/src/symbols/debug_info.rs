//! Reading names out of a library's or an executable's file: from its debug information, or where that says nothing, from its
//! symbol table. The file is mapped for the length of one look, so only the parts of it that are needed are read.

use super::{CopyFile, HashMap, HashSet, Place, Places};
use addr2line::{
    Context, Frame, LookupResult,
    gimli::{Dwarf, EndianSlice, NativeEndian, SectionId},
};
use object::{
    CompressionFormat, Object, ObjectSection, ObjectSegment, ObjectSymbol, SymbolKind,
    read::elf::{ElfFile64, ElfSection64},
};
use reslot_stage::identity;
use std::{
    fs::OpenOptions,
    io,
    ops::Deref,
    os::{fd::AsRawFd, unix::fs::OpenOptionsExt},
    panic::{AssertUnwindSafe, catch_unwind},
    ptr::NonNull,
    sync::Arc,
};

type Slice<'a> = EndianSlice<'a, NativeEndian>;

/// What a file tells of some addresses.
pub(super) struct DebugInfo {
    pub(super) places: HashMap<usize, Places>,
    /// Why names are missing.
    pub(super) remark: Option<&'static str>,
}

/// Looks up the functions of return addresses, sorted and relative to where the file is mapped. The file's last segment must end
/// at `len`: a program that was started through the loader's own executable is not what the kernel says that it is.
pub(super) fn look_up(copy: &CopyFile, len: usize, offsets: &[usize]) -> Result<DebugInfo, String> {
    let path = &copy.path;
    let read = || {
        let file = MappedFile::open(copy).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => format!("its private copy {} is gone, somebody has removed it", path.display()),
            _ => format!("{}: {error}", path.display()),
        })?;
        let elf = ElfFile64::parse(&*file).map_err(|error| error.to_string())?;
        let ends = elf.segments().map(|segment| segment.address() + segment.size());
        if ends.max() != Some(len as u64) {
            return Err(format!("{} is not the file that is mapped", path.display()));
        }
        Ok(look_up_in(&elf, offsets))
    };
    // The debug information is whatever a compiler wrote. A fault of its reader is not to end the host's thread.
    catch_unwind(AssertUnwindSafe(read)).unwrap_or_else(|_| Err("its debug information cannot be read".to_owned()))
}

fn look_up_in(elf: &ElfFile64<'_>, offsets: &[usize]) -> DebugInfo {
    let mut words = Words::default();
    let symbols = symbols(elf, offsets);
    let context = Dwarf::load(|id| section(elf, id)).and_then(Context::from_dwarf).ok();
    let mut places = HashMap::new();
    for offset in offsets {
        let mut found = context
            .as_ref()
            .map_or_else(Vec::new, |context| inlined(context, *offset, &mut words));
        // A compiler that was asked for line numbers only writes names without their paths, or none.
        if let Some(symbol) = symbols.get(offset) {
            if found.is_empty() {
                found.push((Place::default(), false));
            }
            if let Some((place, false)) = found.last_mut() {
                place.function = Some(words.share(&demangled(symbol)));
            }
        }
        places.insert(*offset, found.into_iter().map(|(place, _)| place).collect());
    }
    let stripped = elf.symbol_table().is_none();
    let remark = stripped.then_some("the artifact's symbols were stripped: build it with `strip = false` to see names");
    DebugInfo { places, remark }
}

/// The functions at an address, those that were inlined first, and whether the name of each is complete.
fn inlined(context: &Context<Slice<'_>>, offset: usize, words: &mut Words) -> Vec<(Place, bool)> {
    let mut found = Vec::new();
    // The address before: a return address may already be another line's, or another function's.
    let frames = match context.find_frames(offset as u64 - 1) {
        LookupResult::Output(frames) => frames,
        // Debug information in files beside the artifact. They are not copied with it, so they may be another build's.
        load @ LookupResult::Load { .. } => load.skip_all_loads(),
    };
    let Ok(mut frames) = frames else { return found };
    while let Ok(Some(frame)) = frames.next() {
        found.push(place(&frame, words));
    }
    found
}

fn place(frame: &Frame<'_, Slice<'_>>, words: &mut Words) -> (Place, bool) {
    let mut place = Place::default();
    let mut complete = false;
    if let Some(Ok(name)) = frame.function.as_ref().map(|function| function.raw_name()) {
        complete = is_mangled(&name);
        place.function = Some(words.share(&demangled(&name)));
    }
    if let Some(location) = &frame.location {
        place.file = location.file.map(|file| words.share(file));
        place.line = location.line;
        place.column = location.column.filter(|column| *column > 0);
    }
    (place, complete)
}

/// The functions of the symbol table that cover an address: in one pass, there may be a hundred thousand.
fn symbols<'data>(elf: &ElfFile64<'data>, offsets: &[usize]) -> HashMap<usize, &'data str> {
    let mut found = HashMap::new();
    for symbol in elf
        .symbols()
        .filter(|symbol| symbol.kind() == SymbolKind::Text && symbol.size() > 0)
    {
        let from = symbol.address() as usize;
        let to = from + symbol.size() as usize;
        let first = offsets.partition_point(|offset| *offset <= from);
        for offset in offsets[first..].iter().take_while(|offset| **offset <= to) {
            if let Ok(name) = symbol.name() {
                found.insert(*offset, name);
            }
        }
    }
    found
}

fn section<'data>(elf: &ElfFile64<'data>, id: SectionId) -> Result<Slice<'data>, addr2line::gimli::Error> {
    // A compressed one would have to be unpacked, whole, into memory: the symbol table has to do.
    let plain = |section: &ElfSection64<'data, '_>| {
        let range = section.compressed_file_range();
        range.is_ok_and(|range| range.format == CompressionFormat::None)
    };
    let section = elf.section_by_name(id.name()).filter(plain);
    let data = section.and_then(|section| section.data().ok()).unwrap_or_default();
    Ok(EndianSlice::new(data, NativeEndian))
}

fn is_mangled(name: &str) -> bool {
    rustc_demangle::try_demangle(name).is_ok()
}

/// Without the hash at its end.
fn demangled(name: &str) -> String {
    match rustc_demangle::try_demangle(name) {
        Ok(demangled) => format!("{demangled:#}"),
        Err(_) => name.to_owned(),
    }
}

/// Names and files that were seen, each kept once.
#[derive(Default)]
struct Words(HashSet<Arc<str>>);

impl Words {
    fn share(&mut self, text: &str) -> Arc<str> {
        if let Some(known) = self.0.get(text) {
            return known.clone();
        }
        let new: Arc<str> = text.into();
        self.0.insert(new.clone());
        new
    }
}

/// A file, mapped to be read.
struct MappedFile {
    start: NonNull<u8>,
    len: usize,
}

impl MappedFile {
    fn open(copy: &CopyFile) -> io::Result<Self> {
        let file = OpenOptions::new()
            .read(true)
            // Opening a pipe that somebody has put there must not wait for its writer.
            .custom_flags(libc::O_NONBLOCK)
            .open(&copy.path)?;
        let found = file.metadata()?;
        if copy.identity.is_some_and(|mapped| mapped != identity(&found)) {
            return Err(io::Error::other("it is not the file that is mapped"));
        }
        let len = usize::try_from(found.len()).map_err(io::Error::other)?;
        // SAFETY: a new mapping, which overlaps no memory of this process; the kernel checks the arguments.
        let start = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                len,
                libc::PROT_READ,
                libc::MAP_PRIVATE,
                file.as_raw_fd(),
                0,
            )
        };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let start = NonNull::new(start.cast()).ok_or_else(|| io::Error::other("it was mapped at address 0"))?;
        Ok(Self { start, len })
    }
}

impl Deref for MappedFile {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: mapped for reading, in this length, until the drop. Nobody writes the file meanwhile: an image's private copy
        // is written once, before it is opened, under a name and in a folder that only this process has, and `open` has seen that it
        // is that copy and not what somebody has put in its place; the kernel lets
        // nobody write the executable that runs. Either is mapped as code as well, so a change would be the end of it anyway.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }
}

impl Drop for MappedFile {
    fn drop(&mut self) {
        // SAFETY: mapped in `open` in this length; the borrow by which it was read has ended.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.len) };
    }
}
