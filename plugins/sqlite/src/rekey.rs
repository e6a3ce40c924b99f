//! Another password for a file, a first one, or none.
//!
//! The decision: **a new file in the old one's place**, made by SQLCipher's export and compared row by row, because rekeying a file
//! in place can damage one that has a log. Nobody else may have the file open meanwhile, which SQLite itself tells: a file leaves its
//! write-ahead log behind only when no other connection is open, and its exclusive lock keeps newcomers out. One that came in that
//! time waits at the old file; before it is let in there, that file is made one that no program takes for a database.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{Seek as _, SeekFrom, Write as _};
use std::path::Path;

use hivemind_abi::model::{Context, Error, Report, Result};
use rusqlite::Connection;
use zeroize::Zeroizing;

use crate::backup::{beside, check_space, folder_of, remove_leftovers};
use crate::config::Password;
use crate::connection::Opener;
use crate::error;
use crate::file::{DatabaseFile, sync_folder};
use crate::key::Cipher;
use crate::maintain;
use crate::statements::quoted;
use crate::transaction::is_busy;

/// What stands at the beginning of the old file at its end.
const GONE: &[u8] = b"This database was given another password; the file at its path is another one.\n";
/// Rows between two looks at the caller's time.
const CHECK_EVERY: usize = 1024;

/// Puts a file with this password, or without one, in the place of the store's. No connection of this handle may be open.
///
/// # Errors
/// `busy` if somebody has the file open, `denied` if the present password is not its own. The file is as it was after every error.
pub(crate) fn rekey(cx: &Context<'_>, opener: &Opener, password: Option<Password>) -> Result<Report> {
    let Some(file) = opener.file() else { return Err(Error::unsupported("a database in memory has no password")) };
    if file.size("") == 0 && file.size("-wal") == 0 {
        let message = format!("{} is not there yet: set `password` in the settings to begin an encrypted one", file.place());
        return Err(Error::invalid(message).place(file.place()));
    }
    // The right words for a wrong password, while nothing is touched.
    file.look(opener.cipher())?;
    let path = file.path().canonicalize().map_err(|e| error::from_io(e, "looking at", file.path()))?;
    // Opened before SQLite does and closed after it, because closing it drops SQLite's locks.
    let mut old = File::options().write(true).open(&path).map_err(|e| error::from_io(e, "opening", &path))?;
    let encrypted = password.is_some();
    {
        let connection = alone(opener, file)?;
        // One that was cut may have left everything in clear.
        remove_leftovers(&path);
        let copy = beside(&path)?;
        let to = opener.with_cipher(DatabaseFile::copy_of(file.path(), copy.to_path_buf()), Cipher::new(password.clone()));
        check_space(folder_of(&path), maintain::file_bytes(&connection).map_err(|e| opener.failed(&e))?)?;
        export(&connection, &copy, password.as_ref()).map_err(|e| not_exported(&e, file))?;
        compare(cx, &connection, opener, &to)?;
        cx.check()?;
        adopt(&copy, &path).map_err(|e| error::from_io(e, "writing beside", &path))?;
        copy.persist(&path).map_err(|e| error::from_io(e, "replacing", &path))?;
        sync_folder(Some(folder_of(&path)));
        // From here on it is done. Whoever waits at the old file must not write beside the new one.
        let _ = old.seek(SeekFrom::Start(0)).and_then(|_| old.write_all(GONE));
    }
    Ok(Report::new().with("encrypted", encrypted))
}

/// A connection that keeps everybody else out.
fn alone(opener: &Opener, file: &DatabaseFile) -> Result<Connection> {
    let open = || {
        let connection = opener.keyed()?;
        connection.execute_batch("PRAGMA locking_mode = EXCLUSIVE")?;
        let mode: String = connection.query_row("PRAGMA journal_mode = DELETE", [], |row| row.get(0))?;
        connection.execute_batch("BEGIN EXCLUSIVE; COMMIT")?;
        Ok((connection, mode))
    };
    match open() {
        Ok((connection, mode)) if mode == "delete" => Ok(connection),
        Ok(_) => Err(in_use(file)),
        Err(e) if is_busy(&e) => Err(in_use(file)),
        Err(e) => Err(opener.failed(&e)),
    }
}

fn in_use(file: &DatabaseFile) -> Error {
    let message = format!("{} is open in another program: stop every program that uses it, and try again", file.place());
    Error::busy(message).place(file.place())
}

/// SQLCipher's export has no codes, only words.
fn not_exported(error: &rusqlite::Error, file: &DatabaseFile) -> Error {
    let full = error.to_string().contains("disk is full");
    let error = if full {
        rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_FULL), None)
    } else {
        rusqlite::Error::SqliteFailure(
            error.sqlite_error().copied().unwrap_or(rusqlite::ffi::Error::new(1)),
            Some(error.to_string()),
        )
    };
    error::from_sqlite(&error, file.place()).context("nothing was changed")
}

