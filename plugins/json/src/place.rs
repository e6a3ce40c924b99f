//! Where the files of a store are: all of it Python's choice, so that both programs meet.

use std::fs::OpenOptions;
use std::path::{Component, Path, PathBuf};

use hivemind_abi::model::{Collection, Error, Result};

use crate::cipher::Coding;
use crate::config::Config;

/// The files of a store.
#[derive(Debug)]
pub(crate) struct Place {
    /// The primary collection's file.
    pub(crate) primary: PathBuf,
    /// Its folder, in which everything else lies too.
    pub(crate) folder: PathBuf,
    /// The redo journal of batches over several files.
    pub(crate) journal: PathBuf,
    /// The file on which writers hold their lock.
    pub(crate) lock: PathBuf,
    /// How the files are written.
    pub(crate) coding: Coding,
    // Of the files with records.
    extension: &'static str,
    sentinel: PathBuf,
}

/// The files of one collection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Files {
    /// The records.
    pub(crate) data: PathBuf,
    /// The version of their form.
    pub(crate) sentinel: PathBuf,
}

impl Place {
    /// The place that the settings name.
    pub(crate) fn new(config: &Config, data_dir: &Path) -> Result<Self> {
        let coding = config.coding()?;
        let (extension, journal) = if coding.is_encrypted() { ("ejson", "ejournal") } else { ("json", "journal") };
        let named = data_dir.join(&config.subfolder).join(format!("{}.{extension}", config.name));
        let stem = Path::new(&config.name).components().next_back();
        let (Some(Component::Normal(stem)), Some(folder), false) = (stem, named.parent(), config.name.ends_with('/')) else {
            return Err(Error::invalid(format!("name: expected the name of a file, found {:?}", config.name)));
        };
        let stem = stem.to_string_lossy();
        Ok(Self {
            // Python joins the whole name, folders included, to the file's folder once more.
            sentinel: folder.join(format!("{}.schema_version", config.name)),
            journal: folder.join(format!("{stem}.{journal}")),
            lock: temp_dir()?.join(format!("{stem}.{extension}.lock")),
            coding,
            extension,
            folder: folder.to_owned(),
            primary: named,
        })
    }

    /// How the names of files with records end.
    pub(crate) const fn extension(&self) -> &'static str {
        self.extension
    }

    /// The primary collection's files.
    pub(crate) fn primary_files(&self) -> Files {
        Files { data: self.primary.clone(), sentinel: self.sentinel.clone() }
    }

    /// The primary file in the form that these settings do not ask for, if it is there.
    pub(crate) fn other_form(&self) -> Option<PathBuf> {
        let other = self.primary.with_extension(if self.coding.is_encrypted() { "json" } else { "ejson" });
        exists(&other).then_some(other)
    }

    /// Refuses a store whose files are there in the other form only: opened in this one it would be empty.
    ///
    /// # Errors
    /// `invalid`, naming the file and what to do.
    pub(crate) fn check_form(&self) -> Result<()> {
        let Some(other) = self.other_form().filter(|_| !exists(&self.primary)) else { return Ok(()) };
        let (other, ours) = (other.display(), self.primary.display());
        let message = if self.coding.is_encrypted() {
            format!(
                "a password is set, but the clients are in {other}, which is not encrypted; take the password out of the settings, or \
                 move that file away to begin with an empty encrypted store in {ours}; nothing was touched"
            )
        } else {
            format!(
                "the clients are in {other}, which is encrypted, but no password is set; set `password` of {}, or move that file away \
                 to begin with an empty store in {ours}; nothing was touched",
                crate::MODULE
            )
        };
        Err(Error::invalid(message).place(other.to_string()))
    }

    /// The files of a collection.
    pub(crate) fn files(&self, collection: &Collection) -> Result<Files> {
        if collection.primary {
            return Ok(self.primary_files());
        }
        let file = |extension| self.folder.join(format!("{}.{extension}", collection.name));
        let files = Files { data: file(self.extension), sentinel: file("schema_version") };
        if files.data == self.primary {
            let message = format!(
                "collection {} would be stored in {}, which holds the primary collection; choose another `name`",
                collection.name,
                files.data.display()
            );
            return Err(Error::invalid(message).collection(&collection.name));
        }
        Ok(files)
    }
}

/// Whether something has this name, if only a link that leads nowhere.
fn exists(path: &Path) -> bool {
    path.symlink_metadata().is_ok()
}

/// What Python's `tempfile.gettempdir()` gives: the first folder of its list in which a file can be written.
fn temp_dir() -> Result<PathBuf> {
    let named = ["TMPDIR", "TEMP", "TMP"].into_iter().filter_map(std::env::var_os).filter(|v| !v.is_empty()).map(PathBuf::from);
    let usual = ["/tmp", "/var/tmp", "/usr/tmp"].into_iter().map(PathBuf::from);
    let candidates = named.chain(usual).chain(std::env::current_dir());
    let mut candidates = candidates.filter_map(|folder| std::path::absolute(folder).ok());
    let found = candidates.find(|folder| can_write_in(folder));
    found.ok_or_else(|| {
        Error::denied("no temporary folder to keep the lock in: $TMPDIR, /tmp, /var/tmp and /usr/tmp all refuse a file")
    })
}

fn can_write_in(folder: &Path) -> bool {
    let Ok(number) = getrandom::u64() else { return false };
    let path = folder.join(format!(".hivemind-{number:016x}"));
    let created = OpenOptions::new().write(true).create_new(true).open(&path);
    let written = created.and_then(|mut file| std::io::Write::write_all(&mut file, b"."));
    let _ = std::fs::remove_file(&path);
    written.is_ok()
}

#[cfg(test)]
mod tests {
    use hivemind_abi::model::Kind;

    use super::*;

    fn place(json: &str) -> Result<Place> {
        Place::new(&Config::parse(json)?, Path::new("/data"))
    }

    #[test]
    fn names_join_as_pythons_do() {
        let usual = place("{}").expect("a place");
        assert_eq!(usual.primary, Path::new("/data/hivemind-core/clients.json"));
        assert_eq!(usual.sentinel, Path::new("/data/hivemind-core/clients.schema_version"));
        assert!(usual.lock.ends_with("clients.json.lock"));
        let odd = place(r#"{"name": "a/b", "subfolder": "/srv"}"#).expect("a place");
        assert_eq!(odd.primary, Path::new("/srv/a/b.json"));
        assert_eq!(odd.sentinel, Path::new("/srv/a/a/b.schema_version"));
        assert!(odd.lock.ends_with("b.json.lock"));
        let encrypted = place(r#"{"password": "sixteen letters!"}"#).expect("a place");
        assert_eq!(encrypted.primary, Path::new("/data/hivemind-core/clients.ejson"));
        assert_eq!(encrypted.sentinel, usual.sentinel);
        assert!(encrypted.lock.ends_with("clients.ejson.lock"));
        assert_ne!(encrypted.journal, usual.journal);
        for name in ["", "..", "a/", "/"] {
            assert!(place(&format!(r#"{{"name": "{name}"}}"#)).is_err(), "{name:?}");
        }
    }

    #[test]
    fn another_collection_never_gets_the_primarys_file() {
        let agents = Collection::new("agents", 1, "id", Kind::Text);
        assert!(place(r#"{"name": "agents"}"#).expect("a place").files(&agents).is_err());
        let files = place("{}").expect("a place").files(&agents).expect("files");
        assert_eq!(files.data, Path::new("/data/hivemind-core/agents.json"));
        assert_eq!(files.sentinel, Path::new("/data/hivemind-core/agents.schema_version"));
    }
}
