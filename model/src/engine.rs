//! The rules of a batch, written once over a small transaction interface.
//!
//! An engine says how to read, write, remove and look up one record inside a transaction of its own; [`apply`] does the rest: order,
//! uniqueness, conditions, expectations, narrow changes and the errors they give. [`Pager`] does the same for pages.

use crate::catalog::Catalog;
use crate::collection::{Collection, CollectionId, Index};
use crate::context::Context;
use crate::error::{Error, Result};
use crate::mutation::{Mutation, Outcome};
use crate::query::{Condition, Page, Query};
use crate::row::{Row, RowView};
use crate::value::{Key, KeyRef, Kind, ValueRef};
use crate::{change, eval, record, value};

/// What an engine does inside one isolated transaction. It is rolled back by the engine when [`apply`] fails.
pub trait Transaction {
    /// The stored record.
    ///
    /// # Errors
    /// `corrupt` if it cannot be read, and the engine's own; likewise below.
    fn read(&mut self, collection: CollectionId, key: &Key) -> Result<Option<Row>>;

    /// Stores a record, `old` being what stands there now.
    #[allow(clippy::missing_errors_doc)]
    fn write(&mut self, collection: CollectionId, key: &Key, row: &Row, old: Option<&Row>) -> Result<()>;

    /// Removes a record, `old` being what stands there now.
    #[allow(clippy::missing_errors_doc)]
    fn remove(&mut self, collection: CollectionId, key: &Key, old: &Row) -> Result<()>;

    /// The greatest int key in use or reserved, unreadable records included; 0 if there is none.
    #[allow(clippy::missing_errors_doc)]
    fn greatest_key(&mut self, collection: CollectionId) -> Result<i64>;

