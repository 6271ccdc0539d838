//! Decodes the bytes of a state into any type that serde can read. It reads the encoding of this build and of all earlier
//! ones.

use super::{
    bounds::{self, Depth, Met},
    error::Error,
    format::{
        ARRAY16, ARRAY32, BIN8, BIN16, BIN32, EXT8, EXT16, EXT32, EXTENSION, F32, F64, FALSE, FIXARRAY, FIXEXT1, FIXEXT2,
        FIXEXT4, FIXEXT8, FIXEXT16, FIXMAP, FIXSTR, I8, I16, I32, I64, MAP16, MAP32, NEGATIVE, NIL, SOMES, STR8, STR16,
        STR32, TRUE, U8, U16, U32, U64,
    },
};
use serde::{
    de::{
        self, Deserialize, DeserializeSeed, EnumAccess, Error as _, MapAccess, SeqAccess, Unexpected, VariantAccess,
        Visitor,
        value::{BorrowedBytesDeserializer, I8Deserializer, SeqDeserializer},
    },
    forward_to_deserialize_any,
};
use std::marker::PhantomData;

/// Reads a value from the beginning of the bytes. Also returns the rest.
pub(crate) fn decode_first<'de, S: DeserializeSeed<'de>>(bytes: &'de [u8], seed: S) -> Result<(S::Value, &'de [u8]), Error> {
    let mut decoder = Decoder {
        rest: bytes,
        depth: Depth::here(),
    };
    let (value, met) = bounds::watched(|| seed.deserialize(&mut decoder));
    match value {
        Ok(value) => Ok((value, decoder.rest)),
        // serde hides the reason for an enum whose variants are tried one after the other.
        Err(error) if met == Some(Met::NotCarried) => Err(error.because_of_held_numbers()),
        Err(error) => Err(error),
    }
}

/// The same, but it ignores the rest.
pub(crate) fn decode<'de, T: Deserialize<'de>>(bytes: &'de [u8]) -> Result<T, Error> {
    decode_first(bytes, PhantomData).map(|(value, _)| value)
}

/// The number of `Some` around a nil, if the bytes are only that.
#[inline]
pub(super) fn somes_in(bytes: &[u8]) -> Option<u32> {
    const KIND: u8 = SOMES.cast_unsigned();
    match *bytes {
        [NIL] => Some(0),
        [FIXEXT1, KIND, count] => Some(count.into()),
        [FIXEXT4, KIND, a, b, c, d] => Some(u32::from_be_bytes([a, b, c, d])),
        _ => None,
    }
}

/// The text with which the bytes begin, if they do.
pub(super) fn text_at(bytes: &[u8]) -> Option<&str> {
    match read(&mut &*bytes) {
        Ok(Read::Text(text)) => std::str::from_utf8(text).ok(),
        _ => None,
    }
}

/// The type and the length of an extension, if the bytes are only a pair of a number and bytes.
pub(super) fn extension_in(mut bytes: &[u8]) -> Option<(i8, usize)> {
    let Ok(Read::List(2)) = read(&mut bytes) else { return None };
    let kind = match read(&mut bytes) {
        Ok(Read::Number(kind)) => i8::try_from(kind).ok()?,
        Ok(Read::Negative(kind)) => i8::try_from(kind).ok()?,
        _ => return None,
    };
    match read(&mut bytes) {
        Ok(Read::Bytes(content)) if bytes.is_empty() => Some((kind, content.len())),
        _ => None,
    }
}

