//! The desk's claims, tested with real builds of its plugins over its whole recorded input.
#![forbid(unsafe_code)]

use desk_interfaces::Side;
use reslot::{Cause, Event, Host, LoadOutcome, Outcome, Policy, Refusal, RollbackState};
use reslot_desk::{
    desk::{Desk, RISK, STRATEGIES},
    gate,
    input::{Row, recorded},
    recount::{Recount, recount},
    show::Show,
    story::tell,
    variants::Builds,
};
use std::{
    fs,
    sync::{OnceLock, mpsc},
    thread,
    time::{Duration, Instant},
};

const MAKER: usize = 0;
const MOMENTUM: usize = 1;
/// Much longer than any step needs.
const PATIENCE: Duration = Duration::from_secs(60);

fn builds() -> &'static Builds {
    static BUILDS: OnceLock<Builds> = OnceLock::new();
    BUILDS.get_or_init(|| Builds::make().unwrap())
}

fn rows() -> Vec<Row> {
    static ROWS: OnceLock<Vec<Row>> = OnceLock::new();
    ROWS.get_or_init(|| recorded().unwrap()).clone()
}

fn host(policy: Policy) -> Host {
    let host = Host::builder().policy(policy).build().unwrap();
    for build in ["maker", "momentum", "risk"] {
        host.load(builds().path(build)).unwrap();
    }
    host
}

/// A probation that does not end while a test is slow.
fn on_probation() -> Policy {
    Policy::development().probation(Duration::from_secs(3600))
}

/// The current generation of a strategy.
fn serving(desk: &Desk<'_>, of: usize) -> u64 {
    desk.generation(of).expect("a generation serves")
}

fn steps(desk: &mut Desk<'_>, rows: usize) {
    for _ in 0..rows {
        assert!(desk.step(), "the input is long enough");
    }
}

fn to_the_end(desk: &mut Desk<'_>) {
    while desk.step() {}
}

/// The journal of a run without any reload.
fn undisturbed() -> &'static str {
    static JOURNAL: OnceLock<String> = OnceLock::new();
    JOURNAL.get_or_init(|| {
        let host = host(Policy::without_probation());
        let mut desk = Desk::open(&host, rows()).unwrap();
        to_the_end(&mut desk);
        assert_eq!(desk.swaps, 0);
        desk.journal.text().to_owned()
    })
}

/// Asserts that the book of record equals the recount of the journal.
fn recounted(desk: &Desk<'_>) -> Recount {
    let count = recount(desk.journal.text()).unwrap();
    assert_eq!(count.orders, desk.record.sent());
    let resting: Vec<_> = desk.record.resting().map(|order| (order.id, order.open)).collect();
    assert_eq!(
        count.resting.iter().map(|(id, open)| (*id, *open)).collect::<Vec<_>>(),
        resting
    );
    for (of, (name, _)) in STRATEGIES.into_iter().enumerate() {
        let read = count.holdings.get(name).copied().unwrap_or_default();
        assert_eq!(read, desk.record.holding(of), "{name}");
    }
    count
}

/// The number of retired generations that are proven unmapped.
fn unmapped(host: &Host) -> u64 {
    let mut events = host.events();
    let told = std::iter::from_fn(|| events.try_recv());
    let gone = told.filter(|record| match &record.event {
        Event::Retired(report) => report.served && matches!(report.outcome, Outcome::Unmapped(_)),
        _ => false,
    });
    gone.count() as u64
}

/// Waits until this many are unmapped, because the report comes a little later.
fn unmapped_in_the_end(host: &Host, due: u64) -> u64 {
    let mut events = host.events();
    while unmapped(host) < due && events.recv_timeout(PATIENCE).is_some() {}
    unmapped(host)
}

fn refusal(host: &Host) -> Refusal {
    let mut events = host.events();
    std::iter::from_fn(|| events.try_recv())
        .find_map(|record| match &record.event {
            Event::Refused(refusal) => Some(refusal.clone()),
            _ => None,
        })
        .expect("something was refused")
}

