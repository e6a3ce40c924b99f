//! Documents as bytes that are equal exactly if the documents are, to be hashed.

use super::Json;
use crate::number::Decimal;

impl Json<'_> {
    /// Appends the same bytes for every document that is the [same](Json::same), and others for every other one.
    pub fn write_canonical(&self, out: &mut Vec<u8>) {
        match self {
            Self::Null => out.push(b'n'),
            Self::Bool(v) => out.push(if *v { b't' } else { b'f' }),
            Self::Number(raw) => match Decimal::parse(raw) {
                Some(number) => {
                    out.push(b'd');
                    number.write_canonical(out);
                }
                None => sized(b'r', raw.as_bytes(), out),
            },
            Self::String(text) => sized(b's', &text.name().into_bytes(), out),
            Self::Array(items) => {
                count(b'a', items.len(), out);
                items.iter().for_each(|item| item.write_canonical(out));
            }
            Self::Object(members) => {
                count(b'o', members.len(), out);
                let mut sorted: Vec<_> = members.iter().map(|m| (m.name.name(), &m.value)).collect();
                sorted.sort_by(|(a, _), (b, _)| a.cmp(b));
                for (name, value) in sorted {
                    sized(b's', &name.into_bytes(), out);
                    value.write_canonical(out);
                }
            }
        }
    }
}

fn count(tag: u8, count: usize, out: &mut Vec<u8>) {
    out.push(tag);
    out.extend_from_slice(&(count as u64).to_le_bytes());
}

pub(crate) fn sized(tag: u8, bytes: &[u8], out: &mut Vec<u8>) {
    count(tag, bytes.len(), out);
    out.extend_from_slice(bytes);
}

#[cfg(test)]
mod tests {
    use crate::json::parse;

    fn canonical(text: &str) -> Vec<u8> {
        let mut out = Vec::new();
        parse(text).expect("JSON").write_canonical(&mut out);
        out
    }

    #[test]
    fn bytes_are_equal_exactly_where_documents_are_the_same() {
        let documents = [
            "null",
            "true",
            "false",
            "0",
            "-0.0",
            "1",
            "1.0",
            "10e-1",
            "123456789012345678901234567890",
            "1.5e400",
            "NaN",
            "1e99999999999999999999",
            r#""a""#,
            r#""\u0061""#,
            r#""\ud800""#,
            "[]",
            "[1]",
            "[[],1]",
            "[[1]]",
            "{}",
            r#"{"a":1,"b":2}"#,
            r#"{"b":2.0,"a":1}"#,
            r#"{"a":2,"b":1}"#,
            r#"{"a":{"b":1}}"#,
            r#"["a","b"]"#,
            r#"["ab"]"#,
            r#""1""#,
        ];
        for a in documents {
            for b in documents {
                let same = parse(a).expect("JSON").same(&parse(b).expect("JSON"));
                assert_eq!(canonical(a) == canonical(b), same, "{a} {b}");
            }
        }
    }
}
