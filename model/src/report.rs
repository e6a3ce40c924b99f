//! What a backend tells about itself, and the maintenance it can be asked for.

use crate::value::{Key, Value};

/// A piece of maintenance.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Task {
    /// Read everything and report what is unreadable, duplicated or inconsistent. Changes nothing.
    Verify,
    /// Give unused space back.
    Vacuum,
    /// Move what is in a side log into the main file.
    Checkpoint,
    /// Write a consistent copy to this path, which must not exist.
    Backup {
        /// The file to create.
        to: String,
    },
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
