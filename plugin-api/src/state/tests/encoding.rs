//! The encoding itself: what is promised of its bytes, and what it refuses.

use super::{
    super::bounds::{Met, watched},
    *,
};
use serde::{
    Serializer,
    ser::{SerializeMap, SerializeSeq, SerializeStruct},
};

#[track_caller]
fn arrives<T: Serialize + DeserializeOwned + PartialEq + fmt::Debug>(value: T) {
    let bytes = to_bytes(&value).unwrap();
    assert_eq!(decode::<T>(&bytes).unwrap(), value);
    let untouched = StateValue::read(&bytes).unwrap();
    assert_eq!(untouched.decode::<T>().unwrap(), value);
    assert_eq!(to_bytes(&untouched).unwrap(), bytes);
}

#[test]
fn options_in_options_keep_their_number() {
    #[derive(Serialize, Deserialize, Debug, PartialEq)]
    struct Around(Option<Inside>);
    #[derive(Serialize, Deserialize, Debug, PartialEq)]
    struct Inside(());
    for value in [None, Some(None), Some(Some(None)), Some(Some(Some(())))] {
        arrives::<Option<Option<Option<()>>>>(value);
    }
    arrives(Some(Around(None)));
    arrives(Some(Around(Some(Inside(())))));
    arrives(vec![Some(Some(7u8)), Some(None), None]);
    arrives(BTreeMap::from([
        (Some(None), Some(Some(()))),
        (None, Some(None)),
        (Some(Some(1)), None),
    ]));
}

#[test]
fn options_have_the_forms_that_they_had_and_one_more() {
    let bytes = |value: Option<Option<u8>>| to_bytes(&value).unwrap();
    assert_eq!(bytes(None), [0xc0]);
    assert_eq!(bytes(Some(Some(7))), [7]);
    assert_eq!(bytes(Some(None)), [0xd4, 83, 1]);
    assert_eq!(to_bytes(&Some(())).unwrap(), [0xd4, 83, 1]);
    assert_eq!(to_bytes(&Some(Some(Some(())))).unwrap(), [0xd4, 83, 3]);
    // What was handed over before, when this was lost already.
    assert_eq!(decode::<Option<Option<u8>>>(&[0xc0]).unwrap(), None);
}

#[test]
fn as_many_somes_as_there_are_levels() {
    /// A number, in the way of Peano.
    #[derive(Serialize, Deserialize, Debug, PartialEq)]
    struct Number(Option<Box<Number>>);
    let number = |somes| (0..somes).fold(Number(None), |inner, _| Number(Some(Box::new(inner))));
    for somes in [0, 1, 255, 256, 1_000] {
        arrives(number(somes));
    }
    let (answer, met) = within(3, 1 << 20, || to_bytes(&number(4)));
    assert!(answer.is_err() && met == Some(Met::TooDeep), "{answer:?}");
    let (answer, met) = within(3, 1 << 20, || decode::<Number>(&[0xd4, 83, 4]));
    assert!(answer.is_err() && met == Some(Met::TooDeep), "{answer:?}");
}

#[test]
fn the_type_of_the_extension_is_taken() {
    /// An extension as other crates write it.
    struct Extension(i8, &'static [u8]);
    impl Serialize for Extension {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            struct Bytes(&'static [u8]);
            impl Serialize for Bytes {
                fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                    serializer.serialize_bytes(self.0)
                }
            }
            serializer.serialize_newtype_struct("_ExtStruct", &(self.0, Bytes(self.1)))
        }
    }
    for (kind, content) in [
        (-1i8, &b""[..]),
        (5, b"1"),
        (-128, b"sixteen bytes ..."),
        (127, &[7; 300]),
        (0, &[1; 70_000]),
    ] {
        let bytes = to_bytes(&Extension(kind, content)).unwrap();
        assert_eq!(bytes, rmp_serde::to_vec_named(&Extension(kind, content)).unwrap());
        let value = StateValue::read(&bytes).unwrap();
        assert_eq!(value.0, Value::Extension(kind, content.to_owned()));
        assert_eq!(to_bytes(&value).unwrap(), bytes);
    }
    let (refused, met) = watched(|| to_bytes(&(1, [Extension(83, b"1")])));
    assert_eq!(met, Some(Met::NotCarried));
    let words = refused.unwrap_err().to_string();
    assert!(words.contains("`[1][0]`") && words.contains("type 83"), "{words}");
}

