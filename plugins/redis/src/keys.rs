//! Where everything is: the names of keys, and which of them a record touches.
//!
//! The decision behind it: **the primary collection has the Python node's keys, all others have words of their own** behind the same prefix:
//! `collections`, `indexes` and `handles`. That node's keys continue the prefix with `client`, `name`, `api_key`, `api_key_record`, `idx`,
//! `count`, `id_seq` or `schema_version`, so none of them can be one of ours. Names of collections have no `:`, so no collection's key can
//! be another's. Records have a word for themselves, because a handle is told of every write to a key that begins with it.
//!
//! ```text
//! P:client:<id>             record of the primary collection     P:collections:<name>:record:<key>
//! P:name:<name>             set of ids                           P:indexes:<name>:set:<field>:<value>
//! P:api_key:<key>           set of ids
//! P:idx:<id>                RediSearch document
//! P:count, P:id_seq         counters                             P:indexes:<name>:id_seq
//! P:schema_version                                               P:collections:<name>:version
//! P:api_key_record:<key>    what other nodes remember of a client for a while; removed on every write that touches it
//!                           how many writes there were           P:indexes:<name>:writes            (of the primary collection too)
//!                           the last write of a handle's place   P:handles:<handle>:<place>
//!                           what a restore has not yet put in its place, and whose sets it left to others
//!                                                                P:handles:restore, P:handles:restored
//! ```

use std::fmt::Write as _;

use hivemind_abi::model::{Collection, Error, Index, Key, Kind, Result, RowView, ValueRef};

/// What a record's key holds while the Python node is making the record.
pub(crate) const CREATING: &[u8] = b"__hivemind_creating__";

/// The access key that all revoked clients have; the Python node does not index their names.
const REVOKED: &str = "revoked";

/// The fields of the primary collection that the Python node keeps sets and documents of.
const NAME: &str = "name";
const API_KEY: &str = "api_key";

/// The first part of every key: `index_prefix`, and the tag that keeps all of them in one slot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Namespace {
    base: String,
    /// What the Python node calls its RediSearch index.
    search_index: String,
}

impl Namespace {
    pub(crate) fn new(index_prefix: &str, tag: Option<&str>) -> Self {
        match tag {
            Some(tag) => {
                Self { base: format!("{index_prefix}:{{{tag}}}"), search_index: format!("{index_prefix}_{tag}_search_index") }
            }
            None => Self { base: index_prefix.to_owned(), search_index: format!("{index_prefix}_search_index") },
        }
    }

    pub(crate) fn base(&self) -> &str {
        &self.base
    }

    pub(crate) fn search_index(&self) -> &str {
        &self.search_index
    }

    /// What the keys of all records begin with: of the primary collection, and of all others.
    pub(crate) fn records(&self) -> [Vec<u8>; 2] {
        ["client", "collections"].map(|word| format!("{}:{word}:", self.base).into_bytes())
    }

    /// What says that a collection's records were restored by somebody who did not know which sets they belong in.
    pub(crate) fn restored(&self, collection: &str) -> Vec<u8> {
        format!("{}:handles:restored:{collection}", self.base).into_bytes()
    }

    /// Where a handle notes which of its writes was the last.
    pub(crate) fn receipt(&self, handle: u64, place: usize) -> Vec<u8> {
        format!("{}:handles:{handle:016x}:{place}", self.base).into_bytes()
    }
}

/// The keys of one collection.
#[derive(Debug, Clone)]
pub(crate) struct Keys {
    record: String,
    record_glob: Vec<u8>,
    /// By field: what stands before the value in the key of a set of ids.
    sets: Vec<Option<String>>,
    document: Option<Document>,
    pub(crate) count: Option<Vec<u8>>,
    pub(crate) id_seq: Option<Vec<u8>>,
    pub(crate) version: Vec<u8>,
    /// Grows with each of our writes.
    pub(crate) writes: Option<Vec<u8>>,
}

/// What the Python node keeps beside a client's record.
#[derive(Debug, Clone)]
struct Document {
    prefix: String,
    admission: String,
    name: usize,
    api_key: usize,
}

