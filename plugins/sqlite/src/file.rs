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
use crate::key::{Cipher, is_no_database};
use crate::schema;

/// How often, and how long apart, a first page is read again while another program may be writing it.
const TORN: u32 = 3;
const PAUSE: std::time::Duration = std::time::Duration::from_millis(10);
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
    /// What has a name in it, by that name in small letters.
    pub(crate) objects: HashMap<String, schema::Object>,
}

impl Stored {
    /// What a connection sees now.
    pub(crate) fn read(connection: &Connection) -> rusqlite::Result<Self> {
        let (user_version, versions) = (schema::user_version(connection)?, schema::versions(connection)?);
        Ok(Self { user_version, versions, objects: schema::objects(connection)? })
    }
}

/// Why a look failed: SQLite's code, and our words.
struct Refused {
    code: i32,
    error: Error,
}

/// How many handles of this library have a file open, by its identity.
static PRESENT: Mutex<BTreeMap<String, usize>> = Mutex::new(BTreeMap::new());

fn present() -> MutexGuard<'static, BTreeMap<String, usize>> {
    PRESENT.lock().unwrap_or_else(PoisonError::into_inner)
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

    /// A file that messages call by another one's name, because it is a copy of that one.
    pub(crate) fn copy_of(place: &Path, path: PathBuf) -> Self {
        Self { place: place.display().to_string(), path }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The path as it is named in messages.
    pub(crate) fn place(&self) -> &str {
        &self.place
    }

    /// Notes that a handle opens the file; to be called before its first connection, and kept as long as one is open.
    pub(crate) fn enter(&self) -> Presence {
        let id = identity(&self.path);
        *present().entry(id.clone()).or_default() += 1;
        Presence { id }
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
        match std::fs::metadata(&self.path) {
            Ok(found) if found.is_file() => return Ok(()),
            // SQLite would wait at a pipe for ever, and call a folder or a device a broken disk.
            Ok(_) => {
                let message = format!("{} is no regular file; move it away or choose another `name`", self.place);
                return Err(Error::io(message).place(&self.place));
            }
            Err(e) if e.kind() == ErrorKind::NotFound => {}
            Err(e) => return Err(failed(e)),
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
    ///
    /// # Errors
    /// `denied` if the password is not the file's: what is set and what the file is are told apart in [`Cipher::refusal`]. `corrupt`
    /// for what is left of a file that was cut short.
    pub(crate) fn look(&self, cipher: &Cipher) -> Result<Stored> {
        self.check_length()?;
        let present = present();
        let alone = !present.contains_key(&identity(&self.path));
        // Without a log or journal beside it the file is complete, and can be read as if on read-only media: no lock, no -wal, no
        // -shm. A writer that starts meanwhile is no danger, because the versions are checked again inside the transaction.
        let complete = self.size("-wal") == 0 && self.size("-journal") == 0;
        let read_only = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let unchangeable = || self.ask(cipher, || self.open_unchangeable());
        let found = if alone && complete {
            unchangeable()
        } else {
            // Whether it is a database that opens under this password is seen first, while nothing was touched.
            if alone {
                self.try_key(unchangeable)?;
            }
            match self.ask(cipher, || Connection::open_with_flags(&self.path, read_only)) {
                // A transaction of a killed program must be taken back before anything can be read. That is SQLite's recovery.
                Err(refused) if refused.code == ffi::SQLITE_READONLY_ROLLBACK => {
                    let read_write = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
                    self.ask(cipher, || Connection::open_with_flags(&self.path, read_write))
                }
                other => other,
            }
        };
        drop(present);
        let (encoding, stored) = found.map_err(|refused| refused.error)?;
        // SQLite orders text by its stored bytes; those of UTF-16 are another order than the model's.
        if encoding != "UTF-8" {
            let message = format!("{}: expected a database in UTF-8, found {encoding}; export and import it", self.place);
            return Err(Error::unsupported(message).place(&self.place));
        }
        Ok(stored)
    }

    /// Opens the file as one that nobody changes: no lock, no -wal, no -shm.
    pub(crate) fn open_unchangeable(&self) -> rusqlite::Result<Connection> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_URI;
        Connection::open_with_flags(self.immutable_address(), flags)
    }

    /// Fails if the first page cannot be read. It is also in the file when newer data is in the log.
    fn try_key<T>(&self, look: impl Fn() -> std::result::Result<T, Refused>) -> Result<()> {
        for _ in 0..TORN {
            match look() {
                Err(refused) if refused.code == ffi::SQLITE_NOTADB => std::thread::sleep(PAUSE),
                _ => return Ok(()),
            }
        }
        match look() {
            Err(refused) if refused.code == ffi::SQLITE_NOTADB => Err(refused.error),
            _ => Ok(()),
        }
    }

    /// Reads encoding and versions through a connection of its own.
    fn ask(
        &self,
        cipher: &Cipher,
        open: impl Fn() -> rusqlite::Result<Connection>,
    ) -> std::result::Result<(String, Stored), Refused> {
        let refused = |e: &rusqlite::Error, error| Refused { code: e.sqlite_error().map_or(0, |e| e.extended_code), error };
        let mut again = true;
        loop {
            let connection = open().map_err(|e| refused(&e, error::from_sqlite(&e, &self.place)))?;
            let found = cipher.unlock(&connection).and_then(|()| {
                connection.busy_timeout(std::time::Duration::from_secs(2))?;
                stored(&connection)
            });
            match found {
                Err(e) if is_no_database(&e) && again && cipher.is_stale(&connection) => again = false,
                Err(e) if is_no_database(&e) => {
                    return Err(refused(&e, cipher.refusal(&connection, &self.place, self.size(""))));
                }
                other => return other.map_err(|e| refused(&e, error::from_sqlite(&e, &self.place))),
            }
        }
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
    let encoding = connection.query_row("PRAGMA encoding", [], |row| row.get(0))?;
    Ok((encoding, Stored::read(connection)?))
}

#[cfg(unix)]
pub(crate) fn identity(path: &Path) -> String {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata(path).map_or_else(|_| path.display().to_string(), |m| format!("{}:{}", m.dev(), m.ino()))
}

#[cfg(not(unix))]
pub(crate) fn identity(path: &Path) -> String {
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
pub(crate) fn sync_folder(folder: Option<&Path>) {
    let Some(folder) = folder else { return };
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    // Best effort: not every file system can, and SQLite syncs the folder again with its first commit.
    if let Ok(folder) = File::open(folder) {
        let _ = folder.sync_all();
    }
}
