//! One file's text, cut into its records.
//!
//! The decision here: the text is kept as it is and records are ranges of it. So an untouched record goes back byte for byte, and a
//! commit costs one copy of the text whatever the number of records.

use std::borrow::Cow;
use std::collections::HashMap;
use std::ops::Range;

use hivemind_abi::model::json::{self, Json, Member};
use hivemind_abi::model::{Error, Result};

/// Line ends to Python's `splitlines`, by which it looks for comments: raw in a string they break the record for it, and with that
/// it takes the whole store for empty and overwrites it.
const SEPARATORS: [(char, &str); 3] = [('\u{85}', "\\u0085"), ('\u{2028}', "\\u2028"), ('\u{2029}', "\\u2029")];

/// The records of a file, in their order.
#[derive(Debug, Default)]
pub(crate) struct Document {
    // As in the file, and with its comments blanked if it has any.
    source: String,
    clean: Option<String>,
    has_separators: bool,
    entries: Vec<Entry>,
}

/// A record's name, without quotes, and its value.
#[derive(Debug, Clone)]
struct Entry {
    name: Range<usize>,
    value: Range<usize>,
}

/// What becomes of a document's records.
#[derive(Debug, Default)]
pub(crate) struct Edits {
    /// By position: the new text, or `None` to remove the record.
    pub(crate) changed: HashMap<usize, Option<String>>,
    /// Quoted names and texts of new records.
    pub(crate) added: Vec<(String, String)>,
}

impl Edits {
    /// Whether nothing is to be done.
    pub(crate) fn is_empty(&self) -> bool {
        self.changed.is_empty() && self.added.is_empty()
    }
}

/// The same text with the characters that Python's reader trips over escaped.
pub(crate) fn without_separators(text: &str) -> Cow<'_, str> {
    let mut text = Cow::Borrowed(text);
    for (separator, escape) in SEPARATORS {
        if text.contains(separator) {
            text = Cow::Owned(text.replace(separator, escape));
        }
    }
    text
}

impl Document {
    /// Cuts a file's content up and hands each record to `visit` with its position.
    ///
    /// # Errors
    /// `corrupt`, naming line and column.
    pub(crate) fn parse(content: Vec<u8>, mut visit: impl FnMut(usize, &Member<'_>)) -> Result<Self> {
        let source = String::from_utf8(content).map_err(|e| {
            let valid = &e.as_bytes()[..e.utf8_error().valid_up_to()];
            let line = valid.iter().filter(|b| **b == b'\n').count() + 1;
            let column = valid.iter().rev().take_while(|b| **b != b'\n').count() + 1;
            Error::corrupt(format!("expected UTF-8, found another byte at line {line}, byte {column} of it"))
        })?;
        if source.starts_with('\u{feff}') {
            return Err(Error::corrupt("it begins with a byte order mark at line 1 column 1; save it without one"));
        }
        let clean = match json::without_comments(&source) {
            // A `#` inside of a string is no comment.
            Cow::Owned(clean) if clean != source => Some(clean),
            _ => None,
        };
        let text = clean.as_deref().unwrap_or(&source);
        let parsed = json::parse(text);
        let covered = match &parsed {
            Err(e) if e.what == deep::NESTED_TOO_DEEP => deep::covered(text),
            _ => None,
        };
        let parsed = covered.as_deref().map_or(parsed, json::parse).map_err(|e| Error::corrupt(e.to_string()))?;
        let Json::Object(members) = &parsed else {
            return Err(Error::corrupt(format!("expected an object of records at line 1, found {}", parsed.kind())));
        };
        let parsed_text = covered.as_deref().unwrap_or(text);
        let range = |part: &str| {
            let start = part.as_ptr() as usize - parsed_text.as_ptr() as usize;
            start..start + part.len()
        };
        let mut entries = Vec::with_capacity(members.len());
        for (at, member) in members.iter().enumerate() {
            let entry = Entry { name: range(member.name.raw), value: range(member.raw) };
            match text.get(entry.value.clone()) {
                Some(raw) if raw != member.raw => visit(at, &Member { raw, ..member.clone() }),
                _ => visit(at, member),
            }
            entries.push(entry);
        }
        drop(parsed);
        let has_separators = SEPARATORS.iter().any(|(separator, _)| source.contains(*separator));
        Ok(Self { source, clean, has_separators, entries })
    }

    /// What the file holds.
    pub(crate) fn source(&self) -> &str {
        &self.source
    }

    /// How many records there are, of whatever sort.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    fn text(&self) -> &str {
        self.clean.as_deref().unwrap_or(&self.source)
    }

    /// A record's name as it is written, without quotes.
    pub(crate) fn name(&self, at: usize) -> &str {
        self.entries.get(at).map_or("", |e| &self.text()[e.name.clone()])
    }

    /// A record's value as it is written, comments blanked.
    pub(crate) fn value(&self, at: usize) -> &str {
        self.entries.get(at).map_or("", |e| &self.text()[e.value.clone()])
    }

