//! Keys that the backend assigns.

use hivemind_model::{Capability, Change, Code, Key, Mutation, Outcome, Query};

use crate::case::{Case, Checked, Failure};
use crate::check::{ensure, equal, refused};
use crate::fixture::{Store, field};
use crate::subject::Subject;

pub(super) const CASES: &[Case] = &[
    Case::new("ids::dense", "InsertNext in an empty store gives 1, 2, 3 and so on.", dense),
    Case::new(
        "ids::behind_the_greatest",
        "InsertNext gives more than the greatest key, however it came there.",
        behind_the_greatest,
    ),
    Case::new("ids::after_deletes", "InsertNext never gives a key that is in use, whatever was deleted.", after_deletes),
    Case::new("ids::negative", "Keys below one do not count: the first assigned key is 1.", negative),
    Case::new("ids::own_key_ignored", "The row's own key is ignored by InsertNext.", own_key_ignored),
    Case::new("ids::several_in_a_batch", "Each InsertNext of a batch gets a key of its own.", several_in_a_batch)
        .requires(&[Capability::AtomicBatch]),
    Case::new("ids::none_burnt", "A batch that fails uses no key up.", none_burnt).requires(&[Capability::AtomicBatch]),
    Case::new("ids::exhausted", "InsertNext behind the greatest possible key is refused, not wrapped round.", exhausted),
    Case::new("ids::after_reopening", "InsertNext goes on where it was after reopening.", after_reopening)
        .requires(&[Capability::Durable]),
];

fn next(store: &Store) -> Checked<i64> {
    assigned(&store.one(store.insert_next(&[])?)?)
}

fn assigned(outcome: &Outcome) -> Checked<i64> {
    match outcome {
        Outcome::Inserted(Key::Int(key)) => Ok(*key),
        other => Err(Failure::wrong(format!("InsertNext: expected an inserted int key, found {other:?}"))),
    }
}

fn dense(subject: &dyn Subject) -> Checked {
    let store = Store::fresh(subject)?;
    for expected in 1..=20 {
        equal("the assigned key", &expected, &next(&store)?)?;
    }
    equal("the keys", &(1..=20).collect::<Vec<i64>>(), &store.every_id()?)
}

fn behind_the_greatest(subject: &dyn Subject) -> Checked {
    let store = Store::fresh(subject)?;
    store.fill([5])?;
    equal("after Insert of 5", &6, &next(&store)?)?;
    store.one(store.put(10, &[])?)?;
    equal("after Put of 10", &11, &next(&store)?)?;
    store.fill([2])?;
    equal("after Insert of 2", &12, &next(&store)?)
}

fn after_deletes(subject: &dyn Subject) -> Checked {
    let store = Store::fresh(subject)?;
    store.fill(1..=4)?;
    store.one(store.delete(1))?;
    store.one(store.delete(2))?;
    equal("after deletes in front", &5, &next(&store)?)?;
    store.one(store.delete(5))?;
    // Whether a key freed at the end is given again is the engine's choice: a counter may remember it.
    let key = next(&store)?;
    ensure(key >= 5, || format!("after a delete at the end: expected 5 or more, found {key}"))?;
    let mut expected = vec![3, 4];
    expected.push(key);
    equal("the keys", &expected, &store.every_id()?)
}

fn negative(subject: &dyn Subject) -> Checked {
    let store = Store::fresh(subject)?;
    store.fill([-7, 0])?;
    equal("the assigned key", &1, &next(&store)?)
}

fn own_key_ignored(subject: &dyn Subject) -> Checked {
    let store = Store::fresh(subject)?;
    store.fill([1])?;
    let row = store.thing_row(1, &[("n", 99.into())])?;
    let key = assigned(&store.one(Mutation::InsertNext { collection: store.things, row })?)?;
    equal("the assigned key", &2, &key)?;
    equal("n of thing 1", &1.into(), &store.value(1, field::N)?)?;
    equal("the key field of thing 2", &2.into(), &store.value(2, field::ID)?)?;
    equal("n of thing 2", &99.into(), &store.value(2, field::N)?)
}

fn several_in_a_batch(subject: &dyn Subject) -> Checked {
    let store = Store::fresh(subject)?;
    let batch = vec![store.insert_next(&[])?, store.insert(7, &[])?, store.insert_next(&[])?, store.insert_next(&[])?];
    let keys: Checked<Vec<i64>> = store.apply(&batch)?.outcomes.iter().map(assigned).collect();
    equal("the keys of the batch", &vec![1, 7, 8, 9], &keys?)
}

fn none_burnt(subject: &dyn Subject) -> Checked {
    let store = Store::fresh(subject)?;
    equal("the first key", &1, &next(&store)?)?;
    let failing = store.update(99, vec![Change::set(field::N, 1)], Vec::new());
    let batch = vec![store.insert_next(&[])?, store.insert_next(&[])?, failing];
    refused("the batch", Code::NotFound, store.apply(&batch))?;
    equal("the next key", &2, &next(&store)?)
}

fn exhausted(subject: &dyn Subject) -> Checked {
    let store = Store::fresh(subject)?;
    store.fill([i64::MAX])?;
    refused("InsertNext", Code::Invalid, store.apply(&[store.insert_next(&[])?]))?;
    equal("how many records", &1, &store.count(&Query::all(store.things))?)
}

fn after_reopening(subject: &dyn Subject) -> Checked {
    let store = Store::fresh(subject)?;
    next(&store)?;
    next(&store)?;
    let store = store.reopen()?;
    equal("the next key", &3, &next(&store)?)
}
