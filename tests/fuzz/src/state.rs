//! Encoded states: read without a type, changed as a migration changes them, and read as types of every shape.

use arbitrary::{Arbitrary, Unstructured};
use reslot_plugin_api::{
    __private::{decode_state, read_state, state_bytes},
    MAX_STATE_LEVELS, StateValue,
};
use serde::{Deserialize, Serialize, de::DeserializeOwned, de::IgnoredAny};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    time::Duration,
};

/// The stack that a read may use.
const STACK: usize = 256 << 10;

#[derive(Debug, Serialize, Deserialize, PartialEq, Clone, Default)]
struct Tree {
    #[serde(default)]
    value: u32,
    #[serde(default)]
    children: Vec<Tree>,
    #[serde(default)]
    next: Option<Box<Tree>>,
}

#[derive(Debug, Serialize, Deserialize, PartialEq, Clone)]
enum Kind {
    Unit,
    New(Option<Option<i8>>),
    Tuple(u8, Option<()>),
    Struct { inside: Vec<Kind> },
}

#[derive(Debug, Serialize, Deserialize, PartialEq, Clone)]
#[serde(tag = "kind")]
enum Tagged {
    One { a: u64 },
    Two(BTreeMap<String, i32>),
}

#[derive(Debug, Serialize, Deserialize, PartialEq, Clone)]
#[serde(untagged)]
enum Untagged {
    Number(i64),
    Text(String),
    List(Vec<Untagged>),
    Map(BTreeMap<String, Untagged>),
}

#[derive(Debug, Serialize, Deserialize, PartialEq, Clone)]
struct Whole {
    a: i128,
    b: u128,
    c: char,
    d: (f32, f64),
    e: [u8; 4],
    f: BTreeMap<i32, Option<()>>,
    g: BTreeSet<String>,
    h: Kind,
    i: Option<Option<bool>>,
    j: Duration,
    k: IpAddr,
    #[serde(flatten)]
    rest: BTreeMap<String, Untagged>,
}

/// The first byte is the number of bytes of a script of changes, which follows; the others are a state.
pub fn state(bytes: &[u8]) {
    let Some((script, bytes)) = bytes.split_first() else { return };
    let Some((script, bytes)) = bytes.split_at_checked(usize::from(*script)) else {
        return;
    };
    if let Ok(state) = read_state(bytes) {
        let mut state = stands(&state);
        change(&mut state, &mut Unstructured::new(script));
        stands(&state);
    }
    let levels = u32::from(script.first().copied().unwrap_or(u8::MAX));
    let levels = if levels < 128 { levels } else { MAX_STATE_LEVELS };
    as_type::<Tree>(bytes, levels);
    as_type::<Kind>(bytes, levels);
    as_type::<Tagged>(bytes, levels);
    as_type::<Untagged>(bytes, levels);
    as_type::<Whole>(bytes, levels);
    as_type::<(u8, i16, u32, i64, bool, (), String)>(bytes, levels);
    as_type::<BTreeMap<u16, Vec<Option<String>>>>(bytes, levels);
    let _ = decode_state::<IgnoredAny>(bytes, levels, STACK);
    let _ = decode_state::<serde_json::Value>(bytes, levels, STACK);
}

/// What was read as a type is written and read again as the same.
fn as_type<T: DeserializeOwned + Serialize>(bytes: &[u8], levels: u32) {
    if let Ok(value) = decode_state::<T>(bytes, levels, STACK) {
        let written = state_bytes(&value).expect("what was read can be written");
        let again: T = decode_state(&written, levels.saturating_add(8), 2 * STACK).expect("what was written can be read");
        // The bytes are compared, because a float that is not a number is not equal to itself. No type here has a map without order.
        assert_eq!(state_bytes(&again).expect("it was written before"), written);
    }
}

/// A state without a type is written and read as the same bytes. Returns what was read.
fn stands(state: &StateValue) -> StateValue {
    let written = state_bytes(state).expect("what was read can be written");
    let again = read_state(&written).expect("what was written can be read");
    assert_eq!(state_bytes(&again).expect("it was written before"), written);
    again
}

#[derive(Debug)]
enum Change {
    Set(u8, i64),
    SetText(u8),
    Remove(u8),
    Take(u8),
    Rename(u8, u8),
    Get(u8),
    Within(u8, u8, u8),
    Replace(u16),
    Move(u8, u8),
}

impl<'a> Arbitrary<'a> for Change {
    fn arbitrary(from: &mut Unstructured<'a>) -> arbitrary::Result<Self> {
        let kind = from.int_in_range(0..=8)?;
        let mut byte = || from.arbitrary::<u8>();
        Ok(match kind {
            0 => Self::Set(byte()?, from.arbitrary()?),
            1 => Self::SetText(byte()?),
            2 => Self::Remove(byte()?),
            3 => Self::Take(byte()?),
            4 => Self::Rename(byte()?, byte()?),
            5 => Self::Get(byte()?),
            6 => Self::Within(byte()?, byte()?, byte()?),
            7 => Self::Replace(from.arbitrary()?),
            _ => Self::Move(byte()?, byte()?),
        })
    }
}

fn change(state: &mut StateValue, script: &mut Unstructured<'_>) {
    while let (false, Ok(change)) = (script.is_empty(), Change::arbitrary(script)) {
        let names: Vec<String> = state.fields().map(str::to_owned).collect();
        let name = |at: u8| match names.get(usize::from(at) % (names.len() + 1)) {
            Some(name) => name.clone(),
            None => format!("new {}", at % 4),
        };
        // An error names the field or what there is; nothing is checked but that the state stays whole.
        match change {
            Change::Set(field, value) => drop(state.set(&name(field), value)),
            Change::SetText(field) => drop(state.set(&name(field), Some(Some("text")))),
            Change::Remove(field) => drop(state.remove(&name(field))),
            Change::Take(field) => drop(state.take(&name(field))),
            Change::Rename(from, to) => {
                let (from, to) = (name(from), name(to));
                let had = (state.contains(&from), state.contains(&to));
                let renamed = state.rename(&from, &to);
                assert_eq!(renamed.is_ok(), had.0 && (from == to || !had.1), "{from:?} to {to:?}");
            }
            Change::Get(field) => {
                let field = name(field);
                let as_it_is = state.get::<StateValue>(&field);
                assert_eq!(as_it_is.is_ok(), state.contains(&field));
                drop(state.get::<Tree>(&field));
                drop(state.get::<String>(&field));
            }
            Change::Within(field, from, to) => drop(state.within(&name(field), |inner| {
                let names: Vec<String> = inner.fields().map(str::to_owned).collect();
                let of = |at: u8| names.get(usize::from(at)).cloned().unwrap_or_default();
                inner.rename(&of(from), &of(to))
            })),
            Change::Replace(value) => {
                if value % 8 == 0 {
                    state.replace(value).expect("a number is a state");
                }
            }
            Change::Move(from, to) => {
                if let Some(taken) = state.take(&name(from)) {
                    let written = state_bytes(&taken).expect("a part of a state");
                    let to = name(to);
                    state.set(&to, taken).expect("it has fields");
                    let back: StateValue = state.get(&to).expect("it was set");
                    assert_eq!(state_bytes(&back).expect("a part of a state"), written);
                }
            }
        }
    }
}
