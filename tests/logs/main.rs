//! A plugin's log records arrive in the program's subscriber up to the set level, and leave no reference to the image there.
//! It is a separate test binary, because a subscriber applies to the whole process.
#![forbid(unsafe_code)]

mod listener;

use fixture_interfaces::Speaker;
use listener::{Listener, not_again};
use reslot::{Host, LogLevel, Outcome, Policy, RollbackTarget, Slot, mapped_copies};
use reslot_tests::{Fixture, Folder, allocated_bytes};
use std::{
    collections::BTreeSet,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tracing::Level;

const PATIENCE: Duration = Duration::from_secs(30);
const A: &str = "logs-a";
const B: &str = "logs-b";

fn host() -> Host {
    Host::builder().policy(Policy::without_probation()).build().unwrap()
}

fn publish(folder: &Folder, stamp: u64) -> PathBuf {
    folder.publish("a.so", &Fixture::build("fx-logs").stamped(stamp))
}

/// The same plugin for another slot.
fn publish_b(folder: &Folder, stamp: u64) -> PathBuf {
    let other = Fixture::build("fx-logs").changed(|bytes| {
        let (name, another) = (b"\"logs-a\"", b"\"logs-b\"");
        let at = bytes.windows(name.len()).position(|window| window == name);
        let at = at.expect("the manifest names it");
        bytes[at..at + name.len()].copy_from_slice(another);
    });
    folder.publish("b.so", &other.stamped(stamp))
}

fn speaker(host: &Host, slot: &str) -> Slot<dyn Speaker> {
    host.slot::<dyn Speaker>(slot).unwrap()
}

fn say(host: &Host, slot: &str, what: &str) -> String {
    speaker(host, slot).load().say(what).unwrap()
}

#[test]
fn event_arrives_as_it_was_with_slot_and_generation() {
    let (_alone, listener) = Listener::take();
    let (folder, host) = (Folder::new(), host());
    host.load(publish(&folder, 1)).unwrap();
    say(&host, A, "values");
    let told = listener.one(A, "what it says");
    assert_eq!(told.level(), Level::INFO);
    assert_eq!(told.metadata.target(), "the::target");
    assert!(told.metadata.file().is_some_and(|file| file.ends_with("logs/src/lib.rs")));
    assert!(told.metadata.line().is_some_and(|line| line > 50));
    assert_eq!(told.metadata.module_path(), Some("fx_logs"));
    let max = format!("u128 {}", u128::MAX);
    let expected = [
        ("message", "what it says"),
        ("number", "u64 7"),
        ("negative", "i64 -3"),
        ("large", &max),
        ("float", "f64 1.5"),
        ("yes", "bool true"),
        ("text", "a \"text\""),
        ("shown", "?[1, 2]"),
        ("displayed", "?words"),
        ("plugin.slot", "mine"),
        ("slot", A),
        ("generation", "u64 1"),
    ];
    let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
    assert_eq!(told.fields.0, expected.into());
}

#[test]
fn record_of_log_arrives_like_an_event() {
    let (_alone, listener) = Listener::take();
    let (folder, host) = (Folder::new(), host());
    host.load(publish(&folder, 1)).unwrap();
    say(&host, A, "levels");
    for words in ["by tracing", "by log"] {
        let mut told = listener.from(A);
        told.retain(|told| told.words() == words);
        let levels: Vec<_> = told.iter().map(|told| told.level()).collect();
        assert_eq!(levels, [Level::ERROR, Level::WARN, Level::INFO, Level::DEBUG, Level::TRACE]);
        for told in told {
            assert_eq!(told.metadata.target(), "fx_logs");
            assert_eq!(told.metadata.module_path(), Some("fx_logs"));
            assert!(told.metadata.file().is_some() && told.metadata.line().is_some());
        }
    }
}

#[test]
fn span_becomes_one_of_the_callers() {
    let (_alone, listener) = Listener::take();
    let (folder, host) = (Folder::new(), host());
    host.load(publish(&folder, 1)).unwrap();
    let open = listener.open_spans();
    tracing::info_span!("caller").in_scope(|| say(&host, A, "spans"));
    let names = |words| listener.one(A, words).span_names().join(" ");
    assert_eq!(names("in outer"), "caller outer");
    assert_eq!(names("in inner"), "caller outer inner");
    assert_eq!(names("of inner"), "caller outer inner");
    assert_eq!(names("of none"), "");
    assert_eq!(names("in root"), "root");
    assert_eq!(names("elsewhere"), "root");
    let told = listener.one(A, "in outer");
    let fields = &told.spans[1].1.0;
    assert_eq!(fields["given"], "i64 1");
    assert_eq!(fields["later"], "recorded");
    assert_eq!(fields["slot"], A);
    assert_eq!(fields["generation"], "u64 1");
    assert_eq!(listener.open_spans(), open, "all of them are closed");
}

#[test]
fn span_left_open_is_closed_with_its_image() {
    let (_alone, listener) = Listener::take();
    let (folder, host) = (Folder::new(), host());
    host.load(publish(&folder, 1)).unwrap();
    let open = listener.open_spans();
    say(&host, A, "span left open");
    assert_eq!(listener.open_spans(), open + 1);
    host.load(publish(&folder, 2)).unwrap();
    assert!(host.wait_until_retired(PATIENCE));
    assert_eq!(listener.open_spans(), open);
}

#[test]
fn records_above_the_level_are_not_formatted() {
    let (_alone, listener) = Listener::take();
    let (folder, host) = (Folder::new(), host());
    host.load(publish(&folder, 1)).unwrap();
    assert_eq!(say(&host, A, "count"), "5");
    assert_eq!(host.set_log_level(A, Some(LogLevel::Info)), LogLevel::Info);
    assert_eq!(say(&host, A, "count"), "2");
    host.set_log_level(A, Some(LogLevel::Off));
    listener.forget();
    assert_eq!(say(&host, A, "count"), "0");
    assert!(listener.from(A).is_empty());
    assert_eq!(host.set_log_level(A, None), LogLevel::Trace);
    assert_eq!(say(&host, A, "count"), "5");
}

#[test]
fn each_slot_has_its_own_level() {
    let (_alone, listener) = Listener::take();
    let (folder, host) = (Folder::new(), host());
    // This is before the slot exists.
    host.set_log_level(B, Some(LogLevel::Error));
    host.load(publish(&folder, 1)).unwrap();
    host.load(publish_b(&folder, 2)).unwrap();
    assert!(listener.from(B).is_empty(), "it was told before its first function ran");
    listener.one(A, "created");
    listener.forget();
    for slot in [A, B] {
        say(&host, slot, "levels");
    }
    assert_eq!(listener.from(A).len(), 10);
    assert_eq!(listener.from(B).len(), 2);
    let levels: Vec<_> = host.slots().into_iter().map(|slot| (slot.name, slot.log_level)).collect();
    assert_eq!(levels, [(A.to_owned(), None), (B.to_owned(), Some(LogLevel::Error))]);
}

#[test]
fn level_outlives_reload_and_rollback() {
    let (_alone, listener) = Listener::take();
    let folder = Folder::new();
    let host = Host::builder().build().unwrap();
    host.load(publish(&folder, 1)).unwrap();
    host.set_log_level(A, Some(LogLevel::Warn));
    listener.forget();
    host.load(publish(&folder, 2)).unwrap();
    let count = |listener: &Listener| {
        listener.forget();
        say(&host, A, "levels");
        let told = listener.from(A);
        let generations: BTreeSet<_> = told.iter().map(|told| told.fields.0["generation"].clone()).collect();
        (told.len(), generations.into_iter().collect::<Vec<_>>().join(" "))
    };
    assert!(listener.from(A).is_empty(), "from its first function on");
    assert_eq!(count(listener), (4, "u64 2".to_owned()));
    // The standby gets the level too.
    host.set_log_level(A, Some(LogLevel::Error));
    host.rollback(A, RollbackTarget::Previous).unwrap();
    assert_eq!(speaker(&host, A).load().stamp().unwrap(), 1);
    assert_eq!(count(listener).0, 2);
}

#[test]
fn level_of_the_builder_holds_where_none_was_set() {
    let (_alone, listener) = Listener::take();
    let folder = Folder::new();
    let host = Host::builder()
        .policy(Policy::without_probation())
        .log_level(LogLevel::Warn)
        .build()
        .unwrap();
    host.load(publish(&folder, 1)).unwrap();
    listener.forget();
    say(&host, A, "levels");
    assert_eq!(listener.from(A).len(), 4);
    host.set_log_level(A, Some(LogLevel::Trace));
    host.set_log_level(A, None);
    assert_eq!(say(&host, A, "count"), "0");
}

#[test]
fn no_more_crosses_than_the_subscriber_lets_through() {
    let (_alone, listener) = Listener::take();
    listener.filter("warn,fx_logs=info");
    let (folder, host) = (Folder::new(), host());
    host.load(publish(&folder, 1)).unwrap();
    // Spans of the level info count too; this one is below it.
    assert_eq!(say(&host, A, "count"), "2");
    listener.forget();
    say(&host, A, "levels");
    assert_eq!(listener.from(A).len(), 6, "by the plugin's own target");
    listener.filter("warn,fx_logs=error");
    listener.forget();
    say(&host, A, "levels");
    assert_eq!(listener.from(A).len(), 2, "the subscriber filters what still crosses");
    listener.filter("off");
    host.set_log_level(A, Some(LogLevel::Trace));
    assert_eq!(say(&host, A, "count"), "0", "nobody listens");
}

#[test]
fn hooks_threads_and_destructors_are_heard() {
    let (_alone, listener) = Listener::take();
    let (folder, host) = (Folder::new(), host());
    host.load(publish(&folder, 1)).unwrap();
    say(&host, A, "thread-local");
    host.load(publish(&folder, 2)).unwrap();
    assert!(host.wait_until_retired(PATIENCE));
    let mut told = listener.from(A);
    told.retain(|told| told.fields.0["generation"] == "u64 1");
    let mut words: Vec<_> = told.iter().map(|told| told.words()).collect();
    words.sort_unstable();
    let expected = [
        "a thread-local is dropped",
        "created",
        "dropped",
        "on a thread of its own",
        "started",
        "stopped",
    ];
    assert_eq!(words, expected);
    // A thread that ends.
    listener.forget();
    std::thread::scope(|scope| scope.spawn(|| say(&host, A, "thread-local")).join().unwrap());
    listener.one(A, "a thread-local is dropped");
}

const BUG: &str = "this subscriber has a bug";

#[test]
fn panic_of_the_subscriber_does_not_reach_the_plugin() {
    let (_alone, listener) = Listener::take();
    let (folder, host) = (Folder::new(), host());
    host.load(publish(&folder, 1)).unwrap();
    // The panic's message would fill the screen.
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        if info.payload_as_str() != Some(BUG) {
            before(info);
        }
    }));
    let panics = Arc::new(AtomicU64::new(0));
    let counted = panics.clone();
    listener.does(Some(Arc::new(move |told| {
        if told.is_from(A) && told.metadata.target() == "fx_logs" {
            counted.fetch_add(1, Ordering::SeqCst);
            panic!("{BUG}");
        }
    })));
    assert_eq!(say(&host, A, "count"), "5");
    assert_eq!(panics.load(Ordering::SeqCst), 4);
    host.load(publish(&folder, 2)).unwrap();
    assert!(host.wait_until_retired(PATIENCE));
    listener.does(None);
    say(&host, A, "it goes on");
    listener.one(A, "it goes on");
}

