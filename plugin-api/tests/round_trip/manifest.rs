//! The manifest's JSON says what the interface is.

use crate::{
    growing::Growing,
    shapes::{Book, Shapes},
};
use reslot_plugin_api::{__private::Manifest, Interface, description::Shape, interface};

#[test]
fn manifest_is_json_that_describes_the_interface() {
    const MANIFEST: Manifest = Manifest {
        name: "momentum",
        version: "1.2.3",
        state: Some((7, 2)),
        exclusive: true,
        uses: &["pricer", "risk"],
        resources: &[],
        interface: <dyn Shapes as Interface>::DESCRIPTION,
    };
    static BYTES: [u8; MANIFEST.encoded_len()] = MANIFEST.encode();
    let json: serde_json::Value = serde_json::from_slice(&BYTES).expect("the manifest is JSON");
    assert_eq!(json["reslot"], reslot_plugin_api::MANIFEST_FORMAT);
    assert_eq!(json["name"], "momentum");
    assert_eq!(json["version"], "1.2.3");
    assert_eq!(json["api"], reslot_plugin_api::API_VERSION);
    assert_eq!(json["toolchain"], reslot_plugin_api::TOOLCHAIN);
    assert_eq!(json["target"], reslot_plugin_api::TARGET);
    assert_eq!(json["state"], serde_json::json!({"schema": 7, "oldest": 2}));
    assert_eq!(json["exclusive"], true);
    assert_eq!(json["uses"], serde_json::json!(["pricer", "risk"]));
    let interface = &json["interface"];
    assert_eq!(
        (&interface["name"], &interface["major"], &interface["minor"]),
        (&"Shapes".into(), &1.into(), &0.into())
    );
    let method = |name: &str| {
        let methods = interface["methods"].as_array().expect("a list of methods");
        methods
            .iter()
            .find(|method| method["name"] == name)
            .unwrap_or_else(|| panic!("no method {name}"))
    };
    let scalar = |name: &str, size: usize| serde_json::json!({"name": name, "size": size, "align": size, "kind": "Scalar"});
    assert_eq!(method("nothing")["returns"], "Unit");
    assert_eq!(method("floats")["returns"], serde_json::json!({"Number": scalar("f64", 8)}));
    assert_eq!(method("letter")["returns"], serde_json::json!({"Value": scalar("char", 4)}));
    assert_eq!(method("text")["returns"], "String");
    assert_eq!(method("name")["returns"], "Str");
    assert_eq!(method("prices")["returns"], serde_json::json!({"Slice": scalar("f64", 8)}));
    assert_eq!(method("byte")["receiver"], "Ref");
    assert_eq!(method("change")["receiver"], "RefMut");
    assert_eq!(method("byte")["since"], serde_json::Value::Null);
    let level = serde_json::json!({
        "name": "Level", "size": 16, "align": 8,
        "kind": {"Struct": [
            {"name": "price", "offset": 0, "of": scalar("f64", 8)},
            {"name": "quantity", "offset": 8, "of": scalar("u32", 4)},
        ]},
    });
    let book = serde_json::json!({
        "name": "Book", "size": size_of::<Book>(), "align": 8,
        "kind": {"Struct": [
            {"name": "symbol", "offset": 0,
             "of": {"name": "array", "size": 4, "align": 1, "kind": {"Array": [scalar("u8", 1), 4]}}},
            {"name": "best", "offset": 8, "of": level},
            {"name": "levels", "offset": 24,
             "of": {"name": "array", "size": 48, "align": 8, "kind": {"Array": [level, 3]}}},
            {"name": "side", "offset": 72,
             "of": {"name": "Side", "size": 2, "align": 2, "kind": {"Enum": [
                {"name": "Buy", "value": -3}, {"name": "Sell", "value": 300},
             ]}}},
            {"name": "open", "offset": 74, "of": scalar("bool", 1)},
            {"name": "currency", "offset": 76, "of": scalar("char", 4)},
        ]},
    });
    assert_eq!(
        method("change")["arguments"],
        serde_json::json!([{"name": "book", "passed": {"RefMut": book}}])
    );
    assert_eq!(
        method("outcome")["returns"],
        serde_json::json!({"Result": [{"Option": {"Value": book}}, "String"]})
    );
    assert_eq!(method("feed")["arguments"][0]["passed"]["InterfaceMut"]["name"], "Sink");
    assert_eq!(
        method("count")["arguments"][0]["passed"]["Interface"]["methods"][1]["name"],
        "sent"
    );
}

/// What it is called elsewhere.
type Price = f64;

/// Answers the same number in two ways.
#[interface]
pub trait Quoted {
    /// By its own name.
    fn by_name(&self) -> f64;
    /// By another.
    fn by_alias(&self) -> Price;
}

#[test]
fn number_by_an_alias_differs_from_one_by_its_own_name() {
    let methods = <dyn Quoted as Interface>::DESCRIPTION.methods;
    let [by_name, by_alias] = methods else { panic!("two methods") };
    assert!(matches!(by_name.returns, Shape::Number(of) if of.name == "f64"));
    assert!(matches!(by_alias.returns, Shape::Value(of) if of.name == "f64"));
}

#[test]
fn the_manifest_says_since_when_and_that_there_is_no_state() {
    const MANIFEST: Manifest = Manifest {
        name: "growing",
        version: "0.1.0",
        state: None,
        exclusive: false,
        uses: &[],
        resources: &["levels/one.txt"],
        interface: <dyn Growing as Interface>::DESCRIPTION,
    };
    static BYTES: [u8; MANIFEST.encoded_len()] = MANIFEST.encode();
    let json: serde_json::Value = serde_json::from_slice(&BYTES).expect("the manifest is JSON");
    assert_eq!(json["state"], serde_json::Value::Null);
    assert_eq!(json["exclusive"], false);
    assert_eq!(json["uses"], serde_json::json!([]));
    assert_eq!(json["resources"], serde_json::json!(["levels/one.txt"]));
    assert_eq!(json["interface"]["minor"], 3);
    let methods = json["interface"]["methods"].as_array().expect("a list of methods");
    assert_eq!(methods.len(), 11, "the hidden default bodies are no methods of the interface");
    assert_eq!(methods[4]["since"], serde_json::json!([1, 1]));
    assert_eq!(methods[10]["since"], serde_json::json!([1, 3]));
}
