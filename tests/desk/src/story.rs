//! The story of `cargo xtask demo desk`, chapter by chapter. Each chapter ends with a claim that is checked.

use crate::{
    desk::{Desk, STRATEGIES},
    recount::recount,
    show::Show,
    variants::{Builds, VARIANTS},
};
use std::{
    path::Path,
    thread,
    time::{Duration, Instant},
};

/// How many rows are played in a chapter.
const ROWS: usize = 2_000;
const MAKER: usize = 0;
/// Much longer than an image needs to be unloaded.
const PATIENCE: Duration = Duration::from_secs(30);

/// Plays the story with a desk that has its first builds.
///
/// # Errors
/// If an unexpected step fails, or the viewer ends the story.
pub fn tell(show: &mut Show, desk: &mut Desk<'_>, builds: &Builds) -> anyhow::Result<()> {
    let host = desk.host;
    show.chapter("two strategies trade on recorded input");
    show.play(desk, ROWS)?;

    show.chapter("a parameter is changed in the maker's source, and saved");
    let before = desk.summary(MAKER)?;
    publish(desk, builds, "maker-wider")?;
    show.play(desk, 1)?;
    let after = desk.summary(MAKER)?;
    show.play(desk, ROWS)?;
    let warm = after.edition == 2 && after.events >= before.events && (after.average - before.average).abs() < 5.0;
    show.claim(
        "a changed parameter is live at the next event, position and average kept",
        warm,
    );

    show.chapter("a field more in its state");
    publish(desk, builds, "maker-counts")?;
    show.play(desk, ROWS)?;
    show.claim("a new field begins at its default", desk.summary(MAKER)?.edition > 1_000);

    show.chapter("back to the first build; beside it, on trial, one that forgets its orders");
    publish(desk, builds, "maker")?;
    show.play(desk, 1)?;
    note(desk, "maker-forgets-its-orders");
    desk.try_out(MAKER, &builds.path("maker-forgets-its-orders"))?;
    show.play(desk, ROWS)?;
    let against = desk.promote(MAKER).err();
    show.play(desk, 0)?;
    show.claim("the shadow says so, and it is not promoted", against.is_some());

    show.chapter("it is forced all the same: the gate stops it");
    let decides = desk.generation(MAKER);
    publish(desk, builds, "maker-forgets-its-orders")?;
    show.play(desk, ROWS)?;
    show.claim(
        "forced, it is stopped by the gate and left",
        desk.generation(MAKER) == decides,
    );

    show.chapter("a build that panics after two of three intents");
    publish(desk, builds, "maker-panics-after-two")?;
    show.play(desk, ROWS)?;
    let dropped = desk.timeline.iter().any(|line| line.contains("2 intents dropped"));
    let left = dropped && desk.generation(MAKER) == decides;
    show.claim("none of the two is sent, and the old version decides", left);

    show.chapter("a build whose position has another layout");
    note(desk, "maker-other-position");
    let refusal = desk.try_out(MAKER, &builds.path("maker-other-position")).err();
    show.play(desk, ROWS)?;
    let named = refusal.is_some_and(|refusal| refusal.to_string().contains("`entry_price`"));
    show.claim("a position of another layout is refused, with the field named", named);

    show.chapter("half a library");
    let refused = host.load(builds.path("maker-half")).is_err();
    show.play(desk, ROWS)?;
    show.claim("half a library is refused", refused);

    show.chapter("two strategies and the risk model, in one transaction");
    host.load_together(["maker-wider", "momentum-bolder", "risk-stricter"].map(|build| builds.path(build)))?;
    show.play(desk, ROWS)?;
    let moved = desk.summary(MAKER)?.edition == 2 && desk.summary(1)?.edition == 2 && desk.risk_generation() > Some(1);
    show.claim("two strategies and the risk model moved at once", moved);

    show.chapter("a candidate on trial, and promoted");
    desk.try_out(MAKER, &builds.path("maker"))?;
    show.play(desk, ROWS)?;
    let promoted = desk.promote(MAKER).is_ok();
    show.play(desk, 1)?;
    let promoted = promoted && desk.summary(MAKER)?.edition == 1;
    show.claim("what nothing speaks against is promoted", promoted);

    show.chapter("a hundred swaps, prepared while the desk trades");
    let swaps = desk.swaps;
    for swap in 0..100 {
        let build = if swap % 2 == 0 { "maker-twin" } else { "maker" };
        load_beside(show, desk, &builds.path(build))?;
    }
    show.claim("a hundred swaps, each between two rows", desk.swaps == swaps + 100);

    show.chapter("the rest of the input");
    show.play(desk, usize::MAX)?;
    show.claim("no resting order was touched by a swap", desk.disturbed == 0);
    let count = recount(desk.journal.text())?;
    let same = |(of, (name, _)): (usize, (&str, _))| count.holdings.get(name) == Some(&desk.record.holding(of));
    let agree = count.orders == desk.record.sent() && STRATEGIES.into_iter().enumerate().all(same);
    let read = "a reader of the journal finds the same orders, gapless, and positions";
    show.claim(read, agree && count.fills > 0);

    show.chapter("what became of what was replaced");
    let slots = host.slots();
    for slot in &slots {
        // `confirm` retires the standby as well.
        host.confirm(&slot.name)?;
    }
    let _ = host.wait_until_retired(PATIENCE);
    let (slots, images) = (slots.len(), host.images());
    let (mapped, quarantined) = (images.mapped, images.quarantined);
    let words =
        format!("{mapped} images are mapped for {slots} slots, {quarantined} of them because they cannot be unmapped");
    desk.timeline.push(words);
    show.play(desk, 0)?;
    let gone = (mapped, images.standby, quarantined) == (slots, 0, 0);
    show.claim("what was replaced is proven unmapped, each of them", gone && desk.swaps > 100);
    Ok(())
}

fn publish(desk: &mut Desk<'_>, builds: &Builds, name: &str) -> anyhow::Result<()> {
    note(desk, name);
    desk.host.load(builds.path(name))?;
    Ok(())
}

/// Adds the author's change to the timeline.
fn note(desk: &mut Desk<'_>, name: &str) {
    let brief = |text: &str| -> String {
        let words: Vec<&str> = text.split_whitespace().collect();
        words.join(" ").chars().take(60).collect()
    };
    for variant in VARIANTS.iter().filter(|variant| variant.name == name) {
        for (old, new) in variant.edits {
            desk.timeline.push(format!("saved: {} → {}", brief(old), brief(new)));
        }
    }
}

/// The rows that are reserved for the later chapters, even if a slow machine takes long to prepare its builds.
const RESERVE: usize = 4 * ROWS;

/// Lets the host prepare a build on its threads while the desk keeps trading; the desk adopts it at the next row.
fn load_beside(show: &mut Show, desk: &mut Desk<'_>, build: &Path) -> anyhow::Result<()> {
    let host = desk.host;
    thread::scope(|scope| {
        desk.preparing = true;
        let loader = scope.spawn(|| host.load(build));
        while !loader.is_finished() {
            let (at, all) = desk.progress();
            if all - at > RESERVE {
                show.play(desk, 1)?;
            }
            // Without this pause the desk would use up the input during the build.
            let next = Instant::now() + Duration::from_micros(50);
            while Instant::now() < next {
                std::hint::spin_loop();
            }
        }
        desk.preparing = false;
        loader.join().map_err(|_| anyhow::anyhow!("the loader panicked"))??;
        show.play(desk, 1)
    })
}
