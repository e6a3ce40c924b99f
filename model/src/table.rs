//! An indexed in-memory table: what the memory and JSON backends hold, and a good start for a vendor's engine.

mod database;
mod index;
mod patience;
mod record;
mod tables;

pub use database::Database;
pub use record::Record;
pub use tables::{Tables, Undo};

use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::ops::Bound;
use std::sync::Arc;

use crate::collection::{Collection, Index};
use crate::context::Context;
use crate::engine::{self, Pager};
use crate::error::{Error, Result};
use crate::eval;
use crate::query::{Op, Page, Query};
use crate::report::Problem;
use crate::row::{Row, RowView};
use crate::value::{Key, KeyRef, Value, ValueRef, check};
use index::{FieldIndex, Keys};
use patience::{Patience, Ranked};

/// The records of one collection, by key and by the fields it indexes.
#[derive(Debug)]
pub struct Table {
    collection: Arc<Collection>,
    records: BTreeMap<Key, Record>,
    indexes: Vec<FieldIndex>,
    unreadable: usize,
    // What could be read of stored records that stand under no key.
    strays: Vec<Vec<(usize, Value)>>,
}

impl Table {
    /// An empty table.
    #[must_use]
    pub fn new(collection: Arc<Collection>) -> Self {
        let indexed = collection.fields.iter().enumerate().filter(|(_, f)| f.index != Index::None);
        let indexes = indexed.map(|(field, _)| FieldIndex::new(field)).collect();
        Self { collection, records: BTreeMap::new(), indexes, unreadable: 0, strays: Vec::new() }
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

    /// How many of them cannot be read.
    #[must_use]
    pub const fn unreadable(&self) -> usize {
        self.unreadable
    }

    /// The stored records in the order of their keys.
    pub fn records(&self) -> impl Iterator<Item = (&Key, &Record)> {
        self.records.iter()
    }

    /// The record with this key.
    ///
    /// # Errors
    /// `corrupt` if it cannot be read, `invalid` for a key of another kind than the collection's.
    pub fn get(&self, key: &Key) -> Result<Option<&Row>> {
        engine::check_key(&self.collection, key.as_ref())?;
        match self.records.get(key) {
            None => Ok(None),
            Some(Record::Row(row)) => Ok(Some(row)),
            Some(Record::Unreadable { why, .. }) => Err(self.corrupt(key, why)),
        }
    }

    fn corrupt(&self, key: &Key, why: &str) -> Error {
        let name = &self.collection.name;
        Error::corrupt(format!("{name} {key} cannot be read: {why}")).collection(name).key(key.clone())
    }

    /// The record with this value in a field; of several the one with the lowest key.
    ///
    /// # Errors
    /// `corrupt` if that one cannot be read otherwise. `invalid` if there is no such field, or the value is nil or of a kind that the
    /// field is not compared with.
    pub fn get_by(&self, field: usize, value: ValueRef<'_>) -> Result<Option<&Row>> {
        let described = self.collection.at(field)?;
        let fits = !value.is_nil() && check(value, described.kind, &described.name).is_ok();
        let key = match fits.then(|| self.keys_with(field, value)).flatten() {
            Some(keys) => keys.and_then(|keys| keys.iter().next()),
            None => {
                let condition = crate::Condition::new(field, Op::Eq, value.to_value());
                eval::check_conditions(&self.collection, std::slice::from_ref(&condition))?;
                self.scan(field, value).next()
            }
        };
        match key {
            Some(key) => self.get(key),
            None => self.check_strays(field, value).map(|()| None),
        }
    }

    /// The keys of the records with this value, from lowest to highest, without an index.
    fn scan(&self, field: usize, value: ValueRef<'_>) -> impl Iterator<Item = &Key> {
        self.records.iter().filter(move |(_, record)| record.has(&self.collection, field, value)).map(|(key, _)| key)
    }

    /// `corrupt` if a record that stands under no key has this value.
    fn check_strays(&self, field: usize, value: ValueRef<'_>) -> Result<()> {
        if !self.strays.iter().any(|values| record::holds(values, field, value)) {
            return Ok(());
        }
        let (name, field) = (&self.collection.name, &self.collection.at(field)?.name);
        let message = format!("a stored record of {name} that has no usable key has this {field}; verify names it");
        Err(Error::corrupt(message).collection(name).field(field))
    }

    /// Takes note of stored records that stand under no key: what could be read of each. Their unique values are taken.
    pub fn set_strays(&mut self, strays: Vec<Vec<(usize, Value)>>) {
        self.strays = strays;
    }

    fn row(&self, key: &Key) -> Option<&Row> {
        match self.records.get(key) {
            Some(Record::Row(row)) => Some(row),
            _ => None,
        }
    }

    /// The readable records in the order of their keys.
    fn rows(&self) -> impl Iterator<Item = (&Row, RowView<'_>)> {
        self.records.values().filter_map(|record| match record {
            Record::Row(row) => row.view(&self.collection).ok().map(|view| (row, view)),
            Record::Unreadable { .. } => None,
        })
    }

    /// The keys of the records with this value, from an index; `None` if the field has none or the value is of
    /// another kind.
    fn keys_with(&self, field: usize, value: ValueRef<'_>) -> Option<Option<&Keys>> {
        // Bytes of another kind could be the same by chance.
        let fits = self.collection.fields.get(field).is_some_and(|f| value.kind() == Some(f.kind));
        self.indexes.iter().find(|i| fits && i.field == field).map(|index| index.get(value))
    }

    /// A page of a query's answer, while the caller waits for it.
    ///
    /// # Errors
    /// `invalid` if the query does not fit the collection, `deadline`.
    pub fn find(&self, cx: &Context<'_>, query: &Query, max_bytes: usize) -> Result<Page> {
        eval::check_query(&self.collection, query)?;
        let mut pager = Pager::new(query, max_bytes);
        if self.unreadable > 0 {
            for (key, record) in &self.records {
                if let Record::Unreadable { why, .. } = record {
                    pager.unreadable(key.clone(), why.clone());
                }
            }
        }
        let patience = Patience::new(cx);
        if query.order.is_empty() {
            self.matches(&patience, query).all(|(row, view)| pager.offer(&view, || row.clone()));
        } else {
            // A heap and not a sort: it can be left at any time, and a page costs no more than what is on it.
            let mut found: BinaryHeap<_> =
                self.matches(&patience, query).map(|(row, view)| Ranked { order: &query.order, row, view }).collect();
            while let Some(next) = found.pop().filter(|_| patience.lasts()) {
                if !pager.offer(&next.view, || next.row.clone()) {
                    break;
                }
            }
        }
        patience.end()?;
        Ok(pager.finish())
    }

    /// How many records a query finds, while the caller waits for it.
    ///
    /// # Errors
    /// `invalid` if the query does not fit the collection, `deadline`.
    pub fn count(&self, cx: &Context<'_>, query: &Query) -> Result<u64> {
        eval::check_query(&self.collection, query)?;
        let query = Query { order: Vec::new(), after: None, ..query.clone() };
        let found = if query.all.is_empty() && self.unreadable == 0 {
            self.records.len() as u64
        } else {
            let patience = Patience::new(cx);
            let found = self.matches(&patience, &query).count() as u64;
            patience.end()?;
            found
        };
        let found = found.saturating_sub(query.offset);
        Ok(query.limit.map_or(found, |limit| found.min(limit)))
    }

    /// What a query matches behind its `after`, in the order of keys, as long as the caller's patience lasts.
    fn matches<'t>(
        &'t self,
        patience: &'t Patience<'_>,
        query: &'t Query,
    ) -> Box<dyn Iterator<Item = (&'t Row, RowView<'t>)> + 't> {
        let candidates: Box<dyn Iterator<Item = (&Row, RowView<'_>)>> = match self.narrowed(query) {
            Some(keys) => Box::new(keys.into_iter().filter_map(|key| {
                let row = self.row(key)?;
                row.view(&self.collection).ok().map(|view| (row, view))
            })),
            None => match (&query.after, query.order.is_empty()) {
                (Some(after), true) => {
                    let range = self.records.range((Bound::Excluded(&after.key), Bound::Unbounded));
                    Box::new(range.filter_map(|(_, record)| match record {
                        Record::Row(row) => row.view(&self.collection).ok().map(|view| (row, view)),
                        Record::Unreadable { .. } => None,
                    }))
                }
                _ => Box::new(self.rows()),
            },
        };
        Box::new(candidates.take_while(|_| patience.lasts()).filter(|(_, view)| {
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
                keys.extend(self.keys_with(condition.field, operand.as_ref())?.into_iter().flat_map(Keys::iter));
            }
            Some(keys.into_iter().collect())
        })
    }

    /// A record other than `except` that has this value in the field, be it readable or not.
    ///
    /// # Errors
    /// `corrupt` if the only one stands under no key.
    pub fn holder(&self, field: usize, value: ValueRef<'_>, except: &Key) -> Result<Option<Key>> {
        let found = match self.keys_with(field, value) {
            Some(keys) => keys.and_then(|keys| keys.iter().find(|key| *key != except)),
            None => self.scan(field, value).find(|key| *key != except),
        };
        match found {
            Some(key) => Ok(Some(key.clone())),
            None => self.check_strays(field, value).map(|()| None),
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
            self.unreadable -= usize::from(matches!(old, Record::Unreadable { .. }));
            self.index(key, old, false);
        }
        if let Some(record) = record {
            self.unreadable += usize::from(matches!(record, Record::Unreadable { .. }));
            self.index(key, &record, true);
            self.records.insert(key.clone(), record);
        }
        old
    }

    /// Puts many records in place at once, as [`replace`](Self::replace) does: an empty table takes half the memory so.
    pub fn replace_all(&mut self, records: impl IntoIterator<Item = (Key, Record)>) {
        if !self.is_empty() {
            records.into_iter().for_each(|(key, record)| drop(self.replace(&key, Some(record))));
            return;
        }
        // All nodes of a map that is collected are full.
        let records: BTreeMap<Key, Record> = records.into_iter().collect();
        for (key, record) in &records {
            self.unreadable += usize::from(matches!(record, Record::Unreadable { .. }));
            self.index(key, record, true);
        }
        self.records = records;
    }

    fn index(&mut self, key: &Key, record: &Record, add: bool) {
        let note = |index: &mut FieldIndex, value| if add { index.add(value, key) } else { index.remove(value, key) };
        match record {
            Record::Row(row) => {
                let Ok(view) = row.view(&self.collection) else { return };
                self.indexes.iter_mut().for_each(|index| note(index, view.at(index.field)));
            }
            Record::Unreadable { values, .. } => {
                for (field, value) in values {
                    self.indexes.iter_mut().filter(|i| i.field == *field).for_each(|index| note(index, value.as_ref()));
                }
            }
        }
    }

    /// Unreadable records and duplicates of unique values.
    #[must_use]
    pub fn problems(&self) -> Vec<Problem> {
        let problem =
            |key: &Key, message: String| Problem { collection: self.collection.name.clone(), key: Some(key.clone()), message };
        let unreadable = self.records.iter().filter_map(|(key, record)| match record {
            Record::Unreadable { why, .. } => Some(problem(key, format!("unreadable: {why}"))),
            Record::Row(_) => None,
        });
        let mut problems: Vec<_> = unreadable.collect();
        for index in &self.indexes {
            let field = &self.collection.fields[index.field];
            let Index::Unique { except } = &field.index else { continue };
            let excepted = |key: &Key| {
                let is = |e: &Value| self.records.get(key).is_some_and(|r| r.has(&self.collection, index.field, e.as_ref()));
                except.iter().any(is)
            };
            for keys in index.shared() {
                let mut keys = keys.iter();
                let Some(first) = keys.next().filter(|first| !excepted(first)) else { continue };
                problems
                    .extend(keys.map(|key| problem(key, format!("{} is the same as that of {first}, which wins", field.name))));
            }
        }
        problems.sort_by(|a, b| a.key.cmp(&b.key));
        problems
    }
}

#[cfg(test)]
mod tests;
