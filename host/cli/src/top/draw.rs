//! Draws the model. This file makes the layout; `slots`, `reloads` and `inspect` draw the parts. All text is cut to the
//! screen's size, and colour never carries information alone.

mod inspect;
mod reloads;
mod slots;
#[cfg(test)]
mod tests;

use super::{
    model::{Link, Model, Page},
    text,
};
use ratatui::{
    Frame,
    layout::{Constraint, Layout, Rect},
    style::{Color, Modifier, Style},
    text::{Line, Span},
    widgets::Paragraph,
};
use std::time::{Duration, Instant};

/// The smallest screen that has room for everything.
const SMALLEST: (u16, u16) = (76, 12);

/// The highest number of lines of a message.
const LONGEST_MESSAGE: usize = 3;

/// A host that does not answer for this time is shown as silent.
const SILENT: Duration = Duration::from_secs(2);

/// How to draw.
#[derive(Debug, Clone, Copy)]
pub(super) struct Paint {
    /// Whether to use colours. Bold and reversed are used in any case.
    pub(super) colours: bool,
}

impl Paint {
    /// The style for this colour, if colours are used.
    fn text(self, colour: Color) -> Style {
        if self.colours { Style::new().fg(colour) } else { Style::new() }
    }

    /// The style for problems.
    fn bad(self) -> Style {
        self.text(Color::Red).add_modifier(Modifier::BOLD)
    }

    /// The style of column titles.
    fn title(self) -> Style {
        self.text(Color::Cyan).add_modifier(Modifier::BOLD)
    }
}

/// Draws the whole screen. `now` is used to show how long a host has been gone.
pub(super) fn screen(frame: &mut Frame<'_>, model: &mut Model, paint: Paint, now: Instant) {
    let area = frame.area();
    if area.width < SMALLEST.0 || area.height < SMALLEST.1 {
        too_small(frame, area);
        return;
    }
    let said = said(model, paint, usize::from(area.width));
    let talk = u16::try_from(said.len()).unwrap_or(1).max(1);
    let rows = [
        Constraint::Length(2),
        Constraint::Min(0),
        Constraint::Length(talk),
        Constraint::Length(1),
    ];
    let [header, middle, message, footer] = Layout::vertical(rows).areas(area);
    put(frame, header, about_host(model, paint, now, usize::from(area.width)));
    match model.page.shown() {
        Page::Inspect { .. } => {
            let last = inspect::draw(frame, middle, model, paint);
            model.scroll_ends_at(last);
        }
        Page::Help => put(frame, middle, help(paint)),
        _ => slots_and_reloads(frame, middle, model, paint),
    }
    put(frame, message, said);
    let keys = match &model.page {
        Page::Slots => "↑↓ select  r reload  b roll back  c confirm  enter inspect  ? help  q quit",
        Page::Inspect { .. } => "↑↓ scroll  r reload  b roll back  c confirm  esc back  q quit",
        Page::Help => "any key: back  q quit",
        Page::Asking { .. } => "y: roll back  any other key: do nothing",
    };
    put(
        frame,
        footer,
        vec![Line::styled(
            text::cut(keys, usize::from(area.width)),
            paint.text(Color::Cyan),
        )],
    );
}

fn put(frame: &mut Frame<'_>, area: Rect, lines: Vec<Line<'_>>) {
    frame.render_widget(Paragraph::new(lines), area);
}

/// Draws a message on a screen that is too small for tables.
fn too_small(frame: &mut Frame<'_>, area: Rect) {
    let (width, height) = SMALLEST;
    let said = format!(
        "reslot top needs {width}x{height}, this is {}x{}. q quits.",
        area.width, area.height
    );
    let lines = text::fold(&said, usize::from(area.width));
    put(frame, area, lines.into_iter().map(Line::from).collect());
}

