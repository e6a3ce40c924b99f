//! JSON strings: escapes in, escapes out.

use std::borrow::Cow;
use std::fmt::Write as _;

/// Writes `text` as a JSON string, quotes included, non-ASCII unescaped.
#[must_use]
pub fn quote(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    quote_into(text, &mut out);
    out
}

/// Appends `text` as a JSON string, quotes included, non-ASCII unescaped.
pub fn quote_into(text: &str, out: &mut String) {
    out.push('"');
    let bytes = text.as_bytes();
    let (mut written, mut at) = (0, 0);
    loop {
        at += plain(&bytes[at..]);
        let Some(byte) = bytes.get(at) else { break };
        at += 1;
        // What needs an escape is one byte, and no part of another character.
        if !matches!(byte, b'"' | b'\\' | ..b' ') {
            continue;
        }
        out.push_str(&text[written..at - 1]);
        written = at;
        match byte {
            b'"' => out.push_str("\\\""),
            b'\\' => out.push_str("\\\\"),
            b'\n' => out.push_str("\\n"),
            b'\r' => out.push_str("\\r"),
            b'\t' => out.push_str("\\t"),
            0x8 => out.push_str("\\b"),
            0xc => out.push_str("\\f"),
            control => {
                let _ = write!(out, "\\u{control:04x}");
            }
        }
    }
    out.push_str(&text[written..]);
    out.push('"');
}

/// How many bytes from the first on end no string and begin no escape: eight at a time, as most of a document is such text. A byte
/// short of that is no mistake, the caller looks at each.
#[inline]
pub(super) fn plain(bytes: &[u8]) -> usize {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = 0x8080_8080_8080_8080;
    // The lowest bit that is set marks the first byte that is zero, or below 0x20; those above it may be wrong.
    let zero = |v: u64| v.wrapping_sub(ONES) & !v & HIGH;
    let control = |v: u64| v.wrapping_sub(ONES * 0x20) & !v & HIGH;
    let (words, _) = bytes.as_chunks::<8>();
    for (at, word) in words.iter().enumerate() {
        let v = u64::from_le_bytes(*word);
        let found = zero(v ^ (ONES * u64::from(b'"'))) | zero(v ^ (ONES * u64::from(b'\\'))) | control(v);
        if found != 0 {
            return at * 8 + found.trailing_zeros() as usize / 8;
        }
    }
    words.len() * 8
}

/// Decodes what stands between the quotes of an already checked string, as WTF-8: a lone surrogate becomes the three bytes that UTF-8
/// would have for it, if it had any.
pub(super) fn decode(raw: &str) -> Cow<'_, [u8]> {
    if !raw.contains('\\') {
        return Cow::Borrowed(raw.as_bytes());
    }
    let mut out = Vec::with_capacity(raw.len());
    let mut rest = raw;
    while let Some(at) = rest.find('\\') {
        out.extend_from_slice(&rest.as_bytes()[..at]);
        let escape = rest.as_bytes().get(at + 1).copied().unwrap_or(b'\\');
        rest = rest.get(at + 2..).unwrap_or("");
        match escape {
            b'n' => out.push(b'\n'),
            b'r' => out.push(b'\r'),
            b't' => out.push(b'\t'),
            b'b' => out.push(0x8),
            b'f' => out.push(0xc),
            b'u' => {
                let (code, used) = unicode(rest);
                push_code(&mut out, code);
                rest = rest.get(used..).unwrap_or("");
            }
            other => out.push(other),
        }
    }
    out.extend_from_slice(rest.as_bytes());
    Cow::Owned(out)
}

#[expect(clippy::cast_possible_truncation, reason = "six bits, and four under a marker")]
fn push_code(out: &mut Vec<u8>, code: u32) {
    match char::from_u32(code) {
        Some(c) => out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
        None => out.extend([0xe0 | (code >> 12) as u8, 0x80 | ((code >> 6) & 0x3f) as u8, 0x80 | (code & 0x3f) as u8]),
    }
}

/// The same with every lone surrogate as U+FFFD.
pub(super) fn lossy(decoded: Cow<'_, [u8]>) -> Cow<'_, str> {
    match decoded {
        Cow::Borrowed(bytes) => String::from_utf8_lossy(bytes),
        Cow::Owned(bytes) => Cow::Owned(match String::from_utf8(bytes) {
            Ok(text) => text,
            // One sign for one surrogate, where the standard library would have one for each byte.
            Err(e) => {
                let mut out = String::new();
                let mut rest = e.as_bytes();
                while let Err(e) = std::str::from_utf8(rest) {
                    let (good, bad) = rest.split_at(e.valid_up_to());
                    out.push_str(&String::from_utf8_lossy(good));
                    out.push(char::REPLACEMENT_CHARACTER);
                    rest = bad.get(3..).unwrap_or(&[]);
                }
                out.push_str(&String::from_utf8_lossy(rest));
                out
            }
        }),
    }
}

/// The code point of `XXXX` or `XXXX\uYYYY`, and how many bytes it took.
fn unicode(rest: &str) -> (u32, usize) {
    let unit = |at: usize| rest.get(at..at + 4).and_then(|hex| u32::from_str_radix(hex, 16).ok());
    let high = unit(0).unwrap_or(0xfffd);
    if (0xd800..0xdc00).contains(&high)
        && rest.get(4..6) == Some("\\u")
        && let Some(low @ 0xdc00..0xe000) = unit(6)
    {
        let code = 0x1_0000 + ((high - 0xd800) << 10) + (low - 0xdc00);
        return (code, 10);
    }
    (high, 4)
}
