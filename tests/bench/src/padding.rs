//! Pads libraries to a given size: to measure how a reload depends on the size, and so that no system is compared with
//! a smaller library.

use reslot_tests::Fixture;

/// What it is, for a note.
pub const PADDING: &str = "read-only data that is mapped with the rest and that nobody reads: the note of the linker's build id made way for its \
                           program header";

const LOAD: u32 = 1;
const NOTE: u32 = 4;
const PAGE: usize = 4096;

/// The same library with a segment of read-only data, mapped behind the others, so that the file has this size. One that is larger
/// stays as it is.
///
/// # Panics
/// If it is no library of 64 bits, or its linker wrote no build id behind the headers of what is loaded.
#[must_use]
pub fn padded(fixture: Fixture, size: usize) -> Fixture {
    fixture.changed(|bytes| pad(bytes, size))
}

fn pad(bytes: &mut Vec<u8>, size: usize) {
    let begin = bytes.len().next_multiple_of(PAGE);
    if begin + PAGE > size {
        return;
    }
    let length = size - begin;
    let word = |bytes: &[u8], at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes")) as usize;
    let first = word(bytes, 0x20);
    let count = usize::from(u16::from_le_bytes([bytes[0x38], bytes[0x39]]));
    let headers: Vec<usize> = (0..count).map(|n| first + n * 56).collect();
    let kind = |bytes: &[u8], at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"));
    let loads = headers.iter().filter(|at| kind(bytes, **at) == LOAD);
    let end = loads
        .clone()
        .map(|at| word(bytes, at + 16) + word(bytes, at + 40))
        .max()
        .expect("a library has segments");
    let note = *headers
        .iter()
        .rfind(|at| kind(bytes, **at) == NOTE)
        .expect("the linker writes a build id");
    // The loader takes them in the order of their addresses.
    assert!(loads.max() < Some(&note), "the note's header comes last");
    let address = end.next_multiple_of(PAGE);
    bytes[note..note + 8].copy_from_slice(&[1, 0, 0, 0, 4, 0, 0, 0]);
    let fields = [begin, address, address, length, length, PAGE];
    for (field, value) in fields.into_iter().enumerate() {
        let at = note + 8 + 8 * field;
        bytes[at..at + 8].copy_from_slice(&(value as u64).to_le_bytes());
    }
    bytes.resize(begin, 0);
    // No zeros, and nothing that repeats: nothing on the way shall find it easy.
    let mut next: u64 = 0x9E37_79B9_7F4A_7C15;
    while bytes.len() < size {
        next ^= next << 13;
        next ^= next >> 7;
        next ^= next << 17;
        bytes.extend_from_slice(&next.to_le_bytes());
    }
    bytes.truncate(size);
}
