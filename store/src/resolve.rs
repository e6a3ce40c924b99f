//! Finding out whether a batch was applied, after the connection was cut behind its commit.
//!
//! Repeating it could add a record twice, so what is stored now is compared with what the batch would have left. Each mutation must
//! be seen to hold; one that leaves no trace to look for keeps the answer unknown.

use hivemind_model::eval::{same, same_rows};
use hivemind_model::{Backend, Collection, Context, Index, Mutation, Outcome, Row, RowView, change};

use crate::Storage;

/// The outcomes the batch must have had, if every one of its mutations is seen to hold now.
pub(crate) fn outcomes(storage: &Storage, cx: &Context<'_>, mutations: &[Mutation]) -> Option<Vec<Outcome>> {
    if mutations.iter().all(|m| matches!(m, Mutation::Expect { .. })) {
        return None;
    }
    mutations
        .iter()
        .map(|mutation| {
            let collection = storage.collection(mutation.collection())?;
            outcome(storage.backend(), cx, &collection, mutation)
        })
        .collect()
}

fn outcome(backend: &dyn Backend, cx: &Context<'_>, collection: &Collection, mutation: &Mutation) -> Option<Outcome> {
    let id = mutation.collection();
    match mutation {
        Mutation::Insert { row, .. } => {
            let view = row.view(collection).ok()?;
            let stored = backend.get(cx, id, view.key()).ok()??;
            let stored = stored.view(collection).ok()?;
            same_rows(&view, &stored).then(|| Outcome::Inserted(stored.key().to_key()))
        }
        Mutation::InsertNext { row, .. } => {
            let wanted = RowView::keyless(collection, row.as_bytes()).ok()?;
            let stored = by_unique_value(backend, cx, collection, mutation, &wanted)?;
            let stored = stored.view(collection).ok()?;
            let others = |at: usize| at == collection.key || same(wanted.at(at), stored.at(at));
            (0..collection.fields.len()).all(others).then(|| Outcome::Inserted(stored.key().to_key()))
        }
        Mutation::Put { row, .. } => {
            let view = row.view(collection).ok()?;
            let stored = backend.get(cx, id, view.key()).ok()??;
            // Whether there was one before cannot be seen any more.
            same_rows(&view, &stored.view(collection).ok()?).then_some(Outcome::Put { replaced: true })
        }
        Mutation::Update { key, changes, .. } => {
            let stored = backend.get(cx, id, key.as_ref()).ok()??;
            let view = stored.view(collection).ok()?;
            // A record on which the changes have no further effect has had them. An increment always has one.
            let again = change::apply(&view, changes).ok()?;
            same_rows(&view, &again.view(collection).ok()?).then_some(Outcome::Updated(again))
        }
        Mutation::Delete { key, .. } => backend.get(cx, id, key.as_ref()).ok()?.is_none().then_some(Outcome::Deleted(1)),
        // It held if the rest of the batch was applied.
        Mutation::Expect { .. } => Some(Outcome::Expected),
        _ => None,
    }
}

/// The stored record that has the row's value in a unique field.
fn by_unique_value(
    backend: &dyn Backend,
    cx: &Context<'_>,
    collection: &Collection,
    mutation: &Mutation,
    row: &RowView<'_>,
) -> Option<Row> {
    let at = collection.fields.iter().enumerate().position(|(at, field)| match &field.index {
        Index::Unique { except } => !row.at(at).is_nil() && !except.iter().any(|e| same(e.as_ref(), row.at(at))),
        _ => false,
    })?;
    backend.get_by(cx, mutation.collection(), at, row.at(at)).ok()?
}
