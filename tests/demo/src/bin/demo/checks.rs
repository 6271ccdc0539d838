//! Checks the demo's promises, and prints each result.

use crate::{
    course::{Course, Reload},
    mistake::Mistake,
};
use reslot_demo::words::{bad, count, good, state};
use reslot_tests::Footprint;
use sample_interfaces::Summary;

/// The checks so far.
#[derive(Default)]
pub struct Checks {
    failed: usize,
    lines: Vec<String>,
}

impl Checks {
    /// The checks of the first reload.
    pub fn of_first_reload(&mut self, reload: &Reload, mapped: usize) {
        let edition = |summary: Option<Summary>| summary.map_or(0, |summary| summary.edition);
        let (before, after) = (edition(reload.adoption.before), edition(reload.adoption.after));
        self.add(
            "the new code answers",
            (before, after) == (1, 2),
            format!("edition {before} before the swap, edition {after} after it"),
        );
        self.add(
            "no state was lost at the swap",
            reload.adoption.kept_the_state(),
            match (
                reload.adoption.kept_the_state(),
                reload.adoption.before,
                reload.adoption.after,
            ) {
                (true, ..) => "position, average and ticks are the same on both sides of it, to the last bit".to_owned(),
                (false, Some(before), Some(after)) => format!("{} before it, {} after it", state(&before), state(&after)),
                (false, ..) => "the state could not be asked for".to_owned(),
            },
        );
        self.add(
            "the old code is gone",
            reload.unmapped().is_some() && mapped == 1,
            format!(
                "generation {} {}; {mapped} image(s) mapped",
                reload.ended.generation,
                if reload.unmapped().is_some() {
                    "proven unmapped"
                } else {
                    "NOT unmapped"
                }
            ),
        );
    }

    /// The checks of the faulty build.
    pub fn of_mistake(&mut self, mistake: &Mistake) {
        self.add(
            "a bad build is rolled back, with the state",
            mistake.failed == 1 && mistake.kept_the_state(),
            format!(
                "{} call failed; then generation {} was current again, after {} µs, with the bad one's state",
                mistake.failed,
                mistake.report.to,
                mistake.report.total.as_micros()
            ),
        );
        self.add(
            "it is not loaded again, and it is gone",
            mistake.refused && mistake.mapped == 1,
            format!("{} image(s) mapped", mistake.mapped),
        );
    }

    /// The checks of the further reloads.
    pub fn of_further_reloads(&mut self, reloads: &[Reload], mapped: usize, (before, after): (Footprint, Footprint)) {
        let unmapped = reloads.iter().filter(|reload| reload.unmapped().is_some()).count();
        let kept = reloads.iter().filter(|reload| reload.adoption.kept_the_state()).count();
        let all = reloads.len();
        let same_mappings = before.executable_mappings == after.executable_mappings;
        self.add(
            &format!("the same {all} times more"),
            kept == all && unmapped == all && mapped == 1,
            format!("state kept {kept} times, old image unmapped {unmapped} times; {mapped} image(s) mapped"),
        );
        self.add(
            "the process has not grown",
            same_mappings,
            format!(
                "executable mappings {} before and {} after; mappings of any kind {} and {}, where a few more are the allocator's",
                before.executable_mappings, after.executable_mappings, before.mappings, after.mappings
            ),
        );
    }

    /// The checks of the program's loop, from its first call to its last.
    pub fn of_course(&mut self, course: &mut Course) {
        let seen = course.desk.summary().map(|summary| summary.ticks);
        let (fed, orders) = (course.desk.fed(), course.desk.orders());
        self.add(
            "no price was lost",
            seen == Some(fed),
            format!(
                "{} fed, {} counted in the plugin's state; {} orders came back",
                count(fed),
                count(seen.unwrap_or(0)),
                count(orders)
            ),
        );
        let calls = course.desk.calls();
        let failure = calls.first_failure.as_ref().map(|failure| format!("; the first: {failure}"));
        self.add(
            "no call failed",
            calls.failed == 0,
            format!(
                "{} made (prices, and sometimes a summary), {} failed{}",
                count(calls.made),
                count(calls.failed),
                failure.unwrap_or_default()
            ),
        );
    }

    /// The checks of the host's end.
    pub fn of_end(&mut self, mapped: usize, no_file: bool) {
        let files = if no_file {
            "no file of it left"
        } else {
            "its private folder is still there"
        };
        self.add(
            "the host leaves nothing when it ends",
            mapped == 0 && no_file,
            format!("{mapped} images mapped, {files}"),
        );
    }

    /// Adds a check: the promise, whether it was kept, and the figures.
    fn add(&mut self, promise: &str, kept: bool, figures: String) {
        let mark = if kept {
            good("ok    ").to_string()
        } else {
            bad("FAILED").to_string()
        };
        self.failed += usize::from(!kept);
        self.lines.push(format!("  {mark}  {promise}: {figures}"));
    }

    /// Prints the checks. True if every promise was kept.
    pub fn print(&self) -> bool {
        for line in &self.lines {
            anstream::println!("{line}");
        }
        self.failed == 0
    }
}
