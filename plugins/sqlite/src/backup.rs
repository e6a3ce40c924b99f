//! Backups: a copy of a file in use, and what is wrong with one.
//!
//! The decision: **SQLite copies, never the file system.** Pages go through its backup interface out of one read transaction, so
//! writers neither wait nor tear the copy. `restore.rs` has the way back.

use std::fs::File;
use std::ops::Deref;
use std::path::Path;
use std::time::{Duration, Instant};

use hivemind_abi::model::{Collection, Context, Error, Problem, Report, Result};
use rusqlite::backup::{Backup, StepResult};
use rusqlite::{Connection, OpenFlags};
use tempfile::TempPath;

use crate::connection::Opener;
use crate::error;
use crate::file::{DatabaseFile, Stored, sync_folder};
use crate::maintain;
use crate::migrate;
use crate::schema;
use crate::seal::{self, Seal};
use crate::statements::Table;

/// Pages between two looks at the caller's time.
const STEP: i32 = 256;
/// The end of a copy's name, and the characters before it that make it one of its own.
const SUFFIX: &str = ".tmp";
const RANDOM: usize = 16;
pub(crate) const PAUSE: Duration = Duration::from_millis(5);

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
pub(crate) fn run(cx: &Context<'_>, pages: &Backup<'_, '_>, opener: &Opener) -> Result<()> {
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
pub(crate) fn open_private(path: &Path, opener: &Opener) -> rusqlite::Result<Connection> {
    let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    opener.cipher().unlock(&connection)?;
    // No memory to share, and so no file for it.
    connection.execute_batch("PRAGMA locking_mode = EXCLUSIVE; PRAGMA trusted_schema = OFF")?;
    Ok(connection)
}

/// Makes of a file with a write-ahead log one without.
pub(crate) fn without_log(connection: &Connection) -> rusqlite::Result<()> {
    // Its journal is in memory: nothing is to stay of a copy that is cut.
    connection.query_row("PRAGMA journal_mode = MEMORY", [], |_| Ok(()))
}

/// What can be told of a backup before it is opened.
pub(crate) fn examine(from: &Path) -> Result<DatabaseFile> {
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
pub(crate) fn check_seal(connection: &Connection, (seal, length): (Seal, u64), opener: &Opener, place: &str) -> Result<()> {
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

pub(crate) fn check_free(to: &Path) -> Result<()> {
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