#[test]
fn thousand_swaps_of_the_same_build_leave_the_journal_as_it_is() {
    let host = host(Policy::without_probation());
    let mut desk = Desk::open(&host, rows()).unwrap();
    let (_, rows) = desk.progress();
    let (twin, maker) = (builds().path("maker-twin"), builds().path("maker"));
    let mut swaps = 0;
    while swaps < 1_000 {
        let build = if swaps % 2 == 0 { &twin } else { &maker };
        let before: Vec<_> = desk.record.resting().copied().collect();
        let outcome = host.load(build).unwrap();
        assert!(matches!(outcome, LoadOutcome::Staged { .. }), "{outcome:?}");
        assert!(desk.record.resting().eq(&before), "orders rest whatever is loaded");
        steps(&mut desk, rows / 1_000);
        swaps += 1;
        assert_eq!(serving(&desk, MAKER), swaps + 1);
    }
    to_the_end(&mut desk);
    assert_eq!((desk.swaps, desk.disturbed), (1_000, 0));
    let count = recounted(&desk);
    assert!(count.orders > 400 && count.fills > 300, "{count:?}");
    assert_eq!(count.holdings.len(), 2, "both strategies have traded");
    assert!(desk.journal.text() == undisturbed(), "byte by byte");
    assert!(serving(&desk, MAKER) > 1_000 && serving(&desk, MOMENTUM) == 1);
    assert_eq!(desk.latency.counts()[2], 1_000);
}

#[test]
fn reloads_from_the_watched_folder_at_any_moment_leave_the_journal_as_it_is() {
    const RELOADS: u64 = 20;
    let folder = tempfile::tempdir().unwrap();
    let publish = |build: &str| {
        let (new, path) = (folder.path().join(".new"), folder.path().join("libdesk_maker.so"));
        fs::copy(builds().path(build), &new).unwrap();
        fs::rename(new, path).unwrap();
    };
    publish("maker");
    let host = Host::builder().policy(Policy::without_probation()).watch(folder.path());
    let host = host.build().unwrap();
    for build in ["momentum", "risk"] {
        host.load(builds().path(build)).unwrap();
    }
    let mut desk = Desk::open(&host, rows()).unwrap();
    let (_, rows) = desk.progress();
    let mut events = host.events();
    let (adopted, told) = mpsc::channel();
    let mut preparing = 0;
    thread::scope(|scope| {
        scope.spawn(move || {
            for reload in 1..=RELOADS {
                publish(if reload % 2 == 1 { "maker-twin" } else { "maker" });
                while told.recv_timeout(PATIENCE).is_ok_and(|adopted: u64| adopted < reload) {}
            }
        });
        for row in 1..=rows {
            assert!(desk.step());
            preparing += u64::from(desk.swaps < RELOADS);
            let mut swaps = desk.swaps;
            let _ = adopted.send(swaps);
            // The desk plays fast, so the test waits when the reloads are more than two behind.
            let deadline = Instant::now() + PATIENCE;
            while desk.swaps + 2 < row as u64 * (RELOADS + 1) / rows as u64 && Instant::now() < deadline {
                let _ = events.recv_timeout(Duration::from_millis(20));
                desk.gap();
                if desk.swaps != std::mem::replace(&mut swaps, desk.swaps) {
                    let _ = adopted.send(swaps);
                }
            }
        }
        drop(adopted);
    });
    assert!(desk.swaps + 2 >= RELOADS, "{} reloads", desk.swaps);
    assert!(preparing > 10_000, "they were prepared while it traded");
    assert_eq!(desk.disturbed, 0);
    recounted(&desk);
    assert!(desk.journal.text() == undisturbed(), "byte by byte");
    // Another build may be waiting already, so the test does not wait for a number of images.
    assert_eq!(unmapped_in_the_end(&host, desk.swaps), desk.swaps, "all proven unmapped");
    assert_eq!(host.images().quarantined, 0);
}

#[test]
fn still_mapped_images_are_reported() {
    let host = host(on_probation());
    let mut desk = Desk::open(&host, rows()).unwrap();
    steps(&mut desk, 100);
    host.load(builds().path("maker-wider")).unwrap();
    steps(&mut desk, 1);
    assert_eq!((host.images().mapped, host.images().standby), (4, 1), "there is a way back");
    assert_eq!(unmapped(&host), 0);
    host.confirm("desk-maker").unwrap();
    assert!(host.wait_until_retired(PATIENCE));
    assert_eq!((host.images().mapped, host.images().standby), (3, 0));
    assert_eq!(unmapped_in_the_end(&host, 1), 1);
    let told = desk.timeline.join("\n");
    let micros = |after: &str| told.split(after).nth(1)?.split(' ').next()?.parse::<u64>().ok();
    assert!(
        micros("desk-maker: generation 2 decides; prepared beside ") > Some(0),
        "{told}"
    );
    assert!(micros(" µs, paused ") > Some(0), "{told}");
}

