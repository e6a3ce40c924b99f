//! SQLite's errors as ours.
//!
//! What decides is what the caller can do next: wait (`busy`), free space (`io`), change permissions (`denied`), restore a backup
//! (`corrupt`). Every message names the file. No value of a record is in any of them: values are bound, never part of the SQL.

use std::path::Path;

use hivemind_abi::model::Error;
use rusqlite::{ErrorCode, ffi};

/// Turns an error of SQLite into one of the model, `place` being the file.
pub(crate) fn from_sqlite(error: &rusqlite::Error, place: &str) -> Error {
    classify(error, place).place(place)
}

fn classify(error: &rusqlite::Error, place: &str) -> Error {
    let message = format!("{place}: {error}");
    let Some(code) = error.sqlite_error_code() else { return Error::io(message) };
    let extended = error.sqlite_error().map_or(0, |e| e.extended_code);
    match code {
        ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked | ErrorCode::SchemaChanged => {
            Error::busy(format!("{place} is in use by another program: {error}"))
        }
        ErrorCode::DiskFull => Error::io(format!("disk full: {place} could not be written; free space and try again")),
        ErrorCode::ReadOnly if extended == ffi::SQLITE_READONLY_DBMOVED => {
            Error::io(format!("{place} was moved or replaced while it was open; restart to use the new file"))
        }
        ErrorCode::ReadOnly | ErrorCode::PermissionDenied | ErrorCode::AuthorizationForStatementDenied => Error::denied(format!(
            "{place} may not be written: {error}; check the owner and mode of the file and its folder, and how its file system is \
                 mounted"
        )),
        ErrorCode::CannotOpen if is_forbidden(Path::new(place)) => Error::denied(format!(
            "{place} may not be opened: check the owner and mode of the file and its folder, and how its file system is mounted"
        )),
        ErrorCode::NotADatabase => Error::corrupt(format!(
            "{place} is no SQLite database, or an encrypted one; move it away or restore a backup (it is left as it is)"
        )),
        ErrorCode::DatabaseCorrupt => Error::corrupt(format!("{place} is damaged: {error}; restore a backup")),
        ErrorCode::ConstraintViolation => match extended {
            ffi::SQLITE_CONSTRAINT_NOTNULL => Error::invalid(format!("{place} takes no nil there: {error}")),
            ffi::SQLITE_CONSTRAINT_UNIQUE | ffi::SQLITE_CONSTRAINT_PRIMARYKEY => Error::conflict(message),
            _ => Error::invalid(message),
        },
        ErrorCode::TooBig => Error::invalid(format!("a value is larger than SQLite stores: {error}")),
        ErrorCode::OperationInterrupted => Error::deadline(format!("{place}: the time allowed for this call is over")),
        ErrorCode::SystemIoFailure if extended == ffi::SQLITE_IOERR_SHMSIZE => {
            Error::io(format!("disk full: there is no room for {place}-shm, which the log needs; free space and try again"))
        }
        ErrorCode::SystemIoFailure => Error::io(format!("{message}; check the disk and the file system of this file")),
        ErrorCode::CannotOpen => {
            Error::io(format!("{message}; check that its folder is there, may be written, and how many files are open"))
        }
        _ => Error::io(format!("{message}; check the file and its disk")),
    }
}

#[cfg(unix)]
fn is_forbidden(path: &Path) -> bool {
    use rustix::fs::{Access, access};
    let forbidden = |path: &Path, how| matches!(access(path, how), Err(rustix::io::Errno::ACCESS | rustix::io::Errno::ROFS));
    forbidden(path, Access::READ_OK | Access::WRITE_OK) || path.parent().is_some_and(|p| forbidden(p, Access::WRITE_OK))
}

#[cfg(not(unix))]
fn is_forbidden(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|m| m.permissions().readonly())
}

/// Adds the file to errors of the standard library.
pub(crate) fn from_io(error: std::io::Error, doing: &str, path: &Path) -> Error {
    use std::io::ErrorKind;
    let next = match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => "free space and try again",
        ErrorKind::PermissionDenied => "check the owner and mode of the file and its folder",
        ErrorKind::ReadOnlyFilesystem => "check how its file system is mounted",
        _ => "check the disk and its file system",
    };
    let shown = path.display().to_string();
    let message = format!("{doing} {shown}: {error}; {next}");
    Error::new(Error::from(error).code(), false, message).place(shown)
}

#[cfg(test)]
mod tests {
    use super::*;
    use hivemind_abi::model::Code;

    #[test]
    fn each_result_code_says_what_can_be_done() {
        for (code, expected, retryable) in [
            (ffi::SQLITE_BUSY, Code::Busy, true),
            (ffi::SQLITE_BUSY_SNAPSHOT, Code::Busy, true),
            (ffi::SQLITE_LOCKED, Code::Busy, true),
            (ffi::SQLITE_FULL, Code::Io, false),
            (ffi::SQLITE_READONLY, Code::Denied, false),
            (ffi::SQLITE_READONLY_DBMOVED, Code::Io, false),
            (ffi::SQLITE_PERM, Code::Denied, false),
            (ffi::SQLITE_CANTOPEN, Code::Io, false),
            (ffi::SQLITE_CORRUPT, Code::Corrupt, false),
            (ffi::SQLITE_NOTADB, Code::Corrupt, false),
            (ffi::SQLITE_CONSTRAINT_NOTNULL, Code::Invalid, false),
            (ffi::SQLITE_CONSTRAINT_UNIQUE, Code::Conflict, false),
            (ffi::SQLITE_CONSTRAINT_CHECK, Code::Invalid, false),
            (ffi::SQLITE_TOOBIG, Code::Invalid, false),
            (ffi::SQLITE_IOERR_FSYNC, Code::Io, false),
        ] {
            let error = from_sqlite(&rusqlite::Error::SqliteFailure(ffi::Error::new(code), None), "no/such/clients.db");
            assert_eq!((error.code(), error.retryable()), (expected, retryable), "{code}: {error}");
            assert_eq!(error.detail().place.as_deref(), Some("no/such/clients.db"));
        }
    }
}
