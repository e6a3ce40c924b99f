//! Making a store ready: created, migrated, opened, and its collections known.

use std::sync::{Arc, Mutex};

use hivemind_abi::model::{Collection, CollectionId, Context, Result};

use super::{Prepared, Sqlite};
use crate::connection::Watched;
use crate::file::Stored;
use crate::history::History;
use crate::migrate::{self, Migration};
use crate::opened::Opened;
use crate::pool::Pool;
use crate::schema;
use crate::statements::Table;
use crate::store::Store;
use crate::transaction::Writing;

impl Sqlite {
    /// See [`hivemind_abi::Backend::prepare`].
    pub(super) fn bring_up_and_register(&self, cx: &Context<'_>, collections: &[Collection]) -> Result<Vec<CollectionId>> {
        let _guard = self.preparing();
        self.enter(cx)?;
        if let Some(store) = self.store.get() {
            store.opened.look()?;
        }
        let known: Vec<&Collection> = self.catalog.iter().map(|(_, c)| c.as_ref()).chain(collections).collect();
        for collection in collections {
            collection.validate()?;
            schema::check(collection, &known)?;
        }
        if collections.iter().all(|c| self.tables().iter().any(|table| *table.collection == *c)) {
            return self.catalog.register(collections);
        }
        let store = match self.store.get() {
            Some(store) => store,
            None => {
                if let Some(file) = self.opener.file() {
                    file.create()?;
                    migrate::check_versions(&file.look(self.opener.cipher())?, collections, file.place())?;
                }
                let store = self.open_store(cx)?;
                self.store.get_or_init(|| store)
            }
        };
        let connection = self.writer(cx, store)?;
        self.bring_up(cx, store, &connection, collections)?;
        let ids = self.catalog.register(collections)?;
        let slot = |id: CollectionId| self.tables.get(id.0 as usize);
        let is_new = |id: &CollectionId| slot(*id).is_some_and(|slot| slot.get().is_none());
        for id in ids.iter().copied().filter(is_new) {
            let collection = Arc::clone(self.catalog.get(id)?);
            let columns = schema::columns(&connection, &collection.name).map_err(|e| self.opener.failed(&e))?;
            let table = Table::new(collection, &columns);
            if let Some(slot) = slot(id) {
                let _ = slot.set(Prepared { table, unreadable: Mutex::new(None) });
            }
        }
        Ok(ids)
    }

    /// Opens the connections. What they do to the file is harmless for its data: it gets a write-ahead log.
    fn open_store(&self, cx: &Context<'_>) -> Result<Store> {
        let opened = Opened::new(self.opener.file());
        let writer = self.opener.writer(self.opener.patience(cx))?;
        let history = History::new(self.opener.reader()?)?;
        let readers = self.opener.file().map(|_| Pool::new(self.readers, None)).transpose()?;
        Ok(Store { readers, history, writer: Pool::new(1, Some(writer))?, opened })
    }

    /// Creates or migrates these collections, unless that was done.
    fn bring_up(&self, cx: &Context<'_>, store: &Store, connection: &Watched, collections: &[Collection]) -> Result<()> {
        let failed = |e: rusqlite::Error| self.opener.failed(&e);
        let stored = Stored::read(connection).map_err(failed)?;
        migrate::check_versions(&stored, collections, self.opener.place())?;
        if migrate::is_done(connection, &stored, collections).map_err(failed)? {
            return Ok(());
        }
        let writing = Writing::begin(cx, connection, &self.opener, &store.opened, &store.history)?;
        let migration = Migration { place: self.opener.place(), host: &self.host, failed: &|e| self.opener.failed(e) };
        migration.run(cx, connection, collections)?;
        writing.commit(None).map(drop)
    }
}
