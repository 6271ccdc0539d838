//! Encodes a value of any type that serde can write into the bytes of a state. A value that could not be read back unchanged
//! is an error, and so is a value that is nested too deeply.

use super::{
    bounds::{Depth, Met, note},
    decode,
    error::Error,
    format::{EXTENSION, F32, F64, FALSE, FIXEXT1, FIXEXT4, Head, I8, I16, I32, I64, NIL, SOMES, TRUE, U8, U16, U32, U64},
};
use crate::root::Writer;
use serde::ser::{
    self, Serialize, SerializeMap, SerializeSeq, SerializeStruct, SerializeStructVariant, SerializeTuple,
    SerializeTupleStruct, SerializeTupleVariant,
};

/// Writes `value` at the end.
pub(crate) fn encode<T: Serialize + ?Sized>(value: &T, into: &mut Writer<'_>) -> Result<(), Error> {
    let depth = Depth::here();
    value.serialize(&mut Encoder { out: into, depth })
}

struct Encoder<'w, 'buffer> {
    out: &'w mut Writer<'buffer>,
    depth: Depth,
}

impl<'w, 'buffer> Encoder<'w, 'buffer> {
    #[inline]
    fn number(&mut self, value: u64) {
        if value < 0x80 {
            self.out.put(&[value as u8]);
        } else if let Ok(value) = u8::try_from(value) {
            self.out.put(&[U8, value]);
        } else if let Ok(value) = u16::try_from(value) {
            self.with_head(U16, value.to_be_bytes());
        } else if let Ok(value) = u32::try_from(value) {
            self.with_head(U32, value.to_be_bytes());
        } else {
            self.with_head(U64, value.to_be_bytes());
        }
    }

    #[inline]
    fn signed(&mut self, value: i64) {
        if let Ok(value) = u64::try_from(value) {
            self.number(value);
        } else if value >= -32 {
            // Its last eight bits are those of a small negative number.
            self.out.put(&[value as u8]);
        } else if let Ok(value) = i8::try_from(value) {
            self.with_head(I8, value.to_be_bytes());
        } else if let Ok(value) = i16::try_from(value) {
            self.with_head(I16, value.to_be_bytes());
        } else if let Ok(value) = i32::try_from(value) {
            self.with_head(I32, value.to_be_bytes());
        } else {
            self.with_head(I64, value.to_be_bytes());
        }
    }

    /// It writes one piece, because each piece checks for room.
    #[inline]
    fn with_head<const N: usize>(&mut self, head: u8, bytes: [u8; N]) {
        let mut all = [head; 9];
        all[1..=N].copy_from_slice(&bytes);
        self.out.put(&all[..=N]);
    }

    #[inline]
    fn text(&mut self, text: &str) -> Result<(), Error> {
        self.out.put(&Head::text(length(text.len())?));
        self.out.put(text.as_bytes());
        Ok(())
    }

