//! Parses keys from the bytes of a terminal. crossterm's event reader is not used: it blocks on an incomplete sequence, and
//! it never returns when the terminal hangs up.

/// The keys that the program uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Key {
    /// A printed character.
    Char(char),
    /// Return.
    Enter,
    /// Escape, by itself.
    Escape,
    /// Up.
    Up,
    /// Down.
    Down,
    /// A page up.
    PageUp,
    /// A page down.
    PageDown,
    /// The Home key.
    Home,
    /// The End key.
    End,
    /// The keys that would end a program if the terminal were not raw: Ctrl-C, Ctrl-D, Ctrl-\.
    Interrupt,
}

/// The longest known sequence. Longer ones are ignored.
const LONGEST: usize = 32;

/// A parser that accepts the bytes in pieces of any size.
#[derive(Debug, Default)]
pub(super) struct Keys {
    /// The beginning of a sequence, including its escape.
    begun: Vec<u8>,
}

impl Keys {
    /// Whether a sequence is incomplete. If no byte follows within some milliseconds, call [`Keys::nothing_follows`].
    pub(super) fn waits(&self) -> bool {
        !self.begun.is_empty()
    }

    /// Ends an incomplete sequence.
    pub(super) fn nothing_follows(&mut self) -> Option<Key> {
        let begun = std::mem::take(&mut self.begun);
        (begun == [0x1b]).then_some(Key::Escape)
    }

    /// Parses these bytes.
    pub(super) fn read(&mut self, bytes: &[u8]) -> Vec<Key> {
        bytes.iter().flat_map(|&byte| self.take(byte)).flatten().collect()
    }

    fn take(&mut self, byte: u8) -> [Option<Key>; 2] {
        match (self.begun.as_slice(), byte) {
            ([], 0x1b) => {
                self.begun.push(byte);
                [None, None]
            }
            ([], _) => [plain(byte), None],
            ([_], b'[' | b'O') => {
                self.begun.push(byte);
                [None, None]
            }
            // Escape twice, or Escape and a key right after it (some terminals send Alt so; here it means the same).
            ([_], 0x1b) => [Some(Key::Escape), None],
            ([_], _) => {
                self.begun.clear();
                [Some(Key::Escape), plain(byte)]
            }
            (sequence, 0x40..=0x7e) => {
                let key = named(&sequence[2..], byte);
                self.begun.clear();
                [key, None]
            }
            // Another sequence begins before this one is complete.
            (_, 0x1b) => {
                self.begun = vec![byte];
                [None, None]
            }
            (sequence, _) => {
                if sequence.len() < LONGEST {
                    self.begun.push(byte);
                }
                [None, None]
            }
        }
    }
}

fn plain(byte: u8) -> Option<Key> {
    match byte {
        b'\r' | b'\n' => Some(Key::Enter),
        0x03 | 0x04 | 0x1c => Some(Key::Interrupt),
        b' '..=b'~' => Some(Key::Char(char::from(byte))),
        _ => None,
    }
}

fn named(parameters: &[u8], last: u8) -> Option<Key> {
    match (parameters.split(|&byte| byte == b';').next().unwrap_or_default(), last) {
        (_, b'A') => Some(Key::Up),
        (_, b'B') => Some(Key::Down),
        (_, b'H') | (b"1" | b"7", b'~') => Some(Key::Home),
        (_, b'F') | (b"4" | b"8", b'~') => Some(Key::End),
        (b"5", b'~') => Some(Key::PageUp),
        (b"6", b'~') => Some(Key::PageDown),
        (_, b'M') => Some(Key::Enter),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_the_same_however_their_bytes_are_cut() {
        let bytes = b"j\x1b[A\x1bOB\x1b[5~\x1b[1;5H\x1b[200~r\r\x1b[\x1b[6~\x03q";
        let keys = [
            Key::Char('j'),
            Key::Up,
            Key::Down,
            Key::PageUp,
            Key::Home,
            Key::Char('r'),
            Key::Enter,
            Key::PageDown,
            Key::Interrupt,
            Key::Char('q'),
        ];
        for size in 1..=bytes.len() {
            let mut reader = Keys::default();
            let read: Vec<_> = bytes.chunks(size).flat_map(|some| reader.read(some)).collect();
            assert_eq!(read, keys, "in pieces of {size}");
            assert!(!reader.waits());
        }
    }

    #[test]
    fn an_escape_by_itself_is_a_key_once_nothing_follows() {
        let mut reader = Keys::default();
        assert_eq!(reader.read(b"\x1b"), []);
        assert!(reader.waits());
        assert_eq!(reader.nothing_follows(), Some(Key::Escape));
        assert_eq!(reader.read(b"\x1bq"), [Key::Escape, Key::Char('q')]);
        reader.read(b"\x1b[");
        assert_eq!(reader.nothing_follows(), None, "half a sequence is no key");
    }

    #[test]
    fn noise_is_no_key_and_is_not_kept() {
        let mut reader = Keys::default();
        assert_eq!(reader.read(&[0, 1, 0x80, 0xff, 0x7f]), []);
        assert_eq!(reader.read(&[0x1b, b'[']), []);
        assert_eq!(reader.read(&[b'1'; 100_000]), []);
        assert!(reader.begun.len() <= LONGEST);
        for byte in 0..=255 {
            for next in 0..=255 {
                Keys::default().read(&[byte, next, byte, next]);
            }
        }
    }
}
