//! Shows the story, on a screen or as lines. On a screen the live part follows: the market runs day after day, and each
//! saved source is built, published and adopted meanwhile.

use crate::{
    desk::Desk,
    screen::{Caption, draw, said},
};
use reslot_terminal::{Key, Terminal};
use std::{cmp::Ordering, convert::Infallible, time::Duration};
use xtask::Building;

/// The number of rows between two pictures (more, if that would need too many pictures), the most pictures, and the time for
/// each picture.
const ROWS: usize = 10;
const PICTURES: usize = 250;
const STANDS: Duration = Duration::from_millis(16);
/// Without a screen, the most lines of the timeline per chapter: a hundred swaps are too many to print.
const LINES: usize = 12;

/// Presents the story with a screen or without one.
#[derive(Default)]
pub struct Show {
    /// None if the story is printed as lines.
    pub screen: Option<Screen>,
    /// The claims, each with whether it holds.
    pub claims: Vec<(String, bool)>,
    title: &'static str,
    is_live: bool,
    /// How many entries of the timeline were printed in total, and how many lines in this chapter.
    told: usize,
    lines: usize,
}

/// A screen, and the builds that run meanwhile.
pub struct Screen {
    /// Where it is drawn.
    pub terminal: Terminal,
    /// Builds each saved source.
    pub building: Option<Building>,
}

/// The viewer has skipped the story and wants the live part.
#[derive(Debug, thiserror::Error)]
#[error("the live part was asked for")]
pub struct Live;

impl Show {
    /// Begins a chapter.
    pub(crate) fn chapter(&mut self, title: &'static str) {
        (self.title, self.lines) = (title, 0);
        if self.screen.is_none() {
            println!("\n{title}");
        }
    }

    /// Plays this many rows, or all that are left. Its errors are the viewer's ways to end it: [`Live`], or an error of the
    /// terminal.
    pub(crate) fn play(&mut self, desk: &mut Desk<'_>, rows: usize) -> anyhow::Result<()> {
        let (at, all) = desk.progress();
        let mut left = rows.min(all - at);
        // A long chapter plays more rows per picture; in the live part the market keeps its pace.
        let at_once = if self.is_live { ROWS } else { ROWS.max(left / PICTURES) };
        loop {
            let now = left.min(at_once);
            left -= now;
            for _ in 0..now {
                desk.step();
            }
            desk.hear();
            self.picture(desk)?;
            if left == 0 {
                break;
            }
        }
        if self.screen.is_none() {
            self.tell(desk);
        }
        Ok(())
    }

    /// A claim, and whether it holds.
    pub fn claim(&mut self, claim: &str, holds: bool) {
        if self.screen.is_none() {
            println!("{}", said(claim, holds));
        }
        self.claims.push((claim.to_owned(), holds));
    }

    /// Runs the market until the viewer ends it.
    ///
    /// # Errors
    /// Says how the viewer ended it.
    pub fn live(&mut self, desk: &mut Desk<'_>) -> anyhow::Result<Infallible> {
        self.chapter("live: save plugins/desk-momentum/src/lib.rs (say, another THRESHOLD)");
        self.is_live = true;
        loop {
            self.play(desk, usize::MAX)?;
            desk.next_day();
        }
    }

    fn picture(&mut self, desk: &Desk<'_>) -> anyhow::Result<()> {
        let Some(Screen { terminal, building }) = &mut self.screen else {
            return Ok(());
        };
        let error = building.as_mut().and_then(|building| {
            building.look();
            building.error()
        });
        let hold = self.claims.iter().filter(|(_, holds)| *holds).count();
        let claim = self.claims.last().map(|(claim, holds)| match self.is_live {
            true => (
                format!("{hold} of {} claims hold", self.claims.len()),
                hold == self.claims.len(),
            ),
            false => (said(claim, *holds), *holds),
        });
        let caption = Caption {
            title: self.title,
            claim,
            error: error.as_deref(),
            keys: if self.is_live { "q quit" } else { "l live   q quit" },
        };
        terminal.draw(|frame| draw(frame, desk, &caption))?;
        match terminal.wait(STANDS)? {
            Some(Key::Char('l')) if !self.is_live => Err(Live.into()),
            _ => Ok(()),
        }
    }

    fn tell(&mut self, desk: &Desk<'_>) {
        for line in &desk.timeline[self.told..] {
            self.lines += 1;
            match self.lines.cmp(&LINES) {
                Ordering::Less => println!("  {}", line.replace('\n', "\n  ")),
                Ordering::Equal => println!("  …"),
                Ordering::Greater => {}
            }
        }
        self.told = desk.timeline.len();
    }
}
