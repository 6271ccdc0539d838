//! How the story is shown: on a screen, picture by picture, or as lines. And what comes after it on a screen, the live part: the market
//! goes on, day after day, and what is saved is built, published and adopted while it does.

use crate::{
    desk::Desk,
    screen::{Caption, draw, said},
};
use reslot_terminal::{Key, Terminal};
use std::{cmp::Ordering, convert::Infallible, time::Duration};
use xtask::Building;

/// So many rows are played between two pictures, more if it would be too many pictures, and so long one stands.
const ROWS: usize = 10;
const PICTURES: usize = 250;
const STANDS: Duration = Duration::from_millis(16);
/// So many lines of the timeline are told of a chapter, if there is no screen: a hundred swaps are not of interest one by one.
const LINES: usize = 12;

/// A stage with a screen, or without one.
#[derive(Default)]
pub struct Show {
    /// None if it is told as lines.
    pub screen: Option<Screen>,
    /// What was claimed, and whether it holds.
    pub claims: Vec<(String, bool)>,
    title: &'static str,
    is_live: bool,
    /// How much of the timeline was told, and how many lines of that in this chapter.
    told: usize,
    lines: usize,
}

/// A screen, and what is built beside it.
pub struct Screen {
    /// Where it is drawn.
    pub terminal: Terminal,
    /// What builds whatever is saved.
    pub building: Option<Building>,
}

/// Whoever looks knows the story, and wants the live part.
#[derive(Debug, thiserror::Error)]
#[error("the live part was asked for")]
pub struct Live;

impl Show {
    /// What comes now.
    pub(crate) fn chapter(&mut self, title: &'static str) {
        (self.title, self.lines) = (title, 0);
        if self.screen.is_none() {
            println!("\n{title}");
        }
    }

    /// Plays so many rows, or as many as there are. The errors are how whoever looks ends it: [`Live`], or the terminal's.
    pub(crate) fn play(&mut self, desk: &mut Desk<'_>, rows: usize) -> anyhow::Result<()> {
        let (at, all) = desk.progress();
        let mut left = rows.min(all - at);
        // What is long is not told more slowly; live, the market keeps its pace.
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

    /// The market goes on until whoever looks ends it.
    ///
    /// # Errors
    /// With how it was ended.
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
