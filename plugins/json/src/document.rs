//! One file's text, cut into its records.
//!
//! The decision here: the text is kept as it is and records are ranges of it. So an untouched record goes back byte for byte. A text in
//! Python's layout, as both programs write it, is never taken apart again: a commit writes what stands before and behind the records
//! it changes as it is, and what others wrote is compared with what is known, piece by piece.

use std::borrow::Cow;
use std::collections::HashMap;
use std::ops::Range;

use hivemind_abi::model::json::{self, Member};
use hivemind_abi::model::{Error, Result};

/// Line ends to Python's `splitlines`, by which it looks for comments: raw in a string they break the record for it, and with that
/// it takes the whole store for empty and overwrites it.
const SEPARATORS: [(char, &str); 3] = [('\u{85}', "\\u0085"), ('\u{2028}', "\\u2028"), ('\u{2029}', "\\u2029")];

/// The records of a file, in their order.
#[derive(Clone, Default)]
pub(crate) struct Document {
    // As in the file, and with its comments blanked if it has any.
    source: String,
    clean: Option<String>,
    has_separators: bool,
    // Whether between the records is nothing but what Python and we write there.
    is_canonical: bool,
    entries: Vec<Entry>,
}

impl std::fmt::Debug for Document {
    /// Without what is in it, which is secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Document({} records, {} bytes)", self.entries.len(), self.source.len())
    }
}

/// A record's name, without quotes, and its value.
#[derive(Debug, Clone)]
struct Entry {
    name: Range<usize>,
    value: Range<usize>,
}

