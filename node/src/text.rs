//! JSON text put together from parts that are JSON already.

use std::borrow::Cow;

use hivemind_model::json::{self, Text};
use hivemind_protocol::RawJson;

/// A name as it is written without needless escapes, so that no spelling of `source` passes for another name.
pub(crate) fn spelled(written: &str) -> Cow<'_, str> {
    if !written.contains('\\') {
        return Cow::Borrowed(written);
    }
    // A name with half a surrogate pair is none that anything here looks for.
    let Some(name) = (Text { raw: written }).to_str() else { return Cow::Borrowed(written) };
    Cow::Owned(unquoted(&json::quote(&name)).to_owned())
}

/// What stands between the quotes.
pub(crate) fn unquoted(json: &str) -> &str {
    json.get(1..json.len().saturating_sub(1)).unwrap_or_default()
}

/// As much as is told back of what a satellite calls a message: so long no type is.
const TOLD: usize = 256;

/// The beginning of what a satellite calls a message.
pub(crate) fn told(kind: &str) -> &str {
    let mut end = kind.len().min(TOLD);
    while !kind.is_char_boundary(end) {
        end -= 1;
    }
    &kind[..end]
}

/// Appends a member, whose name is written already, to an object that is still open.
pub(crate) fn push_member(out: &mut String, name: &str, value: &str) {
    if !out.ends_with('{') {
        out.push(',');
    }
    for part in ["\"", name, "\":", value] {
        out.push_str(part);
    }
}

/// Whether it is a string.
pub(crate) fn is_text(json: RawJson<'_>) -> bool {
    json.get().starts_with('"')
}

/// Whether Python takes it for true.
pub(crate) fn is_true(json: RawJson<'_>) -> bool {
    let text = json.get();
    match text.as_bytes().first() {
        Some(b't' | b'N' | b'I') => true,
        Some(b'"') => text.len() > 2,
        Some(b'{') => json.object().map_or(true, |object| object.iter().next().is_some()),
        Some(b'[') => json.items().map_or(true, |items| !items.is_empty()),
        Some(b'-' | b'0'..=b'9') => text.parse::<f64>() != Ok(0.0),
        _ => false,
    }
}
