//! A mapped image whose bits the tests flip: where its sections are, and where in memory it lies.

use crate::support::copies;
use reslot::{Host, ImageDifference, ImagePart};
use std::{
    fs::{self, File},
    os::unix::fs::FileExt,
    path::PathBuf,
};

/// A place of `fx-moody` that no test calls or reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    part: ImagePart,
    section: &'static str,
    what: What,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum What {
    /// The function whose symbol contains this.
    Function(&'static str),
    /// This text.
    Text(&'static str),
    /// The section's first word.
    FirstWord,
}

impl Place {
    /// A method that is never called.
    pub const CODE: Self = Self {
        part: ImagePart::Code,
        section: ".text",
        what: What::Function("fixture_interfaces5moody10MoodyTable4hang17h"),
    };
    /// The words of a panic that never happens.
    pub const CONSTANT: Self = Self {
        part: ImagePart::Constants,
        section: ".rodata",
        what: What::Text("it is too ill to say"),
    };
    /// A static constructor's address: the constructors have run.
    pub const RELOCATED: Self = Self {
        part: ImagePart::Relocated,
        section: ".init_array",
        what: What::FirstWord,
    };
}

/// A mapped image.
pub struct Image {
    artifact: Vec<u8>,
    copy: PathBuf,
    /// Where the artifact's address 0 is in memory.
    base: u64,
}

/// A section of the artifact.
struct Section {
    name: String,
    address: u64,
    offset: u64,
    size: u64,
    entry: u64,
    link: u32,
}

impl Image {
    /// The only image of a host, made of these bytes.
    pub fn only(host: &Host, artifact: &[u8]) -> Self {
        let copies = copies(host.private_folder());
        let [copy] = &copies[..] else { panic!("{copies:?}") };
        Self::of(copy.clone(), artifact)
    }

    /// The image of this private copy.
    pub fn of(copy: PathBuf, artifact: &[u8]) -> Self {
        let maps = fs::read_to_string("/proc/self/maps").unwrap();
        let of_copy = |line: &&str| line.ends_with(copy.to_str().unwrap()) && line.split(' ').nth(2) == Some("00000000");
        let line = maps.lines().find(of_copy).unwrap();
        let base = u64::from_str_radix(line.split('-').next().unwrap(), 16).unwrap();
        Self {
            artifact: artifact.to_vec(),
            copy,
            base,
        }
    }

    /// Flips bits of the byte at this place, in memory alone. Answers what is to be found.
    pub fn flip(&self, place: Place, bits: u8) -> ImageDifference {
        let expected = self.expected(place, bits);
        flip_at(self.base + expected.address, bits);
        expected
    }

    /// Whether the byte at this place in memory is the artifact's.
    pub fn is_as_built(&self, place: Place) -> bool {
        let (section, address) = (self.section(place.section), self.expected(place, 0).address);
        let mut byte = [0];
        let memory = File::open("/proc/self/mem").unwrap();
        memory.read_exact_at(&mut byte, self.base + address).unwrap();
        byte[0] == self.artifact[(address - section.address + section.offset) as usize]
    }

    /// Flips bits of the byte at this place in the page cache of the copy, which the image shares.
    pub fn flip_in_file(&self, place: Place, bits: u8) -> ImageDifference {
        let expected = self.expected(place, bits);
        let section = self.section(place.section);
        let offset = expected.address - section.address + section.offset;
        let file = File::options().read(true).write(true).open(&self.copy).unwrap();
        let mut byte = [0];
        file.read_exact_at(&mut byte, offset).unwrap();
        file.write_all_at(&[byte[0] ^ bits], offset).unwrap();
        expected
    }

    /// Flips several bits in each block of the constants. The second time it puts them back; no code of the image may run between the two.
    /// Answers how many.
    pub fn flip_many_constants(&self) -> usize {
        let section = self.section(".rodata");
        let places = (0..section.size).step_by(1024);
        places.map(|at| flip_at(self.base + section.address + at, 1)).count()
    }

    /// What is found if these bits of the byte at this place are flipped.
    pub fn expected(&self, place: Place, bits: u8) -> ImageDifference {
        let section = self.section(place.section);
        let address = match place.what {
            What::Function(name) => self.function(name),
            What::Text(text) => {
                let start = section.offset as usize;
                let bytes = &self.artifact[start..start + section.size as usize];
                let at = bytes
                    .windows(text.len())
                    .position(|window| window == text.as_bytes())
                    .unwrap();
                section.address + at as u64
            }
            What::FirstWord => section.address,
        };
        ImageDifference::new(place.part, place.section, address - section.address, address, 1, Some(bits))
    }

    fn word(&self, at: usize, bytes: usize) -> u64 {
        let mut word = [0; 8];
        word[..bytes].copy_from_slice(&self.artifact[at..at + bytes]);
        u64::from_le_bytes(word)
    }

    fn sections(&self) -> Vec<Section> {
        let (table, size) = (self.word(0x28, 8) as usize, self.word(0x3a, 2) as usize);
        let (count, names) = (self.word(0x3c, 2) as usize, self.word(0x3e, 2) as usize);
        let names = self.word(table + names * size + 0x18, 8) as usize;
        let read = |index| {
            let at = table + index * size;
            Section {
                name: self.text(names + self.word(at, 4) as usize),
                address: self.word(at + 0x10, 8),
                offset: self.word(at + 0x18, 8),
                size: self.word(at + 0x20, 8),
                link: self.word(at + 0x28, 4) as u32,
                entry: self.word(at + 0x38, 8),
            }
        };
        (0..count).map(read).collect()
    }

    fn section(&self, name: &str) -> Section {
        let mut sections = self.sections().into_iter();
        sections.find(|section| section.name == name).unwrap()
    }

    fn text(&self, at: usize) -> String {
        let text = self.artifact[at..].split(|byte| *byte == 0).next().unwrap();
        String::from_utf8_lossy(text).into_owned()
    }

    fn function(&self, name: &str) -> u64 {
        let sections = self.sections();
        let symbols = sections.iter().find(|section| section.name == ".symtab").unwrap();
        let names = sections[symbols.link as usize].offset as usize;
        let all = (0..symbols.size / symbols.entry).map(|index| (symbols.offset + index * symbols.entry) as usize);
        let mut found = all.filter(|at| self.text(names + self.word(*at, 4) as usize).contains(name));
        let at = found.next().unwrap_or_else(|| panic!("no symbol contains {name:?}"));
        self.word(at + 8, 8)
    }
}

/// Flips bits of a byte of this process, also where it may not be written.
pub fn flip_at(address: u64, bits: u8) {
    let memory = File::options().read(true).write(true).open("/proc/self/mem").unwrap();
    let mut byte = [0];
    memory.read_exact_at(&mut byte, address).unwrap();
    memory.write_all_at(&[byte[0] ^ bits], address).unwrap();
}
