//! The values of an event or a span, collected in two blocks of memory: one for the values, one for all their texts.

use crate::root::{LogValue, ValueKind};
use abi_stable::std_types::RStr;
use std::fmt::{self, Write};
use tracing_core::field::{Field, Visit};

/// The longest text of one value, in bytes. A longer text is cut, and ends with [`CUT`].
const LONGEST: usize = 16 * 1024;
const CUT: &str = " … (cut)";

/// The values so far.
#[derive(Default)]
pub(super) struct Values {
    values: Vec<Value>,
    texts: String,
}

struct Value {
    field: u32,
    kind: ValueKind,
    low: u64,
    high: u64,
    /// The range of its text in the block of texts.
    text: (usize, usize),
}

impl Values {
    /// The message of a record of `log`, which has no other field.
    pub(super) fn message(&mut self, message: &fmt::Arguments<'_>) {
        self.text(0, ValueKind::Shown, message);
    }

    /// Lends them in the form that crosses.
    pub(super) fn lend<R>(&self, to: impl FnOnce(&[LogValue<'_>]) -> R) -> R {
        let lent = self.values.iter().map(|value| LogValue {
            field: value.field,
            kind: value.kind,
            low: value.low,
            high: value.high,
            text: RStr::from(&self.texts[value.text.0..value.text.1]),
        });
        to(&lent.collect::<Vec<_>>())
    }

    fn number(&mut self, field: &Field, kind: ValueKind, bits: u128) {
        self.values.push(Value {
            field: field.index() as u32,
            kind,
            low: bits as u64,
            high: (bits >> 64) as u64,
            text: (0, 0),
        });
    }

    fn text(&mut self, field: usize, kind: ValueKind, text: impl fmt::Display) {
        let begin = self.texts.len();
        let mut room = LimitedText {
            texts: &mut self.texts,
            end: begin + LONGEST,
            is_cut: false,
        };
        // The error comes from the value's own formatting, or there is no more room. The text until then is used.
        let _ = write!(room, "{text}");
        if room.is_cut {
            self.texts.push_str(CUT);
        }
        self.values.push(Value {
            field: field as u32,
            kind,
            low: 0,
            high: 0,
            text: (begin, self.texts.len()),
        });
    }
}

/// Room for one text.
struct LimitedText<'a> {
    texts: &'a mut String,
    end: usize,
    is_cut: bool,
}

impl Write for LimitedText<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = self.end - self.texts.len();
        if text.len() <= room {
            self.texts.push_str(text);
            return Ok(());
        }
        self.texts.push_str(&text[..text.floor_char_boundary(room)]);
        self.is_cut = true;
        Err(fmt::Error)
    }
}

impl Visit for Values {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.number(field, ValueKind::Float, value.to_bits().into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.record_i128(field, value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.number(field, ValueKind::Unsigned, value.into());
    }

    fn record_i128(&mut self, field: &Field, value: i128) {
        self.number(field, ValueKind::Signed, value.cast_unsigned());
    }

    fn record_u128(&mut self, field: &Field, value: u128) {
        self.number(field, ValueKind::Unsigned, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.number(field, ValueKind::Bool, value.into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.text(field.index(), ValueKind::Text, value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.text(field.index(), ValueKind::Shown, format_args!("{value:?}"));
    }
}
