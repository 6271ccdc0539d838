//! `demo`: a program reloads a plugin while it runs on recorded prices, and shows the cost and the leaks. Its exit code is 0
//! only if the new code ran, no call failed, no state was lost, and the old image was proven unmapped.

#![forbid(unsafe_code)]

mod checks;
mod course;
mod mistake;
mod timeline;

use anyhow::{Context, ensure};
use checks::Checks;
use course::{Course, Reload};
use reslot::{Host, mapped_copies};
use reslot_demo::workshop::{Build, PLUGIN, Workshop};
use reslot_demo::{
    desk::Desk,
    ticks::Feed,
    words::{self, bad, count, dim, duration, good, heading},
};
use reslot_tests::Footprint;
use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};
use timeline::Timeline;
use xtask::{Profile, Workspace, go::GoFigures};

/// From the rename to the first answer of the new code, the median of all further reloads.
const AIM: Duration = Duration::from_millis(1);

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let further = match arguments.as_slice() {
        [] => Some(200),
        [flag, number] if flag == "--reloads" => number.parse().ok(),
        _ => None,
    };
    let Some(further) = further else {
        anstream::eprintln!("usage: demo [--reloads NUMBER]    NUMBER of further reloads to take medians of (200)");
        return ExitCode::from(2);
    };
    match run(further) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            anstream::eprintln!("{} {error:#}", bad("error:"));
            ExitCode::FAILURE
        }
    }
}

fn run(further: usize) -> anyhow::Result<bool> {
    let repository = Workspace::read(&repository()?)?;
    let profile = if cfg!(debug_assertions) {
        Profile::Debug
    } else {
        Profile::Release
    };
    let workshop = Workshop::open(&repository, "demo", profile)?;

    title("A running program gets new code");
    anstream::println!(
        "This program trades, on recorded EUR/USD prices. At each price it asks a plugin, `{PLUGIN}`, what to do: native code,\n\
         an ordinary Rust library. You will see that library changed, rebuilt and reloaded while the program trades."
    );
    anstream::println!("\nThe plugin is built first …");
    let first = workshop
        .build()
        .context("the plugin cannot be built as it stands in plugins/momentum")?;
    first.publish()?;
    anstream::println!(
        "… in {}, {} KiB. The program starts and loads it.",
        duration(first.took),
        first.bytes.len() / 1024
    );
    let host = Host::builder()
        .policy(reslot::Policy::without_probation())
        .watch(workshop.folder())
        .build()?;
    let private = host.private_folder().to_owned();
    let desk = Desk::open(&host, PLUGIN, Feed::recorded()?)?;
    let mut course = Course::new(&host, desk);

    let (second, reload) = first_reload(&workshop, &mut course)?;
    let mut checks = Checks::default();
    checks.of_first_reload(&reload, mapped_copies(&private));

    title(&format!("{further} times more"));
    let before = Footprint::now();
    let reloads = further_reloads(&mut course, [&first, &second], further)?;
    let after = Footprint::now();
    let timelines: Vec<Timeline> = reloads.iter().map(|reload| reload.timeline.clone()).collect();
    anstream::println!(
        "The two builds take turns, {further} times, while prices flow: {} calls by now.\n",
        count(course.desk.calls().made)
    );
    timeline::print_medians(&timelines);
    checks.of_further_reloads(&reloads, mapped_copies(&private), (before, after));

    checks.of_course(&mut course);
    drop(course);
    drop(host);
    checks.of_end(mapped_copies(&private), !private.exists());

    title("A build with a mistake in it");
    checks.of_mistake(&mistake::show(&workshop, &second)?);

    title("For comparison: Go's plugin package and a replaced file");
    for line in GoFigures::known(&repository.target).in_words() {
        anstream::println!("  {line}");
    }

    title("What was promised");
    let kept = checks.print();
    print_speed(&timelines);
    anstream::println!(
        "\n{}",
        if kept {
            good("Every promise was kept.")
        } else {
            bad("Not every promise was kept: see FAILED above.")
        }
    );
    Ok(kept)
}

