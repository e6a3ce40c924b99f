//! What becomes of one record, and of everything that names it.

use hivemind_abi::model::{Collection, Index, Key, Result, Row, RowView, ValueRef, eval};

use crate::keys::{Keys, member};
use crate::plan::{Plan, Write};
use crate::record::render;
use crate::space::Space;

/// A record that changes.
pub(crate) struct Record<'r> {
    pub(crate) space: &'r Space,
    pub(crate) key: &'r Key,
    pub(crate) before: Option<&'r Row>,
    pub(crate) after: Option<&'r Row>,
}

impl Record<'_> {
    /// Adds what becomes of the record's key, sets and document; counters aside.
    ///
    /// # Errors
    /// `invalid` for a record that the Python node could not work with.
    pub(crate) fn plan(&self, plan: &mut Plan) -> Result<()> {
        if self.before.is_none() && self.after.is_none() {
            return Ok(());
        }
        let (keys, collection) = (&self.space.keys, &self.space.collection);
        let id = member(self.key);
        let before = self.before.map(|row| row.view(collection)).transpose()?;
        let after = self.after.map(|row| row.view(collection)).transpose()?;
        match &after {
            Some(view) => {
                keys.check(collection, view)?;
                plan.write(keys.record_of(&id), Write::Set(render(&self.space.form, view).into_bytes()));
                let document =
                    keys.document_of(view).filter(|new| before.as_ref().and_then(|old| keys.document_of(old)) != Some(*new));
                if let (Some((name, api_key)), Some(key)) = (document, keys.document_key(&id)) {
                    plan.write(key, Write::Document(name.to_owned(), api_key.to_owned()));
                }
            }
            None => {
                plan.write(keys.record_of(&id), Write::Delete);
                keys.document_key(&id).into_iter().for_each(|key| plan.write(key, Write::Delete));
            }
        }
        follow(plan, keys, &id, before.as_ref(), after.as_ref());
        Ok(())
    }
}

/// Adds what becomes of the sets that a record is named in, and of what other nodes remember of it.
pub(crate) fn follow(plan: &mut Plan, keys: &Keys, id: &[u8], before: Option<&RowView<'_>>, after: Option<&RowView<'_>>) {
    let sets = |view: Option<&RowView<'_>>| view.map(|view| keys.sets_of(view)).unwrap_or_default();
    let new = sets(after);
    let (kept, left): (Vec<_>, Vec<_>) = sets(before).into_iter().partition(|set| new.contains(set));
    for set in new.into_iter().filter(|set| !kept.contains(set)) {
        plan.write(set, Write::Add(id.to_vec()));
    }
    for set in left {
        plan.write(set, Write::Remove(id.to_vec()));
    }
    let admission = |view: Option<&RowView<'_>>| view.and_then(|view| keys.admission(view));
    let new = admission(after);
    let old = admission(before).filter(|old| Some(old) != new.as_ref());
    old.into_iter().chain(new).for_each(|key| plan.write(key, Write::Delete));
}

/// Whether nobody else may have this value in this field.
pub(super) fn is_taken(collection: &Collection, field: usize, value: ValueRef<'_>) -> bool {
    let Some(Index::Unique { except }) = collection.fields.get(field).map(|field| &field.index) else { return false };
    !value.is_nil() && !except.iter().any(|excepted| eval::same(excepted.as_ref(), value))
}

/// The sets of a row's values that nobody else may have.
pub(super) fn unique_sets(space: &Space, row: &Row) -> Vec<Vec<u8>> {
    let collection = &space.collection;
    let unique = (0..collection.fields.len()).filter(|at| matches!(collection.fields[*at].index, Index::Unique { .. }));
    let taken = unique
        .filter_map(|at| row.at(collection, at).ok().filter(|value| is_taken(collection, at, *value)).map(|value| (at, value)));
    taken.filter_map(|(at, value)| space.keys.set(at, value)).collect()
}
