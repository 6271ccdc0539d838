//! The attributes of serde by which a type is not written field by field. What serde carries comes back as it was; what it does not,
//! because it holds values back in a form of its own, is refused by name.

use super::{super::bounds::Met, *};
use proptest::prelude::*;
use std::{collections::HashMap, net::IpAddr};

#[derive(Serialize, Deserialize, Debug, PartialEq, Clone, Default)]
struct Marker;

#[derive(Serialize, Deserialize, Debug, PartialEq, Clone)]
struct Empty {}

#[derive(Serialize, Deserialize, Debug, PartialEq, Clone)]
struct Wrapped(Option<Option<i64>>);

/// What goes through everything below.
#[derive(Serialize, Deserialize, Debug, PartialEq, Clone)]
struct Leaf {
    nested: Option<Option<u8>>,
    unit: Option<()>,
    wrapped: Option<Wrapped>,
    letter: char,
    signed: i16,
    small: f32,
    text: String,
    #[serde(with = "bytes")]
    bytes: Vec<u8>,
    pair: (i64, Option<bool>),
    keys: BTreeMap<i32, Option<()>>,
    plain: Plain,
    empty: Empty,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    seldom: Option<Option<u64>>,
    #[serde(skip)]
    never: u8,
}

/// All four kinds of a variant.
#[derive(Serialize, Deserialize, Debug, PartialEq, Clone)]
enum Plain {
    Unit,
    New(Option<Option<i8>>),
    Tuple(u8, Option<()>),
    Struct { inside: Option<Wrapped> },
}

mod bytes {
    use serde::{Deserializer, Serializer, de};
    use std::fmt;

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(bytes)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        struct Bytes;
        impl de::Visitor<'_> for Bytes {
            type Value = Vec<u8>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("bytes")
            }
            fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Vec<u8>, E> {
                Ok(bytes.to_owned())
            }
        }
        deserializer.deserialize_byte_buf(Bytes)
    }
}

#[derive(Serialize, Deserialize, Debug, PartialEq, Clone)]
#[serde(tag = "kind")]
enum Tagged {
    Unit,
    New(Leaf),
    Struct { leaf: Leaf, nested: Option<Option<u8>> },
    Marked(Marker),
}

#[derive(Serialize, Deserialize, Debug, PartialEq, Clone)]
#[serde(tag = "kind", content = "content")]
enum Apart {
    Unit,
    New(Option<Option<Leaf>>),
    Nothing(()),
    Tuple(Option<()>, Leaf),
    Struct { leaf: Box<Leaf> },
}

#[derive(Serialize, Deserialize, Debug, PartialEq, Clone)]
#[serde(untagged)]
enum Untagged {
    Number(i64),
    Nested {
        nested: Option<Option<bool>>,
        list: Vec<Option<Untagged>>,
    },
    Leaf(Box<Leaf>),
    Text(String),
    Unit,
}

#[derive(Serialize, Deserialize, Debug, PartialEq, Clone)]
struct Flat {
    before: Option<Option<u8>>,
    wide: u128,
    #[serde(flatten)]
    leaf: Leaf,
    after: Option<()>,
    #[serde(flatten)]
    rest: HashMap<String, Option<Option<i64>>>,
}

/// Not in the one above: serde leaves the fields of such an enum to whatever takes the rest as well.
#[derive(Serialize, Deserialize, Debug, PartialEq, Clone)]
struct FlatEnum {
    before: Option<Option<u8>>,
    #[serde(flatten)]
    tagged: Tagged,
}

#[derive(Serialize, Deserialize, Debug, PartialEq, Clone)]
struct All {
    leaf: Leaf,
    marker: Marker,
    perhaps: Option<Option<Marker>>,
    tagged: Vec<Tagged>,
    apart: Vec<Apart>,
    untagged: Option<Vec<Option<Untagged>>>,
    flat: Vec<Flat>,
    flat_enum: Vec<FlatEnum>,
    renamed: Result<Leaf, Option<Option<()>>>,
}

fn nested<T: fmt::Debug + Clone>(of: impl Strategy<Value = T> + 'static) -> BoxedStrategy<Option<Option<T>>> {
    prop::option::of(prop::option::of(of)).boxed()
}

prop_compose! {
    fn leaves()(
        nested in nested(any::<u8>()),
        unit in prop::option::of(Just(())),
        wrapped in prop::option::of(nested(any::<i64>()).prop_map(Wrapped)),
        letter: char, signed: i16, small in any::<f32>(), text in ".{0,20}",
        bytes: Vec<u8>, pair: (i64, Option<bool>),
        keys in prop::collection::btree_map(any::<i32>(), prop::option::of(Just(())), 0..4),
        (plain, seldom) in (plains(), nested(any::<u64>())),
    ) -> Leaf {
        Leaf { nested, unit, wrapped, letter, signed, small, text, bytes, pair, keys, plain, empty: Empty {}, seldom, never: 0 }
    }
}

fn plains() -> impl Strategy<Value = Plain> {
    prop_oneof![
        Just(Plain::Unit),
        nested(any::<i8>()).prop_map(Plain::New),
        (any::<u8>(), prop::option::of(Just(()))).prop_map(|(number, unit)| Plain::Tuple(number, unit)),
        prop::option::of(nested(any::<i64>()).prop_map(Wrapped)).prop_map(|inside| Plain::Struct { inside }),
    ]
}

fn tagged() -> impl Strategy<Value = Tagged> {
    prop_oneof![
        Just(Tagged::Unit),
        leaves().prop_map(Tagged::New),
        (leaves(), nested(any::<u8>())).prop_map(|(leaf, nested)| Tagged::Struct { leaf, nested }),
        Just(Tagged::Marked(Marker)),
    ]
}

