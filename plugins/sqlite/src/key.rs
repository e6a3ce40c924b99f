//! Encrypted files: SQLCipher 4 with its defaults, keyed as the Python node keys them (`PRAGMA key = '<password>'`).
//!
//! Two decisions. **The key is derived once.** SQLCipher stretches a password with 256,000 rounds, a tenth of a second, for every
//! connection; here the same is done for the first one, and all get the finished key with its salt, which opens the same file. And
//! **SQLCipher itself reads the salt**, the first 16 bytes of the file, because opening and closing the file outside of SQLite would
//! drop the locks of other connections. The same 16 bytes tell a file that is not encrypted.
//!
//! The password and the key are in no message and no `Debug`. Statements that carry them are built in memory that is wiped; SQLite
//! copies the text while it runs it, and those copies are freed without being wiped here. What it says about such a statement is
//! not passed on, because it may quote it.

use std::fmt::{self, Write as _};
use std::sync::{Mutex, MutexGuard, PoisonError};

use hivemind_abi::model::Error;
use openssl::hash::MessageDigest;
use openssl::pkcs5::pbkdf2_hmac;
use rusqlite::{Connection, ErrorCode, ffi};
use zeroize::Zeroizing;

use crate::config::Password;

/// The beginning of a file that is not encrypted.
const PLAIN: [u8; SALT] = *b"SQLite format 3\0";
const SALT: usize = 16;
const KEY: usize = 32;
const ROUNDS: usize = 256_000;
/// Lengths of SQLCipher's raw keys as text: `x'…'` around a key, a key and a salt, or two keys and a salt, in hexadecimal.
const RAW: [usize; 3] = [2 * KEY + 3, 2 * (KEY + SALT) + 3, 2 * (KEY + KEY + SALT) + 3];
/// What an unlocking that cannot be done is reported as.
const FAILED: &str = "the key was not accepted";
/// The field that a refusal is about.
const FIELD: &str = "password";

/// What opens the file: a password, or nothing.
#[derive(Default)]
pub(crate) struct Cipher {
    password: Option<Password>,
    derived: Mutex<Option<Derived>>,
}

/// A key, and the salt that it is good for.
struct Derived {
    /// `None` for a password that is a raw key itself.
    salt: Option<[u8; SALT]>,
    text: Zeroizing<String>,
}

impl Cipher {
    pub(crate) fn new(password: Option<Password>) -> Self {
        Self { password, derived: Mutex::default() }
    }

    /// Whether the file is to be encrypted.
    pub(crate) const fn is_on(&self) -> bool {
        self.password.is_some()
    }

    /// The same password for a file of its own, with a salt of its own.
    pub(crate) fn for_another_file(&self) -> Self {
        Self::new(self.password.clone())
    }

    fn derived(&self) -> MutexGuard<'_, Option<Derived>> {
        self.derived.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives a connection its key. To be called before anything else is asked of it; whether the key is the right one is known when
    /// the first page is read.
    pub(crate) fn unlock(&self, connection: &Connection) -> rusqlite::Result<()> {
        let Some(password) = &self.password else { return Ok(()) };
        let mut derived = self.derived();
        let key = match &mut *derived {
            Some(known) => known,
            none => none.insert(derive(connection, password.text())?),
        };
        set(connection, &key.text)
    }

    /// Whether the file has another salt by now than the one that the key was derived with: several programs may create a file at
    /// the same time, and one of them is the first to write. The next connection's key is derived anew then.
    pub(crate) fn is_stale(&self, connection: &Connection) -> bool {
        if !self.is_on() {
            return false;
        }
        let mut derived = self.derived();
        let known = derived.as_ref().and_then(|d| d.salt);
        let stale = known.is_some_and(|known| header(connection).is_ok_and(|now| now != known && now != PLAIN));
        if stale {
            *derived = None;
        }
        stale
    }

    /// What it means that SQLite finds no database in the file, `bytes` being its size.
    pub(crate) fn refusal(&self, connection: &Connection, place: &str, bytes: u64) -> Error {
        let header = header(connection).ok().filter(|_| bytes >= SALT as u64);
        match (self.is_on(), header) {
            (true, Some(PLAIN)) => denied(format!(
                "{place} is not encrypted, but a password is set: remove `password` from the settings of {}, or move the file away to \
                 begin an encrypted one (it is left as it is)",
                crate::MODULE
            )),
            (true, _) => self.not_opened(place),
            (false, Some(header)) if header != PLAIN && bytes.is_multiple_of(512) && !looks_written(&header) => denied(format!(
                "{place} looks encrypted, but no password is set: set `password` in the settings of {}; if it is no encrypted \
                 database, move it away or restore a backup (it is left as it is)",
                crate::MODULE
            )),
            _ => Error::corrupt(format!(
                "{place} is no SQLite database, or an encrypted one; move it away or restore a backup (it is left as it is)"
            )),
        }
        .place(place)
    }