    /// A record other than `except` that has this value in the field, unreadable ones included as far as it can be told.
    #[allow(clippy::missing_errors_doc)]
    fn holder(&mut self, collection: CollectionId, field: usize, value: ValueRef<'_>, except: &Key) -> Result<Option<Key>>;

    /// The keys a query finds.
    #[allow(clippy::missing_errors_doc)]
    fn matching(&mut self, query: &Query) -> Result<Vec<Key>>;
}

/// Carries `mutations` out one after another.
///
/// # Errors
/// The first failing mutation's, with its position in the detail. The caller rolls back.
pub fn apply(tx: &mut impl Transaction, catalog: &Catalog, cx: &Context<'_>, mutations: &[Mutation]) -> Result<Vec<Outcome>> {
    let mut outcomes = Vec::with_capacity(mutations.len());
    for (index, mutation) in mutations.iter().enumerate() {
        let outcome = cx.check().and_then(|()| {
            let collection = catalog.get(mutation.collection())?;
            apply_one(tx, collection, mutation).map_err(|e| with_collection(e, collection))
        });
        outcomes.push(outcome.map_err(|e| e.mutation(index))?);
    }
    Ok(outcomes)
}

fn with_collection(error: Error, collection: &Collection) -> Error {
    if error.detail().collection.is_some() { error } else { error.collection(&collection.name) }
}

fn apply_one(tx: &mut impl Transaction, collection: &Collection, mutation: &Mutation) -> Result<Outcome> {
    let id = mutation.collection();
    match mutation {
        Mutation::Insert { row, .. } => {
            let view = checked(collection, row)?;
            let key = view.key().to_key();
            if tx.read(id, &key)?.is_some() {
                return Err(Error::conflict(format!("{} {key} exists already", collection.name)).key(key));
            }
            store(tx, id, &key, row, &view, None)?;
            Ok(Outcome::Inserted(key))
        }
        Mutation::InsertNext { row, .. } => {
            let key = next_key(tx, collection, id)?;
            let view = checked_keyless(collection, row)?;
            store(tx, id, &key, &view.with_key(&key), &view, None)?;
            Ok(Outcome::Inserted(key))
        }
        Mutation::Put { row, .. } => {
            let view = checked(collection, row)?;
            let key = view.key().to_key();
            let old = tx.read(id, &key)?;
            store(tx, id, &key, row, &view, old.as_ref())?;
            Ok(Outcome::Put { replaced: old.is_some() })
        }
        Mutation::Update { key, changes, when, .. } => {
            check_key(collection, key.as_ref())?;
            let old = tx
                .read(id, key)?
                .ok_or_else(|| Error::not_found(format!("there is no {} {key}", collection.name)).key(key.clone()))?;
            let view = old.view(collection)?;
            check_when(collection, &view, when)?;
            let new = change::apply(&view, changes)?;
            if new == old {
                return Ok(Outcome::Updated(new));
            }
            let stored = store(tx, id, key, &new, &new.view(collection)?, Some(&old))?;
            Ok(Outcome::Updated(stored.unwrap_or(new)))
        }
        Mutation::Delete { key, when, .. } => {
            check_key(collection, key.as_ref())?;
            eval::check_conditions(collection, when)?;
            let Some(old) = tx.read(id, key)? else { return Ok(Outcome::Deleted(0)) };
            check_when(collection, &old.view(collection)?, when)?;
            tx.remove(id, key, &old)?;
            Ok(Outcome::Deleted(1))
        }
        Mutation::DeleteWhere { query } => {
            eval::check_query(collection, query)?;
            let keys = tx.matching(&Query { after: None, ..query.clone() })?;
            for key in &keys {
                if let Some(old) = tx.read(id, key)? {
                    tx.remove(id, key, &old)?;
                }
            }
            Ok(Outcome::Deleted(keys.len() as u64))
        }
        Mutation::Expect { key, row, .. } => {
            check_key(collection, key.as_ref())?;
            let found = tx.read(id, key)?;
            // As it would be stored: else a row could be put and never be as expected.
            let expected = row.as_ref().map(|row| record::as_stored(collection, row)).transpose()?;
            let equal = match (&expected, &found) {
                (None, None) => true,
                (Some(expected), Some(found)) => eval::same_rows(&expected.view(collection)?, &found.view(collection)?),
                _ => false,
            };
            if equal {
                return Ok(Outcome::Expected);
            }
            Err(Error::conflict(format!("{} {key} is not as expected", collection.name)).key(key.clone()))
        }
    }
}

/// Checks that a key is of its collection's kind: one that is not would read as absent.
///
/// # Errors
/// `invalid`.
pub fn check_key(collection: &Collection, key: KeyRef<'_>) -> Result<()> {
    value::check(key.as_value(), collection.key_kind(), collection.key_name()).map_err(|e| e.collection(&collection.name))
}

/// A row to be stored, read and checked in full.
fn checked<'a>(collection: &'a Collection, row: &'a Row) -> Result<RowView<'a>> {
    let view = row.view(collection)?;
    view.validate()?;
    Ok(view)
}

/// The same of one whose key the backend assigns.
fn checked_keyless<'a>(collection: &'a Collection, row: &'a Row) -> Result<RowView<'a>> {
    let view = RowView::keyless(collection, row.as_bytes())?;
    view.validate()?;
    Ok(view)
}

/// The row under the key that the backend assigned.
///
/// # Errors
/// `invalid` if the row does not fit the collection.
pub fn with_key(collection: &Collection, row: &Row, key: &Key) -> Result<Row> {
    Ok(checked_keyless(collection, row)?.with_key(key))
}

fn next_key(tx: &mut impl Transaction, collection: &Collection, id: CollectionId) -> Result<Key> {
    if collection.key_kind() != Kind::Int {
        let name = &collection.name;
        return Err(Error::invalid(format!("collection {name} has text keys; only int keys are assigned")));
    }
    match tx.greatest_key(id)?.max(0).checked_add(1) {
        Some(next) => Ok(Key::Int(next)),
        None => Err(Error::invalid(format!("collection {} has no key left to assign", collection.name))),
    }
}

/// `conflict` unless all conditions hold.
///
/// # Errors
/// `invalid` if a condition does not fit the collection.
pub fn check_when(collection: &Collection, row: &RowView<'_>, when: &[Condition]) -> Result<()> {
    eval::check_conditions(collection, when)?;
    for condition in when {
        if !eval::matches(row, std::slice::from_ref(condition)) {
            let name = &collection.at(condition.field)?.name;
            let key = row.key().to_key();
            let message = format!("{} {key} does not meet the condition on {name}", collection.name);
            return Err(Error::conflict(message).key(key).field(name));
        }
    }
    Ok(())
}

/// Stores a record, of which `view` has every value but perhaps the key. Given is what is stored, if that is something else.
fn store(
    tx: &mut impl Transaction,
    id: CollectionId,
    key: &Key,
    row: &Row,
    view: &RowView<'_>,
    old: Option<&Row>,
) -> Result<Option<Row>> {
    let Some(stored) = record::stored_form(view)? else {
        check_unique(tx, id, key, view, old)?;
        tx.write(id, key, row, old)?;
        return Ok(None);
    };
    let collection = view.collection();
    let stored = RowView::keyless(collection, stored.as_bytes())?.with_key(key);
    check_unique(tx, id, key, &stored.view(collection)?, old)?;
    tx.write(id, key, &stored, old)?;
    Ok(Some(stored))
}

/// `conflict` if another record has a value that only one may have.
fn check_unique(tx: &mut impl Transaction, id: CollectionId, key: &Key, view: &RowView<'_>, old: Option<&Row>) -> Result<()> {
    let collection = view.collection();
    let before = old.map(|o| o.view(collection)).transpose()?;
    for (at, field) in collection.fields.iter().enumerate() {
        let Index::Unique { except } = &field.index else { continue };
        let value = view.at(at);
        // An unchanged value is let be, so that a legacy store's duplicates can still be changed in their other fields.
        let unchanged = before.as_ref().is_some_and(|b| eval::same(b.at(at), value));
        if unchanged || value.is_nil() || except.iter().any(|e| eval::same(e.as_ref(), value)) {
            continue;
        }
        if let Some(holder) = tx.holder(id, at, value, key)? {
            let message = format!("{} of {} is taken by {} {holder}", field.name, collection.name, collection.name);
            return Err(Error::conflict(message).key(holder).field(&field.name));
        }
    }
    Ok(())
}

/// Fills a page with rows that come in the query's order and already match.
#[derive(Debug)]
pub struct Pager<'q> {
    query: &'q Query,
    max_bytes: usize,
    to_skip: u64,
    bytes: usize,
    page: Page,
    last: Option<crate::query::Continuation>,
}