#[test]
fn value_that_panics_is_the_plugins_own_panic() {
    let (_alone, listener) = Listener::take();
    let (folder, host) = (Folder::new(), host());
    host.load(publish(&folder, 1)).unwrap();
    let error = speaker(&host, A).load().say("value that panics").unwrap_err();
    assert!(error.to_string().contains("a value that cannot be shown"), "{error}");
    say(&host, A, "it goes on");
    listener.one(A, "it goes on");
}

#[test]
fn subscriber_may_reload_the_plugin_that_it_hears() {
    let (_alone, listener) = Listener::take();
    let (folder, host) = (Folder::new(), Arc::new(host()));
    host.load(publish(&folder, 1)).unwrap();
    let next = publish(&folder, 2);
    let reloads = host.clone();
    listener.does(Some(Arc::new(move |told| {
        if told.words() == "reload me" {
            not_again(|| drop(reloads.load(&next).unwrap()));
        }
    })));
    say(&host, A, "reload me");
    assert_eq!(speaker(&host, A).load().stamp().unwrap(), 2);
    assert!(host.wait_until_retired(PATIENCE));
    listener.does(None);
}

#[test]
fn subscriber_that_calls_the_plugin_hears_no_more_of_it() {
    let (_alone, listener) = Listener::take();
    let (folder, host) = (Folder::new(), Arc::new(host()));
    host.load(publish(&folder, 1)).unwrap();
    let calls = host.clone();
    listener.does(Some(Arc::new(move |told| {
        if told.is_from(A) && told.words().starts_with("again") {
            say(&calls, A, "again and again");
        }
    })));
    say(&host, A, "again");
    listener.one(A, "again");
    let told = listener.from(A);
    assert!(!told.iter().any(|told| told.words() == "again and again"), "{told:#?}");
    listener.does(None);
}

