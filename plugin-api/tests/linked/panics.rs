//! Whose panic it is, where several plugins share all statics, and one plugin has several hosts.

use crate::host::{Host, Object, Told, attach, migrate, program_saw};
use reslot_plugin_api::{Context, Fault, LinkedPlugin, Plugin, PluginError, StateValue, interface};
use std::{
    cell::Cell,
    panic::{catch_unwind, resume_unwind},
    sync::Arc,
};

#[interface]
pub trait Breaks {
    fn fails(&self, words: &str) -> u32;
    fn unwinds(&self, words: &str) -> String;
    /// Panics, catches that, and goes on.
    fn recovers(&self, words: &str) -> u32;
}

#[derive(Default, serde::Serialize, serde::Deserialize)]
struct One;

impl Breaks for One {
    fn fails(&self, words: &str) -> u32 {
        panic!("one: {words}")
    }

    fn unwinds(&self, words: &str) -> String {
        resume_unwind(Box::new(words.to_owned()))
    }

    fn recovers(&self, words: &str) -> u32 {
        let words = words.to_owned();
        u32::from(catch_unwind(move || panic!("{words}")).is_err())
    }
}

impl Plugin for One {
    fn start(&mut self, _: &Context<'_>) -> Result<(), PluginError> {
        panic!("one: in start")
    }

    fn migrate(_: u32, _: u32, _: &mut StateValue) -> Result<(), PluginError> {
        panic!("one: in migrate")
    }
}

impl Drop for One {
    fn drop(&mut self) {
        if DROP_PANICS.get() {
            panic!("one: in drop")
        }
    }
}

thread_local! {
    static DROP_PANICS: Cell<bool> = const { Cell::new(false) };
    static DEFAULT_PANICS: Cell<bool> = const { Cell::new(false) };
}

reslot_plugin_api::export_plugin!(One: dyn Breaks, schema = 2, migrates_from = 1);

struct Two;

impl Default for Two {
    fn default() -> Self {
        assert!(!DEFAULT_PANICS.get(), "two: in default");
        Self
    }
}

impl Breaks for Two {
    fn fails(&self, words: &str) -> u32 {
        panic!("two: {words}")
    }

    fn unwinds(&self, _: &str) -> String {
        String::new()
    }

    fn recovers(&self, _: &str) -> u32 {
        0
    }
}

reslot_plugin_api::export_plugin!(Two: dyn Breaks, stateless);

const ONE: LinkedPlugin = LinkedPlugin::new::<One, dyn Breaks>();
const TWO: LinkedPlugin = LinkedPlugin::new::<Two, dyn Breaks>();

/// What a host is told of a panic that its hook has seen: that, and then that it was contained.
#[track_caller]
fn assert_reported(host: &Host, expected: &[&str]) {
    let told = host.panics();
    let words: Vec<_> = told.chunks(2).map(|pair| words_of(pair).expect("a pair")).collect();
    assert_eq!(words, expected, "{told:?}");
}

/// The words of a panic with its place, if the two belong together.
fn words_of(pair: &[Told]) -> Option<&str> {
    match pair {
        [Told::Panicked(words, place), Told::Contained(contained, false)] => {
            (words == contained && place.contains("tests/linked/panics.rs:")).then_some(words)
        }
        _ => None,
    }
}

#[test]
fn each_host_hears_of_the_panics_of_its_own_plugin() {
    let hosts = [(); 3].map(|()| Arc::new(Host::default()));
    let plugins = [ONE, TWO, ONE];
    let objects: Vec<_> = plugins
        .iter()
        .zip(&hosts)
        .map(|(plugin, host)| Object::create(&attach(*plugin, host)).expect("it is made"))
        .collect();
    let clients: Vec<_> = objects
        .iter()
        .zip(&hosts)
        .map(|(object, host)| object.client::<dyn Breaks>(host))
        .collect();
    std::thread::scope(|scope| {
        for client in &clients {
            let client: &BreaksClient = client;
            let calls: Vec<_> = (0..3)
                .map(|n| scope.spawn(move || client.fails(&format!("number {n}"))))
                .collect();
            for call in calls {
                call.join().expect("no panic comes out").expect_err("it panics");
            }
        }
    });
    for (host, name) in hosts.iter().zip(["one", "two", "one"]) {
        let mut told: Vec<_> = host
            .panics()
            .into_iter()
            .filter_map(|told| match told {
                Told::Contained(words, _) => Some(words),
                _ => None,
            })
            .collect();
        told.sort();
        assert_eq!(told, [0, 1, 2].map(|n| format!("{name}: number {n}")));
    }
    drop(clients);
    objects
        .into_iter()
        .for_each(|object| object.destroy().expect("it is dropped"));
}

