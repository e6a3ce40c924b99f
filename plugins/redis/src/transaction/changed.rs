//! What becomes of one record, and of everything that names it.

use std::collections::BTreeSet;

use hivemind_abi::model::{Collection, Index, Key, Result, Row, RowView, ValueRef, eval};

use crate::keys::member;
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
        let before = self.before.map(|row| row.view(collection)).transpose()?;
        let after = self.after.map(|row| row.view(collection)).transpose()?;
        let sets = |view: &Option<RowView<'_>>| view.as_ref().map(|view| keys.sets_of(view)).unwrap_or_default();
        let (old_sets, new_sets) = (sets(&before), sets(&after));
        match &after {
            Some(view) => {
                keys.check(collection, view)?;
                plan.write(keys.record(self.key), Write::Set(render(view).into_bytes()));
                let documented = before.as_ref().and_then(|before| keys.document(self.key, before));
                if let Some((key, name, api_key)) = keys.document(self.key, view)
                    && documented != Some((key.clone(), name, api_key))
                {
                    plan.write(key, Write::Document(name.to_owned(), api_key.to_owned()));
                }
            }
            None => {
                plan.write(keys.record(self.key), Write::Delete);
                keys.document_key(self.key).into_iter().for_each(|key| plan.write(key, Write::Delete));
            }
        }
        for set in new_sets.iter().filter(|set| !old_sets.contains(set)) {
            plan.write(set.clone(), Write::Add(member(self.key)));
        }
        for set in old_sets.iter().filter(|set| !new_sets.contains(set)) {
            plan.write(set.clone(), Write::Remove(member(self.key)));
        }
        let admissions: BTreeSet<Vec<u8>> = before.iter().chain(&after).filter_map(|view| keys.admission(view)).collect();
        admissions.into_iter().for_each(|key| plan.write(key, Write::Delete));
        Ok(())
    }
}

/// Whether nobody else may have this value in this field.
pub(super) fn is_taken(collection: &Collection, field: usize, value: ValueRef<'_>) -> bool {
    let Some(Index::Unique { except }) = collection.fields.get(field).map(|field| &field.index) else { return false };
    !value.is_nil() && !except.iter().any(|excepted| eval::same(excepted.as_ref(), value))
}

/// The sets of the values that nobody else may have.
pub(super) fn unique_sets(space: &Space, collection: &Collection, view: &RowView<'_>) -> Vec<Vec<u8>> {
    let taken = (0..collection.fields.len()).filter(|at| is_taken(collection, *at, view.at(*at)));
    taken.filter_map(|at| space.keys.set(at, view.at(at))).collect()
}

pub(super) fn unique_sets_of(space: &Space, row: &Row) -> Vec<Vec<u8>> {
    let collection = &space.collection;
    let unique = (0..collection.fields.len()).filter(|at| matches!(collection.fields[*at].index, Index::Unique { .. }));
    let taken = unique
        .filter_map(|at| row.at(collection, at).ok().filter(|value| is_taken(collection, at, *value)).map(|value| (at, value)));
    taken.filter_map(|(at, value)| space.keys.set(at, value)).collect()
}