#[test]
fn orders_that_are_filled_at_once_leave_a_journal_that_does_not_step_back() {
    let host = host(Policy::without_probation());
    let mut desk = Desk::open(&host, rows()).unwrap();
    host.load(builds().path("maker-crosses")).unwrap();
    steps(&mut desk, 2_000);
    let count = recounted(&desk);
    assert!(count.fills > 20, "{count:?}");
}

#[test]
fn days_follow_each_other_with_a_journal_that_can_be_read() {
    let host = host(Policy::without_probation());
    let mut desk = Desk::open(&host, rows()).unwrap();
    steps(&mut desk, 5_000);
    assert!(desk.record.resting().next().is_some());
    let sent = desk.record.sent();
    desk.next_day();
    assert_eq!((desk.progress().0, desk.record.resting().count()), (0, 0));
    recounted(&desk);
    steps(&mut desk, 5_000);
    assert!(desk.record.sent() > sent + 10, "it trades again");
    recounted(&desk);
}

#[test]
fn changed_parameter_is_live_at_the_next_event_with_position_and_average() {
    let host = host(Policy::without_probation());
    let mut desk = Desk::open(&host, rows()).unwrap();
    steps(&mut desk, 5_000);
    let before = desk.summary(MAKER).unwrap();
    assert!(before.events > 1_000 && before.average > 0.0);
    host.load(builds().path("maker-wider")).unwrap();
    assert_eq!(serving(&desk, MAKER), 1, "not before the next row");
    steps(&mut desk, 1);
    assert_eq!(serving(&desk, MAKER), 2);
    let after = desk.summary(MAKER).unwrap();
    assert_eq!((before.edition, after.edition), (1, 2));
    assert!(after.events >= before.events, "nothing was forgotten");
    assert!((after.average - before.average).abs() < 5.0, "{before:?} {after:?}");

    host.load(builds().path("maker-counts")).unwrap();
    let seen = desk.summary(MAKER).unwrap().events;
    steps(&mut desk, 200);
    let last = desk.summary(MAKER).unwrap();
    let of_the_new_field = u64::from(last.edition - 1_000);
    assert!(of_the_new_field > 100, "{last:?}");
    assert_eq!(
        of_the_new_field,
        last.events - seen,
        "it began at its default, beside a state that went on"
    );
    let sent_by: Vec<_> = desk
        .record
        .resting()
        .map(|order| (order.strategy, order.generation))
        .collect();
    assert!(
        sent_by.iter().any(|(of, generation)| *of == MAKER && *generation > 1),
        "{sent_by:?}"
    );
    recounted(&desk);
}

#[test]
fn shadow_agrees_or_says_where_it_does_not_and_orders_nothing() {
    let host = host(Policy::without_probation());
    let mut desk = Desk::open(&host, rows()).unwrap();
    steps(&mut desk, 3_000);
    desk.try_out(MAKER, &builds().path("maker-twin")).unwrap();
    desk.try_out(MOMENTUM, &builds().path("momentum-bolder")).unwrap();
    steps(&mut desk, 10_000);
    let same = desk.strategies[MAKER].trial.take().unwrap().verdict.clone();
    assert!(same.events > 5_000 && same.orders > 100, "{same}");
    assert_eq!(
        (same.agreed, &same.first_difference, &same.against),
        (same.events, &None, &None)
    );
    let bolder = desk.strategies[MOMENTUM].trial.take().unwrap().verdict.clone();
    let (event, done, wanted) = bolder.first_difference.clone().expect("a lower threshold differs somewhere");
    assert!(bolder.agreed < bolder.events && done != wanted, "{bolder}");
    assert!(
        event > 3_000 && bolder.to_string().contains("where nothing was done"),
        "{bolder}"
    );
    to_the_end(&mut desk);
    assert!(desk.journal.text() == undisturbed(), "what was on trial has sent nothing");

    desk.strategies[MAKER].trial = None;
    assert!(desk.promote(MAKER).unwrap_err().to_string().contains("nothing is on trial"));
}

