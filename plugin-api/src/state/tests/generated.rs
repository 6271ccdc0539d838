//! Types that nobody wrote, and values of them: each goes through the encoding, through a value of no type, through a step of a
//! migration, and comes back as it was.

use super::{super::decode::decode_first, *};
use proptest::prelude::*;
use serde::{
    Deserializer, Serializer,
    de::{self, DeserializeSeed, EnumAccess, MapAccess, SeqAccess, VariantAccess, Visitor},
    ser::{
        SerializeMap, SerializeSeq, SerializeStruct, SerializeStructVariant, SerializeTuple, SerializeTupleStruct,
        SerializeTupleVariant,
    },
};

const NAMES: [&str; 6] = ["a", "b", "id", "value", "a field with a long name, longer than 31", "größe"];

/// A type that serde can describe.
#[derive(Debug, Clone)]
pub(super) enum Type {
    Unit,
    Bool,
    I8,
    I16,
    I32,
    I64,
    I128,
    U8,
    U16,
    U32,
    U64,
    U128,
    F32,
    F64,
    Char,
    Text,
    Bytes,
    UnitStruct,
    Option(Box<Type>),
    Newtype(Box<Type>),
    List(Box<Type>),
    Tuple(Vec<Type>),
    TupleStruct(Vec<Type>),
    Map(Box<Type>, Box<Type>),
    Struct(Vec<Type>),
    Enum(Vec<Kind>),
}

/// What an enum's variant is.
#[derive(Debug, Clone)]
pub(super) enum Kind {
    Unit,
    Newtype(Type),
    Tuple(Vec<Type>),
    Struct(Vec<Type>),
}

/// A value of such a type. Floats are their bits, so that one that is no number is equal to itself.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Made {
    Unit,
    Bool(bool),
    Signed(i128),
    Unsigned(u128),
    F32(u32),
    F64(u64),
    Char(char),
    Text(String),
    Bytes(Vec<u8>),
    Option(Option<Box<Made>>),
    One(Box<Made>),
    Many(Vec<Made>),
    Pairs(Vec<(Made, Made)>),
    Variant(usize, Box<Made>),
}

fn types() -> impl Strategy<Value = Type> {
    use Type::*;
    let leaf = prop::sample::select(vec![
        Unit, Bool, I8, I16, I32, I64, I128, U8, U16, U32, U64, U128, F32, F64, Char, Text, Bytes, UnitStruct,
    ]);
    leaf.prop_recursive(5, 24, 4, |inner| {
        let boxed = || inner.clone().prop_map(Box::new);
        let several = || prop::collection::vec(inner.clone(), 0..=NAMES.len());
        let kind = prop_oneof![
            Just(Kind::Unit),
            inner.clone().prop_map(Kind::Newtype),
            several().prop_map(Kind::Tuple),
            several().prop_map(Kind::Struct),
        ];
        prop_oneof![
            // More of them than of others: this is what had no form of its own.
            3 => boxed().prop_map(Option),
            2 => boxed().prop_map(Newtype),
            1 => boxed().prop_map(List),
            1 => several().prop_map(Tuple),
            1 => several().prop_map(TupleStruct),
            1 => (boxed(), boxed()).prop_map(|(key, value)| Map(key, value)),
            2 => several().prop_map(Struct),
            2 => prop::collection::vec(kind, 1..=NAMES.len()).prop_map(Enum),
        ]
    })
}

