//! Formats figures, and has the colours; anstream drops them for `NO_COLOR` and if the output is not a terminal.

use anstyle::{AnsiColor, Style};
use sample_interfaces::Summary;
use std::{fmt, time::Duration};

/// A rounded duration.
pub fn duration(took: Duration) -> String {
    match took.as_secs_f64() {
        long if long >= 10.0 => format!("{long:.0} s"),
        long if long >= 1.0 => format!("{long:.1} s"),
        middle if middle >= 0.01 => format!("{:.0} ms", middle * 1e3),
        middle if middle >= 0.001 => format!("{:.1} ms", middle * 1e3),
        short => format!("{:.0} µs", short * 1e6),
    }
}

/// A number with thousands separators.
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// The text of a strategy's summary.
pub fn state(summary: &Summary) -> String {
    format!(
        "position {:+}, average {:.7}, {} ticks seen",
        summary.position,
        summary.average,
        count(summary.ticks)
    )
}

/// Text in a colour.
pub struct Painted<T>(Style, T);

impl<T: fmt::Display> fmt::Display for Painted<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}{:#}", self.0, self.1, self.0)
    }
}

/// The style of a success.
pub fn good<T: fmt::Display>(text: T) -> Painted<T> {
    Painted(AnsiColor::Green.on_default(), text)
}

/// The style of a failure.
pub fn bad<T: fmt::Display>(text: T) -> Painted<T> {
    Painted(AnsiColor::Red.on_default().bold(), text)
}

/// The style of secondary text.
pub fn dim<T: fmt::Display>(text: T) -> Painted<T> {
    Painted(Style::new().dimmed(), text)
}

/// The style of a heading.
pub fn heading<T: fmt::Display>(text: T) -> Painted<T> {
    Painted(Style::new().bold(), text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_few_digits() {
        let read = [7, 412, 1_240, 23_400, 1_250_000, 61_000_000].map(|micros| duration(Duration::from_micros(micros)));
        assert_eq!(read, ["7 µs", "412 µs", "1.2 ms", "23 ms", "1.2 s", "61 s"]);
    }

    #[test]
    fn thousands_stand_apart() {
        assert_eq!([0, 999, 1_000, 1_234_567].map(count), ["0", "999", "1,000", "1,234,567"]);
    }
}
