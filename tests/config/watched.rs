//! A program's own watched settings: which values are published, which are kept, and how the file may change meanwhile.

use crate::{replace, support::wait_until};
use reslot::config::{Layers, Watched};
use serde::Deserialize;
use std::{
    fs::{self, OpenOptions},
    io::Write,
    os::unix::fs::symlink,
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

#[derive(Debug, Deserialize)]
struct Desk {
    port: u16,
}

/// The settings, the reported changes, and the errors.
type Told = (Watched<Desk>, Arc<Mutex<Vec<(u16, u16)>>>, Arc<Mutex<Vec<String>>>);

fn watched(file: &Path) -> Told {
    let (changes, errors) = <(Arc<Mutex<Vec<_>>>, Arc<Mutex<Vec<_>>>)>::default();
    let (to_changes, to_errors) = (changes.clone(), errors.clone());
    let layers = Layers::new().defaults(&serde_json::json!({ "port": 1 })).unwrap().file(file);
    let watched = Watched::of(layers)
        .validate(|desk: &Desk| match desk.port {
            13 => Err("13 is no port"),
            _ => Ok(()),
        })
        .on_change(move |old, new| to_changes.lock().unwrap().push((old.port, new.port)))
        .on_error(move |error| to_errors.lock().unwrap().push(error.to_string()))
        .start()
        .unwrap();
    (watched, changes, errors)
}

fn wait_for_port(watched: &Watched<Desk>, port: u16) {
    wait_until(|| watched.load().port == port, "the port");
}

fn port(port: u16) -> String {
    format!("port = {port}\n")
}

#[test]
fn snapshot_stays_what_it_is_and_a_callback_comes_only_with_success() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("desk.toml");
    fs::write(&file, port(2)).unwrap();
    let (watched, changes, errors) = watched(&file);
    let before = watched.load();
    for wrong in ["port = \"high\"\n", "port = 13\n", "port = "] {
        let told = errors.lock().unwrap().len();
        replace(&file, wrong);
        wait_until(|| errors.lock().unwrap().len() > told, "the error");
        assert_eq!(watched.load().port, 2, "{wrong:?}");
        assert!(watched.last_error().is_some());
    }
    replace(&file, &port(3));
    wait_for_port(&watched, 3);
    wait_until(|| watched.last_error().is_none(), "the end of the error");
    wait_until(|| *changes.lock().unwrap() == [(2, 3)], "the callback");
    assert_eq!(before.port, 2);
    let errors = errors.lock().unwrap();
    assert!(
        errors[0].contains("`port`") && errors[1].contains("13 is no port") && errors[2].contains("line 1"),
        "{errors:?}"
    );
}

#[test]
fn half_written_file_keeps_the_last_good_one_until_it_is_whole() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("desk.toml");
    fs::write(&file, port(2)).unwrap();
    let (watched, changes, _errors) = watched(&file);
    let mut writer = OpenOptions::new().write(true).truncate(true).open(&file).unwrap();
    // This is already a valid port, but not yet the intended one.
    writer.write_all(b"port = 30").unwrap();
    writer.flush().unwrap();
    watched.look();
    writer.write_all(b"00\n").unwrap();
    drop(writer);
    wait_for_port(&watched, 3000);
    wait_until(|| *changes.lock().unwrap() == [(2, 3000)], "one change");
}

#[test]
fn file_may_go_and_come_back() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("desk.toml");
    fs::write(&file, port(2)).unwrap();
    let (watched, changes, _errors) = watched(&file);
    fs::remove_file(&file).unwrap();
    watched.look();
    wait_until(|| watched.last_error().is_some(), "the error");
    assert_eq!(watched.load().port, 2, "gone is not the default");
    fs::write(&file, port(3)).unwrap();
    wait_for_port(&watched, 3);
    wait_until(|| *changes.lock().unwrap() == [(2, 3)], "one change");
}

#[test]
fn folder_may_come_later() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("etc/desk/desk.toml");
    let (watched, _changes, _errors) = watched(&file);
    assert_eq!(watched.load().port, 1);
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    fs::write(&file, port(2)).unwrap();
    wait_for_port(&watched, 2);
}