/// The next item in the bytes. Of a list or a map it is only the beginning.
enum Read<'de> {
    /// A nil with this number of `Some` around it.
    Nil(u32),
    Bool(bool),
    Number(u64),
    Negative(i64),
    Single(f32),
    Double(f64),
    Text(&'de [u8]),
    Bytes(&'de [u8]),
    Extension(i8, &'de [u8]),
    List(u32),
    Map(u32),
}

#[inline]
fn read<'de>(rest: &mut &'de [u8]) -> Result<Read<'de>, Error> {
    let [first] = array(rest)?;
    Ok(match first {
        0..FIXMAP => Read::Number(first.into()),
        FIXMAP..FIXARRAY => Read::Map((first & 0x0f).into()),
        FIXARRAY..FIXSTR => Read::List((first & 0x0f).into()),
        FIXSTR..NIL => Read::Text(take(rest, (first & 0x1f).into())?),
        NEGATIVE..=u8::MAX => Read::Negative(first.cast_signed().into()),
        NIL => Read::Nil(0),
        FALSE => Read::Bool(false),
        TRUE => Read::Bool(true),
        U8 => Read::Number(u8::from_be_bytes(array(rest)?).into()),
        U16 => Read::Number(u16::from_be_bytes(array(rest)?).into()),
        U32 => Read::Number(u32::from_be_bytes(array(rest)?).into()),
        U64 => Read::Number(u64::from_be_bytes(array(rest)?)),
        I8 => signed(i8::from_be_bytes(array(rest)?)),
        I16 => signed(i16::from_be_bytes(array(rest)?)),
        I32 => signed(i32::from_be_bytes(array(rest)?)),
        I64 => signed(i64::from_be_bytes(array(rest)?)),
        F32 => Read::Single(f32::from_be_bytes(array(rest)?)),
        F64 => Read::Double(f64::from_be_bytes(array(rest)?)),
        STR8 | STR16 | STR32 => {
            let len = length(rest, first - STR8)?;
            Read::Text(take(rest, len)?)
        }
        BIN8 | BIN16 | BIN32 => {
            let len = length(rest, first - BIN8)?;
            Read::Bytes(take(rest, len)?)
        }
        ARRAY16 | ARRAY32 => Read::List(length(rest, first - ARRAY16 + 1)?),
        MAP16 | MAP32 => Read::Map(length(rest, first - MAP16 + 1)?),
        FIXEXT1 => extension(rest, 1)?,
        FIXEXT2 => extension(rest, 2)?,
        FIXEXT4 => extension(rest, 4)?,
        FIXEXT8 => extension(rest, 8)?,
        FIXEXT16 => extension(rest, 16)?,
        EXT8 | EXT16 | EXT32 => {
            let len = length(rest, first - EXT8)?;
            extension(rest, len)?
        }
        0xc1 => return Err(Error::new("there is a byte that no MessagePack has (0xc1)".to_owned())),
    })
}

#[inline]
fn signed<'de>(value: impl Into<i64>) -> Read<'de> {
    let value = value.into();
    match u64::try_from(value) {
        Ok(value) => Read::Number(value),
        Err(_) => Read::Negative(value),
    }
}

/// A length of one, two or four bytes.
#[inline]
fn length(rest: &mut &[u8], size: u8) -> Result<u32, Error> {
    Ok(match size {
        0 => u8::from_be_bytes(array(rest)?).into(),
        1 => u16::from_be_bytes(array(rest)?).into(),
        _ => u32::from_be_bytes(array(rest)?),
    })
}

fn extension<'de>(rest: &mut &'de [u8], len: u32) -> Result<Read<'de>, Error> {
    let kind = i8::from_be_bytes(array(rest)?);
    let content = take(rest, len)?;
    if kind != SOMES {
        return Ok(Read::Extension(kind, content));
    }
    match *content {
        [count] => Ok(Read::Nil(count.into())),
        [a, b, c, d] => Ok(Read::Nil(u32::from_be_bytes([a, b, c, d]))),
        _ => Ok(Read::Extension(kind, content)),
    }
}

#[inline]
fn take<'de>(rest: &mut &'de [u8], len: u32) -> Result<&'de [u8], Error> {
    let (taken, after) = rest.split_at_checked(len as usize).ok_or_else(ends_early)?;
    *rest = after;
    Ok(taken)
}

#[inline]
fn array<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], Error> {
    let (taken, after) = rest.split_first_chunk().ok_or_else(ends_early)?;
    *rest = after;
    Ok(*taken)
}

#[cold]
fn ends_early() -> Error {
    Error::new("the bytes of the state end too early".to_owned())
}

struct Decoder<'de> {
    rest: &'de [u8],
    depth: Depth,
}

