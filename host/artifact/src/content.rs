//! The identity of an artifact: a hash of all its bytes. It decides whether a file is new, which refusals and bad marks
//! belong to it, and the name of a kept version.
//!
//! The hash is XXH3 with 128 bits, because every reload waits for it: half a megabyte takes 20 µs, a seventh of blake3's
//! time. Two builds have the same hash by chance once in 10³⁸. An attacker can make two such files, but gains nothing: a
//! person who may write artifacts can run code in the host anyway, and a second artifact with a known hash is not loaded.
//! The hash is not used as a signature.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::{fmt, str::FromStr};
use xxhash_rust::xxh3::xxh3_128;

/// The hash of an artifact's bytes. It is written as 32 hexadecimal digits, by `Display`, by `serde` and in every message; `{:.12}` writes
/// the first 12 of them.
///
/// ```
/// # use reslot_artifact as reslot;
/// use reslot::ContentHash;
///
/// let hash = ContentHash::of(b"the bytes of a file");
/// assert_eq!(hash.to_string().parse(), Ok(hash));
/// assert_eq!(format!("{hash:.12}").len(), 12);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ContentHash([u8; Self::LEN]);

/// The first digits of a hash, as a person types them: 1 to 32 digits in upper or lower case.
///
/// ```
/// # use reslot_artifact as reslot;
/// use reslot::{ContentHash, HashPrefix, ParseHashError};
///
/// let hash = ContentHash::of(b"the bytes of a file");
/// let typed: HashPrefix = hash.to_string()[..8].parse()?;
/// assert!(typed.is_prefix_of(&hash));
/// assert!(HashPrefix::from(hash).is_prefix_of(&hash));
/// assert_eq!("".parse::<HashPrefix>(), Err(ParseHashError::Empty));
/// # Ok::<(), ParseHashError>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct HashPrefix {
    /// The digits as a number, stored as bytes so that errors with a prefix stay small. The number of leading zeros is not
    /// part of it.
    number: [u8; ContentHash::LEN],
    digits: u8,
}

/// Why a text is not a hash or a prefix of one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ParseHashError {
    /// It has no digits.
    #[error("a hash has hexadecimal digits, and this text is empty")]
    Empty,
    /// It has a character that is not a hexadecimal digit.
    #[error("{text:?} is not a hash: {character:?} is not a hexadecimal digit")]
    NotADigit {
        /// The text.
        text: String,
        /// The first such character.
        character: char,
    },
    /// It has too many digits, or too few for a whole hash.
    #[error("{text:?} is not a hash: it has {digits} digits, and a hash has 32")]
    Length {
        /// The text.
        text: String,
        /// The number of digits.
        digits: usize,
    },
}

impl ContentHash {
    /// The number of bytes.
    pub const LEN: usize = 16;

    /// The number of digits in its text form.
    const DIGITS: usize = 2 * Self::LEN;

    /// The hash of these bytes.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self(xxh3_128(bytes).to_be_bytes())
    }
}

impl HashPrefix {
    /// Whether the hash begins with these digits.
    #[must_use]
    pub fn is_prefix_of(&self, hash: &ContentHash) -> bool {
        let others = 4 * (ContentHash::DIGITS - usize::from(self.digits));
        u128::from_be_bytes(hash.0) >> others == u128::from_be_bytes(self.number)
    }
}

impl FromStr for ContentHash {
    type Err = ParseHashError;

    fn from_str(text: &str) -> Result<Self, ParseHashError> {
        let HashPrefix { number, .. } = text.parse()?;
        match text.len() {
            Self::DIGITS => Ok(Self(number)),
            digits => Err(wrong_length(text, digits)),
        }
    }
}

impl FromStr for HashPrefix {
    type Err = ParseHashError;