#[test]
fn a_call_ends_with_the_words_and_the_place() {
    let host = Arc::new(Host::default());
    let object = Object::create(&attach(TWO, &host)).expect("it is made");
    let error = object
        .client::<dyn Breaks>(&host)
        .fails("out of range")
        .expect_err("it panics");
    let Fault::Panicked { message, location, .. } = error.fault() else {
        panic!("{error}");
    };
    assert_eq!(&**message, "two: out of range");
    assert!(
        location
            .as_ref()
            .is_some_and(|place| place.contains("tests/linked/panics.rs:")),
        "{location:?}"
    );
    assert!(program_saw("two: out of range"), "the program's own hook was told as well");
    object.destroy().expect("it is dropped");
}

#[test]
fn hooks_with_an_object_and_without_one_log_to_the_same_host() {
    let host = Arc::new(Host::default());
    let (one, two) = (attach(ONE, &host), attach(TWO, &host));
    let object = Object::create(&one).expect("it is made");
    assert_eq!(object.start(), Err(String::new()));
    let state = object.snapshot().expect("it is encoded").expect("it has a state");
    assert_eq!(migrate(&one, 1, 2, &state), Err(String::new()));
    DEFAULT_PANICS.set(true);
    assert_eq!(Object::create(&two).err(), Some(String::new()));
    DEFAULT_PANICS.set(false);
    DROP_PANICS.set(true);
    assert_eq!(object.destroy(), Err(String::new()));
    DROP_PANICS.set(false);
    assert_reported(
        &host,
        &["one: in start", "one: in migrate", "two: in default", "one: in drop"],
    );
}

#[test]
fn panics_that_pass_the_hook_by_and_those_that_do_not_come_out() {
    let host = Arc::new(Host::default());
    let object = Object::create(&attach(ONE, &host)).expect("it is made");
    let client = object.client::<dyn Breaks>(&host);
    let error = client.unwinds("nobody's panic").expect_err("it unwinds");
    assert!(
        matches!(error.fault(), Fault::Panicked { message, location: None, .. } if &**message == "nobody's panic"),
        "{error}"
    );
    assert_eq!(host.panics(), [Told::Contained("nobody's panic".to_owned(), false)]);
    assert!(!program_saw("nobody's panic"));

    assert_eq!(client.recovers("caught inside").ok(), Some(1));
    let told = host.panics();
    assert!(
        matches!(&told[1..], [Told::Panicked(words, _)] if words == "caught inside"),
        "it was told, and did not end at the boundary: {told:?}"
    );
    drop(client);
    object.destroy().expect("it is dropped");
}

#[test]
fn a_panic_of_the_programs_own_is_nobodys() {
    let host = Arc::new(Host::default());
    let object = Object::create(&attach(TWO, &host)).expect("it is made");
    catch_unwind(|| panic!("the program's own panic")).expect_err("it panics");
    assert!(program_saw("the program's own panic"));
    assert_eq!(host.panics(), []);
    object.destroy().expect("it is dropped");
}

#[test]
fn an_object_without_a_host_panics_quietly() {
    // Made outside of `within`.
    let host = Arc::new(Host::default());
    let image = attach(ONE, &host);
    let object = image.within(|root| {
        std::thread::scope(|scope| {
            let create = scope.spawn(|| {
                // SAFETY: the root is this program's own, and the object is dropped below.
                let made = unsafe { root.create()() };
                made.into_result().expect("it is made").expose_provenance()
            });
            create.join().expect("it does not panic")
        })
    });
    let object: *mut () = std::ptr::with_exposed_provenance_mut(object);
    let context = reslot_plugin_api::__private::ContextAbi {
        slot: "main".into(),
        generation: 1,
    };
    std::thread::scope(|scope| {
        let address = object.addr();
        scope.spawn(move || {
            let object: *mut () = std::ptr::with_exposed_provenance_mut(address);
            let root = attach(ONE, &Arc::default()).within(|root| root);
            // SAFETY: it is live and nobody else's; it is dropped once.
            unsafe {
                assert!(root.start()(object, context).into_result().is_err());
                assert!(root.destroy()(object).into_result().is_ok());
            }
        });
    });
    assert_eq!(
        host.told().iter().filter(|told| matches!(told, Told::Panicked(..))).count(),
        0
    );
}
