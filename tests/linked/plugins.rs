//! Plugins of this program: what `export_plugin!` makes of them in a crate that is linked and not loaded. (In a test `PLUGIN` is left out,
//! so the constants are written down here.)

use reslot_plugin_api::{ConfigValue, Context, LinkedPlugin, Peer, Plugin, PluginError, interface};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Counts, for many threads at once.
#[interface]
pub trait Tally {
    fn add(&self, more: u64) -> u64;
    /// Where it is, and with which text it was given.
    fn place(&self) -> String;
    fn fail(&self, words: &str) -> u64;
}

#[derive(Default, Serialize, Deserialize)]
pub struct Counter {
    count: std::sync::atomic::AtomicU64,
    #[serde(skip)]
    place: String,
    #[serde(skip)]
    text: String,
}

impl Tally for Counter {
    fn add(&self, more: u64) -> u64 {
        self.count.fetch_add(more, std::sync::atomic::Ordering::SeqCst) + more
    }

    fn place(&self) -> String {
        format!("{} with {:?}", self.place, self.text)
    }

    fn fail(&self, words: &str) -> u64 {
        panic!("the tally: {words}")
    }
}

impl Plugin for Counter {
    fn init(&mut self, context: &Context<'_>) -> Result<(), PluginError> {
        self.place = format!("{} {}", context.slot(), context.generation());
        tracing::info!(place = self.place, "begins");
        Ok(())
    }

    fn on_resource(&mut self, _: &Context<'_>, _: &str, bytes: &[u8]) -> Result<(), PluginError> {
        self.text = String::from_utf8(bytes.to_vec())?;
        Ok(())
    }

    fn on_config(&mut self, _: &Context<'_>, _: &ConfigValue) -> Result<(), PluginError> {
        Ok(())
    }
}

reslot_plugin_api::export_plugin!(Counter: dyn Tally, name = "tally", resources = ["text.txt"]);

pub const TALLY: LinkedPlugin = LinkedPlugin::new::<Counter, dyn Tally>();

/// Asks the tally.
#[interface]
pub trait Asks {
    fn ask(&self, more: u64) -> Result<u64, String>;
}

#[derive(Default)]
pub struct Asker(Option<Peer<dyn Tally>>);

impl Asks for Asker {
    fn ask(&self, more: u64) -> Result<u64, String> {
        let tally = self.0.as_ref().ok_or("it was not started")?;
        tally.load().add(more).map_err(|error| error.to_string())
    }
}

impl Plugin for Asker {
    fn start(&mut self, context: &Context<'_>) -> Result<(), PluginError> {
        self.0 = Some(context.peer("tally")?);
        Ok(())
    }
}

reslot_plugin_api::export_plugin!(Asker: dyn Asks, name = "asker", stateless, uses = ["tally"]);

pub const ASKER: LinkedPlugin = LinkedPlugin::new::<Asker, dyn Asks>();

/// Whose thread goes on until the test lets it end.
#[interface]
pub trait Lingers {
    fn here(&self) -> bool;
}

#[derive(Default)]
pub struct Lingering;

/// The thread ends when the test has sent something here.
pub static END: std::sync::Mutex<Option<std::sync::mpsc::Receiver<()>>> = std::sync::Mutex::new(None);

impl Lingers for Lingering {
    fn here(&self) -> bool {
        true
    }
}

impl Plugin for Lingering {
    fn start(&mut self, context: &Context<'_>) -> Result<(), PluginError> {
        context.spawn("lingers", |_| {
            let end = END.lock().ok().and_then(|mut end| end.take());
            if let Some(end) = end {
                let _ = end.recv_timeout(Duration::from_secs(60));
            }
        })?;
        Ok(())
    }
}

reslot_plugin_api::export_plugin!(Lingering: dyn Lingers, name = "lingering", stateless);

pub const LINGERING: LinkedPlugin = LinkedPlugin::new::<Lingering, dyn Lingers>();

/// Does not start, or panics there.
#[derive(Default)]
pub struct Broken;

impl Lingers for Broken {
    fn here(&self) -> bool {
        false
    }
}

impl Plugin for Broken {
    fn start(&mut self, _: &Context<'_>) -> Result<(), PluginError> {
        panic!("in start")
    }
}

reslot_plugin_api::export_plugin!(Broken: dyn Lingers, name = "broken", stateless);

pub const BROKEN: LinkedPlugin = LinkedPlugin::new::<Broken, dyn Lingers>();
