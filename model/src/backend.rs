//! The trait a storage engine implements, and what its calls return.
//!
//! The decision behind its shape: **nothing is held between calls.** Pages continue from a place, not from a cursor; transactions are
//! one `apply` with preconditions, not an open handle. So a backend can be restarted, shared by processes, or sit behind a pipe, and
//! the same calls mean the same on SQLite, Redis and a JSON file.
//!
//! Every method is called from many threads at once. None may be entered again from within itself.

use crate::capability::Capabilities;
use crate::collection::{Collection, CollectionId};
use crate::context::Context;
use crate::error::{Error, Result};
use crate::mutation::{Mutation, Outcome};
use crate::query::{Condition, Op, Page, Query};
use crate::report::{Report, Task};
use crate::row::Row;
use crate::value::{Key, KeyRef, ValueRef};

/// What one key's lookup in [`Backend::get_many`] gave.
pub type Lookup = Result<Option<Row>>;

/// A point in a backend's history of committed changes. Opaque, and good for the handle that gave it only: another one, or a
/// reopened one, answers [`Changes::Everything`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Token {
    /// Which handle gave it.
    pub epoch: u64,
    /// Where in its history.
    pub sequence: u64,
}

/// What an applied batch gave.
#[derive(Debug, Clone, PartialEq)]
pub struct Applied {
    /// One outcome for each mutation.
    pub outcomes: Vec<Outcome>,
    /// A point in history at or behind this commit.
    pub token: Token,
}

/// What changed since a token.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Changes {
    /// Nothing.
    Nothing,
    /// The records with these keys, maybe more than once, maybe some that did not change.
    Keys(Vec<Key>),
    /// Assume that everything did.
    Everything,
}

/// Something a handle must have for itself in this process; see [`Backend::resources`].
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Resource {
    /// What sort: `file`, or another word.
    pub kind: String,
    /// Which one.
    pub id: String,
    /// How to call it in a message: an address, or for a `file` its path, by which the host recognises it whatever the id. Never a
    /// secret.
    pub name: String,
}

/// A storage engine.
///
/// Errors of every call: `deadline` when the context says so, `unavailable`, `busy` or `io` when the engine cannot be reached, used
/// or written, `corrupt` for a record that cannot be read, `invalid` for a request that does not fit the collection (a key of another
/// kind than its keys among them), `unsupported` for what is not among the [capabilities](Backend::capabilities). Each method names
/// the others. A failure is never reported as absence.
///
/// A call that writes may have been applied all the same after `outcome unknown` and `panicked`, and after a code that the caller
/// does not know; after every other error nothing was applied. [`Error::retryable`] says more: that the same call may pass later.
///
/// The JSON document `null` in a json field counts as nil: it is stored and read as that. Inside a document it is a value like others.
pub trait Backend: Send + Sync {
    /// What this handle, as configured, promises.
    fn capabilities(&self) -> Capabilities;