#[test]
fn promotion_of_a_shadow_that_agreed_is_a_reload() {
    let host = host(Policy::without_probation());
    let mut desk = Desk::open(&host, rows()).unwrap();
    desk.try_out(MAKER, &builds().path("maker-twin")).unwrap();
    steps(&mut desk, 2_000);
    let verdict = desk.promote(MAKER).unwrap();
    assert_eq!(verdict.agreed, verdict.events);
    to_the_end(&mut desk);
    assert_eq!(serving(&desk, MAKER), 2);
    assert!(desk.journal.text() == undisturbed());
}

#[test]
fn orders_without_limit_are_not_promoted_and_if_forced_stopped_and_left() {
    let host = host(on_probation());
    let mut desk = Desk::open(&host, rows()).unwrap();
    steps(&mut desk, 3_000);
    let faulty = builds().path("maker-forgets-its-orders");
    desk.try_out(MAKER, &faulty).unwrap();
    steps(&mut desk, 1_000);
    let against = desk.promote(MAKER).unwrap_err().to_string();
    assert!(against.contains("where 150 are allowed"), "{against}");
    steps(&mut desk, 1);
    assert_eq!(serving(&desk, MAKER), 1);
    assert!(undisturbed().starts_with(desk.journal.text()), "nothing has come of it");

    host.load(&faulty).unwrap();
    let (sent, before) = (desk.record.sent(), desk.timeline.len());
    steps(&mut desk, 2_000);
    let told = desk.timeline[before..].join("\n");
    assert!(
        told.contains("nothing passes the gate: ") && told.contains("1 decides again"),
        "{told}"
    );
    assert_eq!((serving(&desk, MAKER), desk.strategies[MAKER].halted), (1, false));
    let faulty_sent = desk.journal.text().lines().filter(|line| line.contains(" order ")).count() as u64 - sent;
    assert!(faulty_sent <= 3 * gate::OFTEN as u64, "{faulty_sent}");
    let last = desk.summary(MAKER).unwrap();
    assert_eq!(last.edition, 1);
    to_the_end(&mut desk);
    recounted(&desk);
    assert_eq!(desk.disturbed, 0);
}

#[test]
fn strategy_quotes_both_sides_again_after_it_went_back_whatever_state_it_has() {
    for state in [RollbackState::KeepCurrent, RollbackState::Snapshot] {
        for build in ["maker-forgets-its-orders", "maker-panics-after-two"] {
            let policy = on_probation().rollback_state(state);
            let host = host(policy);
            let mut desk = Desk::open(&host, rows()).unwrap();
            steps(&mut desk, 3_000);
            host.load(builds().path(build)).unwrap();
            steps(&mut desk, 8_000);
            assert_eq!((serving(&desk, MAKER), desk.strategies[MAKER].halted), (1, false));
            let sides = |desk: &Desk<'_>| {
                let own = desk.record.resting().filter(|order| order.strategy == MAKER);
                own.map(|order| (order.id, order.side)).collect::<Vec<_>>()
            };
            let (mut both, mut most) = (0, 0);
            for _ in 0..5_000 {
                steps(&mut desk, 1);
                let now = sides(&desk);
                both += u32::from(now.iter().any(|one| one.1 == Side::Buy) && now.iter().any(|one| one.1 == Side::Sell));
                most = most.max(now.len());
            }
            assert!(both > 1_000, "{state:?} {build}: both sides at {both} of 5000 rows");
            // The plugin places one order on each side; a third may be in cancellation.
            assert!(most <= 3, "{state:?} {build}: {most} at once");
            to_the_end(&mut desk);
            recounted(&desk);
        }
    }
}

#[test]
fn version_without_an_earlier_one_is_halted_and_its_resting_orders_cancelled() {
    let host = Host::builder().policy(on_probation()).build().unwrap();
    for build in ["maker-panics-after-two", "momentum", "risk"] {
        host.load(builds().path(build)).unwrap();
    }
    let mut desk = Desk::open(&host, rows()).unwrap();
    to_the_end(&mut desk);
    assert!(desk.strategies[MAKER].halted && !desk.strategies[MOMENTUM].halted);
    assert!(desk.record.resting().all(|order| order.strategy == MOMENTUM));
    let panics = desk.timeline.iter().filter(|line| line.contains("nobody thought of")).count();
    assert_eq!(panics, 1, "it is not asked again: {:#?}", desk.timeline);
    recounted(&desk);
}

