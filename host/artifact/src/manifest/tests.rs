//! Reading manifests, good and bad, and how they look to a person.

use super::*;

const JSON: &str = r#"{"reslot":3,"name":"momentum","version":"0.3.1","api":"0.1.0",
    "toolchain":"rustc 1.95.0 (59807616e 2026-04-14)","target":"x86_64-unknown-linux-gnu","profile":"dev","state":{"schema":3,"oldest":2},"exclusive":true,"uses":["pricer","risk-2"],
    "later":{"unknown":[1,2]},
    "interface":{"name":"Strategy","major":1,"minor":1,"methods":[
      {"name":"on_tick","receiver":"RefMut","since":null,"returns":"Unit","arguments":[
        {"name":"tick","passed":{"Ref":{"name":"Tick","size":16,"align":8,"kind":{"Struct":[
           {"name":"bid","offset":0,"of":{"name":"f64","size":8,"align":8,"kind":"Scalar"}},
           {"name":"side","offset":8,"of":{"name":"Side","size":1,"align":1,"kind":{"Enum":[
              {"name":"Buy","value":0},{"name":"Sell","value":-1}]}}}]}}}},
        {"name":"orders","passed":{"InterfaceMut":{"name":"OrderSink","major":1,"minor":0,"methods":[]}}}]},
      {"name":"label","receiver":"Ref","since":[1,1],"arguments":[],
       "returns":{"Result":[{"Vec":"String"},{"Value":{"name":"[u8; 4]","size":4,"align":1,
          "kind":{"Array":[{"name":"u8","size":1,"align":1,"kind":"Scalar"},4]}}}]}}]}}"#;

#[test]
fn reads_a_manifest_with_padding_and_unknown_fields() {
    let manifest = Manifest::parse(format!("{JSON}\0\0\0").as_bytes()).unwrap();
    assert_eq!(
        (manifest.name.as_str(), manifest.state),
        ("momentum", Some(StateSchema { schema: 3, oldest: 2 }))
    );
    assert_eq!(
        (manifest.exclusive, &manifest.uses[..]),
        (true, &["pricer".to_owned(), "risk-2".to_owned()][..])
    );
    assert_eq!(
        manifest.interface.to_string(),
        "trait Strategy 1.1 {\n    fn on_tick(&mut self, tick: &Tick, orders: &mut dyn OrderSink);\n    \
         #[since(\"1.1\")]\n    fn label(&self) -> Result<Vec<String>, [u8; 4]>;\n}"
    );
    let Shape::Ref(tick) = &manifest.interface.methods[0].arguments[0].passed else {
        panic!("not a reference")
    };
    assert_eq!(
        tick.to_string(),
        "struct Tick: size 16, align 8\n    at   0  bid: f64\n    at   8  side: Side (size 1, align 1)\n        \
         Buy = 0\n        Sell = -1"
    );
    let again = serde_json::to_vec(&manifest).unwrap();
    assert_eq!(Manifest::parse(&again).unwrap(), manifest);
}

#[test]
fn broken_manifest_is_refused_with_the_fault() {
    let refused = |json: &str| Manifest::parse(json.as_bytes()).unwrap_err();
    assert_eq!(refused("\0\0"), ManifestError::Empty);
    assert!(matches!(refused("{nonsense"), ManifestError::NotJson { .. }));
    assert!(matches!(refused(&format!("{JSON}\0{JSON}")), ManifestError::NotJson { .. }));
    assert_eq!(
        refused(r#"{"reslot":4,"other":"form"}"#).to_string(),
        "it is in manifest format 4, this host reads format 3"
    );
    assert!(matches!(
        refused(r#"{"reslot":3,"name":"x"}"#),
        ManifestError::WrongForm { .. }
    ));
    assert!(matches!(
        refused(&JSON.replace("\"momentum\"", "\"../x\"")),
        ManifestError::BadName { .. }
    ));
    assert!(matches!(
        refused(&JSON.replace("\"momentum\"", "\"\"")),
        ManifestError::BadName { .. }
    ));
    assert!(matches!(
        refused(&JSON.replace("risk-2", "../x")),
        ManifestError::BadUse { .. }
    ));
    let schemas = |schema, oldest| {
        let state = format!("{{\"schema\":{schema},\"oldest\":{oldest}}}");
        refused(&JSON.replace("{\"schema\":3,\"oldest\":2}", &state))
    };
    assert_eq!(schemas(3, 4), ManifestError::BadSchema { schema: 3, oldest: 4 });
    assert_eq!(schemas(3, 0), ManifestError::BadSchema { schema: 3, oldest: 0 });
    assert_eq!(schemas(0, 0), ManifestError::BadSchema { schema: 0, oldest: 0 });
    assert!(matches!(
        refused(&JSON.replace("0.3.1", "\\u001b[2J")),
        ManifestError::WrongForm { .. }
    ));
}

/// The JSON reader's message names the word that it did not expect.
#[test]
fn message_of_the_json_reader_has_no_control_characters() {
    let text = JSON.replace("\"RefMut\"", "\"\\u001b[2J\\u0007\"");
    let message = Manifest::parse(text.as_bytes()).unwrap_err().to_string();
    assert!(!message.chars().any(char::is_control), "{message:?}");
    assert!(message.contains("\\u{1b}[2J\\u{7}"), "{message}");
}

/// A host thread may have a small stack: 512 KiB must do for the deepest manifest that is accepted, and for any other.
#[test]
fn deep_nesting_is_an_error_and_no_overflow() {
    let nested = |depth: usize| {
        let returns = format!("{}\"Unit\"{}", "{\"Vec\":".repeat(depth), "}".repeat(depth));
        JSON.replace("\"returns\":\"Unit\"", &format!("\"returns\":{returns}"))
    };
    let check = move || {
        assert!(matches!(
            Manifest::parse(nested(100_000).as_bytes()),
            Err(ManifestError::NotJson { .. })
        ));
        let deepest = (0..200)
            .rev()
            .find_map(|depth| Manifest::parse(nested(depth).as_bytes()).ok())
            .unwrap();
        assert!(deepest.interface.to_string().contains(&"Vec<".repeat(100)));
        let interfaces = r#"{"Interface":{"name":"X","major":1,"minor":0,"methods":[{"name":"m","receiver":"Ref","since":null,
            "arguments":[],"returns":"#;
        let deep = format!("\"returns\":{}", interfaces.repeat(10_000));
        assert!(Manifest::parse(JSON.replace("\"returns\":\"Unit\"", &deep).as_bytes()).is_err());
        let structs = r#"{"name":"X","size":1,"align":1,"kind":{"Struct":[{"name":"f","offset":0,"of":"#;
        let deep = format!("\"returns\":{{\"Value\":{}", structs.repeat(10_000));
        assert!(Manifest::parse(JSON.replace("\"returns\":\"Unit\"", &deep).as_bytes()).is_err());
    };
    std::thread::Builder::new()
        .stack_size(512 * 1024)
        .spawn(check)
        .unwrap()
        .join()
        .unwrap();
}
