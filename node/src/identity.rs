//! Who the node is for life: its `node_id` and its Noise key.
//!
//! Both are the Python node's where there is one: satellites have pinned its key and derived their keys from its id, and a node that
//! came up with others would be refused by each of them for good. So nothing here is ever made anew in the place of something that is
//! there but cannot be read, nor made at all without a look at the store: whether clients are [paired](crate::server) with a node whose
//! identity this is not. What is made is written as the Python node writes it, so that it can take over in its turn; only its
//! RSA key, of use for INTERCOM alone, is left for it to make.

use std::fmt;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use hivemind_protocol::StaticKey;
use serde_json::{Map, Value};

use crate::files;

/// The file that the Python node and its clients keep.
const FILE: &str = "_identity.json";

/// What the Python node is called that nobody gave a name.
const UNNAMED: &str = "unnamed-node";

/// Satellites do not remember the key they derived for a longer id, and derive it at each connection.
const LONGEST_ID: usize = 512;

/// Who the node is.
pub(crate) struct Identity {
    /// Unique and stable: the RSA key of a Python node, or a name made once.
    pub(crate) node_id: String,
    /// Where it stands.
    pub(crate) site_id: Option<String>,
    /// The key that satellites pin.
    pub(crate) key: StaticKey,
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").field("node_id", &self.node_id).field("site_id", &self.site_id).finish_non_exhaustive()
    }
}

/// The files in a folder that are a node's identity, whether they are there or not: nobody else may read or change them.
#[must_use]
pub fn files(folder: &Path) -> Vec<PathBuf> {
    let members = read(&folder.join(FILE)).unwrap_or_default();
    vec![folder.join(FILE), key_path(folder, text(&members, "noise_key"), || name_of(&members))]
}

/// What there is of a node's identity. Looking changes nothing.
pub(crate) struct Found {
    folder: PathBuf,
    members: Map<String, Value>,
    node_id: Option<String>,
    key_path: PathBuf,
    key: Option<StaticKey>,
}

impl Found {
    /// Looks for the identity in a folder.
    ///
    /// # Errors
    /// A text for the operator, if there is one that cannot be read.
    pub(crate) fn look(folder: &Path) -> Result<Self, String> {
        let members = read(&folder.join(FILE))?;
        let key_path = key_path(folder, text(&members, "noise_key"), || name_of(&members));
        Ok(Self {
            folder: folder.to_owned(),
            node_id: text(&members, "public_key"),
            key: read_key(&key_path)?,
            members,
            key_path,
        })
    }

    /// What is not there and would be made.
    pub(crate) fn missing(&self) -> Option<String> {
        let id = || format!("no id in {}", self.folder.join(FILE).display());
        let key = || format!("no Noise key at {}", self.key_path.display());
        match (&self.node_id, &self.key) {
            (Some(_), Some(_)) => None,
            (None, Some(_)) => Some(id()),
            (Some(_), None) => Some(key()),
            (None, None) => Some(format!("{} and {}", id(), key())),
        }
    }

    /// The identity, what is missing made.
    ///
    /// # Errors
    /// A text for the operator, if it cannot be made.
    pub(crate) fn complete(mut self) -> Result<Identity, String> {
        let folder = &self.folder;
        files::make_folder(folder).map_err(|e| failed("make the folder of the node's identity", folder, &e))?;
        let node_id = match self.node_id {
            Some(id) => id,
            None => make_id(&folder.join(FILE), &mut self.members)?,
        };
        if node_id.chars().count() > LONGEST_ID {
            tracing::warn!(
                "the node's id is longer than {LONGEST_ID} characters: satellites derive their keys at every connection"
            );
        }
        let key = match self.key {
            Some(key) => key,
            None => make_key(&self.key_path)?,
        };
        if node_id.starts_with("-----BEGIN PUBLIC KEY-----") {
            tracing::info!(
                "INTERCOM for this node itself is not offered: its RSA key is told nobody, and what is sealed for it is dropped"
            );
        }
        Ok(Identity { node_id, site_id: text(&self.members, "site_id"), key })
    }
}

/// A member that is a text and not empty.
fn text(members: &Map<String, Value>, name: &str) -> Option<String> {
    members.get(name).and_then(Value::as_str).filter(|text| !text.is_empty()).map(str::to_owned)
}

fn failed(what: &str, path: &Path, error: &dyn fmt::Display) -> String {
    format!("cannot {what} {}: {error}", path.display())
}

fn read(path: &Path) -> Result<Map<String, Value>, String> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Map::new()),
        Err(error) => return Err(failed("read the node's identity", path, &error)),
    };
    serde_json::from_str(&text).map_err(|error| {
        let what = failed("understand the node's identity", path, &error);
        format!("{what}; restore the file, or remove it to be a new node, which every satellite has to pair with again")
    })
}

/// Gives the node an id and writes it into its identity, beside all that is there.
fn make_id(path: &Path, members: &mut Map<String, Value>) -> Result<String, String> {
    if let Some(Value::String(key)) = members.get("secret_key") {
        return Err(format!(
            "{} names a private key, {key}, but not its public half, which is the node's id; start the Python node once, which adds it",
            path.display()
        ));
    }
    let id = format!("hivemind-host-{}", uuid::Uuid::new_v4().simple());
    members.insert("public_key".to_owned(), Value::String(id.clone()));
    let text = serde_json::to_string_pretty(members).map_err(|e| failed("write the node's identity", path, &e))?;
    files::replace(path, text.as_bytes(), 0o600).map_err(|e| failed("write the node's identity", path, &e))?;
    tracing::info!(path = %path.display(), "the node has got its identity");
    Ok(id)
}

