//! A linked plugin calls another one, through the host that it is attached to.

use crate::host::{Host, Object, attach};
use reslot_plugin_api::{CallError, Context, Fault, LinkedPlugin, Peer, PeerErrorKind, Plugin, PluginError, interface};
use std::{
    sync::{Arc, Mutex},
    thread,
};

#[interface]
pub trait Pricer {
    fn price(&self, units: u64) -> u64;
}

#[interface]
pub trait Desk {
    fn worth(&self, units: u64) -> Result<u64, String>;
    /// The same, asked on a thread of which the host knows nothing.
    fn worth_elsewhere(&self, units: u64) -> Result<u64, String>;
    /// Keeps its peer for good.
    fn keep(&self);
}

#[derive(Default)]
struct Twice;

impl Pricer for Twice {
    fn price(&self, units: u64) -> u64 {
        assert!(units < 100, "there are no {units} units");
        units * 2
    }
}

reslot_plugin_api::export_plugin!(Twice: dyn Pricer, stateless);

#[derive(Default)]
struct Asks {
    pricer: Option<Peer<dyn Pricer>>,
}

impl Plugin for Asks {
    fn start(&mut self, context: &Context<'_>) -> Result<(), PluginError> {
        let unknown = context.peer::<dyn Pricer>("nobody").expect_err("there is none");
        assert_eq!(unknown.kind(), PeerErrorKind::Unknown);
        self.pricer = Some(context.peer("pricer")?);
        Ok(())
    }
}

impl Asks {
    fn ask(&self, units: u64) -> Result<u64, String> {
        let pricer = self.pricer.as_ref().ok_or("not started")?.load();
        // Moved on purpose: what stands behind it must not lie in it.
        let moved = Box::new(pricer);
        moved.price(units).map_err(|error: CallError| match error.fault() {
            Fault::Panicked { message, .. } => format!("{} panicked: {message}", error.slot()),
            fault => format!("{}: {fault:?}", error.slot()),
        })
    }
}

static KEPT: Mutex<Vec<Peer<dyn Pricer>>> = Mutex::new(Vec::new());

impl Desk for Asks {
    fn worth(&self, units: u64) -> Result<u64, String> {
        self.ask(units)
    }

    fn worth_elsewhere(&self, units: u64) -> Result<u64, String> {
        let asked = thread::scope(|scope| scope.spawn(|| self.ask(units)).join());
        asked.unwrap_or_else(|_| Err("it panicked here".to_owned()))
    }

    fn keep(&self) {
        KEPT.lock().expect("nobody panics with it").extend(self.pricer.clone());
    }
}

reslot_plugin_api::export_plugin!(Asks: dyn Desk, stateless, uses = ["pricer"]);

const TWICE: LinkedPlugin = LinkedPlugin::new::<Twice, dyn Pricer>();
const ASKS: LinkedPlugin = LinkedPlugin::new::<Asks, dyn Desk>();

#[test]
fn calls_go_through_the_callers_own_host() -> Result<(), Box<dyn std::error::Error>> {
    for gated in [false, true] {
        let (host, other) = (Arc::new(Host::default()), Arc::new(Host::default()));
        let pricer = Object::create(&attach(TWICE, &host))?;
        host.knows("pricer", &pricer, gated);
        let desk = Object::create(&attach(ASKS, &host))?;
        desk.start()?;
        let elsewhere = Object::create(&attach(ASKS, &other))?;
        let words = elsewhere.start().expect_err("its host knows no such plugin");
        assert!(words.contains("pricer"), "{words}");

        let client = desk.client::<dyn Desk>(&host);
        assert_eq!(client.worth(4)?, Ok(8));
        assert_eq!(client.worth_elsewhere(5)?, Ok(10));
        assert_eq!(client.worth(100)?, Err("pricer panicked: Status(1)".to_owned()));
        assert_eq!(client.worth_elsewhere(100)?, Err("pricer panicked: Status(1)".to_owned()));
        host.forgets("pricer");
        assert_eq!(client.worth(4)?, Err("pricer: Vacant".to_owned()));
        assert_eq!(client.worth_elsewhere(4)?, Err("pricer: Vacant".to_owned()));
        drop(client);
        assert_eq!(other.panics(), []);
        for object in [pricer, desk, elsewhere] {
            object.destroy()?;
        }
    }
    Ok(())
}

#[test]
fn a_peer_that_is_kept_for_good_keeps_the_hosts_side() -> Result<(), Box<dyn std::error::Error>> {
    let host = Arc::new(Host::default());
    let pricer = Object::create(&attach(TWICE, &host))?;
    host.knows("pricer", &pricer, false);
    let desk = Object::create(&attach(ASKS, &host))?;
    desk.start()?;
    desk.client::<dyn Desk>(&host).keep()?;
    host.forgets("pricer");
    for object in [pricer, desk] {
        object.destroy()?;
    }
    let weak = Arc::downgrade(&host);
    drop(host);
    let kept: Vec<_> = std::mem::take(&mut *KEPT.lock().expect("nobody panics with it"));
    let error = kept[0].load().price(1).expect_err("nothing serves there");
    assert!(matches!(error.fault(), Fault::Vacant), "{error}");
    assert!(weak.upgrade().is_some());
    drop(kept);
    assert!(weak.upgrade().is_none(), "nothing else keeps it");
    Ok(())
}

#[test]
fn without_a_host_there_are_no_peers() {
    // The root alone, as nobody should call it.
    let root = attach(ASKS, &Arc::default()).within(|root| root);
    // SAFETY: the object is dropped here, once.
    unsafe {
        let object = root.create()().into_result().expect("it is made");
        let context = reslot_plugin_api::__private::ContextAbi {
            slot: "main".into(),
            generation: 1,
        };
        // An assertion of the plugin's fails: there is nobody who could say that a name is unknown.
        assert!(root.start()(object, context).into_result().is_err());
        assert!(root.destroy()(object).into_result().is_ok());
    }
}