impl<'de> Decoder<'de> {
    #[inline]
    fn read(&mut self) -> Result<Read<'de>, Error> {
        read(&mut self.rest)
    }

    #[inline]
    fn visit<V: Visitor<'de>>(&mut self, read: Read<'de>, visitor: V) -> Result<V::Value, Error> {
        match read {
            Read::Nil(somes) => Somes::of(self, somes)?.visit(visitor),
            Read::Bool(value) => visitor.visit_bool(value),
            Read::Number(value) => visitor.visit_u64(value),
            Read::Negative(value) => visitor.visit_i64(value),
            Read::Single(value) => visitor.visit_f32(value),
            Read::Double(value) => visitor.visit_f64(value),
            Read::Text(text) => visit_text(text, visitor),
            Read::Bytes(bytes) => visitor.visit_borrowed_bytes(bytes),
            Read::Extension(kind, content) => visitor.visit_newtype_struct(Extension(kind, content)),
            Read::List(len) => self.visit_list(len, visitor),
            Read::Map(len) => self.visit_map(len, visitor),
        }
    }

    #[inline]
    fn visit_list<V: Visitor<'de>>(&mut self, len: u32, visitor: V) -> Result<V::Value, Error> {
        self.depth.enter()?;
        let mut elements = Elements {
            decoder: self,
            len,
            left: len,
        };
        let value = visitor.visit_seq(&mut elements)?;
        match elements.left {
            0 => elements.decoder.depth.leave(),
            left => return Err(left_over(len, left)),
        }
        Ok(value)
    }

    #[inline]
    fn visit_map<V: Visitor<'de>>(&mut self, len: u32, visitor: V) -> Result<V::Value, Error> {
        self.depth.enter()?;
        let key = self.rest;
        let mut entries = Entries {
            decoder: self,
            left: len,
            key,
        };
        let value = visitor.visit_map(&mut entries)?;
        match entries.left {
            0 => entries.decoder.depth.leave(),
            left => return Err(left_over(len, left)),
        }
        Ok(value)
    }

    /// Skips the next item, however deep it is.
    fn skip(&mut self) -> Result<(), Error> {
        let mut left = 1u64;
        while left > 0 {
            left -= 1;
            match self.read()? {
                Read::List(len) => left += u64::from(len),
                Read::Map(len) => left += 2 * u64::from(len),
                _ => {}
            }
        }
        Ok(())
    }

    /// A number of 128 bits is written as its bytes.
    #[inline]
    fn wide(&mut self) -> Result<Result<[u8; 16], Read<'de>>, Error> {
        Ok(match self.read()? {
            Read::Bytes(bytes) => <[u8; 16]>::try_from(bytes).map_err(|_| Read::Bytes(bytes)),
            other => Err(other),
        })
    }
}

#[inline]
fn visit_text<'de, V: Visitor<'de>>(text: &'de [u8], visitor: V) -> Result<V::Value, Error> {
    match std::str::from_utf8(text) {
        Ok(text) => visitor.visit_borrowed_str(text),
        Err(_) => visitor.visit_borrowed_bytes(text),
    }
}

#[cold]
fn left_over(len: u32, left: u32) -> Error {
    Error::new(format!("there are {len} parts, and only {} are wanted", len - left))
}

/// The item in serde's form for errors.
fn unexpected<'a>(read: &Read<'a>) -> Unexpected<'a> {
    match *read {
        Read::Nil(0) => Unexpected::Unit,
        Read::Nil(_) => Unexpected::Option,
        Read::Bool(value) => Unexpected::Bool(value),
        Read::Number(value) => Unexpected::Unsigned(value),
        Read::Negative(value) => Unexpected::Signed(value),
        Read::Single(value) => Unexpected::Float(value.into()),
        Read::Double(value) => Unexpected::Float(value),
        Read::Text(text) => std::str::from_utf8(text).map_or(Unexpected::Bytes(text), Unexpected::Str),
        Read::Bytes(bytes) => Unexpected::Bytes(bytes),
        Read::Extension(..) => Unexpected::Other("MessagePack extension"),
        Read::List(_) => Unexpected::Seq,
        Read::Map(_) => Unexpected::Map,
    }
}

macro_rules! as_it_comes {
    ($($method:ident)*) => {$(
        #[inline]
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
            let read = self.read()?;
            self.visit(read, visitor)
        }
    )*};
}

macro_rules! numbers {
    ($($method:ident)*) => {$(
        #[inline]
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
            match self.read()? {
                Read::Number(value) => visitor.visit_u64(value),
                Read::Negative(value) => visitor.visit_i64(value),
                Read::Single(value) => visitor.visit_f32(value),
                Read::Double(value) => visitor.visit_f64(value),
                other => Err(Error::invalid_type(unexpected(&other), &visitor)),
            }
        }
    )*};
}

/// A list, and bytes as a list of numbers.
macro_rules! lists {
    ($($method:ident($($_:ty),*))*) => {$(
        #[inline]
        fn $method<V: Visitor<'de>>(self, $(_: $_,)* visitor: V) -> Result<V::Value, Error> {
            match self.read()? {
                Read::Bytes(bytes) => visitor.visit_seq(SeqDeserializer::new(bytes.iter().copied())),
                other => self.visit(other, visitor),
            }
        }
    )*};
}

