//! Several tables changed together, with a way back.

use std::sync::Arc;

use super::record::carried;
use super::{Record, Table};
use crate::catalog::Catalog;
use crate::collection::{Collection, CollectionId};
use crate::context::Context;
use crate::engine::{self, Transaction};
use crate::error::{Error, Result};
use crate::mutation::{Mutation, Outcome};
use crate::query::Query;
use crate::row::Row;
use crate::value::{Key, ValueRef};

/// The tables of a store, by collection id.
#[derive(Debug, Default)]
pub struct Tables {
    tables: Vec<Table>,
}

/// How to take a batch back: what stood under each key it touched, oldest first.
#[derive(Debug, Default)]
pub struct Undo {
    steps: Vec<(CollectionId, Key, Option<Record>)>,
}

impl Undo {
    /// The records that the batch wrote or removed; a key may appear more than once.
    pub fn touched(&self) -> impl Iterator<Item = (CollectionId, &Key)> {
        self.steps.iter().map(|(collection, key, _)| (*collection, key))
    }

    /// Whether the batch changed nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }
}

impl Tables {
    /// Adds an empty table for each collection of the catalog that has none yet.
    pub fn extend(&mut self, catalog: &Catalog) {
        let missing: Vec<Arc<Collection>> = catalog.iter().skip(self.tables.len()).map(|(_, c)| Arc::clone(c)).collect();
        self.tables.extend(missing.into_iter().map(Table::new));
    }

    /// The same records under the descriptions of this catalog, which has the same collections in the same order and maybe more.
    /// A record is carried over by the names of its fields, and folded; one that does not fit becomes unreadable
    /// and keeps what of it does.
    #[must_use]
    pub fn redefined(&self, catalog: &Catalog) -> Self {
        let tables = catalog.iter().map(|(id, new)| {
            let mut table = Table::new(Arc::clone(new));
            if let Some(old) = self.tables.get(id.0 as usize) {
                for (key, stored) in old.records() {
                    table.replace(key, Some(stored.under(old.collection(), new)));
                }
                table.set_strays(old.strays.iter().map(|v| carried(v, old.collection(), new)).collect());
            }
            table
        });
        Self { tables: tables.collect() }
    }

    /// The table of a collection.
    ///
    /// # Errors
    /// `invalid` if there is none.
    pub fn get(&self, id: CollectionId) -> Result<&Table> {
        self.tables.get(id.0 as usize).ok_or_else(|| unprepared(id))
    }

    /// The table of a collection, to change.
    ///
    /// # Errors
    /// `invalid` if there is none.
    pub fn get_mut(&mut self, id: CollectionId) -> Result<&mut Table> {
        self.tables.get_mut(id.0 as usize).ok_or_else(|| unprepared(id))
    }

    /// All tables with their ids.
    pub fn iter(&self) -> impl Iterator<Item = (CollectionId, &Table)> {
        (0..).map(CollectionId).zip(&self.tables)
    }

    /// Carries a batch out, or leaves everything as it was.
    ///
    /// # Errors
    /// See [`engine::apply`].
    pub fn apply(&mut self, catalog: &Catalog, cx: &Context<'_>, mutations: &[Mutation]) -> Result<(Vec<Outcome>, Undo)> {
        let mut batch = Batch { tables: self, undo: Undo::default(), cx };
        match engine::apply(&mut batch, catalog, cx, mutations) {
            Ok(outcomes) => Ok((outcomes, batch.undo)),
            Err(error) => {
                let undo = batch.undo;
                self.undo(undo);
                Err(error)
            }
        }
    }

    /// Takes a batch back. Only right while nothing else was applied since.
    pub fn undo(&mut self, undo: Undo) {
        for (id, key, old) in undo.steps.into_iter().rev() {
            if let Ok(table) = self.get_mut(id) {
                table.replace(&key, old);
            }
        }
    }
}

fn unprepared(id: CollectionId) -> Error {
    Error::invalid(format!("no collection was prepared under the id {}", id.0))
}

struct Batch<'t> {
    tables: &'t mut Tables,
    undo: Undo,
    cx: &'t Context<'t>,
}

impl Batch<'_> {
    fn replace(&mut self, id: CollectionId, key: &Key, record: Option<Record>) -> Result<()> {
        let old = self.tables.get_mut(id)?.replace(key, record);
        self.undo.steps.push((id, key.clone(), old));
        Ok(())
    }
}

impl Transaction for Batch<'_> {
    fn read(&mut self, id: CollectionId, key: &Key) -> Result<Option<Row>> {
        Ok(self.tables.get(id)?.get(key)?.cloned())
    }

    fn write(&mut self, id: CollectionId, key: &Key, row: &Row, _old: Option<&Row>) -> Result<()> {
        self.replace(id, key, Some(Record::Row(row.clone())))
    }

    fn remove(&mut self, id: CollectionId, key: &Key, _old: &Row) -> Result<()> {
        self.replace(id, key, None)
    }

    fn greatest_key(&mut self, id: CollectionId) -> Result<i64> {
        Ok(self.tables.get(id)?.greatest_key())
    }

    fn holder(&mut self, id: CollectionId, field: usize, value: ValueRef<'_>, except: &Key) -> Result<Option<Key>> {
        self.tables.get(id)?.holder(field, value, except)
    }

    fn matching(&mut self, query: &Query) -> Result<Vec<Key>> {
        let table = self.tables.get(query.collection)?;
        let page = table.find(self.cx, query, usize::MAX)?;
        page.rows.iter().map(|row| Ok(row.view(table.collection())?.key().to_key())).collect()
    }
}
