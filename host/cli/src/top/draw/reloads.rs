//! The last reloads, newest first, each with a bar. In the bar each step has its share of the time, shown by a letter and a
//! colour.

use super::{Paint, text};
use crate::top::model::Model;
use ratatui::{
    Frame,
    layout::Rect,
    style::{Color, Style},
    text::{Line, Span},
};
use reslot_control::protocol::{Reload, StepTook};

/// Lines above the first reload: the titles and two for the legend.
pub(super) const ABOVE: u16 = 3;
/// The longest bar.
const LONGEST: usize = 48;

/// The steps in their order: letter, name, colour.
const STEPS: [(char, &str, Color); 14] = [
    ('n', "notice", Color::Gray),
    ('r', "read", Color::Blue),
    ('l', "lint", Color::Cyan),
    ('p', "preflight", Color::Magenta),
    ('o', "open", Color::Yellow),
    ('v', "verify", Color::Green),
    ('c', "create", Color::LightBlue),
    ('S', "snapshot", Color::LightMagenta),
    ('m', "migrate", Color::LightRed),
    ('i', "init", Color::LightCyan),
    ('t', "start", Color::LightGreen),
    ('h', "health", Color::LightYellow),
    ('w', "swap", Color::White),
    ('P', "probation", Color::Red),
];
/// A step that this program does not know.
const OTHER: (char, &str, Color) = ('?', "other", Color::DarkGray);

fn known(step: &str) -> (char, &'static str, Color) {
    STEPS.into_iter().find(|(_, name, _)| *name == step).unwrap_or(OTHER)
}

fn mark(step: &str, paint: Paint) -> Style {
    if paint.colours {
        Style::new().fg(Color::Black).bg(known(step).2)
    } else {
        Style::new()
    }
}

pub(super) fn draw(frame: &mut Frame<'_>, area: Rect, model: &Model, paint: Paint) {
    let width = usize::from(area.width);
    let reloads = model.overview.as_ref().map_or(&[][..], |overview| &overview.reloads);
    let title = row(width, ["UTC", "reload of", "gen", "outcome", "took"]);
    let mut lines = vec![Line::styled(text::cut(&(title.0 + "steps"), width), paint.title())];
    let shown = &reloads[..reloads.len().min(usize::from(area.height.saturating_sub(ABOVE)))];
    lines.extend(legend(shown, width, paint));
    if reloads.is_empty() && model.overview.is_some() {
        lines.push(Line::raw("no reloads yet"));
    }
    lines.extend(shown.iter().map(|reload| line(reload, width, paint)));
    super::put(frame, area, lines);
}

/// The row before the bar, and the number of columns of the bar.
fn row(width: usize, [at, slot, generation, outcome, total]: [&str; 5]) -> (String, usize) {
    // A wide screen has room for longer names.
    let name = 14 + width.saturating_sub(80).min(20) / 2;
    let row = format!(
        "{} {} {} {} {} ",
        text::left(at, 8),
        text::left(slot, name),
        text::right(generation, 5),
        text::left(outcome, 11),
        text::right(total, 8)
    );
    let room = width.saturating_sub(text::width(&row));
    (row, room)
}

fn line<'a>(reload: &Reload, width: usize, paint: Paint) -> Line<'a> {
    let generation = reload.generation.map_or("-".to_owned(), |generation| generation.to_string());
    let (at, total) = (text::clock(reload.at_ms), text::took(reload.total_us));
    let (row, room) = row(width, [&at, &reload.slot, &generation, &reload.outcome, &total]);
    let good = reload.outcome == "swapped";
    let mut spans = vec![Span::styled(row, if good { Style::new() } else { paint.bad() })];
    let bar = shares(&reload.steps, room.min(LONGEST));
    let mut left = room;
    for (step, columns) in reload.steps.iter().zip(bar).filter(|(_, columns)| *columns > 0) {
        left -= columns;
        spans.push(Span::styled(
            known(&step.step).0.to_string().repeat(columns),
            mark(&step.step, paint),
        ));
    }
    if let Some(reason) = &reload.reason {
        let reason = text::clean(reason.lines().next().unwrap_or_default());
        let gap = if left < room { " " } else { "" };
        spans.push(Span::raw(text::cut(&format!("{gap}{reason}"), left)));
    }
    Line::from(spans)
}

