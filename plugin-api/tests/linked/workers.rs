//! Threads of `Context::spawn`, of plugins that share all statics.

use crate::host::{Host, Object, Told, attach};
use reslot_plugin_api::{Context, LinkedPlugin, Plugin, PluginError, interface};
use std::{
    sync::{
        Arc, Mutex,
        atomic::Ordering::SeqCst,
        mpsc::{Receiver, Sender, channel},
    },
    time::Duration,
};

#[interface]
pub trait Works {
    fn runs(&self) -> bool;
}

/// Its thread says that it runs, waits until it is asked to end, and ends when the test says so.
#[derive(Default)]
struct Worker {
    ends: Mutex<Option<Sender<bool>>>,
}

impl Works for Worker {
    /// Lets the thread end; with a panic if it has none to let.
    fn runs(&self) -> bool {
        self.ends.lock().expect("nobody panics with it").take().is_some()
    }
}

impl Plugin for Worker {
    fn start(&mut self, context: &Context<'_>) -> Result<(), PluginError> {
        let (ends, end) = channel();
        let (runs, run) = channel();
        self.ends = Mutex::new(Some(ends));
        context.spawn("works", move |stopping| {
            let _ = runs.send(());
            while !stopping.wait(Duration::from_secs(60)) {}
            let _ = end.recv();
        })?;
        run.recv()?;
        Ok(())
    }
}

reslot_plugin_api::export_plugin!(Worker: dyn Works, stateless);

const WORKER: LinkedPlugin = LinkedPlugin::new::<Worker, dyn Works>();

/// Its thread panics at once, and the end of a channel says that it is over.
#[derive(Default)]
struct Careless;

static OVER: Mutex<Option<Sender<()>>> = Mutex::new(None);

impl Works for Careless {
    fn runs(&self) -> bool {
        false
    }
}

impl Plugin for Careless {
    fn start(&mut self, context: &Context<'_>) -> Result<(), PluginError> {
        let over = OVER.lock().expect("nobody panics with it").take();
        context.spawn("careless", move |_| {
            let _over = over;
            panic!("nobody calls this thread")
        })
    }
}

reslot_plugin_api::export_plugin!(Careless: dyn Works, stateless);

const CARELESS: LinkedPlugin = LinkedPlugin::new::<Careless, dyn Works>();

#[test]
fn each_attachment_has_its_own_threads() -> Result<(), String> {
    let hosts = [(); 2].map(|()| Arc::new(Host::default()));
    let images = hosts.each_ref().map(|host| attach(WORKER, host));
    let [first, second] = images.each_ref().map(Object::create);
    let (first, second) = (first?, second?);
    let beside = Object::create(&images[0])?;
    for object in [&first, &second, &beside] {
        object.start()?;
    }
    let all = |at: usize| -> String { images[at].within(|root| root.end_workers()().into()) };

    assert_eq!(first.end_workers(), "\"works\"", "of this object alone");
    first.stop()?;
    first.client::<dyn Works>(&hosts[0]).runs().expect("it does not panic");
    hosts[0].until(&Told::ThreadEnded(0));
    assert_eq!(first.end_workers(), "", "it has ended, and the host was told after that");
    assert!(!hosts[0].told().contains(&Told::ThreadEnded(1)), "the other object's goes on");

    assert_eq!(all(0), "\"works\"", "of this attachment alone");
    beside.client::<dyn Works>(&hosts[0]).runs().expect("it does not panic");
    hosts[0].until(&Told::ThreadEnded(1));
    assert_eq!(all(0), "");

    assert!(!hosts[1].told().contains(&Told::ThreadEnded(0)));
    second.stop()?;
    second.client::<dyn Works>(&hosts[1]).runs().expect("it does not panic");
    hosts[1].until(&Told::ThreadEnded(0));
    let mut told = hosts[1].told();
    told.retain(|told| matches!(told, Told::ThreadStarts(_) | Told::ThreadRuns(_) | Told::ThreadEnded(_)));
    assert_eq!(told, [Told::ThreadStarts(0), Told::ThreadRuns(0), Told::ThreadEnded(0)]);
    for object in [first, second, beside] {
        object.destroy()?;
    }
    Ok(())
}

#[test]
fn panic_of_a_thread_is_reported_as_the_threads_own() -> Result<(), String> {
    let host = Arc::new(Host::default());
    let object = Object::create(&attach(CARELESS, &host))?;
    let (over, is_over): (_, Receiver<()>) = channel();
    *OVER.lock().expect("nobody panics with it") = Some(over);
    object.start()?;
    is_over.recv().expect_err("nothing is sent");
    host.until(&Told::ThreadEnded(0));
    let told = host.panics();
    assert!(
        matches!(&told[..], [Told::Panicked(words, place), Told::Contained(contained, true)]
            if words == "nobody calls this thread" && words == contained && place.contains("tests/linked/workers.rs:")),
        "{told:?}"
    );
    object.stop()?;
    object.destroy()
}

#[test]
fn a_host_that_ends_lets_no_thread_start() -> Result<(), String> {
    let host = Arc::new(Host::default());
    let object = Object::create(&attach(CARELESS, &host))?;
    host.lets_no_thread_start.store(true, SeqCst);
    let words = object.start().expect_err("it needs a thread");
    assert!(words.contains("careless") && words.contains("host"), "{words}");
    assert_eq!(object.end_workers(), "");
    object.destroy()
}