/// Changes and rebuilds the source beside the running loop; then the build is published and adopted.
fn first_reload(workshop: &Workshop, course: &mut Course) -> anyhow::Result<(Build, Reload)> {
    let begun = course.desk.summary().context("the plugin does not answer")?;
    anstream::println!("Edition {} of the code answers the calls.", begun.edition);

    title("Its source changes while it runs");
    anstream::println!(
        "{}",
        dim(format!("{} (a copy; plugins/ stays as it is)", workshop.source().display()))
    );
    for line in workshop.edit()? {
        anstream::println!("  {line}");
    }
    anstream::println!("cargo build …");
    let calls_before = course.desk.calls().made;
    let second = thread::scope(|scope| {
        let (built, building) = mpsc::channel();
        scope.spawn(move || built.send(workshop.build()));
        let mut next = Instant::now() + Duration::from_secs(1);
        course.run_until(&building, |desk| {
            if Instant::now() >= next {
                next += Duration::from_secs(1);
                anstream::println!(
                    "{}",
                    dim(format!("  … {} calls answered meanwhile", count(desk.calls().made)))
                );
            }
        })
    })?;
    let meanwhile = course.desk.calls().made - calls_before;
    anstream::println!(
        "Built in {}; meanwhile {} calls were answered. Now it is renamed into the folder that the host watches.",
        duration(second.took),
        count(meanwhile)
    );
    let publishing = &second;
    let reload = thread::scope(|scope| {
        let (renamed, renaming) = mpsc::channel();
        scope.spawn(move || renamed.send(publishing.publish()));
        course.run_through_reload(&renaming)
    })?;

    title("The running program loads the new build");
    reload.timeline.print();
    let (before, after) = (reload.adoption.before, reload.adoption.after);
    if let (Some(before), Some(after)) = (before, after) {
        anstream::println!("\n  before, said by edition {}:  {}", before.edition, words::state(&before));
        anstream::println!("  after,  said by edition {}:  {}", after.edition, words::state(&after));
    }
    title("What happened to the old code");
    anstream::println!(
        "  {}",
        reslot_demo::telling::in_words(&reslot::Event::Retired(reload.ended.clone())).unwrap_or_default()
    );
    anstream::println!("  Neither the loader nor the kernel (/proc/self/maps) knows its file any more.");
    Ok((second, reload))
}

fn further_reloads(course: &mut Course, builds: [&Build; 2], number: usize) -> anyhow::Result<Vec<Reload>> {
    thread::scope(|scope| {
        let (go, going) = mpsc::channel::<usize>();
        let (renamed, renaming) = mpsc::channel();
        scope.spawn(move || {
            for which in going {
                if renamed.send(builds[which].publish()).is_err() {
                    return;
                }
            }
        });
        (0..number)
            .map(|at| {
                go.send(at % 2).context("the thread that publishes has ended early")?;
                course.run_through_reload(&renaming)
            })
            .collect()
    })
}

/// The speed depends on the machine, so it is printed and not checked.
fn print_speed(timelines: &[Timeline]) {
    if timelines.is_empty() {
        return;
    }
    let median = timeline::median_total(timelines);
    let aim = AIM.as_micros();
    let compared = if cfg!(debug_assertions) {
        format!("in a debug build; `cargo xtask demo --release` compares with the aim of {aim} µs")
    } else if median <= AIM {
        format!("within the aim of {aim} µs")
    } else {
        format!("slower than the aim of {aim} µs")
    };
    anstream::println!(
        "  {}  from the rename to the first answer of the new code: median {} µs, {compared}",
        dim("note  "),
        median.as_micros(),
    );
}

fn title(words: &str) {
    anstream::println!("\n{}", heading(format!("── {words}")));
}

/// The repository: the one that `cargo run` names, or else the one in which this program was built.
fn repository() -> anyhow::Result<PathBuf> {
    let package =
        std::env::var_os("CARGO_MANIFEST_DIR").map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
    let root = package
        .ancestors()
        .find(|folder| folder.join("plugins").join(PLUGIN).is_dir());
    let root = root.map(Path::to_owned);
    ensure!(
        root.is_some(),
        "the repository is not at {} any more; build the demo again in it",
        package.display()
    );
    root.context("looked at above")
}
