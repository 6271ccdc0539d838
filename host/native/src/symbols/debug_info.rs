//! Reads names from the file of a library or an executable: from its debug information, or, where that has none, from its symbol
//! table. The file is mapped during one look-up, so only the needed parts are read.

use super::{CopyFile, HashMap, HashSet, SourceLocation, SourceLocations};
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

/// The names that a file has for some addresses.
pub(super) struct DebugInfo {
    pub(super) found: HashMap<usize, SourceLocations>,
    /// Why names are missing.
    pub(super) remark: Option<&'static str>,
}

/// Looks up the functions of return addresses. `offsets` are sorted, and relative to the module's base. The file's last segment must
/// end at `len`; this guards against `ld.so ./program`, where `/proc/self/exe` is the loader.
pub(super) fn look_up(copy: &CopyFile, len: usize, offsets: &[usize]) -> Result<DebugInfo, String> {
    let path = &copy.path;
    let read = || {
        let file = MappedFile::open(copy).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => format!("its private copy {} has been removed", path.display()),
            _ => format!("{}: {error}", path.display()),
        })?;
        let elf = ElfFile64::parse(&*file).map_err(|error| error.to_string())?;
        let ends = elf.segments().map(|segment| segment.address().saturating_add(segment.size()));
        if ends.max() != Some(len as u64) {
            return Err(format!("{} is not the file that is mapped", path.display()));
        }
        Ok(look_up_in(&elf, offsets))
    };
    // Debug information can be malformed in any way. A panic of its reader must not end the host's thread.
    catch_unwind(AssertUnwindSafe(read)).unwrap_or_else(|_| Err("its debug information cannot be read".to_owned()))
}

/// How many of these return addresses have names in the bytes of a library: the same look-up without a file and without a
/// net for panics, for tests. The offsets are sorted.
pub fn names_in(bytes: &[u8], offsets: &[usize]) -> Result<usize, String> {
    let elf = ElfFile64::parse(bytes).map_err(|error| error.to_string())?;
    let found = look_up_in(&elf, offsets).found;
    Ok(found.values().filter(|names| !names.is_empty()).count())
}

fn look_up_in(elf: &ElfFile64<'_>, offsets: &[usize]) -> DebugInfo {
    let mut words = Words::default();
    let symbols = symbols(elf, offsets);
    let context = Dwarf::load(|id| section(elf, id)).and_then(Context::from_dwarf).ok();
    let mut found = HashMap::new();
    for offset in offsets {
        let mut locations = context
            .as_ref()
            .map_or_else(Vec::new, |context| inlined(context, *offset, &mut words));
        // With line tables only, the compiler writes names without their paths, or none.
        if let Some(symbol) = symbols.get(offset) {
            if locations.is_empty() {
                locations.push((SourceLocation::default(), false));
            }
            if let Some((location, false)) = locations.last_mut() {
                location.function = Some(words.share(&demangled(symbol)));
            }
        }
        found.insert(*offset, locations.into_iter().map(|(location, _)| location).collect());
    }
    let stripped = elf.symbol_table().is_none();
    let remark = stripped.then_some("the artifact's symbols were stripped: build it with `strip = false` to see names");
    DebugInfo { found, remark }
}

/// The functions at an address, the innermost inlined one first, and whether the name of each is complete.
fn inlined(context: &Context<Slice<'_>>, offset: usize, words: &mut Words) -> Vec<(SourceLocation, bool)> {
    let mut found = Vec::new();
    // Look up the address before: a return address may belong to the next line, or to the next function.
    let frames = match context.find_frames((offset as u64).saturating_sub(1)) {
        LookupResult::Output(frames) => frames,
        // Skip debug information in separate files: they are not copied with the artifact, so they may be of another build.
        load @ LookupResult::Load { .. } => load.skip_all_loads(),
    };
    let Ok(mut frames) = frames else { return found };
    while let Ok(Some(frame)) = frames.next() {
        found.push(location(&frame, words));
    }
    found
}

fn location(frame: &Frame<'_, Slice<'_>>, words: &mut Words) -> (SourceLocation, bool) {
    let mut found = SourceLocation::default();
    let mut complete = false;
    if let Some(Ok(name)) = frame.function.as_ref().map(|function| function.raw_name()) {
        complete = is_mangled(&name);
        found.function = Some(words.share(&demangled(&name)));
    }
    if let Some(location) = &frame.location {
        found.file = location.file.map(|file| words.share(file));
        found.line = location.line;
        found.column = location.column.filter(|column| *column > 0);
    }
    (found, complete)
}

/// The functions of the symbol table that cover one of the addresses. One pass, because the table may have a hundred thousand symbols.
fn symbols<'data>(elf: &ElfFile64<'data>, offsets: &[usize]) -> HashMap<usize, &'data str> {
    let mut found = HashMap::new();
    for symbol in elf
        .symbols()
        .filter(|symbol| symbol.kind() == SymbolKind::Text && symbol.size() > 0)
    {
        let from = symbol.address() as usize;
        let to = from.saturating_add(symbol.size() as usize);
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
    // Skip a compressed section: it would have to be unpacked as a whole. The symbol table is used instead.
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

/// The demangled name without the hash at its end.
fn demangled(name: &str) -> String {
    match rustc_demangle::try_demangle(name) {
        Ok(demangled) => format!("{demangled:#}"),
        Err(_) => name.to_owned(),
    }
}

/// The names of functions and files so far, each stored once.
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
            // If somebody has replaced the copy by a pipe, `open` must not wait for a writer.
            .custom_flags(libc::O_NONBLOCK)
            .open(&copy.path)?;
        let found = file.metadata()?;
        if copy.identity.is_some_and(|mapped| mapped != identity(&found)) {
            return Err(io::Error::other("it is not the file that is mapped"));
        }
        let len = usize::try_from(found.len()).map_err(io::Error::other)?;
        // SAFETY: the kernel chooses the address of the new mapping, so it overlaps no other memory.
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
        // SAFETY: `open` has mapped `len` bytes for reading, and only `drop` unmaps them. Nobody changes the file meanwhile:
        // (1) a private copy is written once, before it is opened, in a folder of this process, and `open` has checked by its
        // identity that the file is that copy; (2) the kernel refuses writes to a running executable. Both files are mapped as code,
        // too, so a process that can write to them can change the running code anyway.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }
}

impl Drop for MappedFile {
    fn drop(&mut self) {
        // SAFETY: `open` has mapped this range, only this drop unmaps it, and every borrow of it ends before the drop.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.len) };
    }
}
