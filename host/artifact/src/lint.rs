//! Decides from the bytes alone whether an artifact may be loaded: it is neither executed nor mapped. `error` has the
//! findings, `elf` the structure of the file, and `imports` the harmful imports. Other crates copy and open the file.

mod elf;
mod error;
mod foreign;
mod imports;
mod own_symbols;

use crate::ContentHash;
use object::elf as format;
use object::pod;
use object::read::elf::{FileHeader as _, ProgramHeader as _, SectionHeader as _, Sym as _};
use reslot_plugin_api::{API_VERSION, TARGET, TOOLCHAIN};

use self::elf::{ENDIAN, Elf, shown};
pub use self::error::LintError;
pub use self::foreign::{Foreign, examine_foreign};
use self::imports::Binding;
use super::compat;
use super::manifest::{Interface, Manifest, SECTION};

/// The symbol through which the host enters an image.
pub const ROOT: &str = "reslot_root";

/// From this size on, debug information makes the copying and hashing of each reload noticeably slower.
const MUCH_DEBUG: u64 = 16 << 20;

/// What this host requires of an artifact.
#[derive(Clone, Copy, Debug)]
pub struct Expectations<'a> {
    /// The compiler that built this host, as `rustc --version` says it.
    pub toolchain: &'a str,
    /// The target triple of this host.
    pub target: &'a str,
    /// The version of `reslot-plugin-api` in this host.
    pub api: &'a str,
    /// The interface that the slot needs; `None` accepts any.
    pub interface: Option<&'a Interface>,
    /// The `e_machine` of this host.
    pub machine: u16,
}

impl Expectations<'static> {
    /// The requirements of a host that is built from these sources by this compiler.
    pub fn of_this_build() -> Self {
        Self {
            toolchain: TOOLCHAIN,
            target: TARGET,
            api: API_VERSION,
            interface: None,
            machine: own_machine(),
        }
    }
}

fn own_machine() -> u16 {
    #[cfg(target_arch = "x86_64")]
    let machine = format::EM_X86_64;
    #[cfg(target_arch = "aarch64")]
    let machine = format::EM_AARCH64;
    machine.0
}

/// An artifact that may be loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Linted {
    /// What it says about itself.
    pub manifest: Manifest,
    /// The hash of the manifest's text.
    pub manifest_text: ContentHash,
    /// Whether DF_1_NODELETE was set, and has been cleared in the bytes.
    pub cleared_nodelete: bool,
    /// Whether it exports more than its root, and the bytes were changed so that it finds its own symbols before those of
    /// the host program.
    pub own_symbols_first: bool,
    /// Remarks that are not a reason for a refusal.
    pub warnings: Vec<String>,
}

impl Linted {
    /// What is known of an artifact that is nothing but its manifest: a plugin that is linked into the program.
    ///
    /// # Errors
    /// If the manifest cannot be read.
    pub fn of_manifest(text: &[u8]) -> Result<Self, LintError> {
        Ok(Self {
            manifest: Manifest::parse(text).map_err(LintError::Manifest)?,
            manifest_text: Manifest::text_hash(text),
            cleared_nodelete: false,
            own_symbols_first: false,
            warnings: Vec::new(),
        })
    }

    /// Whether the lint has changed the bytes.
    pub fn changed(&self) -> bool {
        self.cleared_nodelete || self.own_symbols_first
    }
}

/// The changes that the lint makes to the bytes of an accepted artifact.
#[derive(Default)]
struct Changes {
    /// The offsets of the words in which DF_1_NODELETE is set.
    nodelete: Vec<u64>,
    own_symbols: Option<own_symbols::Place>,
}

/// The result of an inspection, for a person.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inspection {
    /// The manifest, if it can be read.
    pub manifest: Option<Manifest>,
    /// Every reason to refuse it, in the order of the checks.
    pub findings: Vec<LintError>,
    /// Whether DF_1_NODELETE is set; a host clears it in its private copy.
    pub nodelete: bool,
    /// The symbols that it imports, sorted.
    pub imports: Vec<String>,
    /// Remarks that are not a reason for a refusal.
    pub warnings: Vec<String>,
}

/// Refuses an artifact that must not be loaded, with the first reason. In an accepted artifact DF_1_NODELETE is cleared,
/// because with it the loader would never unload the image. An artifact that exports more than its root is marked
/// DF_SYMBOLIC, because without it the loader would use the host program's symbols of the same names. Refused bytes are not
/// changed.
pub fn lint(bytes: &mut [u8], expect: &Expectations<'_>) -> Result<Linted, LintError> {
    let (inspection, changes, manifest_text) = examine(bytes, expect, false);
    let Inspection {
        manifest,
        findings,
        nodelete,
        warnings,
        imports: _,
    } = inspection;
    if let Some(finding) = findings.into_iter().next() {
        return Err(finding);
    }
    let (manifest, manifest_text) = manifest.zip(manifest_text).ok_or(LintError::NoManifest)?;
    clear_nodelete(bytes, &changes.nodelete);
    if let Some(place) = changes.own_symbols {
        place.change(bytes);
    }
    Ok(Linted {
        manifest,
        manifest_text,
        cleared_nodelete: nodelete,
        own_symbols_first: changes.own_symbols.is_some(),
        warnings,
    })
}

