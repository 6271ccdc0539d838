//! Cuts texts of a plugin to a length that the host can keep. They are cut inside the plugin, so that a message of many
//! megabytes is never copied completely. The host cuts received texts, too, because it does not trust an image.

use std::{
    borrow::Cow,
    fmt::{self, Display, Write},
};

/// The longest text of a plugin that the host keeps, in bytes: a panic's message, a hook's error, a result of `health`. A
/// longer text is cut there, and ends with the number of missing bytes.
pub const LONGEST_TEXT: usize = 16 * 1024;

/// The greatest length of a cut text with its mark.
const LONGEST_CUT: usize = LONGEST_TEXT + 48;

/// The text, or its beginning and the number of missing bytes. A text that was cut before is not changed.
pub fn cut(text: &str) -> Cow<'_, str> {
    if text.len() <= LONGEST_TEXT || is_cut(text) {
        return Cow::Borrowed(text);
    }
    let kept = &text[..text.floor_char_boundary(LONGEST_TEXT)];
    Cow::Owned(format!("{kept}{}", Missing(text.len() - kept.len())))
}

/// The `Display` text of a value, cut while it is formatted, so that at most the cut length is copied.
pub fn cut_words(words: impl Display) -> String {
    let mut room = LimitedText {
        text: String::new(),
        missing: 0,
    };
    // The error comes from the value's own formatting. The text until then is used.
    let _ = write!(room, "{words}");
    let LimitedText { mut text, missing } = room;
    if missing > 0 {
        let _ = write!(text, "{}", Missing(missing));
    }
    text
}

/// The mark at the end of a text that was cut.
struct Missing(usize);

const BEFORE_MARK: &str = " … (";
const AFTER_MARK: &str = " more bytes)";

impl Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{BEFORE_MARK}{}{AFTER_MARK}", self.0)
    }
}

fn is_cut(text: &str) -> bool {
    text.len() <= LONGEST_CUT
        && text.strip_suffix(AFTER_MARK).is_some_and(|text| {
            let text = text.trim_end_matches(|character: char| character.is_ascii_digit());
            text.ends_with(BEFORE_MARK)
        })
}

/// LimitedText for the beginning of a text.
struct LimitedText {
    text: String,
    missing: usize,
}

impl Write for LimitedText {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = match self.missing {
            0 => LONGEST_TEXT - self.text.len(),
            // After an omission no more text follows.
            _ => 0,
        };
        let kept = text.floor_char_boundary(room);
        self.text.push_str(&text[..kept]);
        self.missing += text.len() - kept;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_text_stays_as_it_is() {
        for text in ["", "a text", &"x".repeat(LONGEST_TEXT)] {
            assert!(matches!(cut(text), Cow::Borrowed(same) if same == text));
            assert_eq!(cut_words(text), text);
        }
    }

    #[test]
    fn long_text_is_cut_between_two_characters_and_says_how_much_is_missing() {
        // 16,384 is no multiple of three: the last character does not fit.
        let text = "€".repeat(2_000_000);
        let kept = LONGEST_TEXT / 3 * 3;
        let expected = format!("{} … ({} more bytes)", &text[..kept], 6_000_000 - kept);
        assert_eq!(cut(&text), expected);
        assert_eq!(cut_words(&text), expected);
        assert!(expected.len() <= LONGEST_CUT);
        // In pieces, of which a later one would fit.
        assert_eq!(
            cut_words(format_args!("{}{}{}", &text[..kept], "€€", "ab")),
            format!("{} … (8 more bytes)", &text[..kept])
        );
    }

    #[test]
    fn cut_text_is_not_cut_again() {
        let once = cut(&"x".repeat(LONGEST_TEXT + 1)).into_owned();
        assert_eq!(cut(&once), once);
        let longer = format!("{}{once}", "y".repeat(100));
        assert!(cut(&longer).ends_with(" more bytes)") && cut(&longer).len() < longer.len());
    }
}
