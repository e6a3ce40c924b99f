//! The trait, over one writing connection, a pool of reading ones, and a history of changes.

use std::fmt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use hivemind_abi::Host;
use hivemind_abi::model::{
    Applied, Backend, Capabilities, Capability, Catalog, Changes, Collection, CollectionId, Condition, Context, Error, Key,
    KeyRef, Lookup, Mutation, Op, Page, Query, Report, Resource, Result, Row, Task, Token, Unreadable, Value, ValueRef, eval,
};
use rusqlite::Connection;

use crate::backup;
use crate::config::{Config, Location, Password};
use crate::connection::{Opener, check_version};
use crate::file::DatabaseFile;
use crate::group::Group;
use crate::key::Cipher;
use crate::pool::{Lease, Use, closed};
use crate::restore::Restore;
use crate::statements::Table;
use crate::store::Store;
use crate::transaction::{self, Writing};
use crate::{find, maintain, rekey, schema};

/// As many as a catalog registers.
const TABLES: usize = 128;

/// A handle on one database.
pub struct Sqlite {
    host: Host,
    opener: Opener,
    readers: usize,
    resources: Vec<Resource>,
    catalog: Catalog,
    tables: Box<[OnceLock<Prepared>]>,
    store: OnceLock<Store>,
    preparing: Mutex<()>,
    group: Group,
    closed: AtomicBool,
}

struct Prepared {
    table: Table,
    /// The records that cannot be read, and the change of unknown content up to which that is known. Our own writes make none.
    unreadable: Mutex<Option<(u64, Arc<Vec<Unreadable>>)>>,
}

/// Opens a handle. Only the folder is created: the host must know which file this is and that no other handle has it before the
/// file is touched.
///
/// # Errors
/// `invalid` or `unsupported` for settings, `denied` or `io` if the folder cannot be used.
pub fn open(config: &str, host: Host) -> Result<Sqlite> {
    // Before SQLCipher does it in its own way: its OpenSSL would then be torn down when the process exits, under threads that still use it.
    openssl::init();
    check_version(rusqlite::version_number())?;
    let config = Config::parse(config)?;
    let file = match config.location(host.data_dir())? {
        Location::Memory => None,
        Location::File(path) => Some(DatabaseFile::new(path)),
    };
    if let Some(file) = &file {
        file.create_folder()?;
    }
    Ok(Sqlite {
        host,
        resources: file.iter().map(DatabaseFile::resource).collect(),
        opener: Opener::new(file, Cipher::new(config.password.clone()), config.synchronous, config.busy_timeout()),
        readers: config.readers,
        catalog: Catalog::new(),
        tables: (0..TABLES).map(|_| OnceLock::new()).collect(),
        store: OnceLock::new(),
        preparing: Mutex::new(()),
        group: Group::default(),
        closed: AtomicBool::new(false),
    })
}

impl Sqlite {
    fn preparing(&self) -> MutexGuard<'_, ()> {
        self.preparing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Every call begins here. Gives the time it has left, so that a short one asks the clock no second time.
    fn enter(&self, cx: &Context<'_>) -> Result<Option<Duration>> {
        if self.closed.load(Ordering::Acquire) {
            return Err(closed());
        }
        let left = cx.passed_on();
        if left == Some(Duration::ZERO) || cx.cancel_flag().is_some_and(|flag| flag.load(Ordering::Relaxed)) {
            cx.check()?;
        }
        Ok(left)
    }

    fn store(&self) -> Result<&Store> {
        self.store.get().ok_or_else(|| Error::invalid("no collection was prepared in this store"))
    }

    fn prepared(&self, id: CollectionId) -> Result<&Prepared> {
        let collection = self.catalog.get(id)?;
        self.tables
            .get(id.0 as usize)
            .and_then(OnceLock::get)
            .ok_or_else(|| Error::invalid(format!("collection {} is not prepared: the attempt failed", collection.name)))
    }

    fn table(&self, id: CollectionId) -> Result<&Table> {
        self.prepared(id).map(|p| &p.table)
    }

    fn tables(&self) -> Vec<&Table> {
        self.tables.iter().filter_map(OnceLock::get).map(|p| &p.table).collect()
    }

