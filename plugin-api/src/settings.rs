//! A plugin's configuration as an untyped value, and the rules for names of resources. The host provides both.

use crate::{
    error::PluginError,
    state::{self, Value},
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

/// The configuration of a plugin as [`Plugin::on_config`](crate::Plugin::on_config) gets it: the table of its slot, merged from all
/// layers, empty if there is none.
///
/// ```
/// use reslot_plugin_api::{ConfigValue, PluginError};
///
/// #[derive(serde::Serialize, serde::Deserialize, Debug, PartialEq)]
/// #[serde(deny_unknown_fields)]
/// struct Settings {
///     threshold: f64,
/// }
///
/// let config = ConfigValue::of(Settings { threshold: 0.1 })?;
/// assert_eq!(config.get::<Settings>()?, Settings { threshold: 0.1 });
/// # Ok::<(), PluginError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ConfigValue(Value);

impl Default for ConfigValue {
    fn default() -> Self {
        Self(Value::Map(Vec::new()))
    }
}

impl ConfigValue {
    /// Makes a configuration from `value`, for tests of a plugin.
    ///
    /// # Errors
    /// If it cannot be encoded.
    pub fn of(value: impl Serialize) -> Result<Self, PluginError> {
        Self::read(&state::to_bytes(&value)?)
    }

    /// Decodes the whole configuration as the type `T`. Give the type `#[serde(default)]` if keys may be left out, and
    /// `#[serde(deny_unknown_fields)]` to refuse misspelt keys.
    ///
    /// # Errors
    /// If it does not fit that type. The error names the key, and what was expected.
    pub fn get<T: DeserializeOwned>(&self) -> Result<T, PluginError> {
        state::fit(&self.0).map_err(|error| match error.path() {
            Some(key) => format!("the key `{key}`: {}", error.words()).into(),
            None => error.into(),
        })
    }

    /// Whether the configuration is empty.
    pub fn is_empty(&self) -> bool {
        self.0.as_map().is_some_and(Vec::is_empty)
    }

    /// Encodes it in the form that crosses.
    #[doc(hidden)]
    pub fn to_bytes(&self) -> Result<Vec<u8>, PluginError> {
        Ok(state::to_bytes(&self.0)?)
    }

    pub(crate) fn read(bytes: &[u8]) -> Result<Self, PluginError> {
        Ok(Self(state::decode(bytes)?))
    }
}

/// Whether each of these could be a resource's name: a relative path of plain parts with `/` between them, at most 255 bytes, without
/// `.` and `..`, quotes, backslashes and control characters.
#[doc(hidden)]
pub const fn names_resources(names: &[&str]) -> bool {
    let mut n = 0;
    while n < names.len() {
        if !names_resource(names[n].as_bytes()) {
            return false;
        }
        n += 1;
    }
    true
}

const fn names_resource(name: &[u8]) -> bool {
    if name.len() > 255 {
        return false;
    }
    let (mut i, mut part, mut dots) = (0, 0, 0);
    while i <= name.len() {
        if i == name.len() || name[i] == b'/' {
            // Empty, `.` or `..`.
            if part == 0 || (part == dots && part <= 2) {
                return false;
            }
            (part, dots) = (0, 0);
        } else {
            if name[i] < b' ' || name[i] == 0x7f || name[i] == b'"' || name[i] == b'\\' {
                return false;
            }
            part += 1;
            if name[i] == b'.' {
                dots += 1;
            }
        }
        i += 1;
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_resources_stay_inside() {
        for good in ["one.txt", "levels/one.txt", "a/b/c", "..data", "...", ".hidden"] {
            assert!(names_resources(&[good]), "{good}");
        }
        for bad in [
            "",
            "/etc/passwd",
            "..",
            "a/../b",
            "a//b",
            "a/",
            "./a",
            ".",
            "a\\b",
            "a\"b",
            "a\nb",
        ] {
            assert!(!names_resources(&["fine", bad]), "{bad}");
        }
    }

    #[test]
    fn wrong_type_names_its_key() {
        #[derive(Debug, Deserialize)]
        struct Inner {
            #[allow(dead_code)]
            limit: u32,
        }
        #[derive(Debug, Deserialize)]
        struct Outer {
            #[allow(dead_code)]
            inner: Inner,
        }
        let value = ConfigValue::of(serde_json::json!({ "inner": { "limit": "many" } })).unwrap();
        let error = value.get::<Outer>().unwrap_err().to_string();
        assert!(error.contains("inner.limit") && error.contains("many"), "{error}");
    }
}
