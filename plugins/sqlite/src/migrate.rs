//! Bringing stored collections to their present form, in one transaction with their version markers.
//!
//! A program that is killed anywhere in it leaves the old form; one that comes later finds the new one and does nothing.

use hivemind_abi::Host;
use hivemind_abi::model::{Collection, Context, Error, Result};
use rusqlite::{Connection, params_from_iter};

use crate::decode::{Decoded, decode};
use crate::file::Stored;
use crate::schema;
use crate::statements::{Bound, Table};

/// Rows read at a time: enough to be quick, few enough to be small.
const BATCH: usize = 512;

/// What a migration needs besides the connection.
pub(crate) struct Migration<'m> {
    pub(crate) place: &'m str,
    pub(crate) host: &'m Host,
    pub(crate) failed: &'m dyn Fn(&rusqlite::Error) -> Error,
}

/// Refuses collections that are stored in a newer version, and a file in which something else has their name.
pub(crate) fn check_versions(stored: &Stored, collections: &[Collection], place: &str) -> Result<()> {
    collections.iter().try_for_each(|c| {
        let version = schema::stored_version(c, stored.user_version, &stored.versions);
        schema::check_version(c, version, place)?;
        schema::check_object(c, &stored.objects, place)
    })
}

/// Whether there is nothing to do for these collections.
pub(crate) fn is_done(connection: &Connection, stored: &Stored, collections: &[Collection]) -> rusqlite::Result<bool> {
    for collection in collections {
        let version = schema::stored_version(collection, stored.user_version, &stored.versions);
        if version != Some(collection.version.into()) || !schema::is_complete(connection, collection)? {
            return Ok(false);
        }
    }
    Ok(true)
}

impl Migration<'_> {
    /// Creates and migrates. To be called in a transaction that the caller commits.
    pub(crate) fn run(&self, cx: &Context<'_>, connection: &Connection, collections: &[Collection]) -> Result<()> {
        let failed = |e: rusqlite::Error| (self.failed)(&e);
        // Again, because somebody may have upgraded the file since it was looked at.
        let stored = Stored::read(connection).map_err(failed)?;
        check_versions(&stored, collections, self.place)?;
        for collection in collections {
            let is_new = schema::columns(connection, &collection.name).map_err(failed)?.is_empty();
            schema::complete(connection, collection).map_err(failed)?;
            let version = schema::stored_version(collection, stored.user_version, &stored.versions);
            if version == Some(collection.version.into()) {
                continue;
            }
            if !is_new {
                self.rewrite(cx, connection, collection)?;
                let (from, to) = (version.unwrap_or(0), collection.version);
                self.host.info(&format!("{}: migrated {} from schema version {from} to {to}", self.place, collection.name));
            }
            schema::set_version(connection, collection).map_err(failed)?;
        }
        Ok(())
    }

    /// Stores every record in its folded form.
    fn rewrite(&self, cx: &Context<'_>, connection: &Connection, collection: &Collection) -> Result<()> {
        let failed = |e: rusqlite::Error| (self.failed)(&e);
        let columns = schema::columns(connection, &collection.name).map_err(failed)?;
        let table = Table::new(collection.clone().into(), &columns);
        let mut read = connection.prepare(&table.batch).map_err(failed)?;
        let mut write = connection.prepare(&table.write).map_err(failed)?;
        let (number, stale) = (collection.fields.len() + table.folded.len(), collection.fields.len() + table.folded.len() + 1);
        let mut next = i64::MIN;
        loop {
            cx.check()?;
            let mut changed = Vec::new();
            let mut count = 0;
            let mut last = next;
            // Rows are written after they were read, because a scan must not meet its own changes.
            let mut rows = read.query((next, BATCH as i64)).map_err(failed)?;
            while let Some(row) = rows.next().map_err(failed)? {
                count += 1;
                last = row.get(number).map_err(failed)?;
                let is_stale: bool = row.get(stale).map_err(failed)?;
                match decode(&table, row) {
                    Decoded::AsStored(row) if is_stale => changed.push(row),
                    Decoded::AsStored(_) => {}
                    Decoded::Folded(row) => changed.push(row),
                    Decoded::Unreadable(record) => self.host.warn(&format!(
                        "{}: {} {} cannot be read and was not migrated: {}",
                        self.place, collection.name, record.key, record.message
                    )),
                }
            }
            drop(rows);
            for row in &changed {
                let view = row.view(collection)?;
                write.execute(params_from_iter(view.iter().map(|(_, value)| Bound(value)))).map_err(failed)?;
            }
            match last.checked_add(1) {
                Some(behind) if count == BATCH => next = behind,
                _ => return Ok(()),
            }
        }
    }
}
