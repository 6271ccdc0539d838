//! The story that `cargo xtask demo desk` tells, chapter by chapter; each ends with a claim that holds or does not. How it is shown, on
//! a screen or as lines, is the caller's affair.

use crate::{
    desk::{Desk, STRATEGIES},
    journal::recount,
    workshop::{Builds, VARIANTS},
};
use reslot::Host;
use std::{
    path::Path,
    thread,
    time::{Duration, Instant},
};

/// How many rows are played in a chapter.
const ROWS: usize = 2_500;
const MAKER: usize = 0;
/// Far more than an image takes to end.
const PATIENCE: Duration = Duration::from_secs(30);

/// Who shows it.
pub trait Stage {
    /// Plays so many rows under this title.
    ///
    /// # Errors
    /// If whoever looks has had enough.
    fn play(&mut self, desk: &mut Desk<'_>, title: &str, rows: usize) -> anyhow::Result<()>;
    /// A claim, and whether it holds.
    fn claim(&mut self, claim: &str, holds: bool);
}

/// Tells it. The desk has loaded its first builds.
///
/// # Errors
/// If something fails that is no part of it.
pub fn tell(host: &Host, desk: &mut Desk<'_>, builds: &Builds, stage: &mut dyn Stage) -> anyhow::Result<()> {
    stage.play(desk, "two strategies trade on recorded input", ROWS)?;

    let before = desk.summary(MAKER)?;
    publish(desk, builds, "maker-wider")?;
    stage.play(desk, "a parameter was changed, and saved", 1)?;
    let after = desk.summary(MAKER)?;
    stage.play(desk, "a parameter was changed, and saved", ROWS)?;
    let warm = after.edition == 2 && after.events >= before.events && (after.average - before.average).abs() < 5.0;
    stage.claim(
        "a changed parameter is live at the next event, with position and warm indicators",
        warm,
    );

    publish(desk, builds, "maker-counts")?;
    stage.play(desk, "a field more in the state", ROWS)?;
    stage.claim("a new field begins at its default", desk.summary(MAKER)?.edition > 1_000);
    publish(desk, builds, "maker")?;
    stage.play(desk, "and back", ROWS)?;

    try_out(desk, builds, "maker-forgets-its-orders")?;
    stage.play(desk, "a build on trial that forgets its orders", ROWS)?;
    let against = desk.promote(MAKER).err();
    stage.claim("the shadow says so, and it is not promoted", against.is_some());
    let decides = desk.generation(MAKER);
    publish(desk, builds, "maker-forgets-its-orders")?;
    stage.play(desk, "forced all the same: the gate stops it", ROWS)?;
    stage.claim(
        "forced, it is stopped by the gate and left",
        desk.generation(MAKER) == decides,
    );

    publish(desk, builds, "maker-panics-after-two")?;
    stage.play(desk, "a panic after two of three intents", ROWS)?;
    let dropped = desk.timeline.iter().any(|line| line.contains("2 intents dropped"));
    stage.claim(
        "none of the two is sent, and the old version decides",
        dropped && desk.generation(MAKER) == decides,
    );

    let other = desk
        .try_out(MAKER, &builds.path("maker-other-position"))
        .err()
        .map(|refusal| refusal.to_string());
    let named = other.is_some_and(|words| words.contains("`entry_price`"));
    stage.claim("a position of another layout is refused, with the field named", named);
    stage.claim("half a library is refused", desk.load(&builds.path("maker-half")).is_err());

    let set = ["maker-wider", "momentum-bolder", "risk-stricter"].map(|build| builds.path(build));
    host.load_together(set)?;
    stage.play(desk, "two strategies and the risk model, in one transaction", ROWS)?;
    let moved = desk.summary(MAKER)?.edition == 2 && desk.summary(1)?.edition == 2 && desk.risk_generation() > 1;
    stage.claim("two strategies and the risk model moved at once", moved);

    try_out(desk, builds, "maker")?;
    stage.play(desk, "a candidate on trial", ROWS)?;
    let promoted = desk.promote(MAKER);
    stage.play(desk, "promoted", 1)?;
    stage.claim(
        "what nothing speaks against is promoted",
        promoted.is_ok() && desk.summary(MAKER)?.edition == 1,
    );

    let swaps = desk.swaps;
    for swap in 0..100 {
        let build = builds.path(if swap % 2 == 0 { "maker-twin" } else { "maker" });
        load_beside(host, desk, &build, stage)?;
    }
    stage.claim("a hundred swaps, each between two rows", desk.swaps == swaps + 100);
    stage.play(desk, "the rest of the input", usize::MAX)?;
    stage.claim("no resting order was touched by a swap", desk.disturbed == 0);
    let count = recount(desk.journal.text())?;
    let same = |(of, (name, _)): (usize, (&str, _))| count.holdings.get(name) == Some(&desk.record.holding(of));
    let agree = count.orders == desk.record.sent() && STRATEGIES.into_iter().enumerate().all(same);
    stage.claim(
        "a reader of the journal finds the same orders, without gaps, and the same positions",
        agree && count.fills > 0,
    );
    for (slot, _) in desk.serving() {
        // What stands by for it, to go back to, goes as well.
        host.confirm(slot)?;
    }
    desk.hear_all(PATIENCE);
    let serving = desk.serving();
    for left in desk.news.left(&serving) {
        desk.timeline.push(left);
    }
    stage.play(desk, "what became of what was replaced", 0)?;
    let gone = desk.news.left(&serving).is_empty() && desk.news.replaced(&serving) > 100;
    stage.claim("what was replaced is proven unmapped, each of them", gone);
    Ok(())
}

fn publish(desk: &mut Desk<'_>, builds: &Builds, name: &str) -> anyhow::Result<()> {
    note(desk, name);
    desk.load(&builds.path(name))?;
    Ok(())
}

fn try_out(desk: &mut Desk<'_>, builds: &Builds, name: &str) -> anyhow::Result<()> {
    note(desk, name);
    desk.try_out(MAKER, &builds.path(name))?;
    Ok(())
}

/// Has the host prepare a build on its threads while the desk trades on; it is adopted at the first row after that.
fn load_beside(host: &Host, desk: &mut Desk<'_>, build: &Path, stage: &mut dyn Stage) -> anyhow::Result<()> {
    const TITLE: &str = "a hundred swaps, prepared while the desk trades";
    thread::scope(|scope| {
        desk.preparing = true;
        let loader = scope.spawn(|| host.load(build));
        while !loader.is_finished() {
            stage.play(desk, TITLE, 1)?;
            // The market takes its time too: the input is to last.
            let next = Instant::now() + Duration::from_micros(50);
            while Instant::now() < next {
                std::hint::spin_loop();
            }
        }
        desk.preparing = false;
        loader.join().map_err(|_| anyhow::anyhow!("the loader panicked"))??;
        stage.play(desk, TITLE, 1)
    })
}

/// What its author changed.
fn note(desk: &mut Desk<'_>, name: &str) {
    for (old, new) in VARIANTS
        .iter()
        .filter(|variant| variant.name == name)
        .flat_map(|variant| variant.edits)
    {
        let brief = |text: &str| {
            text.split_whitespace()
                .collect::<Vec<_>>()
                .join(" ")
                .chars()
                .take(60)
                .collect::<String>()
        };
        desk.timeline.push(format!("saved: {} → {}", brief(old), brief(new)));
    }
}
