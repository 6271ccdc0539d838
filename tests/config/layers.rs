//! Layers: which one wins, and the messages for wrong values.

use reslot::{
    Host,
    config::{ConfigError, Configuration, Layers},
};
use serde::{Deserialize, Serialize};
use std::fs;

#[derive(Debug, Serialize, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
struct Desk {
    name: String,
    port: u16,
    limits: Limits,
}

#[derive(Debug, Serialize, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
struct Limits {
    position: u32,
    loss: f64,
}

fn defaults() -> Layers {
    let limits = Limits { position: 1, loss: 0.5 };
    let name = "default".to_owned();
    Layers::new().defaults(&Desk { name, port: 1, limits }).unwrap()
}

fn refused(text: &str) -> ConfigError {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("desk.toml");
    fs::write(&file, text).unwrap();
    let error = defaults().file(&file).read::<Desk>().unwrap_err();
    assert_eq!(error.file(), Some(&*file), "{error}");
    error
}

#[test]
fn later_layers_win_key_by_key() {
    let folder = tempfile::tempdir().unwrap();
    let (first, second) = (folder.path().join("first.toml"), folder.path().join("second.json"));
    fs::write(&first, "port = 2\nname = \"first\"\n[limits]\nposition = 2\n").unwrap();
    fs::write(&second, r#"{"port": 3, "limits": {"loss": 0.25}}"#).unwrap();
    let layers = defaults()
        .file(&first)
        .file(folder.path().join("not-there.toml"))
        .file(&second)
        .variables(
            "DESK",
            [("DESK__PORT", "4"), ("OTHER__NAME", "no"), ("DESK__LIMITS__LOSS", "0.1")],
        );
    let desk: Desk = layers.read().unwrap();
    let limits = Limits { position: 2, loss: 0.1 };
    let name = "first".to_owned();
    assert_eq!(desk, Desk { name, port: 4, limits });
}

#[test]
fn wrong_type_names_file_line_key_and_the_expected_type() {
    let error = refused("name = \"x\"\n\n[limits]\nposition = \"many\"\n");
    assert_eq!(error.key(), Some("limits.position"), "{error}");
    let words = error.to_string();
    assert!(
        words.contains("line 4") && words.contains("\"many\"") && words.contains("integer"),
        "{words}"
    );
}

#[test]
fn unknown_key_is_named_with_the_nearest_known_one() {
    let words = refused("[limits]\nposition = 1\nlos = 0.1\n").to_string();
    assert!(
        words.contains("`los`") && words.contains("did you mean `loss`?") && words.contains("line 3"),
        "{words}"
    );
}

#[test]
fn half_written_file_names_its_line() {
    let error = refused("port = 2\nname = \"ha");
    assert!(matches!(error, ConfigError::Syntax { line: Some(2), .. }), "{error:?}");
}

#[test]
fn wrong_variable_is_reported_as_from_the_environment() {
    let layers = defaults().variables("DESK", [("DESK__PORT", "high")]);
    let words = layers.read::<Desk>().unwrap_err().to_string();
    assert!(words.contains("the environment") && words.contains("`port`"), "{words}");
}

#[test]
fn required_file_that_is_missing_and_names_without_format_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let missing = defaults().required_file(folder.path().join("a.toml")).read::<Desk>();
    assert!(matches!(missing, Err(ConfigError::Missing { .. })), "{missing:?}");
    let nameless = defaults().file(folder.path().join("a.conf")).read::<Desk>();
    assert!(matches!(nameless, Err(ConfigError::Format { .. })), "{nameless:?}");
}

#[test]
fn host_does_not_start_with_settings_that_are_wrong() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("desk.toml");
    for (text, wanted) in [
        ("[host]\nquarantine_cup = 3\n", "did you mean `quarantine_cap`?"),
        ("[host]\nquarantine_cap = \"many\"\n", "host.quarantine_cap"),
        ("[plugin.tuned]\nthreshold = 1\n", "did you mean `plugins`?"),
        ("[plugins]\ntuned = 1\n", "`plugins.tuned` is not a table"),
    ] {
        fs::write(&file, text).unwrap();
        let words = Host::builder()
            .attach(Configuration::of(Layers::new().file(&file)))
            .build()
            .unwrap_err()
            .to_string();
        assert!(words.contains(wanted), "{words}");
    }
}

/// `a.a.a…`, with this many parts.
fn key_of(parts: usize, separator: &str) -> String {
    vec!["a"; parts].join(separator)
}

#[test]
fn key_with_too_many_parts_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("deep.json");
    for parts in [100_000, 65] {
        fs::write(&file, format!(r#"{{ "port": 2, "{}": 1 }}"#, key_of(parts, "."))).unwrap();
        let error = Layers::new().file(&file).read::<serde_json::Value>().unwrap_err();
        assert_eq!(error.file(), Some(&*file), "{error}");
        assert!(
            error.to_string().contains("more than 64 parts") && error.to_string().len() < 300,
            "{error}"
        );
        let variable = format!("DESK__{}", key_of(parts, "__"));
        let error = Layers::new()
            .variables("DESK", [(variable, "1")])
            .read::<serde_json::Value>()
            .unwrap_err();
        assert!(error.to_string().contains("more than 64 parts"), "{error}");
    }
    fs::write(&file, format!(r#"{{ "{}": 1 }}"#, key_of(64, "."))).unwrap();
    let layers = Layers::new()
        .file(&file)
        .variables("DESK", [(format!("DESK__{}", key_of(64, "__")), "1")]);
    assert!(layers.read::<serde_json::Value>().is_ok());
}
