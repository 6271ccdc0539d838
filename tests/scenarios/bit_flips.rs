//! Bits that flip in memory: in the code and the constants of an image, in a kept artifact, in a snapshot. Each is noticed, and the slot goes on
//! with intact code and its state.

mod answers;
mod image;
mod kept;

use crate::support::{PATIENCE, assert_nothing_left, copies, wait_for, wait_for_unmapped};
use fixture_interfaces::Moody;
use image::{Image, Place};
use reslot::{Comparison, DamagedImage, Event, Events, Host, ImageDifference, ImagePart, ImageReport, Policy};
use reslot_tests::{Fixture, Folder};
use std::{
    fs,
    path::PathBuf,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
    time::Duration,
};

const SLOT: &str = "moody";

fn build(stamp: u64) -> Vec<u8> {
    Fixture::build("fx-moody").stamped(stamp)
}

/// A probation that ends only by `confirm`.
fn policy(what: DamagedImage) -> Policy {
    Policy::development()
        .probation(Duration::from_secs(3600))
        .on_damaged_image(what)
}

/// A host with a moody counter of the total 5, from a confirmed build with the stamp 1000.
struct Desk {
    // Dropped first.
    host: Host,
    events: Events,
    folder: Folder,
}

impl Desk {
    fn new(policy: Policy) -> Self {
        let host = Host::builder().policy(policy).build().unwrap();
        let events = host.events();
        let desk = Self {
            host,
            events,
            folder: Folder::new(),
        };
        desk.load(1000);
        desk.host.confirm(SLOT).unwrap();
        assert_eq!(desk.add(5), 5);
        desk
    }

    fn load(&self, stamp: u64) -> PathBuf {
        let path = self.folder.publish("moody.so", &build(stamp));
        self.host.load(&path).unwrap();
        path
    }

    fn add(&self, n: u64) -> u64 {
        self.host.slot::<dyn Moody>(SLOT).unwrap().load().add(n).unwrap()
    }

    fn stamp(&self) -> u64 {
        self.host.slot::<dyn Moody>(SLOT).unwrap().load().stamp().unwrap()
    }

    fn wait_for_damage(&mut self) -> (u64, ImageDifference, usize) {
        wait_for(&mut self.events, |event| match event {
            Event::ImageDamaged {
                slot,
                generation,
                difference,
                more,
            } if &**slot == SLOT => Some((*generation, difference.clone(), *more)),
            _ => None,
        })
    }

    fn wait_for_renewed(&mut self) -> (u64, u64) {
        wait_for(&mut self.events, |event| match event {
            Event::ImageRenewed { generation, damaged, .. } => Some((*generation, *damaged)),
            _ => None,
        })
    }

    /// How many events of damage there were.
    fn damage_events(&self) -> usize {
        let mut events = self.host.events();
        let all = std::iter::from_fn(|| events.try_recv());
        all.filter(|record| matches!(record.event, Event::ImageDamaged { .. }))
            .count()
    }
}

/// Ends the threads that call, also if the test fails.
struct End<'a>(&'a AtomicBool);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// The only difference of the report on a generation.
fn only_difference(reports: &[ImageReport], generation: u64) -> &ImageDifference {
    let report = reports.iter().find(|report| report.generation == generation).unwrap();
    let [difference] = report.differences() else {
        panic!("{report:#?}")
    };
    difference
}

#[test]
fn images_are_intact_as_they_are_loaded() {
    for copies in [reslot::PrivateCopies::Files, reslot::PrivateCopies::Memory] {
        let folder = Folder::new();
        let host = Host::builder().private_copies(copies).build().unwrap();
        assert_eq!(host.verify_images(), []);
        let packages = [
            "fx-moody",
            "fx-counter",
            "fx-probe",
            "fx-stripped",
            "fx-workers",
            "fx-nodelete",
            "fx-logs",
        ];
        for package in packages {
            // Some of them are for the same slot.
            let _ = host.load_as(
                package,
                folder.publish(&format!("{package}.so"), Fixture::build(package).bytes()),
            );
        }
        let reports = host.verify_images();
        assert!(reports.len() >= 5, "{reports:#?}");
        for report in &reports {
            let Comparison::Compared(compared) = &report.comparison else {
                panic!("{report:#?}")
            };
            assert_eq!((&compared.differences[..], compared.more), (&[][..], 0), "{report}");
            let bytes = |wanted| {
                let parts = compared.parts.iter().filter(|(part, _)| *part == wanted);
                parts.map(|(_, bytes)| bytes).sum::<usize>()
            };
            assert!(bytes(ImagePart::Code) > 10_000, "{report}");
            assert!(bytes(ImagePart::Constants) > 10_000, "{report}");
            assert!(bytes(ImagePart::Relocated) > 1_000, "{report}");
            // What is bound to other libraries is a small part of what is relocated.
            assert!(
                (8..bytes(ImagePart::Relocated) / 4).contains(&compared.bound_bytes),
                "{compared:?}"
            );
            assert!(report.to_string().contains("as its artifact"), "{report}");
        }
    }
}

