//! The one form of a payload that both ends bind into the handshake: that of Python's `json.dumps` with `sort_keys`, the separators
//! `,` and `:`, and without `ensure_ascii`, as UTF-8.

use hivemind_model::json::{Json, Text, parse};

use crate::object::{Malformed, push_text};

/// A JSON value in this form.
///
/// # Errors
/// If it is not JSON, or has half a surrogate pair in it, which is not UTF-8.
pub fn canonical(json: &[u8]) -> Result<Vec<u8>, Malformed> {
    let text = std::str::from_utf8(json).map_err(|_| Malformed::WrongKind)?;
    let mut out = Vec::with_capacity(json.len());
    write(&parse(text)?, &mut out)?;
    Ok(out)
}

fn write(value: &Json<'_>, out: &mut Vec<u8>) -> Result<(), Malformed> {
    match value {
        Json::Null => out.extend_from_slice(b"null"),
        Json::Bool(true) => out.extend_from_slice(b"true"),
        Json::Bool(false) => out.extend_from_slice(b"false"),
        Json::Number(raw) => out.extend_from_slice(number(raw).as_bytes()),
        Json::String(text) => write_text(*text, out)?,
        Json::Array(items) => {
            out.push(b'[');
            for (at, item) in items.iter().enumerate() {
                out.extend_from_slice(if at == 0 { b"" } else { b"," });
                write(item, out)?;
            }
            out.push(b']');
        }
        Json::Object(members) => {
            let mut sorted: Vec<_> = members.iter().map(|m| (m.name.name(), m)).collect();
            // Python sorts by code points, which is the order of UTF-8.
            sorted.sort_by(|(a, _), (b, _)| a.cmp(b));
            out.push(b'{');
            for (at, (_, member)) in sorted.into_iter().enumerate() {
                out.extend_from_slice(if at == 0 { b"" } else { b"," });
                write_text(member.name, out)?;
                out.push(b':');
                write(&member.value, out)?;
            }
            out.push(b'}');
        }
    }
    Ok(())
}

fn write_text(text: Text<'_>, out: &mut Vec<u8>) -> Result<(), Malformed> {
    push_text(&text.to_str().ok_or(Malformed::Surrogate)?, out);
    Ok(())
}

/// A number as Python writes what it has read.
fn number(raw: &str) -> String {
    if raw == "-0" {
        return "0".to_owned();
    }
    match raw.parse::<f64>() {
        Ok(value) if raw.contains(['.', 'e', 'E']) => repr(value),
        _ => raw.to_owned(),
    }
}

/// A float as Python's `repr` has it: the fewest digits that stand for it, with an exponent from 16 places on and below 4.
fn repr(value: f64) -> String {
    if value.is_infinite() {
        return if value > 0.0 { "Infinity" } else { "-Infinity" }.to_owned();
    }
    let shortest = format!("{value:e}");
    let (mantissa, exponent) = shortest.split_once('e').unwrap_or((&shortest, "0"));
    let places = mantissa.bytes().filter(u8::is_ascii_digit).count() - 1;
    let exponent: i32 = exponent.parse().unwrap_or(0);
    // Of two that are as short and as near, Python takes the even one, which is what rounding to so many places gives.
    if (-4..16).contains(&exponent) {
        let places = usize::try_from(i32::try_from(places).unwrap_or(0) - exponent).unwrap_or(0);
        return format!("{value:.*}", places.max(1));
    }
    let rounded = format!("{value:.places$e}");
    let mantissa = rounded.split_once('e').map_or("", |(mantissa, _)| mantissa);
    format!("{mantissa}e{}{:02}", if exponent < 0 { '-' } else { '+' }, exponent.unsigned_abs())
}

#[cfg(test)]
mod tests;
