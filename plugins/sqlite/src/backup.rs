//! Backups: a copy of a file in use, what is wrong with one, and the way back into a file in use.
//!
//! Two decisions. **SQLite copies, never the file system**: pages go through its backup interface out of one read transaction, so
//! writers neither wait nor tear the copy, and into the live file as one transaction of its own, which other programs see as a commit
//! like any other and a crash takes back. And **what is restored was prepared elsewhere**: the backup is copied beside the file,
//! checked, and brought to the present schema there, so that the live file goes from its old content to the new one in a single step.

use std::fs::File;
use std::ops::Deref;
use std::path::Path;
use std::time::{Duration, Instant};

use hivemind_abi::Host;
use hivemind_abi::model::{Collection, Context, Error, Problem, Report, Result};
use rusqlite::backup::{Backup, StepResult};
use rusqlite::{Connection, OpenFlags};
use tempfile::TempPath;

use crate::connection::Opener;
use crate::error;
use crate::file::{DatabaseFile, Stored, identity, sync_folder};
use crate::maintain;
use crate::migrate::{self, Migration};
use crate::opened::Opened;
use crate::schema;
use crate::seal::{self, Seal};
use crate::statements::{Table, quoted};

/// Pages between two looks at the caller's time.
const STEP: i32 = 256;
/// The end of a copy's name, and the characters before it that make it one of its own.
const SUFFIX: &str = ".tmp";
const RANDOM: usize = 16;
const PAUSE: Duration = Duration::from_millis(5);

/// Writes a backup of what `source` sees now.
///
/// # Errors
/// `conflict` if something has that name, `io` if it cannot be written; then nothing is left of it.
pub(crate) fn backup(cx: &Context<'_>, source: &Connection, opener: &Opener, to: &Path) -> Result<Report> {
    check_free(to)?;
    let folder = folder_of(to);
    let failed = |e: rusqlite::Error| opener.failed(&e);
    let _snapshot = Snapshot::begin(source).map_err(failed)?;
    check_space(folder, maintain::file_bytes(source).map_err(failed)?)?;
    let copy = beside(to)?;
    let written = |e: rusqlite::Error| error::from_sqlite(&e, &to.display().to_string());
    {
        let mut target = open_private(&copy, opener).map_err(written)?;
        target.execute_batch("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF").map_err(written)?;
        let pages = Backup::new(source, &mut target).map_err(written)?;
        run(cx, &pages, opener).map_err(|e| e.context(format!("{} was not written", to.display())))?;
    }
    let problems = {
        let connection = open_private(&copy, opener).map_err(written)?;
        // One file, that a program which may only read it can open.
        without_log(&connection).map_err(written)?;
        // What is damaged is backed up as it is, because there may be no more of it; but not without a word.
        maintain::integrity(&connection, "quick_check").map_err(written)?
    };
    seal::seal(&copy).map_err(|e| error::from_io(e, "writing", to))?;
    let bytes = std::fs::metadata(&*copy).map_or(0, |m| m.len());
    copy.persist_noclobber(to).map_err(|e| match e.kind() {
        std::io::ErrorKind::AlreadyExists => taken(to),
        _ => error::from_io(e, "writing", to),
    })?;
    sync_folder(Some(folder));
    let problem = |message| Problem { collection: String::new(), key: None, message: format!("{}: {message}", opener.place()) };
    let problems = problems.into_iter().map(problem).collect();
    Ok(Report { problems, ..Report::new().with("bytes", i64::try_from(bytes).unwrap_or(i64::MAX)) })
}

