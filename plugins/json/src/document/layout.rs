//! Python's layout of a file, and reading a file again that has it and is mostly known.

use std::string::FromUtf8Error;

use hivemind_abi::model::json;

use super::{Document, Entry, SEPARATORS};

/// Before the first record's name, between a record and the next one's name, between a name and its value, behind the last one.
pub(super) const FIRST: &str = "\n    \"";
pub(super) const BETWEEN: &str = ",\n    \"";
pub(super) const NAMED: &str = "\": ";
pub(super) const END: &str = "\n}";

/// Whether there is nothing else around the records.
pub(super) fn is_canonical(source: &str, entries: &[Entry]) -> bool {
    let mut from = 1;
    for (at, entry) in entries.iter().enumerate() {
        let between = if at == 0 { FIRST } else { BETWEEN };
        let fits = source.get(from..entry.name.start) == Some(between);
        if !fits || source.get(entry.name.end..entry.value.start) != Some(NAMED) {
            return false;
        }
        from = entry.value.end;
    }
    !entries.is_empty() && source.starts_with('{') && source.get(from..) == Some(END)
}

/// A file's content that was compared with what it held before.
pub(crate) struct Compared {
    /// The document.
    pub(crate) document: Document,
    /// The positions of the records whose text is new, ascending.
    pub(crate) fresh: Vec<usize>,
}

/// Compares a content with a document, record by record in its order; `find` gives the position of a name there. The content
/// itself if it is not in Python's layout or not mostly the same: then it has to be parsed.
///
/// What is the same was parsed before, and what is not is parsed here by itself; so the whole is known to be well formed.
pub(crate) fn compare(known: &Document, content: Vec<u8>, find: impl Fn(&str) -> Option<usize>) -> Result<Compared, Vec<u8>> {
    if !known.is_canonical {
        return Err(content);
    }
    let source = String::from_utf8(content).map_err(FromUtf8Error::into_bytes)?;
    match records(known, &source, find) {
        Some((entries, fresh)) => {
            Ok(Compared { document: Document { source, entries, is_canonical: true, ..Document::default() }, fresh })
        }
        None => Err(source.into_bytes()),
    }
}

fn records(known: &Document, source: &str, find: impl Fn(&str) -> Option<usize>) -> Option<(Vec<Entry>, Vec<usize>)> {
    let mut entries = Vec::with_capacity(known.len() + 16);
    let mut fresh = Vec::new();
    let most = known.len() / 4 + 16;
    let mut rest = source.strip_prefix('{')?.strip_prefix(FIRST)?;
    let mut next = 0;
    loop {
        let start = source.len() - rest.len();
        let expected =
            known.entries.get(next).and_then(|entry| Some((entry, known.source.get(entry.name.start..entry.value.end)?)));
        let same = expected.filter(|(_, text)| rest.as_bytes().starts_with(text.as_bytes()));
        let same = same.filter(|(_, text)| matches!(rest.as_bytes().get(text.len()), Some(b',' | b'\n')));
        let length = if let Some((entry, text)) = same {
            let value = entry.value.start - entry.name.start;
            entries.push(Entry { name: start..start + entry.name.len(), value: start + value..start + text.len() });
            next += 1;
            text.len()
        } else {
            let name = end_of_string(rest.as_bytes())?;
            let value = name + NAMED.len();
            rest.get(name..)?.strip_prefix(NAMED)?;
            let length = value + end_of_value(rest.get(value..)?.as_bytes())?;
            let text = rest.get(..length).filter(|text| text[value..].trim_ascii().len() == length - value)?;
            // Quoted again, and as deep as it stands.
            json::parse(&format!("{{\"{text}}}")).ok()?;
            if fresh.len() == most || SEPARATORS.iter().any(|(separator, _)| text.contains(*separator)) {
                return None;
            }
            fresh.push(entries.len());
            entries.push(Entry { name: start..start + name, value: start + value..start + length });
            // Where the known order goes on: behind this one, if it is known, else where it was.
            next = find(&rest[..name]).map_or(next, |at| at + 1);
            length
        };
        rest = rest.get(length..)?;
        if rest == END {
            break;
        }
        rest = rest.strip_prefix(BETWEEN)?;
    }
    Some((entries, fresh))
}