#[test]
fn long_message_is_cut_between_two_characters() {
    let (_alone, listener) = Listener::take();
    let (folder, host) = (Folder::new(), host());
    host.load(publish(&folder, 1)).unwrap();
    listener.forget();
    say(&host, A, "long");
    let told = listener.from(A);
    let words = told[0].words().strip_suffix(" … (cut)").expect("it says that it was cut");
    assert_eq!(words, "ä".repeat(8 * 1024));
}

#[test]
fn targets_beyond_the_limit_share_an_entry_and_are_still_logged() {
    let (_alone, listener) = Listener::take();
    let (folder, host) = (Folder::new(), host());
    host.load(publish(&folder, 1)).unwrap();
    listener.forget();
    say(&host, A, "targets");
    let told = listener.from(A);
    assert_eq!(told.len(), 2_000);
    for (number, told) in told.iter().enumerate() {
        let target = told.fields.0.get("target").map_or(told.metadata.target(), |target| target);
        assert_eq!(target, format!("target {number}"));
        assert_eq!(told.words(), "one of many");
    }
    let shared = told.iter().filter(|told| told.metadata.target() == "plugin").count();
    assert!(shared > 900, "{shared}");
    // Values that are not a record of `log` have a separate limit.
    say(&host, A, "values");
    assert_eq!(listener.one(A, "what it says").metadata.target(), "the::target");
}

