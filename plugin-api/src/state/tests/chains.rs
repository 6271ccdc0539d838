//! A randomly generated chain of migrations, over values of randomly generated types: up and down again it leaves the state as it was,
//! to the byte, and whatever the steps do not touch arrives whole at each schema.

use super::{
    generated::{Made, Type, Typed, read, typed},
    *,
};
use crate::{
    inside::memory::Allocator,
    plugin::{Context, Health, Loadable, migrate_all},
    settings::ConfigValue,
};
use proptest::prelude::*;
use std::cell::RefCell;

/// One step, which can be undone. Fields have numbers, so that no step takes the name of another's.
#[derive(Debug, Clone, Copy)]
enum Step {
    /// A field gets another name.
    Rename,
    /// There is a new field, which the way back removes.
    Add(i64),
    /// A field is put into a struct of its own.
    Wrap,
    /// A field inside of the wrapped one gets another name.
    RenameInside,
    /// The schema has changed in meaning only.
    Nothing,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        Just(Step::Rename),
        any::<i64>().prop_map(Step::Add),
        Just(Step::Wrap),
        Just(Step::RenameInside),
        Just(Step::Nothing),
    ];
    prop::collection::vec(step, 1..8)
}

thread_local! {
    static CHAIN: RefCell<Vec<Step>> = const { RefCell::new(Vec::new()) };
}

/// The name that the payload has at a schema, and how deep it is wrapped there.
fn place(chain: &[Step], schema: u32) -> (String, usize) {
    let done = &chain[..schema as usize - 1];
    let renamed = done.iter().filter(|step| matches!(step, Step::Rename)).count();
    let wrapped = done.iter().filter(|step| matches!(step, Step::Wrap)).count();
    (format!("payload {renamed}"), wrapped)
}

/// The payload as it lies at a schema, encoded.
fn payload(state: &StateValue, chain: &[Step], schema: u32) -> Vec<u8> {
    let (name, wrapped) = place(chain, schema);
    let mut at: StateValue = state.get(&name).unwrap();
    for _ in 0..wrapped {
        let inside = at.fields().find(|field| field.starts_with("inside")).unwrap().to_owned();
        at = at.get(&inside).unwrap();
    }
    to_bytes(&at).unwrap()
}

#[derive(Default)]
struct Chained;

fn none<T>() -> Result<T, PluginError> {
    Err("no such hook".into())
}

impl Loadable for Chained {
    const NAME: &'static str = "chained";
    const MANIFEST: &'static [u8] = b"";
    const ALLOCATOR: Allocator = Allocator::Own;
    fn init(&mut self, _: &Context<'_>) -> Result<(), PluginError> {
        none()
    }
    fn start(&mut self, _: &Context<'_>) -> Result<(), PluginError> {
        none()
    }
    fn stop(&mut self, _: &Context<'_>) -> Result<(), PluginError> {
        none()
    }
    fn on_config(&mut self, _: &Context<'_>, _: &ConfigValue) -> Result<(), PluginError> {
        none()
    }
    fn check_config(_: &Context<'_>, _: &ConfigValue) -> Result<(), PluginError> {
        none()
    }
    fn on_resource(&mut self, _: &Context<'_>, _: &str, _: &[u8]) -> Result<(), PluginError> {
        none()
    }
    fn health(&self, _: &Context<'_>) -> Health {
        Health::Ok
    }
    fn snapshot(&self, _: &mut Writer<'_>) -> Result<bool, PluginError> {
        none()
    }
    fn restore(&mut self, _: &[u8]) -> Result<(), PluginError> {
        none()
    }

    fn migrate(from: u32, to: u32, state: &mut StateValue) -> Result<(), PluginError> {
        assert_eq!(from.abs_diff(to), 1, "schemas are not skipped");
        let chain = CHAIN.with_borrow(Clone::clone);
        let (older, up) = (from.min(to), to > from);
        let (name, wrapped) = place(&chain, older);
        let new = format!("new {older}");
        match chain[older as usize - 1] {
            Step::Nothing => Ok(()),
            Step::Rename => {
                let renamed = place(&chain, older + 1).0;
                if up {
                    state.rename(&name, &renamed)
                } else {
                    state.rename(&renamed, &name)
                }
            }
            Step::Add(value) if up => state.set(&new, value),
            Step::Add(value) => {
                assert_eq!(state.get::<i64>(&new)?, value);
                assert!(state.remove(&new));
                Ok(())
            }
            Step::Wrap if up => state.within(&name, |inner| {
                let held = inner.clone();
                inner.replace(BTreeMap::from([("inside", held)]))
            }),
            Step::Wrap => state.within(&name, |inner| {
                let field = inner.fields().next().map(str::to_owned).unwrap_or_default();
                let held: StateValue = inner.get(&field)?;
                inner.replace(held)
            }),
            // There is nothing inside yet.
            Step::RenameInside if wrapped == 0 => Ok(()),
            Step::RenameInside => state.within(&name, |inner| {
                let field = inner.fields().next().map(str::to_owned).unwrap_or_default();
                match up {
                    true => inner.rename(&field, &format!("{field} too")),
                    false => inner.rename(&field, field.strip_suffix(" too").unwrap_or(&field)),
                }
            }),
        }
    }
}

fn migrated(from: u32, to: u32, state: &[u8]) -> Vec<u8> {
    let mut buffer = Buffer::with_capacity(0);
    migrate_all::<Chained>(from, to, state, &mut Writer::new(buffer.as_abi())).unwrap();
    buffer.into_vec()
}

#[derive(Serialize)]
struct First<'a> {
    before: Option<()>,
    #[serde(rename = "payload 0")]
    payload: Typed<'a>,
    after: &'a str,
}

proptest! {
    #![proptest_config(ProptestConfig::default())]

    #[test]
    fn chain_leaves_alone_what_it_does_not_touch((of, value) in typed(), chain in steps()) {
        holds(&of, &value, &chain)?;
    }
}

fn holds(of: &Type, value: &Made, chain: &[Step]) -> Result<(), TestCaseError> {
    CHAIN.set(chain.to_vec());
    let last = chain.len() as u32 + 1;
    let first = to_bytes(&First {
        before: Some(()),
        payload: Typed(of, value),
        after: "end",
    })
    .unwrap();
    let expected = to_bytes(&Typed(of, value)).unwrap();

    let mut by_steps = first.clone();
    for schema in 1..last {
        by_steps = migrated(schema, schema + 1, &by_steps);
        let state = StateValue::read(&by_steps).unwrap();
        prop_assert_eq!(&payload(&state, chain, schema + 1), &expected);
        prop_assert_eq!(state.get::<Option<()>>("before").unwrap(), Some(()));
        prop_assert_eq!(state.get::<String>("after").unwrap(), "end");
    }
    let at_once = migrated(1, last, &first);
    prop_assert_eq!(&at_once, &by_steps);
    let last_payload = payload(&StateValue::read(&at_once).unwrap(), chain, last);
    prop_assert_eq!(&read(&last_payload, of).unwrap(), value);
    prop_assert_eq!(migrated(last, 1, &at_once), first);
    Ok(())
}
