//! The hooks of a plugin as the host calls them: through the root, without a host.

use reslot_plugin_api::{
    __private::{Buffer, ContextAbi, Glue, Loadable, RResult, RString, RootRef},
    Context, Health, Plugin, PluginError, StateValue, interface,
};
use serde::{Deserialize, Serialize};

#[interface]
pub trait Positions {
    fn total(&self) -> i64;
}

/// Schema 1 had `position`, schema 2 calls it `held`, schema 3 split it, schema 4 counts besides.
#[derive(Default, Serialize, Deserialize)]
struct Split {
    long: i64,
    short: i64,
    ticks: u64,
    #[serde(skip)]
    total: i64,
}

impl Positions for Split {
    fn total(&self) -> i64 {
        self.total
    }
}

impl Plugin for Split {
    fn init(&mut self, context: &Context<'_>) -> Result<(), PluginError> {
        self.total = self.long - self.short;
        match context.slot() {
            "refuses" => Err("there is no index for it".into()),
            "panics" => panic!("in init"),
            _ => Ok(()),
        }
    }

    fn health(&self, context: &Context<'_>) -> Health {
        match context.slot() {
            "panics" => panic!("in health"),
            _ if self.total < 0 => Health::Critical(format!("short by {} in {}", -self.total, context.slot())),
            _ => Health::Ok,
        }
    }

    fn migrate(from: u32, to: u32, state: &mut StateValue) -> Result<(), PluginError> {
        match (from, to) {
            (1, 2) => state.rename("position", "held"),
            (2, 3) => {
                let held: i64 = state.get("held")?;
                state.remove("held");
                state.set("long", held.max(0))?;
                state.set("short", (-held).max(0))
            }
            (3, 4) => state.set("ticks", 0),
            (4, 3) => {
                state.remove("ticks");
                Ok(())
            }
            (3, 2) => {
                let held = state.get::<i64>("long")? - state.get::<i64>("short")?;
                state.replace(Held { held })
            }
            (2, 1) => state.rename("held", "position"),
            (9, 8) => panic!("there was never a schema 9"),
            _ => Err(format!("nothing is known of a schema {}", from.max(to)).into()),
        }
    }
}

#[derive(Serialize, Deserialize, PartialEq, Debug)]
struct Held {
    held: i64,
}

#[derive(Serialize, Deserialize, PartialEq, Debug)]
struct First {
    position: i64,
}

reslot_plugin_api::export_plugin!(Split: dyn Positions, schema = 4, migrates_from = 1);

/// Implements no hook at all.
#[derive(Default, Serialize, Deserialize)]
struct Plain {
    total: i64,
}

impl Positions for Plain {
    fn total(&self) -> i64 {
        self.total
    }
}

reslot_plugin_api::export_plugin!(Plain: dyn Positions);

#[derive(Default)]
struct Forgetful;

impl Positions for Forgetful {
    fn total(&self) -> i64 {
        0
    }
}

reslot_plugin_api::export_plugin!(Forgetful: dyn Positions, stateless);

/// One instance, as the host has it.
struct Instance {
    root: RootRef,
    data: *mut (),
}

impl Instance {
    fn of<T: Loadable>() -> Self
    where
        dyn Positions: reslot_plugin_api::Implements<T>,
    {
        let root = Glue::<T, dyn Positions>::ROOT;
        // SAFETY: the root is this program's own.
        let data = done(unsafe { root.create()() }).expect("Default does not fail");
        Self { root, data }
    }

    fn with(state: impl Serialize) -> Self {
        let instance = Self::of::<Split>();
        let state = rmp_serde::to_vec_named(&state).expect("it can be encoded");
        // SAFETY: the instance is live, and nobody else's.
        done(unsafe { instance.root.restore()(instance.data, state[..].into()) }).expect("it can be decoded");
        instance
    }

    fn init(&mut self, slot: &str) -> Result<(), String> {
        // SAFETY: as above.
        done(unsafe { self.root.init()(self.data, context(slot)) })
    }