    /// SQLCipher cannot tell a wrong password from damage, so both are said.
    pub(crate) fn not_opened(&self, place: &str) -> Error {
        denied(format!(
            "{place} is not opened by this password: it is encrypted with another one, or the file is damaged; correct `password` in \
             the settings of {}, or restore a backup (the file is left as it is)",
            crate::MODULE
        ))
        .place(place)
    }
}

fn denied(message: String) -> Error {
    Error::denied(message).field(FIELD)
}

impl fmt::Debug for Cipher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cipher").field("is_on", &self.is_on()).finish_non_exhaustive()
    }
}

/// Whether an error says that there is no database in the file, which is also what a wrong key makes of it.
pub(crate) fn is_no_database(error: &rusqlite::Error) -> bool {
    error.sqlite_error_code() == Some(ErrorCode::NotADatabase)
}

/// An error without SQLite's words.
fn failed(code: i32) -> rusqlite::Error {
    rusqlite::Error::SqliteFailure(ffi::Error::new(code), Some(FAILED.to_owned()))
}

/// Text that a person or program wrote, rather than random bytes or ciphertext: printable, or one byte repeated.
fn looks_written(header: &[u8]) -> bool {
    header.iter().all(|b| b.is_ascii_graphic() || b.is_ascii_whitespace()) || header.iter().all(|b| *b == header[0])
}

/// The first bytes of the file; random ones if it has fewer. The connection needs its key again afterwards.
fn header(connection: &Connection) -> rusqlite::Result<[u8; SALT]> {
    // SQLCipher looks at the file once there is a key, whichever.
    set(connection, "?")?;
    let text: String = connection.query_row("PRAGMA cipher_salt", [], |row| row.get(0))?;
    let mut bytes = [0; SALT];
    for (byte, digits) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        let digits = std::str::from_utf8(digits).map_err(|_| failed(ffi::SQLITE_ERROR))?;
        *byte = u8::from_str_radix(digits, 16).map_err(|_| failed(ffi::SQLITE_ERROR))?;
    }
    Ok(bytes)
}

/// The key that SQLCipher makes of a password in this file.
fn derive(connection: &Connection, password: &str) -> rusqlite::Result<Derived> {
    if is_raw(password) {
        return Ok(Derived { salt: None, text: Zeroizing::new(password.to_owned()) });
    }
    let salt = header(connection)?;
    if salt == PLAIN {
        return Err(failed(ffi::SQLITE_NOTADB));
    }
    let mut key = Zeroizing::new([0; KEY]);
    pbkdf2_hmac(password.as_bytes(), &salt, ROUNDS, MessageDigest::sha512(), &mut *key).map_err(|_| failed(ffi::SQLITE_ERROR))?;
    // As long as it gets, so that no copy stays behind when it grows.
    let mut text = Zeroizing::new(String::with_capacity(RAW[1]));
    text.push_str("x'");
    for byte in key.iter().chain(&salt) {
        let _ = write!(text, "{byte:02x}");
    }
    text.push('\'');
    Ok(Derived { salt: Some(salt), text })
}

/// Whether SQLCipher takes this text for a key that is finished.
fn is_raw(password: &str) -> bool {
    let bytes = password.as_bytes();
    RAW.contains(&bytes.len())
        && bytes[0].eq_ignore_ascii_case(&b'x')
        && bytes[1] == b'\''
        && bytes[bytes.len() - 1] == b'\''
        && bytes[2..bytes.len() - 1].iter().all(u8::is_ascii_hexdigit)
}

fn set(connection: &Connection, key: &str) -> rusqlite::Result<()> {
    // SQLCipher would write on standard error, which is the host's, about every key that does not fit.
    connection.execute_batch("PRAGMA cipher_log_level = NONE")?;
    const BEGIN: &str = "PRAGMA key = '";
    let quotes = key.bytes().filter(|b| *b == b'\'').count();
    let mut sql = Zeroizing::new(String::with_capacity(BEGIN.len() + key.len() + quotes + 1));
    sql.push_str(BEGIN);
    for c in key.chars() {
        if c == '\'' {
            sql.push('\'');
        }
        sql.push(c);
    }
    sql.push('\'');
    connection.execute_batch(&sql).map_err(|e| failed(e.sqlite_error().map_or(ffi::SQLITE_ERROR, |e| e.extended_code)))
}

#[cfg(test)]
mod tests;
