//! Each rule of the comparison, by the words that a person gets to read.

use super::super::manifest::{Argument, Receiver};
use super::*;

fn scalar(name: &str, size: u64) -> Type {
    Type {
        name: name.into(),
        size,
        align: size,
        kind: Kind::Scalar,
    }
}

fn field(name: &str, offset: u64, of: Type) -> Field {
    Field {
        name: name.into(),
        offset,
        of,
    }
}

fn tick() -> Type {
    let fields = vec![
        field("ts", 0, scalar("u64", 8)),
        field("bid", 8, scalar("f64", 8)),
        field("side", 16, side()),
    ];
    Type {
        name: "Tick".into(),
        size: 24,
        align: 8,
        kind: Kind::Struct(fields),
    }
}

fn side() -> Type {
    let variant = |name: &str, value| Variant {
        name: name.into(),
        value,
    };
    let kind = Kind::Enum(vec![variant("Buy", 0), variant("Sell", 1)]);
    Type {
        name: "Side".into(),
        size: 1,
        align: 1,
        kind,
    }
}

fn method(name: &str, arguments: &[(&str, Shape)], returns: Shape) -> Method {
    let argument = |(name, passed): &(&str, Shape)| Argument {
        name: name.to_string(),
        passed: passed.clone(),
    };
    let arguments = arguments.iter().map(argument).collect();
    Method {
        name: name.into(),
        receiver: Receiver::RefMut,
        arguments,
        returns,
        since: None,
    }
}

fn added(name: &str, minor: u16) -> Method {
    Method {
        since: Some((1, minor)),
        ..method(name, &[], Shape::Unit)
    }
}

fn sink() -> Interface {
    let send = method("send", &[("price", Shape::Value(scalar("f64", 8)))], Shape::Unit);
    Interface {
        name: "OrderSink".into(),
        major: 1,
        minor: 0,
        methods: vec![send],
    }
}

fn strategy() -> Interface {
    let on_tick = method(
        "on_tick",
        &[("tick", Shape::Ref(tick())), ("orders", Shape::InterfaceMut(sink()))],
        Shape::Unit,
    );
    let label = method(
        "label",
        &[],
        Shape::Result(Box::new(Shape::String), Box::new(Shape::Value(side()))),
    );
    Interface {
        name: "Strategy".into(),
        major: 1,
        minor: 3,
        methods: vec![on_tick, label],
    }
}

/// What is said when the plugin's interface is the host's after `change`.
fn said(change: impl FnOnce(&mut Interface)) -> Vec<String> {
    let (host, mut plugin) = (strategy(), strategy());
    change(&mut plugin);
    compare(&host, &plugin)
        .err()
        .unwrap_or_default()
        .iter()
        .map(Difference::to_string)
        .collect()
}

fn tick_of(interface: &mut Interface) -> &mut Type {
    let Shape::Ref(tick) = &mut interface.methods[0].arguments[0].passed else {
        panic!("not a reference")
    };
    tick
}

fn fields_of(interface: &mut Interface) -> &mut Vec<Field> {
    let Kind::Struct(fields) = &mut tick_of(interface).kind else {
        panic!("not a struct")
    };
    fields
}

fn sink_of(interface: &mut Interface) -> &mut Interface {
    let Shape::InterfaceMut(sink) = &mut interface.methods[0].arguments[1].passed else {
        panic!("not an interface")
    };
    sink
}

#[test]
fn equal_interfaces_fit_and_argument_names_do_not_matter() {
    assert_eq!(said(|_| {}), [""; 0]);
    assert_eq!(said(|plugin| plugin.methods[0].arguments[0].name = "t".into()), [""; 0]);
    assert_eq!(said(|plugin| plugin.minor = 0), [""; 0]);
}

#[test]
fn a_changed_field_is_named_with_its_path_and_both_sides() {
    let place = "method `on_tick`, argument `tick`: type `Tick`: ";
    assert_eq!(
        said(|plugin| fields_of(plugin)[1].of = scalar("f32", 4)),
        [format!(
            "{place}field `bid` is f32 at offset 8 in the plugin, f64 at offset 8 in the host"
        )]
    );
    assert_eq!(
        said(|plugin| {
            fields_of(plugin).insert(1, field("ask", 8, scalar("f64", 8)));
            fields_of(plugin)[2].offset = 16;
            fields_of(plugin).pop();
            tick_of(plugin).size = 32;
        }),
        [
            format!("{place}field `bid` is f64 at offset 16 in the plugin, f64 at offset 8 in the host"),
            format!("{place}field `side` is missing in the plugin, the host has Side at offset 16"),
            format!("{place}field `ask` is not in the host, the plugin has f64 at offset 8"),
            format!("{place}has 32 bytes aligned to 8 in the plugin, 24 bytes aligned to 8 in the host"),
        ]
    );
    assert_eq!(
        said(|plugin| fields_of(plugin).swap(0, 1)),
        [format!(
            "{place}the fields stand in the order `bid`, `ts`, `side` in the plugin, `ts`, `bid`, `side` in the host"
        )]
    );
}

