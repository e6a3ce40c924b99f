//! An indexed in-memory table: what the memory and JSON backends hold, and a good start for a vendor's engine.

mod database;
mod tables;

pub use database::Database;
pub use tables::{Tables, Undo};

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Bound;
use std::sync::Arc;

use crate::collection::{Collection, Index};
use crate::engine::Pager;
use crate::error::{Error, Result};
use crate::eval;
use crate::query::{Op, Page, Query};
use crate::report::Problem;
use crate::row::{Row, RowView};
use crate::value::{Key, KeyRef, Value, ValueRef, check};

/// The records of one collection, by key and by the fields it indexes.
#[derive(Debug)]
pub struct Table {
    collection: Arc<Collection>,
    records: BTreeMap<Key, Record>,
    indexes: Vec<FieldIndex>,
    unreadable: usize,
}

/// A stored record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Record {
    /// One that can be read.
    Row(Row),
    /// One that cannot, and why. It is answered `corrupt`, and nothing replaces it.
    Unreadable(String),
}

#[derive(Debug)]
struct FieldIndex {
    field: usize,
    keys: HashMap<Box<[u8]>, BTreeSet<Key>>,
}

impl Table {
    /// An empty table.
    #[must_use]
    pub fn new(collection: Arc<Collection>) -> Self {
        let indexed = collection.fields.iter().enumerate().filter(|(_, f)| f.index != Index::None);
        let indexes = indexed.map(|(field, _)| FieldIndex { field, keys: HashMap::new() }).collect();
        Self { collection, records: BTreeMap::new(), indexes, unreadable: 0 }
    }

    /// The collection whose records these are.
    #[must_use]
    pub const fn collection(&self) -> &Arc<Collection> {
        &self.collection
    }

    /// How many records there are, unreadable ones included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// The stored records in the order of their keys.
    pub fn records(&self) -> impl Iterator<Item = (&Key, &Record)> {
        self.records.iter()
    }

    /// The record with this key.
    ///
    /// # Errors
    /// `corrupt` if it cannot be read.
    pub fn get(&self, key: &Key) -> Result<Option<&Row>> {
        match self.records.get(key) {
            None => Ok(None),
            Some(Record::Row(row)) => Ok(Some(row)),
            Some(Record::Unreadable(why)) => Err(self.corrupt(key, why)),
        }
    }

    fn corrupt(&self, key: &Key, why: &str) -> Error {
        let name = &self.collection.name;
        Error::corrupt(format!("{name} {key} cannot be read: {why}")).collection(name).key(key.clone())
    }

    /// The record with this value in a field; of several the one with the lowest key.
    ///
    /// # Errors
    /// `invalid` if there is no such field, or the value is nil or of a kind that the field is not compared with.
    pub fn get_by(&self, field: usize, value: ValueRef<'_>) -> Result<Option<&Row>> {
        let described = self.collection.at(field)?;
        // An index holds values of its field's kind: bytes of another kind could be the same by chance.
        let fits = !value.is_nil() && check(value, described.kind, &described.name).is_ok();
        match fits.then(|| self.keys_with(field, value)).flatten() {
            Some(keys) => Ok(keys.and_then(BTreeSet::first).and_then(|key| self.row(key))),
            None => {
                let condition = crate::Condition::new(field, Op::Eq, value.to_value());
                eval::check_conditions(&self.collection, std::slice::from_ref(&condition))?;
                let found = self.rows().find(|(_, _, view)| eval::matches(view, std::slice::from_ref(&condition)));
                Ok(found.map(|(_, row, _)| row))
            }
        }
    }

    fn row(&self, key: &Key) -> Option<&Row> {
        match self.records.get(key) {
            Some(Record::Row(row)) => Some(row),
            _ => None,
        }
    }

    /// The readable records in the order of their keys.
    fn rows(&self) -> impl Iterator<Item = (&Key, &Row, RowView<'_>)> {
        self.records.iter().filter_map(|(key, record)| match record {
            Record::Row(row) => row.view(&self.collection).ok().map(|view| (key, row, view)),
            Record::Unreadable(_) => None,
        })
    }

    /// The keys of the records with this value, from an index; `None` if the field has none.
    fn keys_with(&self, field: usize, value: ValueRef<'_>) -> Option<Option<&BTreeSet<Key>>> {
        let index = self.indexes.iter().find(|i| i.field == field)?;
        Some(index_bytes(value, |bytes| index.keys.get(bytes)).flatten())
    }

