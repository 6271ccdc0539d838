//! How long a reload takes, from the rename of the finished file into place to the first call answered by the new code, as a
//! caller sees it, and by step: `cargo xtask bench reload`. By the artifact's size and profile; with a state and without; beside
//! what any loader must do, and beside other reloaders; what the watch's window adds; and by the host's policy.

mod artifacts;
mod ours;
#[cfg(feature = "peers")]
mod peers;

use artifacts::{Class, Publish, Reloads, rounds};
use ours::{Floor, Ours, Way};
use reslot::{Host, HostBuilder, Policy, Preflight};
use reslot_bench::{PADDING, Report, Row, only_a_test};
use reslot_tests::{Fixture, Profile, preflight_program};
use std::time::Duration;

/// What is measured at a size, and how often: everybody, and those that take half a second.
const SIZES: [(Class, u64, u64); 5] = [
    (class(Profile::Release, None), 60, 12),
    (class(Profile::Release, Some(5_000_000)), 20, 4),
    (class(Profile::Release, Some(50_000_000)), 5, 2),
    // Of itself five megabytes.
    (class(Profile::Debug, None), 20, 4),
    (class(Profile::Debug, Some(50_000_000)), 5, 2),
];

const fn class(profile: Profile, size: Option<usize>) -> Class {
    Class { profile, size }
}

fn main() -> anyhow::Result<()> {
    let mut report = Report::new("reload");
    let sizes = if only_a_test() { &SIZES[..1] } else { &SIZES[..] };
    for (at, (class, many, few)) in sizes.iter().enumerate() {
        let (many, few) = if only_a_test() { (3, 1) } else { (*many, *few) };
        by_size(&mut report, *class, many, few, at == 0);
    }
    let small = SIZES[0].0;
    the_window(&mut report, small, if only_a_test() { 3 } else { 60 });
    by_policy(&mut report, if only_a_test() { 2 } else { 40 });
    #[cfg(feature = "peers")]
    smallest_debounce(&mut report, sizes);
    report.finish()
}

/// With the watch's window at zero.
fn no_window() -> HostBuilder {
    Host::builder().debounce(Duration::ZERO)
}

fn built(way: Way, profile: Profile) -> Fixture {
    Fixture::build_with(way.package(), &[], profile)
}

/// Everybody, at one size. `promised`: what README promises is promised of this one.
fn by_size(report: &mut Report, class: Class, many: u64, few: u64, promised: bool) {
    let stateless = class.take(built(Way::Smallest, class.profile), 0);
    let size = stateless.bytes().len();
    let with_state = class.take(built(Way::Megabyte, class.profile), 0);
    let name = class.name(&stateless);

    let mut floor = Floor::new(&stateless);
    let mut zero = Ours::new(no_window(), &stateless, Way::Smallest);
    let mut default = Ours::new(Host::builder(), &stateless, Way::Smallest);
    let mut state = Ours::new(Host::builder(), &with_state, Way::Megabyte);
    #[cfg(feature = "peers")]
    let mut peers = ByOthers::new(class, size);
    let mut all: Vec<(&mut dyn Reloads, u64)> = vec![
        (&mut floor, many),
        (&mut zero, many),
        (&mut default, many),
        (&mut state, many),
    ];
    #[cfg(feature = "peers")]
    all.extend(peers.all(many, few));
    rounds(&mut all);

    report.heading(format!("From rename to first new answer: {name}"));
    let padding = class.size.map_or_else(
        || format!("as cargo builds it, with its symbols: {size} bytes"),
        |_| format!("padded to {size} bytes by {PADDING}"),
    );
    let bare = format!("read, copy, dlopen, dlsym, dlclose: {name}");
    report.row(Row::new(&bare, &floor.times, "ms").note(padding));
    let host = "the default host, but for the watch's window; a reader's view before each call";
    let mut row = Row::new(format!("Reslot, window zero: {name}"), &zero.times, "ms").note(host);
    if promised {
        row = row.at_most(0.5).quoted();
    }
    report.row(row);
    let ours = format!("Reslot: {name}");
    let mut row = Row::new(&ours, &default.times, "ms").against(&bare, &default.times.over(&floor.times));
    row = row.note("the default host");
    report.row(if class.size.is_some() { row.quoted() } else { row });
    let bytes = state.state.unwrap_or(0);
    let carried = format!("Reslot, claimed, 1 MB of state: {}", class.name(&with_state));
    let mut row = Row::new(&carried, &state.times, "ms").against(&ours, &state.times.over(&default.times));
    row = row.note(format!("the default host; the state is {bytes} bytes, encoded"));
    report.row(if promised { row.quoted() } else { row });
    #[cfg(feature = "peers")]
    peers.rows(report, &name, &zero.times, promised);
    #[cfg(not(feature = "peers"))]
    let _ = few;

    report.heading(format!("By step: {name}"));
    by_step(report, "no state", &default);
    by_step(report, "1 MB of state", &state);
}

