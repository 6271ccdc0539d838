//! Values that came from an image, as `tracing` takes them.

use super::places::Place;
use reslot_plugin_api::__private::{LogRecord, LogValue, ValueKind};
use std::fmt::Write;
use tracing::{
    Value,
    field::{DisplayValue, Field, ValueSet, display},
};

/// How many fields a place may have: those of the plugin, the slot and the generation.
const MOST: usize = 48;

/// Values, and whose they are.
pub(super) struct Given<'a> {
    values: &'a [LogValue<'a>],
    /// The record that they are part of.
    record: Option<&'a LogRecord<'a>>,
}

impl<'a> From<&'a LogRecord<'a>> for Given<'a> {
    fn from(record: &'a LogRecord<'a>) -> Self {
        Self {
            values: record.values.as_slice(),
            record: Some(record),
        }
    }
}

impl<'a> From<&'a [LogValue<'a>]> for Given<'a> {
    fn from(values: &'a [LogValue<'a>]) -> Self {
        Self { values, record: None }
    }
}

enum Ours<'a> {
    Small(i64),
    Large(u64),
    Signed(i128),
    Unsigned(u128),
    Bool(bool),
    Float(f64),
    Text(&'a str),
    Shown(DisplayValue<&'a str>),
}

impl<'a> From<&'a LogValue<'a>> for Ours<'a> {
    fn from(value: &'a LogValue<'a>) -> Self {
        let bits = u128::from(value.high) << 64 | u128::from(value.low);
        match value.kind {
            ValueKind::Signed => {
                let number = bits.cast_signed();
                i64::try_from(number).map_or(Self::Signed(number), Self::Small)
            }
            ValueKind::Unsigned => u64::try_from(bits).map_or(Self::Unsigned(bits), Self::Large),
            ValueKind::Bool => Self::Bool(value.low != 0),
            ValueKind::Float => Self::Float(f64::from_bits(value.low)),
            ValueKind::Text => Self::Text(value.text.as_str()),
            ValueKind::Shown => Self::Shown(display(value.text.as_str())),
        }
    }
}

impl Ours<'_> {
    fn as_value(&self) -> &dyn Value {
        match self {
            Self::Small(number) => number,
            Self::Large(number) => number,
            Self::Signed(number) => number,
            Self::Unsigned(number) => number,
            Self::Bool(yes) => yes,
            Self::Float(number) => number,
            Self::Text(text) => text,
            Self::Shown(text) => text,
        }
    }

    fn write(&self, into: &mut String) {
        let _ = match self {
            Self::Small(number) => write!(into, "{number}"),
            Self::Large(number) => write!(into, "{number}"),
            Self::Signed(number) => write!(into, "{number}"),
            Self::Unsigned(number) => write!(into, "{number}"),
            Self::Bool(yes) => write!(into, "{yes}"),
            Self::Float(number) => write!(into, "{number}"),
            Self::Text(text) => write!(into, "{text:?}"),
            Self::Shown(text) => write!(into, "{text}"),
        };
    }
}

/// Calls `then` with the values, and with who speaks, if that is to be told.
pub(super) fn with<R>(
    place: &'static Place,
    given: Given<'_>,
    speaker: Option<(&str, u64)>,
    then: impl FnOnce(&ValueSet<'_>) -> R,
) -> R {
    if place.is_shared {
        return with_shared(place, &given, speaker, then);
    }
    // The last two are the host's own.
    let plugins = place.fields.len() - 2;
    let known = given.values.iter().filter(|value| (value.field as usize) < plugins);
    let values: Vec<(usize, Ours<'_>)> = known.map(|value| (value.field as usize, value.into())).collect();
    let values = values.iter().map(|(field, value)| (*field, value.as_value()));
    lend(place, values, speaker, then)
}

/// All that a shared place can tell is what its fields are called.
fn with_shared<R>(
    place: &'static Place,
    given: &Given<'_>,
    speaker: Option<(&str, u64)>,
    then: impl FnOnce(&ValueSet<'_>) -> R,
) -> R {
    let names: &[_] = given.record.map_or(&[], |record| record.fields.as_slice());
    let (mut message, mut fields) = (None, String::new());
    for value in given.values {
        let (name, value) = (names.get(value.field as usize), Ours::from(value));
        match name.map(|name| name.as_str()) {
            Some("message") => message = Some(value),
            name => {
                let _ = write!(fields, "{}{}=", if fields.is_empty() { "" } else { " " }, name.unwrap_or("_"));
                value.write(&mut fields);
            }
        }
    }
    let (fields, target) = (display(fields), given.record.map(|record| record.target.as_str()));
    let values = [
        message.as_ref().map(Ours::as_value),
        Some(&fields as &dyn Value),
        target.as_ref().map(|target| target as &dyn Value),
    ];
    let values = values.into_iter().enumerate();
    lend(
        place,
        values.filter_map(|(field, value)| Some((field, value?))),
        speaker,
        then,
    )
}

fn lend<'a, R>(
    place: &'static Place,
    values: impl Iterator<Item = (usize, &'a dyn Value)>,
    speaker: Option<(&'a str, u64)>,
    then: impl FnOnce(&ValueSet<'_>) -> R,
) -> R {
    let begin = place.fields.len() - 2;
    let own = speaker
        .as_ref()
        .map(|(slot, generation)| [slot as &dyn Value, generation as &dyn Value]);
    // What has no value stands there, too: a place has two fields at least.
    let mut all: [(&Field, Option<&dyn Value>); MOST] = [(&place.fields[begin], None); MOST];
    let mut rooms = all.iter_mut();
    // As many as there is room for: an image tells of 46 at most.
    for (room, (field, value)) in rooms.by_ref().take(MOST - 2).zip(values) {
        *room = (&place.fields[field], Some(value));
    }
    for (at, (room, value)) in rooms.zip(own.into_iter().flatten()).enumerate() {
        *room = (&place.fields[begin + at], Some(value));
    }
    then(&place.metadata.fields().value_set(&all))
}