    fn from_str(text: &str) -> Result<Self, ParseHashError> {
        if let Some(character) = text.chars().find(|character| !character.is_ascii_hexdigit()) {
            return Err(ParseHashError::NotADigit {
                text: text.to_owned(),
                character,
            });
        }
        let digits = text.len();
        match u128::from_str_radix(text, 16) {
            _ if digits == 0 => Err(ParseHashError::Empty),
            Ok(number) if digits <= ContentHash::DIGITS => Ok(Self {
                number: number.to_be_bytes(),
                digits: digits as u8,
            }),
            _ => Err(wrong_length(text, digits)),
        }
    }
}

fn wrong_length(text: &str, digits: usize) -> ParseHashError {
    ParseHashError::Length {
        text: text.to_owned(),
        digits,
    }
}

impl From<ContentHash> for HashPrefix {
    fn from(hash: ContentHash) -> Self {
        Self {
            number: hash.0,
            digits: ContentHash::DIGITS as u8,
        }
    }
}

impl fmt::Display for ContentHash {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        HashPrefix::from(*self).fmt(to)
    }
}

impl fmt::Debug for ContentHash {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, to)
    }
}

impl fmt::Display for HashPrefix {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (number, digits) = (u128::from_be_bytes(self.number), usize::from(self.digits));
        to.pad(&format!("{number:0digits$x}"))
    }
}

impl fmt::Debug for HashPrefix {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, to)
    }
}

impl Serialize for ContentHash {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ContentHash {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        text.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn value_that_is_written_is_read_again() {
        let hash = ContentHash::of(b"an artifact");
        assert_eq!(hash.to_string().len(), 32);
        assert_eq!(hash.to_string().parse(), Ok(hash));
        assert_eq!(hash.to_string().to_uppercase().parse(), Ok(hash));
        assert_ne!(hash, ContentHash::of(b"an artifacT"));
        for wrong in [
            "",
            "+0000000000000000000000000000000",
            "0123",
            &format!("{hash}0"),
            &"g".repeat(32),
        ] {
            assert!(wrong.parse::<ContentHash>().is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn invalid_hash_is_refused_with_the_reason() {
        let said = |text: &str| text.parse::<ContentHash>().unwrap_err().to_string();
        assert_eq!(said(""), "a hash has hexadecimal digits, and this text is empty");
        assert_eq!(said("01x3"), "\"01x3\" is not a hash: 'x' is not a hexadecimal digit");
        assert_eq!(said("0123"), "\"0123\" is not a hash: it has 4 digits, and a hash has 32");
        let longer = "0".repeat(33);
        assert_eq!(longer.parse::<HashPrefix>(), Err(wrong_length(&longer, 33)));
    }

    #[test]
    fn every_beginning_of_a_hash_is_one_of_it_and_of_no_other() {
        // Zeros at its beginning are digits, too.
        let zeros: ContentHash = "000f00000000000000000000000000ab".parse().unwrap();
        for hash in [ContentHash::of(b"an artifact"), zeros] {
            let written = hash.to_string();
            for digits in 1..=32 {
                let prefix: HashPrefix = written[..digits].parse().unwrap();
                assert_eq!(prefix.to_string(), written[..digits]);
                assert!(prefix.is_prefix_of(&hash), "{prefix}");
                let other = match &written[digits - 1..digits] {
                    "0" => format!("{}1", &written[..digits - 1]),
                    _ => format!("{}0", &written[..digits - 1]),
                };
                assert!(!other.parse::<HashPrefix>().unwrap().is_prefix_of(&hash), "{other}");
            }
        }
    }

    #[test]
    fn serde_writes_the_same_text() {
        let hash = ContentHash::of(b"an artifact");
        let json = serde_json::to_string(&hash).unwrap();
        assert_eq!(json, format!("\"{hash}\""));
        assert_eq!(serde_json::from_str::<ContentHash>(&json).unwrap(), hash);
        assert_eq!(serde_json::from_slice::<ContentHash>(json.as_bytes()).unwrap(), hash);
        assert!(serde_json::from_str::<ContentHash>("\"0123\"").is_err());
    }
}
