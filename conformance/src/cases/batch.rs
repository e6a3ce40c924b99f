//! A batch is all or nothing, and its mutations see those before them.

use hivemind_model::{Capability, Change, Code, Condition, Mutation, Op, Outcome, Query, Value};

use crate::case::{Case, Checked};
use crate::check::{equal, refused, same_row};
use crate::fixture::{Handle, Store, all_pages, field};
use crate::subject::Subject;

const BATCHES: &[Capability] = &[Capability::AtomicBatch];

pub(super) const CASES: &[Case] = &[
    Case::new(
        "batch::fails_at_each_position",
        "A mutation that fails, at each position and in each way, leaves nothing of its batch, and the error names its position.",
        fails_at_each_position,
    )
    .requires(BATCHES),
    Case::new("batch::malformed_at_each_position", "So does a malformed mutation.", malformed_at_each_position).requires(BATCHES),
    Case::new("batch::sees_earlier", "Mutations see what those before them in the batch did.", sees_earlier).requires(BATCHES),
    Case::new("batch::outcomes_in_order", "Each mutation has its outcome at its own position.", outcomes_in_order)
        .requires(BATCHES),
    Case::new("batch::several_collections", "A batch over several collections is all or nothing too.", several_collections)
        .requires(BATCHES),
    Case::new("batch::large", "A batch of thousands of mutations is one batch.", large).requires(BATCHES),
    Case::new("batch::last_fails_after_reopening", "Nothing of a failed batch is there after reopening.", failed_then_reopened)
        .requires(&[Capability::AtomicBatch, Capability::Durable]),
];

/// Good mutations of every sort, on the things 1 to 5 and on notes.
fn good(store: &Handle) -> Result<Vec<Mutation>, hivemind_model::Error> {
    Ok(vec![
        store.insert(100, &[("t", "new".into())])?,
        store.update(1, vec![Change::set(field::T, "changed")], Vec::new()),
        store.put(2, &[("t", "replaced".into())])?,
        store.delete(3),
        store.insert_next(&[("t", "assigned".into())])?,
        Mutation::DeleteWhere { query: Query::all(store.things).filter(Condition::new(field::N, Op::Eq, 4)) },
        Mutation::Put { collection: store.notes, row: store.note_row("new", &[])? },
    ])
}

/// Everything that is stored, to compare with later.
fn contents(store: &Handle) -> Checked<Vec<hivemind_model::Row>> {
    let mut rows = all_pages(&*store.backend, &Query::all(store.things), usize::MAX)?;
    rows.extend(all_pages(&*store.backend, &Query::all(store.notes), usize::MAX)?);
    Ok(rows)
}

fn unchanged(store: &Handle, before: &[hivemind_model::Row], what: &str) -> Checked {
    let after = contents(store)?;
    let things = store.count(&Query::all(store.things))? as usize;
    equal(&format!("{what}: how many records"), &before.len(), &after.len())?;
    for (i, (before, after)) in before.iter().zip(&after).enumerate() {
        let collection = if i < things { &store.thing } else { &store.note };
        same_row(&format!("{what}: a record"), collection, before, after)?;
    }
    Ok(())
}

fn start(subject: &dyn Subject) -> Checked<Store> {
    let store = Store::fresh(subject)?;
    store.fill(1..=5)?;
    store.one(Mutation::Insert { collection: store.notes, row: store.note_row("old", &[])? })?;
    Ok(store)
}

fn fails_at_each_position(subject: &dyn Subject) -> Checked {
    let store = start(subject)?;
    let before = contents(&store)?;
    let never = vec![Condition::new(field::N, Op::Eq, -1)];
    let failing = [
        (Code::Conflict, store.insert(5, &[])?),
        (Code::NotFound, store.update(77, vec![Change::set(field::N, 1)], Vec::new())),
        (Code::Conflict, store.update(5, vec![Change::set(field::N, 1)], never)),
        (Code::Conflict, store.expect(5, None)),
        (Code::Invalid, store.update(5, vec![Change::set(field::N, "text")], Vec::new())),
    ];
    for (code, failing) in failing {
        for position in 0..=good(&store)?.len() {
            let mut batch = good(&store)?;
            batch.insert(position, failing.clone());
            let what = format!("{failing:?} at position {position}");
            let error = refused(&what, code, store.apply(&batch))?;
            equal(&format!("{what}: the mutation that the error names"), &Some(position as u32), &error.detail().mutation)?;
            unchanged(&store, &before, &what)?;
        }
    }
    store.apply(&good(&store)?)?;
    equal("the keys after the good batch alone", &vec![1, 2, 5, 100, 101], &store.every_id()?)
}

