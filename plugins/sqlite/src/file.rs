//! The database file before SQLite works with it: making it private, and looking at it without leaving a trace.
//!
//! Two decisions. The file is created here, empty and with mode 0600, because SQLite would give it the umask's mode and copies that
//! mode to `-wal` and `-shm`. And versions are looked at through a connection that changes nothing, because the refusal of newer
//! data has to leave it byte for byte as it is. An existing file is only ever `stat`ed here: opening and closing it outside of SQLite
//! would drop the POSIX locks of every connection of this process. SQLite's own look at an unchangeable file closes it that way too,
//! so it is taken only while no handle of this library has the file open; [`Presence`] keeps count.

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsString;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use hivemind_abi::model::{Error, Resource, Result};
use rusqlite::{Connection, OpenFlags, ffi};

use crate::error;
use crate::schema;

/// The least size of a database that holds anything, in bytes.
const SMALLEST_PAGE: u64 = 512;

/// The database file of a handle.
#[derive(Debug, Clone)]
pub(crate) struct DatabaseFile {
    path: PathBuf,
    place: String,
}

/// What an existing file says about itself.
#[derive(Debug, Default)]
pub(crate) struct Stored {
    /// `PRAGMA user_version`: the primary collection's.
    pub(crate) user_version: i64,
    /// The other collections' versions.
    pub(crate) versions: HashMap<String, i64>,
}

/// How many handles of this library have a file open, by its identity.
static PRESENT: Mutex<BTreeMap<String, usize>> = Mutex::new(BTreeMap::new());

fn present() -> MutexGuard<'static, BTreeMap<String, usize>> {
    PRESENT.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The file as a handle has it open, from before its first connection until after its last.
pub(crate) struct Opened {
    file: Option<DatabaseFile>,
    presence: Mutex<Option<Presence>>,
}

impl Opened {
    /// Notes that a handle opens the file. `None`: there is none, the database is in memory.
    pub(crate) fn new(file: Option<&DatabaseFile>) -> Self {
        Self { file: file.cloned(), presence: Mutex::new(file.map(DatabaseFile::enter)) }
    }

    /// Whether another file is at the path by now, or none.
    pub(crate) fn is_moved(&self) -> bool {
        let presence = self.presence.lock().unwrap_or_else(PoisonError::into_inner);
        presence.as_ref().zip(self.file.as_ref()).is_some_and(|(presence, file)| !file.is_where(presence))
    }

    /// Makes sure that the file at the path still is the one that was opened; one `stat`.
    ///
    /// # Errors
    /// `io` if it is not. The log at the path is emptied then into the file that it belongs to, because whoever opens the new file
    /// next would carry it out there.
    pub(crate) fn check(&self, writer: &Connection) -> Result<()> {
        self.look().inspect_err(|_| {
            // Best effort, and nothing inside of a transaction: `close` tries again.
            let _ = writer.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
        })
    }

    /// The same, and nothing is done about it.
    ///
    /// # Errors
    /// `io`.
    pub(crate) fn look(&self) -> Result<()> {
        let Some(file) = self.file.as_ref().filter(|_| self.is_moved()) else { return Ok(()) };
        let message = format!("{} was moved or replaced while it was open; restart to use the new file", file.place());
        Err(Error::io(message).place(file.place()))
    }

    /// The handle has closed its connections.
    pub(crate) fn leave(&self) {
        drop(self.presence.lock().unwrap_or_else(PoisonError::into_inner).take());
    }
}

/// A handle that has the file open.
pub(crate) struct Presence {
    id: String,
}

impl Drop for Presence {
    fn drop(&mut self) {
        let mut present = present();
        if let Some(count) = present.get_mut(&self.id) {
            *count -= 1;
            if *count == 0 {
                present.remove(&self.id);
            }
        }
    }
}