#[test]
fn flipped_bit_is_found_in_each_part_and_the_slot_goes_on_with_its_state_on_a_fresh_image() {
    for place in [Place::CODE, Place::CONSTANT, Place::RELOCATED] {
        let mut desk = Desk::new(policy(DamagedImage::Renew));
        let image = Image::only(&desk.host, &build(1000));
        let (done, calls) = (AtomicBool::new(false), AtomicU64::new(0));
        thread::scope(|scope| {
            let _end = End(&done);
            scope.spawn(|| {
                let slot = desk.host.slot::<dyn Moody>(SLOT).unwrap();
                while !done.load(Ordering::Relaxed) {
                    slot.load().add(1).unwrap();
                    calls.fetch_add(1, Ordering::Relaxed);
                }
            });
            let expected = image.flip(place, 0b0010_0000);
            let reports = desk.host.verify_images();
            let found = only_difference(&reports, 1);
            assert_eq!(found, &expected, "{place:?}");
            let mut events = desk.host.events();
            let told = wait_for(&mut events, |event| match event {
                Event::ImageRenewed { generation, damaged, .. } => Some((*generation, *damaged)),
                _ => None,
            });
            assert_eq!(told, (2, 1), "{place:?}");
        });
        assert_eq!(desk.wait_for_damage(), (1, only(&image, place), 0));
        assert_eq!(desk.wait_for_renewed(), (2, 1));
        assert_eq!((desk.add(1), desk.stamp()), (6 + calls.load(Ordering::Relaxed), 1000));
        wait_for_unmapped(&mut desk.events, SLOT, 1);
        let reports = desk.host.verify_images();
        assert_eq!(reports.len(), 1);
        assert!(!reports[0].is_damaged(), "{}", reports[0]);
        assert_nothing_left(&desk.host, 1);
        assert_eq!(desk.damage_events(), 1);
    }
}

/// What the flip in a place is expected to be found as.
fn only(image: &Image, place: Place) -> ImageDifference {
    image.expected(place, 0b0010_0000)
}

#[test]
fn host_scrubs_by_itself_if_the_policy_says_so() {
    let mut desk = Desk::new(policy(DamagedImage::Renew).scrub_every(Duration::from_millis(5)));
    let image = Image::only(&desk.host, &build(1000));
    image.flip(Place::CODE, 1);
    assert_eq!(desk.wait_for_damage().0, 1);
    assert_eq!(desk.wait_for_renewed(), (2, 1));
    assert_eq!((desk.add(1), desk.stamp()), (6, 1000));
    wait_for_unmapped(&mut desk.events, SLOT, 1);
    let report = desk.host.shutdown(PATIENCE);
    assert!(report.is_complete(), "{report}");
}

/// The kernel maps the private copy's pages of its page cache, so what happens to one of these is in the file as well.
#[test]
fn flip_in_the_page_cache_is_found_although_the_file_has_it_too() {
    let mut desk = Desk::new(policy(DamagedImage::Renew));
    let image = Image::only(&desk.host, &build(1000));
    let expected = [Place::CONSTANT, Place::CODE].map(|place| image.flip_in_file(place, 0b100));
    let reports = desk.host.verify_images();
    assert_eq!(reports[0].differences(), expected);
    let [first, _] = expected;
    assert_eq!(desk.wait_for_damage(), (1, first, 1));
    // Neither the copy nor its link in the history is intact, but the published file is.
    assert_eq!(desk.wait_for_renewed(), (2, 1));
    assert_eq!((desk.add(1), desk.stamp()), (6, 1000));
    wait_for_unmapped(&mut desk.events, SLOT, 1);
    assert!(!desk.host.verify_images()[0].is_damaged());
    // Nor is the fresh image made of the damaged bytes, in which case its reference would be as well.
    let fresh = Image::only(&desk.host, &build(1000));
    assert!([Place::CONSTANT, Place::CODE].iter().all(|place| fresh.is_as_built(*place)));
}