/// Reads a backup and says what is wrong with it. The file is not changed, and nothing is made beside it.
///
/// # Errors
/// `io` and `denied` if it cannot be read. What is damaged is in the report.
pub(crate) fn verify(cx: &Context<'_>, from: &Path, opener: &Opener, collections: &[Collection]) -> Result<Report> {
    let place = from.display().to_string();
    let damaged = |message: String| Problem { collection: String::new(), key: None, message };
    let found = examine(from).and_then(|file| {
        let (seal, length) = seal::check(from, |_| Ok(())).map_err(|e| error::from_io(e, "reading", from))?;
        let opener = opener.for_copy(file);
        let stored = opener.file().map_or(Ok(Stored::default()), |file| file.look(opener.cipher()))?;
        migrate::check_versions(&stored, collections, &place)?;
        let open = || -> rusqlite::Result<Connection> {
            let connection = opener.file().map_or_else(Connection::open_in_memory, DatabaseFile::open_unchangeable)?;
            opener.cipher().unlock(&connection)?;
            Ok(connection)
        };
        let connection = open().map_err(|e| opener.failed(&e))?;
        check_seal(&connection, (seal, length), &opener, &place)?;
        let mut tables = Vec::new();
        for collection in collections {
            let columns = schema::columns(&connection, &collection.name).map_err(|e| opener.failed(&e))?;
            // An older form lacks columns, and is brought up when it is restored.
            if collection.fields.iter().all(|f| columns.iter().any(|c| c.name.eq_ignore_ascii_case(&f.name))) {
                tables.push(Table::new(collection.clone().into(), &columns));
            }
        }
        let report = maintain::verify(cx, &connection, &opener, &tables.iter().collect::<Vec<_>>())?;
        Ok(report.with("sealed", seal == Seal::Holds))
    });
    match found {
        Err(e) if e.code() == hivemind_abi::model::Code::Corrupt => {
            Ok(Report { problems: vec![damaged(e.message().to_owned())], ..Report::new() })
        }
        other => other,
    }
}

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
    /// columns that programs which have it open name in their statements.
    fn align(&self, source: &Connection, target: &Connection) -> Result<()> {
        let failed = |e: rusqlite::Error| self.opener.failed(&e);
        for collection in self.collections {
            let there = schema::columns(source, &collection.name).map_err(failed)?;
            for column in schema::columns(target, &collection.name).map_err(failed)? {
                if !column.not_null && !there.iter().any(|c| c.name.eq_ignore_ascii_case(&column.name)) {
                    let add = format!("ALTER TABLE {} ADD COLUMN {}", quoted(&collection.name), quoted(&column.name));
                    source.execute_batch(&add).map_err(failed)?;
                }
            }
        }
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

/// A read transaction: what it sees does not change until it ends.
struct Snapshot<'c>(&'c Connection);

impl<'c> Snapshot<'c> {
    fn begin(connection: &'c Connection) -> rusqlite::Result<Self> {
        connection.execute_batch("BEGIN")?;
        let snapshot = Self(connection);
        schema::user_version(connection)?;
        Ok(snapshot)
    }
}

impl Drop for Snapshot<'_> {
    fn drop(&mut self) {
        let _ = self.0.execute_batch("ROLLBACK");
    }
}

/// Copies all pages.
fn run(cx: &Context<'_>, pages: &Backup<'_, '_>, opener: &Opener) -> Result<()> {
    let since = Instant::now();
    loop {
        cx.check()?;
        match pages.step(STEP).map_err(|e| opener.failed(&e))? {
            StepResult::Done => return Ok(()),
            StepResult::More => {}
            _ if since.elapsed() < opener.patience(cx) => std::thread::sleep(PAUSE),
            _ => return Err(Error::busy(format!("{} is locked by another program", opener.place())).place(opener.place())),
        }
    }
}

/// A new file, for the owner alone, in the folder of `path`. It vanishes unless it gets a name.
pub(crate) fn beside(path: &Path) -> Result<Copy> {
    let made = tempfile::Builder::new().prefix(&prefix(path)).suffix(SUFFIX).rand_bytes(RANDOM).tempfile_in(folder_of(path));
    let (file, path) = made.map(tempfile::NamedTempFile::into_parts).map_err(|e| error::from_io(e, "writing beside", path))?;
    // Where locks are not to be had, a copy that was cut stays.
    let _ = file.try_lock();
    Ok(Copy { path, _locked: file })
}

/// A file that is not whole yet. It is locked, so that nobody takes it for one that was cut.
pub(crate) struct Copy {
    path: TempPath,
    _locked: File,
}

impl Copy {
    /// Gives it its name, and takes that of what has it.
    pub(crate) fn persist(self, to: &Path) -> std::io::Result<()> {
        self.path.persist(to).map_err(|e| e.error)
    }

    /// Gives it its name unless something has it.
    fn persist_noclobber(self, to: &Path) -> std::io::Result<()> {
        self.path.persist_noclobber(to).map_err(|e| e.error)
    }
}

impl Deref for Copy {
    type Target = Path;

    fn deref(&self) -> &Path {
        &self.path
    }
}

fn prefix(path: &Path) -> String {
    format!(".{}.", path.file_name().unwrap_or_default().to_string_lossy())
}