    /// Begins an item with this number of parts.
    #[inline]
    fn begin(&mut self, len: usize, head: fn(u32) -> Head) -> Result<Fields<'_, 'w, 'buffer>, Error> {
        let declared = length(len)?;
        self.depth.enter()?;
        self.out.put(&head(declared));
        Ok(Fields {
            encoder: self,
            declared,
            left: declared,
            levels: 1,
        })
    }

    /// Begins the content of an enum's variant, whose name stands before it.
    #[inline]
    fn begin_variant(
        &mut self,
        variant: &'static str,
        len: usize,
        head: fn(u32) -> Head,
    ) -> Result<Fields<'_, 'w, 'buffer>, Error> {
        self.depth.enter()?;
        self.out.put(&Head::map(1));
        self.text(variant)?;
        Ok(Fields {
            levels: 2,
            ..self.begin(len, head)?
        })
    }

    /// Begins an item whose number of parts may be unknown.
    #[inline]
    fn begin_uncounted(&mut self, len: Option<usize>, head: fn(u32) -> Head) -> Result<Parts<'_, 'w, 'buffer>, Error> {
        let at = self.out.len();
        // Most items are short, and then their head has the same length as that of an empty item.
        let fields = self.begin(len.unwrap_or(0), head)?;
        Ok(Parts {
            fields,
            head,
            later: len.is_none().then_some(at),
            key: 0,
        })
    }

    /// Converts the bytes from this position on, a pair of a number and bytes, into an extension.
    fn turn_into_extension(&mut self, at: usize) -> Result<(), Error> {
        let Some((kind, len)) = decode::extension_in(self.out.written_from(at)) else {
            return Err(Error::new(format!("`{EXTENSION}` has no pair of an `i8` and bytes inside")));
        };
        if kind == SOMES {
            note(Met::NotCarried);
            return Err(Error::new(format!(
                "a MessagePack extension of type {SOMES} cannot be in a state, which uses that type itself"
            )));
        }
        let head = Head::extension(kind, length(len)?);
        self.out.replace(at, self.out.len() - len, &head);
        Ok(())
    }

    /// A number of `Some` around a nil.
    fn somes(&mut self, count: u32) {
        let kind = SOMES.cast_unsigned();
        match u8::try_from(count) {
            Ok(count) => self.out.put(&[FIXEXT1, kind, count]),
            Err(_) => {
                let [a, b, c, d] = count.to_be_bytes();
                self.out.put(&[FIXEXT4, kind, a, b, c, d]);
            }
        }
    }
}

/// MessagePack counts with 32 bits.
#[inline]
fn length(len: usize) -> Result<u32, Error> {
    u32::try_from(len).map_err(|_| too_long(len))
}

#[cold]
fn too_long(len: usize) -> Error {
    note(Met::NotCarried);
    Error::new(format!(
        "a list, map, text or string of {len} is longer than a state can have, which is {}",
        u32::MAX
    ))
}

/// An item whose parts are being written.
struct Fields<'a, 'w, 'buffer> {
    encoder: &'a mut Encoder<'w, 'buffer>,
    declared: u32,
    left: u32,
    levels: u8,
}

impl Fields<'_, '_, '_> {
    #[inline]
    fn element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
        let index = self.declared.wrapping_sub(self.left);
        self.left = self.left.wrapping_sub(1);
        value
            .serialize(&mut *self.encoder)
            .map_err(|error| error.in_element(index as usize))
    }

    #[inline]
    fn field<T: Serialize + ?Sized>(&mut self, name: &'static str, value: &T) -> Result<(), Error> {
        self.left = self.left.wrapping_sub(1);
        self.encoder.text(name)?;
        value.serialize(&mut *self.encoder).map_err(|error| error.in_field(name))
    }

    #[inline]
    fn end(self) -> Result<(), Error> {
        for _ in 0..self.levels {
            self.encoder.depth.leave();
        }
        match self.left {
            0 => Ok(()),
            _ => Err(miscounted(self.declared, self.declared.wrapping_sub(self.left))),
        }
    }
}

#[cold]
fn miscounted(declared: u32, written: u32) -> Error {
    note(Met::NotCarried);
    Error::new(format!(
        "its `Serialize` says that there are {declared} parts, and writes {written}"
    ))
}

/// The same for an item whose number of parts may be unknown.
struct Parts<'a, 'w, 'buffer> {
    fields: Fields<'a, 'w, 'buffer>,
    head: fn(u32) -> Head,
    /// The position of the head, if the number of parts is written later.
    later: Option<usize>,
    /// The position of the last key.
    key: usize,
}

impl Parts<'_, '_, '_> {
    #[inline]
    fn end(mut self) -> Result<(), Error> {
        if let Some(at) = self.later {
            let written = self.fields.declared.wrapping_sub(self.fields.left);
            self.fields.encoder.out.replace(at, at + 1, &(self.head)(written));
            self.fields.left = 0;
        }
        self.fields.end()
    }

    #[cold]
    fn at_key(&self, error: Error) -> Error {
        match decode::text_at(self.fields.encoder.out.written_from(self.key)) {
            Some(key) => error.in_field(key),
            None => error,
        }
    }
}

impl SerializeSeq for Parts<'_, '_, '_> {
    type Ok = ();
    type Error = Error;

    #[inline]
    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
        self.fields.element(value)
    }

    #[inline]
    fn end(self) -> Result<(), Error> {
        self.end()
    }
}

