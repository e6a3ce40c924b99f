//! The index of one field: from a value's bytes to the keys of the records that have it.

use std::collections::{BTreeSet, HashMap};

use crate::value::{Key, ValueRef};

#[derive(Debug)]
pub(super) struct FieldIndex {
    pub(super) field: usize,
    keys: HashMap<Box<[u8]>, Keys>,
}

/// The keys of the records that have one value. Most often that is one, which a set would take a node of eleven for.
#[derive(Debug)]
pub(super) enum Keys {
    One(Key),
    Many(BTreeSet<Key>),
}

impl Keys {
    /// From lowest to highest.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Key> {
        let (one, many) = match self {
            Self::One(key) => (Some(key), None),
            Self::Many(keys) => (None, Some(keys)),
        };
        one.into_iter().chain(many.into_iter().flatten())
    }

    fn insert(&mut self, key: &Key) {
        match self {
            Self::One(known) if known == key => {}
            Self::One(known) => *self = Self::Many(BTreeSet::from([known.clone(), key.clone()])),
            Self::Many(keys) => drop(keys.insert(key.clone())),
        }
    }

    /// Removes a key; whether none is left.
    fn remove(&mut self, key: &Key) -> bool {
        match self {
            Self::One(known) => known == key,
            Self::Many(keys) => {
                keys.remove(key);
                keys.is_empty()
            }
        }
    }
}

impl FieldIndex {
    pub(super) fn new(field: usize) -> Self {
        Self { field, keys: HashMap::new() }
    }

    /// The keys of the records with a value of the field's kind.
    pub(super) fn get(&self, value: ValueRef<'_>) -> Option<&Keys> {
        with_bytes(value, |bytes| self.keys.get(bytes)).flatten()
    }

    pub(super) fn add(&mut self, value: ValueRef<'_>, key: &Key) {
        with_bytes(value, |bytes| match self.keys.get_mut(bytes) {
            Some(keys) => keys.insert(key),
            None => drop(self.keys.insert(bytes.into(), Keys::One(key.clone()))),
        });
    }

    pub(super) fn remove(&mut self, value: ValueRef<'_>, key: &Key) {
        with_bytes(value, |bytes| {
            if self.keys.get_mut(bytes).is_some_and(|keys| keys.remove(key)) {
                self.keys.remove(bytes);
            }
        });
    }

    /// The keys of each value that several records have.
    pub(super) fn shared(&self) -> impl Iterator<Item = &BTreeSet<Key>> {
        self.keys.values().filter_map(|keys| match keys {
            Keys::Many(keys) if keys.len() > 1 => Some(keys),
            Keys::Many(_) | Keys::One(_) => None,
        })
    }
}

/// The bytes under which an index holds a value; nothing for nil and json.
fn with_bytes<T>(value: ValueRef<'_>, use_it: impl FnOnce(&[u8]) -> T) -> Option<T> {
    match value {
        ValueRef::Nil | ValueRef::Json(_) => None,
        ValueRef::Bool(v) => Some(use_it(&[u8::from(v)])),
        ValueRef::Int(v) => Some(use_it(&v.to_ne_bytes())),
        // Adding zero turns -0.0 into 0.0, which equals it.
        ValueRef::Real(v) => Some(use_it(&(v + 0.0).to_ne_bytes())),
        ValueRef::Text(v) => Some(use_it(v.as_bytes())),
        ValueRef::Blob(v) => Some(use_it(v)),
    }
}