#[test]
fn plugins_own_subscriber_stays_if_it_was_first() {
    let (_alone, listener) = Listener::take();
    let (folder, host) = (Folder::new(), host());
    host.set_log_level(A, Some(LogLevel::Off));
    host.load(publish(&folder, 1)).unwrap();
    assert_eq!(say(&host, A, "own"), "true");
    host.set_log_level(A, Some(LogLevel::Trace));
    listener.forget();
    say(&host, A, "levels");
    let words: Vec<_> = listener.from(A).iter().map(|told| told.words().to_owned()).collect();
    assert_eq!(words, ["by log"; 5], "`log` was still free");
    // The next build logs from its beginning, and its records come second.
    host.load(publish(&folder, 2)).unwrap();
    assert_eq!(say(&host, A, "own"), "false");
}

#[test]
fn hundreds_of_reloads_leave_nothing_in_the_subscriber() {
    let (_alone, listener) = Listener::take();
    let (folder, host) = (Folder::new(), host());
    let mut events = host.events();
    let mut stamp = 0;
    let mut places = BTreeSet::new();
    let open = listener.open_spans();
    let mut reload = |level, times: usize, places: &mut BTreeSet<usize>| {
        host.set_log_level(A, Some(level));
        let before = allocated_bytes();
        for _ in 0..times {
            stamp += 1;
            host.load(publish(&folder, stamp)).unwrap();
            for what in ["levels", "spans", "span left open", "thread-local"] {
                say(&host, A, what);
            }
            assert!(host.wait_until_retired(PATIENCE));
            let told = listener.from(A);
            places.extend(told.iter().map(|told| std::ptr::from_ref(told.metadata).addr()));
            listener.forget();
            while let Some(record) = events.try_recv() {
                if let reslot::Event::Retired(report) = &record.event {
                    assert!(matches!(report.outcome, Outcome::Unmapped(_)), "{report:?}");
                }
            }
        }
        assert_eq!(host.images().mapped, 1);
        assert_eq!(mapped_copies(host.private_folder()), 1);
        allocated_bytes().saturating_sub(before) / times
    };
    // These reloads fill the host's log of events.
    reload(LogLevel::Off, 340, &mut places);
    assert!(places.is_empty());
    let quiet = reload(LogLevel::Off, 60, &mut places);
    reload(LogLevel::Trace, 10, &mut places);
    let known = places.len();
    assert!(known > 15, "{known}");
    let loud = reload(LogLevel::Trace, 100, &mut places);
    assert_eq!(places.len(), known, "no line of code has two places");
    assert_eq!(listener.open_spans(), open + 1, "that of what serves");
    assert!(loud < quiet + 1024, "{loud} bytes each, {quiet} without a word");
}
