//! Resources: the host passes them before `init` and again when their content changes; a refusal changes nothing.

use crate::{Desk, assert_gone, support::wait_until, wait_for_config_applied, wait_for_config_refused};
use fixture_interfaces::Tuned;
use reslot::Host;
use std::{
    fs,
    os::unix::fs::symlink,
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

fn resource(host: &Host, slot: &str) -> String {
    host.slot::<dyn Tuned>(slot).unwrap().load().resource().unwrap()
}

fn wait_for_resource(host: &Host, slot: &str, wanted: &str) {
    wait_until(|| resource(host, slot) == wanted, "the resource");
}

#[test]
fn resources_that_exist_are_given_in_order_and_others_when_they_come() {
    let desk = Desk::new("");
    desk.resource("levels/one.txt", "easy");
    desk.publish("tuned", 1);
    let host = desk.host();
    let mut events = host.events();
    let slot = host.slot::<dyn Tuned>("tuned").unwrap();
    assert_eq!(slot.load().told().unwrap(), "nothing levels/one.txt init");
    assert_eq!(slot.load().add(3).unwrap(), 3);
    desk.resource("other.txt", "also");
    wait_for_config_applied(&mut events, "tuned");
    assert_eq!(slot.load().told().unwrap(), "nothing levels/one.txt other.txt init");
    desk.resource("levels/one.txt", "hard");
    wait_for_resource(&host, "tuned", "hard");
    assert_eq!(slot.load().add(1).unwrap(), 4, "its state has come with it");
    assert_gone(&host);
}

#[test]
fn refused_resource_leaves_the_last_good_one() {
    let desk = Desk::new("");
    desk.resource("levels/one.txt", "easy");
    desk.publish("tuned", 1);
    let host = desk.host();
    let mut events = host.events();
    desk.resource("levels/one.txt", "broken");
    let (_, slot, words) = wait_for_config_refused(&mut events);
    assert!(
        slot.as_deref() == Some("tuned") && words.contains("levels/one.txt") && words.contains("it is broken"),
        "{words}"
    );
    assert_eq!(resource(&host, "tuned"), "easy");
    desk.resource("levels/one.txt", "hard");
    wait_for_resource(&host, "tuned", "hard");
    assert_gone(&host);
}

#[test]
fn resource_may_go_come_back_and_be_reached_through_a_link() {
    let desk = Desk::new("");
    desk.resource("levels/one.txt", "easy");
    desk.publish("tuned-open", 1);
    let host = desk.host();
    let file = desk.settings.path().join("files/levels/one.txt");
    fs::remove_file(&file).unwrap();
    fs::write(&file, "hard").unwrap();
    wait_for_resource(&host, "tuned-open", "hard");
    let levels = desk.settings.path().join("files/levels");
    fs::create_dir(levels.join("..1")).unwrap();
    fs::write(levels.join("..1/one.txt"), "harder").unwrap();
    symlink("..1", levels.join("..data")).unwrap();
    fs::remove_file(&file).unwrap();
    symlink("..data/one.txt", &file).unwrap();
    wait_for_resource(&host, "tuned-open", "harder");
    fs::create_dir(levels.join("..2")).unwrap();
    fs::write(levels.join("..2/one.txt"), "hardest").unwrap();
    symlink("..2", levels.join("..data_tmp")).unwrap();
    fs::rename(levels.join("..data_tmp"), levels.join("..data")).unwrap();
    wait_for_resource(&host, "tuned-open", "hardest");
}

#[test]
fn resource_that_is_too_large_is_reported_and_not_passed_on() {
    let desk = Desk::new("");
    desk.resource("levels/one.txt", "easy");
    desk.publish("tuned", 1);
    let host = desk.host();
    let mut events = host.events();
    let large = desk.settings.path().join("files/levels/large");
    fs::File::create(&large).unwrap().set_len((64 << 20) + 1).unwrap();
    fs::rename(large, desk.settings.path().join("files/levels/one.txt")).unwrap();
    let (file, _, words) = wait_for_config_refused(&mut events);
    assert!(file.is_some() && words.contains("the limit is"), "{words}");
    assert_eq!(resource(&host, "tuned"), "easy");
}

#[test]
fn no_call_is_lost_while_resources_change() {
    let desk = Desk::new("");
    desk.resource("levels/one.txt", "0");
    desk.publish("tuned", 1);
    let host = desk.host();
    let slot = host.slot::<dyn Tuned>("tuned").unwrap();
    let done = AtomicBool::new(false);
    let added: u64 = thread::scope(|scope| {
        let callers: Vec<_> = (0..2)
            .map(|_| {
                scope.spawn(|| {
                    let mut added = 0;
                    while !done.load(Ordering::Relaxed) {
                        slot.load().add(1).unwrap();
                        added += 1;
                    }
                    added
                })
            })
            .collect();
        for n in 1..=10 {
            let text = n.to_string();
            desk.resource("levels/one.txt", &text);
            wait_for_resource(&host, "tuned", &text);
        }
        done.store(true, Ordering::Relaxed);
        callers.into_iter().map(|caller| caller.join().unwrap()).sum()
    });
    assert_eq!(slot.load().add(0).unwrap(), added);
    assert_gone(&host);
}