fn apart() -> impl Strategy<Value = Apart> {
    prop_oneof![
        Just(Apart::Unit),
        nested(leaves()).prop_map(Apart::New),
        Just(Apart::Nothing(())),
        (prop::option::of(Just(())), leaves()).prop_map(|(unit, leaf)| Apart::Tuple(unit, leaf)),
        leaves().prop_map(|leaf| Apart::Struct { leaf: Box::new(leaf) }),
    ]
}

fn untagged() -> impl Strategy<Value = Untagged> {
    let leaf = prop_oneof![
        any::<i64>().prop_map(Untagged::Number),
        leaves().prop_map(|leaf| Untagged::Leaf(Box::new(leaf))),
        ".{0,20}".prop_map(Untagged::Text),
        Just(Untagged::Unit),
    ];
    leaf.prop_recursive(3, 8, 3, |inner| {
        (nested(any::<bool>()), prop::collection::vec(prop::option::of(inner), 0..3))
            .prop_map(|(nested, list)| Untagged::Nested { nested, list })
    })
}

prop_compose! {
    fn flats()(
        before in nested(any::<u8>()), wide: u128, leaf in leaves(),
        after in prop::option::of(Just(())),
        rest in prop::collection::hash_map("[A-Z]{1,4}", nested(any::<i64>()), 0..4),
    ) -> Flat {
        Flat { before, wide, leaf, after, rest }
    }
}

prop_compose! {
    fn everything()(
        leaf in leaves(),
        perhaps in nested(Just(Marker)),
        tagged in prop::collection::vec(tagged(), 0..3),
        apart in prop::collection::vec(apart(), 0..3),
        untagged in prop::option::of(prop::collection::vec(prop::option::of(untagged()), 0..3)),
        flat in prop::collection::vec(flats(), 0..3),
        flat_enum in prop::collection::vec(
            (nested(any::<u8>()), tagged()).prop_map(|(before, tagged)| FlatEnum { before, tagged }),
            0..3,
        ),
        renamed in prop_oneof![leaves().prop_map(Ok), nested(Just(())).prop_map(Err)],
    ) -> All {
        All { leaf, marker: Marker, perhaps, tagged, apart, untagged, flat, flat_enum, renamed }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300.max(ProptestConfig::default().cases), ..ProptestConfig::default() })]

    #[test]
    fn every_value_arrives_unchanged_with_any_attributes(all in everything()) {
        let bytes = to_bytes(&all).unwrap();
        // `NaN` is none of the values here; those that are no numbers go through `generated`.
        prop_assert_eq!(&decode::<All>(&bytes).unwrap(), &all);
        let mut state = StateValue::read(&bytes).unwrap();
        prop_assert_eq!(&state.decode::<All>().unwrap(), &all);
        let flat: StateValue = state.get("flat").unwrap();
        state.set("flat", flat).unwrap();
        let leaf: Leaf = state.get("leaf").unwrap();
        state.set("leaf", leaf).unwrap();
        prop_assert_eq!(&state.decode::<All>().unwrap(), &all);
    }
}

/// What serde holds back before it gives it to its type has no numbers of 128 bits.
#[test]
fn number_of_128_bits_that_serde_holds_back_is_refused_by_name() {
    #[derive(Serialize, Deserialize, Debug)]
    struct Wide {
        amount: u128,
    }
    #[derive(Serialize, Deserialize, Debug)]
    struct Around {
        #[serde(flatten)]
        wide: Wide,
    }
    #[derive(Serialize, Deserialize, Debug)]
    #[serde(tag = "kind")]
    enum Kinds {
        Wide { amount: i128 },
    }
    #[derive(Serialize, Deserialize, Debug)]
    #[serde(untagged)]
    enum Either {
        Wide { amount: u128 },
    }
    #[track_caller]
    fn refused<T: Serialize + DeserializeOwned + fmt::Debug>(value: T, kind: &str) {
        #[derive(Serialize, Deserialize, Debug)]
        struct Holds<T> {
            accounts: Vec<T>,
        }
        let bytes = to_bytes(&Holds { accounts: vec![value] }).unwrap();
        let words = decode::<Holds<T>>(&bytes).unwrap_err().to_string();
        assert!(words.contains("`accounts[0]") && words.contains(kind), "{words}");
        let (answer, met) = within(MAX_STATE_LEVELS, 1 << 20, || decode::<Holds<T>>(&bytes));
        assert!(answer.is_err() && met == Some(Met::NotCarried));
    }
    refused(
        Around {
            wide: Wide { amount: 7 },
        },
        "u128",
    );
    refused(Kinds::Wide { amount: -7 }, "i128");
    refused(Either::Wide { amount: 7 }, "128");
}

/// serde says to what it holds back that it is read by a person, which is not how it was written.
#[test]
fn types_with_another_human_readable_form_are_refused_where_serde_buffers() {
    #[derive(Serialize, Deserialize, Debug, PartialEq)]
    struct Peer {
        address: IpAddr,
    }
    #[derive(Serialize, Deserialize, Debug)]
    struct Around {
        #[serde(flatten)]
        peer: Peer,
    }
    let peer = || Peer {
        address: [127, 0, 0, 1].into(),
    };
    assert_eq!(decode::<Peer>(&to_bytes(&peer()).unwrap()).unwrap(), peer());
    let bytes = to_bytes(&Around { peer: peer() }).unwrap();
    assert!(decode::<Around>(&bytes).is_err());
}
