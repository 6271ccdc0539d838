//! A library that is put together from parts of the input: whole enough to pass the first checks, and wrong in any way behind them.

use arbitrary::{Arbitrary, Unstructured};

/// The parts of the library. The offsets are right unless `bends` changes them.
pub(crate) struct Library {
    manifest: Vec<u8>,
    symbols: Vec<Symbol>,
    dynamic: Vec<(u64, u64)>,
    /// Where a word of the finished file is replaced, and by what.
    bends: Vec<(u16, Word)>,
    cut: Option<u16>,
    root: bool,
}

struct Symbol {
    name: &'static str,
    info: u8,
    other: u8,
    section: u16,
}

#[derive(Clone, Copy)]
enum Word {
    Small(u8),
    Large(u64),
    NearTheEnd(i8),
    Byte(u8),
}

const NAMES: [&str; 8] = [
    "reslot_root",
    "write",
    "pthread_create",
    "on_exit",
    "atexit",
    "mmap",
    "a",
    "register_printf_function",
];

const TAGS: [u64; 10] = [1, 5, 10, 16, 24, 30, 0x6fff_fff9, 0x6fff_fffb, 0, 6];

const MANIFEST: &str = r#"{"reslot":3,"name":"momentum","version":"0.3.1","api":"0.1.0","toolchain":"rustc fuzz",
"target":"fuzz-linux","profile":"dev","state":null,"exclusive":false,"uses":[],
"interface":{"name":"Strategy","major":1,"minor":0,"methods":[]}}"#;

impl<'a> Arbitrary<'a> for Symbol {
    fn arbitrary(from: &mut Unstructured<'a>) -> arbitrary::Result<Self> {
        Ok(Self {
            name: from.choose(&NAMES)?,
            info: *from.choose(&[0x12, 0x22, 0xa2, 0xa1, 0x10, 0x11, 0x02])?,
            other: from.int_in_range(0..=4)?,
            section: *from.choose(&[0, 4, 4, 0xfff1])?,
        })
    }
}

impl<'a> Arbitrary<'a> for Word {
    fn arbitrary(from: &mut Unstructured<'a>) -> arbitrary::Result<Self> {
        Ok(match from.int_in_range(0..=3)? {
            0 => Self::Small(from.arbitrary()?),
            1 => Self::Large(from.arbitrary()?),
            2 => Self::NearTheEnd(from.arbitrary()?),
            _ => Self::Byte(from.arbitrary()?),
        })
    }
}

impl<'a> Arbitrary<'a> for Library {
    fn arbitrary(from: &mut Unstructured<'a>) -> arbitrary::Result<Self> {
        let mut some = |most: usize| from.int_in_range(0..=most);
        let (symbols, dynamic, bends) = (some(6)?, some(4)?, some(5)?);
        let symbols = (0..symbols).map(|_| from.arbitrary()).collect::<Result<_, _>>()?;
        let entry = |from: &mut Unstructured<'a>| {
            let value = match from.int_in_range(0..=3)? {
                0 => 1 << from.int_in_range(0..=63)?,
                1 => from.arbitrary()?,
                _ => u64::from(from.arbitrary::<u8>()?),
            };
            arbitrary::Result::Ok((*from.choose(&TAGS)?, value))
        };
        let dynamic = (0..dynamic).map(|_| entry(from)).collect::<Result<_, _>>()?;
        let bends = (0..bends)
            .map(|_| Ok((from.arbitrary()?, from.arbitrary()?)))
            .collect::<arbitrary::Result<_>>()?;
        let cut = from.ratio(1, 10)?.then(|| from.arbitrary()).transpose()?;
        let root = from.ratio(9, 10)?;
        // What is left of the input is the manifest, unless there is nothing.
        let rest = from.bytes(from.len())?;
        let manifest = if rest.len() < 8 { MANIFEST.as_bytes() } else { rest };
        Ok(Self {
            manifest: manifest.to_vec(),
            symbols,
            dynamic,
            bends,
            cut,
            root,
        })
    }
}

fn words(words: &[u64]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_ne_bytes()).collect()
}

