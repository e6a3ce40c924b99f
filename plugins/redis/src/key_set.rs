//! Many keys of one collection, in order and in little memory.
//!
//! Redis keeps no order, so whoever goes through all records in the order of their keys must know all keys first. Ids stand in a
//! compressed bitmap: a million in a row take some kilobytes. Text keys are kept as they are.

use std::collections::BTreeSet;
use std::ops::Bound;

use hivemind_abi::model::Key;
use roaring::RoaringTreemap;

/// See the module.
#[derive(Debug, Clone, Default)]
pub(crate) struct KeySet {
    ints: RoaringTreemap,
    texts: BTreeSet<String>,
}

/// Keeps the order of signed numbers.
const fn place(id: i64) -> u64 {
    id.cast_unsigned() ^ (1 << 63)
}

const fn id(place: u64) -> i64 {
    (place ^ (1 << 63)).cast_signed()
}

impl KeySet {
    /// Adds a key; `false` if it was there.
    pub(crate) fn insert(&mut self, key: Key) -> bool {
        match key {
            Key::Int(key) => self.ints.insert(place(key)),
            Key::Text(key) => self.texts.insert(key),
        }
    }

    /// Whether a key is among them.
    pub(crate) fn contains(&self, key: &Key) -> bool {
        match key {
            Key::Int(key) => self.ints.contains(place(*key)),
            Key::Text(key) => self.texts.contains(key),
        }
    }

    /// All in order; `after`: those behind this one.
    pub(crate) fn iter_after(&self, after: Option<&Key>) -> impl Iterator<Item = Key> {
        // A collection has keys of one kind.
        let (first, from) = match after {
            None => (Some(0), Bound::Unbounded),
            Some(Key::Int(key)) => (place(*key).checked_add(1), Bound::Unbounded),
            Some(Key::Text(key)) => (None, Bound::Excluded(key.as_str())),
        };
        let ints = first.map(|first| {
            let mut ints = self.ints.iter();
            ints.advance_to(first);
            ints.map(|place| Key::Int(id(place)))
        });
        let texts = self.texts.range::<str, _>((from, Bound::Unbounded));
        ints.into_iter().flatten().chain(texts.cloned().map(Key::Text))
    }

    /// All in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = Key> {
        self.iter_after(None)
    }
}

impl Extend<Key> for KeySet {
    fn extend<T: IntoIterator<Item = Key>>(&mut self, keys: T) {
        for key in keys {
            self.insert(key);
        }
    }
}

impl FromIterator<Key> for KeySet {
    fn from_iter<T: IntoIterator<Item = Key>>(keys: T) -> Self {
        let mut set = Self::default();
        set.extend(keys);
        set
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ints(ids: &[i64]) -> Vec<Key> {
        ids.iter().map(|id| Key::Int(*id)).collect()
    }

    #[test]
    fn keys_come_in_the_order_of_keys_from_any_place_on() {
        let sorted = ints(&[i64::MIN, -7, -1, 0, 1, 2, 70_000, 1 << 40, i64::MAX]);
        let set: KeySet = sorted.iter().rev().cloned().collect();
        assert_eq!(set.iter().collect::<Vec<_>>(), sorted);
        for (at, key) in sorted.iter().enumerate() {
            assert!(set.contains(key));
            assert_eq!(set.iter_after(Some(key)).collect::<Vec<_>>(), sorted[at + 1..], "{key}");
        }
        assert_eq!(set.iter_after(Some(&Key::Int(3))).collect::<Vec<_>>(), sorted[6..]);
        assert!(!set.contains(&Key::Int(3)));
        let texts = ["", "a", "b", "é"].map(|text| Key::Text(text.to_owned()));
        let mut set: KeySet = texts.iter().cloned().collect();
        assert!(!set.insert(texts[1].clone()));
        assert_eq!(set.iter().collect::<Vec<_>>(), texts);
        assert_eq!(set.iter_after(Some(&texts[1])).collect::<Vec<_>>(), texts[2..]);
        assert_eq!(set.iter_after(Some(&Key::Text("aa".to_owned()))).collect::<Vec<_>>(), texts[2..]);
    }
}