fn values(of: &Type) -> BoxedStrategy<Made> {
    use Type as T;
    match of {
        T::Unit | T::UnitStruct => Just(Made::Unit).boxed(),
        T::Bool => any::<bool>().prop_map(Made::Bool).boxed(),
        T::I8 => any::<i8>().prop_map(|value| Made::Signed(value.into())).boxed(),
        T::I16 => any::<i16>().prop_map(|value| Made::Signed(value.into())).boxed(),
        T::I32 => any::<i32>().prop_map(|value| Made::Signed(value.into())).boxed(),
        T::I64 => any::<i64>().prop_map(|value| Made::Signed(value.into())).boxed(),
        T::I128 => any::<i128>().prop_map(Made::Signed).boxed(),
        T::U8 => any::<u8>().prop_map(|value| Made::Unsigned(value.into())).boxed(),
        T::U16 => any::<u16>().prop_map(|value| Made::Unsigned(value.into())).boxed(),
        T::U32 => any::<u32>().prop_map(|value| Made::Unsigned(value.into())).boxed(),
        T::U64 => any::<u64>().prop_map(|value| Made::Unsigned(value.into())).boxed(),
        T::U128 => any::<u128>().prop_map(Made::Unsigned).boxed(),
        T::F32 => any::<u32>().prop_map(Made::F32).boxed(),
        T::F64 => any::<u64>().prop_map(Made::F64).boxed(),
        T::Char => any::<char>().prop_map(Made::Char).boxed(),
        T::Text => prop_oneof![".{0,40}", ".{300}"].prop_map(Made::Text).boxed(),
        T::Bytes => prop::collection::vec(any::<u8>(), 0..300).prop_map(Made::Bytes).boxed(),
        T::Option(of) => prop::option::of(values(of))
            .prop_map(|some| Made::Option(some.map(Box::new)))
            .boxed(),
        T::Newtype(of) => values(of).prop_map(|value| Made::One(Box::new(value))).boxed(),
        T::List(of) => prop::collection::vec(values(of), 0..20).prop_map(Made::Many).boxed(),
        T::Tuple(of) | T::TupleStruct(of) | T::Struct(of) => each(of),
        T::Map(key, value) => prop::collection::vec((values(key), values(value)), 0..20)
            .prop_map(Made::Pairs)
            .boxed(),
        T::Enum(kinds) => {
            let kinds = kinds.clone();
            let which = 0..kinds.len();
            which
                .prop_flat_map(move |which| {
                    let content = match &kinds[which] {
                        Kind::Unit => Just(Made::Unit).boxed(),
                        Kind::Newtype(of) => values(of),
                        Kind::Tuple(of) | Kind::Struct(of) => each(of),
                    };
                    content.prop_map(move |content| Made::Variant(which, Box::new(content)))
                })
                .boxed()
        }
    }
}

fn each(of: &[Type]) -> BoxedStrategy<Made> {
    of.iter().map(values).collect::<Vec<_>>().prop_map(Made::Many).boxed()
}

pub(super) fn typed() -> impl Strategy<Value = (Type, Made)> {
    types().prop_flat_map(|of| values(&of).prop_map(move |value| (of.clone(), value)))
}

/// A value with its type, as derived code writes it.
pub(super) struct Typed<'a>(pub(super) &'a Type, pub(super) &'a Made);