impl<'de> de::Deserializer<'de> for &mut Decoder<'de> {
    type Error = Error;

    fn is_human_readable(&self) -> bool {
        false
    }

    as_it_comes! {
        deserialize_any deserialize_bool deserialize_char deserialize_str deserialize_string deserialize_bytes deserialize_byte_buf
        deserialize_unit deserialize_map deserialize_identifier
    }

    numbers! {
        deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64 deserialize_u8 deserialize_u16 deserialize_u32
        deserialize_u64 deserialize_f32 deserialize_f64
    }

    lists! {
        deserialize_seq()
        deserialize_tuple(usize)
        deserialize_tuple_struct(&'static str, usize)
        deserialize_struct(&'static str, &'static [&'static str])
    }

    fn deserialize_i128<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.wide()? {
            Ok(bytes) => visitor.visit_i128(i128::from_be_bytes(bytes)),
            Err(other) => self.visit(other, visitor),
        }
    }

    fn deserialize_u128<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.wide()? {
            Ok(bytes) => visitor.visit_u128(u128::from_be_bytes(bytes)),
            Err(other) => self.visit(other, visitor),
        }
    }

    #[inline]
    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let before = self.rest;
        match before.first() {
            Some(&NIL) => {
                self.rest = &before[1..];
                visitor.visit_none()
            }
            Some(&(FIXEXT1 | FIXEXT4)) => match self.read()? {
                Read::Nil(somes) => Somes::of(self, somes)?.visit(visitor),
                _ => {
                    self.rest = before;
                    visitor.visit_some(self)
                }
            },
            _ => {
                self.depth.look()?;
                visitor.visit_some(self)
            }
        }
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Error> {
        match self.read()? {
            Read::Nil(0) | Read::List(0) => visitor.visit_unit(),
            other => self.visit(other, visitor),
        }
    }

    #[inline]
    fn deserialize_newtype_struct<V: Visitor<'de>>(self, name: &'static str, visitor: V) -> Result<V::Value, Error> {
        if name != EXTENSION {
            return visitor.visit_newtype_struct(self);
        }
        match self.read()? {
            Read::Extension(kind, content) => visitor.visit_newtype_struct(Extension(kind, content)),
            other => Err(Error::invalid_type(unexpected(&other), &visitor)),
        }
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        match self.read()? {
            Read::Map(1) => {
                self.depth.enter()?;
                let value = visitor.visit_enum(WithContent(&mut *self))?;
                self.depth.leave();
                Ok(value)
            }
            Read::Text(name) => visitor.visit_enum(Bare(name)),
            other => Err(Error::invalid_type(unexpected(&other), &visitor)),
        }
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.skip()?;
        visitor.visit_unit()
    }
}

struct Elements<'a, 'de> {
    decoder: &'a mut Decoder<'de>,
    len: u32,
    left: u32,
}

impl<'de> SeqAccess<'de> for Elements<'_, 'de> {
    type Error = Error;

    #[inline]
    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Error> {
        if self.left == 0 {
            return Ok(None);
        }
        self.left -= 1;
        match seed.deserialize(&mut *self.decoder) {
            Ok(value) => Ok(Some(value)),
            Err(error) => Err(error.in_element((self.len - self.left - 1) as usize)),
        }
    }

    #[inline]
    fn size_hint(&self) -> Option<usize> {
        Some(self.left as usize)
    }
}

struct Entries<'a, 'de> {
    decoder: &'a mut Decoder<'de>,
    left: u32,
    /// The bytes from the last key on.
    key: &'de [u8],
}

impl<'de> MapAccess<'de> for Entries<'_, 'de> {
    type Error = Error;

    #[inline]
    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Error> {
        if self.left == 0 {
            return Ok(None);
        }
        self.left -= 1;
        self.key = self.decoder.rest;
        seed.deserialize(&mut *self.decoder).map(Some)
    }

    #[inline]
    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Error> {
        match seed.deserialize(&mut *self.decoder) {
            Ok(value) => Ok(value),
            Err(error) => Err(match text_at(self.key) {
                Some(key) => error.in_field(key),
                None => error,
            }),
        }
    }

    #[inline]
    fn size_hint(&self) -> Option<usize> {
        Some(self.left as usize)
    }
}

/// A variant that has no content.
struct Bare<'de>(&'de [u8]);

impl<'de> de::Deserializer<'de> for Bare<'de> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visit_text(self.0, visitor)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct newtype_struct seq
        tuple tuple_struct map struct enum identifier ignored_any
    }
}

impl<'de> EnumAccess<'de> for Bare<'de> {
    type Error = Error;
    type Variant = NoContent;

    fn variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<(S::Value, NoContent), Error> {
        Ok((seed.deserialize(self)?, NoContent))
    }
}

struct NoContent;

impl<'de> VariantAccess<'de> for NoContent {
    type Error = Error;

    fn unit_variant(self) -> Result<(), Error> {
        Ok(())
    }

