//! The table of slots. It shows as many as fit, and always the selected one.

use super::{Paint, text};
use crate::top::model::{Model, Rate};
use ratatui::{
    Frame,
    layout::Rect,
    style::{Modifier, Style},
    text::{Line, Span},
};
use reslot_control::protocol::SlotStatus;

/// The columns after the name: titles and widths.
const COLUMNS: [(&str, usize); 8] = [
    ("gen", 5),
    ("state", 9),
    ("health", 7),
    ("calls/s", 7),
    ("faults/s", 8),
    ("live", 8),
    ("holders", 7),
    ("owned", 5),
];
/// The mark of the selected row.
const MARK: usize = 2;

pub(super) fn draw(frame: &mut Frame<'_>, area: Rect, model: &Model, paint: Paint) {
    let slots = model.slots();
    let beside = MARK + COLUMNS.iter().map(|(_, columns)| columns + 1).sum::<usize>();
    let room = usize::from(area.width).saturating_sub(beside);
    // The health column gets the columns that short names do not need.
    let longest = slots
        .iter()
        .map(|slot| text::width(&text::clean(&slot.name)))
        .max()
        .unwrap_or(0);
    let name = room.min(longest.max(14));
    let health = COLUMNS[2].1 + room.saturating_sub(name).min(30);
    let widths = COLUMNS.map(|(title, columns)| if title == "health" { health } else { columns });

    let rows = usize::from(area.height.saturating_sub(1));
    let place = model.selected();
    let first = place.saturating_sub(rows / 2).min(slots.len().saturating_sub(rows));
    // If both do not fit, the position in the list replaces the word.
    let title = match format!("slot {}/{}", place + 1, slots.len()) {
        _ if slots.len() <= rows => "slot".to_owned(),
        long if text::width(&long) <= name => long,
        _ => format!("{}/{}", place + 1, slots.len()),
    };
    let mut lines = vec![Line::styled(
        row("  ", name, &title, widths, &COLUMNS.map(|(title, _)| title.to_owned())),
        paint.title(),
    )];
    if slots.is_empty() {
        lines.push(Line::raw(if model.overview.is_some() { "  no slots yet" } else { "" }));
    }
    for (index, slot) in slots.iter().enumerate().skip(first).take(rows) {
        let chosen = index == place;
        let line = row(
            if chosen { "> " } else { "  " },
            name,
            &slot.name,
            widths,
            &cells(model, slot),
        );
        let style = if troubled(slot) { paint.bad() } else { Style::new() };
        let style = if chosen {
            style.add_modifier(Modifier::REVERSED)
        } else {
            style
        };
        lines.push(Line::from(Span::styled(line, style)));
    }
    super::put(frame, area, lines);
}

/// Whether the row is coloured because the slot has a problem.
fn troubled(slot: &SlotStatus) -> bool {
    slot.quarantined > 0 || slot.health.as_deref().is_some_and(|health| health != "healthy")
}

fn cells(model: &Model, slot: &SlotStatus) -> [String; 8] {
    let none = || "-".to_owned();
    let (calls, faults) = model.rates(&slot.name);
    [
        slot.generation.map_or_else(none, |generation| generation.to_string()),
        slot.state.clone(),
        slot.health.clone().unwrap_or_else(none),
        rate(calls),
        rate(faults),
        slot.live_bytes.map_or_else(none, text::bytes),
        slot.late_holders.to_string(),
        if slot.claimed { "yes" } else { "-" }.to_owned(),
    ]
}

pub(super) fn rate(rate: Rate) -> String {
    match rate {
        Rate::NotCounted => "-".to_owned(),
        Rate::Unknown => "…".to_owned(),
        Rate::Of(many) => text::short(many),
    }
}

fn row(mark: &str, name: usize, named: &str, widths: [usize; 8], cells: &[String; 8]) -> String {
    let mut row = mark.to_owned() + &text::left(named, name);
    for ((cell, columns), (title, _)) in cells.iter().zip(widths).zip(COLUMNS) {
        row.push(' ');
        let words = matches!(title, "state" | "health" | "owned");
        row.push_str(&if words {
            text::left(cell, columns)
        } else {
            text::right(cell, columns)
        });
    }
    row
}
