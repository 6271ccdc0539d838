//! What a migration does to a state, and that it does nothing else to it.

mod attributes;
mod bounded;
mod chains;
mod encoding;
mod generated;

use super::*;
use std::collections::BTreeMap;

#[derive(Serialize, Deserialize, Debug, PartialEq, Clone)]
enum Side {
    Buy,
    Both(u8, u8),
    Limit { price: f32 },
}

#[derive(Serialize, Deserialize, Debug, PartialEq, Clone)]
struct Order {
    id: u64,
    side: Side,
}

#[derive(Serialize, Deserialize, Debug, PartialEq, Clone)]
struct Book {
    name: String,
    depth: Option<i64>,
    orders: Vec<Order>,
    by_price: BTreeMap<i32, String>,
    last: Order,
    ratio: f32,
    exact: f64,
}

fn book() -> Book {
    let order = |id, side| Order { id, side };
    Book {
        name: "momentum".to_owned(),
        depth: Some(i64::MIN),
        orders: vec![order(u64::MAX, Side::Buy), order(1, Side::Both(1, 2))],
        by_price: BTreeMap::from([(-1, "below".to_owned()), (70_000, "above".to_owned())]),
        last: order(3, Side::Limit { price: 0.1 }),
        ratio: 0.1,
        exact: 0.1,
    }
}

#[test]
fn untouched_fields_stay_to_the_bit() {
    let encoded = rmp_serde::to_vec_named(&book()).unwrap();
    let state = StateValue::read(&encoded).unwrap();
    assert_eq!(to_bytes(&state).unwrap(), encoded);
    // Also bytes and extensions, which serde's structs seldom have, by the way of a nested value.
    let odd = Value::Map(vec![
        (Value::Negative(-7), Value::Bytes(vec![0, 255])),
        (Value::Bytes(vec![1]), Value::Extension(5, vec![1, 2, 3])),
        (Value::Number(u64::MAX), Value::Single(f32::MIN_POSITIVE)),
        (Value::Nil(3), Value::List(vec![Value::Nil(0), Value::Nil(700)])),
    ]);
    let mut state = StateValue::of(book()).unwrap();
    state.set("odd", StateValue(odd.clone())).unwrap();
    assert_eq!(state.get::<StateValue>("odd").unwrap(), StateValue(odd));
    assert!(state.remove("odd"));
    assert_eq!(state.decode::<Book>().unwrap(), book());
}

#[test]
fn fields_are_read_set_and_removed() {
    let mut state = StateValue::of(book()).unwrap();
    assert_eq!(
        state.fields().collect::<Vec<_>>(),
        ["name", "depth", "orders", "by_price", "last", "ratio", "exact"]
    );
    assert_eq!(state.get::<Vec<Order>>("orders").unwrap(), book().orders);
    state.set("depth", 5).unwrap();
    state.set("added", Side::Buy).unwrap();
    assert_eq!(state.get::<Option<i64>>("depth").unwrap(), Some(5));
    assert_eq!(state.fields().last(), Some("added"));
    assert_eq!(state.take("added"), Some(StateValue::of("Buy").unwrap()));
    assert!(!state.contains("added") && !state.remove("added"));
    state.replace(1u8).unwrap();
    assert_eq!((state.decode::<u8>().unwrap(), state.fields().count()), (1, 0));
}

#[test]
fn a_rename_keeps_the_place_and_harms_nothing() {
    let mut state = StateValue::of(book()).unwrap();
    state.rename("depth", "levels").unwrap();
    assert_eq!(state.fields().nth(1), Some("levels"));
    let before = state.clone();
    let missing = state.rename("depth", "other").unwrap_err().to_string();
    assert!(
        missing.contains("no field `depth`") && missing.contains("`levels`"),
        "{missing}"
    );
    let taken = state.rename("levels", "name").unwrap_err().to_string();
    assert!(taken.contains("`levels`") && taken.contains("`name`"), "{taken}");
    state.rename("levels", "levels").unwrap();
    assert_eq!(state, before);
}

#[test]
fn nested_state_can_be_changed() {
    let mut state = StateValue::of(book()).unwrap();
    state.within("last", |last| last.rename("id", "number")).unwrap();
    assert_eq!(state.get::<StateValue>("last").unwrap().get::<u64>("number").unwrap(), 3);

    let mut orders = state.get::<Vec<StateValue>>("orders").unwrap();
    for (at, order) in orders.iter_mut().enumerate() {
        order.set("queue", at).unwrap();
    }
    state.set("orders", orders).unwrap();
    let queues = state.get::<Vec<StateValue>>("orders").unwrap();
    assert_eq!(queues[1].get::<usize>("queue").unwrap(), 1);
    assert_eq!(queues[1].get::<Side>("side").unwrap(), Side::Both(1, 2));
    assert_eq!(queues[0].get::<u64>("id").unwrap(), u64::MAX);

    let before = state.clone();
    let words = state.within("last", |last| last.rename("id", "x")).unwrap_err().to_string();
    assert!(
        words.contains("in the field `last`") && words.contains("no field `id`"),
        "{words}"
    );
    let words = state.within("first", |_| Ok(())).unwrap_err().to_string();
    assert!(words.contains("no field `first`"), "{words}");
    assert_eq!(state, before, "a change that fails loses nothing");
}

#[test]
fn errors_name_the_field_and_what_is_there() {
    let state = StateValue::of(book()).unwrap();
    let words = |result: Result<u32, PluginError>| result.unwrap_err().to_string();
    let missing = words(state.get("size"));
    assert!(
        missing.contains("no field `size`") && missing.contains("`name`, `depth`"),
        "{missing}"
    );
    let wrong = words(state.get("name"));
    assert!(
        wrong.contains("`name`") && wrong.contains("`u32`") && wrong.contains("the text \"momentum\""),
        "{wrong}"
    );
    let wrong = words(state.decode());
    assert!(wrong.contains("does not fit `u32`"), "{wrong}");
    let list = StateValue::of(vec![1, 2, 3]).unwrap();
    assert!(words(list.get("size")).contains("a list of 3"));
    let set = list.clone().set("size", 1).unwrap_err().to_string();
    assert!(set.contains("`size`") && set.contains("a list of 3"), "{set}");
    let typed = state.get::<Vec<Option<Order>>>("name").unwrap_err().to_string();
    assert!(typed.contains("`Vec<Option<Order>>`"), "{typed}");
}

#[test]
fn damaged_bytes_are_an_error() {
    assert!(StateValue::read(&[]).is_err());
    assert!(StateValue::read(&[0x82, 0xa1]).is_err());
    let words = StateValue::read(&[1, 2, 3]).unwrap_err().to_string();
    assert!(words.contains("2 bytes follow"), "{words}");
}
