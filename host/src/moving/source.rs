//! What is moved: the records of a store, or those of an export.

use hivemind_model::{Collection, Problem, Token, Unreadable};

use super::rows::{Rows, StoreRows};
use super::store::Store;
use crate::failure::Failure;

/// Where records come from.
pub trait Source {
    /// What it is, for messages and to know it again.
    fn place(&self) -> String;

    /// The collection at this position, counted as in the target.
    fn collection(&self, at: usize) -> &Collection;

    /// Its records from the first on.
    ///
    /// # Errors
    /// What kept them from being read.
    fn rows(&self, at: usize) -> Result<Box<dyn Rows + '_>, Failure>;

    /// Its records that cannot be read.
    ///
    /// # Errors
    /// What kept it from being asked.
    fn unreadable(&self, at: usize) -> Result<Vec<Unreadable>, Failure>;

    /// What is wrong with collections of it beside that: parts of them that are no record of any key.
    ///
    /// # Errors
    /// What kept it from being asked.
    fn strays(&self) -> Result<Vec<Problem>, Failure>;

    /// Where its history stands.
    ///
    /// # Errors
    /// What kept it from being asked.
    fn moment(&self) -> Result<Moment, Failure>;

    /// Whether it was changed since.
    ///
    /// # Errors
    /// What kept it from being asked.
    fn changed_since(&self, moment: &Moment) -> Result<Changed, Failure>;
}

/// A point in a source's history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Moment {
    /// It never changes.
    Fixed,
    /// Its backend tells what changed since.
    Tracked(Vec<Token>),
    /// Nobody tells.
    Untracked,
}

/// What became of a source since a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Changed {
    /// Nothing.
    No,
    /// Something.
    Yes,
    /// Only reading it again shows.
    Unknown,
}

impl Source for Store {
    fn place(&self) -> String {
        Self::place(self)
    }

    fn collection(&self, at: usize) -> &Collection {
        Self::collection(self, at).1
    }

    fn rows(&self, at: usize) -> Result<Box<dyn Rows + '_>, Failure> {
        Ok(Box::new(StoreRows::new(self, at)))
    }

    fn unreadable(&self, at: usize) -> Result<Vec<Unreadable>, Failure> {
        // Backends name all of them with the first page.
        let mut rows = StoreRows::new(self, at);
        rows.next()?;
        Ok(rows.unreadable)
    }

    fn strays(&self) -> Result<Vec<Problem>, Failure> {
        // What has a key is named by reading; what has no collection concerns the file and not the records.
        let found = self.verify()?.problems.into_iter();
        Ok(found.filter(|problem| problem.key.is_none() && !problem.collection.is_empty()).collect())
    }

    fn moment(&self) -> Result<Moment, Failure> {
        Ok(self.tokens()?.map_or(Moment::Untracked, Moment::Tracked))
    }

    fn changed_since(&self, moment: &Moment) -> Result<Changed, Failure> {
        Ok(match moment {
            Moment::Fixed => Changed::No,
            Moment::Tracked(tokens) if self.changed_since(tokens)? => Changed::Yes,
            Moment::Tracked(_) => Changed::No,
            Moment::Untracked => Changed::Unknown,
        })
    }
}
