//! Formats text and numbers for the screen: names cut to a width, text folded into lines, rounded numbers.

use ratatui::text::Span;

/// The width of a text in columns.
pub(super) fn width(text: &str) -> usize {
    Span::raw(text).width()
}

/// The text without control characters and without characters that change the direction of text.
pub(super) fn clean(text: &str) -> String {
    crate::output::clean(text).replace('\n', "\u{fffd}")
}

/// The text, cut to a width, with an ellipsis if it was cut.
pub(super) fn cut(text: &str, columns: usize) -> String {
    let text = clean(text);
    if width(&text) <= columns {
        return text;
    }
    let mut kept = String::new();
    for c in text.chars() {
        kept.push(c);
        // The ellipsis takes a column.
        if width(&kept) + 1 > columns {
            kept.pop();
            break;
        }
    }
    if columns > 0 {
        kept.push('…');
    }
    kept
}

/// The text in exactly this width, left-aligned.
pub(super) fn left(text: &str, columns: usize) -> String {
    let cut = cut(text, columns);
    let room = columns.saturating_sub(width(&cut));
    cut + &" ".repeat(room)
}

/// The text in exactly this width, right-aligned.
pub(super) fn right(text: &str, columns: usize) -> String {
    let cut = cut(text, columns);
    " ".repeat(columns.saturating_sub(width(&cut))) + &cut
}

/// Folds a text into lines of at most this width, at spaces if possible. Existing line breaks are kept.
pub(super) fn fold(text: &str, columns: usize) -> Vec<String> {
    let columns = columns.max(2);
    let mut lines = Vec::new();
    for paragraph in text.lines() {
        let mut line = String::new();
        for word in clean(paragraph).split(' ') {
            if !line.is_empty() && width(&line) + 1 + width(word) <= columns {
                line.push(' ');
                line.push_str(word);
                continue;
            }
            if !line.is_empty() {
                lines.push(std::mem::take(&mut line));
            }
            for c in word.chars() {
                line.push(c);
                if width(&line) > columns {
                    line.pop();
                    lines.push(std::mem::take(&mut line));
                    line.push(c);
                }
            }
        }
        lines.push(line);
    }
    if lines.is_empty() {
        lines.push(String::new());
    }
    lines
}

/// A number in at most five columns: `999`, `1.2k`, `345k`, `1.2M`.
pub(super) fn short(number: f64) -> String {
    let number = if number.is_finite() { number.max(0.0) } else { 0.0 };
    if number == 0.0 {
        return "0".to_owned();
    }
    if number < 9.95 {
        return format!("{number:.1}");
    }
    let units = [(1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")];
    for (size, unit) in units {
        let many = number / size;
        if many >= 9.95 {
            return format!("{many:.0}{unit}");
        }
        if many >= 0.9995 {
            return format!("{many:.1}{unit}");
        }
    }
    format!("{number:.0}")
}

/// Bytes: `512 B`, `12.3 KiB`, `1.2 GiB`.
#[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
pub(super) fn bytes(bytes: u64) -> String {
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut many = bytes as f64 / 1024.0;
    for unit in ["KiB", "MiB", "GiB", "TiB"] {
        if many < 99.95 {
            return format!("{many:.1} {unit}");
        }
        if many < 1023.5 {
            return format!("{many:.0} {unit}");
        }
        many /= 1024.0;
    }
    format!("{many:.0} PiB")
}

/// Microseconds: `870 µs`, `1.23 ms`, `2.10 s`.
pub(super) fn took(us: f64) -> String {
    let us = if us.is_finite() { us.max(0.0) } else { 0.0 };
    match us {
        0.0..999.5 => format!("{us:.0} µs"),
        999.5..99_995.0 => format!("{:.2} ms", us / 1e3),
        99_995.0..999_500.0 => format!("{:.0} ms", us / 1e3),
        _ => format!("{:.2} s", us / 1e6),
    }
}

/// A duration in milliseconds: `12 s`, `3 min 4 s`, `2 h 5 min`, `3 d 4 h`.
pub(super) fn since(ms: u64) -> String {
    let seconds = ms / 1000;
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        3600..86_400 => format!("{} h {} min", seconds / 3600, seconds / 60 % 60),
        _ => format!("{} d {} h", seconds / 86_400, seconds / 3600 % 24),
    }
}

/// The time of day, UTC, of a moment in milliseconds since 1970.
pub(super) fn clock(at_ms: u64) -> String {
    let seconds = at_ms / 1000 % 86_400;
    format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_take_the_columns_that_they_are_given() {
        for text in [
            "",
            "a",
            "momentum",
            "日本語のスロット",
            "e\u{301}e\u{301}e\u{301}",
            "a\tb\x1b[31m",
            "👩‍👩‍👧 family",
            "\u{202e}drawkcab",
        ] {
            for columns in 0..20 {
                assert_eq!(width(&left(text, columns)), columns, "{text:?} in {columns}");
                assert_eq!(width(&right(text, columns)), columns, "{text:?} in {columns}");
                assert!(
                    fold(text, columns).iter().all(|line| width(line) <= columns.max(2)),
                    "{text:?}"
                );
            }
        }
        assert_eq!(cut("momentum", 5), "mome…");
        assert!(!clean("a\x1b[2Jb\u{202e}").contains(['\x1b', '\u{202e}']));
    }

    #[test]
    fn folding_loses_no_word() {
        assert_eq!(fold("one two three", 7), ["one two", "three"]);
        assert_eq!(fold("abcdefgh ij", 4), ["abcd", "efgh", "ij"]);
        assert_eq!(fold("a\nb", 4), ["a", "b"]);
    }

    #[test]
    fn numbers_stay_short() {
        let shorts = [
            (0.0, "0"),
            (0.04, "0.0"),
            (1.25, "1.2"),
            (10.0, "10"),
            (999.4, "999"),
            (1e3, "1.0k"),
        ];
        for (number, is) in shorts
            .into_iter()
            .chain([(345_000.0, "345k"), (1.2e6, "1.2M"), (f64::NAN, "0"), (-1.0, "0")])
        {
            assert_eq!(short(number), is);
        }
        for power in 0..15 {
            for digit in [1.0, 9.949, 9.95, 9.994, 9.9996] {
                let text = short(digit * 10_f64.powi(power));
                assert!(width(&text) <= 5, "{text}");
            }
        }
        assert_eq!(
            [bytes(0), bytes(1023), bytes(1024), bytes(12_600)],
            ["0 B", "1023 B", "1.0 KiB", "12.3 KiB"]
        );
        assert!((0..64).all(|bit| width(&bytes((1 << bit) - 1)) <= 9));
        assert_eq!(
            [took(0.2), took(870.0), took(1234.0), took(2.1e6)],
            ["0 µs", "870 µs", "1.23 ms", "2.10 s"]
        );
        assert_eq!(took(f64::INFINITY), "0 µs");
        assert_eq!(
            [since(59_999), since(64_000), since(7_500_000)],
            ["59 s", "1 min 4 s", "2 h 5 min"]
        );
        assert_eq!(clock(1_000 * (86_400 * 3 + 3_661)), "01:01:01");
        let _ = (since(u64::MAX), clock(u64::MAX), bytes(u64::MAX));
    }
}
