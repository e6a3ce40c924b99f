//! The texts inside of values: JSON and its numbers, against `serde_json`; base64; the patterns of `like`, against their definition.

use std::cmp::Ordering;

use hivemind_model::base64;
use hivemind_model::eval::like;
use hivemind_model::json::{self, Json, without_comments};
use hivemind_model::number::{compare_int_real, same_number};
use serde_json::Value;

/// How deep `serde_json` reads.
const ITS_DEPTH: usize = 127;
/// How long a text and its pattern are at most for the slow definition.
const SLOW: usize = 256;

/// The input is JSON text; its first line is also a text and its second one a pattern.
///
/// # Panics
/// Where a property does not hold.
pub fn check(data: &[u8]) {
    assert_eq!(base64::decode(&base64::encode(data)).as_deref(), Some(data));
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Some(bytes) = base64::decode(text) {
        assert_eq!(base64::encode(&bytes).len(), text.len());
    }
    let quoted = json::quote(text);
    assert_eq!(serde_json::from_str::<String>(&quoted).expect("a string"), text);
    document(text);
    comments(text);
    let mut lines = text.split('\n');
    pattern(lines.next().unwrap_or_default(), lines.next().unwrap_or_default());
}

fn document(text: &str) {
    let theirs = serde_json::from_str::<Value>(text);
    let ours = match json::parse(text) {
        Ok(ours) => ours,
        Err(error) => {
            assert!(error.line >= 1 && error.column >= 1);
            assert!(error.line <= text.matches('\n').count() + 1);
            assert!(theirs.is_err(), "refused with {error}, though it is {theirs:?}");
            return;
        }
    };
    match &theirs {
        Ok(theirs) => assert!(is(&ours, theirs), "{ours:?} is not {theirs}"),
        // Of repeated names only the last is left in ours, and the other reader may have tripped over one before it.
        Err(_) if squeezed(text) != squeezed(&ours.to_text()) => {}
        Err(error) => assert!(!is_common(&ours, 0), "{ours:?}, though {error}"),
    }
    assert!(ours.same(&ours));
    let written = ours.to_text();
    let again = json::parse(&written).expect("what was written is JSON");
    assert!(ours.same(&again) && again.to_text() == written);
    let mut indented = String::new();
    // A level of indentation is four bytes on every line.
    if text.len() <= 4096 {
        ours.write_indented(0, &mut indented);
        assert_eq!(json::parse(&indented).expect("what was written is JSON").to_text(), written);
    }
    let mut numbers = Vec::new();
    parts(&ours, &mut numbers);
    numbers.windows(2).for_each(|pair| two_numbers(pair[0], pair[1]));
}

/// The text without the white space between its parts.
fn squeezed(text: &str) -> String {
    let (mut in_string, mut escaped) = (false, false);
    let keep = |c: &char| {
        let kept = in_string || !matches!(c, ' ' | '\t' | '\n' | '\r');
        in_string ^= *c == '"' && !escaped;
        escaped = in_string && *c == '\\' && !escaped;
        kept
    };
    text.chars().filter(keep).collect()
}

/// Whether both readers found the same.
fn is(ours: &Json<'_>, theirs: &Value) -> bool {
    match (ours, theirs) {
        (Json::Null, Value::Null) => true,
        (Json::Bool(a), Value::Bool(b)) => a == b,
        (Json::Number(a), Value::Number(b)) => match (b.as_i64(), b.as_u64(), b.as_f64()) {
            (Some(b), ..) => a.parse() == Ok(b),
            (_, Some(b), _) => a.parse() == Ok(b),
            (.., Some(b)) => a.parse::<f64>().is_ok_and(|a| a.to_bits() == b.to_bits()),
            _ => false,
        },
        (Json::String(a), Value::String(b)) => a.to_str().as_deref() == Some(b) && a.decode() == b.as_str(),
        (Json::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| is(a, b)),
        (Json::Object(a), Value::Object(b)) => {
            let member = |m: &json::Member<'_>| m.name.to_str().and_then(|name| b.get(name.as_ref()));
            a.len() == b.len() && a.iter().all(|m| member(m).is_some_and(|b| is(&m.value, b)))
        }
        _ => false,
    }
}