fn malformed_at_each_position(subject: &dyn Subject) -> Checked {
    let store = start(subject)?;
    let before = contents(&store)?;
    let garbage = Mutation::Put { collection: store.things, row: hivemind_model::Row::from_bytes(vec![0xc1]) };
    let nowhere = Mutation::Put { collection: hivemind_model::CollectionId(99), row: store.thing_row(1, &[])? };
    for failing in [garbage, nowhere] {
        for position in 0..=good(&store)?.len() {
            let mut batch = good(&store)?;
            batch.insert(position, failing.clone());
            let what = format!("{failing:?} at position {position}");
            refused(&what, Code::Invalid, store.apply(&batch))?;
            unchanged(&store, &before, &what)?;
        }
    }
    Ok(())
}

fn sees_earlier(subject: &dyn Subject) -> Checked {
    let store = Store::fresh(subject)?;
    let increment = || vec![Change::Increment { field: field::N, by: 1.into() }];
    let n_is = |n: i64| vec![Condition::new(field::N, Op::Eq, n)];
    store.apply(&[
        store.insert(1, &[("n", 1.into())])?,
        store.update(1, increment(), n_is(1)),
        store.update(1, increment(), n_is(2)),
        store.expect(1, Some(store.thing_row(1, &[("n", 3.into())])?)),
        store.delete(1),
        store.expect(1, None),
        store.insert(1, &[("n", 10.into())])?,
        store.insert(2, &[("n", 10.into())])?,
        Mutation::DeleteWhere { query: Query::all(store.things).filter(Condition::new(field::N, Op::Eq, 10)).limit(1) },
    ])?;
    equal("the keys", &vec![2], &store.every_id()?)?;
    if store.has(Capability::Unique) {
        let code = |id: i64| store.insert(id, &[("code", "c".into())]);
        refused("two of one code in a batch", Code::Conflict, store.apply(&[code(5)?, code(6)?]))?;
        // A code is free again once its holder is gone.
        store.apply(&[code(5)?, store.delete(5), code(6)?])?;
    }
    Ok(())
}

fn outcomes_in_order(subject: &dyn Subject) -> Checked {
    let store = start(subject)?;
    let outcomes = store.apply(&good(&store)?)?.outcomes;
    let shape = |outcome: &Outcome| match outcome {
        Outcome::Inserted(key) => format!("inserted {key}"),
        Outcome::Put { replaced } => format!("put {replaced}"),
        Outcome::Updated(_) => "updated".to_owned(),
        Outcome::Deleted(n) => format!("deleted {n}"),
        other => format!("{other:?}"),
    };
    let expected = ["inserted 100", "updated", "put true", "deleted 1", "inserted 101", "deleted 1", "put false"];
    equal("the outcomes", &expected.map(str::to_owned).to_vec(), &outcomes.iter().map(shape).collect())
}

fn several_collections(subject: &dyn Subject) -> Checked {
    let store = start(subject)?;
    let before = contents(&store)?;
    let note = |slug: &str| store.note_row(slug, &[]).map(|row| Mutation::Insert { collection: store.notes, row });
    let batches =
        [vec![store.insert(50, &[])?, note("a")?, store.insert(1, &[])?], vec![note("a")?, store.insert(50, &[])?, note("old")?]];
    for batch in batches {
        refused("the batch", Code::Conflict, store.apply(&batch))?;
        unchanged(&store, &before, "after the batch")?;
    }
    store.apply(&[store.insert(50, &[])?, note("a")?])?;
    equal("how many notes", &2, &store.count(&Query::all(store.notes))?)
}

fn large(subject: &dyn Subject) -> Checked {
    const MANY: i64 = 5_000;
    let store = Store::fresh(subject)?;
    let inserts: Result<Vec<_>, _> = (1..=MANY).map(|id| store.insert(id, &[("n", id.into())])).collect();
    let mut batch = inserts?;
    batch.push(store.insert(1, &[])?);
    refused("the batch whose last mutation fails", Code::Conflict, store.apply(&batch))?;
    equal("how many records", &0, &store.count(&Query::all(store.things))?)?;
    batch.pop();
    equal("how many outcomes", &batch.len(), &store.apply(&batch)?.outcomes.len())?;
    equal("how many records", &(MANY as u64), &store.count(&Query::all(store.things))?)?;
    equal("n of the last", &Value::Int(MANY), &store.value(MANY, field::N)?)
}

fn failed_then_reopened(subject: &dyn Subject) -> Checked {
    let store = start(subject)?;
    let before = contents(&store)?;
    let mut batch = good(&store)?;
    batch.push(store.insert(5, &[])?);
    refused("the batch", Code::Conflict, store.apply(&batch))?;
    let store = store.reopen()?;
    unchanged(&store, &before, "after reopening")
}
