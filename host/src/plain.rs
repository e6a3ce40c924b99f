//! Text from elsewhere, safe to print.

use std::borrow::Cow;
use std::fmt::Write as _;

/// The same text with control characters, which could repaint a terminal or forge a line of the log, spelled out.
#[must_use]
pub fn plain(text: &str) -> Cow<'_, str> {
    // Marks that reverse the direction of writing make a line read as another one.
    let unsafe_char = |c: char| c.is_control() || matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    if !text.contains(unsafe_char) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        match c {
            c if unsafe_char(c) => {
                let _ = write!(out, "\\u{{{:x}}}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    #[test]
    fn text_from_elsewhere_cannot_drive_the_terminal() {
        assert_eq!(super::plain("Küche 🙂"), "Küche 🙂");
        assert_eq!(super::plain("a\u{1b}[2Jb\n\u{202e}"), "a\\u{1b}[2Jb\\u{a}\\u{202e}");
    }
}
