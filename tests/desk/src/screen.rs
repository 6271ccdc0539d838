//! The screen: price ladder, who decides and what that earns, resting orders with the generation that sent them, latencies, and the
//! timeline of reloads. It only looks; nothing is decided here.

use crate::{
    desk::{Desk, Strategy},
    gate::word,
};
use ratatui::{
    Frame,
    layout::{Constraint, Layout, Rect},
    style::{Color, Style},
    text::Line,
    widgets::{Block, Paragraph},
};

/// What stands above the desk.
#[derive(Debug, Clone, Default)]
pub struct Caption<'a> {
    /// The chapter.
    pub title: &'a str,
    /// The last claim, and whether it holds.
    pub claim: Option<String>,
    /// Why what was saved does not build.
    pub error: Option<&'a str>,
}

/// Draws the desk as it is now.
pub fn draw(frame: &mut Frame<'_>, desk: &Desk<'_>, caption: &Caption<'_>) {
    let (at, rows) = desk.progress();
    let [head, claim, upper, lower, below] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Length(1),
        Constraint::Length(12),
        Constraint::Length(4),
        Constraint::Min(4),
    ])
    .areas(frame.area());
    let yellow = Style::new().fg(Color::Yellow);
    frame.render_widget(Paragraph::new(format!(" {}", caption.title)).style(yellow), head);
    let far = format!(" row {at} of {rows}, {} orders   l live   q quit ", desk.record.sent());
    match &caption.claim {
        Some(words) => frame.render_widget(
            Paragraph::new(format!(" {words}")).style(Style::new().fg(Color::Green)),
            claim,
        ),
        None => frame.render_widget(Paragraph::new(far.as_str()), claim),
    }
    let sides: [Rect; 2] = Layout::horizontal([Constraint::Percentage(50); 2]).areas(upper);
    for (of, (strategy, area)) in desk.strategies.iter().zip(sides).enumerate() {
        let [ladder, facts] = Layout::horizontal([Constraint::Length(16), Constraint::Min(24)]).areas(area);
        panel(frame, ladder, "ladder", ladder_of(desk, strategy));
        panel(
            frame,
            facts,
            strategy.name,
            facts_of(desk, of, strategy, usize::from(facts.width.saturating_sub(2)).max(1)),
        );
    }
    frame.render_widget(Paragraph::new(desk.latency.to_string()), lower);
    let room = usize::from(below.height.saturating_sub(2));
    if let Some(error) = caption.error {
        let lines = error.lines().take(room).map(|line| Line::from(line.to_owned()));
        let red = lines.map(|line| line.style(Style::new().fg(Color::Red))).collect();
        return panel(frame, below, "what was saved does not build; what was there trades on", red);
    }
    let last = desk.timeline.iter().rev().take(room).rev();
    let lines = last.map(|line| Line::from(line.replace('\n', " "))).collect();
    let title = if caption.claim.is_some() {
        format!("timeline,{far}")
    } else {
        "timeline".to_owned()
    };
    panel(frame, below, &title, lines);
}

fn panel(frame: &mut Frame<'_>, area: Rect, title: &str, lines: Vec<Line<'_>>) {
    let block = Block::bordered().title(title.to_owned());
    frame.render_widget(Paragraph::new(lines).block(block), area);
}

fn ladder_of(desk: &Desk<'_>, strategy: &Strategy) -> Vec<Line<'static>> {
    let depth = desk.exchange.depth(strategy.instrument, 5);
    let row =
        |price: u64, quantity: u64, colour| Line::from(format!("{price:>7}{quantity:>7}")).style(Style::new().fg(colour));
    let mut asks = depth.asks;
    asks.sort_by_key(|level| std::cmp::Reverse(level.price));
    let mut bids = depth.bids;
    bids.sort_by_key(|level| std::cmp::Reverse(level.price));
    let asks = asks.iter().map(|level| row(level.price, level.qty, Color::Red));
    asks.chain(bids.iter().map(|level| row(level.price, level.qty, Color::Green)))
        .collect()
}

fn facts_of(desk: &Desk<'_>, of: usize, strategy: &Strategy, width: usize) -> Vec<Line<'static>> {
    let (bid, ask) = desk.exchange.best(strategy.instrument);
    let holding = desk.record.holding(of);
    let profit = holding.worth((bid + ask) as f64 / 2.0);
    let who = match strategy.halted {
        true => "halted".to_owned(),
        false => format!("generation {}", desk.generation(of)),
    };
    let mut lines = vec![
        Line::from(who).style(Style::new().fg(Color::Cyan)),
        Line::from(format!("position {:+}", holding.position)),
        Line::from(format!("profit {profit:+.0}")),
    ];
    let own = desk.record.resting().filter(|order| order.strategy == of);
    lines.extend(own.take(4).map(|order| {
        let (side, open, price) = (word(order.side), order.open, order.price);
        Line::from(format!("#{} g{} {side} {open}@{price}", order.id, order.generation))
    }));
    if let Some(trial) = &strategy.trial {
        let verdict = format!("on trial: {}", trial.verdict);
        let chars: Vec<char> = verdict.chars().collect();
        lines.extend(chars.chunks(width).map(|part| Line::from(part.iter().collect::<String>())));
    }
    lines
}