impl Keys {
    pub(crate) fn new(namespace: &Namespace, collection: &Collection) -> Self {
        let (base, name) = (namespace.base(), &collection.name);
        let (own, index) = (format!("{base}:collections:{name}"), format!("{base}:indexes:{name}"));
        let ints = collection.key_kind() == Kind::Int;
        let at = |name: &str| collection.position(name).filter(|at| collection.fields[*at].kind == Kind::Text);
        let python = |field: &str| collection.primary && (field == NAME || field == API_KEY) && at(field).is_some();
        let set = |field: &hivemind_abi::model::Field| match &field.index {
            _ if python(&field.name) => Some(format!("{base}:{}:", field.name)),
            Index::None => None,
            _ => Some(format!("{index}:set:{}:", field.name)),
        };
        let document = at(NAME).zip(at(API_KEY)).filter(|_| collection.primary).map(|(name, api_key)| Document {
            prefix: format!("{base}:idx:"),
            admission: format!("{base}:api_key_record:"),
            name,
            api_key,
        });
        let place =
            |primary: &str, other: String| if collection.primary { format!("{base}:{primary}") } else { other }.into_bytes();
        let record = if collection.primary { format!("{base}:client:") } else { format!("{own}:record:") };
        Self {
            record_glob: format!("{record}*").into_bytes(),
            record,
            sets: collection.fields.iter().map(set).collect(),
            document,
            count: collection.primary.then(|| format!("{base}:count").into_bytes()),
            id_seq: ints.then(|| place("id_seq", format!("{index}:id_seq"))),
            version: place("schema_version", format!("{own}:version")),
            writes: Some(format!("{index}:writes").into_bytes()),
        }
    }

    /// The same where only one key can be written at a time: there are records, and nothing else that would have to agree with them.
    pub(crate) fn bare(self) -> Self {
        let sets = vec![None; self.sets.len()];
        Self { sets, document: None, count: None, id_seq: None, writes: None, ..self }
    }

    /// What every record's key begins with.
    pub(crate) fn record_prefix(&self) -> &[u8] {
        self.record.as_bytes()
    }

    /// The same with `*` for the id, as `SORT` wants it.
    pub(crate) fn record_glob(&self) -> &[u8] {
        &self.record_glob
    }

    /// The key of a record.
    pub(crate) fn record(&self, key: &Key) -> Vec<u8> {
        with_member(&self.record, key)
    }

    /// The same, of its key as it stands in sets.
    pub(crate) fn record_of(&self, member: &[u8]) -> Vec<u8> {
        [self.record.as_bytes(), member].concat()
    }

    /// The key of the record whose stored key this is: `None` if it is no key of this collection.
    pub(crate) fn parse_record(&self, collection: &Collection, stored: &[u8]) -> Option<Key> {
        parse_member(collection, stored.strip_prefix(self.record.as_bytes())?)
    }

    /// Matches every key that a record could have.
    pub(crate) fn record_pattern(&self) -> String {
        pattern(&self.record)
    }

    /// The fields of which sets are kept, and what the keys of those begin with.
    pub(crate) fn set_prefixes(&self) -> impl Iterator<Item = (usize, &str)> {
        self.sets.iter().enumerate().filter_map(|(at, prefix)| Some((at, prefix.as_deref()?)))
    }

    /// Whether ids are kept by this field's value.
    pub(crate) fn is_indexed(&self, field: usize) -> bool {
        self.sets.get(field).is_some_and(Option::is_some)
    }

    /// The set of the ids with this value in a field: `None` if none is kept.
    pub(crate) fn set(&self, field: usize, value: ValueRef<'_>) -> Option<Vec<u8>> {
        let prefix = self.sets.get(field)?.as_deref()?;
        let mut key = prefix.as_bytes().to_vec();
        spell(value, &mut key)?;
        Some(key)
    }

    /// The sets that a record belongs in, as the Python node's `sync` would have it: a client that is revoked, or has no name, is in
    /// no set of names.
    pub(crate) fn sets_of(&self, row: &RowView<'_>) -> Vec<Vec<u8>> {
        let in_set = |at: &usize| match &self.document {
            Some(document) if document.name == *at => {
                row.at(document.api_key).as_str() != Some(REVOKED) && row.at(*at).as_str() != Some("")
            }
            _ => true,
        };
        (0..self.sets.len()).filter(in_set).filter_map(|at| self.set(at, row.at(at))).collect()
    }

    /// Whether every record with this value in a field is in its set; see [`Self::sets_of`].
    pub(crate) fn is_complete(&self, field: usize) -> bool {
        self.is_indexed(field) && self.document.as_ref().is_none_or(|document| document.name != field)
    }

