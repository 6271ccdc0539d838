//! Settings: files and variables, merged, and fitted to types.

use crate::history::in_memory;
use reslot::config::{ConfigError, HostSettings, Layers};
use serde::{Deserialize, de::DeserializeOwned};
use std::{collections::BTreeMap, fs};

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[allow(dead_code, reason = "only whether it fits counts")]
struct Whole {
    host: HostSettings,
    plugins: BTreeMap<String, serde_json::Value>,
    program: Program,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[allow(dead_code, reason = "only whether it fits counts")]
struct Program {
    name: String,
    port: u16,
    ratio: f64,
    list: Vec<i64>,
    nested: Option<Box<Program>>,
    kind: Kind,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Kind {
    #[default]
    Plain,
    Named(#[allow(dead_code, reason = "only whether it fits counts")] String),
}

/// The first byte says which files are JSON. Then follow, each ended by a NUL byte: a file, a second file, and variables as
/// lines `NAME=value`.
pub fn settings(bytes: &[u8]) {
    let Some((kinds, bytes)) = bytes.split_first() else { return };
    let mut parts = bytes.splitn(3, |byte| *byte == 0);
    let folder = in_memory();
    let folder = folder.path();
    let mut layers = Layers::new();
    for (at, name) in ["first", "second"].into_iter().enumerate() {
        let json = kinds >> at & 1 == 1;
        let file = folder.join(format!("{name}.{}", if json { "json" } else { "toml" }));
        if let Some(part) = parts.next() {
            fs::write(&file, part).expect("a file");
        }
        layers = layers.file(file);
    }
    if let Some(variables) = parts.next() {
        let variables = String::from_utf8_lossy(variables).into_owned();
        let variables: Vec<(String, String)> = variables
            .lines()
            .filter_map(|line| line.split_once('='))
            .map(|(name, value)| (format!("FUZZ__{name}"), value.to_owned()))
            .collect();
        layers = layers.variables("FUZZ", variables);
    }
    fit::<serde_json::Value>(&layers);
    fit::<Whole>(&layers);
    fit::<Program>(&layers);
}

fn fit<T: DeserializeOwned>(layers: &Layers) {
    if let Err(error) = layers.read::<T>() {
        assert!(!error.to_string().is_empty());
        if let ConfigError::Wrong { line: Some(line), .. } | ConfigError::Syntax { line: Some(line), .. } = &error {
            assert!(*line > 0, "{error}");
        }
    }
}
