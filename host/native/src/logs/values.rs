//! Converts the values of an image's log records to values of `tracing`.

use super::callsites::LogCallsite;
use reslot_plugin_api::__private::{LogRecord, LogValue, ValueKind};
use std::fmt::Write;
use tracing::{
    Value,
    field::{DisplayValue, Field, ValueSet, display},
};

/// How many fields a callsite may have: those of the plugin, the slot and the generation.
const MAX_FIELDS: usize = 48;

/// The values of a record, or of a later `record` on a span.
pub(super) struct RecordValues<'a> {
    values: &'a [LogValue<'a>],
    /// None for values that are recorded later.
    record: Option<&'a LogRecord<'a>>,
}

impl<'a> From<&'a LogRecord<'a>> for RecordValues<'a> {
    fn from(record: &'a LogRecord<'a>) -> Self {
        Self {
            values: record.values.as_slice(),
            record: Some(record),
        }
    }
}

impl<'a> From<&'a [LogValue<'a>]> for RecordValues<'a> {
    fn from(values: &'a [LogValue<'a>]) -> Self {
        Self { values, record: None }
    }
}

/// A value, with the type that `tracing` shows to the subscriber.
enum HostValue<'a> {
    Small(i64),
    Large(u64),
    Signed(i128),
    Unsigned(u128),
    Bool(bool),
    Float(f64),
    Text(&'a str),
    Shown(DisplayValue<&'a str>),
}

impl<'a> From<&'a LogValue<'a>> for HostValue<'a> {
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

impl HostValue<'_> {
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

/// Calls `then` with the values, and with the slot and the generation, if `origin` has them.
pub(super) fn with<R>(
    callsite: &'static LogCallsite,
    record: RecordValues<'_>,
    origin: Option<(&str, u64)>,
    then: impl FnOnce(&ValueSet<'_>) -> R,
) -> R {
    if callsite.is_shared {
        return with_shared(callsite, &record, origin, then);
    }
    // The last two fields are the slot and the generation.
    let plugins = callsite.fields.len() - 2;
    let known = record.values.iter().filter(|value| (value.field as usize) < plugins);
    let values: Vec<(usize, HostValue<'_>)> = known.map(|value| (value.field as usize, value.into())).collect();
    let values = values.iter().map(|(field, value)| (*field, value.as_value()));
    lend(callsite, values, origin, then)
}

/// A shared callsite has no fields for the plugin's values, so they are written as text, with their names.
fn with_shared<R>(
    callsite: &'static LogCallsite,
    record: &RecordValues<'_>,
    origin: Option<(&str, u64)>,
    then: impl FnOnce(&ValueSet<'_>) -> R,
) -> R {
    let names: &[_] = record.record.map_or(&[], |record| record.fields.as_slice());
    let (mut message, mut fields) = (None, String::new());
    for value in record.values {
        let (name, value) = (names.get(value.field as usize), HostValue::from(value));
        match name.map(|name| name.as_str()) {
            Some("message") => message = Some(value),
            name => {
                let _ = write!(fields, "{}{}=", if fields.is_empty() { "" } else { " " }, name.unwrap_or("_"));
                value.write(&mut fields);
            }
        }
    }
    let (fields, target) = (display(fields), record.record.map(|record| record.target.as_str()));
    let values = [
        message.as_ref().map(HostValue::as_value),
        Some(&fields as &dyn Value),
        target.as_ref().map(|target| target as &dyn Value),
    ];
    let values = values.into_iter().enumerate();
    lend(
        callsite,
        values.filter_map(|(field, value)| Some((field, value?))),
        origin,
        then,
    )
}

fn lend<'a, R>(
    callsite: &'static LogCallsite,
    values: impl Iterator<Item = (usize, &'a dyn Value)>,
    origin: Option<(&'a str, u64)>,
    then: impl FnOnce(&ValueSet<'_>) -> R,
) -> R {
    let begin = callsite.fields.len() - 2;
    let own = origin
        .as_ref()
        .map(|(slot, generation)| [slot as &dyn Value, generation as &dyn Value]);
    // Unused entries are filled with a field without a value; each callsite has at least two fields.
    let mut all: [(&Field, Option<&dyn Value>); MAX_FIELDS] = [(&callsite.fields[begin], None); MAX_FIELDS];
    let mut entries = all.iter_mut();
    // An image sends at most 46 values; more would be cut off here.
    for (entry, (field, value)) in entries.by_ref().take(MAX_FIELDS - 2).zip(values) {
        *entry = (&callsite.fields[field], Some(value));
    }
    for (at, (entry, value)) in entries.zip(own.into_iter().flatten()).enumerate() {
        *entry = (&callsite.fields[begin + at], Some(value));
    }
    then(&callsite.metadata.fields().value_set(&all))
}