    /// The RediSearch document of a record: its key, and what must be in its fields `name` and `api_key`.
    pub(crate) fn document<'r>(&self, key: &Key, row: &RowView<'r>) -> Option<(Vec<u8>, &'r str, &'r str)> {
        let (name, api_key) = self.document_of(row)?;
        Some((self.document_key(&member(key))?, name, api_key))
    }

    /// What must be in the fields `name` and `api_key` of a record's document.
    pub(crate) fn document_of<'r>(&self, row: &RowView<'r>) -> Option<(&'r str, &'r str)> {
        let document = self.document.as_ref()?;
        let text = |at: usize| row.at(at).as_str().unwrap_or("");
        Some((text(document.name), text(document.api_key)))
    }

    pub(crate) fn document_key(&self, member: &[u8]) -> Option<Vec<u8>> {
        self.document.as_ref().map(|document| [document.prefix.as_bytes(), member].concat())
    }

    /// What the keys of documents and of admission records begin with.
    pub(crate) fn document_prefixes(&self) -> Option<(&str, &str)> {
        self.document.as_ref().map(|document| (document.prefix.as_str(), document.admission.as_str()))
    }

    /// What other nodes remember of the client with this record.
    pub(crate) fn admission(&self, row: &RowView<'_>) -> Option<Vec<u8>> {
        let document = self.document.as_ref()?;
        let key = row.at(document.api_key).as_str().filter(|key| !key.is_empty())?;
        Some([document.admission.as_bytes(), key.as_bytes()].concat())
    }

    /// Refuses what the Python node could not rebuild its index from: one client without a text there, and it indexes none.
    pub(crate) fn check(&self, collection: &Collection, row: &RowView<'_>) -> Result<()> {
        let Some(document) = &self.document else { return Ok(()) };
        for at in [document.name, document.api_key] {
            if row.at(at).is_nil() {
                let name = &collection.fields[at].name;
                let of = format!("{} {}", collection.name, row.key());
                let message = format!("{name} of {of} must be a text, found nil: the Python node cannot index it");
                return Err(Error::invalid(message).field(name));
            }
        }
        Ok(())
    }
}

/// A key as it stands in a set of ids, and at the end of its record's key.
pub(crate) fn member(key: &Key) -> Vec<u8> {
    with_member("", key)
}

fn with_member(prefix: &str, key: &Key) -> Vec<u8> {
    // An id has 20 characters at most.
    let mut out = String::with_capacity(prefix.len() + if let Key::Text(key) = key { key.len() } else { 20 });
    out.push_str(prefix);
    match key {
        Key::Int(key) => drop(write!(out, "{key}")),
        Key::Text(key) => out.push_str(key),
    }
    out.into_bytes()
}

/// The key that a member of a set stands for; `None` if it is not written exactly as we and the Python node do.
pub(crate) fn parse_member(collection: &Collection, member: &[u8]) -> Option<Key> {
    let text = std::str::from_utf8(member).ok()?;
    match collection.key_kind() {
        Kind::Int => text.parse::<i64>().ok().filter(|key| is_as_written(*key, text)).map(Key::Int),
        _ => Some(Key::Text(text.to_owned())),
    }
}

/// Whether a number is spelled in the one way that numbers are written: no sign but a minus, no zero before it.
fn is_as_written(number: i64, text: &str) -> bool {
    let digits = if number < 0 { text.get(1..).unwrap_or("") } else { text };
    digits == "0" || matches!(digits.as_bytes().first(), Some(b'1'..=b'9'))
}

/// A key for a message: without the access key, or other value, that it ends in.
pub(crate) fn shown(key: &[u8]) -> String {
    let text = String::from_utf8_lossy(key);
    for mark in [":api_key:", ":api_key_record:", ":name:", ":set:"] {
        if let Some(at) = text.find(mark) {
            return format!("{}…", &text[..at + mark.len()]);
        }
    }
    text.into_owned()
}

/// One spelling for each value of a field, so that equal values have one set. Nil has none, json takes no index.
fn spell(value: ValueRef<'_>, out: &mut Vec<u8>) -> Option<()> {
    match value {
        ValueRef::Nil | ValueRef::Json(_) => return None,
        ValueRef::Bool(value) => out.extend_from_slice(if value { b"true" } else { b"false" }),
        ValueRef::Int(value) => out.extend_from_slice(value.to_string().as_bytes()),
        // 0.0 and -0.0 are the same value.
        ValueRef::Real(value) => out.extend_from_slice(format!("{:?}", if value == 0.0 { 0.0 } else { value }).as_bytes()),
        ValueRef::Text(value) => out.extend_from_slice(value.as_bytes()),
        // In hexadecimal, so that every key is a text.
        ValueRef::Blob(value) => value.iter().for_each(|byte| out.extend_from_slice(format!("{byte:02x}").as_bytes())),
    }
    Some(())
}

/// A glob that matches exactly what begins with `prefix`.
pub(crate) fn pattern(prefix: &str) -> String {
    let mut pattern = String::with_capacity(prefix.len() + 1);
    for character in prefix.chars() {
        if matches!(character, '*' | '?' | '[' | ']' | '^' | '\\') {
            pattern.push('\\');
        }
        pattern.push(character);
    }
    pattern.push('*');
    pattern
}

#[cfg(test)]
mod tests;
