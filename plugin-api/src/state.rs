//! A plugin's state between two schemas: an untyped value, which a step of `Plugin::migrate` changes.

mod bounds;
mod decode;
mod encode;
mod error;
mod format;
mod value;

use crate::{
    error::PluginError,
    root::{Buffer, Writer},
};
pub use bounds::MAX_STATE_LEVELS;
pub(crate) use bounds::{Met, within};
pub(crate) use decode::decode;
pub(crate) use encode::encode;
pub(crate) use error::Error;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::{fmt, marker::PhantomData};
pub(crate) use value::Value;

/// The state of a plugin as [`Plugin::migrate`](crate::Plugin::migrate) gets it: an untyped value between two schemas.
///
/// A struct is a set of fields with serde's names. Fields that a step does not change stay the same, to the bit: whole
/// numbers, floats, texts and bytes, and maps with any keys.
///
/// ```
/// use reslot_plugin_api::{PluginError, StateValue};
///
/// /// Schema 2 calls `px` what schema 1 called `price`, and counts ticks.
/// fn migrate(from: u32, to: u32, state: &mut StateValue) -> Result<(), PluginError> {
///     match (from, to) {
///         (1, 2) => {
///             state.rename("price", "px")?;
///             state.set("ticks", 0u64)
///         }
///         (2, 1) => {
///             state.remove("ticks");
///             state.rename("px", "price")
///         }
///         _ => Err(format!("no way from schema {from} to schema {to}").into()),
///     }
/// }
///
/// #[derive(serde::Serialize)]
/// struct First { price: f64 }
/// #[derive(serde::Deserialize, PartialEq, Debug)]
/// struct Second { px: f64, ticks: u64 }
///
/// let mut state = StateValue::of(First { price: 9.5 })?;
/// migrate(1, 2, &mut state)?;
/// assert_eq!(state.decode::<Second>()?, Second { px: 9.5, ticks: 0 });
/// migrate(2, 1, &mut state)?;
/// assert_eq!(state.get::<f64>("price")?, 9.5);
/// # Ok::<(), PluginError>(())
/// ```
///
/// To change nested values, use [`within`](Self::within), or take them out and put them back as `StateValue`s, which serde
/// can read and write: a list of structs is `state.get::<Vec<StateValue>>("orders")`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct StateValue(Value);

impl StateValue {
    /// Makes a state from `value`.
    ///
    /// # Errors
    /// If it cannot be encoded.
    pub fn of(value: impl Serialize) -> Result<Self, PluginError> {
        // It goes through the encoded bytes, so that only one place defines how a struct or an enum is encoded.
        Self::read(&to_bytes(&value)?)
    }

    /// The whole, as a value of the type `T`.
    ///
    /// # Errors
    /// If it does not fit that type; names what there is instead.
    pub fn decode<T: DeserializeOwned>(&self) -> Result<T, PluginError> {
        fit(&self.0).map_err(|error| format!("the state does not fit {}: {error}; {}", wanted::<T>(), There(&self.0)).into())
    }

    /// Replaces the whole state by `value`.
    ///
    /// # Errors
    /// If it cannot be encoded; the state is then as it was.
    pub fn replace(&mut self, value: impl Serialize) -> Result<(), PluginError> {
        *self = Self::of(value)?;
        Ok(())
    }

    /// The names of the fields, in their order. None if the state is something else than a struct or a map by names.
    pub fn fields(&self) -> impl Iterator<Item = &str> {
        let entries = self.0.as_map().map_or(&[][..], Vec::as_slice);
        entries.iter().filter_map(|(key, _)| key.as_text())
    }

    /// Whether there is a field of this name.
    pub fn contains(&self, field: &str) -> bool {
        self.fields().any(|name| name == field)
    }