    /// Creates, migrates or just finds the storage of these collections and returns the ids to use, in the same order. A handle's ids
    /// count from 0 in the order in which names are first prepared, as [`Catalog`](crate::Catalog) gives them. Idempotent,
    /// and safe to cut at any point. May be called again with further collections; an equal one keeps its id.
    ///
    /// # Errors
    /// `too new` if a stored version is newer than the collection's: nothing was touched.
    fn prepare(&self, cx: &Context<'_>, collections: &[Collection]) -> Result<Vec<CollectionId>>;

    /// The record with this key.
    ///
    /// # Errors
    /// `invalid` for a key of another kind than the collection's; otherwise see the trait.
    fn get(&self, cx: &Context<'_>, collection: CollectionId, key: KeyRef<'_>) -> Result<Option<Row>>;

    /// The record with this value in a unique field. Of stored duplicates the lowest key wins.
    ///
    /// Damage elsewhere in a record leaves its value taken, so the record is `corrupt` here and not absent. An engine looks at the
    /// field alone for that. This default cannot: where it finds nothing and some record cannot be read, it answers `corrupt` for
    /// every value, because one that is given away twice is worse than one that is refused until the store is repaired.
    ///
    /// # Errors
    /// `corrupt` if the record that has the value cannot be read, or nobody can tell whether one has.
    fn get_by(&self, cx: &Context<'_>, collection: CollectionId, field: usize, value: ValueRef<'_>) -> Result<Option<Row>> {
        let equals = Condition::new(field, Op::Eq, value.to_value());
        self.find(cx, &Query::all(collection).filter(equals).limit(1), usize::MAX)?.into_first()
    }

    /// The records with these keys, one answer for each.
    ///
    /// # Errors
    /// See the trait. What concerns one record or key only is that one's answer.
    fn get_many(&self, cx: &Context<'_>, collection: CollectionId, keys: &[Key]) -> Result<Vec<Lookup>> {
        keys.iter()
            .map(|key| {
                cx.check()?;
                Ok(self.get(cx, collection, key.as_ref()))
            })
            .collect()
    }

    /// A page of a query's answer: rows of at most `max_bytes` together, but at least one if there is one.
    ///
    /// # Errors
    /// See the trait.
    fn find(&self, cx: &Context<'_>, query: &Query, max_bytes: usize) -> Result<Page>;

    /// How many records a query finds. Its order and `after` do not matter; offset and limit count. Records that cannot be read are
    /// left out, as they are left out of the rows of [`Backend::find`].
    ///
    /// # Errors
    /// See the trait.
    fn count(&self, cx: &Context<'_>, query: &Query) -> Result<u64> {
        const PAGE_BYTES: usize = 1 << 20;
        let mut total: u64 = 0;
        let mut query = Query { order: Vec::new(), after: None, ..query.clone() };
        loop {
            cx.check()?;
            let page = self.find(cx, &query, PAGE_BYTES)?;
            let found = page.rows.len() as u64;
            if found == 0 && page.next.is_some() {
                return Err(Error::corrupt("counting stopped at a page without rows that says it is not the last"));
            }
            total += found;
            query.limit = query.limit.map(|l| l.saturating_sub(found));
            match page.next {
                Some(next) if query.limit != Some(0) => query = query.after(next).offset(0),
                _ => return Ok(total),
            }
        }
    }

    /// Carries a batch out: all of it or nothing, isolated from every other `apply`, acknowledged when it is as durable as configured.
    /// Mutations see what those before them did.
    ///
    /// # Errors
    /// `conflict`, `not found` and the others name the mutation in their detail. `outcome unknown` if the commit was sent and its
    /// answer never came; what else may have been applied is said at the trait.
    fn apply(&self, cx: &Context<'_>, mutations: &[Mutation]) -> Result<Applied>;

    /// Where history stands now, and what changed since `token`, by anyone. A handle without change tracking answers
    /// [`Changes::Everything`] always.
    ///
    /// # Errors
    /// See the trait.
    fn changes_since(&self, _cx: &Context<'_>, _collection: CollectionId, _token: Token) -> Result<(Token, Changes)> {
        Ok((Token::default(), Changes::Everything))
    }

    /// Reads outside changes again and repairs derived state (indexes, counters).
    ///
    /// # Errors
    /// See the trait.
    fn sync(&self, _cx: &Context<'_>) -> Result<Report> {
        Ok(Report::new())
    }

    /// Does a piece of maintenance.
    ///
    /// # Errors
    /// `unsupported` for a task this backend does not know.
    fn maintain(&self, _cx: &Context<'_>, task: &Task) -> Result<Report> {
        Err(Error::unsupported(format!("this backend does not offer {task:?}")))
    }

    /// Facts for the operator. Well-known entries: `location` (text), `schema_version` (int), `acknowledged_write` (text: what one is
    /// worth), `engine` (text).
    ///
    /// # Errors
    /// See the trait.
    fn stats(&self, _cx: &Context<'_>) -> Result<Report> {
        Ok(Report::new())
    }

    /// What this handle needs for itself in this process. The host refuses a second handle on the same resource. Known from
    /// construction on.
    fn resources(&self) -> Vec<Resource> {
        Vec::new()
    }

    /// Finishes what is under way and lets everything go. Called once; every later call, `sync`, `stats` and `maintain` included, is
    /// answered with `unavailable` and not retryable. Only `capabilities` and `resources` answer as before.
    ///
    /// # Errors
    /// See the trait.
    fn close(&self, _cx: &Context<'_>) -> Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests;