    /// The positions of the records by their names.
    pub(crate) fn positions(&self) -> HashMap<json::Name<'_>, usize> {
        (0..self.len()).map(|at| (json::Text { raw: self.name(at) }.name(), at)).collect()
    }

    /// The document after some edits: what is left in its order, what is new behind it, no comments.
    pub(crate) fn edited(&self, edits: &Edits) -> Self {
        let grown: usize = edits.changed.values().flatten().map(String::len).sum();
        let added: usize = edits.added.iter().map(|(name, value)| name.len() + value.len() + 8).sum();
        let mut new = Self { source: String::with_capacity(self.source.len() + grown + added + 8), ..Self::default() };
        new.source.push('{');
        for at in 0..self.len() {
            let name = self.name(at);
            match edits.changed.get(&at) {
                Some(None) => {}
                Some(Some(value)) => new.push(name, value, true),
                None => new.push(name, &self.untouched(at), self.has_separators),
            }
        }
        for (name, value) in &edits.added {
            new.push(&name[1..name.len() - 1], value, true);
        }
        new.source.push_str(if new.entries.is_empty() { "}" } else { "\n}" });
        new
    }

    /// A record's text as it goes back: byte for byte, unless a comment stood inside.
    fn untouched(&self, at: usize) -> Cow<'_, str> {
        let value = self.value(at);
        let as_written = self.entries.get(at).and_then(|e| self.source.get(e.value.clone()));
        if self.clean.is_none() || as_written == Some(value) {
            return Cow::Borrowed(value);
        }
        let Ok(parsed) = json::parse(value) else { return Cow::Borrowed(value) };
        let mut out = String::with_capacity(value.len());
        parsed.write_indented(1, &mut out);
        Cow::Owned(out)
    }

    fn push(&mut self, name: &str, value: &str, may_have_separators: bool) {
        self.source.push_str(if self.entries.is_empty() { "\n    \"" } else { ",\n    \"" });
        let name = self.append(name, may_have_separators);
        self.source.push_str("\": ");
        let value = self.append(value, may_have_separators);
        self.entries.push(Entry { name, value });
    }

    fn append(&mut self, text: &str, may_have_separators: bool) -> Range<usize> {
        let start = self.source.len();
        if may_have_separators {
            self.source.push_str(&without_separators(text));
        } else {
            self.source.push_str(text);
        }
        start..self.source.len()
    }
}

mod deep;

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Document {
        Document::parse(text.as_bytes().to_vec(), |_, _| {}).expect(text)
    }

    #[test]
    fn untouched_records_go_back_byte_for_byte_in_their_order() {
        let document = parse("{\"b\": {\"x\":1.10,  \"y\":[ ]},\"a\": 5 , \"c\":null}");
        let edits =
            Edits { changed: HashMap::from([(1, Some("6".to_owned()))]), added: vec![("\"d\"".to_owned(), "7".to_owned())] };
        let new = document.edited(&edits);
        assert_eq!(new.source(), "{\n    \"b\": {\"x\":1.10,  \"y\":[ ]},\n    \"a\": 6,\n    \"c\": null,\n    \"d\": 7\n}");
        let again = parse(new.source());
        assert_eq!((0..4).map(|at| again.value(at)).collect::<Vec<_>>(), (0..4).map(|at| new.value(at)).collect::<Vec<_>>());
        let at = new.positions().get(&json::Text { raw: "d" }.name()).copied();
        assert_eq!((new.name(3), at, new.len()), ("d", Some(3), 4));
        let none = Edits { changed: (0..4).map(|at| (at, None)).collect(), ..Edits::default() };
        assert_eq!(new.edited(&none).source(), "{}");
    }

    #[test]
    fn comments_are_dropped_and_leave_no_trace() {
        let document = parse("// a\n{\n  # b\n  \"1\": {\"x\": \"//\", // c\n \"y\": 1}, \"2\": {\"z\":2}\n}\n# d");
        let new = document.edited(&Edits::default());
        assert_eq!(new.source(), "{\n    \"1\": {\n        \"x\": \"//\",\n        \"y\": 1\n    },\n    \"2\": {\"z\":2}\n}");
    }

    #[test]
    fn separators_are_escaped_wherever_they_stand() {
        let document = parse("{\"\u{2028}\": \"\u{85}\u{2029}\"}");
        assert_eq!(document.edited(&Edits::default()).source(), "{\n    \"\\u2028\": \"\\u0085\\u2029\"\n}");
    }

    #[test]
    fn an_unreadable_file_says_where() {
        for (content, place) in [
            (&b""[..], "line 1 column 1"),
            (b"{\n\"a\": 1,\n}", "line 3 column 1"),
            (b"[]", "found a list"),
            (b"\xef\xbb\xbf{}", "byte order mark"),
            (b"{\n\"\xff\"}", "line 2, byte 2"),
        ] {
            let error = Document::parse(content.to_vec(), |_, _| {}).expect_err("unreadable");
            assert!(error.message().contains(place), "{error}");
        }
    }
}
