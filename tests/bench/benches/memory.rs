//! Resident bytes a generation: `cargo xtask bench memory`. What one more current image takes, what one more standby takes,
//! and what is left of each that has gone, after 10 reloads and after 10,000. What libc keeps only for later is given back first.

use fixture_interfaces::Probe;
use reslot::{Host, Policy};
use reslot_bench::{Report, Row, Samples, only_a_test};
use reslot_tests::{Fixture, Folder, Footprint};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(60);
const ROUNDS: usize = 5;

fn main() -> anyhow::Result<()> {
    let mut report = Report::new("memory");
    report.heading("Resident memory");
    mapped(&mut report);
    gone(&mut report);
    report.finish()
}

fn resident() -> f64 {
    Footprint::trimmed().resident_kib as f64 * 1024.0
}

fn publish(folder: &Folder, fixture: &mut Fixture, stamp: u64) -> std::path::PathBuf {
    fixture.stamp(stamp);
    folder.publish(fixture.file(), fixture.bytes())
}

/// With a probation that does not end, the replaced image stays complete beside the one that serves.
fn mapped(report: &mut Report) {
    let policy = Policy::development().probation(Duration::from_secs(3600));
    let (mut first, mut second) = (Samples::new(), Samples::new());
    for round in 0..ROUNDS as u64 {
        let host = Host::builder().policy(policy.clone()).build().expect("the host starts");
        let (folder, mut fixture) = (Folder::new(), Fixture::build("fx-probe"));
        let mut before = resident();
        for (at, samples) in [&mut first, &mut second].into_iter().enumerate() {
            host.load(publish(&folder, &mut fixture, 10 * round + at as u64))
                .expect("the fixture loads");
            host.slot::<dyn Probe>("probe")
                .expect("it serves")
                .load()
                .stamp()
                .expect("it serves");
            let now = resident();
            samples.push(now - before);
            before = now;
        }
    }
    report.row(Row::new("a slot's first image, and its one call", &first, "bytes").quoted());
    report.row(Row::new("one that stands by, beside the one that serves", &second, "bytes").quoted());
}

fn gone(report: &mut Report) {
    let host = Host::builder()
        .policy(Policy::without_probation())
        .build()
        .expect("the host starts");
    let (folder, mut fixture) = (Folder::new(), Fixture::build("fx-probe"));
    let mut stamp = 100;
    let mut reload = |count: u64| {
        for _ in 0..count {
            stamp += 1;
            host.load(publish(&folder, &mut fixture, stamp)).expect("the fixture loads");
            assert!(host.wait_until_retired(PATIENCE), "an old image stays");
        }
    };
    // The first ones fill what is kept for all that follow: threads, the history's two, the list of events.
    reload(2);
    let begun = resident();
    reload(10);
    let (ten, most) = (resident(), if only_a_test() { 100 } else { 10_000 });
    reload(most);
    let (all, note) = (resident(), "what is left of each");
    report.row(Row::single("a generation that has gone, of the first 10", (ten - begun) / 10.0, "bytes").note(note));
    let of_all = Row::single(
        format!("a generation that has gone, of {most} more"),
        (all - ten) / most as f64,
        "bytes",
    );
    report.row(of_all.note(note).quoted());
    reload(most);
    let of_next = (resident() - all) / most as f64;
    let of_next = Row::single(format!("a generation that has gone, of another {most}"), of_next, "bytes");
    report.row(of_next.note("the list of events is full by then").quoted());
}
