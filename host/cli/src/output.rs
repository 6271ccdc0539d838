//! The program's output: lines whose write errors are reported, colours for terminals only, columns of equal width, rounded
//! quantities.

use crate::exit::Failure;
pub use reslot_project::verbs::paint::{bad, caution, dim, good, heading, waiting};
use serde::Serialize;
use std::{fmt::Display, io::Write, time::Duration};

/// Prints a line. `println!` would panic if the output is closed.
pub fn line(text: impl Display) -> Result<(), Failure> {
    let mut out = anstream::stdout();
    let written = writeln!(out, "{text}").and_then(|()| out.flush());
    written.map_err(Failure::Output)
}

/// Makes a text from a host or a file safe for a terminal: without control characters except line feeds, and without
/// characters that change the direction of text.
pub fn clean(text: &str) -> String {
    let turns = |c| matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}');
    let harmless = |c: char| {
        if (c.is_control() && c != '\n') || turns(c) {
            '\u{fffd}'
        } else {
            c
        }
    };
    text.chars().map(harmless).collect()
}

/// Prints a JSON document.
pub fn json(document: &impl Serialize) -> Result<(), Failure> {
    line(serde_json::to_string_pretty(document).map_err(unwritable)?)
}

/// Prints a JSON document in one line.
pub fn json_line(document: &impl Serialize) -> Result<(), Failure> {
    line(serde_json::to_string(document).map_err(unwritable)?)
}

fn unwritable(error: serde_json::Error) -> Failure {
    Failure::Output(error.into())
}

/// Rows under a heading, each column as wide as its widest word.
pub fn table<const N: usize>(titles: [&str; N], rows: &[[String; N]]) -> Result<(), Failure> {
    let width = |column: usize| {
        let words = rows.iter().map(|row| row[column].chars().count());
        words.chain([titles[column].chars().count()]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..N).map(width).collect();
    let row = |words: [&str; N]| {
        let padded = words.iter().zip(&widths).map(|(word, width)| format!("{word:<width$}"));
        padded.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    line(heading(row(titles)))?;
    rows.iter()
        .try_for_each(|words| line(row(words.each_ref().map(String::as_str))))
}

/// The first line of a text, cut to a number of columns.
pub fn clipped(text: &str, columns: usize) -> String {
    let text = clean(text);
    let first = text.lines().next().unwrap_or_default();
    match first.chars().count() > columns {
        true => first.chars().take(columns.saturating_sub(1)).chain(['…']).collect(),
        false => first.to_owned(),
    }
}

/// Bytes.
pub fn size(bytes: u64) -> String {
    match bytes {
        few @ 0..1_000 => format!("{few} B"),
        some @ 1_000..1_000_000 => format!("{:.1} KB", some as f64 / 1e3),
        many => format!("{:.1} MB", many as f64 / 1e6),
    }
}

/// Milliseconds.
pub fn duration(ms: u64) -> String {
    match ms / 1_000 {
        0 => format!("{ms} ms"),
        seconds @ 1..120 => format!("{seconds} s"),
        seconds @ 120..7_200 => format!("{} min", seconds / 60),
        seconds @ 7_200..172_800 => format!("{} h", seconds / 3_600),
        seconds => format!("{} d", seconds / 86_400),
    }
}

/// The time of day, in UTC.
pub fn time(at_ms: u64) -> String {
    let seconds = at_ms / 1_000 % 86_400;
    format!("{:02}:{:02}:{:02}", seconds / 3_600, seconds / 60 % 60, seconds % 60)
}

/// How long ago that was.
pub fn ago(at_ms: u64) -> String {
    let since = std::time::UNIX_EPOCH + Duration::from_millis(at_ms);
    let ms = since.elapsed().unwrap_or_default().as_millis();
    format!("{} ago", duration(u64::try_from(ms).unwrap_or(u64::MAX)))
}