/// The others, at one size.
#[cfg(feature = "peers")]
struct ByOthers {
    hot: peers::HotLib,
    in_place: peers::Relib,
    copied: peers::Relib,
}

#[cfg(feature = "peers")]
impl ByOthers {
    fn new(class: Class, size: usize) -> Self {
        let relib = Fixture::build_with("peer-reload-relib", &["plugin"], class.profile);
        let relib = class.take(relib, size);
        let hot = class.take(Fixture::build_with("peer-reload-hot-lib", &[], class.profile), size);
        Self {
            hot: peers::HotLib::new(peers::Debounce::Default, &hot),
            in_place: peers::Relib::new(false, &relib),
            copied: peers::Relib::new(true, &relib),
        }
    }

    fn all(&mut self, many: u64, few: u64) -> [(&mut dyn Reloads, u64); 3] {
        [(&mut self.in_place, many), (&mut self.copied, many), (&mut self.hot, few)]
    }

    fn rows(&self, report: &mut Report, name: &str, ours: &reslot_bench::Samples, promised: bool) {
        let in_place = format!("relib 0.7.2, load in its place: {name}");
        let told = "told at once, for it does not watch; padded to the size of ours where it is smaller";
        report.row(Row::new(&in_place, &self.in_place.times, "ms").note(format!("{told}; nothing serves meanwhile")));
        let copied = format!("relib 0.7.2, copy and load: {name}");
        report.row(Row::new(&copied, &self.copied.times, "ms").note(format!("{told}; the old one is unloaded afterwards")));
        let hot = format!("hot-lib-reloader 0.8.2, its default: {name}");
        report.row(
            Row::new(&hot, &self.hot.times, "ms").note("its debounce of 500 ms; its calls held back until it has reloaded"),
        );
        let mut to_relib = Row::new(format!("Reslot over relib's copy and load: {name}"), ours, "ms")
            .against(&copied, &ours.over(&self.copied.times));
        let mut to_hot = Row::new(format!("Reslot over hot-lib-reloader's default: {name}"), ours, "ms")
            .against(&hot, &ours.over(&self.hot.times));
        if promised {
            to_relib = to_relib.at_most(0.33).quoted();
            to_hot = to_hot.at_most(0.01).quoted();
        }
        report.row(to_relib);
        report.row(to_hot);
    }
}

fn by_step(report: &mut Report, which: &str, ours: &Ours) {
    let mut known = 0.0;
    let whole = ours.times.median() * 1e3;
    for (step, times) in &ours.steps {
        // What takes less than a hundredth of the whole belongs to the rest.
        if times.median() * 100.0 > whole {
            known += times.median();
            report.row(Row::new(format!("{step}: {which}"), times, "µs"));
        }
    }
    let row = Row::single(format!("the rest: {which}"), whole - known, "µs");
    let rest = "steps below a hundredth, the event's way from the kernel, those between threads, and the caller's; medians' difference";
    report.row(row.note(rest));
}

