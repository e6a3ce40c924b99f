//! The way back from a backup into a file in use.
//!
//! The decision: **what is restored was prepared elsewhere**: the backup is copied beside the file, checked, and brought to the
//! present schema there, so that the live file goes from its old content to the new one in a single step, which other programs see
//! as a commit like any other and a crash takes back.

use std::fs::File;
use std::path::Path;
use std::time::Instant;

use hivemind_abi::Host;
use hivemind_abi::model::{Collection, Context, Error, Report, Result};
use rusqlite::Connection;
use rusqlite::backup::{Backup, StepResult};

use crate::backup::{
    PAUSE, backup, beside, check_free, check_seal, check_space, examine, folder_of, open_private, run, without_log,
};
use crate::connection::Opener;
use crate::error;
use crate::file::{DatabaseFile, Stored, identity};
use crate::maintain;
use crate::migrate::{self, Migration};
use crate::opened::Opened;
use crate::schema;
use crate::seal;
use crate::statements::quoted;

/// What a restore works on.
pub(crate) struct Restore<'r> {
    pub(crate) opener: &'r Opener,
    pub(crate) opened: &'r Opened,
    pub(crate) host: &'r Host,
    /// What the live file's handle knows: the copy is brought to its present form.
    pub(crate) collections: &'r [Collection],
}

impl Restore<'_> {
    /// Puts a backup's content into the live file, keeping the previous one in `keep`.
    ///
    /// # Errors
    /// `corrupt`, `too new` and `denied` for a backup that is not sound, ours, or of this password; `busy` and `deadline` if the write
    /// lock cannot be had. Nothing was changed then.
    pub(crate) fn run(&self, cx: &Context<'_>, from: &Path, keep: Option<&Path>) -> Result<Report> {
        let live = self.opener.file().ok_or_else(|| Error::unsupported("a database in memory is not restored"))?;
        keep.map_or(Ok(()), check_free)?;
        // Not opened yet: closing it outside of SQLite would drop the locks of every connection.
        if identity(from) == identity(live.path()) {
            let message = format!("{} is the store itself; name a backup of it", from.display());
            return Err(Error::invalid(message).place(from.display().to_string()));
        }
        examine(from)?;
        check_space(folder_of(live.path()), i64::try_from(std::fs::metadata(from).map_or(0, |m| m.len())).unwrap_or(i64::MAX))?;
        let copy = beside(live.path())?;
        let (source, records) = self.prepare(cx, from, &copy)?;
        let mut target = self.opener.writer(self.opener.patience(cx))?;
        self.align(&source, &target)?;
        self.opened.check(&target)?;
        let pages = Backup::new(&source, &mut target).map_err(|e| self.opener.failed(&e))?;
        self.take_lock(cx, &pages)?;
        // Nobody commits from here on, so this is exactly what is replaced.
        if let Some(keep) = keep {
            let reader = self.opener.reader()?.ok_or_else(|| Error::unsupported("a database in memory is not restored"))?;
            backup(cx, &reader, self.opener, keep)
                .map_err(|e| e.context("the present state could not be kept, and nothing was changed"))?;
        }
        self.opened.look()?;
        run(cx, &pages, self.opener).map_err(|e| e.context("nothing was changed"))?;
        drop(pages);
        self.opened.look()?;
        // Best effort: a reader of another program may hold it back.
        let _ = target.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
        Ok(Report::new().with("records", records))
    }

    /// Copies the backup, checks the copy and brings it to the present form.
    fn prepare(&self, cx: &Context<'_>, from: &Path, copy: &Path) -> Result<(Connection, i64)> {
        let place = from.display().to_string();
        let mut out = File::options().write(true).open(copy).map_err(|e| error::from_io(e, "writing", copy))?;
        let seal = seal::check(from, |bytes| std::io::Write::write_all(&mut out, bytes));
        let seal = seal.map_err(|e| error::from_io(e, "copying", from))?;
        drop(out);
        let opener = self.opener.for_copy(DatabaseFile::copy_of(from, copy.to_owned()));
        let failed = |e: rusqlite::Error| opener.failed(&e);
        let stored = opener.file().map_or(Ok(Stored::default()), |file| file.look(opener.cipher()))?;
        migrate::check_versions(&stored, self.collections, &place)?;
        let source = open_private(copy, &opener).map_err(failed)?;
        check_seal(&source, seal, &opener, &place)?;
        let wrong = maintain::integrity(&source, "integrity_check").map_err(failed)?;
        if let Some(first) = wrong.first() {
            return Err(Error::corrupt(format!("{place} is damaged: {first}; nothing was changed")).place(place));
        }
        without_log(&source).map_err(failed)?;
        source.execute_batch("PRAGMA synchronous = OFF; BEGIN IMMEDIATE").map_err(failed)?;
        Migration { place: &place, host: self.host, failed: &|e| opener.failed(e) }.run(cx, &source, self.collections)?;
        source.execute_batch("COMMIT").map_err(failed)?;
        let mut records = 0;
        for collection in self.collections {
            let count = format!("SELECT count(*) FROM {}", quoted(&collection.name));
            records += source.query_row(&count, [], |row| row.get::<_, i64>(0)).map_err(failed)?;
        }
        Ok((source, records))
    }

    /// Gives the copy what the live file needs it to have: the size of its pages, which a file with a log cannot change, and the
    /// tables and columns that programs which have it open name in their statements.
    fn align(&self, source: &Connection, target: &Connection) -> Result<()> {
        let failed = |e: rusqlite::Error| self.opener.failed(&e);
        add_missing(source, target).map_err(failed)?;
        let (here, there) = (maintain::page_size(source).map_err(failed)?, maintain::page_size(target).map_err(failed)?);
        if here == there {
            return Ok(());
        }
        if self.opener.cipher().is_on() {
            let message = format!(
                "the backup has pages of {here} bytes, the store has pages of {there}; move the store away to restore it"
            );
            return Err(Error::unsupported(message));
        }
        source.execute_batch(&format!("PRAGMA page_size = {there}; VACUUM")).map_err(failed)
    }

    /// Takes the write lock of the live file, and waits for it no longer than the settings and the caller allow.
    fn take_lock(&self, cx: &Context<'_>, pages: &Backup<'_, '_>) -> Result<()> {
        let (since, patience) = (Instant::now(), self.opener.patience(cx));
        loop {
            cx.check()?;
            match pages.step(0).map_err(|e| self.opener.failed(&e))? {
                StepResult::Busy | StepResult::Locked if since.elapsed() < patience => std::thread::sleep(PAUSE),
                StepResult::Busy | StepResult::Locked => {
                    let message = format!("{}: another program held the write lock all the time", self.opener.place());
                    return Err(Error::busy(message).place(self.opener.place()));
                }
                _ => return Ok(()),
            }
        }
    }
}