/// The columns of each step in a bar: its share of the time, rounded so that the steps fill the bar.
fn shares(steps: &[StepTook], columns: usize) -> Vec<usize> {
    let times: Vec<_> = steps
        .iter()
        .map(|step| if step.us.is_finite() { step.us.max(0.0) } else { 0.0 })
        .collect();
    let total: f64 = times.iter().sum();
    if total <= 0.0 || !total.is_finite() {
        return vec![0; steps.len()];
    }
    #[expect(clippy::cast_precision_loss, reason = "columns are few")]
    let exact: Vec<_> = times.iter().map(|time| time / total * columns as f64).collect();
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "at least 0, at most the columns"
    )]
    let mut given: Vec<_> = exact.iter().map(|share| share.floor() as usize).collect();
    // The columns left by rounding go to the steps that lost most.
    let mut losers: Vec<_> = (0..steps.len()).collect();
    losers.sort_by(|&a, &b| exact[b].fract().total_cmp(&exact[a].fract()));
    let left = columns.saturating_sub(given.iter().sum());
    for loser in losers.into_iter().cycle().take(left) {
        given[loser] += 1;
    }
    given
}

/// Two lines that explain the letters of the shown steps.
fn legend<'a>(shown: &[Reload], width: usize, paint: Paint) -> Vec<Line<'a>> {
    let there = |name: &str| {
        shown
            .iter()
            .flat_map(|reload| &reload.steps)
            .any(|step| known(&step.step).1 == name)
    };
    let mut lines = vec![Vec::new(), Vec::new()];
    let (mut line, mut column) = (0, 0);
    for (letter, name, _) in STEPS.into_iter().chain([OTHER]).filter(|(_, name, _)| there(name)) {
        let wide = text::width(name) + 3;
        if column + wide > width {
            (line, column) = (line + 1, 0);
        }
        let Some(spans) = lines.get_mut(line) else { break };
        spans.push(Span::styled(letter.to_string(), mark(name, paint)));
        spans.push(Span::raw(format!("={name} ")));
        column += wide;
    }
    lines.into_iter().map(Line::from).collect()
}

/// The steps of one reload, each in a line with its time and a bar.
pub(super) fn steps(reload: &Reload) -> impl Iterator<Item = String> {
    let bar = shares(&reload.steps, LONGEST);
    reload.steps.iter().zip(bar).map(|(step, columns)| {
        let letter = known(&step.step).0.to_string();
        format!(
            "  {} {} {}",
            text::left(&step.step, 10),
            text::right(&text::took(step.us), 9),
            letter.repeat(columns)
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::top::samples::reload;

    #[test]
    fn every_step_has_a_letter_of_its_own() {
        let mut letters: Vec<_> = STEPS.into_iter().chain([OTHER]).map(|(letter, ..)| letter).collect();
        letters.sort_unstable();
        letters.dedup();
        assert_eq!(letters.len(), STEPS.len() + 1);
    }

    #[test]
    fn shares_fill_the_bar_whatever_the_times_are() {
        let shares = |times: &[f64], columns| {
            let steps: Vec<_> = times.iter().map(|&time| ("open", time)).collect();
            shares(&reload("a", None, "swapped", &steps).steps, columns)
        };
        assert_eq!(shares(&[1.0, 1.0, 2.0], 8), [2, 2, 4]);
        assert_eq!(shares(&[1.0, 1.0, 1.0], 8), [3, 3, 2]);
        assert_eq!(shares(&[1.0, 0.0, f64::NAN, -5.0, f64::INFINITY], 7), [7, 0, 0, 0, 0]);
        assert_eq!(shares(&[f64::MAX, f64::MAX], 7), [0, 0], "a sum that is no number");
        for columns in 0..60 {
            for times in [&[0.1, 1e9, 3.0][..], &[5.0], &[1.0; 100]] {
                assert_eq!(shares(times, columns).iter().sum::<usize>(), columns);
            }
            assert_eq!(shares(&[0.0, 0.0], columns), [0, 0]);
            assert!(shares(&[], columns).is_empty());
        }
    }
}
