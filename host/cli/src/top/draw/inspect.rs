//! The page with everything about one slot, as lines that can be scrolled.

use super::{Paint, reloads, slots, text};
use crate::top::model::{Detail, Model, Page};
use ratatui::{Frame, layout::Rect, text::Line};
use reslot_control::protocol::{HeldGeneration, SlotStatus, Version};
use std::time::{SystemTime, UNIX_EPOCH};

/// Draws the page, and returns how far it can scroll.
pub(super) fn draw(frame: &mut Frame<'_>, area: Rect, model: &Model, paint: Paint) -> usize {
    let Page::Inspect {
        slot, detail, scroll, ..
    } = model.page.shown()
    else {
        return 0;
    };
    let lines = lines(model, slot, detail.as_deref(), usize::from(area.width));
    let last = lines.len().saturating_sub(usize::from(area.height));
    let shown = lines.into_iter().skip((*scroll).min(last)).take(usize::from(area.height));
    super::put(
        frame,
        area,
        shown
            .map(|(title, line)| {
                if title {
                    Line::styled(line, paint.title())
                } else {
                    Line::raw(line)
                }
            })
            .collect(),
    );
    last
}

/// Lines, and whether they are titles.
fn lines(model: &Model, name: &str, detail: Option<&Detail>, width: usize) -> Vec<(bool, String)> {
    let mut lines = vec![(true, text::cut(&format!("slot {name}"), width))];
    let mut add = |key: &str, value: &str| {
        let key = text::left(key, 14);
        let folded = text::fold(value, width.saturating_sub(15));
        for (index, line) in folded.into_iter().enumerate() {
            lines.push((
                false,
                if index == 0 {
                    format!("{key} {line}")
                } else {
                    format!("{} {line}", " ".repeat(14))
                },
            ));
        }
    };
    match model.slots().iter().find(|slot| slot.name == name) {
        Some(slot) => facts(model, slot, &mut add),
        None => add("", "This slot does not exist any more. Esc closes this page."),
    }
    let title = |lines: &mut Vec<_>, title: &str| lines.push((true, title.to_owned()));
    let plain = |lines: &mut Vec<(bool, String)>, text: &str, indent: usize| {
        let room = width.saturating_sub(indent);
        lines.extend(
            text::fold(text, room)
                .into_iter()
                .map(|line| (false, " ".repeat(indent) + &line)),
        );
    };
    let reloads = model.overview.iter().flat_map(|overview| &overview.reloads);
    if let Some(reload) = reloads.into_iter().find(|reload| reload.slot == name) {
        title(&mut lines, "last reload");
        let mut sentence = format!(
            "{} UTC {} in {}",
            text::clock(reload.at_ms),
            reload.outcome,
            text::took(reload.total_us)
        );
        if let Some(pause) = reload.pause_us.filter(|pause| *pause > 0.0) {
            sentence += &format!(", calls waited {}", text::took(pause));
        }
        plain(&mut lines, &sentence, 2);
        if let Some(reason) = &reload.reason {
            plain(&mut lines, reason, 2);
        }
        lines.extend(reloads::steps(reload).map(|line| (false, text::cut(&line, width))));
    }
    let Some(detail) = detail else { return lines };
    title(&mut lines, "holders");
    match &detail.held {
        Ok(held) => held.iter().for_each(|held| {
            plain(&mut lines, &generation(held), 2);
            held.holders.iter().for_each(|holder| plain(&mut lines, holder, 4));
        }),
        Err(why) => plain(&mut lines, why, 2),
    }
    title(&mut lines, "history");
    match &detail.history {
        Ok(versions) if versions.is_empty() => plain(&mut lines, "the history is empty", 2),
        Ok(versions) => versions.iter().for_each(|one| plain(&mut lines, &version(one), 2)),
        Err(why) => plain(&mut lines, why, 2),
    }
    lines
}

fn facts(model: &Model, slot: &SlotStatus, add: &mut impl FnMut(&str, &str)) {
    let number = |number: Option<u64>| number.map_or("-".to_owned(), |number| number.to_string());
    let word = |word: &Option<String>| word.clone().unwrap_or_else(|| "-".to_owned());
    let (calls, faults) = model.rates(&slot.name);
    add("interface", &word(&slot.interface));
    add("state", &slot.state);
    add("generation", &number(slot.generation));
    add("version", &word(&slot.version));
    add("hash", &word(&slot.hash));
    add(
        "path",
        &match (&slot.path, slot.engine.as_deref()) {
            (Some(path), _) => path.display().to_string(),
            (None, Some("linked")) => "linked into the program".to_owned(),
            (None, _) => "-".to_owned(),
        },
    );
    add("engine", &word(&slot.engine));
    add("staged", &number(slot.staged));
    add("standby", &number(slot.standby));
    add("owned", if slot.claimed { "yes" } else { "no" });
    add("health", &word(&slot.health));
    add(
        "live memory",
        &slot
            .live_bytes
            .map_or("-".to_owned(), |live| format!("{} ({live} bytes)", text::bytes(live))),
    );
    let calls = slot.calls.map_or("not counted".to_owned(), |many| {
        format!("{many}, {} a second", slots::rate(calls))
    });
    add("calls", &calls);
    add("faults", &format!("{}, {} a second", slot.faults, slots::rate(faults)));
    add("images", &format!("{} mapped, {} quarantined", slot.mapped, slot.quarantined));
    add("late holders", &slot.late_holders.to_string());
    add("log level", slot.log_level.as_deref().unwrap_or("the host's"));
    add("last refusal", slot.last_refusal.as_deref().unwrap_or("none"));
    if let Some(damaged) = &slot.damaged {
        add("image", damaged);
    }
}

fn generation(held: &HeldGeneration) -> String {
    let live = held
        .live_bytes
        .map_or(String::new(), |live| format!(", {}", text::bytes(live)));
    let nobody = if held.holders.is_empty() { ", no holders" } else { "" };
    format!(
        "generation {}: {} for {}{live}{nobody}",
        held.generation,
        held.condition,
        text::since(held.since_ms)
    )
}

fn version(version: &Version) -> String {
    let serves = if version.serves { "* " } else { "  " };
    let reason = version
        .reason
        .as_deref()
        .map_or(String::new(), |reason| format!(": {reason}"));
    let hash: String = version.hash.chars().take(12).collect();
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |now| u64::try_from(now.as_millis()).unwrap_or(0));
    let age = text::since(now.saturating_sub(version.since_ms));
    let (name, condition) = (&version.version, &version.condition);
    format!(
        "{serves}{hash} {name} {condition} for {age}, {}{reason}",
        text::bytes(version.bytes)
    )
}