#[test]
fn the_version_before_is_not_left_for_the_orders_of_the_one_that_was() {
    for begin in [1_000, 2_000, 4_000, 6_500, 8_001] {
        let host = host(on_probation());
        let mut desk = Desk::open(&host, rows()).unwrap();
        steps(&mut desk, begin);
        host.load(builds().path("maker-forgets-its-orders")).unwrap();
        to_the_end(&mut desk);
        let left = desk.timeline.iter().filter(|line| line.contains("was left")).count();
        assert_eq!(
            (left, serving(&desk, MAKER)),
            (1, 1),
            "from row {begin}: {:#?}",
            desk.timeline
        );
        assert!(!desk.strategies[MAKER].halted, "from row {begin}: {:#?}", desk.timeline);
        assert!(
            desk.record.resting().all(|order| order.generation == 1),
            "what it had resting was taken back"
        );
        let sent = desk.record.sent();
        desk.next_day();
        to_the_end(&mut desk);
        assert!(desk.record.sent() > sent + 100, "it trades on");
        recounted(&desk);
    }
}

#[test]
fn panic_after_two_of_three_intents_sends_none_and_the_old_version_decides() {
    let host = host(on_probation());
    let mut desk = Desk::open(&host, rows()).unwrap();
    steps(&mut desk, 3_000);
    host.load(builds().path("maker-panics-after-two")).unwrap();
    let before = desk.timeline.len();
    steps(&mut desk, 100);
    let told = desk.timeline[before..].join("\n");
    for words in [
        "generation 2 decides",
        "nobody thought of",
        "2 intents dropped",
        "2 was left, 1 decides again",
    ] {
        assert!(told.contains(words), "{words:?} is missing: {told}");
    }
    to_the_end(&mut desk);
    assert!(
        desk.journal.text() == undisturbed(),
        "the event was decided once, by the old version"
    );
    recounted(&desk);
}

#[test]
fn position_of_another_layout_is_refused_with_the_field_named() {
    let host = host(Policy::without_probation());
    let mut desk = Desk::open(&host, rows()).unwrap();
    steps(&mut desk, 3_000);
    let other = builds().path("maker-other-position");
    let shadow = desk.try_out(MAKER, &other).unwrap_err().to_string();
    assert!(
        shadow.contains("`entry_price`") && shadow.contains("#[serde(default)]"),
        "{shadow}"
    );
    host.load(&other).unwrap();
    steps(&mut desk, 1);
    assert_eq!(serving(&desk, MAKER), 1);
    let last = desk.timeline.last().unwrap();
    assert!(
        last.contains("`entry_price`") && last.contains("generation 1 keeps serving"),
        "{last}"
    );
    assert!(refusal(&host).to_string().contains("missing field `entry_price`"));
    to_the_end(&mut desk);
    assert!(desk.journal.text() == undisturbed());
}

#[test]
fn half_a_library_changes_nothing() {
    let host = host(Policy::without_probation());
    let mut desk = Desk::open(&host, rows()).unwrap();
    steps(&mut desk, 1_000);
    let half = builds().path("maker-half");
    let refusal = host.load(&half).unwrap_err();
    assert!(matches!(&*refusal.cause, Cause::Lint(_)), "{refusal}");
    assert!(desk.try_out(MAKER, &half).is_err());
    to_the_end(&mut desk);
    assert_eq!(serving(&desk, MAKER), 1);
    assert!(desk.journal.text() == undisturbed());
}

#[test]
fn strategies_and_risk_model_move_in_one_transaction_or_not_at_all() {
    let host = host(Policy::without_probation());
    let mut desk = Desk::open(&host, rows()).unwrap();
    steps(&mut desk, 3_000);
    let generations = |desk: &Desk<'_>| {
        (
            serving(desk, MAKER),
            serving(desk, MOMENTUM),
            desk.risk_generation().expect("a generation serves"),
        )
    };
    let set = |maker| [maker, "momentum-bolder", "risk-stricter"].map(|build| builds().path(build));
    host.load_together(set("maker-other-position")).unwrap();
    steps(&mut desk, 1);
    assert_eq!(generations(&desk), (1, 1, 1), "one of them does not fit");
    host.load_together(set("maker-wider")).unwrap();
    assert_eq!(generations(&desk), (1, 1, 1));
    steps(&mut desk, 1);
    let (maker, momentum, risk) = generations(&desk);
    assert!(maker > 1 && momentum > 1 && risk > 1, "{maker} {momentum} {risk}");
    assert_eq!(desk.summary(MAKER).unwrap().edition, 2);
    assert_eq!(desk.summary(MOMENTUM).unwrap().edition, 2);
    assert!(desk.timeline.iter().any(|line| line.starts_with(RISK)));
    to_the_end(&mut desk);
    recounted(&desk);
    assert_ne!(desk.journal.text(), undisturbed(), "other rules, other orders");
}