/// The node's name decides what its key file is called; without one, the name of its access key does.
fn name_of(members: &Map<String, Value>) -> String {
    let text = |name: &str| members.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
    let of_key = || text("key").map(|key| key.rsplit('/').next().unwrap_or_default()).filter(|name| !name.is_empty());
    text("name").or_else(of_key).unwrap_or(UNNAMED).to_owned()
}

/// Where the Noise key is: where the identity says, else beside it. A path of another machine's, whose folder is not there, counts by
/// its last part only.
fn key_path(folder: &Path, stored: Option<String>, name: impl FnOnce() -> String) -> PathBuf {
    let Some(stored) = stored.map(PathBuf::from) else { return folder.join(format!("{}_noise.key", name())) };
    if !stored.is_absolute() || stored.is_file() || stored.parent().is_some_and(Path::is_dir) {
        return folder.join(stored);
    }
    stored.file_name().map_or_else(|| folder.join(&stored), |name| folder.join(name))
}

fn make_key(path: &Path) -> Result<StaticKey, String> {
    let key = StaticKey::generate().map_err(|e| failed("make the node's Noise key", path, &e))?;
    let made = files::create(path, key.to_hex().as_bytes()).map_err(|e| failed("write the node's Noise key", path, &e))?;
    if made {
        tracing::info!(path = %path.display(), "the node has got its Noise key");
        return Ok(key);
    }
    // Another process was first.
    read_key(path)?.ok_or_else(|| failed("read the node's Noise key", path, &"it was there, and is gone"))
}

fn read_key(path: &Path) -> Result<Option<StaticKey>, String> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed("read the node's Noise key", path, &error)),
    };
    StaticKey::from_hex(&text).map(Some).ok_or_else(|| {
        failed(
            "use the node's Noise key",
            path,
            &"expected 64 hexadecimal digits, found something else; restore the file, or remove it to be a node that every satellite \
              has to pair with again",
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(folder: &Path) -> Result<Identity, String> {
        Found::look(folder)?.complete()
    }

    fn folder() -> tempfile::TempDir {
        tempfile::tempdir().expect("a folder")
    }

    #[test]
    fn a_new_node_keeps_what_it_made() {
        let folder = folder();
        let place = folder.path().join("hivemind");
        let missing = Found::look(&place).expect("looked").missing().expect("all of it");
        assert!(missing.contains(FILE) && missing.contains("unnamed-node_noise.key") && !place.exists(), "{missing}");
        let first = open(&place).expect("made");
        assert_eq!(Found::look(&place).expect("looked").missing(), None);
        let again = open(&place).expect("read");
        assert!(first.node_id.starts_with("hivemind-host-"));
        assert_eq!((&first.node_id, first.key.public()), (&again.node_id, again.key.public()));
        let written = std::fs::read_to_string(place.join("unnamed-node_noise.key")).expect("a key");
        assert_eq!(written.len(), 64);
        #[cfg(unix)]
        for file in [FILE, "unnamed-node_noise.key"] {
            use std::os::unix::fs::PermissionsExt as _;
            let mode = std::fs::metadata(place.join(file)).expect("a file").permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{file}");
        }
    }

    #[test]
    fn a_python_nodes_identity_is_taken_over() {
        let folder = folder();
        let pem = "-----BEGIN PUBLIC KEY-----\nMIIB\n-----END PUBLIC KEY-----";
        let identity =
            serde_json::json!({"name": "hall", "public_key": pem, "site_id": "home", "secret_key": "HiveMindComs.pem"});
        std::fs::write(folder.path().join(FILE), identity.to_string()).expect("written");
        let key = "77076d0a7318a57d3c16c17251b26a4505b0c6b8c2a0d7e1f6fbd1e6f0f0b3a1";
        std::fs::write(folder.path().join("hall_noise.key"), format!("{key}\n")).expect("written");
        let taken = open(folder.path()).expect("read");
        assert_eq!(taken.node_id, pem);
        assert_eq!((taken.site_id.as_deref(), taken.key.to_hex().as_str()), (Some("home"), key));
    }

    #[test]
    fn an_identity_without_an_id_gets_one_and_keeps_the_rest() {
        let folder = folder();
        std::fs::write(folder.path().join(FILE), r#"{"password": "p", "noise_key": "/not/here/own.key"}"#).expect("written");
        let made = open(folder.path()).expect("made");
        let members = read(&folder.path().join(FILE)).expect("read");
        assert_eq!((members["password"].as_str(), members["public_key"].as_str()), (Some("p"), Some(made.node_id.as_str())));
        assert!(folder.path().join("own.key").is_file());
    }

    #[test]
    fn what_cannot_be_read_is_never_replaced() {
        for (file, content) in [(FILE, "{\"name\":"), (FILE, ""), (FILE, "[]"), ("unnamed-node_noise.key", "abc")] {
            let folder = folder();
            std::fs::write(folder.path().join(file), content).expect("written");
            let error = open(folder.path()).expect_err("refused");
            assert!(error.contains(file) && error.contains("restore"), "{error}");
            assert_eq!(std::fs::read_to_string(folder.path().join(file)).expect("still there"), content);
        }
    }
}
