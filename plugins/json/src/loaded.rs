//! One collection's file as it is held in memory: its text, where each record stands in it, and whether it still is what is on disk.

use std::collections::HashMap;
use std::collections::hash_map::Entry as Slot;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use hivemind_abi::model::json::{self, Json, Member, Text};
use hivemind_abi::model::table::{Record, Table};
use hivemind_abi::model::{Code, Collection, CollectionId, Error, Key, Result, Value};

use crate::cipher::Coding;
use crate::document::layout::{self, Compared};
use crate::document::{Document, Edits};
use crate::entry::{self, Reading};
use crate::place::Files;
use crate::seen::Seen;

/// A loaded file.
pub(crate) struct Loaded {
    /// Whose records these are.
    pub(crate) id: CollectionId,
    /// The same.
    pub(crate) collection: Arc<Collection>,
    /// Where.
    pub(crate) files: Files,
    /// The text.
    pub(crate) document: Arc<Document>,
    /// Grows with everything that is learned about the file.
    pub(crate) generation: u64,
    positions: HashMap<Key, usize>,
    // Keys that misplaced records give themselves.
    claims: Vec<Key>,
    strays: Vec<String>,
    seen: Seen,
    coding: Coding,
    // The file as it is, where that is not the text itself.
    stored: Vec<u8>,
    // Whether there was a file: one that was there and is gone is not an empty store.
    existed: bool,
    must_read: bool,
    broken: Option<Error>,
}

impl Loaded {
    /// A file of which nothing is known yet.
    pub(crate) fn new(id: CollectionId, collection: Arc<Collection>, files: Files, coding: Coding) -> Self {
        Self {
            id,
            collection,
            files,
            document: Arc::default(),
            generation: 0,
            positions: HashMap::new(),
            claims: Vec::new(),
            strays: Vec::new(),
            seen: Seen::default(),
            coding,
            stored: Vec::new(),
            existed: false,
            must_read: true,
            broken: None,
        }
    }

    /// Forgets what the file holds.
    pub(crate) fn forget(&mut self) {
        let collection = Arc::clone(&self.collection);
        let (generation, existed) = (self.generation + 1, self.existed);
        let new = Self::new(self.id, collection, self.files.clone(), self.coding.clone());
        // Not even the absence of a file is known.
        *self = Self { generation, existed, must_read: true, ..new };
    }

    /// Where a record stands in the document.
    pub(crate) fn position(&self, key: &Key) -> Option<usize> {
        self.positions.get(key).copied()
    }

    /// What is in the file and no record of the collection.
    pub(crate) fn strays(&self) -> &[String] {
        &self.strays
    }

    /// How the file is written.
    pub(crate) const fn coding(&self) -> &Coding {
        &self.coding
    }

    /// What the file held when it was last looked at.
    pub(crate) fn stored(&self) -> &[u8] {
        if self.coding.is_encrypted() { &self.stored } else { self.document.source().as_bytes() }
    }

    fn gone(&self) -> Error {
        let path = self.files.data.display();
        let message = format!("{path} was moved away or removed while it was open; put it back, or restart to begin without it");
        Error::new(Code::Unavailable, false, message).collection(&self.collection.name).place(path.to_string())
    }

    /// Whether the file is what was loaded.
    ///
    /// # Errors
    /// `corrupt` while it is the same file that could not be read.
    pub(crate) fn is_current(&self) -> Result<bool> {
        match &self.broken {
            _ if self.must_read => Ok(false),
            None => self.seen.is_current(&self.files.data, self.stored()),
            Some(error) if self.seen.is_quiet() => Err(error.clone()),
            Some(error) if self.seen.is_settled() && self.seen.looks_current(&self.files.data)? => Err(error.clone()),
            Some(_) => Ok(false),
        }
    }

    /// The same, for sure; false if it has to be read again.
    ///
    /// # Errors
    /// `corrupt` while it is the same file that could not be read.
    pub(crate) fn is_still_current(&mut self) -> Result<bool> {
        if self.must_read || self.broken.is_some() {
            return self.is_current();
        }
        let stored = if self.coding.is_encrypted() { &self.stored } else { self.document.source().as_bytes() };
        self.seen.is_still_current(&self.files.data, stored)
    }