impl SerializeMap for Parts<'_, '_, '_> {
    type Ok = ();
    type Error = Error;

    #[inline]
    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), Error> {
        self.fields.left = self.fields.left.wrapping_sub(1);
        self.key = self.fields.encoder.out.len();
        key.serialize(&mut *self.fields.encoder)
    }

    #[inline]
    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
        let written = value.serialize(&mut *self.fields.encoder);
        written.map_err(|error| self.at_key(error))
    }

    #[inline]
    fn end(self) -> Result<(), Error> {
        self.end()
    }
}

impl SerializeTuple for Fields<'_, '_, '_> {
    type Ok = ();
    type Error = Error;

    #[inline]
    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
        self.element(value)
    }

    #[inline]
    fn end(self) -> Result<(), Error> {
        self.end()
    }
}

impl SerializeTupleStruct for Fields<'_, '_, '_> {
    type Ok = ();
    type Error = Error;

    #[inline]
    fn serialize_field<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
        self.element(value)
    }

    #[inline]
    fn end(self) -> Result<(), Error> {
        self.end()
    }
}

impl SerializeTupleVariant for Fields<'_, '_, '_> {
    type Ok = ();
    type Error = Error;

    #[inline]
    fn serialize_field<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
        self.element(value)
    }

    #[inline]
    fn end(self) -> Result<(), Error> {
        self.end()
    }
}

impl SerializeStruct for Fields<'_, '_, '_> {
    type Ok = ();
    type Error = Error;

    #[inline]
    fn serialize_field<T: Serialize + ?Sized>(&mut self, name: &'static str, value: &T) -> Result<(), Error> {
        self.field(name, value)
    }

    #[inline]
    fn end(self) -> Result<(), Error> {
        self.end()
    }
}

impl SerializeStructVariant for Fields<'_, '_, '_> {
    type Ok = ();
    type Error = Error;

    #[inline]
    fn serialize_field<T: Serialize + ?Sized>(&mut self, name: &'static str, value: &T) -> Result<(), Error> {
        self.field(name, value)
    }

    #[inline]
    fn end(self) -> Result<(), Error> {
        self.end()
    }
}

impl<'a, 'w, 'buffer> ser::Serializer for &'a mut Encoder<'w, 'buffer> {
    type Ok = ();
    type Error = Error;
    type SerializeSeq = Parts<'a, 'w, 'buffer>;
    type SerializeMap = Parts<'a, 'w, 'buffer>;
    type SerializeTuple = Fields<'a, 'w, 'buffer>;
    type SerializeTupleStruct = Fields<'a, 'w, 'buffer>;
    type SerializeTupleVariant = Fields<'a, 'w, 'buffer>;
    type SerializeStruct = Fields<'a, 'w, 'buffer>;
    type SerializeStructVariant = Fields<'a, 'w, 'buffer>;

    fn is_human_readable(&self) -> bool {
        false
    }

    #[inline]
    fn serialize_bool(self, value: bool) -> Result<(), Error> {
        self.out.put(&[if value { TRUE } else { FALSE }]);
        Ok(())
    }

    #[inline]
    fn serialize_i8(self, value: i8) -> Result<(), Error> {
        self.serialize_i64(value.into())
    }

    #[inline]
    fn serialize_i16(self, value: i16) -> Result<(), Error> {
        self.serialize_i64(value.into())
    }

    #[inline]
    fn serialize_i32(self, value: i32) -> Result<(), Error> {
        self.serialize_i64(value.into())
    }

    #[inline]
    fn serialize_i64(self, value: i64) -> Result<(), Error> {
        self.signed(value);
        Ok(())
    }

    #[inline]
    fn serialize_i128(self, value: i128) -> Result<(), Error> {
        self.serialize_bytes(&value.to_be_bytes())
    }

    #[inline]
    fn serialize_u8(self, value: u8) -> Result<(), Error> {
        self.serialize_u64(value.into())
    }

    #[inline]
    fn serialize_u16(self, value: u16) -> Result<(), Error> {
        self.serialize_u64(value.into())
    }