/// Whether both dialects have it.
fn is_common(ours: &Json<'_>, depth: usize) -> bool {
    match ours {
        Json::Null | Json::Bool(_) => true,
        Json::Number("NaN" | "Infinity" | "-Infinity") => false,
        Json::Number(raw) => raw.parse::<f64>().is_ok_and(f64::is_finite),
        Json::String(text) => text.to_str().is_some(),
        Json::Array(items) => depth < ITS_DEPTH && items.iter().all(|item| is_common(item, depth + 1)),
        Json::Object(members) => {
            depth < ITS_DEPTH && members.iter().all(|m| m.name.to_str().is_some() && is_common(&m.value, depth + 1))
        }
    }
}

/// The numbers of a document; every part's source is a document of its own.
fn parts<'a>(json: &Json<'a>, numbers: &mut Vec<&'a str>) {
    match json {
        Json::Number(raw) => numbers.push(raw),
        Json::Array(items) => items.iter().for_each(|item| parts(item, numbers)),
        Json::Object(members) => {
            for member in members {
                assert!(json::parse(member.raw).is_ok_and(|again| again == member.value), "{}", member.raw);
                assert!(member.name.to_str().is_none_or(|name| json.member(&name).is_some()), "it is not found by its name");
                parts(&member.value, numbers);
            }
        }
        _ => {}
    }
}

fn two_numbers(a: &str, b: &str) {
    assert!(same_number(a, a) && same_number(a, b) == same_number(b, a));
    let real = |raw: &str| raw.parse::<f64>().ok();
    if same_number(a, b) && a != "NaN" {
        assert_eq!(real(a), real(b), "one value");
    }
    if let (Ok(a), Some(b)) = (a.parse::<i64>(), real(b)) {
        let found = compare_int_real(a, b);
        let far = 2_f64.powi(70);
        let expected = if b.is_nan() {
            None
        } else if b.abs() > far {
            Some(if b > 0.0 { Ordering::Less } else { Ordering::Greater })
        } else {
            #[expect(clippy::cast_possible_truncation, reason = "it is below 2^70")]
            let whole = b.trunc() as i128;
            let rest = b.fract().partial_cmp(&0.0).unwrap_or(Ordering::Equal);
            Some(i128::from(a).cmp(&whole).then(rest.reverse()))
        };
        assert_eq!(found, expected, "{a} and {b}");
    }
}

/// Comments become spaces, and nothing else moves or changes.
fn comments(text: &str) {
    let clean = without_comments(text);
    assert_eq!(clean.len(), text.len());
    assert!(clean.bytes().zip(text.bytes()).all(|(a, b)| a == b || (a == b' ' && b != b'\n')));
    if serde_json::from_str::<Value>(text).is_ok() {
        assert_eq!(clean, text, "JSON has no comments");
    }
}

fn pattern(text: &str, pattern: &str) {
    let (text_chars, pattern_chars): (Vec<_>, Vec<_>) = (text.chars().collect(), pattern.chars().collect());
    let found = like(text, pattern);
    if text_chars.len() <= SLOW && pattern_chars.len() <= SLOW {
        assert_eq!(found, matches(&text_chars, &pattern_chars), "{text:?} like {pattern:?}");
    }
    let literal: String = text.chars().flat_map(|c| ['\\', c]).collect();
    assert!(like(text, &literal) && like(text, "%"));
}

/// A character of a pattern: itself, any one, any number of any.
enum Part {
    This(char),
    One,
    Many,
}

/// What the operator means, place by place.
fn matches(text: &[char], pattern: &[char]) -> bool {
    let (mut parts, mut rest) = (Vec::new(), pattern.iter());
    while let Some(c) = rest.next() {
        parts.push(match c {
            '%' => Part::Many,
            '_' => Part::One,
            '\\' => match rest.next() {
                Some(c) => Part::This(*c),
                None => return false,
            },
            c => Part::This(*c),
        });
    }
    // Whether the parts so far match the first n characters.
    let mut so_far = vec![false; text.len() + 1];
    so_far[0] = true;
    for part in parts {
        let mut next = vec![false; text.len() + 1];
        let mut any = false;
        for n in 0..=text.len() {
            any |= so_far[n];
            next[n] = match part {
                Part::Many => any,
                Part::One => n > 0 && so_far[n - 1],
                Part::This(c) => n > 0 && so_far[n - 1] && text[n - 1] == c,
            };
        }
        so_far = next;
    }
    so_far[text.len()]
}
