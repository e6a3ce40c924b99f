//! What stands in the way of a merge, found before anything is written.

use hivemind_model::{Key, Row};

use super::copy::Copy;
use super::progress::Progress;
use super::rows::{Carried, Rows as _, StoreRows};
use super::store::Store;
use super::survey::unique_values;
use crate::failure::{Exit, Failure};

/// How many are named in a message; a dry run names all of them.
const NAMED: usize = 20;

/// Records of the source whose key or unique value another record of the target has, one line each.
///
/// # Errors
/// Those of both sides.
pub fn list(copy: &Copy<'_>, progress: &mut dyn Progress) -> Result<Vec<String>, Failure> {
    progress.begin("comparing", None);
    let mut found = Vec::new();
    for at in 0..copy.target.len() {
        let (_, collection) = copy.target.collection(at);
        let name = &collection.name;
        let mut wanted = Carried::new(copy.source.rows(at)?, at, copy.left, collection);
        let mut there = StoreRows::new(copy.target, at);
        let mut theirs = there.next()?;
        while let Some(ours) = wanted.advance()? {
            progress.step(1);
            while theirs.as_ref().is_some_and(|(key, _)| *key < ours.key) {
                theirs = there.next()?;
            }
            let same_key = theirs.as_ref().filter(|(key, _)| *key == ours.key).map(|(_, row)| row);
            if ours.fills || same_key.is_some_and(|row| *row == ours.row) {
                continue;
            }
            let view = ours.row.view(collection)?;
            if let Some(row) = same_key {
                if hivemind_model::eval::same_rows(&view, &row.view(collection)?) {
                    continue;
                }
                found.push(format!("{name} {} is another one there", ours.key));
            }
            for (field, value) in unique_values(collection, &view) {
                if let Some(holder) =
                    holder(copy.target, at, copy.target.get_by(at, field, value)?)?.filter(|key| *key != ours.key)
                {
                    let field = &collection.fields[field].name;
                    found.push(format!("{name} {} has the {field} of {name} {holder} there", ours.key));
                }
            }
        }
    }
    progress.end();
    Ok(found)
}

fn holder(target: &Store, at: usize, found: Option<Row>) -> Result<Option<Key>, Failure> {
    Ok(found.map(|row| row.view(target.collection(at).1).map(|view| view.key().to_key())).transpose()?)
}

/// All of them as one failure.
#[must_use]
pub fn refusal(conflicts: &[String], target: &Store) -> Failure {
    let (count, more) = (conflicts.len(), conflicts.len().saturating_sub(NAMED));
    let mut named = conflicts[..count.min(NAMED)].join("; ");
    if more > 0 {
        named.push_str(&format!("; and {more} more"));
    }
    let message = format!("{count} records cannot be merged into {}: {named}", target.place());
    Failure::new(Exit::Conflict, "merge-conflict", message)
        .help("nothing was written; --prefer source or --prefer target decides for all of them, --dry-run lists all")
}