    fn writer<'s>(&'s self, cx: &Context<'_>, store: &'s Store) -> Result<Lease<'s>> {
        self.writer_within(cx, store, self.opener.patience(cx))
    }

    fn writer_within<'s>(&'s self, cx: &Context<'_>, store: &'s Store, patience: Duration) -> Result<Lease<'s>> {
        let lease =
            store.writer.take(cx, patience, Use::Brief, || self.opener.writer(patience))?.discard_after(self.opener.damage());
        lease.busy_timeout(patience).map_err(|e| self.opener.failed(&e))?;
        lease.end_with(Some(cx));
        Ok(lease)
    }

    /// A connection to read with, for a call that has so much time left.
    fn reader<'s>(&'s self, cx: &Context<'_>, left: Option<Duration>, store: &'s Store, why: Use) -> Result<Lease<'s>> {
        store.opened.look_now_and_then()?;
        let Some(readers) = &store.readers else { return self.writer(cx, store) };
        let patience = self.opener.patience_within(left);
        let lease =
            readers.take(cx, patience, why, || self.opener.reader()?.ok_or_else(closed))?.discard_after(self.opener.damage());
        let left = if lease.came_at_once() { left } else { cx.remaining() };
        lease.wait_for(self.opener.patience_within(left)).map_err(|e| self.opener.failed(&e))?;
        lease.end_within(left);
        Ok(lease)
    }

    /// The records of a collection that cannot be read. They are looked for again only after somebody else has written.
    fn unreadable(
        &self,
        cx: &Context<'_>,
        store: &Store,
        connection: &Connection,
        prepared: &Prepared,
    ) -> Result<Arc<Vec<Unreadable>>> {
        if store.readers.is_none() {
            return Ok(Arc::default());
        }
        let known = || prepared.unreadable.lock().unwrap_or_else(PoisonError::into_inner);
        // Asked before the scan: a foreign write during it makes the next call scan again.
        let now = store.history.unknown_changes();
        if let Some((at, records)) = known().as_ref()
            && now == Some(*at)
        {
            return Ok(Arc::clone(records));
        }
        let records = Arc::new(find::unreadable(cx, connection, &self.opener, &prepared.table)?);
        if let Some(now) = now {
            *known() = Some((now, Arc::clone(&records)));
        }
        Ok(records)
    }

    /// Makes indexes anew, empties the log and removes copies that were cut.
    fn repair(&self, cx: &Context<'_>, store: &Store) -> Result<Report> {
        let created = self.sync(cx)?.get("indexes_created").cloned().unwrap_or(Value::Nil);
        let connection = self.writer(cx, store)?;
        let failed = |e: rusqlite::Error| self.opener.failed(&e);
        {
            let writing = Writing::begin(cx, &connection, &self.opener, &store.opened, &store.history)?;
            connection.execute_batch("REINDEX").map_err(failed)?;
            writing.commit(Some(Vec::new()))?;
        }
        let emptied = self.outside_batch(store, &connection, || maintain::checkpoint(&connection, &self.opener))?;
        drop(connection);
        let removed = self.opener.file().map_or(0, |file| backup::remove_leftovers(file.path()));
        Ok(Report::new()
            .with("indexes_created", created)
            .with("indexes_rebuilt", true)
            .with("log_emptied", emptied.get("complete").cloned().unwrap_or(Value::Nil))
            .with("leftovers_removed", i64::try_from(removed).unwrap_or(i64::MAX)))
    }

    /// Runs what commits outside of a batch and changes no record, and settles what the commit was.
    fn outside_batch<T>(&self, store: &Store, connection: &Connection, work: impl FnOnce() -> Result<T>) -> Result<T> {
        store.opened.check(connection)?;
        let _settled_at_the_end = store.history.outside(connection);
        work()
    }
}

impl Backend for Sqlite {
    fn capabilities(&self) -> Capabilities {
        use Capability::{AtomicBatch, ChangeTracking, Durable, Encryption, InlineReads, MultiProcess, OnlineBackup, Unique};
        let all = [Durable, AtomicBatch, Unique, MultiProcess, Encryption, OnlineBackup, ChangeTracking, InlineReads];
        let encrypted = Capabilities::of(&all);
        match self.opener.file() {
            Some(_) if self.opener.cipher().is_on() => encrypted,
            Some(_) => encrypted.without(Encryption),
            None => Capabilities::of(&[AtomicBatch, Unique, ChangeTracking, InlineReads]),
        }
    }

