//! The encoding of a state: MessagePack in its shortest form, with structs as maps with field names, and an enum's variant
//! by its name. States are handed from one build of this crate to another, and may be stored, so the encoding must not
//! change.
//!
//! One thing is unusual: serde encodes `Some(x)` as `x`, so `Some(None)` and `Some(())` would be a nil like `None`. If only
//! a nil is inside one or more `Some`, the number of `Some` is written as an extension.

pub(super) const NIL: u8 = 0xc0;
pub(super) const FALSE: u8 = 0xc2;
pub(super) const TRUE: u8 = 0xc3;
pub(super) const BIN8: u8 = 0xc4;
pub(super) const BIN16: u8 = 0xc5;
pub(super) const BIN32: u8 = 0xc6;
pub(super) const EXT8: u8 = 0xc7;
pub(super) const EXT16: u8 = 0xc8;
pub(super) const EXT32: u8 = 0xc9;
pub(super) const F32: u8 = 0xca;
pub(super) const F64: u8 = 0xcb;
pub(super) const U8: u8 = 0xcc;
pub(super) const U16: u8 = 0xcd;
pub(super) const U32: u8 = 0xce;
pub(super) const U64: u8 = 0xcf;
pub(super) const I8: u8 = 0xd0;
pub(super) const I16: u8 = 0xd1;
pub(super) const I32: u8 = 0xd2;
pub(super) const I64: u8 = 0xd3;
pub(super) const FIXEXT1: u8 = 0xd4;
pub(super) const FIXEXT2: u8 = 0xd5;
pub(super) const FIXEXT4: u8 = 0xd6;
pub(super) const FIXEXT8: u8 = 0xd7;
pub(super) const FIXEXT16: u8 = 0xd8;
pub(super) const STR8: u8 = 0xd9;
pub(super) const STR16: u8 = 0xda;
pub(super) const STR32: u8 = 0xdb;
pub(super) const ARRAY16: u8 = 0xdc;
pub(super) const ARRAY32: u8 = 0xdd;
pub(super) const MAP16: u8 = 0xde;
pub(super) const MAP32: u8 = 0xdf;
/// The value is in the last seven bits; all bytes below are numbers themselves.
pub(super) const FIXMAP: u8 = 0x80;
pub(super) const FIXARRAY: u8 = 0x90;
pub(super) const FIXSTR: u8 = 0xa0;
/// From this value on, a byte is a negative number itself.
pub(super) const NEGATIVE: u8 = 0xe0;

/// The type of the extension that holds a number of `Some` around a nil: as one byte, or as four if it is larger than 255.
pub(super) const SOMES: i8 = 83;

/// The newtype struct by whose name MessagePack extensions go through serde, with the extension's type and its bytes inside.
pub(super) const EXTENSION: &str = "_ExtStruct";

/// The first bytes of an item, at most five.
pub(super) struct Head {
    bytes: [u8; 6],
    len: usize,
}

impl std::ops::Deref for Head {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

impl Head {
    fn of(parts: &[&[u8]]) -> Self {
        let mut head = Self { bytes: [0; 6], len: 0 };
        for part in parts {
            head.bytes[head.len..head.len + part.len()].copy_from_slice(part);
            head.len += part.len();
        }
        head
    }

    /// The head of a list with this number of elements.
    pub(super) fn list(len: u32) -> Self {
        Self::sized(len, Some((FIXARRAY, 16)), None, ARRAY16, ARRAY32)
    }

    /// The head of a map with this number of entries.
    pub(super) fn map(len: u32) -> Self {
        Self::sized(len, Some((FIXMAP, 16)), None, MAP16, MAP32)
    }

    /// The head of a text of this length.
    pub(super) fn text(len: u32) -> Self {
        Self::sized(len, Some((FIXSTR, 32)), Some(STR8), STR16, STR32)
    }

    /// The head of this number of bytes.
    pub(super) fn bytes(len: u32) -> Self {
        Self::sized(len, None, Some(BIN8), BIN16, BIN32)
    }

    /// The head of an extension of this type and length.
    pub(super) fn extension(kind: i8, len: u32) -> Self {
        let kind = kind.cast_unsigned();
        match len {
            1 => Self::of(&[&[FIXEXT1, kind]]),
            2 => Self::of(&[&[FIXEXT2, kind]]),
            4 => Self::of(&[&[FIXEXT4, kind]]),
            8 => Self::of(&[&[FIXEXT8, kind]]),
            16 => Self::of(&[&[FIXEXT16, kind]]),
            _ => Self::of(&[&Self::sized(len, None, Some(EXT8), EXT16, EXT32), &[kind]]),
        }
    }

    fn sized(len: u32, fixed: Option<(u8, u32)>, eight: Option<u8>, sixteen: u8, most: u8) -> Self {
        match (fixed, eight) {
            (Some((first, below)), _) if len < below => Self::of(&[&[first | len as u8]]),
            (_, Some(first)) if len <= u32::from(u8::MAX) => Self::of(&[&[first, len as u8]]),
            _ if len <= u32::from(u16::MAX) => Self::of(&[&[sixteen], &(len as u16).to_be_bytes()]),
            _ => Self::of(&[&[most], &len.to_be_bytes()]),
        }
    }
}