fn about_host<'a>(model: &Model, paint: Paint, now: Instant, width: usize) -> Vec<Line<'a>> {
    let gone = match &model.link {
        Link::Gone(since, why) => {
            // Only the first line is shown: `top` already does what the other lines advise.
            let why = why.lines().next().unwrap_or_default();
            Some(format!(
                "NO HOST for {}, looking for it: {why}",
                text::since(ms(now.saturating_duration_since(*since)))
            ))
        }
        _ if model.waits_since(now) > SILENT => Some(format!(
            "THE HOST DOES NOT ANSWER for {}",
            text::since(ms(model.waits_since(now)))
        )),
        Link::New => Some("asking …".to_owned()),
        Link::There => None,
    };
    let Some(host) = &model.overview else {
        let first = format!("reslot top  {}", model.source);
        return vec![
            Line::raw(text::cut(&first, width)),
            disconnected_line(&gone.unwrap_or_default(), paint, width),
        ];
    };
    let quarantined = if host.quarantined > 0 { paint.bad() } else { Style::new() };
    // If the line is too long, the program's name is cut.
    let facts = format!("  pid {}  up {}  ", host.process, text::since(host.uptime_ms));
    let images = format!("images {} mapped, ", host.mapped);
    let kept = format!("{} quarantined", host.quarantined);
    let room = width.saturating_sub(text::width(&facts) + text::width(&images) + text::width(&kept));
    let first = Line::from(vec![
        Span::styled(text::cut(&host.program, room), Modifier::BOLD),
        Span::raw(facts),
        Span::raw(images),
        Span::styled(kept, quarantined),
    ]);
    let folder = host
        .folder
        .as_ref()
        .map_or("no folder".to_owned(), |folder| format!("folder {}", folder.display()));
    let second = gone.map_or_else(
        || Line::raw(text::cut(&folder, width)),
        |gone| disconnected_line(&gone, paint, width),
    );
    vec![first, second]
}

fn ms(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn disconnected_line<'a>(gone: &str, paint: Paint, width: usize) -> Line<'a> {
    Line::styled(text::cut(gone, width), paint.bad())
}

/// The message in one or a few lines.
fn said<'a>(model: &Model, paint: Paint, width: usize) -> Vec<Line<'a>> {
    if let Page::Asking { slot, .. } = &model.page {
        // A long slot name is cut, so that the end of the question with the keys stays visible.
        let slot = text::cut(slot, width.saturating_sub(50));
        let question = format!("Roll {slot} back to the previous version? y/n");
        return vec![Line::styled(question, Modifier::BOLD)];
    }
    let Some(message) = &model.message else { return Vec::new() };
    // A mark shows errors without colour.
    let (mark, style) = if message.bad {
        ("! ", paint.bad())
    } else {
        ("", Style::new())
    };
    let lines = text::fold(&format!("{mark}{}", message.text), width);
    let cut = lines.len() > LONGEST_MESSAGE;
    let mut lines: Vec<_> = lines.into_iter().take(LONGEST_MESSAGE).collect();
    if let Some(last) = lines.last_mut().filter(|_| cut) {
        *last = text::cut(last, width.saturating_sub(2)) + " …";
    }
    lines.into_iter().map(|line| Line::styled(line, style)).collect()
}

fn slots_and_reloads(frame: &mut Frame<'_>, area: Rect, model: &Model, paint: Paint) {
    let reloads = model.overview.as_ref().map_or(0, |overview| overview.reloads.len());
    // The reloads get the lines that the slots do not need; on a small screen both get a part.
    let slots_need = area
        .height
        .min(u16::try_from(model.slots().len().max(1) + 2).unwrap_or(u16::MAX));
    let reloads_need = u16::try_from(reloads.max(1))
        .unwrap_or(u16::MAX)
        .saturating_add(reloads::ABOVE);
    let reloads_get = reloads_need.min((area.height - slots_need).max(area.height / 2));
    let [above, below] = Layout::vertical([Constraint::Min(0), Constraint::Length(reloads_get)]).areas(area);
    slots::draw(frame, above, model, paint);
    reloads::draw(frame, below, model, paint);
}

fn help<'a>(paint: Paint) -> Vec<Line<'a>> {
    let keys = [
        ("up down j k", "select a slot; also page up, page down, g, G"),
        ("enter", "everything about the slot; esc closes it"),
        ("r", "reload the slot from its file"),
        ("b", "roll back to the previous version, after y"),
        ("c", "confirm the current generation, which ends its probation"),
        ("q", "quit"),
    ];
    let words = [
        "gen      the current generation          holders  holders of older generations",
        "calls/s  - if the host does not count   owned    whether the slot has an owner",
        "The bar of a reload has each step's share of its time, by the step's letter.",
    ];
    let keys = keys.map(|(key, does)| Line::from(vec![Span::styled(text::left(key, 13), paint.title()), Span::raw(does)]));
    keys.into_iter().chain(words.map(Line::raw)).collect()
}