impl<'q> Pager<'q> {
    /// A page of `query` with rows of at most `max_bytes` together, but at least one.
    #[must_use]
    pub fn new(query: &'q Query, max_bytes: usize) -> Self {
        let to_skip = if query.after.is_some() { 0 } else { query.offset };
        Self { query, max_bytes, to_skip, bytes: 0, page: Page::default(), last: None }
    }

    /// Takes the next match, making the row only if it is wanted; `false` when the page is full and no further one is.
    pub fn offer(&mut self, view: &RowView<'_>, row: impl FnOnce() -> Row) -> bool {
        if self.to_skip > 0 {
            self.to_skip -= 1;
            return true;
        }
        if self.query.limit == Some(0) {
            return false;
        }
        let full = self.query.limit.is_some_and(|l| self.page.rows.len() as u64 >= l);
        if full {
            self.page.next = self.last.take();
            return false;
        }
        let row = row();
        if !self.page.rows.is_empty() && self.bytes.saturating_add(row.as_bytes().len()) > self.max_bytes {
            self.page.next = self.last.take();
            return false;
        }
        self.bytes = self.bytes.saturating_add(row.as_bytes().len());
        self.last = Some(eval::place_of(&self.query.order, view));
        self.page.rows.push(row);
        true
    }

    /// Reports a record that cannot be read.
    pub fn unreadable(&mut self, key: Key, message: String) {
        if self.query.after.is_none() {
            self.page.unreadable.push(crate::query::Unreadable { key, message });
        }
    }

    /// The page.
    #[must_use]
    pub fn finish(self) -> Page {
        self.page
    }
}

#[cfg(test)]
mod tests;