impl Serialize for Typed<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use Type as T;
        match (self.0, self.1) {
            (T::Unit, Made::Unit) => serializer.serialize_unit(),
            (T::UnitStruct, Made::Unit) => serializer.serialize_unit_struct("Unit"),
            (T::Bool, Made::Bool(value)) => serializer.serialize_bool(*value),
            (T::I8, Made::Signed(value)) => serializer.serialize_i8(*value as i8),
            (T::I16, Made::Signed(value)) => serializer.serialize_i16(*value as i16),
            (T::I32, Made::Signed(value)) => serializer.serialize_i32(*value as i32),
            (T::I64, Made::Signed(value)) => serializer.serialize_i64(*value as i64),
            (T::I128, Made::Signed(value)) => serializer.serialize_i128(*value),
            (T::U8, Made::Unsigned(value)) => serializer.serialize_u8(*value as u8),
            (T::U16, Made::Unsigned(value)) => serializer.serialize_u16(*value as u16),
            (T::U32, Made::Unsigned(value)) => serializer.serialize_u32(*value as u32),
            (T::U64, Made::Unsigned(value)) => serializer.serialize_u64(*value as u64),
            (T::U128, Made::Unsigned(value)) => serializer.serialize_u128(*value),
            (T::F32, Made::F32(bits)) => serializer.serialize_f32(f32::from_bits(*bits)),
            (T::F64, Made::F64(bits)) => serializer.serialize_f64(f64::from_bits(*bits)),
            (T::Char, Made::Char(value)) => serializer.serialize_char(*value),
            (T::Text, Made::Text(text)) => serializer.serialize_str(text),
            (T::Bytes, Made::Bytes(bytes)) => serializer.serialize_bytes(bytes),
            (T::Option(_), Made::Option(None)) => serializer.serialize_none(),
            (T::Option(of), Made::Option(Some(value))) => serializer.serialize_some(&Self(of, value)),
            (T::Newtype(of), Made::One(value)) => serializer.serialize_newtype_struct("Newtype", &Self(of, value)),
            (T::List(of), Made::Many(values)) => {
                // Some do not know how many they have.
                let len = (values.len() % 2 == 0).then_some(values.len());
                let mut list = serializer.serialize_seq(len)?;
                values.iter().try_for_each(|value| list.serialize_element(&Self(of, value)))?;
                list.end()
            }
            (T::Tuple(of), Made::Many(values)) => {
                let mut tuple = serializer.serialize_tuple(values.len())?;
                let mut parts = of.iter().zip(values);
                parts.try_for_each(|(of, value)| tuple.serialize_element(&Self(of, value)))?;
                tuple.end()
            }
            (T::TupleStruct(of), Made::Many(values)) => {
                let mut tuple = serializer.serialize_tuple_struct("Tuple", values.len())?;
                let mut parts = of.iter().zip(values);
                parts.try_for_each(|(of, value)| tuple.serialize_field(&Self(of, value)))?;
                tuple.end()
            }
            (T::Map(of_key, of_value), Made::Pairs(pairs)) => {
                let len = (pairs.len() % 2 == 0).then_some(pairs.len());
                let mut map = serializer.serialize_map(len)?;
                let mut pairs = pairs.iter();
                pairs.try_for_each(|(key, value)| map.serialize_entry(&Self(of_key, key), &Self(of_value, value)))?;
                map.end()
            }
            (T::Struct(of), Made::Many(values)) => {
                let mut fields = serializer.serialize_struct("Struct", values.len())?;
                let mut parts = NAMES.iter().zip(of.iter().zip(values));
                parts.try_for_each(|(name, (of, value))| fields.serialize_field(name, &Self(of, value)))?;
                fields.end()
            }
            (T::Enum(kinds), Made::Variant(which, content)) => {
                let (index, name) = (*which as u32, NAMES[*which]);
                match (&kinds[*which], &**content) {
                    (Kind::Unit, _) => serializer.serialize_unit_variant("Enum", index, name),
                    (Kind::Newtype(of), value) => {
                        serializer.serialize_newtype_variant("Enum", index, name, &Self(of, value))
                    }
                    (Kind::Tuple(of), Made::Many(values)) => {
                        let mut tuple = serializer.serialize_tuple_variant("Enum", index, name, values.len())?;
                        let mut parts = of.iter().zip(values);
                        parts.try_for_each(|(of, value)| tuple.serialize_field(&Self(of, value)))?;
                        tuple.end()
                    }
                    (Kind::Struct(of), Made::Many(values)) => {
                        let mut fields = serializer.serialize_struct_variant("Enum", index, name, values.len())?;
                        let mut parts = NAMES.iter().zip(of.iter().zip(values));
                        parts.try_for_each(|(name, (of, value))| fields.serialize_field(name, &Self(of, value)))?;
                        fields.end()
                    }
                    other => unreachable!("{other:?}"),
                }
            }
            other => unreachable!("{other:?}"),
        }
    }
}

/// Reads a value of a type, as derived code does.
#[derive(Clone, Copy)]
struct Seed<'a>(&'a Type);

impl<'de> DeserializeSeed<'de> for Seed<'_> {
    type Value = Made;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Made, D::Error> {
        use Type as T;
        let signed = |value: i128| Ok(Made::Signed(value));
        let unsigned = |value: u128| Ok(Made::Unsigned(value));
        match self.0 {
            T::Unit => deserializer.deserialize_unit(self),
            T::UnitStruct => deserializer.deserialize_unit_struct("Unit", self),
            T::Bool => bool::deserialize(deserializer).map(Made::Bool),
            T::I8 => signed(i8::deserialize(deserializer)?.into()),
            T::I16 => signed(i16::deserialize(deserializer)?.into()),
            T::I32 => signed(i32::deserialize(deserializer)?.into()),
            T::I64 => signed(i64::deserialize(deserializer)?.into()),
            T::I128 => signed(i128::deserialize(deserializer)?),
            T::U8 => unsigned(u8::deserialize(deserializer)?.into()),
            T::U16 => unsigned(u16::deserialize(deserializer)?.into()),
            T::U32 => unsigned(u32::deserialize(deserializer)?.into()),
            T::U64 => unsigned(u64::deserialize(deserializer)?.into()),
            T::U128 => unsigned(u128::deserialize(deserializer)?),
            T::F32 => f32::deserialize(deserializer).map(|value| Made::F32(value.to_bits())),
            T::F64 => f64::deserialize(deserializer).map(|value| Made::F64(value.to_bits())),
            T::Char => char::deserialize(deserializer).map(Made::Char),
            T::Text => String::deserialize(deserializer).map(Made::Text),
            T::Bytes => deserializer.deserialize_byte_buf(self),
            T::Option(_) => deserializer.deserialize_option(self),
            T::Newtype(_) => deserializer.deserialize_newtype_struct("Newtype", self),
            T::List(_) => deserializer.deserialize_seq(self),
            T::Tuple(of) => deserializer.deserialize_tuple(of.len(), Each(of)),
            T::TupleStruct(of) => deserializer.deserialize_tuple_struct("Tuple", of.len(), Each(of)),
            T::Map(..) => deserializer.deserialize_map(self),
            T::Struct(of) => deserializer.deserialize_struct("Struct", &NAMES[..of.len()], Each(of)),
            T::Enum(kinds) => deserializer.deserialize_enum("Enum", &NAMES[..kinds.len()], self),
        }
    }
}