/// What becomes of a document's records.
#[derive(Default)]
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
    /// Cuts a file's content up. Each record is handed to `visit` with its position and what `new` made, as soon as it is read: no more
    /// than one is held apart. If a name turns out to be repeated, all that is begun anew, without the records that do not count.
    ///
    /// # Errors
    /// `corrupt`, naming line and column.
    pub(crate) fn parse<V>(
        content: Vec<u8>,
        new: impl Fn() -> V,
        mut visit: impl FnMut(&mut V, usize, &Member<'_>),
    ) -> Result<(Self, V)> {
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
        let (entries, read) = cut::cut(text, new, &mut visit)?;
        let has_separators = SEPARATORS.iter().any(|(separator, _)| source.contains(*separator));
        let is_canonical = clean.is_none() && !has_separators && layout::is_canonical(&source, &entries);
        Ok((Self { source, clean, has_separators, is_canonical, entries }, read))
    }

    /// What the file holds.
    pub(crate) fn source(&self) -> &str {
        &self.source
    }

    /// The same, to keep.
    pub(crate) fn into_content(self) -> Vec<u8> {
        self.source.into_bytes()
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

    /// What a file with these edits holds, in pieces, if most of it is what it was: what is left as it is is not copied.
    pub(crate) fn pieces<'a>(&'a self, edits: &'a Edits) -> Option<Vec<&'a str>> {
        let keeps_all = edits.changed.values().all(Option::is_some);
        let names_fit = edits.added.iter().all(|(name, _)| matches!(without_separators(name), Cow::Borrowed(_)));
        if !self.is_canonical || self.entries.is_empty() || !keeps_all || !names_fit {
            return None;
        }
        let mut changed: Vec<_> =
            edits.changed.iter().filter_map(|(at, text)| Some((self.entries.get(*at)?, text.as_deref()?))).collect();
        changed.sort_unstable_by_key(|(entry, _)| entry.value.start);
        let (mut pieces, mut from) = (Vec::with_capacity(changed.len() * 2 + edits.added.len() * 4 + 2), 0);
        for (entry, text) in changed {
            pieces.extend([self.source.get(from..entry.value.start)?, text]);
            from = entry.value.end;
        }
        let end = self.entries.last()?.value.end;
        pieces.push(self.source.get(from..end)?);
        for (name, text) in &edits.added {
            pieces.extend([layout::BETWEEN, name.get(1..name.len() - 1)?, layout::NAMED, text]);
        }
        pieces.push(layout::END);
        Some(pieces)
    }

    /// Becomes the document after edits that there are [pieces](Self::pieces) of.
    pub(crate) fn edit(&mut self, edits: &Edits) {
        // Moving what is behind each edit is cheaper than a new text for few of them only.
        const FEW: usize = 4;
        let mut order: Vec<_> = edits.changed.iter().filter_map(|(at, text)| Some((*at, text.as_deref()?))).collect();
        order.sort_unstable();
        let before = self.entries.last().map_or(0, |entry| entry.value.end);
        if order.len() > FEW {
            let grown =
                edits.changed.values().flatten().chain(edits.added.iter().map(|(_, text)| text)).map(String::len).sum::<usize>();
            let mut source = String::with_capacity(self.source.len() + grown);
            let mut from = 0;
            for (at, text) in &order {
                let value = &self.entries[*at].value;
                source.push_str(&self.source[from..value.start]);
                source.push_str(text);
                from = value.end;
            }
            source.push_str(&self.source[from..before]);
            self.source = source;
        } else {
            self.source.truncate(before);
            for (at, text) in order.iter().rev() {
                self.source.replace_range(self.entries[*at].value.clone(), text);
            }
        }
        let (mut shift, mut order) = (0_isize, order.into_iter().peekable());
        for (at, entry) in self.entries.iter_mut().enumerate() {
            let moved = |place: usize| place.wrapping_add_signed(shift);
            let value = moved(entry.value.start)..moved(entry.value.end);
            *entry = Entry { name: moved(entry.name.start)..moved(entry.name.end), value };
            if let Some((_, text)) = order.next_if(|(changed, _)| *changed == at) {
                let end = entry.value.start + text.len();
                shift = shift.wrapping_add_unsigned(end).wrapping_sub_unsigned(entry.value.end);
                entry.value.end = end;
            }
        }
        for (name, text) in &edits.added {
            self.push(&name[1..name.len() - 1], text, false);
        }
        self.source.push_str(layout::END);
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
        new.source.push_str(if new.entries.is_empty() { "}" } else { layout::END });
        new.is_canonical = true;
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
        self.source.push_str(if self.entries.is_empty() { layout::FIRST } else { layout::BETWEEN });
        let name = self.append(name, may_have_separators);
        self.source.push_str(layout::NAMED);
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

mod cut;
mod deep;
pub(crate) mod layout;

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Document {
        Document::parse(text.as_bytes().to_vec(), || (), |(), _, _| {}).expect(text).0
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
    fn edits_in_place_give_what_writing_everything_gives() {
        let start: Vec<_> = (0..20).map(|n| (format!("\"{n}\""), format!("{{\"n\": {n}}}"))).collect();
        let document = Document::default().edited(&Edits { added: start, ..Edits::default() });
        let text = |n: usize| "x".repeat(n % 7) + "\"";
        for (changed, added) in [(vec![], 1), (vec![0], 0), (vec![19], 2), (vec![3, 0, 11, 19], 0), ((0..20).collect(), 3)] {
            let changed = changed.iter().map(|at: &usize| (*at, Some(format!("\"ü{}", text(*at))))).collect();
            let added = (0..added).map(|n| (format!("\"a{n}\""), n.to_string())).collect();
            let edits = Edits { changed, added };
            let mut edited =
                Document { source: document.source.clone(), entries: document.entries.clone(), ..Document::default() };
            edited.is_canonical = true;
            assert_eq!(edited.pieces(&edits).expect("pieces").concat(), document.edited(&edits).source());
            edited.edit(&edits);
            let whole = document.edited(&edits);
            assert_eq!((edited.source(), edited.len()), (whole.source(), whole.len()));
            for at in 0..whole.len() {
                assert_eq!((edited.name(at), edited.value(at)), (whole.name(at), whole.value(at)));
            }
            assert_eq!(parse(whole.source()).entries.len(), whole.len());
            assert!(parse(whole.source()).is_canonical);
        }
        for other in ["{}", "{\"a\": 1}", "{\n    \"a\": 1\n}\n", "{\n    \"a\": 1, // x\n    \"b\": 2\n}"] {
            assert!(parse(other).pieces(&Edits::default()).is_none(), "{other}");
        }
        let removal = Edits { changed: HashMap::from([(0, None)]), ..Edits::default() };
        assert!(document.pieces(&removal).is_none());
    }

    #[test]
    fn comments_are_dropped_and_leave_no_trace() {
        let document = parse("// a\n{\n  # b\n  \"1\": {\"x\": \"//\", // c\n \"y\": 1}, \"2\": {\"z\":2}\n}\n# d");
        let new = document.edited(&Edits::default());
        assert_eq!(new.source(), "{\n    \"1\": {\n        \"x\": \"//\",\n        \"y\": 1\n    },\n    \"2\": {\"z\":2}\n}");
    }

    #[test]
    fn of_repeated_names_the_last_counts_and_the_others_leave_nothing() {
        let note = |notes: &mut Vec<_>, at, member: &Member<'_>| notes.push((at, member.raw.to_owned()));
        let deep = "[".repeat(300) + &"]".repeat(300);
        for value in ["3", &format!("{{\"x\": {deep}}}")] {
            let text = format!("{{\"a\": 1, \"b\": 2, \"\\u0061\": {value}, \"c\": 4}}");
            let (document, notes) = Document::parse(text.clone().into_bytes(), Vec::new, note).expect(&text);
            assert_eq!(notes, [(0, "2"), (1, value), (2, "4")].map(|(at, raw)| (at, raw.to_owned())));
            assert_eq!((document.len(), document.value(1), document.source()), (3, value, text.as_str()));
            assert!(!document.is_canonical);
        }
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
            let error = Document::parse(content.to_vec(), || (), |(), _, _| {}).expect_err("unreadable");
            assert!(error.message().contains(place), "{error}");
        }
    }
}
