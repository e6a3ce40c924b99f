//! What a key in a backup is: the rest of it behind the namespace's first part.

use std::collections::BTreeSet;

use hivemind_abi::model::Key;

use crate::key_set::KeySet;

/// What stands under a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part<'k> {
    /// A record, of the primary collection if no name is given.
    Record(Option<&'k str>),
    /// The version in which a collection is stored.
    Version(Option<&'k str>),
    /// A counter.
    Counter(Option<&'k str>),
}

impl<'k> Part<'k> {
    pub(super) const fn is_record(self) -> bool {
        matches!(self, Self::Record(_))
    }

    /// The collection: `None` for the primary one.
    pub(super) const fn collection(self) -> Option<&'k str> {
        match self {
            Self::Record(name) | Self::Version(name) | Self::Counter(name) => name,
        }
    }
}

/// What this is the key of; `None` for all that follows from records, or is of use to a running program only.
pub(super) fn of(own: &[u8]) -> Option<Part<'_>> {
    match own {
        b"schema_version" => return Some(Part::Version(None)),
        b"count" | b"id_seq" => return Some(Part::Counter(None)),
        _ => {}
    }
    let text = std::str::from_utf8(own).ok()?;
    if text.strip_prefix("client:").is_some() {
        return Some(Part::Record(None));
    }
    // A collection's name has no colon.
    let (word, rest) = text.split_once(':')?;
    let (name, rest) = rest.split_once(':')?;
    match (word, rest) {
        _ if name.is_empty() => None,
        ("collections", "version") => Some(Part::Version(Some(name))),
        ("collections", rest) if rest.starts_with("record:") => Some(Part::Record(Some(name))),
        ("indexes", "id_seq") => Some(Part::Counter(Some(name))),
        _ => None,
    }
}

/// The keys that were met. Ids of clients take next to no memory.
#[derive(Debug, Default)]
pub(super) struct Seen {
    clients: KeySet,
    others: BTreeSet<Vec<u8>>,
    collections: BTreeSet<String>,
}

impl Seen {
    /// Adds a key; `false` if it was there.
    pub(super) fn insert(&mut self, own: Vec<u8>) -> bool {
        if let Some(id) = client(&own) {
            return self.clients.insert(id);
        }
        if let Some(name) = of(&own).and_then(Part::collection)
            && !self.collections.contains(name)
        {
            self.collections.insert(name.to_owned());
        }
        self.others.insert(own)
    }

    pub(super) fn contains(&self, own: &[u8]) -> bool {
        client(own).map_or_else(|| self.others.contains(own), |id| self.clients.contains(&id))
    }

    /// All of them.
    pub(super) fn iter(&self) -> impl Iterator<Item = Vec<u8>> {
        let clients = self.clients.iter().map(|id| format!("client:{id}").into_bytes());
        clients.chain(self.others.iter().cloned())
    }

    /// The names of the collections besides the primary one.
    pub(super) const fn collections(&self) -> &BTreeSet<String> {
        &self.collections
    }
}

/// The keys of versions and counters that stand among no records, of the primary collection and of these.
pub(super) fn beside(collections: &BTreeSet<String>) -> Vec<Vec<u8>> {
    let mut keys = ["schema_version", "count", "id_seq"].map(|key| key.as_bytes().to_vec()).to_vec();
    keys.extend(collections.iter().map(|name| format!("indexes:{name}:id_seq").into_bytes()));
    keys
}

fn client(own: &[u8]) -> Option<Key> {
    let id = std::str::from_utf8(own.strip_prefix(b"client:")?).ok()?;
    id.parse::<i64>().ok().filter(|number| number.to_string() == id).map(Key::Int)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_follows_from_records_is_no_part() {
        for (key, part) in [
            ("client:1", Some(Part::Record(None))),
            ("client:x", Some(Part::Record(None))),
            ("collections:notes:record:a:b", Some(Part::Record(Some("notes")))),
            ("collections:notes:version", Some(Part::Version(Some("notes")))),
            ("indexes:notes:id_seq", Some(Part::Counter(Some("notes")))),
            ("schema_version", Some(Part::Version(None))),
            ("id_seq", Some(Part::Counter(None))),
            ("indexes:notes:writes", None),
            ("indexes:notes:set:slug:a", None),
            ("collections::backup:00", None),
            ("api_key:x", None),
            ("handles:0:1", None),
        ] {
            assert_eq!(of(key.as_bytes()), part, "{key}");
        }
    }

    #[test]
    fn a_key_is_met_once() {
        let mut seen = Seen::default();
        for key in ["client:1", "client:01", "collections:notes:record:1"] {
            assert!(!seen.contains(key.as_bytes()) && seen.insert(key.into()) && !seen.insert(key.into()), "{key}");
        }
        assert_eq!(seen.iter().count(), 3);
        assert_eq!(beside(seen.collections()).len(), 4);
    }
}