#[test]
fn enums_arrays_and_kinds_are_compared_all_the_way_down() {
    let place = "method `on_tick`, argument `tick`: type `Tick`: field `side`: type `Side`: ";
    let variants = |plugin: &mut Interface, change: fn(&mut Vec<Variant>)| {
        let Kind::Enum(variants) = &mut fields_of(plugin)[2].of.kind else {
            panic!("not an enum")
        };
        change(variants);
    };
    assert_eq!(
        said(|plugin| variants(plugin, |variants| variants[1].value = 2)),
        [format!("{place}variant `Sell` is 2 in the plugin, 1 in the host")]
    );
    assert_eq!(
        said(|plugin| variants(plugin, |variants| variants[1].name = "Short".into())),
        [
            format!("{place}variant `Sell` = 1 is missing in the plugin"),
            format!("{place}variant `Short` = 1 is not in the host"),
        ]
    );
    assert_eq!(
        said(|plugin| fields_of(plugin)[2].of.kind = Kind::Struct(vec![])),
        [format!("{place}is a struct in the plugin, an enum in the host")]
    );

    let array = |of: Type, length| Type {
        name: "Block".into(),
        size: 8,
        align: 4,
        kind: Kind::Array(Box::new(of), length),
    };
    let with = |block: Type| Interface {
        methods: vec![method("take", &[("b", Shape::Slice(block))], Shape::Unit)],
        ..sink()
    };
    let found = compare(&with(array(scalar("f32", 4), 2)), &with(array(scalar("u32", 4), 3))).unwrap_err();
    let place = "method `take`, argument `b`: type `Block`: ";
    assert_eq!(
        found[0].to_string(),
        format!("{place}has 3 elements in the plugin, 2 in the host")
    );
    assert_eq!(
        found[1].to_string(),
        format!("{place}elements: is `u32` in the plugin, `f32` in the host")
    );
}

#[test]
fn methods_from_the_start_are_all_there_in_order() {
    assert_eq!(
        said(|plugin| drop(plugin.methods.pop())),
        ["method `label` is missing in the plugin, the host has `fn label(&mut self) -> Result<String, Side>`"]
    );
    assert_eq!(
        said(|plugin| plugin.methods.insert(1, method("reset", &[], Shape::Unit))),
        [
            "method `reset` is not in the host, the plugin has `fn reset(&mut self)`: a method added later stands at the end, \
          with #[since]"
        ]
    );
    assert_eq!(
        said(|plugin| plugin.methods.reverse()),
        ["the methods stand in the order `label`, `on_tick` in the plugin, `on_tick`, `label` in the host"]
    );
    assert_eq!(
        said(|plugin| plugin.methods[1].receiver = Receiver::Ref),
        ["method `label` is `fn label(&self) -> Result<String, Side>` in the plugin, \
          `fn label(&mut self) -> Result<String, Side>` in the host"]
    );
    assert_eq!(
        said(|plugin| plugin.methods[1].since = Some((1, 3))),
        ["method `label` is there since 1.3 in the plugin, from the start in the host"]
    );
    // A type whose name reads like a shape is still not that shape.
    let vec = || Shape::Vec(Box::new(Shape::Value(scalar("u8", 1))));
    let with = |returns| Interface {
        methods: vec![method("bytes", &[], returns)],
        ..sink()
    };
    assert!(compare(&with(vec()), &with(Shape::Value(scalar("Vec<u8>", 1)))).is_err());
    // The same method twice is not the same list.
    let twice = |plugin: &mut Interface| plugin.methods.push(plugin.methods[1].clone());
    assert_eq!(said(twice).len(), 1);
}

