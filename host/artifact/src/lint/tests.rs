//! Lint against a small library that is put together here byte by byte, and against real files cut and bent in every way.

mod harmful;

use super::super::compat::Difference;
use super::super::manifest::ManifestError;
use super::*;

const MACHINE: u16 = 62;

const EXPECT: Expectations<'static> = Expectations {
    toolchain: "rustc 1.95.0",
    target: "x86_64-unknown-linux-gnu",
    api: "0.1.2",
    interface: None,
    machine: MACHINE,
};

fn manifest() -> String {
    r#"{"reslot":3,"name":"momentum","version":"0.3.1","api":"0.1.0","toolchain":"rustc 1.95.0",
        "target":"x86_64-unknown-linux-gnu","profile":"dev","state":null,"exclusive":false,"uses":[],
        "interface":{"name":"Strategy","major":1,"minor":0,"methods":[]}}"#
        .into()
}

/// A symbol as name, st_info and section.
type Symbol = (&'static str, u8, u16);

const FUNCTION: u8 = 0x12;
const UNIQUE: u8 = 0xa1;
const HERE: u16 = 4;
const UNDEFINED: u16 = 0;

/// Tags of dynamic entries that have to do with the order in which the loader searches.
const DT_FLAGS: i64 = 30;
const DT_RELACOUNT: i64 = 0x6fff_fff9;
const DT_SYMBOLIC: i64 = 16;

/// What goes into a library made for a test.
struct Library {
    kind: u16,
    manifest: Option<String>,
    symbols: Vec<Symbol>,
    needed: &'static str,
    /// The tag of the entry that `flags` is the value of.
    tag: i64,
    flags: u64,
    flags_1: u64,
}

impl Default for Library {
    fn default() -> Self {
        let symbols = vec![(ROOT, FUNCTION, HERE), ("write", FUNCTION, UNDEFINED)];
        Library {
            kind: 3,
            manifest: Some(manifest()),
            symbols,
            needed: "libc.so.6",
            tag: DT_FLAGS,
            flags: 0,
            flags_1: 1,
        }
    }
}

impl Library {
    /// Lays the file out: header, two program headers, contents, section headers. All of it is loaded at address 0.
    fn build(&self) -> Vec<u8> {
        let words = |words: &[u64]| words.iter().flat_map(|word| word.to_ne_bytes()).collect::<Vec<u8>>();
        let mut file = vec![0; 64 + 2 * 56];
        let mut append = |bytes: &[u8]| {
            let offset = file.len() as u64;
            file.extend_from_slice(bytes);
            file.resize(file.len().next_multiple_of(8), 0);
            (offset, bytes.len() as u64)
        };

        let mut names = format!("\0{}\0", self.needed);
        let mut symbols = vec![0; 24];
        for (name, info, section) in &self.symbols {
            symbols.extend((names.len() as u32).to_ne_bytes());
            symbols.extend([*info, 0]);
            symbols.extend(section.to_ne_bytes());
            symbols.extend(words(&[0, 0]));
            names += &format!("{name}\0");
        }
        let symbols = append(&symbols);
        let names = append(names.as_bytes());
        let dynamic: [i64; 5] = [1, 5, 10, self.tag, 0x6fff_fffb];
        let values = [1, names.0, names.1, self.flags, self.flags_1];
        let mut entries: Vec<u64> = dynamic
            .iter()
            .zip(values)
            .flat_map(|(tag, value)| [*tag as u64, value])
            .collect();
        entries.extend([0, 0]);
        let dynamic = append(&words(&entries));
        let manifest = append(self.manifest.as_deref().unwrap_or_default().as_bytes());
        let titles = "\0.dynsym\0.dynstr\0.dynamic\0.reslot.manifest\0.shstrtab\0";
        let titles_at = append(titles.as_bytes());
        let mut section = |title: &str, kind: u32, (offset, size): (u64, u64), link: u32, entry: u64| {
            let name = titles.find(&format!("{title}\0")).unwrap() as u32;
            let head = [name, kind].map(u32::to_ne_bytes).concat();
            let links = [link, 0].map(u32::to_ne_bytes).concat();
            append(&[head, words(&[2, offset, offset, size]), links, words(&[8, entry])].concat()).0
        };
        let table = section("", 0, (0, 0), 0, 0);
        section(".dynsym", 11, symbols, 2, 24);
        section(".dynstr", 3, names, 0, 0);
        section(".dynamic", 6, dynamic, 2, 16);
        section(if self.manifest.is_some() { SECTION } else { ".dynstr" }, 1, manifest, 0, 0);
        section(".shstrtab", 3, titles_at, 0, 0);

        let end = file.len() as u64;
        let order = if cfg!(target_endian = "big") { 2 } else { 1 };
        file[..7].copy_from_slice(&[0x7f, b'E', b'L', b'F', 2, order, 1]);
        let halves = |halves: &[u16]| halves.iter().flat_map(|half| half.to_ne_bytes()).collect::<Vec<u8>>();
        let tail = halves(&[64, 56, 2, 64, 6, 5]);
        let head = [
            halves(&[self.kind, MACHINE]),
            vec![1, 0, 0, 0],
            words(&[0, 64, table]),
            vec![0; 4],
            tail,
        ]
        .concat();
        file[16..64].copy_from_slice(&head);
        let segment = |kind: u32, (offset, size): (u64, u64)| {
            [
                [kind, 6].map(u32::to_ne_bytes).concat(),
                words(&[offset, offset, offset, size, size, 8]),
            ]
            .concat()
        };
        file[64..176].copy_from_slice(&[segment(1, (0, end)), segment(2, dynamic)].concat());
        file
    }

    fn findings(&self) -> Vec<LintError> {
        inspect(&self.build(), &EXPECT).findings
    }
}

#[test]
fn accepts_a_sound_library_and_clears_nodelete() {
    let mut bytes = Library::default().build();
    let linted = lint(&mut bytes, &EXPECT).unwrap();
    assert_eq!((linted.manifest.name.as_str(), linted.cleared_nodelete), ("momentum", false));
    assert_eq!(bytes, Library::default().build());

    let mut bytes = Library {
        flags_1: 9,
        ..Library::default()
    }
    .build();
    assert!(inspect(&bytes, &EXPECT).nodelete);
    assert!(lint(&mut bytes, &EXPECT).unwrap().cleared_nodelete);
    assert_eq!(bytes, Library::default().build());

    // The same at an address where words are not aligned.
    let mut shifted = vec![0; 3];
    shifted.extend(
        Library {
            flags_1: 9,
            ..Library::default()
        }
        .build(),
    );
    for start in 1..=3 {
        let mut copy = vec![0; start];
        copy.extend_from_slice(&shifted[3..]);
        assert!(lint(&mut copy[start..], &EXPECT).unwrap().cleared_nodelete);
        assert_eq!(copy[start..], bytes);
    }
}

/// A library that exports this beside its root, and has this entry.
fn exporting(symbol: Symbol, tag: i64, flags: u64) -> Library {
    let mut library = Library {
        tag,
        flags,
        ..Library::default()
    };
    library.symbols.push(symbol);
    library
}

#[test]
fn artifact_with_more_exports_than_its_root_must_bind_its_own_symbols_first() {
    const HELPER: Symbol = ("helper", FUNCTION, HERE);
    const WEAK: Symbol = ("helper", 0x22, HERE);
    const BIND_NOW: u64 = 8;
    const SYMBOLIC: u64 = 2;
    // As it is, and as it is to be.
    let rows = [
        (
            exporting(HELPER, DT_FLAGS, BIND_NOW),
            exporting(HELPER, DT_FLAGS, BIND_NOW | SYMBOLIC),
        ),
        (exporting(WEAK, DT_FLAGS, 0), exporting(WEAK, DT_FLAGS, SYMBOLIC)),
        (exporting(HELPER, DT_RELACOUNT, 7), exporting(HELPER, DT_SYMBOLIC, 7)),
    ];
    for (library, expected) in rows {
        let mut bytes = library.build();
        let linted = lint(&mut bytes, &EXPECT).unwrap();
        assert!(linted.own_symbols_first && linted.changed() && !linted.cleared_nodelete);
        assert_eq!(linted.warnings, [""; 0]);
        assert_eq!(bytes, expected.build());
        // Nothing remains to be done.
        assert!(!lint(&mut bytes, &EXPECT).unwrap().changed());
        assert_eq!(bytes, expected.build());
    }

    // A symbol that it takes from others, one that nobody else can see, and the root.
    let unchanged = [
        ("helper", FUNCTION, UNDEFINED),
        ("helper", 0x02, HERE),
        (ROOT, FUNCTION, HERE),
    ];
    for symbol in unchanged {
        let library = exporting(symbol, DT_FLAGS, BIND_NOW);
        let mut bytes = library.build();
        let linted = lint(&mut bytes, &EXPECT).unwrap();
        assert!(!linted.changed() && linted.warnings.is_empty(), "{symbol:?}: {linted:?}");
        assert_eq!(bytes, library.build());
    }
}

#[test]
fn exports_that_the_host_may_have_too_are_listed_if_no_dynamic_entry_is_free() {
    // DT_BIND_NOW, which can be spared no more than any other entry.
    let mut library = exporting(("helper", FUNCTION, HERE), 24, 0);
    let said = |library: &Library| {
        let mut bytes = library.build();
        let linted = lint(&mut bytes, &EXPECT).unwrap();
        assert!(!linted.changed());
        assert_eq!(bytes, library.build());
        assert_eq!(inspect(&bytes, &EXPECT).warnings, linted.warnings);
        let [warning] = &*linted.warnings else { panic!("{linted:?}") };
        warning.clone()
    };
    let warning = said(&library);
    assert!(warning.starts_with("exports helper: if the host"), "{warning}");
    let more = ["b", "c", "d", "e"].map(|name| (name, FUNCTION, HERE));
    library.symbols.extend(more);
    let warning = said(&library);
    assert!(warning.starts_with("exports helper, b, c and 2 more: if"), "{warning}");
}

#[test]
fn refused_bytes_are_left_alone() {
    let refused = Library {
        flags_1: 9,
        symbols: vec![],
        ..Library::default()
    }
    .build();
    let mut bytes = refused.clone();
    assert_eq!(lint(&mut bytes, &EXPECT), Err(LintError::NoRoot));
    assert_eq!(bytes, refused);
}

#[test]
fn file_that_is_not_elf_is_named() {
    let said = |bytes: &[u8]| inspect(bytes, &EXPECT).findings.remove(0).to_string();
    assert_eq!(said(b""), "the file is empty");
    assert_eq!(
        said(b"INPUT(libm.so)\n"),
        "not an ELF file: it begins with 49 4e 50 55 54 28 6c 69, it looks like a text file"
    );
    assert!(said(b"!<arch>\n/  0 lib.rmeta/").contains("rlib"));
    assert!(said(b"!<arch>\nfoo.o/").contains("ar archive"));
    assert!(said(b"\xcf\xfa\xed\xfe1234").contains("Mach-O"));
    assert!(said(b"MZ\x90\0").contains("PE file"));
    assert!(said(&[0; 100]).contains("zeros"));
    assert!(said(b"\x7fEL").contains("incomplete: the ELF header needs it to have 64 bytes, it has 3"));
    assert!(said(b"\x7fELF\x01\x01").contains("32-bit"));
    assert!(said(b"\x7fELF\x02\x07").contains("strangely ordered"));
}

#[test]
fn names_a_file_that_is_cut() {
    let whole = Library::default().build();
    for length in 4..whole.len() {
        let found = inspect(&whole[..length], &EXPECT).findings;
        let [LintError::Truncated { needs, has, .. }] = &found[..] else {
            panic!("{length}: {found:?}")
        };
        assert!(*has == length as u64 && needs > has && *needs <= whole.len() as u64);
    }
}

#[test]
fn checks_processor_and_kind_of_file() {
    let expect = Expectations { machine: 183, ..EXPECT };
    let found = inspect(&Library::default().build(), &expect).findings;
    assert_eq!(
        found,
        [LintError::WrongMachine {
            found: "x86_64".into(),
            expected: "aarch64".into()
        }]
    );
    let kind = |library: Library| library.findings().remove(0).to_string();
    assert_eq!(
        kind(Library {
            kind: 1,
            ..Library::default()
        }),
        "not a shared library but an object file"
    );
    assert_eq!(
        kind(Library {
            kind: 2,
            ..Library::default()
        }),
        "not a shared library but an executable"
    );
    let pie = Library {
        flags_1: 0x0800_0000,
        ..Library::default()
    };
    assert_eq!(
        kind(pie),
        "not a shared library but a program, or a library that can be started as one"
    );
}

#[test]
fn checks_the_manifests_claims() {
    let with = |from: &str, to: &str| {
        let library = Library {
            manifest: Some(manifest().replace(from, to)),
            ..Library::default()
        };
        library.findings()
    };
    assert_eq!(
        Library {
            manifest: None,
            ..Library::default()
        }
        .findings(),
        [LintError::NoManifest]
    );
    assert!(matches!(
        with("}", "")[..],
        [LintError::Manifest(ManifestError::NotJson { .. })]
    ));
    assert_eq!(
        with("rustc 1.95.0", "rustc 1.96.0")[0].to_string(),
        "built by rustc 1.96.0, this host was built by rustc 1.95.0"
    );
    assert_eq!(
        with("-gnu", "-musl")[0].to_string(),
        "built for target x86_64-unknown-linux-musl, this host is x86_64-unknown-linux-gnu"
    );
    assert_eq!(
        with("0.1.0", "0.2.0")[0].to_string(),
        "built with reslot-plugin-api 0.2.0, this host has 0.1.2"
    );

    for (state, words) in [
        (
            "{\"schema\":2,\"oldest\":3}",
            "its state is of schema 2, and it says that it migrates from schema 3",
        ),
        (
            "{\"schema\":2,\"oldest\":0}",
            "its state is of schema 2, and it says that it migrates from schema 0",
        ),
    ] {
        let findings = with("\"state\":null", &format!("\"state\":{state}"));
        assert!(matches!(findings[..], [LintError::Manifest(ManifestError::BadSchema { .. })]));
        assert!(findings[0].to_string().contains(words), "{}", findings[0]);
        assert!(findings[0].remedy().contains("`migrates_from`"));
    }

    let host = Interface {
        name: "Pricer".into(),
        major: 1,
        minor: 0,
        methods: vec![],
    };
    let expect = Expectations {
        interface: Some(&host),
        ..EXPECT
    };
    let found = inspect(&Library::default().build(), &expect).findings;
    assert!(matches!(&found[..], [LintError::Interface(found)] if matches!(found[..], [Difference::Name { .. }])));
    assert_eq!(
        found[0].to_string(),
        "the plugin's interface does not fit the host's:\n  the plugin implements interface `Strategy`, this host expects \
         `Pricer`"
    );
}

#[test]
fn versions_promise_by_their_first_number_that_is_not_zero() {
    for (found, expected, same) in [
        ("0.1.0", "0.1.9", true),
        ("0.1.0", "0.2.0", false),
        ("1.0.0", "1.7.2", true),
        ("1.0.0", "2.0.0", false),
        ("0.1.0", "1.1.0", false),
        ("nightly", "nightly", true),
        ("nightly", "beta", false),
        ("nightly", "0.1.0", false),
    ] {
        assert_eq!(same_api(found, expected), same, "{found} and {expected}");
    }
}

#[test]
fn checks_symbols_and_requests_to_the_loader() {
    let with = |symbol: Symbol| {
        let mut library = Library::default();
        library.symbols.push(symbol);
        inspect(&library.build(), &EXPECT)
    };
    let local = Library {
        symbols: vec![(ROOT, 0x02, HERE)],
        ..Library::default()
    };
    assert_eq!(local.findings(), [LintError::NoRoot]);
    let imported = Library {
        symbols: vec![(ROOT, FUNCTION, UNDEFINED)],
        ..Library::default()
    };
    assert_eq!(imported.findings(), [LintError::NoRoot]);
    for symbol in imports::REPLACED {
        assert_eq!(
            with((symbol, 0x22, UNDEFINED)).findings,
            [LintError::Unreplaced {
                symbol: symbol.to_string()
            }]
        );
        assert_eq!(with((symbol, FUNCTION, HERE)).findings, []);
    }
    let symbols = ["_ZGVa", "_ZGVb", "c", "d"].map(|name| (name, UNIQUE, HERE)).into_iter();
    let unique = Library {
        symbols: symbols.chain([(ROOT, FUNCTION, HERE)]).collect(),
        ..Library::default()
    };
    assert_eq!(
        unique.findings()[0].to_string(),
        "defines 4 unique symbols (_ZGVa, _ZGVb, c, …): glibc never unloads such a library"
    );

    let shared = Library {
        needed: "libstd-0123abcd.so",
        ..Library::default()
    };
    assert_eq!(
        shared.findings(),
        [LintError::NeedsSharedStd {
            library: "libstd-0123abcd.so".into()
        }]
    );
    assert_eq!(
        Library {
            flags: 0x10,
            ..Library::default()
        }
        .findings(),
        [LintError::StaticTls]
    );
}

#[test]
fn all_findings_are_collected_in_order() {
    let symbols = vec![("munmap", FUNCTION, UNDEFINED)];
    let found = Library {
        kind: 2,
        manifest: None,
        symbols,
        flags: 0x10,
        ..Library::default()
    }
    .findings();
    assert!(
        matches!(
            found[..],
            [
                LintError::NotSharedLibrary { .. },
                LintError::NoManifest,
                LintError::NoRoot,
                LintError::Unreplaced { .. },
                LintError::StaticTls
            ]
        ),
        "{found:#?}"
    );
    assert!(found.iter().all(|finding| !finding.remedy().is_empty()));
}

/// Whatever is done to a file, lint answers.
#[test]
fn no_input_makes_it_panic() {
    let real = ["/proc/self/exe", "/lib/x86_64-linux-gnu/libm.so.6"];
    let files = real.iter().filter_map(|path| std::fs::read(path).ok());
    for mut bytes in files.chain([Library {
        flags_1: 9,
        ..Library::default()
    }
    .build()])
    {
        for length in (0..bytes.len()).step_by(97) {
            inspect(&bytes[..length], &EXPECT);
        }
        // Every byte of the headers, and some of everything else, with one bit, all bits, and the sign bit turned.
        let sections = bytes[40..48].try_into().map(u64::from_ne_bytes).unwrap() as usize;
        let headers = (0..1024).chain(sections..sections + 64 * 8);
        let rest = (1024..bytes.len()).step_by(bytes.len() / 400 + 1);
        for at in headers.chain(rest).filter(|at| *at < bytes.len()).collect::<Vec<_>>() {
            let before = bytes[at];
            for flip in [0x01, 0x80, 0xff] {
                bytes[at] = before ^ flip;
                inspect(&bytes, &EXPECT)
                    .findings
                    .iter()
                    .for_each(|finding| drop(finding.to_string()));
            }
            bytes[at] = before;
        }
    }

    // All bytes of the small library with all values, through lint itself.
    let whole = Library {
        flags_1: 9,
        ..Library::default()
    }
    .build();
    for at in 0..whole.len() {
        for value in [0x00, 0x01, 0x7f, 0x80, 0xfe, 0xff] {
            let mut bytes = whole.clone();
            bytes[at] = value;
            drop(lint(&mut bytes, &EXPECT));
        }
        let mut bytes = whole.clone();
        let end = whole.len().min(at + 8);
        bytes[at..end].fill(0xff);
        drop(lint(&mut bytes, &EXPECT));
    }
}
