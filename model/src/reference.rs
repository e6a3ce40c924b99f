//! The reference model: a backend too simple to be wrong, for tests to compare engines with.
//!
//! It shares with the engines only the evaluator and pure functions on a row or key. A batch works on a copy of everything; every lookup
//! is a scan.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::backend::{Applied, Backend, Changes, Token};
use crate::capability::{Capabilities, Capability};
use crate::catalog::Catalog;
use crate::collection::{Collection, CollectionId, Index};
use crate::context::Context;
use crate::error::{Error, Result};
use crate::mutation::{Mutation, Outcome};
use crate::query::{Page, Query};
use crate::row::{Row, RowView};
use crate::value::{Key, KeyRef, Kind};
use crate::{change, engine, eval, record};

type Records = BTreeMap<(u32, Key), Row>;

/// A store in memory, for tests.
#[derive(Debug, Default)]
pub struct Reference {
    catalog: Catalog,
    state: Mutex<(Records, u64)>,
    closed: AtomicBool,
}

impl Reference {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// To be called before anything is done.
    fn check(&self, cx: &Context<'_>) -> Result<()> {
        if self.closed.load(Ordering::SeqCst) {
            return Err(Error::unavailable("this store is closed"));
        }
        cx.check()
    }

    fn state(&self) -> MutexGuard<'_, (Records, u64)> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn all<'r>(records: &'r Records, collection: &'r Collection, id: CollectionId) -> Result<Vec<(&'r Key, RowView<'r>)>> {
        let of_this = records.iter().filter(|((c, _), _)| *c == id.0);
        of_this.map(|((_, key), row)| Ok((key, row.view(collection)?))).collect()
    }

    /// The keys that a query finds, in its order.
    fn select(&self, records: &Records, query: &Query) -> Result<Vec<Key>> {
        let collection = self.catalog.get(query.collection)?;
        eval::check_query(collection, query)?;
        let mut found = Self::all(records, collection, query.collection)?;
        found.retain(|(_, view)| eval::matches(view, &query.all));
        found.sort_by(|(_, a), (_, b)| eval::compare_rows(&query.order, a, b));
        if let Some(after) = &query.after {
            found.retain(|(_, view)| eval::is_after(&query.order, view, after));
        } else {
            found.drain(..usize::try_from(query.offset).unwrap_or(usize::MAX).min(found.len()));
        }
        Ok(found.into_iter().map(|(key, _)| key.clone()).collect())
    }

    fn store(&self, records: &mut Records, id: CollectionId, row: Row) -> Result<Row> {
        let collection = self.catalog.get(id)?;
        row.view(collection)?.validate()?;
        let row = record::as_stored(collection, &row)?.into_owned();
        let new = row.view(collection)?;
        let key = new.key().to_key();
        let old = records.get(&(id.0, key.clone()));
        for (at, field) in collection.fields.iter().enumerate() {
            let Index::Unique { except } = &field.index else { continue };
            let value = new.at(at);
            if value.is_nil() || except.iter().any(|e| eval::same(e.as_ref(), value)) {
                continue;
            }
            if old.is_some_and(|o| o.view(collection).is_ok_and(|o| eval::same(o.at(at), value))) {
                continue;
            }
            let all = Self::all(records, collection, id)?;
            if all.iter().any(|(other, view)| **other != key && eval::same(view.at(at), value)) {
                return Err(Error::conflict("taken").field(&field.name));
            }
        }
        records.insert((id.0, key), row.clone());
        Ok(row)
    }