/// Adds to the copy, empty, the tables and columns that only the live file has: those of collections that came after the backup.
fn add_missing(source: &Connection, target: &Connection) -> rusqlite::Result<()> {
    const TABLES: &str =
        "SELECT name, sql FROM sqlite_master WHERE type = 'table' AND rootpage > 0 AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'";
    const INDEXES: &str = "SELECT sql FROM sqlite_master WHERE type = 'index' AND tbl_name = ?1 AND sql IS NOT NULL";
    let mut tables = target.prepare(TABLES)?;
    let tables: Vec<(String, String)> = tables.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect::<Result<_, _>>()?;
    let mut indexes = target.prepare(INDEXES)?;
    for (name, sql) in tables {
        let there = schema::columns(source, &name)?;
        if there.is_empty() {
            source.execute_batch(&sql)?;
            for index in indexes.query_map([&name], |row| row.get::<_, String>(0))? {
                source.execute_batch(&index?)?;
            }
            continue;
        }
        for column in schema::columns(target, &name)? {
            if !column.not_null && !there.iter().any(|c| c.name.eq_ignore_ascii_case(&column.name)) {
                source.execute_batch(&format!("ALTER TABLE {} ADD COLUMN {}", quoted(&name), quoted(&column.name)))?;
            }
        }
    }
    // An empty table is in whatever version its programs know.
    let known = schema::versions(source)?;
    for (name, version) in schema::versions(target)?.into_iter().filter(|(name, _)| !known.contains_key(name)) {
        source.execute("INSERT INTO hivemind_collections (name, version) VALUES (?1, ?2)", (name, version))?;
    }
    Ok(())
}