/// What the debounce adds, for a file renamed into place and for one written there.
fn the_window(report: &mut Report, class: Class, many: u64) {
    let fixture = class.take(built(Way::Smallest, class.profile), 0);
    let new = |builder, publish| Ours::new(builder, &fixture, Way::Smallest).published_by(publish);
    let mut renamed = [no_window(), Host::builder()].map(|builder| new(builder, Publish::Rename));
    let mut written = [no_window(), Host::builder()].map(|builder| new(builder, Publish::Overwrite));
    let mut replaced = new(Host::builder(), Publish::Replace);
    let all = renamed.iter_mut().chain(&mut written).chain([&mut replaced]);
    rounds(&mut all.map(|ours| (ours as &mut dyn Reloads, many)).collect::<Vec<_>>());
    report.heading(format!("What the watch's window adds: {}", class.name(&fixture)));
    let zero = "renamed into place, window zero";
    report.row(Row::new(zero, &renamed[0].times, "ms"));
    let ratios = renamed[1].times.over(&renamed[0].times);
    let row = Row::new("renamed into place, the default window", &renamed[1].times, "ms");
    report.row(row.against(zero, &ratios).at_most(1.05).quoted());
    let ratios = replaced.times.over(&renamed[0].times);
    let row = Row::new("renamed onto the old file, the default window", &replaced.times, "ms");
    report.row(
        row.against(zero, &ratios)
            .note("the file system frees the old file within the rename"),
    );
    let zero = "written in its place, window zero";
    let from = "from the last byte written, just before the file is closed";
    report.row(Row::new(zero, &written[0].times, "ms").note(from));
    let ratios = written[1].times.over(&written[0].times);
    let row = Row::new("written in its place, the default window", &written[1].times, "ms");
    report.row(row.against(zero, &ratios).note(from));
    let added = written[1].times.less(&written[0].times);
    let row = Row::new("added by the default window to a file written in its place", &added, "ms");
    report.row(row.at_most(5.0).quoted().note("round by round"));
}

/// What is compared: the name, and how its host is built.
fn policies() -> [(&'static str, HostBuilder); 3] {
    let mut preflight = Policy::without_probation();
    let how = Preflight {
        program: Some(preflight_program().to_owned()),
        ..Preflight::default()
    };
    preflight.preflight = Some(how);
    [
        ("no probation", Host::builder().policy(Policy::without_probation())),
        ("development, the default", Host::builder().policy(Policy::development())),
        ("preflight, no probation", Host::builder().policy(preflight)),
    ]
}

fn by_policy(report: &mut Report, many: u64) {
    let ways = [
        ("open, no state", Way::Open),
        ("open, with state", Way::OpenWithState),
        ("claimed, no state", Way::Claimed),
        ("claimed, with state", Way::ClaimedWithState),
    ];
    let mut floor = Floor::new(&Fixture::build(Way::Open.package()));
    let mut rows = Vec::new();
    for (form, way) in ways {
        for (policy, builder) in policies() {
            let ours = Ours::new(builder, &Fixture::build(way.package()), way);
            rows.push((format!("{form}: {policy}"), ours));
        }
    }
    let mut all: Vec<(&mut dyn Reloads, u64)> = vec![(&mut floor, many)];
    all.extend(rows.iter_mut().map(|(_, ours)| (ours as &mut dyn Reloads, many)));
    rounds(&mut all);
    report.heading("By policy: a few bytes of state, artifacts of 0.7 to 0.8 MB, release");
    let bare = "read, copy, dlopen, dlsym, dlclose";
    report.row(Row::new(bare, &floor.times, "ms"));
    for (name, ours) in &rows {
        report.row(Row::new(name, &ours.times, "ms").against(bare, &ours.times.over(&floor.times)));
    }
}

/// hot-lib-reloader with the smallest debounce that lets it sleep, and Reslot in the same rounds. Last, for its watch wakes up
/// four thousand times a second from now on, and cannot be ended.
#[cfg(feature = "peers")]
fn smallest_debounce(report: &mut Report, sizes: &[(Class, u64, u64)]) {
    report.heading("hot-lib-reloader with the smallest debounce, 1 ms");
    for (class, many, _) in sizes {
        let fixture = class.take(built(Way::Smallest, class.profile), 0);
        let peer = Fixture::build_with("peer-reload-hot-lib", &[], class.profile);
        let peer = class.take(peer, fixture.bytes().len());
        let mut hot = peers::HotLib::new(peers::Debounce::Smallest, &peer);
        let mut ours = Ours::new(Host::builder(), &fixture, Way::Smallest);
        let many = if only_a_test() { 2 } else { *many };
        rounds(&mut [(&mut hot, many), (&mut ours, many)]);
        let name = class.name(&fixture);
        let base = format!("hot-lib-reloader 0.8.2, 1 ms: {name}");
        report.row(Row::new(&base, &hot.times, "ms"));
        let row = Row::new(format!("Reslot beside it: {name}"), &ours.times, "ms");
        report.row(row.against(&base, &ours.times.over(&hot.times)));
    }
}