    fn health(&self, slot: &str) -> Result<Health, String> {
        // SAFETY: as above.
        done(unsafe { self.root.health()(self.data, context(slot)) }).map(Into::into)
    }

    fn snapshot(&self) -> Option<Vec<u8>> {
        let mut buffer = Buffer::with_capacity(1);
        // SAFETY: as above.
        let has_state = done(unsafe { self.root.snapshot()(self.data, buffer.as_abi()) }).expect("it can be encoded");
        has_state.then(|| buffer.into_vec())
    }

    fn migrate(&self, from: u32, to: u32, state: impl Serialize) -> Result<Vec<u8>, String> {
        let state = rmp_serde::to_vec_named(&state).expect("it can be encoded");
        let mut buffer = Buffer::with_capacity(0);
        // SAFETY: the root is this program's own; state and buffer live for the call.
        let answer = done(unsafe { self.root.migrate()(from, to, state[..].into(), buffer.as_abi()) });
        let written = buffer.into_vec();
        assert!(answer.is_ok() || written.is_empty(), "what failed half-way left something");
        answer.map(|()| written)
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        // SAFETY: this is the last use of it.
        done(unsafe { self.root.destroy()(self.data) }).expect("dropping does not fail");
    }
}

fn context(slot: &str) -> ContextAbi<'_> {
    ContextAbi {
        slot: slot.into(),
        generation: 1,
    }
}

fn done<T>(answer: RResult<T, RString>) -> Result<T, String> {
    answer.into_result().map_err(|words| words.to_string())
}

/// What a contained panic answers: its words go another way.
const PANICKED: &str = "";

fn read<T: serde::de::DeserializeOwned>(state: &[u8]) -> T {
    rmp_serde::from_slice(state).expect("it is of this form")
}

#[test]
fn a_state_goes_up_the_whole_chain_and_down_again() {
    let split = Instance::of::<Split>();
    let up = split.migrate(1, 4, First { position: -3 }).expect("there are three steps");
    let state: StateValue = read(&up);
    assert_eq!(state.fields().collect::<Vec<_>>(), ["long", "short", "ticks"]);
    assert_eq!(
        (state.get::<i64>("short").ok(), state.get::<i64>("long").ok()),
        (Some(3), Some(0))
    );
    let down = split.migrate(4, 1, state).expect("there are three steps");
    assert_eq!(read::<First>(&down), First { position: -3 });
    let part = split.migrate(1, 2, First { position: 5 }).expect("there is a step");
    assert_eq!(read::<Held>(&part), Held { held: 5 });
}

#[test]
fn a_state_of_the_same_schema_is_copied() {
    let odd = (1, "not of this plugin");
    let same = Instance::of::<Split>().migrate(3, 3, odd).expect("there is nothing to do");
    assert_eq!(same, rmp_serde::to_vec_named(&odd).expect("it can be encoded"));
}

#[test]
fn a_step_that_fails_is_named() {
    let split = Instance::of::<Split>();
    let error = split
        .migrate(2, 4, First { position: 1 })
        .expect_err("schema 2 has no `position`");
    assert!(
        error.contains("schema 2 to 3") && error.contains("no field `held`"),
        "{error}"
    );
    let error = split.migrate(4, 6, Held { held: 1 }).expect_err("there is no schema 5");
    assert!(
        error.contains("schema 4 to 5") && error.contains("nothing is known"),
        "{error}"
    );
    assert_eq!(split.migrate(9, 4, Held { held: 1 }), Err(PANICKED.to_owned()));
    assert!(
        split.migrate(1, 4, First { position: 1 }).is_ok(),
        "the next state is another matter"
    );
}