impl<'de> Visitor<'de> for Seed<'_> {
    type Value = Made;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }

    fn visit_unit<E: de::Error>(self) -> Result<Made, E> {
        match self.0 {
            Type::Unit | Type::UnitStruct => Ok(Made::Unit),
            _ => Err(E::invalid_type(de::Unexpected::Unit, &self)),
        }
    }

    fn visit_none<E>(self) -> Result<Made, E> {
        Ok(Made::Option(None))
    }

    fn visit_some<D: Deserializer<'de>>(self, inside: D) -> Result<Made, D::Error> {
        match self.0 {
            Type::Option(of) => Ok(Made::Option(Some(Box::new(Seed(of).deserialize(inside)?)))),
            _ => Err(de::Error::invalid_type(de::Unexpected::Option, &self)),
        }
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, inside: D) -> Result<Made, D::Error> {
        match self.0 {
            Type::Newtype(of) => Ok(Made::One(Box::new(Seed(of).deserialize(inside)?))),
            _ => Err(de::Error::invalid_type(de::Unexpected::NewtypeStruct, &self)),
        }
    }

    fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Made, E> {
        Ok(Made::Bytes(bytes.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Made, A::Error> {
        let Type::List(of) = self.0 else {
            return Err(de::Error::invalid_type(de::Unexpected::Seq, &self));
        };
        let mut values = Vec::new();
        while let Some(value) = list.next_element_seed(Seed(of))? {
            values.push(value);
        }
        Ok(Made::Many(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Made, A::Error> {
        let Type::Map(key, value) = self.0 else {
            return Err(de::Error::invalid_type(de::Unexpected::Map, &self));
        };
        let mut pairs = Vec::new();
        while let Some(key) = map.next_key_seed(Seed(key))? {
            pairs.push((key, map.next_value_seed(Seed(value))?));
        }
        Ok(Made::Pairs(pairs))
    }

    fn visit_enum<A: EnumAccess<'de>>(self, variant: A) -> Result<Made, A::Error> {
        let Type::Enum(kinds) = self.0 else {
            return Err(de::Error::invalid_type(de::Unexpected::Enum, &self));
        };
        let (name, content): (String, _) = variant.variant()?;
        let unknown = || de::Error::unknown_variant(&name, &NAMES);
        let which = NAMES[..kinds.len()]
            .iter()
            .position(|known| *known == name)
            .ok_or_else(unknown)?;
        let content = match &kinds[which] {
            Kind::Unit => content.unit_variant().map(|()| Made::Unit)?,
            Kind::Newtype(of) => content.newtype_variant_seed(Seed(of))?,
            Kind::Tuple(of) => content.tuple_variant(of.len(), Each(of))?,
            Kind::Struct(of) => content.struct_variant(&NAMES[..of.len()], Each(of))?,
        };
        Ok(Made::Variant(which, Box::new(content)))
    }
}

/// The parts of a tuple, or the fields of a struct, each of its own type.
struct Each<'a>(&'a [Type]);

impl<'de> Visitor<'de> for Each<'_> {
    type Value = Made;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} parts", self.0.len())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut parts: A) -> Result<Made, A::Error> {
        let mut values = Vec::new();
        for of in self.0 {
            let missing = || de::Error::invalid_length(values.len(), &self);
            values.push(parts.next_element_seed(Seed(of))?.ok_or_else(missing)?);
        }
        Ok(Made::Many(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Made, A::Error> {
        let mut values = Vec::new();
        while let Some(name) = fields.next_key::<String>()? {
            // They come in the order in which they were written.
            let unknown = || de::Error::unknown_field(&name, &NAMES);
            let of = self
                .0
                .get(values.len())
                .filter(|_| name == NAMES[values.len()])
                .ok_or_else(unknown)?;
            values.push(fields.next_value_seed(Seed(of))?);
        }
        Ok(Made::Many(values))
    }
}

pub(super) fn read(bytes: &[u8], of: &Type) -> Result<Made, Error> {
    let (value, following) = decode_first(bytes, Seed(of))?;
    assert_eq!(following, b"", "all of it was read");
    Ok(value)
}

/// Whether there is a `Some` around nothing, which had no form of its own.
fn has_empty_some(value: &Made) -> bool {
    fn is_nil(value: &Made) -> bool {
        match value {
            Made::Unit | Made::Option(None) => true,
            Made::Option(Some(inside)) | Made::One(inside) => is_nil(inside),
            _ => false,
        }
    }
    match value {
        // A unit struct is an empty list, so this is more than there are.
        Made::Option(Some(inside)) => is_nil(inside) || has_empty_some(inside),
        Made::One(inside) | Made::Variant(_, inside) => has_empty_some(inside),
        Made::Many(values) => values.iter().any(has_empty_some),
        Made::Pairs(pairs) => pairs.iter().any(|(key, value)| has_empty_some(key) || has_empty_some(value)),
        _ => false,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 8 * ProptestConfig::default().cases, ..ProptestConfig::default() })]

    /// The encoding, a value of no type, a migration that leaves it alone, and one that moves it to and fro.
    #[test]
    fn every_value_of_every_type_arrives_unchanged((of, value) in typed()) {
        let bytes = to_bytes(&Typed(&of, &value)).unwrap();
        prop_assert_eq!(&read(&bytes, &of).unwrap(), &value);

        let untouched = StateValue::read(&bytes).unwrap();
        prop_assert_eq!(&to_bytes(&untouched).unwrap(), &bytes);

        #[derive(Serialize)]
        struct Whole<'a> {
            before: Option<()>,
            held: Typed<'a>,
        }
        let whole = to_bytes(&Whole { before: Some(()), held: Typed(&of, &value) }).unwrap();
        let mut state = StateValue::read(&whole).unwrap();
        let held: StateValue = state.get("held").unwrap();
        state.set("copied", &held).unwrap();
        state.rename("held", "moved").unwrap();
        state.within("moved", |moved| moved.replace(held)).unwrap();
        for field in ["copied", "moved"] {
            let taken = to_bytes(&state.take(field).unwrap()).unwrap();
            prop_assert_eq!(&taken, &bytes);
            prop_assert_eq!(&read(&taken, &of).unwrap(), &value);
        }
        prop_assert_eq!(state.get::<Option<()>>("before").unwrap(), Some(()));
    }

    /// States lie on disks, and come from plugins that were built before.
    #[test]
    fn encodings_have_not_changed((of, value) in typed()) {
        let before = rmp_serde::to_vec_named(&Typed(&of, &value)).unwrap();
        if !has_empty_some(&value) {
            prop_assert_eq!(&to_bytes(&Typed(&of, &value)).unwrap(), &before);
            prop_assert_eq!(&read(&before, &of).unwrap(), &value);
            let read_before = Seed(&of).deserialize(&mut rmp_serde::Deserializer::from_read_ref(&before));
            prop_assert_eq!(&read_before.unwrap(), &value);
        }
    }

    /// Nothing that lies on a disk, or comes from a plugin, takes the host down.
    #[test]
    fn bytes_without_sense_are_an_error_or_a_value(of in types(), bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = decode_first(&bytes, Seed(&of));
        if let Ok(state) = StateValue::read(&bytes) {
            let again = to_bytes(&state).unwrap();
            prop_assert_eq!(&to_bytes(&StateValue::read(&again).unwrap()).unwrap(), &again);
        }
    }

    /// The same where nearly all of it has sense.
    #[test]
    fn damaged_bytes_are_an_error_or_a_value((of, value) in typed(), at: prop::sample::Index, byte: u8, cut: bool) {
        let mut bytes = to_bytes(&Typed(&of, &value)).unwrap();
        let at = at.index(bytes.len());
        match cut {
            true => bytes.truncate(at),
            false => bytes[at] = byte,
        }
        let _ = decode_first(&bytes, Seed(&of));
        let _ = StateValue::read(&bytes);
    }
}