    /// A field's value.
    ///
    /// # Errors
    /// If there is no such field, or it does not fit the type `T`; names the field, and what there is.
    pub fn get<T: DeserializeOwned>(&self, field: &str) -> Result<T, PluginError> {
        let value = self.find(field).ok_or_else(|| self.no_field(field))?;
        fit(value).map_err(|error| {
            format!(
                "the field `{field}` of the state does not fit {}: {error}; {}",
                wanted::<T>(),
                There(value)
            )
            .into()
        })
    }

    /// Sets a field. If it does not exist, it is added as the last one.
    ///
    /// # Errors
    /// If the value cannot be encoded, or the state has no fields because it is neither a struct nor a map. The state is then as
    /// it was.
    pub fn set(&mut self, field: &str, value: impl Serialize) -> Result<(), PluginError> {
        let Self(value) = Self::of(value).map_err(|error| format!("the field `{field}`: {error}"))?;
        let there = There(&self.0).to_string();
        let Value::Map(entries) = &mut self.0 else {
            return Err(format!("the field `{field}` cannot be set: {there}").into());
        };
        match entries.iter_mut().find(|(key, _)| key.as_text() == Some(field)) {
            Some((_, old)) => *old = value,
            None => entries.push((Value::Text(field.to_owned()), value)),
        }
        Ok(())
    }

    /// Removes a field. True if it existed.
    pub fn remove(&mut self, field: &str) -> bool {
        self.take(field).is_some()
    }

    /// Removes a field and returns its value.
    pub fn take(&mut self, field: &str) -> Option<StateValue> {
        let Value::Map(entries) = &mut self.0 else { return None };
        let at = entries.iter().position(|(key, _)| key.as_text() == Some(field))?;
        Some(Self(entries.remove(at).1))
    }

    /// Renames a field. It keeps its position.
    ///
    /// # Errors
    /// If there is no field `from`, or there is a field `to` already. The state is then as it was.
    pub fn rename(&mut self, from: &str, to: &str) -> Result<(), PluginError> {
        if !self.contains(from) {
            return Err(self.no_field(from));
        }
        if from != to && self.contains(to) {
            return Err(format!("the field `{from}` cannot be called `{to}`: there is a field of that name").into());
        }
        if let Value::Map(entries) = &mut self.0 {
            let entry = entries.iter_mut().find(|(key, _)| key.as_text() == Some(from));
            if let Some((key, _)) = entry {
                *key = Value::Text(to.to_owned());
            }
        }
        Ok(())
    }

    /// Changes a field's nested value in place.
    ///
    /// ```
    /// # use reslot_plugin_api::StateValue;
    /// # #[derive(serde::Serialize)] struct Inner { depth: u32 }
    /// # #[derive(serde::Serialize)] struct Outer { book: Inner }
    /// # let mut state = StateValue::of(Outer { book: Inner { depth: 3 } })?;
    /// state.within("book", |book| book.rename("depth", "levels"))?;
    /// assert_eq!(state.get::<StateValue>("book")?.get::<u32>("levels")?, 3);
    /// # Ok::<(), reslot_plugin_api::PluginError>(())
    /// ```
    ///
    /// # Errors
    /// If there is no such field; and the error of `change`, prefixed by the field's name.
    ///
    /// # Panics
    /// If `change` does. The field is then empty.
    pub fn within<R>(
        &mut self,
        field: &str,
        change: impl FnOnce(&mut StateValue) -> Result<R, PluginError>,
    ) -> Result<R, PluginError> {
        let missing = self.no_field(field);
        let entries = match &mut self.0 {
            Value::Map(entries) => entries.as_mut_slice(),
            _ => &mut [],
        };
        let place = entries.iter_mut().find(|(key, _)| key.as_text() == Some(field));
        let Some((_, value)) = place else { return Err(missing) };
        let mut inner = Self(std::mem::replace(value, Value::Nil(0)));
        let result = change(&mut inner);
        *value = inner.0;
        result.map_err(|error| format!("in the field `{field}`: {error}").into())
    }