    fn apply_one(&self, records: &mut Records, mutation: &Mutation) -> Result<Outcome> {
        let id = mutation.collection();
        let collection = self.catalog.get(id)?.as_ref();
        if let Mutation::Update { key, .. } | Mutation::Delete { key, .. } | Mutation::Expect { key, .. } = mutation {
            engine::check_key(collection, key.as_ref())?;
        }
        match mutation {
            Mutation::Insert { row, .. } => {
                let key = row.view(collection)?.key().to_key();
                if records.contains_key(&(id.0, key.clone())) {
                    return Err(Error::conflict("exists"));
                }
                self.store(records, id, row.clone())?;
                Ok(Outcome::Inserted(key))
            }
            Mutation::InsertNext { row, .. } => {
                if collection.key_kind() != Kind::Int {
                    return Err(Error::invalid("text keys are not assigned"));
                }
                let keys = records.keys().filter(|(c, _)| *c == id.0).map(|(_, key)| key);
                let greatest = keys.map(|k| if let Key::Int(k) = k { *k } else { 0 }).fold(0, i64::max);
                let next = greatest.checked_add(1).ok_or_else(|| Error::invalid("no key left"))?;
                let builder = RowView::keyless(collection, row.as_bytes())?.to_builder();
                self.store(records, id, builder.build_with_key(&Key::Int(next)))?;
                Ok(Outcome::Inserted(Key::Int(next)))
            }
            Mutation::Put { row, .. } => {
                let key = row.view(collection)?.key().to_key();
                let replaced = records.contains_key(&(id.0, key));
                self.store(records, id, row.clone())?;
                Ok(Outcome::Put { replaced })
            }
            Mutation::Update { key, changes, when, .. } => {
                let Some(old) = records.get(&(id.0, key.clone())) else { return Err(Error::not_found("no such record")) };
                let old = old.view(collection)?;
                eval::check_conditions(collection, when)?;
                if !eval::matches(&old, when) {
                    return Err(Error::conflict("condition"));
                }
                let new = change::apply(&old, changes)?;
                self.store(records, id, new).map(Outcome::Updated)
            }
            Mutation::Delete { key, when, .. } => {
                eval::check_conditions(collection, when)?;
                let Some(old) = records.get(&(id.0, key.clone())) else { return Ok(Outcome::Deleted(0)) };
                if !eval::matches(&old.view(collection)?, when) {
                    return Err(Error::conflict("condition"));
                }
                records.remove(&(id.0, key.clone()));
                Ok(Outcome::Deleted(1))
            }
            Mutation::DeleteWhere { query } => {
                let mut keys = self.select(records, &Query { after: None, ..query.clone() })?;
                keys.truncate(query.limit.map_or(usize::MAX, |l| usize::try_from(l).unwrap_or(usize::MAX)));
                for key in &keys {
                    records.remove(&(id.0, key.clone()));
                }
                Ok(Outcome::Deleted(keys.len() as u64))
            }
            Mutation::Expect { key, row, .. } => {
                let row = row.as_ref().map(|row| record::as_stored(collection, row)).transpose()?;
                let equal = match (records.get(&(id.0, key.clone())), &row) {
                    (None, None) => true,
                    (Some(a), Some(b)) => eval::same_rows(&a.view(collection)?, &b.view(collection)?),
                    _ => false,
                };
                if equal { Ok(Outcome::Expected) } else { Err(Error::conflict("not as expected")) }
            }
        }
    }
}

impl Backend for Reference {
    fn capabilities(&self) -> Capabilities {
        use Capability::{AtomicBatch, ChangeTracking, InlineReads, Unique};
        Capabilities::of(&[AtomicBatch, Unique, ChangeTracking, InlineReads])
    }

    fn prepare(&self, cx: &Context<'_>, collections: &[Collection]) -> Result<Vec<CollectionId>> {
        self.check(cx)?;
        self.catalog.register(collections)
    }

    fn get(&self, cx: &Context<'_>, collection: CollectionId, key: KeyRef<'_>) -> Result<Option<Row>> {
        self.check(cx)?;
        engine::check_key(self.catalog.get(collection)?, key)?;
        Ok(self.state().0.get(&(collection.0, key.to_key())).cloned())
    }

    fn find(&self, cx: &Context<'_>, query: &Query, max_bytes: usize) -> Result<Page> {
        self.check(cx)?;
        let state = self.state();
        let collection = self.catalog.get(query.collection)?;
        let keys = self.select(&state.0, query)?;
        let limit = query.limit.map_or(usize::MAX, |l| usize::try_from(l).unwrap_or(usize::MAX));
        let mut page = Page::default();
        let mut bytes = 0;
        for key in &keys {
            let row = &state.0[&(query.collection.0, key.clone())];
            bytes += row.as_bytes().len();
            if page.rows.len() >= limit || (!page.rows.is_empty() && bytes > max_bytes) {
                page.next = page.rows.last().map(|r| r.view(collection).map(|v| eval::place_of(&query.order, &v))).transpose()?;
                break;
            }
            page.rows.push(row.clone());
        }
        Ok(page)
    }

    fn apply(&self, cx: &Context<'_>, mutations: &[Mutation]) -> Result<Applied> {
        self.check(cx)?;
        let mut state = self.state();
        let mut copy = state.0.clone();
        let outcomes: Result<Vec<_>> =
            mutations.iter().enumerate().map(|(i, m)| self.apply_one(&mut copy, m).map_err(|e| e.mutation(i))).collect();
        let outcomes = outcomes?;
        *state = (copy, state.1 + 1);
        Ok(Applied { outcomes, token: Token { epoch: 1, sequence: state.1 } })
    }

    fn changes_since(&self, cx: &Context<'_>, _collection: CollectionId, token: Token) -> Result<(Token, Changes)> {
        self.check(cx)?;
        let now = Token { epoch: 1, sequence: self.state().1 };
        Ok((now, if token == now { Changes::Nothing } else { Changes::Everything }))
    }

    fn close(&self, _cx: &Context<'_>) -> Result<()> {
        self.closed.store(true, Ordering::SeqCst);
        Ok(())
    }
}