    /// A page of a checked query.
    ///
    /// # Errors
    /// `invalid` if the query does not fit the collection.
    pub fn find(&self, query: &Query, max_bytes: usize) -> Result<Page> {
        eval::check_query(&self.collection, query)?;
        let mut pager = Pager::new(query, max_bytes);
        if self.unreadable > 0 {
            for (key, record) in &self.records {
                if let Record::Unreadable(why) = record {
                    pager.unreadable(key.clone(), why.clone());
                }
            }
        }
        if query.order.is_empty() {
            self.matches(query).all(|(_, row, view)| pager.offer_with(&view, || row.clone()));
        } else {
            let mut found: Vec<_> = self.matches(query).collect();
            found.sort_by(|(_, _, a), (_, _, b)| eval::compare_rows(&query.order, a, b));
            found.into_iter().all(|(_, row, view)| pager.offer_with(&view, || row.clone()));
        }
        Ok(pager.finish())
    }

    /// How many records a query finds.
    ///
    /// # Errors
    /// `invalid` if the query does not fit the collection.
    pub fn count(&self, query: &Query) -> Result<u64> {
        eval::check_query(&self.collection, query)?;
        let query = Query { order: Vec::new(), after: None, ..query.clone() };
        let found = if query.all.is_empty() && self.unreadable == 0 {
            self.records.len() as u64
        } else {
            self.matches(&query).count() as u64
        };
        let found = found.saturating_sub(query.offset);
        Ok(query.limit.map_or(found, |limit| found.min(limit)))
    }

    /// What a query matches behind its `after`, in the order of keys.
    fn matches<'t>(&'t self, query: &'t Query) -> Box<dyn Iterator<Item = (&'t Key, &'t Row, RowView<'t>)> + 't> {
        let candidates: Box<dyn Iterator<Item = (&Key, &Row, RowView<'_>)>> = match self.narrowed(query) {
            Some(keys) => Box::new(keys.into_iter().filter_map(|key| {
                let row = self.row(key)?;
                row.view(&self.collection).ok().map(|view| (key, row, view))
            })),
            None => match (&query.after, query.order.is_empty()) {
                (Some(after), true) => {
                    let range = self.records.range((Bound::Excluded(&after.key), Bound::Unbounded));
                    Box::new(range.filter_map(|(key, record)| match record {
                        Record::Row(row) => row.view(&self.collection).ok().map(|view| (key, row, view)),
                        Record::Unreadable(_) => None,
                    }))
                }
                _ => Box::new(self.rows()),
            },
        };
        Box::new(candidates.filter(|(_, _, view)| {
            eval::matches(view, &query.all) && query.after.as_ref().is_none_or(|after| eval::is_after(&query.order, view, after))
        }))
    }

    /// The keys that an indexed equality leaves, if the query has one.
    fn narrowed(&self, query: &Query) -> Option<Vec<&Key>> {
        query.all.iter().find_map(|condition| {
            if condition.member.is_some() || !matches!(condition.op, Op::Eq | Op::In) {
                return None;
            }
            let kind = self.collection.fields[condition.field].kind;
            let mut keys = BTreeSet::new();
            for operand in &condition.operands {
                // An index holds values of its field's kind; an int asked of a real field is looked for among all rows instead.
                if operand.as_ref().kind() != Some(kind) {
                    return None;
                }
                keys.extend(self.keys_with(condition.field, operand.as_ref())?.into_iter().flatten());
            }
            Some(keys.into_iter().collect())
        })
    }

    /// A record other than `except` that has this value in the field.
    #[must_use]
    pub fn holder(&self, field: usize, value: ValueRef<'_>, except: &Key) -> Option<Key> {
        match self.keys_with(field, value) {
            Some(keys) => keys?.iter().find(|key| *key != except).cloned(),
            None => {
                let found = self.rows().find(|(key, _, view)| *key != except && eval::same(view.at(field), value));
                found.map(|(key, _, _)| key.clone())
            }
        }
    }

    /// The greatest int key, 0 if there is none.
    #[must_use]
    pub fn greatest_key(&self) -> i64 {
        match self.records.last_key_value().map(|(key, _)| key.as_ref()) {
            Some(KeyRef::Int(key)) => key.max(0),
            _ => 0,
        }
    }

    /// Puts a record in place of what stands under its key and returns that. No rule is checked here.
    pub fn replace(&mut self, key: &Key, record: Option<Record>) -> Option<Record> {
        let old = self.records.remove(key);
        if let Some(old) = &old {
            self.unreadable -= usize::from(matches!(old, Record::Unreadable(_)));
            self.index(key, old, false);
        }
        if let Some(record) = record {
            self.unreadable += usize::from(matches!(record, Record::Unreadable(_)));
            self.index(key, &record, true);
            self.records.insert(key.clone(), record);
        }
        old
    }

    fn index(&mut self, key: &Key, record: &Record, add: bool) {
        let Record::Row(row) = record else { return };
        let collection = Arc::clone(&self.collection);
        let Ok(view) = row.view(&collection) else { return };
        for index in &mut self.indexes {
            index_bytes(view.at(index.field), |bytes| {
                if add {
                    match index.keys.get_mut(bytes) {
                        Some(keys) => drop(keys.insert(key.clone())),
                        None => drop(index.keys.insert(bytes.into(), BTreeSet::from([key.clone()]))),
                    }
                } else if let Some(keys) = index.keys.get_mut(bytes) {
                    keys.remove(key);
                    if keys.is_empty() {
                        index.keys.remove(bytes);
                    }
                }
            });
        }
    }

    /// Unreadable records and duplicates of unique values.
    #[must_use]
    pub fn problems(&self) -> Vec<Problem> {
        let problem =
            |key: &Key, message: String| Problem { collection: self.collection.name.clone(), key: Some(key.clone()), message };
        let unreadable = self.records.iter().filter_map(|(key, record)| match record {
            Record::Unreadable(why) => Some(problem(key, format!("unreadable: {why}"))),
            Record::Row(_) => None,
        });
        let mut problems: Vec<_> = unreadable.collect();
        for index in &self.indexes {
            let field = &self.collection.fields[index.field];
            let Index::Unique { except } = &field.index else { continue };
            for keys in index.keys.values().filter(|keys| keys.len() > 1) {
                let mut keys = keys.iter();
                let Some(first) = keys.next() else { continue };
                let Some(row) = self.row(first).and_then(|r| r.view(&self.collection).ok()) else { continue };
                if !except.iter().map(Value::as_ref).any(|e| eval::same(e, row.at(index.field))) {
                    problems.extend(
                        keys.map(|key| problem(key, format!("{} is the same as that of {first}, which wins", field.name))),
                    );
                }
            }
        }
        problems.sort_by(|a, b| a.key.cmp(&b.key));
        problems
    }
}