    /// Reads an encoded state.
    pub(crate) fn read(bytes: &[u8]) -> Result<Self, PluginError> {
        let (value, following) = decode::decode_first(bytes, PhantomData)?;
        match following.is_empty() {
            true => Ok(Self(value)),
            false => Err(format!("{} bytes follow the state", following.len()).into()),
        }
    }

    /// Encodes the value unchanged.
    pub(crate) fn write(&self, into: &mut Writer<'_>) -> Result<(), PluginError> {
        Ok(encode(&self.0, into)?)
    }

    fn find(&self, field: &str) -> Option<&Value> {
        let entries = self.0.as_map()?;
        entries
            .iter()
            .find(|(key, _)| key.as_text() == Some(field))
            .map(|(_, value)| value)
    }

    fn no_field(&self, field: &str) -> PluginError {
        format!("the state has no field `{field}`: {}", There(&self.0)).into()
    }
}

/// What a value is encoded to.
pub(crate) fn to_bytes<T: Serialize + ?Sized>(value: &T) -> Result<Vec<u8>, Error> {
    let mut buffer = Buffer::with_capacity(0);
    encode(value, &mut Writer::new(buffer.as_abi()))?;
    Ok(buffer.into_vec())
}

/// A state from its encoded bytes, as a migration gets it: for tests of what the host keeps.
#[doc(hidden)]
pub fn read_state(bytes: &[u8]) -> Result<StateValue, PluginError> {
    StateValue::read(bytes)
}

/// The encoded bytes of a value: for tests.
#[doc(hidden)]
pub fn state_bytes<T: Serialize + ?Sized>(value: &T) -> Result<Vec<u8>, PluginError> {
    Ok(to_bytes(value)?)
}

/// A value from encoded bytes, within these bounds of levels and stack as a host sets them: for tests.
#[doc(hidden)]
pub fn decode_state<T: DeserializeOwned>(bytes: &[u8], levels: u32, stack: usize) -> Result<T, PluginError> {
    Ok(within(levels, stack, || decode(bytes)).0?)
}

/// The value, as one of the type `T`.
pub(crate) fn fit<T: DeserializeOwned>(value: &Value) -> Result<T, Error> {
    decode(&to_bytes(value)?)
}

/// A type's name without its paths.
fn wanted<T>() -> String {
    let name = std::any::type_name::<T>();
    let mut words = String::new();
    for (at, part) in name.split("::").enumerate() {
        if at > 0 {
            let path = words
                .rfind(|c: char| !c.is_alphanumeric() && c != '_')
                .map_or(0, |end| end + 1);
            words.truncate(path);
        }
        words.push_str(part);
    }
    format!("`{words}`")
}

/// A short description of a value.
struct There<'a>(&'a Value);

impl fmt::Display for There<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("there is ")?;
        match self.0 {
            Value::Nil(0) => f.write_str("nothing (nil)"),
            Value::Nil(count) => write!(f, "nothing (nil) within {count} `Some`"),
            Value::Bool(value) => write!(f, "the bool {value}"),
            Value::Number(value) => write!(f, "the number {value}"),
            Value::Negative(value) => write!(f, "the number {value}"),
            Value::Single(value) => write!(f, "the number {value:?}"),
            Value::Double(value) => write!(f, "the number {value:?}"),
            Value::Text(text) if text.chars().count() <= 40 => write!(f, "the text {text:?}"),
            Value::Text(text) => write!(f, "a text of {} bytes", text.len()),
            Value::Bytes(bytes) => write!(f, "a string of {} bytes", bytes.len()),
            Value::List(values) => write!(f, "a list of {}", values.len()),
            Value::Extension(kind, _) => write!(f, "a MessagePack extension {kind}"),
            Value::Map(entries) if entries.is_empty() => f.write_str("no field at all"),
            Value::Map(entries) => {
                let names: Vec<_> = entries.iter().filter_map(|(key, _)| key.as_text()).collect();
                match names.len() == entries.len() {
                    true => write!(f, "`{}`", names.join("`, `")),
                    false => write!(f, "a map with {} entries", entries.len()),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