#[test]
fn either_side_may_grow_at_the_end() {
    let with = |methods: &[Method]| {
        let mut interface = strategy();
        interface.methods.extend_from_slice(methods);
        interface
    };
    let said = |host: &[Method], plugin: &[Method]| -> Vec<String> {
        compare(&with(host), &with(plugin))
            .err()
            .unwrap_or_default()
            .iter()
            .map(Difference::to_string)
            .collect()
    };
    assert_eq!(said(&[added("a", 1)], &[added("a", 1), added("b", 2)]), [""; 0]);
    assert_eq!(said(&[added("a", 1), added("b", 2)], &[]), [""; 0]);
    assert_eq!(
        said(&[added("a", 1)], &[added("b", 1)]),
        [
            "added method number 1 is `fn b(&mut self)` in the plugin, `fn a(&mut self)` in the host: methods are added at the \
          end only"
        ]
    );
    assert_eq!(
        said(&[added("a", 1)], &[added("a", 2)]),
        ["method `a` is there since 1.2 in the plugin, since 1.1 in the host"]
    );
    let late = method("late", &[], Shape::Unit);
    let found = said(&[added("a", 1)], &[added("a", 1), late]);
    assert_eq!(
        found[0],
        "method `late` stands after a method with #[since] but has none itself, in the plugin: give it one"
    );

    let mut plugin = strategy();
    sink_of(&mut plugin).methods.push(added("cancel", 1));
    assert_eq!(compare(&strategy(), &plugin), Ok(()));
    sink_of(&mut plugin).methods[0].arguments.clear();
    assert_eq!(
        compare(&strategy(), &plugin).unwrap_err()[0].to_string(),
        "method `on_tick`, argument `orders`: interface `OrderSink`: method `send` is `fn send(&mut self)` in the plugin, \
         `fn send(&mut self, price: f64)` in the host"
    );
}

#[test]
fn other_major_version_or_interface_is_refused_with_a_remedy() {
    let rebuild = "rebuild the plugin against the host's interface crate";
    assert_eq!(
        said(|plugin| (plugin.major, plugin.minor) = (2, 0)),
        [format!(
            "plugin was built for Strategy 2.0, this host has 1.3: {rebuild}, or upgrade the host"
        )]
    );
    assert_eq!(
        said(|plugin| plugin.major = 0),
        [format!("plugin was built for Strategy 0.3, this host has 1.3: {rebuild}")]
    );
    assert_eq!(
        said(|plugin| plugin.name = "Pricer".into()),
        ["the plugin implements interface `Pricer`, this host expects `Strategy`"]
    );
}

#[test]
fn every_difference_is_found_in_order() {
    let found = said(|plugin| {
        fields_of(plugin)[0].offset = 4;
        plugin.methods[1].returns = Shape::Unit;
    });
    assert_eq!(found.len(), 2, "{found:#?}");
    assert!(found[0].contains("`ts`") && found[1].contains("`label`"), "{found:#?}");
}

#[test]
fn number_by_an_alias_crosses_otherwise_than_by_its_name() {
    let with = |returns| Interface {
        name: "Feed".to_owned(),
        major: 1,
        minor: 0,
        methods: vec![method("price", &[], returns)],
    };
    let (named, alias) = (Shape::Number(scalar("f64", 8)), Shape::Value(scalar("f64", 8)));
    assert_eq!(compare(&with(named.clone()), &with(named.clone())), Ok(()));
    assert_eq!(compare(&with(alias.clone()), &with(alias.clone())), Ok(()));
    let found = compare(&with(named), &with(alias)).unwrap_err();
    let said = found[0].to_string();
    assert!(
        found.len() == 1 && said.contains("-> f64`") && said.contains("-> f64 /* by an alias */`"),
        "{said}"
    );
}

#[test]
fn another_major_version_says_no_more_than_that() {
    let found = said(|plugin| {
        plugin.major = 2;
        plugin.methods[1].returns = Shape::Unit;
    });
    assert_eq!(found.len(), 1, "{found:#?}");
    assert!(found[0].contains("2.3"), "{found:#?}");
}

#[test]
fn added_method_may_not_take_the_sharing_away() {
    let only_shared = |interface: &mut Interface| {
        interface
            .methods
            .iter_mut()
            .for_each(|method| method.receiver = Receiver::Ref);
    };
    let (mut host, mut plugin) = (strategy(), strategy());
    only_shared(&mut host);
    only_shared(&mut plugin);
    assert_eq!(compare(&host, &plugin), Ok(()));
    let mut added = plugin.methods[0].clone();
    (added.name, added.since, added.receiver) = ("reset".to_owned(), Some((1, 9)), Receiver::RefMut);
    plugin.methods.push(added);
    let found = compare(&host, &plugin).expect_err("such a plugin need not be Sync");
    assert!(
        found[0].to_string().contains("`reset` takes `&mut self` in the plugin"),
        "{found:#?}"
    );
}