/// The bytes under which an index holds a value; nothing for nil and json.
fn index_bytes<T>(value: ValueRef<'_>, use_it: impl FnOnce(&[u8]) -> T) -> Option<T> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Code;
    use crate::value::Kind;

    #[test]
    fn a_value_of_another_kind_is_not_found_by_its_bytes() {
        let unique = |name: &str, kind| {
            Collection::new("c", 1, "id", Kind::Int).field_with(name, kind, Value::Nil, Index::Unique { except: Vec::new() })
        };
        let table = |collection: Collection, value: Value| {
            let collection = Arc::new(collection);
            let name = collection.fields[1].name.clone();
            let row = Row::builder(&collection).set("id", 1).and_then(|b| b.set(&name, value)).expect("a row").build();
            let mut table = Table::new(Arc::clone(&collection));
            table.replace(&Key::Int(1), Some(Record::Row(row)));
            table
        };
        let texts = table(unique("t", Kind::Text), "abcdefgh".into());
        assert!(texts.get_by(1, ValueRef::Text("abcdefgh")).expect("text").is_some());
        let same_bytes = i64::from_ne_bytes(*b"abcdefgh");
        for wrong in [ValueRef::Int(same_bytes), ValueRef::Blob(b"abcdefgh"), ValueRef::Nil] {
            assert_eq!(texts.get_by(1, wrong).expect_err("another kind").code(), Code::Invalid, "{wrong:?}");
        }
        // Int and real stand for each other, so that an index of the one is passed by for the other.
        let reals = table(unique("r", Kind::Real), 2.0.into());
        assert!(reals.get_by(1, ValueRef::Int(2)).expect("a number").is_some());
        assert!(reals.get_by(1, ValueRef::Real(f64::NAN)).is_err());
    }
}
