//! Parses keys from a terminal's bytes: letters are sent as they are, arrows as escape sequences.

/// A key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Key {
    /// An ASCII character; with Ctrl held, a control character.
    Char(char),
    /// The arrow up.
    Up,
    /// The arrow down.
    Down,
    /// The arrow to the right.
    Right,
    /// The arrow to the left.
    Left,
    /// Esc.
    Escape,
}

const ESCAPE: u8 = 0x1b;

/// The keys; unknown sequences are skipped.
pub(crate) fn of(mut bytes: &[u8]) -> Vec<Key> {
    let mut keys = Vec::new();
    while !bytes.is_empty() {
        let (key, length) = first(bytes).unwrap_or((None, bytes.len()));
        keys.extend(key);
        bytes = &bytes[length..];
    }
    keys
}

/// Whether the bytes end in the middle of a key, or with an Esc that may begin a sequence.
pub(crate) fn is_unfinished(mut bytes: &[u8]) -> bool {
    while let Some((_, length)) = first(bytes) {
        if bytes == [ESCAPE] {
            return true;
        }
        bytes = &bytes[length..];
    }
    !bytes.is_empty()
}

/// The first key, if it is a known one, and its length in bytes; none if it is incomplete.
fn first(bytes: &[u8]) -> Option<(Option<Key>, usize)> {
    match bytes {
        [ESCAPE, b'[' | b'O', rest @ ..] => {
            // A sequence has numbers and signs, and then one letter.
            let last = rest.iter().position(|byte| (b'@'..=b'~').contains(byte))?;
            let key = match rest[last] {
                b'A' => Some(Key::Up),
                b'B' => Some(Key::Down),
                b'C' => Some(Key::Right),
                b'D' => Some(Key::Left),
                _ => None,
            };
            Some((key, last + 3))
        }
        [ESCAPE, ..] => Some((Some(Key::Escape), 1)),
        [byte, ..] => Some((byte.is_ascii().then_some(Key::Char(char::from(*byte))), 1)),
        [] => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_read() {
        use Key::{Char, Down, Escape, Left, Right, Up};
        assert_eq!(
            of(b"a \x1b[A\x1bOB\x1b[1;5C\x1b[D"),
            [Char('a'), Char(' '), Up, Down, Right, Left]
        );
        assert_eq!(
            of(b"\x1b[3~\xc3\xa9q\x03"),
            [Char('q'), Char('\x03')],
            "Del and letters beyond ASCII are none of ours"
        );
        assert_eq!(of(b"\x1b"), [Escape]);
        assert_eq!(of(b"x\x1b["), [Char('x')], "cut off");
    }

    #[test]
    fn keys_in_pieces_are_waited_for() {
        for (bytes, unfinished) in [
            (&b"a\x1b"[..], true),
            (b"\x1b[", true),
            (b"\x1b[1;5", true),
            (b"\x1bO", true),
            (b"\x1b[C", false),
            (b"\x1bx", false),
            (b"ab", false),
            (b"", false),
        ] {
            assert_eq!(is_unfinished(bytes), unfinished, "{bytes:?}");
        }
    }
}