/// Clears DF_1_NODELETE in the words at these offsets.
fn clear_nodelete(bytes: &mut [u8], flags: &[u64]) {
    for offset in flags {
        change_word(bytes, *offset, |word| word & !format::DF_1_NODELETE.0);
    }
}

/// Changes the word at this offset of the file.
fn change_word(bytes: &mut [u8], offset: u64, change: impl FnOnce(u64) -> u64) {
    let word = usize::try_from(offset)
        .ok()
        .and_then(|offset| bytes.get_mut(offset..)?.first_chunk_mut());
    if let Some(word) = word {
        *word = change(u64::from_ne_bytes(*word)).to_ne_bytes();
    }
}

/// Collects all findings of [`lint`] without changing the bytes. A damaged file has one finding, because the rest cannot be
/// read.
pub fn inspect(bytes: &[u8], expect: &Expectations<'_>) -> Inspection {
    examine(bytes, expect, true).0
}

/// Returns the inspection, the changes to make, and the hash of the manifest's text. The names of all imports are collected
/// only for people, because no reload needs them.
fn examine(bytes: &[u8], expect: &Expectations<'_>, for_people: bool) -> (Inspection, Changes, Option<ContentHash>) {
    let mut words = Vec::new();
    let data = aligned(bytes, &mut words);
    let mut inspection = Inspection::default();
    let elf = match Elf::parse(data) {
        Ok(elf) => elf,
        Err(error) => {
            inspection.findings.push(error);
            return (inspection, Changes::default(), None);
        }
    };

    check_kind(&elf, expect, &mut inspection);
    let section = elf.section(SECTION);
    match section.map(Manifest::parse) {
        None => inspection.findings.push(LintError::NoManifest),
        Some(Err(error)) => inspection.findings.push(LintError::Manifest(error)),
        Some(Ok(manifest)) => {
            check_manifest(&manifest, expect, &mut inspection.findings);
            inspection.manifest = Some(manifest);
        }
    }
    check_symbols(&elf, &mut inspection, for_people);
    check_dynamic(&elf, &mut inspection);

    let mut changes = Changes {
        nodelete: nodelete_words(&elf),
        own_symbols: None,
    };
    inspection.nodelete = !changes.nodelete.is_empty();
    match own_symbols::place(&elf) {
        Ok(place) => changes.own_symbols = place,
        Err(warning) => inspection.warnings.push(warning),
    }
    (inspection, changes, section.map(Manifest::text_hash))
}

/// The parser reads in place, so it needs aligned words. A Vec is aligned in practice; a part of a larger one may not be.
fn aligned<'a>(bytes: &'a [u8], words: &'a mut Vec<u64>) -> &'a [u8] {
    if bytes.as_ptr().align_offset(align_of::<u64>()) == 0 {
        return bytes;
    }
    words.resize(bytes.len().div_ceil(size_of::<u64>()), 0);
    let copy = &mut pod::bytes_of_slice_mut(words)[..bytes.len()];
    copy.copy_from_slice(bytes);
    copy
}

/// The offsets in the file of the words in which DF_1_NODELETE is set.
fn nodelete_words(elf: &Elf<'_>) -> Vec<u64> {
    let set = |entry: &&elf::Entry| entry.tag == format::DT_FLAGS_1 && entry.value & format::DF_1_NODELETE.0 != 0;
    elf.dynamic.iter().filter(set).map(|entry| entry.offset).collect()
}

/// Checks that the file is a shared library for this processor.
fn check_kind(elf: &Elf<'_>, expect: &Expectations<'_>, inspection: &mut Inspection) {
    let findings = &mut inspection.findings;
    let machine = elf.header.e_machine(ENDIAN).0;
    if machine != expect.machine {
        let (found, expected) = (machine_name(machine), machine_name(expect.machine));
        findings.push(LintError::WrongMachine { found, expected });
    }
    let has = |kind| elf.segments.iter().any(|segment| segment.p_type(ENDIAN) == kind);
    let pie = has(format::PT_INTERP) || elf.flags(format::DT_FLAGS_1) & format::DF_1_PIE.0 != 0;
    let other = match elf.header.e_type(ENDIAN) {
        format::ET_DYN if pie => Some("a program, or a library that can be started as one"),
        format::ET_DYN if elf.dynamic.is_empty() => {
            Some("a file without dynamic section, perhaps split-off debug information")
        }
        format::ET_DYN => None,
        format::ET_REL => Some("an object file"),
        format::ET_EXEC => Some("an executable"),
        format::ET_CORE => Some("a core dump"),
        _ => Some("an ELF file of unknown type"),
    };
    findings.extend(other.map(|found| LintError::NotSharedLibrary { found }));

    let stack = elf
        .segments
        .iter()
        .rfind(|segment| segment.p_type(ENDIAN) == format::PT_GNU_STACK);
    if stack.is_some_and(|stack| stack.p_flags(ENDIAN).0 & format::PF_X.0 != 0) {
        inspection
            .warnings
            .push("asks for an executable stack: glibc 2.41 and later refuses to load it".into());
    }
}

