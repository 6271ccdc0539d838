//! When a host is told that a thread goes into a plugin's code, so that the plugin's logs get the name of its slot.

use crate::host::{Host, Object, Told, attach};
use reslot_plugin_api::{LinkedPlugin, interface};
use std::sync::{Arc, atomic::Ordering::SeqCst};

#[interface]
pub trait Answers {
    fn answer(&self) -> u32;
    fn fails(&self);
}

#[derive(Default)]
struct Plain;

impl Answers for Plain {
    fn answer(&self) -> u32 {
        42
    }

    fn fails(&self) {
        panic!("in a marked call")
    }
}

reslot_plugin_api::export_plugin!(Plain: dyn Answers, stateless);

const PLAIN: LinkedPlugin = LinkedPlugin::new::<Plain, dyn Answers>();

#[test]
fn hooks_are_marked_and_calls_if_asked_for() -> Result<(), Box<dyn std::error::Error>> {
    let host = Arc::new(Host::default());
    let image = attach(PLAIN, &host);
    let object = Object::create(&image)?;
    let once = [Told::Enter, Told::Leave];
    assert_eq!(host.told(), once);
    object.init()?;
    assert_eq!(
        host.told()[2..],
        once,
        "once, although the host says `within` for a hook of an object"
    );

    let client = object.client::<dyn Answers>(&host);
    let before = host.told().len();
    assert_eq!(client.answer()?, 42);
    assert_eq!(host.told().len(), before, "nobody has asked for calls");
    image.mark_calls(true);
    assert_eq!(client.answer()?, 42);
    assert_eq!(host.told()[before..], once);
    client.fails().expect_err("it panics");
    assert_eq!(host.told().last(), Some(&Told::Leave), "a panic leaves as well");

    let panics = host.panics().len();
    host.panics_on_enter.store(true, SeqCst);
    assert_eq!(client.answer()?, 42, "a subscriber that panics does no harm");
    assert_eq!(host.panics().len(), panics, "and its panic is not the plugin's");
    drop(client);
    object.destroy()?;
    Ok(())
}