    #[inline]
    fn serialize_u32(self, value: u32) -> Result<(), Error> {
        self.serialize_u64(value.into())
    }

    #[inline]
    fn serialize_u64(self, value: u64) -> Result<(), Error> {
        self.number(value);
        Ok(())
    }

    #[inline]
    fn serialize_u128(self, value: u128) -> Result<(), Error> {
        self.serialize_bytes(&value.to_be_bytes())
    }

    #[inline]
    fn serialize_f32(self, value: f32) -> Result<(), Error> {
        self.with_head(F32, value.to_be_bytes());
        Ok(())
    }

    #[inline]
    fn serialize_f64(self, value: f64) -> Result<(), Error> {
        self.with_head(F64, value.to_be_bytes());
        Ok(())
    }

    #[inline]
    fn serialize_char(self, value: char) -> Result<(), Error> {
        self.text(value.encode_utf8(&mut [0; 4]))
    }

    #[inline]
    fn serialize_str(self, value: &str) -> Result<(), Error> {
        self.text(value)
    }

    #[inline]
    fn serialize_bytes(self, value: &[u8]) -> Result<(), Error> {
        self.out.put(&Head::bytes(length(value.len())?));
        self.out.put(value);
        Ok(())
    }

    #[inline]
    fn serialize_none(self) -> Result<(), Error> {
        self.serialize_unit()
    }

    #[inline]
    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), Error> {
        self.depth.look()?;
        let at = self.out.len();
        value.serialize(&mut *self)?;
        let around = match decode::somes_in(self.out.written_from(at)) {
            Some(count) if count >= self.depth.levels() => return Err(self.depth.too_deep()),
            Some(count) => count + 1,
            None => return Ok(()),
        };
        self.out.replace(at, self.out.len(), &[]);
        self.somes(around);
        Ok(())
    }

    #[inline]
    fn serialize_unit(self) -> Result<(), Error> {
        self.out.put(&[NIL]);
        Ok(())
    }

    #[inline]
    fn serialize_unit_struct(self, _: &'static str) -> Result<(), Error> {
        self.out.put(&Head::list(0));
        Ok(())
    }

    #[inline]
    fn serialize_unit_variant(self, _: &'static str, _: u32, variant: &'static str) -> Result<(), Error> {
        self.text(variant)
    }

    #[inline]
    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, name: &'static str, value: &T) -> Result<(), Error> {
        let at = self.out.len();
        value.serialize(&mut *self)?;
        match name == EXTENSION {
            true => self.turn_into_extension(at),
            false => Ok(()),
        }
    }

    #[inline]
    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<(), Error> {
        self.depth.enter()?;
        self.out.put(&Head::map(1));
        self.text(variant)?;
        value.serialize(&mut *self).map_err(|error| error.in_field(variant))?;
        self.depth.leave();
        Ok(())
    }

    #[inline]
    fn serialize_seq(self, len: Option<usize>) -> Result<Self::SerializeSeq, Error> {
        self.begin_uncounted(len, Head::list)
    }

    #[inline]
    fn serialize_tuple(self, len: usize) -> Result<Self::SerializeTuple, Error> {
        self.begin(len, Head::list)
    }

    #[inline]
    fn serialize_tuple_struct(self, _: &'static str, len: usize) -> Result<Self::SerializeTupleStruct, Error> {
        self.begin(len, Head::list)
    }

    #[inline]
    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        len: usize,
    ) -> Result<Self::SerializeTupleVariant, Error> {
        self.begin_variant(variant, len, Head::list)
    }

    #[inline]
    fn serialize_map(self, len: Option<usize>) -> Result<Self::SerializeMap, Error> {
        self.begin_uncounted(len, Head::map)
    }

    #[inline]
    fn serialize_struct(self, _: &'static str, len: usize) -> Result<Self::SerializeStruct, Error> {
        self.begin(len, Head::map)
    }

    #[inline]
    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        len: usize,
    ) -> Result<Self::SerializeStructVariant, Error> {
        self.begin_variant(variant, len, Head::map)
    }
}