/// The length of a string behind its opening quote, up to the closing one.
fn end_of_string(text: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        match text.get(at)? {
            b'"' => return Some(at),
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
}

/// The length of a value, found by its brackets.
fn end_of_value(text: &[u8]) -> Option<usize> {
    let (mut at, mut depth) = (0, 0_usize);
    loop {
        match text.get(at)? {
            b'"' => at += end_of_string(&text[at + 1..])? + 1,
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth = depth.checked_sub(1)?,
            b',' | b'\n' if depth == 0 => return Some(at),
            _ => {}
        }
        at += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(records: &[(&str, &str)]) -> String {
        let records: Vec<_> = records.iter().map(|(name, text)| format!("\n    \"{name}\": {text}")).collect();
        format!("{{{}\n}}", records.join(","))
    }

    fn document(text: &str) -> Document {
        Document::parse(text.as_bytes().to_vec(), || (), |(), _, _| {}).expect(text).0
    }

    /// The positions of what is new, if the text could be compared; then it has the same records as when it is parsed.
    fn fresh(known: &str, text: &str) -> Option<Vec<usize>> {
        let known = document(known);
        let find = |name: &str| (0..known.len()).find(|at| known.name(*at) == name);
        let compared = compare(&known, text.as_bytes().to_vec(), find).ok()?;
        let parsed = document(text);
        assert_eq!((compared.document.source(), compared.document.len()), (parsed.source(), parsed.len()));
        for at in 0..parsed.len() {
            assert_eq!((compared.document.name(at), compared.document.value(at)), (parsed.name(at), parsed.value(at)));
        }
        assert!(parsed.is_canonical);
        Some(compared.fresh)
    }

    #[test]
    fn what_is_known_is_not_parsed_again_wherever_it_stands() {
        let [a, b, c] = [("a", "{\"x\": \"},\\\"\"}"), ("b", "[1,\n 2]"), ("c\\\"", "5")];
        let known = file(&[a, b, c]);
        assert_eq!(fresh(&known, &known), Some(vec![]));
        assert_eq!(fresh(&known, &file(&[a, ("b", "[1, 3]"), c])), Some(vec![1]));
        assert_eq!(fresh(&known, &file(&[a, c])), Some(vec![1]), "c was not expected there; it is read, and right");
        assert_eq!(fresh(&known, &file(&[("n", "{}"), a, b, c, ("z", "null")])), Some(vec![0, 4]));
        assert_eq!(fresh(&known, &file(&[c, b, a])).map(|fresh| fresh.len()), Some(3));
        assert_eq!(fresh(&known, &file(&[("c\\\"", "55")])), Some(vec![0]), "longer than what is known");
    }

    #[test]
    fn whatever_is_not_in_the_layout_or_not_well_formed_is_left_to_the_parser() {
        let known = file(&[("a", "1"), ("b", "{\"x\": 2}")]);
        let good = file(&[("a", "1"), ("b", "{\"x\": 3}")]);
        assert_eq!(fresh(&known, &good), Some(vec![1]));
        let find = |_: &str| None;
        for cut in 0..good.len() {
            assert!(compare(&document(&known), good.as_bytes()[..cut].to_vec(), find).is_err(), "{cut}");
        }
        for bad in [
            good.replace("3}", "3}}"),
            good.replace("3}", "3]"),
            good.replace("3}", "3 // x\n}"),
            good.replace("3}", "\u{2028}}"),
            good.replace("3}", "\"\u{2028}\"}"),
            good.replace("3}", &format!("{}{}}}", "[".repeat(300), "]".repeat(300))),
            good.replace(",\n", " ,\n"),
            format!("{good}\n"),
            "{}".to_owned(),
            String::new(),
        ] {
            assert!(compare(&document(&known), bad.clone().into_bytes(), find).is_err(), "{bad}");
        }
        assert!(compare(&document(&known), b"{\n    \"a\": \"\xff\"\n}".to_vec(), find).is_err());
        assert!(compare(&document("{\"a\": 1}"), good.into_bytes(), find).is_err(), "the known one is laid out otherwise");
    }
}