#[test]
fn reader_of_the_journal_finds_impossible_entries() {
    let whole = undisturbed();
    assert!(recount(whole).is_ok());
    let without = |what: &str| {
        let at = whole.find(what).expect("there is one");
        let begin = whole[..at].rfind('\n').map_or(0, |newline| newline + 1);
        let end = at + whole[at..].find('\n').unwrap() + 1;
        recount(&format!("{}{}", &whole[..begin], &whole[end..])).map(|_| ())
    };
    assert!(without(" order 17 ").is_err());
    let doubled = whole.replacen("order 17 ", "order 16 ", 1);
    assert!(recount(&doubled).is_err());
    let more = "1 order 1 m buy 10 5\n2 fill 1 11 5\n";
    assert!(format!("{:#}", recount(more).unwrap_err()).contains("line 2"));
    for wrong in [
        "1 fill 1 1 1\n",
        "2 refused m x\n1 refused m x\n",
        "1 cancel 9\n",
        "words\n",
        "1 order 1 m hold 1 1\n",
    ] {
        assert!(recount(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn every_claim_of_the_story_holds() {
    let host = host(on_probation());
    let mut desk = Desk::open(&host, rows()).unwrap();
    let mut show = Show::default();
    tell(&mut show, &mut desk, builds()).unwrap();
    let broken: Vec<_> = show.claims.iter().filter(|(_, holds)| !holds).collect();
    assert!(broken.is_empty(), "{broken:#?}\n{:#?}", desk.timeline);
    assert_eq!(show.claims.len(), 13);
    let (at, all) = desk.progress();
    assert_eq!(at, all, "to the end of the input");
    let told = desk.timeline.join("\n");
    assert!(told.contains("3 images are mapped for 3 slots, 0 of them"), "{told}");
}

#[test]
fn screen_shows_events_and_keeps_moving() {
    use reslot_desk::screen::{Caption, draw, said};
    let caption = Caption {
        title: "a chapter",
        claim: Some((said("a claim", false), false)),
        ..Caption::default()
    };
    use ratatui::{Terminal, backend::TestBackend};
    let host = host(Policy::without_probation());
    let mut desk = Desk::open(&host, rows()).unwrap();
    let mut terminal = Terminal::new(TestBackend::new(140, 40)).unwrap();
    let mut look = |desk: &mut Desk<'_>| {
        terminal.draw(|frame| draw(frame, desk, &caption)).unwrap();
        terminal.backend().to_string()
    };
    steps(&mut desk, 3_000);
    let first = look(&mut desk);
    let resting = desk.record.resting().next().copied().expect("something rests");
    for words in [
        "a chapter",
        "DOES NOT HOLD: a claim",
        "desk-maker",
        "generation 1",
        "p99.9",
        &format!("#{} g1", resting.id),
    ] {
        assert!(first.contains(words), "{words:?} is missing:\n{first}");
    }
    host.load(builds().path("maker-twin")).unwrap();
    desk.try_out(MOMENTUM, &builds().path("momentum-bolder")).unwrap();
    steps(&mut desk, 3_000);
    let later = look(&mut desk);
    assert_ne!(first, later);
    for words in ["generation 2", "generation 2 decides", "µs, paused", "on trial: agreed at"] {
        assert!(later.contains(words), "{words:?} is missing:\n{later}");
    }

    // A long refusal is cut, but its beginning stays visible.
    assert!(desk.try_out(MAKER, &builds().path("maker-other-position")).is_err());
    desk.hear();
    let mut small = Terminal::new(TestBackend::new(80, 24)).unwrap();
    small.draw(|frame| draw(frame, &desk, &caption)).unwrap();
    let refused = small.backend().to_string();
    for words in ["missing field", "`entry_price`"] {
        assert!(refused.contains(words), "{words:?} is missing:\n{refused}");
    }
}
