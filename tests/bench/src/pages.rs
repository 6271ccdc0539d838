//! Prints rows for people: a line in the terminal, a table in Markdown, a page of HTML. `plots` draws the plots.

use crate::{Row, machine, plots};
use std::{collections::BTreeSet, fmt::Write};
use xtask::BENCH_GROUPS;

/// The groups, as a reader asks; what is not known here (a report of another version) follows by its name.
pub(crate) fn order(groups: BTreeSet<&str>) -> Vec<String> {
    let known = BENCH_GROUPS.iter().filter(|group| groups.contains(*group));
    let unknown = groups.iter().filter(|group| !BENCH_GROUPS.contains(group));
    known.chain(unknown).map(|group| (*group).to_owned()).collect()
}

/// Above the lines in the terminal.
pub(crate) const COLUMNS: &str =
    "                                                               median         ratio  quarters       promised";

pub(crate) fn line(row: &Row) -> String {
    let value = format!("{} {}", number(row.value), row.unit);
    let ratio = row.ratio.map_or(String::new(), number);
    let promised = promised(row, ": held", ": NOT HELD");
    let line = format!("{:<56} {value:>14} {ratio:>8}  {:<13} {promised}", row.name, spread(row));
    line.trim_end().to_owned()
}

/// What was promised, if anything was, and how that is to be told.
fn promised(row: &Row, held: &str, not_held: &str) -> String {
    let outcome = if row.held() == Some(true) { held } else { not_held };
    row.limit
        .map_or(String::new(), |limit| format!("at most {}{outcome}", number(limit)))
}

fn spread(row: &Row) -> String {
    row.spread
        .map_or(String::new(), |(low, high)| format!("{}–{}", number(low), number(high)))
}

/// Three digits that count.
pub(crate) fn number(value: f64) -> String {
    match value.abs() {
        0.0 => "0".to_owned(),
        size if size >= 100_000.0 => {
            let digits = format!("{value:.0}");
            let mut out = String::new();
            for (at, digit) in digits.chars().enumerate() {
                if at > 0 && (digits.len() - at).is_multiple_of(3) {
                    out.push(',');
                }
                out.push(digit);
            }
            out
        }
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        size if size >= 0.1 => format!("{value:.2}"),
        _ => format!("{value:.2e}"),
    }
}

/// What README quotes, then everything.
pub(crate) fn markdown(rows: &[Row]) -> String {
    let mut page = quoted(rows);
    for (group, rows) in by(rows, |row| &row.group) {
        let _ = write!(page, "\n## {group}\n");
        for (heading, rows) in by(&rows, |row| &row.heading) {
            if !heading.is_empty() {
                let _ = write!(page, "\n### {heading}\n");
            }
            let _ = write!(page, "\n{}", table(&rows, false));
        }
    }
    page
}

/// The table that README quotes.
pub(crate) fn quoted(rows: &[Row]) -> String {
    let quoted: Vec<Row> = rows.iter().filter(|row| row.quoted).cloned().collect();
    let days: BTreeSet<&str> = quoted.iter().map(|row| row.measured.as_str()).collect();
    let days: Vec<&str> = days.into_iter().collect();
    format!(
        "Measured on {} on {}. Medians; ratios are medians of the rounds' own ratios, with their quarters.\n\n{}",
        days.join(" and "),
        machine::machine(),
        table(&quoted, true)
    )
}

fn table(rows: &[Row], with_group: bool) -> String {
    let (first, rule) = if with_group { ("| measured ", "|---") } else { ("", "") };
    let mut table = format!("{first}| what | median | ratio | against | promised |\n{rule}|---|---:|---:|---|---|\n");
    for row in rows {
        if with_group {
            let _ = write!(table, "| {} ", cell(&place(row)));
        }
        let ratio = match (row.ratio, row.spread) {
            (Some(ratio), Some(_)) => format!("{} ({})", number(ratio), spread(row)),
            (Some(ratio), None) => number(ratio),
            (None, _) => String::new(),
        };
        let promised = promised(row, "", ": **not held**");
        let name = row
            .note
            .as_ref()
            .map_or(row.name.clone(), |note| format!("{} ({note})", row.name));
        let _ = writeln!(
            table,
            "| {} | {} {} | {ratio} | {} | {promised} |",
            cell(&name),
            number(row.value),
            row.unit,
            cell(row.against.as_deref().unwrap_or_default()),
        );
    }
    table
}

/// Where a row stands, for a table in which the headings do not.
fn place(row: &Row) -> String {
    match row.heading.is_empty() {
        true => row.group.clone(),
        false => format!("{}: {}", row.group, row.heading),
    }
}

fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('<', "&lt;")
}

/// A page that needs nothing else.
pub(crate) fn html(rows: &[Row]) -> String {
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\"><meta charset=\"utf-8\"><title>Reslot, measured</title>\n<style>{STYLE}</style>\n\
         <h1>Reslot, measured</h1>\n<p>{}. Medians of interleaved rounds; ratios are medians of the rounds' own ratios; \
         spreads are quarters.</p>\n",
        escape(&machine::machine())
    );
    for (group, rows) in by(rows, |row| &row.group) {
        let _ = writeln!(page, "<h2>{}</h2>", escape(&group));
        for (heading, rows) in by(&rows, |row| &row.heading) {
            let _ = writeln!(page, "<h3>{}</h3>\n{}\n<table>", escape(&heading), plots::plot(&rows));
            page.push_str("<tr><th>what<th>median<th>ratio<th>quarters<th>against<th>promised<th>measured\n");
            for row in &rows {
                let promised = promised(row, "", ": <b>not held</b>");
                let note = row
                    .note
                    .as_ref()
                    .map_or(String::new(), |note| format!("<br><i>{}</i>", escape(note)));
                let _ = writeln!(
                    page,
                    "<tr><td>{}{note}<td>{} {}<td>{}<td>{}<td>{}<td>{promised}<td>{}",
                    escape(&row.name),
                    number(row.value),
                    escape(&row.unit),
                    row.ratio.map_or(String::new(), number),
                    spread(row),
                    escape(row.against.as_deref().unwrap_or_default()),
                    row.measured,
                );
            }
            page.push_str("</table>\n");
        }
    }
    page
}

const STYLE: &str = "body{font:15px/1.45 system-ui,sans-serif;max-width:70rem;margin:2rem auto;padding:0 1rem}\
table{border-collapse:collapse;font-variant-numeric:tabular-nums}td,th{padding:.2rem .7rem;border-bottom:1px solid #ddd;text-align:left}\
td:nth-child(2),td:nth-child(3){text-align:right}svg{max-width:100%;height:auto}b{color:#b00}";

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// The rows by a name, each where it first appears.
fn by(rows: &[Row], name: fn(&Row) -> &String) -> Vec<(String, Vec<Row>)> {
    let mut parts: Vec<(String, Vec<Row>)> = Vec::new();
    for row in rows {
        match parts.iter_mut().find(|(known, _)| known == name(row)) {
            Some((_, part)) => part.push(row.clone()),
            None => parts.push((name(row).clone(), vec![row.clone()])),
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::number;

    #[test]
    fn three_digits_count() {
        let shown = [0.0, 0.0123, 1.054, 12.34, 123.4, 99_999.0, 1_234_567.0].map(number);
        assert_eq!(shown, ["0", "1.23e-2", "1.05", "12.3", "123", "99999", "1,234,567"]);
    }
}
