//! What a program was acknowledged, line by line, on disk as soon as it knows.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// A change that was acknowledged.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// The client was added so; what is not named is at its default.
    Added(Map<String, Value>),
    /// This field became this, whatever it was.
    Field(String, Value),
    /// A message type was allowed, or taken away.
    Type(String, bool),
    /// A member of the metadata became this; `None`: it was taken away.
    Member(String, Option<Value>),
    /// The client was revoked.
    Revoked,
    /// The client was revoked as the Python node does it on Redis: its name and its secrets went, the rest stayed.
    Blanked,
}

/// A line of a log.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// Microseconds since 1970, when the acknowledgement came.
    pub at: u64,
    /// Whose change.
    pub by: String,
    /// The client's id.
    pub id: i64,
    /// What became of it.
    pub change: Change,
}

/// The log of one writer.
#[derive(Debug)]
pub struct Log {
    by: String,
    file: Mutex<File>,
}

impl Log {
    /// The log of this writer in the folder of all logs.
    ///
    /// # Panics
    /// If it cannot be created.
    #[must_use]
    pub fn new(folder: &Path, by: &str) -> Self {
        std::fs::create_dir_all(folder).expect("a folder");
        let file = OpenOptions::new().append(true).create(true).open(folder.join(format!("{by}.log"))).expect("a log");
        Self { by: by.to_owned(), file: Mutex::new(file) }
    }

    /// Notes a change that was acknowledged just now.
    ///
    /// # Panics
    /// If it cannot be written.
    pub fn note(&self, id: i64, change: Change) {
        let entry = Entry { at: now(), by: self.by.clone(), id, change };
        let line = serde_json::to_string(&entry).expect("JSON") + "\n";
        self.file.lock().expect("a log").write_all(line.as_bytes()).expect("written");
    }
}

/// Microseconds since 1970.
#[must_use]
pub fn now() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

/// All entries of all logs of a folder; those of one writer in their order.
///
/// # Panics
/// If one cannot be read.
#[must_use]
pub fn read_all(folder: &Path) -> Vec<Entry> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder).expect("logs").map(|e| e.expect("a log").path()).collect();
    files.sort();
    let texts = files.iter().map(|file| std::fs::read_to_string(file).expect("a log"));
    texts.flat_map(|text| text.lines().map(|line| serde_json::from_str(line).expect(line)).collect::<Vec<_>>()).collect()
}
