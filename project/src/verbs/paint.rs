//! The colours that verbs use. anstream drops them for `NO_COLOR` and if the output is not a terminal.

use std::fmt::{self, Display};
use std::io::Write;
use std::time::Duration;

use anstyle::{AnsiColor, Style};
use indicatif::{ProgressBar, ProgressFinish, ProgressStyle};

/// Text in a colour.
pub struct Painted<T>(Style, T);

impl<T: Display> Display for Painted<T> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}{}{:#}", self.0, self.1, self.0)
    }
}

/// The style of a success.
pub fn good<T: Display>(text: T) -> Painted<T> {
    Painted(AnsiColor::Green.on_default().bold(), text)
}

/// The style of a failure.
pub fn bad<T: Display>(text: T) -> Painted<T> {
    Painted(AnsiColor::Red.on_default().bold(), text)
}

/// The style of a warning.
pub fn caution<T: Display>(text: T) -> Painted<T> {
    Painted(AnsiColor::Yellow.on_default().bold(), text)
}

/// The style of secondary text.
pub fn dim<T: Display>(text: T) -> Painted<T> {
    Painted(Style::new().dimmed(), text)
}

/// The style of a heading.
pub fn heading<T: Display>(text: T) -> Painted<T> {
    Painted(Style::new().bold(), text)
}

/// A line with a spinner for slow work. It is shown on terminals only, and removed when this is dropped.
pub fn waiting(what: &'static str) -> ProgressBar {
    let bar = ProgressBar::new_spinner()
        .with_message(what)
        .with_finish(ProgressFinish::AndClear);
    if let Ok(style) = ProgressStyle::with_template("{spinner} {msg} {elapsed}") {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_millis(120));
    bar
}

/// Prints a line on standard output. Errors are ignored, because the verb's results are files.
pub fn line(text: impl Display) {
    let _ = writeln!(anstream::stdout(), "{text}");
}

/// One failure, on standard error.
pub fn failure(text: &str) {
    let _ = writeln!(anstream::stderr(), "{} {text}", bad("error:"));
}

/// A rounded duration.
pub fn seconds(took: Duration) -> String {
    match took.as_secs_f64() {
        long if long >= 10.0 => format!("{long:.0} s"),
        middle if middle >= 1.0 => format!("{middle:.1} s"),
        short => format!("{:.0} ms", short * 1e3),
    }
}

/// A size in the unit that fits.
pub fn size(bytes: u64) -> String {
    match bytes as f64 {
        large if large >= 1048576.0 => format!("{:.1} MiB", large / 1048576.0),
        small => format!("{:.0} KiB", small / 1024.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_and_sizes_read_well() {
        assert_eq!(
            [12, 1_234, 45_678].map(|ms| seconds(Duration::from_millis(ms))),
            ["12 ms", "1.2 s", "46 s"]
        );
        assert_eq!([2_048, 3 << 19].map(size), ["2 KiB", "1.5 MiB"]);
    }
}