impl DatabaseFile {
    pub(crate) fn new(path: PathBuf) -> Self {
        Self { place: path.display().to_string(), path }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The path as it is named in messages.
    pub(crate) fn place(&self) -> &str {
        &self.place
    }

    /// Notes that a handle opens the file; to be called before its first connection, and kept as long as one is open.
    fn enter(&self) -> Presence {
        let id = identity(&self.path);
        *present().entry(id.clone()).or_default() += 1;
        Presence { id }
    }

    /// Whether the file at the path is still the one that was opened.
    fn is_where(&self, opened: &Presence) -> bool {
        identity(&self.path) == opened.id
    }

    /// Creates the folders above the file if they are not there.
    pub(crate) fn create_folder(&self) -> Result<()> {
        match self.path.parent().filter(|p| !p.as_os_str().is_empty()) {
            Some(folder) => create_folders(folder).map_err(|e| error::from_io(e, "creating the folder", folder)),
            None => Ok(()),
        }
    }

    /// Creates the file and the folders above it if they are not there. What is there keeps its mode.
    pub(crate) fn create(&self) -> Result<()> {
        let failed = |e| error::from_io(e, "creating", &self.path);
        if self.path.try_exists().map_err(failed)? {
            return Ok(());
        }
        self.create_folder()?;
        match private_file().create_new(true).open(&self.path) {
            Ok(file) => file.sync_all().map_err(failed)?,
            // Somebody else was faster, or it is a link to a file that is not there yet.
            Err(e) if e.kind() == ErrorKind::AlreadyExists && !self.path.exists() => {
                private_file().create(true).truncate(false).open(&self.path).map_err(failed)?;
            }
            Err(e) if e.kind() == ErrorKind::AlreadyExists => {}
            Err(e) => return Err(failed(e)),
        }
        sync_folder(self.path.parent());
        Ok(())
    }

    /// What the file is, for the host to refuse a second handle on it: the folder it lies in and its name there, because the file
    /// itself may not be there yet.
    pub(crate) fn resource(&self) -> Resource {
        let real = self.path.canonicalize().unwrap_or_else(|_| self.path.clone());
        let folder = real.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let name = real.file_name().unwrap_or_default().to_string_lossy();
        Resource { kind: "file".to_owned(), id: format!("{}:{name}", identity(folder)), name: self.place.clone() }
    }

    /// The size of the file with this suffix; 0 if it is not there.
    pub(crate) fn size(&self, suffix: &str) -> u64 {
        std::fs::metadata(self.beside(suffix)).map_or(0, |m| m.len())
    }

    fn beside(&self, suffix: &str) -> PathBuf {
        let mut name = self.path.clone().into_os_string();
        name.push(suffix);
        PathBuf::from(name)
    }

    /// Reads the stored versions and changes nothing, neither in the file nor beside it.
    pub(crate) fn look(&self) -> Result<Stored> {
        self.check_length()?;
        let failed = |e: rusqlite::Error| error::from_sqlite(&e, &self.place);
        let look = |connection: rusqlite::Result<Connection>| {
            connection.and_then(|c| {
                c.busy_timeout(std::time::Duration::from_secs(2))?;
                stored(&c)
            })
        };
        let present = present();
        let alone = !present.contains_key(&identity(&self.path));
        // Without a log or journal beside it the file is complete, and can be read as if on read-only media: no lock, no -wal, no
        // -shm. A writer that starts meanwhile is no danger, because the versions are checked again inside the transaction.
        let found = if alone && self.size("-wal") == 0 && self.size("-journal") == 0 {
            look(Connection::open_with_flags(
                self.immutable_address(),
                OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_URI,
            ))
        } else {
            let read_only = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
            match look(Connection::open_with_flags(&self.path, read_only)) {
                // A transaction of a killed program must be taken back before anything can be read. That is SQLite's recovery.
                Err(e) if e.sqlite_error().is_some_and(|e| e.extended_code == ffi::SQLITE_READONLY_ROLLBACK) => {
                    let read_write = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
                    look(Connection::open_with_flags(&self.path, read_write))
                }
                other => other,
            }
        };
        drop(present);
        let (encoding, stored) = found.map_err(failed)?;
        // SQLite orders text by its stored bytes; those of UTF-16 are another order than the model's.
        if encoding != "UTF-8" {
            let message = format!("{}: expected a database in UTF-8, found {encoding}; export and import it", self.place);
            return Err(Error::unsupported(message).place(&self.place));
        }
        Ok(stored)
    }

    /// Refuses what is left of a file that was cut short. SQLite takes less than the smallest page for an empty database and would
    /// write a new one over it.
    fn check_length(&self) -> Result<()> {
        let length = self.size("");
        if !(1..SMALLEST_PAGE).contains(&length) || self.size("-wal") > 0 {
            return Ok(());
        }
        let message = format!(
            "{}: expected a database, found a file of {length} bytes, which was cut short; restore a backup, or remove it to begin \
             anew (it is left as it is)",
            self.place
        );
        Err(Error::corrupt(message).place(&self.place))
    }

    /// The path as an address that asks SQLite to treat the file as unchangeable.
    fn immutable_address(&self) -> OsString {
        let absolute = std::path::absolute(&self.path).unwrap_or_else(|_| self.path.clone());
        let mut address = OsString::from(if cfg!(windows) { "file:///" } else { "file:" });
        address.push(escaped(&absolute));
        address.push("?immutable=1");
        address
    }
}

/// Escapes what ends a path in an address. Other bytes, UTF-8 or not, stand for themselves.
#[cfg(unix)]
fn escaped(path: &Path) -> OsString {
    use std::os::unix::ffi::{OsStrExt, OsStringExt};
    let bytes = path.as_os_str().as_bytes().iter();
    OsString::from_vec(bytes.flat_map(|b| if b"%?#".contains(b) { format!("%{b:02X}").into_bytes() } else { vec![*b] }).collect())
}

#[cfg(not(unix))]
fn escaped(path: &Path) -> OsString {
    path.to_string_lossy().replace('%', "%25").replace('?', "%3F").replace('#', "%23").replace('\\', "/").into()
}

fn stored(connection: &Connection) -> rusqlite::Result<(String, Stored)> {
    let user_version = schema::user_version(connection)?;
    let versions = schema::versions(connection)?;
    let encoding = connection.query_row("PRAGMA encoding", [], |row| row.get(0))?;
    Ok((encoding, Stored { user_version, versions }))
}

#[cfg(unix)]
fn identity(path: &Path) -> String {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata(path).map_or_else(|_| path.display().to_string(), |m| format!("{}:{}", m.dev(), m.ino()))
}

#[cfg(not(unix))]
fn identity(path: &Path) -> String {
    std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned()).display().to_string()
}

fn private_file() -> OpenOptions {
    let mut options = File::options();
    options.write(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}

fn create_folders(folder: &Path) -> std::io::Result<()> {
    let missing: Vec<&Path> = folder.ancestors().take_while(|p| !p.as_os_str().is_empty() && !p.exists()).collect();
    for folder in missing.into_iter().rev() {
        let mut builder = DirBuilder::new();
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        match builder.create(folder) {
            Err(e) if e.kind() == ErrorKind::AlreadyExists && folder.is_dir() => {}
            other => other?,
        }
        sync_folder(folder.parent());
    }
    Ok(())
}

/// Makes a new name in a folder survive a power cut, where the system can.
fn sync_folder(folder: Option<&Path>) {
    let Some(folder) = folder else { return };
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    // Best effort: not every file system can, and SQLite syncs the folder again with its first commit.
    if let Ok(folder) = File::open(folder) {
        let _ = folder.sync_all();
    }
}