    fn prepare(&self, cx: &Context<'_>, collections: &[Collection]) -> Result<Vec<CollectionId>> {
        self.bring_up_and_register(cx, collections)
    }

    fn get(&self, cx: &Context<'_>, collection: CollectionId, key: KeyRef<'_>) -> Result<Option<Row>> {
        let left = self.enter(cx)?;
        let table = self.table(collection)?;
        let connection = self.reader(cx, left, self.store()?, Use::Brief)?;
        transaction::get(&connection, table, key.as_value(), &self.opener)
    }

    fn get_by(&self, cx: &Context<'_>, collection: CollectionId, field: usize, value: ValueRef<'_>) -> Result<Option<Row>> {
        let left = self.enter(cx)?;
        let table = self.table(collection)?;
        let kind = table.collection.at(field)?.kind;
        match table.by_field.get(field) {
            Some(sql) if find::is_exact(kind, value) => {
                let connection = self.reader(cx, left, self.store()?, Use::Brief)?;
                transaction::one(&connection, table, sql, value, &self.opener)
            }
            _ => {
                let query = Query::all(collection).filter(Condition::new(field, Op::Eq, value.to_value())).limit(1);
                self.find(cx, &query, usize::MAX)?.into_first()
            }
        }
    }

    fn get_many(&self, cx: &Context<'_>, collection: CollectionId, keys: &[Key]) -> Result<Vec<Lookup>> {
        let left = self.enter(cx)?;
        let table = self.table(collection)?;
        let connection = self.reader(cx, left, self.store()?, Use::Brief)?;
        let get = |key: &Key| {
            cx.check()?;
            Ok(transaction::get(&connection, table, key.as_ref().as_value(), &self.opener))
        };
        keys.iter().map(get).collect()
    }

    fn find(&self, cx: &Context<'_>, query: &Query, max_bytes: usize) -> Result<Page> {
        let left = self.enter(cx)?;
        let prepared = self.prepared(query.collection)?;
        eval::check_query(&prepared.table.collection, query)?;
        let store = self.store()?;
        let connection = self.reader(cx, left, store, Use::Long)?;
        let unreadable = match query.after {
            None => self.unreadable(cx, store, &connection, prepared)?,
            Some(_) => Arc::default(),
        };
        find::page(cx, &connection, &self.opener, &prepared.table, query, max_bytes, &unreadable)
    }

    fn count(&self, cx: &Context<'_>, query: &Query) -> Result<u64> {
        let left = self.enter(cx)?;
        let prepared = self.prepared(query.collection)?;
        let query = &Query { order: Vec::new(), after: None, ..query.clone() };
        eval::check_query(&prepared.table.collection, query)?;
        let store = self.store()?;
        let connection = self.reader(cx, left, store, Use::Long)?;
        let all_readable = self.unreadable(cx, store, &connection, prepared)?.is_empty();
        find::count(cx, &connection, &self.opener, &prepared.table, query, all_readable)
    }

    fn apply(&self, cx: &Context<'_>, mutations: &[Mutation]) -> Result<Applied> {
        self.enter(cx)?;
        for (at, mutation) in mutations.iter().enumerate() {
            self.prepared(mutation.collection()).map_err(|e| e.mutation(at))?;
        }
        if mutations.is_empty() {
            let token = self.store.get().map_or_else(Token::default, |store| store.history.token());
            return Ok(Applied { outcomes: Vec::new(), token });
        }
        self.join(cx, self.store()?, mutations)
    }

    fn changes_since(&self, cx: &Context<'_>, collection: CollectionId, token: Token) -> Result<(Token, Changes)> {
        self.enter(cx)?;
        self.prepared(collection)?;
        let store = self.store()?;
        store.opened.look_now_and_then()?;
        Ok(store.history.since(collection, token))
    }

    fn sync(&self, cx: &Context<'_>) -> Result<Report> {
        self.enter(cx)?;
        let store = self.store()?;
        store.opened.look()?;
        let failed = |e: rusqlite::Error| self.opener.failed(&e);
        let connection = self.writer(cx, store)?;
        let mut created = 0;
        for table in self.tables() {
            if !schema::is_complete(&connection, &table.collection).map_err(failed)? {
                let writing = Writing::begin(cx, &connection, &self.opener, &store.opened, &store.history)?;
                created += schema::create_indexes(&connection, &table.collection).map_err(failed)?;
                writing.commit(Some(Vec::new()))?;
            }
        }
        Ok(Report::new().with("indexes_created", i64::try_from(created).unwrap_or(i64::MAX)))
    }