    /// How changes of the file are noticed.
    pub(crate) const fn means(&self) -> &'static str {
        self.seen.means()
    }

    /// Notes which file is about to become this one.
    pub(crate) fn expect(&mut self, file: &File) {
        self.seen.expect(file);
    }

    /// Reads the file again and brings the table to what it says; returns the keys of what changed, maybe some more.
    ///
    /// # Errors
    /// `corrupt` if the file as a whole cannot be read, `unavailable` if it is gone; the table stays as it was, and is not to be
    /// answered from.
    pub(crate) fn reload(&mut self, table: &mut Table) -> Result<Vec<Key>> {
        let content = self.seen.reread(&self.files.data)?;
        // Until all of it is taken over, what is in memory is of no known file.
        self.must_read = true;
        if content.is_none() && self.existed {
            return Err(self.gone());
        }
        self.take_over(content, table)
    }

    /// Brings the table to what this content of the file says.
    ///
    /// # Errors
    /// `corrupt` if it cannot be read as a whole; the table stays as it was.
    pub(crate) fn take_over(&mut self, content: Option<Vec<u8>>, table: &mut Table) -> Result<Vec<Key>> {
        self.existed = content.is_some();
        self.generation += 1;
        self.must_read = false;
        let stored = content.as_ref().filter(|_| self.coding.is_encrypted()).cloned().unwrap_or_default();
        let content = content.map(|content| self.coding.decode(content)).transpose();
        let read = match content {
            Ok(None) => Ok((Document::default(), Found::default())),
            Ok(Some(text)) => match self.compared(text, table) {
                Ok(known) => Ok(known),
                Err(text) => {
                    let read = Document::parse(text, || Next::new(self, table), Next::take);
                    read.map(|(document, next)| (document, next.finish()))
                }
            },
            Err(error) => Err(error),
        };
        self.stored = stored;
        match read {
            Ok((document, found)) => {
                self.broken = None;
                Ok(self.become_(document, found, table))
            }
            Err(error) => {
                let error = unreadable(&self.files.data, &error).collection(&self.collection.name);
                self.broken = Some(error.clone());
                Err(error)
            }
        }
    }

    /// The same as parsing gives, at the price of comparing: if every known record could be read and stands under its own name.
    ///
    /// # Errors
    /// The text itself, for it to be parsed.
    fn compared(&self, text: Vec<u8>, table: &Table) -> Result<(Document, Found), Vec<u8>> {
        let is_simple = self.strays.is_empty() && self.claims.is_empty() && table.unreadable() == 0;
        if !is_simple || self.positions.len() != self.document.len() || table.len() != self.document.len() {
            return Err(text);
        }
        let position = |name: &str| self.position(&self.named(name)?);
        let Compared { document, fresh } = layout::compare(&self.document, text, position)?;
        match self.found_in(&document, fresh, table) {
            Some(found) => Ok((document, found)),
            None => Err(document.into_content()),
        }
    }

    /// The key that a name stands for, if it is written so.
    fn named(&self, name: &str) -> Option<Key> {
        entry::key_named(&self.collection, Text { raw: name }).filter(|(_, exact)| *exact).map(|(key, _)| key)
    }

    fn found_in(&self, document: &Document, fresh: Vec<usize>, table: &Table) -> Option<Found> {
        let mut next = Next::new(self, table);
        next.found.positions.reserve(document.len());
        let mut fresh = fresh.into_iter().peekable();
        for at in 0..document.len() {
            if fresh.next_if_eq(&at).is_none() {
                next.place(self.named(document.name(at))?, at, None);
                continue;
            }
            let whole = format!("{{\"{}\": {}}}", document.name(at), document.value(at));
            let parsed = json::parse(&whole).ok()?;
            let Json::Object(members) = &parsed else { return None };
            next.take(at, members.first()?);
        }
        let found = next.finish();
        // A name that is there twice, or is no key: the parser knows what to do.
        (found.positions.len() == document.len()).then_some(found)
    }

    fn become_(&mut self, document: Document, found: Found, table: &mut Table) -> Vec<Key> {
        let gone = self.positions.keys().filter(|key| !found.positions.contains_key(key));
        let mut changed: Vec<Key> = gone.chain(&self.claims).cloned().collect();
        for key in &changed {
            table.replace(key, None);
        }
        changed.extend(found.records.iter().map(|(key, _)| key.clone()));
        table.replace_all(found.records);
        self.claims.clear();
        for (key, why) in found.claims {
            if !found.positions.contains_key(&key) && !self.claims.contains(&key) {
                table.replace(&key, Some(Record::Unreadable { why, values: Vec::new() }));
                changed.push(key.clone());
                self.claims.push(key);
            }
        }
        table.set_strays(found.stray_values);
        self.document = Arc::new(document);
        self.positions = found.positions;
        self.strays = found.strays;
        changed
    }

    /// Takes over what was just written: `removed` are positions in the old document, ascending, `added` the new keys in their order.
    /// Returns the file that was replaced.
    pub(crate) fn adopt(&mut self, new: New, file: Option<File>, removed: &[usize], added: Vec<Key>) -> Option<File> {
        self.generation += 1;
        if !removed.is_empty() {
            self.positions.retain(|_, at| removed.binary_search(at).is_err());
            for at in self.positions.values_mut() {
                *at -= removed.partition_point(|r| r < at);
            }
        }
        match new.text {
            NewText::Edits(edits) => Arc::make_mut(&mut self.document).edit(&edits),
            NewText::Whole(document) => self.document = Arc::new(document),
        }
        self.stored = new.stored;
        let first = self.document.len() - added.len();
        self.positions.extend(added.into_iter().zip(first..));
        self.existed = true;
        self.seen.written(&self.files.data, file)
    }
}

