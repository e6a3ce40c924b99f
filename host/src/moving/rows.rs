//! Records in the order of their keys.

use std::vec::IntoIter;

use hivemind_model::{Collection, Error, Key, Kind, Query, Row, Unreadable, record};
use hivemind_store::clients;

use super::store::Store;
use super::{Places, marker};
use crate::failure::Failure;

/// A record and its key.
pub type Item = (Key, Row);

/// Hands records out in ascending order of their keys, each in the form in which it is stored.
pub trait Rows {
    /// The next record; `None` behind the last.
    ///
    /// # Errors
    /// What kept it from being read.
    fn next(&mut self) -> Result<Option<Item>, Failure>;
}

/// The records of a store, page by page, without a marker.
pub struct StoreRows<'s> {
    store: &'s Store,
    at: usize,
    query: Option<Query>,
    page: IntoIter<Row>,
    last: Option<Key>,
    /// Records that cannot be read, as far as pages named them.
    pub unreadable: Vec<Unreadable>,
}

impl<'s> StoreRows<'s> {
    /// All records of the collection at this position.
    #[must_use]
    pub fn new(store: &'s Store, at: usize) -> Self {
        let query = Some(Query::all(store.collection(at).0));
        Self { store, at, query, page: Vec::new().into_iter(), last: None, unreadable: Vec::new() }
    }

    fn next_row(&mut self) -> Result<Option<Row>, Error> {
        loop {
            if let Some(row) = self.page.next() {
                return Ok(Some(row));
            }
            let Some(query) = self.query.take() else { return Ok(None) };
            let page = self.store.find(&query)?;
            self.unreadable.extend(page.unreadable);
            if page.rows.is_empty() && page.next.is_some() {
                return Err(Error::corrupt("the backend answered a page that leads no further; tell its vendor"));
            }
            self.page = page.rows.into_iter();
            self.query = page.next.map(|place| query.after(place).offset(0));
        }
    }
}

impl Rows for StoreRows<'_> {
    fn next(&mut self) -> Result<Option<Item>, Failure> {
        let (_, collection) = self.store.collection(self.at);
        while let Some(row) = self.next_row()? {
            let key = row.view(collection)?.key().to_key();
            if self.last.as_ref().is_some_and(|last| *last >= key) {
                let message = format!("the backend answered {} {key} twice or out of order; tell its vendor", collection.name);
                return Err(Error::corrupt(message).into());
            }
            self.last = Some(key.clone());
            if marker::is_marker(collection, &row) {
                continue;
            }
            let row = record::as_stored(collection, &row)?.into_owned();
            return Ok(Some((key, row)));
        }
        Ok(None)
    }
}

/// What a target is to hold: the records of a source without those that stay behind, and revoked clients in the gaps of the ids. The
/// Python node gives a new client the number of rows + 1, and overwrites whatever has that id.
pub struct Carried<'a> {
    rows: Box<dyn Rows + 'a>,
    at: usize,
    left: &'a Places,
    collection: &'a Collection,
    ahead: Option<Item>,
    /// The lowest id that was not handed out yet; `None` where ids may have gaps.
    next_id: Option<i64>,
    /// The greatest id of what stays behind.
    last_left: i64,
}

impl<'a> Carried<'a> {
    /// What is carried of these records of the collection at a position.
    #[must_use]
    pub fn new(rows: Box<dyn Rows + 'a>, at: usize, left: &'a Places, collection: &'a Collection) -> Self {
        let last_left = left.iter().filter(|(of, _)| *of == at).filter_map(|(_, key)| id(key)).max().unwrap_or(0);
        Self { rows, at, left, collection, ahead: None, next_id: has_dense_ids(collection).then_some(1), last_left }
    }
}

/// A record that the target is to hold.
pub struct Wanted {
    /// Its key.
    pub key: Key,
    /// The record.
    pub row: Row,
    /// Whether it only fills a gap.
    pub fills: bool,
}

impl Carried<'_> {
    /// The next record; `None` behind the last.
    ///
    /// # Errors
    /// What kept it from being read.
    pub fn advance(&mut self) -> Result<Option<Wanted>, Failure> {
        while self.ahead.is_none() {
            match self.rows.next()? {
                Some((key, _)) if self.left.contains(&(self.at, key.clone())) => {}
                Some(item) => self.ahead = Some(item),
                None => break,
            }
        }
        let ahead = self.ahead.as_ref().and_then(|(key, _)| id(key));
        // Behind the last record only those ids are filled that had one which stays behind.
        let reach = if self.ahead.is_some() { ahead } else { self.last_left.checked_add(1) };
        if let (Some(next), Some(reach)) = (self.next_id, reach)
            && next < reach
        {
            self.next_id = Some(next + 1);
            return Ok(Some(Wanted { key: Key::Int(next), row: revoked(self.collection, next)?, fills: true }));
        }
        if let (Some(next), Some(ahead)) = (self.next_id, ahead) {
            self.next_id = Some(next.max(ahead.saturating_add(1)));
        }
        Ok(self.ahead.take().map(|(key, row)| Wanted { key, row, fills: false }))
    }
}

/// Whether a collection's ids must have no gaps.
#[must_use]
pub fn has_dense_ids(collection: &Collection) -> bool {
    collection.name == clients::NAME && collection.key_kind() == Kind::Int
}

pub(super) const fn id(key: &Key) -> Option<i64> {
    match key {
        Key::Int(id) => Some(*id),
        Key::Text(_) => None,
    }
}

/// A revoked client without any data.
///
/// # Errors
/// `invalid` if the collection is not that of clients.
pub fn revoked(collection: &Collection, id: i64) -> Result<Row, Error> {
    Ok(Row::builder(collection).set(collection.key_name(), id)?.set("api_key", clients::REVOKED)?.build())
}