    fn newtype_variant_seed<S: DeserializeSeed<'de>>(self, _: S) -> Result<S::Value, Error> {
        Err(Error::invalid_type(Unexpected::UnitVariant, &"newtype variant"))
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, _: V) -> Result<V::Value, Error> {
        Err(Error::invalid_type(Unexpected::UnitVariant, &"tuple variant"))
    }

    fn struct_variant<V: Visitor<'de>>(self, _: &'static [&'static str], _: V) -> Result<V::Value, Error> {
        Err(Error::invalid_type(Unexpected::UnitVariant, &"struct variant"))
    }
}

/// A variant with content: a map with its name as the one key.
struct WithContent<'a, 'de>(&'a mut Decoder<'de>);

impl<'a, 'de> EnumAccess<'de> for WithContent<'a, 'de> {
    type Error = Error;
    type Variant = Content<'a, 'de>;

    #[inline]
    fn variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<(S::Value, Content<'a, 'de>), Error> {
        let name = self.0.rest;
        let variant = seed.deserialize(&mut *self.0)?;
        let decoder = self.0;
        Ok((variant, Content { decoder, name }))
    }
}

struct Content<'a, 'de> {
    decoder: &'a mut Decoder<'de>,
    /// The bytes from the variant's name on.
    name: &'de [u8],
}

impl Content<'_, '_> {
    #[inline]
    fn within<T>(name: &[u8], result: Result<T, Error>) -> Result<T, Error> {
        result.map_err(|error| match text_at(name) {
            Some(name) => error.in_field(name),
            None => error,
        })
    }
}

impl<'de> VariantAccess<'de> for Content<'_, 'de> {
    type Error = Error;

    fn unit_variant(self) -> Result<(), Error> {
        Self::within(self.name, <()>::deserialize(self.decoder))
    }

    #[inline]
    fn newtype_variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value, Error> {
        Self::within(self.name, seed.deserialize(self.decoder))
    }

    #[inline]
    fn tuple_variant<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, Error> {
        Self::within(self.name, de::Deserializer::deserialize_tuple(self.decoder, len, visitor))
    }

    #[inline]
    fn struct_variant<V: Visitor<'de>>(self, fields: &'static [&'static str], visitor: V) -> Result<V::Value, Error> {
        Self::within(
            self.name,
            de::Deserializer::deserialize_struct(self.decoder, "", fields, visitor),
        )
    }
}

/// A nil with this number of `Some` around it.
struct Somes<'a, 'de> {
    depth: &'a Depth,
    count: u32,
    of: PhantomData<&'de ()>,
}

impl<'a, 'de> Somes<'a, 'de> {
    fn of(decoder: &'a Decoder<'de>, count: u32) -> Result<Self, Error> {
        let depth = &decoder.depth;
        match count > depth.levels() {
            true => Err(depth.too_deep()),
            false => Ok(Self {
                depth,
                count,
                of: PhantomData,
            }),
        }
    }

    fn inside(self) -> Result<Self, Error> {
        self.depth.look()?;
        Ok(Self {
            count: self.count - 1,
            ..self
        })
    }

    /// For a type that is not an option.
    fn visit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.count {
            0 => visitor.visit_unit(),
            _ => visitor.visit_some(self.inside()?),
        }
    }
}

impl<'de> de::Deserializer<'de> for Somes<'_, 'de> {
    type Error = Error;

    fn is_human_readable(&self) -> bool {
        false
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.visit(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.count {
            0 => visitor.visit_none(),
            _ => visitor.visit_some(self.inside()?),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct seq tuple tuple_struct map
        struct enum identifier ignored_any
    }
}

/// A MessagePack extension, as serde gets it: its type and its bytes.
struct Extension<'de>(i8, &'de [u8]);

impl<'de> de::Deserializer<'de> for Extension<'de> {
    type Error = Error;

    fn is_human_readable(&self) -> bool {
        false
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_seq(ExtensionParts {
            kind: Some(self.0),
            content: Some(self.1),
        })
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct newtype_struct seq
        tuple tuple_struct map struct enum identifier ignored_any
    }
}

struct ExtensionParts<'de> {
    kind: Option<i8>,
    content: Option<&'de [u8]>,
}

impl<'de> SeqAccess<'de> for ExtensionParts<'de> {
    type Error = Error;

    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Error> {
        if let Some(kind) = self.kind.take() {
            return seed.deserialize(I8Deserializer::<Error>::new(kind)).map(Some);
        }
        match self.content.take() {
            Some(content) => seed.deserialize(BorrowedBytesDeserializer::<Error>::new(content)).map(Some),
            None => Ok(None),
        }
    }
}
