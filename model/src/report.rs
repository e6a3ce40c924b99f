//! What a backend tells about itself, and the maintenance it can be asked for.

use std::fmt;

use crate::collection::Collection;
use crate::value::{Key, Value};

/// A piece of maintenance.
#[derive(Clone, PartialEq)]
#[non_exhaustive]
pub enum Task {
    /// Read everything and report what is unreadable, duplicated or inconsistent. Changes nothing.
    Verify,
    /// Give unused space back.
    Vacuum,
    /// Move what is in a side log into the main file.
    Checkpoint,
    /// Write a consistent copy of all collections, prepared or not, to this path, where nothing may be. It is as encrypted as the
    /// store, and whole when it gets its name. Reports `bytes`, and as problems what is damaged in it because it is in the store.
    Backup {
        /// The file to create.
        to: String,
    },
    /// Encrypt what is stored under another password. Without one, store it unencrypted. The handle needs the store for itself, so it
    /// is `busy` while anybody else has it open, and it is closed by this: open it anew with the new password.
    Rekey {
        /// The new password. It is in no message and no `Debug`.
        password: Option<String>,
    },
    /// Copy everything that is stored to another place of the same engine and leave what is stored where it is. What a place is called
    /// is the engine's affair: to Redis it is a tag (`cluster_hash_tag`).
    Move {
        /// Where to.
        to: String,
        /// Change nothing, and tell what would be done.
        dry_run: bool,
    },
    /// Put what a backup holds in the place of everything that is stored. The backup is verified first; one that is damaged, newer or
    /// opened by another password changes nothing. Other handles see the new content at their next call. Reports `records`.
    Restore {
        /// A file that [`Task::Backup`] made.
        from: String,
        /// Where to write a backup of what is replaced, where nothing may be; `None`: it is lost.
        keep: Option<String>,
    },
    /// Read a backup and report what is wrong with it, as [`Task::Verify`] does for the store, which is neither opened nor prepared.
    VerifyBackup {
        /// A file that [`Task::Backup`] made.
        from: String,
        /// The collections whose records are looked at one by one.
        collections: Vec<Collection>,
    },
    /// Make derived structures anew (indexes, counters) and finish or clear away what crashes left, losing no record. Reports what was
    /// done.
    Repair,
}

impl fmt::Debug for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Verify => f.write_str("Verify"),
            Self::Vacuum => f.write_str("Vacuum"),
            Self::Checkpoint => f.write_str("Checkpoint"),
            Self::Backup { to } => f.debug_struct("Backup").field("to", to).finish(),
            Self::Rekey { .. } => f.debug_struct("Rekey").finish_non_exhaustive(),
            Self::Move { to, dry_run } => f.debug_struct("Move").field("to", to).field("dry_run", dry_run).finish(),
            Self::Restore { from, keep } => f.debug_struct("Restore").field("from", from).field("keep", keep).finish(),
            Self::VerifyBackup { from, .. } => f.debug_struct("VerifyBackup").field("from", from).finish_non_exhaustive(),
            Self::Repair => f.write_str("Repair"),
        }
    }
}

/// Something wrong that a backend found in stored data and left as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The collection it was found in.
    pub collection: String,
    /// The record, if it has a readable key.
    pub key: Option<Key>,
    /// One line for a person.
    pub message: String,
}

/// Named facts and found problems, in the order they should be shown.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Report {
    /// Facts: a name in snake_case and its value.
    pub entries: Vec<(String, Value)>,
    /// What is wrong with stored data.
    pub problems: Vec<Problem>,
}

impl Report {
    /// An empty report.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a fact.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.entries.push((name.to_owned(), value.into()));
        self
    }

    /// Looks a fact up.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.entries.iter().find(|(n, _)| n == name).map(|(_, v)| v)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_password_is_not_shown() {
        let shown = format!("{:?}", Task::Rekey { password: Some("hunter2".to_owned()) });
        assert_eq!(shown, "Rekey { .. }");
        assert_eq!(format!("{:?}", Task::Backup { to: "x".to_owned() }), "Backup { to: \"x\" }");
    }
}