/// Checks the manifest against the host's requirements.
fn check_manifest(manifest: &Manifest, expect: &Expectations<'_>, findings: &mut Vec<LintError>) {
    let differ = |found: &str, expected: &str| (found != expected).then(|| (found.to_owned(), expected.to_owned()));
    if let Some((found, expected)) = differ(&manifest.toolchain, expect.toolchain) {
        findings.push(LintError::WrongToolchain { found, expected });
    }
    if let Some((found, expected)) = differ(&manifest.target, expect.target) {
        findings.push(LintError::WrongTarget { found, expected });
    }
    if !same_api(&manifest.api, expect.api) {
        findings.push(LintError::WrongApi {
            found: manifest.api.clone(),
            expected: expect.api.to_owned(),
        });
    }
    if let Some(host) = expect.interface {
        findings.extend(compat::compare(host, &manifest.interface).err().map(LintError::Interface));
    }
}

/// Whether two versions are compatible: they have the same major version, and before 1.0 the same minor version.
pub fn same_api(found: &str, expected: &str) -> bool {
    let promise = |version: &str| {
        let mut numbers = version.split('.').map(|number| number.parse::<u64>().ok());
        let (major, minor) = (numbers.next()??, numbers.next()??);
        Some((major, if major == 0 { minor } else { 0 }))
    };
    found == expected || promise(found).is_some_and(|found| promise(expected) == Some(found))
}

/// Checks the exported and imported symbols.
fn check_symbols(elf: &Elf<'_>, inspection: &mut Inspection, for_people: bool) {
    let Inspection { findings, warnings, .. } = inspection;
    let exported = |symbol: &format::Sym64<_>| {
        let bind = symbol.st_bind();
        let visible = matches!(symbol.st_visibility(), format::STV_DEFAULT | format::STV_PROTECTED);
        visible && (bind == format::STB_GLOBAL || bind == format::STB_WEAK)
    };
    let (mut root, mut unique, mut imports) = (false, Vec::new(), imports::Imports::new());
    for (name, symbol) in elf.named_symbols() {
        if symbol.is_undefined(ENDIAN) {
            let weak = symbol.st_bind() == format::STB_WEAK;
            imports.insert(name, if weak { Binding::Weak } else { Binding::Strong });
        } else if symbol.st_bind() == format::STB_GNU_UNIQUE {
            unique.push(name);
        } else if name == ROOT.as_bytes() && exported(symbol) {
            root = true;
        }
    }

    if !root {
        findings.push(LintError::NoRoot);
    }
    if !unique.is_empty() {
        let names = unique.iter().take(3).map(|name| shown(name)).collect();
        findings.push(LintError::UniqueSymbols {
            names,
            count: unique.len(),
        });
    }
    let (harmful, doubtful) = imports::judge(&imports);
    findings.extend(harmful);
    warnings.extend(doubtful);
    if for_people {
        inspection.imports = imports.into_keys().map(shown).collect();
    }
}

/// Checks the library's dynamic entries, which are requests to the loader.
fn check_dynamic(elf: &Elf<'_>, inspection: &mut Inspection) {
    for entry in elf.dynamic.iter().filter(|entry| entry.tag == format::DT_NEEDED) {
        let library = elf.text(*entry).unwrap_or_default();
        if library.starts_with(b"libstd-") && library.ends_with(b".so") {
            inspection
                .findings
                .push(LintError::NeedsSharedStd { library: shown(library) });
        }
    }
    if elf.flags(format::DT_FLAGS) & format::DF_STATIC_TLS.0 != 0 {
        inspection.findings.push(LintError::StaticTls);
    }

    let is_debug = |name: &[u8]| name.starts_with(b".debug_");
    let debug = elf
        .sections
        .iter()
        .filter(|section| elf.sections.section_name(ENDIAN, section).is_ok_and(is_debug));
    let size = debug.fold(0u64, |sum, section| sum.saturating_add(section.sh_size(ENDIAN)));
    if size > MUCH_DEBUG {
        inspection.warnings.push(format!(
            "carries {} MiB of debug information, copied and hashed at each reload: debug = \"line-tables-only\" is enough \
             for backtraces",
            size >> 20
        ));
    }
}

fn machine_name(machine: u16) -> String {
    let name = match format::Machine(machine) {
        format::EM_386 => "x86 (32-bit)",
        format::EM_X86_64 => "x86_64",
        format::EM_ARM => "arm (32-bit)",
        format::EM_AARCH64 => "aarch64",
        format::EM_RISCV => "riscv",
        format::EM_PPC64 => "powerpc64",
        format::EM_S390 => "s390x",
        format::EM_LOONGARCH => "loongarch",
        _ => return format!("ELF machine {machine}"),
    };
    name.into()
}

#[cfg(test)]
mod tests;