/// Copies everything into an empty file with this password.
fn export(connection: &Connection, copy: &Path, password: Option<&Password>) -> rusqlite::Result<()> {
    let key = password.map_or("", Password::text);
    let path = copy.to_string_lossy();
    // As long as it gets, so that no copy stays behind when it grows.
    let mut sql = Zeroizing::new(String::with_capacity(64 + 2 * (key.len() + path.len())));
    let _ = write!(sql, "ATTACH DATABASE '{}' AS rekeyed KEY '", path.replace('\'', "''"));
    for c in key.chars() {
        if c == '\'' {
            sql.push('\'');
        }
        sql.push(c);
    }
    sql.push('\'');
    connection.execute_batch("PRAGMA cipher_log_level = NONE")?;
    // What SQLite says about it may quote it.
    connection.execute_batch(&sql).map_err(|e| {
        let code = e.sqlite_error().map_or(rusqlite::ffi::SQLITE_ERROR, |e| e.extended_code);
        rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(code), Some("the new file was not opened".to_owned()))
    })?;
    // What is cut is thrown away as a whole.
    connection.query_row("PRAGMA rekeyed.journal_mode = OFF", [], |_| Ok(()))?;
    connection.query_row("SELECT sqlcipher_export('rekeyed')", [], |_| Ok(()))?;
    for number in ["user_version", "application_id"] {
        let stored: i64 = connection.query_row(&format!("PRAGMA main.{number}"), [], |row| row.get(0))?;
        connection.execute_batch(&format!("PRAGMA rekeyed.{number} = {stored}"))?;
    }
    connection.execute_batch("DETACH DATABASE rekeyed")
}

/// Opens the new file as the next program will, and makes sure that nothing is missing.
fn compare(cx: &Context<'_>, old: &Connection, opener: &Opener, to: &Opener) -> Result<()> {
    let new = to.keyed().map_err(|e| to.failed(&e))?;
    let wrong = maintain::integrity(&new, "integrity_check").map_err(|e| to.failed(&e))?;
    if let Some(first) = wrong.first() {
        return Err(differs(opener, first));
    }
    const NAMES: &str =
        "SELECT type, name, sql FROM sqlite_master WHERE name NOT LIKE 'sqlite\\_%' ESCAPE '\\' ORDER BY type, name";
    const VERSION: &str = "PRAGMA user_version";
    for sql in [NAMES, VERSION] {
        same(cx, (old, opener), (&new, to), sql)?;
    }
    let mut tables =
        old.prepare("SELECT name FROM sqlite_master WHERE type = 'table' AND rootpage > 0").map_err(|e| opener.failed(&e))?;
    let tables: rusqlite::Result<Vec<String>> = tables.query_map([], |row| row.get(0)).and_then(Iterator::collect);
    for table in tables.map_err(|e| opener.failed(&e))? {
        same(cx, (old, opener), (&new, to), &format!("SELECT * FROM {}", quoted(&table)))?;
    }
    Ok(())
}

/// Whether two databases answer alike.
fn same(cx: &Context<'_>, (old, opener): (&Connection, &Opener), (new, to): (&Connection, &Opener), sql: &str) -> Result<()> {
    let failed = |e: rusqlite::Error| opener.failed(&e);
    let failed_there = |e: rusqlite::Error| to.failed(&e);
    let (mut here, mut there) = (old.prepare(sql).map_err(failed)?, new.prepare(sql).map_err(failed_there)?);
    let columns = here.column_count();
    let (mut here, mut there) = (here.query([]).map_err(failed)?, there.query([]).map_err(failed_there)?);
    for seen in 1_usize.. {
        if seen.is_multiple_of(CHECK_EVERY) {
            cx.check()?;
        }
        let (a, b) = (here.next().map_err(failed)?, there.next().map_err(failed_there)?);
        match (a, b) {
            (None, None) => break,
            (Some(a), Some(b)) => {
                for column in 0..columns {
                    let (a, b) = (a.get_ref(column).map_err(failed)?, b.get_ref(column).map_err(failed_there)?);
                    // SQLite stores no NaN, so what is equal compares as equal.
                    if a != b {
                        return Err(differs(opener, "a row is another one there"));
                    }
                }
            }
            _ => return Err(differs(opener, "it has another number of rows")),
        }
    }
    Ok(())
}

fn differs(opener: &Opener, what: &str) -> Error {
    let place = opener.place();
    Error::io(format!("{place}: the new file is not what the old one is ({what}); nothing was changed; check the disk"))
        .place(place)
}

/// Gives the new file the mode and, where the system allows, the owner of the old one, and makes it last.
fn adopt(copy: &Path, path: &Path) -> std::io::Result<()> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
        let (old, new) = (std::fs::metadata(path)?, std::fs::metadata(copy)?);
        if (old.uid(), old.gid()) != (new.uid(), new.gid()) && chown(copy, Some(old.uid()), Some(old.gid())).is_err() {
            // Only root gives files away; a group of ours we may still keep.
            let _ = chown(copy, None, Some(old.gid()));
        }
        std::fs::set_permissions(copy, std::fs::Permissions::from_mode(old.mode() & 0o7777))?;
    }
    #[cfg(not(unix))]
    let _ = path;
    File::options().write(true).open(copy)?.sync_all()
}
