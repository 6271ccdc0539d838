//! The screen: price ladder, strategies with their generation and profit, resting orders with the generation that sent them,
//! latencies, and the timeline of reloads. It only displays.

use crate::{desk::Desk, record::word};
use ratatui::{
    Frame,
    layout::{Constraint, Layout, Rect},
    style::{Color, Stylize},
    text::Line,
    widgets::{Block, Paragraph},
};
use std::{cmp::Reverse, mem};

/// What stands around the desk.
#[derive(Debug, Clone, Default)]
pub struct Caption<'a> {
    /// The chapter.
    pub title: &'a str,
    /// The claim as text, and whether it holds.
    pub claim: Option<(String, bool)>,
    /// The compiler's error for the last saved source.
    pub error: Option<&'a str>,
    /// The keys.
    pub keys: &'a str,
}

/// Draws the desk as it is now.
pub fn draw(frame: &mut Frame<'_>, desk: &Desk<'_>, caption: &Caption<'_>) {
    let rows = [1, 1, 12, 4].map(Constraint::Length);
    let rows = Layout::vertical(rows.into_iter().chain([Constraint::Min(4)]));
    // From top to bottom: the last claim, and the title of the current chapter.
    let [claim, title, strategies, latencies, below] = rows.areas(frame.area());
    frame.render_widget(Line::from(format!(" {}", caption.title)).yellow(), title);
    if let Some((words, holds)) = &caption.claim {
        let line = Line::from(format!(" {words}"));
        frame.render_widget(if *holds { line.green() } else { line.red() }, claim);
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
    let (title, lines) = match caption.error {
        Some(error) => {
            let lines = wrapped(error, below.width).into_iter().take(room);
            let title = "what was saved does not build; what was there trades on";
            (title, lines.map(Line::red).collect())
        }
        None => ("timeline", newest(&desk.timeline, below.width, room)),
    };
    panel(frame, below, block.title(title), lines);
}

/// A claim as text.
pub fn said(claim: &str, holds: bool) -> String {
    format!("{} {claim}", if holds { "holds:" } else { "DOES NOT HOLD:" })
}

fn panel(frame: &mut Frame<'_>, area: Rect, block: Block<'_>, lines: Vec<Line<'_>>) {
    frame.render_widget(Paragraph::new(lines).block(block), area);
}

/// The lines of a text as they stand in a panel of this width.
fn wrapped(text: &str, width: u16) -> Vec<Line<'static>> {
    let width = usize::from(width.saturating_sub(2));
    let mut lines = Vec::new();
    for line in text.lines() {
        let mut part = String::new();
        for word in line.split_inclusive(' ') {
            if !part.is_empty() && part.chars().count() + word.trim_end().chars().count() > width {
                lines.push(Line::from(mem::take(&mut part)));
            }
            part.push_str(word);
        }
        lines.push(Line::from(part));
    }
    lines
}

/// The newest lines of the timeline that fit. A line that is too long keeps its beginning, which says what happened.
fn newest(timeline: &[String], width: u16, room: usize) -> Vec<Line<'static>> {
    let mut lines = Vec::new();
    for entry in timeline.iter().rev().take(room) {
        let mut entry = wrapped(entry, width);
        entry.truncate(room - lines.len());
        entry.append(&mut lines);
        lines = entry;
    }
    lines
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
    let price = match (bid, ask) {
        // That side of the book is empty.
        (0, only) | (only, 0) => only as f64,
        _ => (bid + ask) as f64 / 2.0,
    };
    let who = match desk.generation(of) {
        _ if strategy.halted => "halted".to_owned(),
        Some(generation) => format!("generation {generation}"),
        None => "unloaded".to_owned(),
    };
    let mut lines = vec![
        Line::from(who).cyan(),
        Line::from(format!("position {:+}", holding.position)),
        Line::from(format!("profit {:+.0}", holding.worth(price))),
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
