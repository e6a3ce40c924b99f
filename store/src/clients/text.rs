//! What text may go into a client record.
//!
//! The Python node's JSON store reads its file line by line, and takes U+0085, U+2028 and U+2029 for line ends inside strings: one such
//! character makes it load nothing and then overwrite everything. Half of a surrogate pair makes every later write of it fail.
//! Escaping does not help, as its next write undoes that. So neither is let in, on any backend: stores are migrated.

use hivemind_model::json::{self, Json, Text};

use crate::error::{Error, Result};

const LINE_ENDS: [char; 3] = ['\u{85}', '\u{2028}', '\u{2029}'];

/// Checks a text.
pub(super) fn check(what: &str, text: &str) -> Result<()> {
    match text.chars().find(|c| LINE_ENDS.contains(c)) {
        None => Ok(()),
        Some(c) => Err(Error::refused(format!(
            "{what} holds the line separator U+{:04X}, which destroys the Python node's JSON store; remove it",
            u32::from(c)
        ))),
    }
}

/// Checks JSON text, every name and string in it included.
pub(super) fn check_json<'a>(what: &str, text: &'a str) -> Result<Json<'a>> {
    let parsed = json::parse(text).map_err(|e| Error::refused(format!("{what} must be valid JSON: {e}")))?;
    check_parsed(what, &parsed)?;
    Ok(parsed)
}

fn check_parsed(what: &str, value: &Json<'_>) -> Result<()> {
    match value {
        Json::String(text) => check_string(what, *text),
        Json::Array(items) => items.iter().try_for_each(|item| check_parsed(what, item)),
        Json::Object(members) => members.iter().try_for_each(|m| {
            check_string(what, m.name)?;
            check_parsed(what, &m.value)
        }),
        _ => Ok(()),
    }
}

fn check_string(what: &str, text: Text<'_>) -> Result<()> {
    if text.raw.contains("\\u") && serde_json::from_str::<String>(&format!("\"{}\"", text.raw)).is_err() {
        return Err(Error::refused(format!("{what} holds half of a surrogate pair, which is no character; remove it")));
    }
    check(what, &text.decode())
}

/// Checks the name of a message type: not empty, no white space.
///
/// # Errors
/// [`Error::Refused`].
pub fn check_message_type(name: &str) -> Result<()> {
    if name.is_empty() {
        return Err(Error::refused("a message type cannot be empty"));
    }
    if name.contains(char::is_whitespace) {
        return Err(Error::refused(format!("message type {name:?}: a message type cannot contain white space")));
    }
    check("a message type", name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_destroys_the_python_store_is_refused_however_it_is_written() {
        assert!(check("a name", "Küche 🙂 \u{b} \u{1c}").is_ok());
        for bad in ["\u{85}", "a\u{2028}", "\u{2029}b"] {
            assert!(check("a name", bad).is_err(), "{bad:?}");
        }
        assert!(check_json("metadata", r#"{"a": ["\ud83d\ude42", 1e400, NaN, 123456789012345678901]}"#).is_ok());
        for bad in [r#"{"a": ["\u2028"]}"#, r#"{"\u0085": 1}"#, r#"["\ud800"]"#, r#"{"a": "\udc00x"}"#, "{", "\"\u{2029}\""] {
            assert!(check_json("metadata", bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn message_types_are_single_words() {
        assert!(check_message_type("recognizer_loop:utterance").is_ok());
        for bad in ["", "a b", "a\n", "a\u{2028}b"] {
            assert!(check_message_type(bad).is_err(), "{bad:?}");
        }
    }
}