/// The error of a file that as a whole cannot be read: what is wrong with it and what to do.
pub(crate) fn unreadable(path: &Path, error: &Error) -> Error {
    let advice = match error.code() {
        Code::Denied => {
            "set `password` to the one it was written with, or put a good copy in its place; until then it is left as it is"
        }
        Code::Unsupported => "it is left as it is",
        _ => "correct it there or put a good copy in its place; until then it is left as it is",
    };
    let message = format!("{} cannot be read: {}; {advice}", path.display(), error.message());
    Error::new(error.code(), false, message).with_detail(error.detail().clone()).place(path.display().to_string())
}

/// A new content of a file.
pub(crate) struct New {
    /// Its text.
    pub(crate) text: NewText,
    /// The file as it is, where that is not the text.
    pub(crate) stored: Vec<u8>,
}

/// A new text of a file.
pub(crate) enum NewText {
    /// The known one with these edits.
    Edits(Edits),
    /// Another one.
    Whole(Document),
}

/// What a new content holds.
#[derive(Default)]
struct Found {
    positions: HashMap<Key, usize>,
    // What differs from the table.
    records: Vec<(Key, Record)>,
    claims: Vec<(Key, String)>,
    strays: Vec<String>,
    // What could be read of the strays.
    stray_values: Vec<Vec<(usize, Value)>>,
}

/// Compares a new content with what is loaded, record by record.
struct Next<'l> {
    known: &'l Loaded,
    table: &'l Table,
    found: Found,
    loose: HashMap<Key, Loose>,
}

/// A record that stands under another spelling of its key, as long as none stands under the key itself.
struct Loose {
    name: String,
    why: String,
    values: Vec<(usize, Value)>,
}

impl<'l> Next<'l> {
    fn new(known: &'l Loaded, table: &'l Table) -> Self {
        Self { known, table, found: Found::default(), loose: HashMap::new() }
    }

    fn take(&mut self, at: usize, member: &Member<'_>) {
        let collection = &self.known.collection;
        if let Some((key, true)) = entry::key_named(collection, member.name)
            && self.is_known(&key, member)
        {
            self.place(key, at, None);
            return;
        }
        match entry::read(collection, member) {
            Reading::Row(key, row) => self.place(key, at, Some(Record::Row(row))),
            Reading::Unreadable { key, exact: true, why, own, values } => {
                self.claim(own, &why);
                self.place(key, at, Some(Record::Unreadable { why, values }));
            }
            Reading::Unreadable { key, why, own, values, .. } => {
                self.claim(own, &why);
                let name = member.name.decode();
                match self.found.positions.entry(key.clone()) {
                    Slot::Occupied(_) => self.stray(stray(&name, &key), values),
                    Slot::Vacant(slot) => {
                        slot.insert(at);
                        self.loose.insert(key, Loose { name: name.into_owned(), why, values });
                    }
                }
            }
            Reading::Stray { why, own, values } => {
                self.claim(own, &why);
                self.stray(why, values);
            }
        }
    }

    /// Whether this very text stands in the table already.
    fn is_known(&self, key: &Key, member: &Member<'_>) -> bool {
        let Some(at) = self.known.position(key) else { return false };
        let document = &self.known.document;
        document.value(at) == member.raw && document.name(at) == member.name.raw && matches!(self.table.get(key), Ok(Some(_)))
    }

    fn place(&mut self, key: Key, at: usize, record: Option<Record>) {
        if let Some(Loose { name, values, .. }) = self.loose.remove(&key) {
            self.stray(stray(&name, &key), values);
        }
        if let Some(record) = record {
            self.found.records.push((key.clone(), record));
        }
        self.found.positions.insert(key, at);
    }

    fn finish(mut self) -> Found {
        let loose = self.loose.into_iter().map(|(key, Loose { why, values, .. })| (key, Record::Unreadable { why, values }));
        self.found.records.extend(loose);
        self.found
    }

    fn stray(&mut self, why: String, values: Vec<(usize, Value)>) {
        self.found.strays.push(why);
        self.found.stray_values.push(values);
    }

    fn claim(&mut self, own: Option<Key>, why: &str) {
        self.found.claims.extend(own.map(|key| (key, why.to_owned())));
    }
}

fn stray(name: &str, key: &Key) -> String {
    format!("the record {name:?}: there is a record for {key} already")
}