/// Removes copies beside a file that nobody is making any more, and what lies beside those, and tells how many files they were.
pub(crate) fn remove_leftovers(path: &Path) -> usize {
    let (folder, prefix) = (folder_of(path), prefix(path));
    let copy_of = |name: &str| {
        let copy = ["-journal", "-wal", "-shm"].iter().find_map(|beside| name.strip_suffix(beside)).unwrap_or(name);
        let random = copy.strip_prefix(&prefix)?.strip_suffix(SUFFIX)?;
        let is_ours = random.len() == RANDOM && random.bytes().all(|b| b.is_ascii_alphanumeric());
        is_ours.then(|| folder.join(copy))
    };
    let is_being_made = |copy: &Path| File::open(copy).is_ok_and(|file| file.try_lock().is_err());
    let entries: Vec<_> = std::fs::read_dir(folder).into_iter().flatten().flatten().collect();
    let cut =
        entries.iter().filter(|entry| entry.file_name().to_str().and_then(copy_of).is_some_and(|copy| !is_being_made(&copy)));
    cut.filter(|entry| std::fs::remove_file(entry.path()).is_ok()).count()
}

pub(crate) fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// A file that nobody else knows, with the store's key.
fn open_private(path: &Path, opener: &Opener) -> rusqlite::Result<Connection> {
    let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    opener.cipher().unlock(&connection)?;
    // No memory to share, and so no file for it.
    connection.execute_batch("PRAGMA locking_mode = EXCLUSIVE; PRAGMA trusted_schema = OFF")?;
    Ok(connection)
}

/// Makes of a file with a write-ahead log one without.
fn without_log(connection: &Connection) -> rusqlite::Result<()> {
    // Its journal is in memory: nothing is to stay of a copy that is cut.
    connection.query_row("PRAGMA journal_mode = MEMORY", [], |_| Ok(()))
}

/// What can be told of a backup before it is opened.
fn examine(from: &Path) -> Result<DatabaseFile> {
    let place = from.display().to_string();
    let file = DatabaseFile::new(from.to_owned());
    match std::fs::metadata(from) {
        Ok(found) if !found.is_file() => {
            return Err(Error::invalid(format!("{place} is no regular file; name a backup")).place(place));
        }
        Ok(found) if found.len() == 0 => return Err(Error::corrupt(format!("{place} is empty: it was cut short")).place(place)),
        Ok(_) => {}
        Err(e) => return Err(error::from_io(e, "reading", from)),
    }
    if file.size("-wal") > 0 || file.size("-journal") > 0 {
        let message = format!(
            "{place} has a log or journal beside it, so it is a database in use or a copy of its half; make a backup of it with the \
             program that uses it"
        );
        return Err(Error::invalid(message).place(place));
    }
    Ok(file)
}

/// `corrupt` if the seal does not fit, or what stands behind the last page is none.
fn check_seal(connection: &Connection, (seal, length): (Seal, u64), opener: &Opener, place: &str) -> Result<()> {
    let damaged = |what: &str| Err(Error::corrupt(format!("{place} is damaged: {what}; nothing was changed")).place(place));
    if seal == Seal::Broken {
        return damaged("its content is not what its seal says; take another backup");
    }
    let pages = maintain::file_bytes(connection).map_err(|e| opener.failed(&e))?;
    match u64::try_from(pages).unwrap_or(0).cmp(&length) {
        std::cmp::Ordering::Equal => Ok(()),
        std::cmp::Ordering::Greater => damaged("it was cut short; take another backup"),
        std::cmp::Ordering::Less => damaged("its seal is damaged; take another backup"),
    }
}

fn check_free(to: &Path) -> Result<()> {
    if to.symlink_metadata().is_ok() { Err(taken(to)) } else { Ok(()) }
}

fn taken(to: &Path) -> Error {
    let place = to.display().to_string();
    Error::conflict(format!("{place} exists already and is left as it is; choose another name")).place(place)
}

/// Refuses to begin what a full disk would end.
#[cfg(unix)]
pub(crate) fn check_space(folder: &Path, needed: i64) -> Result<()> {
    // What cannot be told is seen when it is written.
    let Ok(found) = rustix::fs::statvfs(folder) else { return Ok(()) };
    let (free, needed) = (found.f_bavail.saturating_mul(found.f_frsize), u64::try_from(needed).unwrap_or(0));
    if free >= needed {
        return Ok(());
    }
    let place = folder.display().to_string();
    Err(Error::io(format!("disk full: {place} has {free} bytes left, and {needed} are needed; free space and try again"))
        .place(place))
}

#[cfg(not(unix))]
pub(crate) const fn check_space(_folder: &Path, _needed: i64) -> Result<()> {
    Ok(())
}