#[test]
fn lengths_are_those_that_were_said() {
    struct Says(usize, u8);
    impl Serialize for Says {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            let Self(says, how) = *self;
            match how {
                0 => {
                    let mut list = serializer.serialize_seq(Some(says))?;
                    [1, 2].iter().try_for_each(|part| list.serialize_element(part))?;
                    list.end()
                }
                1 => {
                    let mut map = serializer.serialize_map(Some(says))?;
                    [1, 2].iter().try_for_each(|part| map.serialize_entry(part, part))?;
                    map.end()
                }
                _ => {
                    let mut fields = serializer.serialize_struct("Says", says)?;
                    ["a", "b"].iter().try_for_each(|part| fields.serialize_field(part, part))?;
                    fields.end()
                }
            }
        }
    }
    #[derive(Serialize)]
    struct Holds {
        fine: u8,
        wrong: Says,
    }
    for how in 0..3 {
        assert!(to_bytes(&Says(2, how)).is_ok());
        for says in [0, 1, 3] {
            let (refused, met) = watched(|| {
                to_bytes(&Holds {
                    fine: 1,
                    wrong: Says(says, how),
                })
            });
            assert_eq!(met, Some(Met::NotCarried));
            let words = refused.unwrap_err().to_string();
            assert!(
                words.contains("`wrong`") && words.contains(&format!("{says} parts")) && words.contains("writes 2"),
                "{words}"
            );
        }
    }
}

#[test]
fn errors_say_where() {
    #[derive(Serialize, Deserialize)]
    struct Row<T> {
        cells: Vec<Option<T>>,
    }
    #[derive(Serialize, Deserialize)]
    enum Table<T> {
        Named { rows: BTreeMap<String, Row<T>> },
    }
    let table = |cell| Table::Named {
        rows: BTreeMap::from([(
            "first".to_owned(),
            Row {
                cells: vec![None, Some(cell)],
            },
        )]),
    };
    let bytes = to_bytes(&table("text")).unwrap();
    let words = decode::<Table<u8>>(&bytes).err().unwrap().to_string();
    assert_eq!(
        words,
        "at `Named.rows.first.cells[1]`: invalid type: string \"text\", expected u8"
    );
    struct Silent;
    impl Serialize for Silent {
        fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
            Err(serde::ser::Error::custom("nobody's business"))
        }
    }
    let words = to_bytes(&BTreeMap::from([("deep", vec![(1, Silent)])]))
        .unwrap_err()
        .to_string();
    assert_eq!(words, "at `deep[0][1]`: nobody's business");
}

#[test]
fn numbers_have_their_shortest_form() {
    for value in [
        0,
        1,
        127,
        128,
        255,
        256,
        65_535,
        65_536,
        u64::from(u32::MAX),
        1 << 32,
        u64::MAX,
    ] {
        assert_eq!(to_bytes(&value).unwrap(), rmp_serde::to_vec_named(&value).unwrap());
        arrives(value);
    }
    for value in [
        -1,
        -32,
        -33,
        -128,
        -129,
        -32_768,
        -32_769,
        -(1i64 << 31),
        -(1 << 31) - 1,
        i64::MIN,
    ] {
        assert_eq!(to_bytes(&value).unwrap(), rmp_serde::to_vec_named(&value).unwrap());
        arrives(value);
    }
    for value in [u128::MAX, 1, 0] {
        arrives(value);
        arrives(value as i128);
    }
    for len in [0, 1, 15, 16, 31, 32, 255, 256, 65_535, 65_536] {
        arrives("x".repeat(len));
        arrives(vec![true; len]);
        let map: BTreeMap<usize, ()> = (0..len).map(|key| (key, ())).collect();
        assert_eq!(to_bytes(&map).unwrap(), rmp_serde::to_vec_named(&map).unwrap());
        arrives(map);
    }
}

#[test]
fn other_forms_of_a_number_are_read_as_well() {
    // As other encoders write them, which do not look for the shortest.
    assert_eq!(decode::<u8>(&[0xcf, 0, 0, 0, 0, 0, 0, 0, 7]).unwrap(), 7);
    assert_eq!(decode::<i64>(&[0xd3, 0, 0, 0, 0, 0, 0, 0, 7]).unwrap(), 7);
    assert_eq!(decode::<u128>(&[7]).unwrap(), 7);
    assert_eq!(decode::<f64>(&[0xca, 0x3f, 0x80, 0, 0]).unwrap(), 1.0);
    // Bytes as a list, and a list as bytes.
    assert_eq!(decode::<Vec<u8>>(&[0xc4, 2, 1, 255]).unwrap(), [1, 255]);
}

#[test]
fn skipped_field_may_have_any_type() {
    #[derive(Deserialize)]
    struct Wanted {
        last: u8,
    }
    #[derive(Serialize)]
    struct Written {
        book: Book,
        empty: Option<Option<()>>,
        wide: i128,
        last: u8,
    }
    let bytes = to_bytes(&Written {
        book: book(),
        empty: Some(None),
        wide: -1,
        last: 9,
    });
    assert_eq!(decode::<Wanted>(&bytes.unwrap()).unwrap().last, 9);
    // However deep it is: it is gone past without a stack.
    let deep = [&b"\x82\xa4left"[..], &vec![0x91; 1_000_000], b"\x01\xa4last\x09"].concat();
    assert_eq!(decode::<Wanted>(&deep).unwrap().last, 9);
}