    fn maintain(&self, cx: &Context<'_>, task: &Task) -> Result<Report> {
        let left = self.enter(cx)?;
        if let Task::VerifyBackup { from, collections } = task {
            return backup::verify(cx, from.as_ref(), &self.opener, collections);
        }
        if self.opener.file().is_none() && !matches!(task, Task::Verify | Task::Vacuum | Task::Checkpoint) {
            return Err(Error::unsupported(format!("a database in memory does not offer {task:?}")));
        }
        if let Task::Rekey { password } = task {
            let password = password.as_deref().map(Password::new).transpose()?;
            // Each connection of ours would keep the file open.
            self.close(cx)?;
            return rekey::rekey(cx, &self.opener, password);
        }
        let store = self.store()?;
        match task {
            Task::Backup { to } => {
                let connection = self.reader(cx, left, store, Use::Long)?;
                backup::backup(cx, &connection, &self.opener, to.as_ref())
            }
            Task::Restore { from, keep } => {
                let collections: Vec<Collection> = self.catalog.iter().map(|(_, c)| c.as_ref().clone()).collect();
                let (opener, opened, host) = (&self.opener, &store.opened, &self.host);
                Restore { opener, opened, host, collections: &collections }.run(cx, from.as_ref(), keep.as_ref().map(Path::new))
            }
            Task::Verify => {
                let connection = self.reader(cx, left, store, Use::Long)?;
                maintain::verify(cx, &connection, &self.opener, &self.tables())
            }
            Task::Vacuum => {
                let connection = self.writer(cx, store)?;
                self.outside_batch(store, &connection, || maintain::vacuum(&connection, &self.opener))
            }
            Task::Repair => self.repair(cx, store),
            Task::Checkpoint => {
                let connection = self.writer(cx, store)?;
                self.outside_batch(store, &connection, || maintain::checkpoint(&connection, &self.opener))
            }
            other => Err(Error::unsupported(format!("{} does not offer {other:?}", crate::MODULE))),
        }
    }

    fn stats(&self, cx: &Context<'_>) -> Result<Report> {
        let left = self.enter(cx)?;
        let Some(store) = self.store.get() else { return Ok(maintain::described(&self.opener)) };
        let connection = self.reader(cx, left, store, Use::Long)?;
        let report = maintain::facts(&connection, &self.opener)?;
        drop(connection);
        let count = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
        let Some(readers) = &store.readers else { return Ok(report) };
        Ok(report
            .with("readers", count(self.readers))
            .with("readers_open", count(readers.open_count()))
            .with("other_writer_seen", store.history.others_seen()))
    }

    fn resources(&self) -> Vec<Resource> {
        self.resources.clone()
    }

    fn close(&self, cx: &Context<'_>) -> Result<()> {
        let _guard = self.preparing();
        if self.closed.swap(true, Ordering::AcqRel) {
            return Err(closed());
        }
        let Some(store) = self.store.get() else { return Ok(()) };
        // A running write is waited for; whoever writes when that takes too long lets its connection go itself.
        let writer = self.writer(cx, store);
        // Nobody is to take it between here and the end.
        store.writer.shut();
        let read = store.readers.as_ref().is_none_or(|readers| readers.close(self.opener.patience(cx)));
        store.history.close();
        // The writer goes last: as the last connection of all programs it clears the log away, which a reading one cannot. It never
        // waits for that. And it goes before the file counts as let go.
        if let Ok(writer) = writer {
            writer.end_with(None);
            let _ = store.opened.check(&writer);
        }
        if !(store.writer.close(Duration::ZERO) && read) {
            // The file still counts as open, until this handle is dropped.
            let place = self.opener.place();
            let message = format!("{place}: a call is still running; it lets the file go when it ends");
            return Err(Error::busy(message).place(place));
        }
        store.opened.leave();
        Ok(())
    }
}

impl fmt::Debug for Sqlite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sqlite").field("opener", &self.opener).finish_non_exhaustive()
    }
}

mod apply;
mod prepare;
#[cfg(test)]
mod tests;