/// As the kubelet does: writes a folder with the new content, makes a link to it, and renames the link to `..data`.
fn publish_config_map(volume: &Path, edition: &str, text: &str) {
    fs::create_dir(volume.join(edition)).unwrap();
    fs::write(volume.join(edition).join("desk.toml"), text).unwrap();
    symlink(edition, volume.join("..data_tmp")).unwrap();
    fs::rename(volume.join("..data_tmp"), volume.join("..data")).unwrap();
}

#[test]
fn config_map_is_swapped_by_its_link() {
    let volume = tempfile::tempdir().unwrap();
    publish_config_map(volume.path(), "..2026_1", &port(2));
    symlink("..data/desk.toml", volume.path().join("desk.toml")).unwrap();
    let (watched, changes, errors) = watched(&volume.path().join("desk.toml"));
    for n in 2..6 {
        publish_config_map(volume.path(), &format!("..2026_{n}"), &port(n + 1));
        fs::remove_dir_all(volume.path().join(format!("..2026_{}", n - 1))).unwrap();
        wait_for_port(&watched, n + 1);
    }
    wait_until(|| changes.lock().unwrap().len() == 4, "each change once");
    assert!(errors.lock().unwrap().is_empty(), "{errors:?}");
}

#[test]
fn many_changes_in_a_row_come_to_the_last() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("desk.toml");
    let (watched, changes, errors) = watched(&file);
    for n in 100..200 {
        replace(&file, &port(n));
    }
    wait_for_port(&watched, 199);
    wait_until(
        || changes.lock().unwrap().last().is_some_and(|last| last.1 == 199),
        "the last callback",
    );
    let changes = changes.lock().unwrap();
    assert!(
        changes.len() <= 100 && changes.is_sorted_by_key(|change| change.1),
        "{changes:?}"
    );
    assert!(errors.lock().unwrap().is_empty());
}

#[test]
fn two_watch_one_file_and_one_of_them_by_polling() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("desk.toml");
    fs::write(&file, port(2)).unwrap();
    let by_events = watched(&file).0;
    let by_polling = Watched::<Desk>::of(Layers::new().file(&file))
        .poll(Duration::from_millis(10))
        .start()
        .unwrap();
    replace(&file, &port(3));
    wait_for_port(&by_events, 3);
    wait_for_port(&by_polling, 3);
    drop(by_events);
    replace(&file, &port(4));
    wait_for_port(&by_polling, 4);
}

#[test]
fn panic_in_a_callback_ends_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("desk.toml");
    fs::write(&file, port(2)).unwrap();
    let told = Arc::new(AtomicU64::new(0));
    let counted = told.clone();
    let watched = Watched::of(Layers::new().file(&file))
        .on_change(move |_: &Desk, new| {
            counted.fetch_add(1, Ordering::Relaxed);
            assert!(new.port != 3, "this panic is part of the test");
        })
        .start()
        .unwrap();
    replace(&file, &port(3));
    wait_until(|| told.load(Ordering::Relaxed) == 1, "the callback");
    replace(&file, &port(4));
    wait_until(|| told.load(Ordering::Relaxed) == 2, "the next callback");
    wait_for_port(&watched, 4);
}

/// A type whose deserialization runs the program's own code.
#[derive(Debug)]
struct Startled(u16);

impl<'de> Deserialize<'de> for Startled {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let Desk { port } = Desk::deserialize(from)?;
        assert!(port != 13, "13");
        Ok(Self(port))
    }
}

#[test]
fn type_that_panics_while_it_is_read_refuses_and_the_watch_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("desk.toml");
    fs::write(&file, port(13)).unwrap();
    let layers = Layers::new().file(&file);
    let refused = Watched::<Startled>::of(layers.clone()).start().unwrap_err().to_string();
    assert!(refused.contains("panicked"), "{refused}");
    replace(&file, &port(2));
    let watched = Watched::<Startled>::of(layers).start().unwrap();
    replace(&file, &port(13));
    wait_until(|| watched.last_error().is_some(), "the error");
    assert_eq!(watched.load().0, 2);
    replace(&file, &port(3));
    wait_until(|| watched.load().0 == 3, "the port");
}