/// The first comparison reads the private copy, and a bit has flipped in it before that. Nothing has the bytes that were linted.
#[test]
fn copy_that_changed_before_the_first_comparison_is_damage_also_if_no_file_says_where() {
    let mut desk = Desk::new(policy(DamagedImage::Renew));
    let before = copies(desk.host.private_folder());
    let path = desk.load(1001);
    desk.host.confirm(SLOT).unwrap();
    wait_for_unmapped(&mut desk.events, SLOT, 1);
    let copies = copies(desk.host.private_folder());
    let copy = copies.iter().find(|copy| !before.contains(copy)).unwrap();
    fs::remove_file(path).unwrap();
    Image::of(copy.clone(), &build(1001)).flip_in_file(Place::CONSTANT, 1);
    let reports = desk.host.verify_images();
    let difference = only_difference(&reports, 2);
    assert_eq!(difference.part, ImagePart::PrivateCopy, "{}", reports[0]);
    assert_eq!(&desk.wait_for_damage().1, difference);
    // No file has the bytes for a fresh image, so an older version is better.
    let report = wait_for(&mut desk.events, |event| match event {
        Event::RolledBack(report) => Some(report.clone()),
        _ => None,
    });
    assert_eq!((report.from, report.to, report.reason.kind()), (2, 3, "damaged"));
    assert_eq!((desk.add(1), desk.stamp()), (6, 1000));
    wait_for_unmapped(&mut desk.events, SLOT, 2);
    assert!(!desk.host.verify_images().iter().any(ImageReport::is_damaged));
}

#[test]
fn many_differences_are_cut_and_each_is_reported_once() {
    // No check runs code of the image while many of its bits are flipped.
    let mut desk = Desk::new(policy(DamagedImage::Report).without_health_checks());
    let image = Image::only(&desk.host, &build(1000));
    let first = image.flip(Place::CODE, 1);
    assert_eq!(only_difference(&desk.host.verify_images(), 1), &first);
    assert_eq!(desk.wait_for_damage(), (1, first.clone(), 0));
    // Another comparison finds it again, and tells nothing new.
    assert_eq!(only_difference(&desk.host.verify_images(), 1), &first);
    let second = image.flip(Place::CONSTANT, 0b11);
    let reports = desk.host.verify_images();
    assert_eq!(reports[0].differences().len(), 2, "{}", reports[0]);
    let (generation, told, more) = desk.wait_for_damage();
    assert_eq!((generation, &told, more), (1, &second, 0));
    assert_eq!(desk.damage_events(), 2);
    // Nothing follows.
    assert_eq!((desk.add(1), desk.stamp()), (6, 1000));
    assert_eq!(desk.host.slots()[0].generation, Some(1));
    let many = image.flip_many_constants();
    let reports = desk.host.verify_images();
    image.flip_many_constants();
    let Comparison::Compared(compared) = &reports[0].comparison else {
        panic!("{}", reports[0])
    };
    assert_eq!(compared.differences.len(), reslot::ComparedParts::MOST_DIFFERENCES);
    // The function and the text are still damaged, and no place is beside another.
    let found = compared.differences.len() + compared.more;
    assert_eq!(found, many + 2, "{}", reports[0]);
}

#[test]
fn reloads_under_scrubbing_and_callers_give_no_false_alarm_and_leave_nothing() {
    let policy = Policy::without_probation().scrub_every(Duration::from_micros(1));
    let desk = Desk::new(policy);
    let done = AtomicBool::new(false);
    let calls = AtomicU64::new(0);
    thread::scope(|scope| {
        let _end = End(&done);
        for _ in 0..2 {
            scope.spawn(|| {
                let slot = desk.host.slot::<dyn Moody>(SLOT).unwrap();
                while !done.load(Ordering::Relaxed) {
                    slot.load().add(1).unwrap();
                    calls.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        // Somebody asks all the time, so that comparisons run beside each unload although they are idle.
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                for report in desk.host.verify_images() {
                    assert!(!report.is_damaged(), "{report}");
                }
            }
        });
        for stamp in 1001..1061 {
            desk.load(stamp);
        }
    });
    assert_eq!(desk.add(1), 6 + calls.load(Ordering::Relaxed));
    assert_eq!(desk.damage_events(), 0);
    assert_nothing_left(&desk.host, 1);
    let report = desk.host.shutdown(PATIENCE);
    assert!(report.is_complete(), "{report}");
}
