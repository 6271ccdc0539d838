//! How the story is shown: on a screen, picture by picture, or as lines. And what comes after it on a screen, the live part: the market
//! goes on, day after day, and what is saved is built, published and adopted while it does.

use crate::{
    desk::Desk,
    screen::{Caption, draw},
    story::Stage,
    terminal::Terminal,
};
use std::time::Duration;
use xtask::Building;

/// So many rows are played between two pictures, and so long one stands.
const ROWS_A_PICTURE: usize = 10;
const STANDS: Duration = Duration::from_millis(16);
/// So many lines of the timeline are told of a chapter, if there is no screen: a hundred swaps are not of interest one by one.
const LINES: usize = 12;

const LIVE: &str = "live: save plugins/desk-momentum/src/lib.rs (say, another THRESHOLD)";

/// A stage with a screen, or without one.
#[derive(Default)]
pub struct Show {
    /// None if it is told as lines.
    pub screen: Option<Screen>,
    /// What was claimed, and whether it holds.
    pub claims: Vec<(String, bool)>,
    told: usize,
    chapter: (String, usize),
}

/// A screen, and what is built beside it.
pub struct Screen {
    /// Where it is drawn.
    pub terminal: Terminal,
    /// What builds whatever is saved.
    pub building: Option<Building>,
}

impl Show {
    /// The market goes on until whoever looks ends it.
    ///
    /// # Errors
    /// With how it was ended.
    pub fn live(&mut self, desk: &mut Desk<'_>) -> anyhow::Result<()> {
        self.claims.clear();
        loop {
            self.play(desk, LIVE, usize::MAX)?;
            desk.next_day();
        }
    }

    fn picture(&mut self, desk: &mut Desk<'_>, title: &str) -> anyhow::Result<()> {
        let Some(Screen { terminal, building }) = &mut self.screen else {
            return Ok(());
        };
        desk.hear();
        let error = building.as_mut().and_then(|building| {
            building.look();
            building.error()
        });
        let caption = Caption {
            title,
            claim: self.claims.last().map(|(claim, holds)| said(claim, *holds)),
            error: error.as_deref(),
        };
        terminal.draw(|frame| draw(frame, desk, &caption))?;
        Ok(terminal.wait(STANDS)?)
    }

    fn lines(&mut self, desk: &mut Desk<'_>, title: &str) {
        desk.hear();
        if self.chapter.0 != title {
            self.end_of_chapter();
            println!("\n{title}");
            self.chapter = (title.to_owned(), 0);
        }
        for line in &desk.timeline[self.told..] {
            self.chapter.1 += 1;
            if self.chapter.1 <= LINES {
                println!("  {}", line.replace('\n', " "));
            }
        }
        self.told = desk.timeline.len();
    }

    fn end_of_chapter(&mut self) {
        if let Some(more @ 1..) = self.chapter.1.checked_sub(LINES) {
            println!("  … and {more} lines more");
        }
        self.chapter.1 = 0;
    }
}

/// A claim in words.
pub fn said(claim: &str, holds: bool) -> String {
    format!("{} {claim}", if holds { "holds:" } else { "DOES NOT HOLD:" })
}

impl Stage for Show {
    fn play(&mut self, desk: &mut Desk<'_>, title: &str, rows: usize) -> anyhow::Result<()> {
        let mut left = rows;
        let mut more = true;
        while left > 0 && more {
            let now = left.min(ROWS_A_PICTURE);
            more = (0..now).all(|_| desk.step());
            left -= now;
            self.picture(desk, title)?;
        }
        if self.screen.is_none() {
            self.lines(desk, title);
        }
        Ok(())
    }

    fn claim(&mut self, claim: &str, holds: bool) {
        if self.screen.is_none() {
            self.end_of_chapter();
            println!("{}", said(claim, holds));
        }
        self.claims.push((claim.to_owned(), holds));
    }
}