impl Library {
    /// Lays the file out: header, two program headers, contents, section headers. All of it is loaded at address 0.
    pub(crate) fn build(&self) -> Vec<u8> {
        let mut file = vec![0; 64 + 2 * 56];
        let mut append = |bytes: &[u8]| {
            let offset = file.len() as u64;
            file.extend_from_slice(bytes);
            file.resize(file.len().next_multiple_of(8), 0);
            (offset, bytes.len() as u64)
        };
        let root = Symbol {
            name: NAMES[0],
            info: 0x12,
            other: 0,
            section: 4,
        };
        let mut names = "\0libc.so.6\0".to_owned();
        let mut symbols = vec![0; 24];
        for symbol in self.root.then_some(&root).into_iter().chain(&self.symbols) {
            symbols.extend((names.len() as u32).to_ne_bytes());
            symbols.extend([symbol.info, symbol.other]);
            symbols.extend(symbol.section.to_ne_bytes());
            symbols.extend(words(&[0, 0]));
            names += symbol.name;
            names.push('\0');
        }
        let symbols = append(&symbols);
        let names = append(names.as_bytes());
        let mut entries = vec![1, 1, 5, names.0, 10, names.1];
        entries.extend(self.dynamic.iter().flat_map(|(tag, value)| [*tag, *value]));
        entries.extend([0, 0]);
        let dynamic = append(&words(&entries));
        let manifest = append(&self.manifest);
        let titles = "\0.dynsym\0.dynstr\0.dynamic\0.reslot.manifest\0.shstrtab\0";
        let titles_at = append(titles.as_bytes());
        let title = |name: &str| titles.find(name).unwrap_or_default() as u32;

        let mut sections = vec![0; 64];
        let mut section = |name: u32, kind: u32, (offset, size): (u64, u64), link: u32, entry: u64| {
            sections.extend(name.to_ne_bytes());
            sections.extend(kind.to_ne_bytes());
            sections.extend(words(&[2, offset, offset, size]));
            sections.extend(link.to_ne_bytes());
            sections.extend(1u32.to_ne_bytes());
            sections.extend(words(&[8, entry]));
        };
        section(title(".dynsym"), 11, symbols, 2, 24);
        section(title(".dynstr"), 3, names, 0, 0);
        section(title(".dynamic"), 6, dynamic, 2, 16);
        section(title(".reslot.manifest"), 1, manifest, 0, 0);
        section(title(".shstrtab"), 3, titles_at, 0, 0);
        let sections = append(&sections);

        let len = file.len() as u64;
        file[..16].copy_from_slice(&[0x7f, b'E', b'L', b'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        let mut header = Vec::new();
        header.extend(3u16.to_ne_bytes());
        header.extend(machine().to_ne_bytes());
        header.extend(1u32.to_ne_bytes());
        header.extend(words(&[0, 64, sections.0]));
        header.extend(0u32.to_ne_bytes());
        for half in [64u16, 56, 2, 64, 6, 5] {
            header.extend(half.to_ne_bytes());
        }
        file[16..64].copy_from_slice(&header);
        let mut program = Vec::new();
        for (kind, (offset, size)) in [(1u32, (0, len)), (2, dynamic)] {
            program.extend(kind.to_ne_bytes());
            program.extend(5u32.to_ne_bytes());
            program.extend(words(&[offset, offset, offset, size, size, 8]));
        }
        file[64..64 + 112].copy_from_slice(&program);
        self.bend(&mut file);
        file
    }

    fn bend(&self, file: &mut Vec<u8>) {
        let len = file.len();
        for (at, word) in &self.bends {
            let at = usize::from(*at) % len;
            let aligned = (at & !7).min(len - 8);
            let new = match word {
                Word::Small(value) => u64::from(*value),
                Word::Large(value) => *value,
                Word::NearTheEnd(by) => (len as u64).wrapping_add_signed((*by).into()),
                Word::Byte(value) => {
                    file[at] = *value;
                    continue;
                }
            };
            file[aligned..aligned + 8].copy_from_slice(&new.to_ne_bytes());
        }
        if let Some(cut) = self.cut {
            file.truncate(usize::from(cut) % len);
        }
    }
}

fn machine() -> u16 {
    reslot_artifact::lint::Expectations::of_this_build().machine
}
