//! Layers of settings against a model: a tree of tables, in which a later layer replaces an earlier one key by key.

use proptest::prelude::*;
use reslot::config::Layers;
use serde_json::{Map, Value, json};
use std::fs;

const KEYS: [&str; 5] = ["host", "port", "most_used", "a", "b2"];

fn leaves() -> impl Strategy<Value = Value> {
    prop_oneof![
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (-1000i32..1000).prop_map(|eighths| json!(f64::from(eighths) / 8.0 + 0.0625)),
        "[a-z \"\\\\\n.0-9=]{0,12}".prop_map(Value::from),
        prop::collection::vec(any::<i32>(), 0..3).prop_map(Value::from),
    ]
}

fn tables() -> impl Strategy<Value = Map<String, Value>> {
    let table = |of: BoxedStrategy<Value>| {
        let entries = prop::collection::vec((prop::sample::select(&KEYS[..]), of), 0..4);
        entries.prop_map(|entries| {
            entries
                .into_iter()
                .map(|(key, value)| (key.to_owned(), value))
                .collect::<Map<_, _>>()
        })
    };
    let inner = table(leaves().boxed()).prop_map(Value::Object);
    let middle = table(prop_oneof![2 => leaves(), 1 => inner].boxed()).prop_map(Value::Object);
    table(prop_oneof![1 => leaves(), 2 => middle].boxed())
}

#[derive(Debug, Clone)]
enum Layer {
    Json(Map<String, Value>),
    Toml(Map<String, Value>),
    MissingFile,
}

fn files() -> impl Strategy<Value = Vec<Layer>> {
    let layer = prop_oneof![
        2 => tables().prop_map(Layer::Json),
        2 => tables().prop_map(Layer::Toml),
        1 => Just(Layer::MissingFile),
    ];
    prop::collection::vec(layer, 0..4)
}

/// Names and values of variables, without the prefix.
fn variables() -> impl Strategy<Value = Vec<(Vec<&'static str>, String)>> {
    let path = prop::collection::vec(prop::sample::select(&KEYS[..]), 1..4);
    let value = prop_oneof![
        any::<bool>().prop_map(|value| value.to_string()),
        any::<i64>().prop_map(|value| value.to_string()),
        (-1000i32..1000).prop_map(|eighths| (f64::from(eighths) / 8.0 + 0.0625).to_string()),
        "[a-z]{3} [a-z0-9.]{0,6}",
    ];
    // Variables of which one is inside of the other have no order: one process cannot know which comes first.
    prop::collection::vec((path, value), 0..4).prop_filter("no variable lies inside of another", |all| {
        let apart = |(one, other): (&Vec<_>, &Vec<_>)| !one.starts_with(other) && !other.starts_with(one);
        all.iter()
            .enumerate()
            .all(|(at, (one, _))| all[at + 1..].iter().all(|(other, _)| apart((one, other))))
    })
}

/// The model.
fn merge(into: &mut Map<String, Value>, later: Map<String, Value>) {
    for (key, value) in later {
        match (into.get_mut(&key), value) {
            (Some(Value::Object(before)), Value::Object(value)) => merge(before, value),
            (_, value) => drop(into.insert(key, value)),
        }
    }
}

/// A variable as a layer of its own.
fn nested(path: &[&str], value: &str) -> Map<String, Value> {
    let typed = || {
        let boolean = value.parse::<bool>().ok().map(Value::from);
        let whole = || value.parse::<i64>().ok().map(Value::from);
        let float = || value.parse::<f64>().ok().map(Value::from);
        boolean.or_else(whole).or_else(float).unwrap_or_else(|| value.into())
    };
    let (first, rest) = path.split_first().expect("a name");
    let inside = if rest.is_empty() {
        typed()
    } else {
        Value::Object(nested(rest, value))
    };
    Map::from_iter([((*first).to_owned(), inside)])
}

fn toml(value: &Value) -> String {
    match value {
        Value::Object(table) => {
            let entries = table.iter().map(|(key, value)| format!("{key} = {}", toml(value)));
            format!("{{{}}}", entries.collect::<Vec<_>>().join(", "))
        }
        // A text of JSON is one of TOML, but for some escapes that do not occur here.
        other => other.to_string(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2 * ProptestConfig::default().cases, ..ProptestConfig::default() })]

    #[test]
    fn later_layers_replace_earlier_ones_key_by_key(
        defaults in prop::collection::vec(tables(), 0..3),
        files in files(),
        variables in variables(),
    ) {
        let folder = tempfile::tempdir().unwrap();
        let (mut model, mut layers) = (Map::new(), Layers::new());
        for table in defaults {
            layers = layers.defaults(&table).unwrap();
            merge(&mut model, table);
        }
        // In this order they are added; what counts is that the environment is last.
        if !variables.is_empty() {
            let named = variables.iter().map(|(path, value)| {
                (format!("FUZZ__{}", path.join("__").to_uppercase()), value.clone())
            });
            layers = layers.variables("FUZZ", named.collect::<Vec<_>>());
        }
        for (at, file) in files.into_iter().enumerate() {
            let (name, text, table) = match file {
                Layer::Json(table) => ("json", Some(Value::from(table.clone()).to_string()), table),
                Layer::Toml(table) => {
                    let lines = table.iter().map(|(key, value)| format!("{key} = {}\n", toml(value)));
                    ("toml", Some(lines.collect::<String>()), table)
                }
                Layer::MissingFile => ("toml", None, Map::new()),
            };
            let path = folder.path().join(format!("{at}.{name}"));
            if let Some(text) = text {
                fs::write(&path, text).unwrap();
            }
            layers = layers.file(path);
            merge(&mut model, table);
        }
        for (path, value) in &variables {
            merge(&mut model, nested(path, value));
        }
        let read: Value = layers.read().unwrap();
        prop_assert_eq!(read, Value::from(model));
    }
}

/// A list of that length would take the memory of the machine. (Found by reading, then kept as regressions of `settings`.)
#[test]
fn key_with_a_large_index_is_refused_by_name() {
    for index in [
        "99999999",
        "-99999999999999",
        "9223372036854775807",
        "99999999999999999999999999",
        " 0010000",
    ] {
        let key = format!("list[{index}]");
        let refused = Layers::new()
            .variables("FUZZ", [(format!("FUZZ__{key}"), "1")])
            .read::<Value>();
        let message = refused.unwrap_err().to_string();
        assert!(message.contains("an index of more than 4 digits"), "{message}");
    }
    let read: Value = Layers::new().variables("FUZZ", [("FUZZ__LIST[2]", "1")]).read().unwrap();
    assert_eq!(read, json!({"list": [null, null, 1]}));
}
