//! Records that are nested deeper than the parser goes.
//!
//! One of them must not make the file unreadable. So the file is cut into its records without recursion, by counting brackets, and
//! such a value of a record is covered by a string of the same length before the text is parsed: every other record stays where it is,
//! and the record's other values can be read, because the unique ones among them stay taken.

use hivemind_abi::model::json;

/// What the parser says of them.
pub(super) const NESTED_TOO_DEEP: &str = "nested too deep";

/// The text with each value of a record covered that is nested too deep; `None` if its brackets do not match.
pub(super) fn covered(text: &str) -> Option<String> {
    let bytes = text.as_bytes();
    let mut covered = bytes.to_vec();
    // The closing bracket that each open one waits for.
    let mut open: Vec<u8> = Vec::new();
    let (mut start, mut deepest, mut at) = (0, 0, 0);
    while let Some(&byte) = bytes.get(at) {
        match byte {
            b'"' => at = end_of_string(bytes, at)?,
            b'{' | b'[' => {
                if open.len() == 2 {
                    (start, deepest) = (at, 0);
                }
                open.push(if byte == b'{' { b'}' } else { b']' });
                deepest = deepest.max(open.len());
            }
            b'}' | b']' => {
                if open.pop() != Some(byte) {
                    return None;
                }
                let raw = text.get(start..=at).unwrap_or_default();
                if open.len() == 2 && deepest > json::MAX_DEPTH && is_too_deep(raw) {
                    covered.get_mut(start..=at)?.fill(b'x');
                    *covered.get_mut(start)? = b'"';
                    *covered.get_mut(at)? = b'"';
                }
            }
            _ => {}
        }
        at += 1;
    }
    String::from_utf8(covered).ok().filter(|_| open.is_empty())
}

/// Whether a value of a record cannot be read for this reason, at the depth where it stands.
fn is_too_deep(raw: &str) -> bool {
    json::parse(&format!("[[{raw}]]")).is_err_and(|e| e.what == NESTED_TOO_DEEP)
}

/// Where the string that begins at `start` ends.
fn end_of_string(bytes: &[u8], start: usize) -> Option<usize> {
    let mut at = start + 1;
    loop {
        match bytes.get(at)? {
            b'"' => return Some(at),
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_too_deep_is_covered_and_nothing_moves() {
        let nested = |n: usize, inner: &str| format!("{}{inner}{}", "[".repeat(n), "]".repeat(n));
        for (n, inner, is_covered) in [
            (json::MAX_DEPTH - 2, "1", false),
            (json::MAX_DEPTH - 1, "", false),
            (json::MAX_DEPTH - 1, "1", true),
            (json::MAX_DEPTH, "", true),
            (50_000, "\"]é\\\"\"", true),
        ] {
            let text = format!("{{\"a\": [1], \"r\": {{\"b\": {} , \"c\": {{}}}}}}", nested(n, inner));
            assert_eq!(json::parse(&text).is_err(), is_covered, "{n}");
            let covered = covered(&text).expect("it can be cut");
            assert_eq!((covered.len(), covered != text), (text.len(), is_covered), "{n}");
            let parsed = json::parse(&covered).expect("readable");
            let start = text.find("[[").expect("a start");
            let member = parsed.member("r").and_then(|r| r.value.member("b")).expect("b");
            assert_eq!(member.raw.len(), text.len() - start - " , \"c\": {}}}".len(), "{n}");
        }
        for broken in ["{\"a\": [}", "{\"a\": \"", "{]", "{"] {
            assert_eq!(covered(broken), None, "{broken}");
        }
    }
}
