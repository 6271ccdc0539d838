//! The screen: price ladder, who decides and what that earns, resting orders with the generation that sent them, latencies, and the
//! timeline of reloads. It only looks; nothing is decided here.

use crate::{desk::Desk, record::word};
use ratatui::{
    Frame,
    layout::{Constraint, Layout, Rect},
    style::{Color, Stylize},
    text::Line,
    widgets::{Block, Paragraph},
};
use std::cmp::Reverse;

/// What stands around the desk.
#[derive(Debug, Clone, Copy, Default)]
pub struct Caption<'a> {
    /// The chapter.
    pub title: &'a str,
    /// The last claim, and whether it holds.
    pub claim: Option<(&'a str, bool)>,
    /// Why what was saved does not build.
    pub error: Option<&'a str>,
    /// The keys.
    pub keys: &'a str,
}

/// Draws the desk as it is now.
pub fn draw(frame: &mut Frame<'_>, desk: &Desk<'_>, caption: &Caption<'_>) {
    let rows = [1, 1, 12, 4].map(Constraint::Length);
    let rows = Layout::vertical(rows.into_iter().chain([Constraint::Min(4)]));
    let [head, claim, strategies, latencies, below] = rows.areas(frame.area());
    frame.render_widget(Line::from(format!(" {}", caption.title)).yellow(), head);
    if let Some((words, holds)) = caption.claim {
        let line = Line::from(format!(" {}", said(words, holds)));
        frame.render_widget(if holds { line.green() } else { line.red() }, claim);
    }
    let halves: [Rect; 2] = Layout::horizontal([Constraint::Percentage(50); 2]).areas(strategies);
    for (of, area) in halves.into_iter().enumerate() {
        let [ladder, facts] = Layout::horizontal([Constraint::Length(16), Constraint::Min(24)]).areas(area);
        panel(frame, ladder, Block::bordered().title("ladder"), ladder_of(desk, of));
        let title = desk.strategies[of].name;
        panel(frame, facts, Block::bordered().title(title), facts_of(desk, of, facts.width));
    }
    frame.render_widget(Paragraph::new(desk.latency.to_string()), latencies);

    let (at, all) = desk.progress();
    let far = format!(" row {at} of {all}, {} orders   {} ", desk.record.sent(), caption.keys);
    let block = Block::bordered().title_bottom(far);
    let room = usize::from(below.height.saturating_sub(2));
    if let Some(error) = caption.error {
        let lines = wrapped(error, below.width).take(room).map(Line::red).collect();
        return panel(
            frame,
            below,
            block.title("what was saved does not build; what was there trades on"),
            lines,
        );
    }
    let last = desk.timeline.iter().rev().take(room).rev();
    let mut lines: Vec<_> = last.flat_map(|entry| wrapped(entry, below.width)).collect();
    lines.drain(..lines.len().saturating_sub(room));
    panel(frame, below, block.title("timeline"), lines);
}

/// A claim in words.
pub fn said(claim: &str, holds: bool) -> String {
    format!("{} {claim}", if holds { "holds:" } else { "DOES NOT HOLD:" })
}

fn panel(frame: &mut Frame<'_>, area: Rect, block: Block<'_>, lines: Vec<Line<'_>>) {
    frame.render_widget(Paragraph::new(lines).block(block), area);
}

/// The lines of a text, as many as it takes in a panel of this width.
fn wrapped(text: &str, width: u16) -> impl Iterator<Item = Line<'static>> {
    let width = usize::from(width.saturating_sub(2)).max(1);
    text.lines().flat_map(move |line| {
        let chars: Vec<char> = line.chars().collect();
        let parts: Vec<String> = chars.chunks(width).map(|part| part.iter().collect()).collect();
        parts.into_iter().map(Line::from)
    })
}

fn ladder_of(desk: &Desk<'_>, of: usize) -> Vec<Line<'static>> {
    let mut depth = desk.exchange.books[desk.strategies[of].instrument as usize].depth(5);
    let mut lines = Vec::new();
    for (levels, colour) in [(&mut depth.asks, Color::Red), (&mut depth.bids, Color::Green)] {
        levels.sort_by_key(|level| Reverse(level.price));
        lines.extend(
            levels
                .iter()
                .map(|level| Line::from(format!("{:>7}{:>7}", level.price, level.qty)).fg(colour)),
        );
    }
    lines
}

fn facts_of(desk: &Desk<'_>, of: usize, width: u16) -> Vec<Line<'static>> {
    let strategy = &desk.strategies[of];
    let (bid, ask) = desk.exchange.best(strategy.instrument);
    let holding = desk.record.holding(of);
    let who = match strategy.halted {
        true => "halted".to_owned(),
        false => format!("generation {}", desk.generation(of)),
    };
    let mut lines = vec![
        Line::from(who).cyan(),
        Line::from(format!("position {:+}", holding.position)),
        Line::from(format!("profit {:+.0}", holding.worth((bid + ask) as f64 / 2.0))),
    ];
    for order in desk.record.resting().filter(|order| order.strategy == of).take(4) {
        let (side, open, price) = (word(order.side), order.open, order.price);
        lines.push(Line::from(format!(
            "#{} g{} {side} {open}@{price}",
            order.id, order.generation
        )));
    }
    if let Some(trial) = &strategy.trial {
        lines.extend(wrapped(&format!("on trial: {}", trial.verdict), width));
    }
    lines
}