#[test]
fn derived_parts_are_built_after_the_state_is_there() {
    #[derive(Serialize)]
    struct Handed {
        long: i64,
        short: i64,
        ticks: u64,
    }
    let mut split = Instance::with(Handed {
        long: 1,
        short: 3,
        ticks: 9,
    });
    assert_eq!(split.health("main"), Ok(Health::Ok));
    assert_eq!(split.init("main"), Ok(()));
    assert_eq!(split.health("main"), Ok(Health::Critical("short by 2 in main".to_owned())));
    assert_eq!(split.health("panics"), Err(PANICKED.to_owned()));
    assert_eq!(split.init("refuses"), Err("there is no index for it".to_owned()));
    assert_eq!(split.init("panics"), Err(PANICKED.to_owned()));
    let state: StateValue = read(&split.snapshot().expect("it has a state"));
    assert_eq!(state.get::<u64>("ticks").ok(), Some(9));
    assert!(!state.contains("total"), "what is derived is not handed over");
}

#[test]
fn a_type_without_hooks_has_the_defaults() {
    let mut plain = Instance::of::<Plain>();
    assert_eq!(plain.init("main"), Ok(()));
    assert_eq!(plain.health("main"), Ok(Health::Ok));
    let error = plain
        .migrate(1, 2, First { position: 1 })
        .expect_err("nobody wrote that step");
    assert!(
        error.contains("schema 1 to schema 2") && error.contains("`Plugin::migrate`"),
        "{error}"
    );
    assert!(plain.snapshot().is_some());
    assert_eq!(Instance::of::<Forgetful>().snapshot(), None);
}

#[test]
fn the_options_stand_in_the_manifest() {
    let manifest = |bytes: &[u8]| serde_json::from_slice::<serde_json::Value>(bytes).expect("the manifest is JSON");
    let split = manifest(Split::MANIFEST);
    assert_eq!(split["state"], serde_json::json!({"schema": 4, "oldest": 1}));
    assert_eq!((&split["exclusive"], &split["uses"]), (&false.into(), &serde_json::json!([])));
    assert_eq!(
        manifest(Plain::MANIFEST)["state"],
        serde_json::json!({"schema": 1, "oldest": 1})
    );
    assert_eq!(manifest(Forgetful::MANIFEST)["state"], serde_json::Value::Null);
}

#[test]
fn threads_of_an_instance_that_is_started_again() {
    use std::sync::mpsc::channel;
    let workers = Instance::of::<Workers>();
    let (started, heard) = channel();
    *SENDER.lock().expect("nobody panics with it") = Some(started);
    // SAFETY: the instance is live, and nobody else's.
    let start = || done(unsafe { workers.root.start()(workers.data, context("main")) });
    // SAFETY: as above.
    let stop = || done(unsafe { workers.root.stop()(workers.data, context("main")) });
    assert_eq!(start(), Ok(()));
    assert_eq!(heard.recv(), Ok(false), "a thread runs");
    assert_eq!(stop(), Ok(()));
    assert_eq!(heard.recv(), Ok(true), "it was told to end");
    assert_eq!(start(), Ok(()));
    assert_eq!(heard.recv(), Ok(false), "another one runs");
    assert_eq!(stop(), Ok(()));
    assert_eq!(heard.recv(), Ok(true));
}

static SENDER: std::sync::Mutex<Option<std::sync::mpsc::Sender<bool>>> = std::sync::Mutex::new(None);

/// Has a thread that says when it begins and when it is told to end.
#[derive(Default)]
struct Workers;

impl Positions for Workers {
    fn total(&self) -> i64 {
        0
    }
}

impl Plugin for Workers {
    fn start(&mut self, context: &Context<'_>) -> Result<(), PluginError> {
        let tell = SENDER
            .lock()
            .expect("nobody panics with it")
            .clone()
            .ok_or("nobody listens")?;
        context.spawn("tells", move |stopping| {
            let _ = tell.send(stopping.is_set());
            while !stopping.wait(std::time::Duration::from_secs(60)) {}
            let _ = tell.send(stopping.is_set());
        })
    }
}

reslot_plugin_api::export_plugin!(Workers: dyn Positions, stateless);
