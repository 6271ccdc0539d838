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

/// Draws the desk as it is now.
pub fn draw(frame: &mut Frame<'_>, desk: &Desk<'_>, chapter: &str) {
    let (at, rows) = desk.progress();
    let [head, upper, lower, below] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Length(14),
        Constraint::Length(7),
        Constraint::Min(4),
    ])
    .areas(frame.area());
    let title = format!(" {chapter}   (row {at} of {rows}, {} orders sent)", desk.record.sent());
    frame.render_widget(Paragraph::new(title).style(Style::new().fg(Color::Yellow)), head);
    let sides: [Rect; 2] = Layout::horizontal([Constraint::Percentage(50); 2]).areas(upper);
    for (of, (strategy, area)) in desk.strategies.iter().zip(sides).enumerate() {
        let [ladder, facts] = Layout::horizontal([Constraint::Length(22), Constraint::Min(30)]).areas(area);
        panel(frame, ladder, "ladder", ladder_of(desk, strategy));
        panel(frame, facts, strategy.name, facts_of(desk, of, strategy));
    }
    let latency: Vec<Line<'_>> = desk
        .latency
        .to_string()
        .lines()
        .map(|line| Line::from(line.to_owned()))
        .collect();
    panel(frame, lower, "latency", latency);
    let room = usize::from(below.height.saturating_sub(2));
    let last = desk.timeline.iter().rev().take(room).rev();
    panel(
        frame,
        below,
        "timeline",
        last.map(|line| Line::from(line.replace('\n', " "))).collect(),
    );
}

fn panel(frame: &mut Frame<'_>, area: Rect, title: &str, lines: Vec<Line<'_>>) {
    let block = Block::bordered().title(title.to_owned());
    frame.render_widget(Paragraph::new(lines).block(block), area);
}

fn ladder_of(desk: &Desk<'_>, strategy: &Strategy) -> Vec<Line<'static>> {
    let depth = desk.exchange.depth(strategy.instrument, 5);
    let row =
        |price: u64, quantity: u64, colour| Line::from(format!("{price:>8} {quantity:>9}")).style(Style::new().fg(colour));
    let mut asks = depth.asks;
    asks.sort_by_key(|level| std::cmp::Reverse(level.price));
    let mut bids = depth.bids;
    bids.sort_by_key(|level| std::cmp::Reverse(level.price));
    let asks = asks.iter().map(|level| row(level.price, level.qty, Color::Red));
    asks.chain(bids.iter().map(|level| row(level.price, level.qty, Color::Green)))
        .collect()
}

fn facts_of(desk: &Desk<'_>, of: usize, strategy: &Strategy) -> Vec<Line<'static>> {
    let (bid, ask) = desk.exchange.best(strategy.instrument);
    let holding = desk.record.holding(of);
    let profit = holding.worth((bid + ask) as f64 / 2.0);
    let who = match strategy.halted {
        true => "halted".to_owned(),
        false => format!("generation {}", desk.generation(of)),
    };
    let mut lines = vec![
        Line::from(who).style(Style::new().fg(Color::Cyan)),
        Line::from(format!("position {:+}, profit {profit:+.0}", holding.position)),
    ];
    if let Some(trial) = &strategy.trial {
        let verdict = format!("on trial: {}", trial.verdict);
        let chars: Vec<char> = verdict.chars().collect();
        lines.extend(chars.chunks(44).map(|part| Line::from(part.iter().collect::<String>())));
    }
    let own = desk.record.resting().filter(|order| order.strategy == of);
    lines.extend(own.map(|order| {
        let (side, open, price) = (word(order.side), order.open, order.price);
        Line::from(format!("#{} g{} {side} {open} at {price}", order.id, order.generation))
    }));
    lines
}
