//! Several handles on one store: in one process where the engine allows it, and in another process.

use std::sync::Barrier;
use std::thread;

use hivemind_model::{Capability, Change, Changes, Code, Condition, Key, Mutation, Outcome, Query, Value};

use super::changes::{must_report, now};
use crate::case::{Case, Checked, Failure};
use crate::check::{ensure, equal, refused, same_lookup};
use crate::fixture::{Handle, Store, cx, field};
use crate::subject::Subject;
use crate::threads::{joined, patiently};

pub(super) const CASES: &[Case] = &[
    Case::new(
        "shared::writes_are_seen",
        "What one handle was acknowledged, another reads at once, in every way.",
        writes_are_seen,
    ),
    Case::new(
        "shared::changes_are_told",
        "changes_since tells of another handle's writes, within the declared staleness.",
        changes_told,
    )
    .requires(&[Capability::ChangeTracking]),
    Case::new("shared::tokens_are_apart", "A token of another handle means everything.", tokens_are_apart)
        .requires(&[Capability::ChangeTracking]),
    Case::new("shared::insert_next", "InsertNext from several handles at once gives dense keys, each once.", insert_next),
    Case::new("shared::increments", "No increment from several handles is lost.", increments),
    Case::new("shared::one_winner", "Of updates with one condition from several handles exactly one succeeds.", one_winner),
    Case::new("shared::unique", "A unique value that another handle stored is taken.", unique).requires(&[Capability::Unique]),
    Case::new("shared::expect", "An expectation sees what another handle wrote.", expect),
    Case::new("shared::close", "Closing one handle leaves the other working.", close),
    Case::new("shared::prepare", "A further collection prepared by two handles is one.", prepare),
];

/// Does something with every other handle that the subject gives, each on a store of its own.
fn with_each(subject: &dyn Subject, test: impl Fn(&Store, &Handle) -> Checked) -> Checked {
    let kinds = Store::fresh(subject)?.others()?.len();
    for kind in 0..kinds {
        let store = Store::fresh(subject)?;
        let others = store.others()?;
        for (label, other) in others.iter().skip(kind).take(1) {
            test(&store, other).map_err(|e| e.context(label))?;
        }
    }
    Ok(())
}

fn writes_are_seen(subject: &dyn Subject) -> Checked {
    with_each(subject, |store, other| {
        for round in 1..=10_i64 {
            // Both directions in turn.
            let (writer, reader): (&Handle, &Handle) = if round % 2 == 0 { (store, other) } else { (other, store) };
            let code = format!("code {round}");
            same_lookup("get before", &reader.thing, None, reader.get(round)?.as_ref())?;
            writer.one(writer.insert(round, &[("n", round.into()), ("code", code.as_str().into())])?)?;
            let expected = reader.thing_row(round, &[("n", round.into()), ("code", code.as_str().into())])?;
            same_lookup("get", &reader.thing, Some(&expected), reader.get(round)?.as_ref())?;
            if reader.has(Capability::Unique) {
                let found = reader.backend.get_by(&cx(), reader.things, field::CODE, Value::from(code).as_ref())?;
                same_lookup("get_by", &reader.thing, Some(&expected), found.as_ref())?;
            }
            let many = reader.backend.get_many(&cx(), reader.things, &[Key::Int(round)])?;
            let first = many.into_iter().next().ok_or_else(|| Failure::wrong("get_many: expected an answer"))??;
            same_lookup("get_many", &reader.thing, Some(&expected), first.as_ref())?;
            equal("count", &(round as u64), &reader.count(&Query::all(reader.things))?)?;
            equal("find", &(1..=round).collect::<Vec<_>>(), &reader.every_id()?)?;
        }
        other.one(other.delete(1))?;
        same_lookup("a record that the other deleted", &store.thing, None, store.get(1)?.as_ref())
    })
}

fn changes_told(subject: &dyn Subject) -> Checked {
    with_each(subject, |store, other| {
        store.fill(1..=3)?;
        for round in 0..10_i64 {
            let (writer, reader): (&Handle, &Handle) = if round % 2 == 0 { (store, other) } else { (other, store) };
            let token = now(reader, reader.things)?;
            writer.one(writer.update(2, vec![Change::set(field::N, 100 + round)], Vec::new()))?;
            must_report(reader, reader.things, token, &Key::Int(2), "the other's update")?;
            equal("n", &Value::Int(100 + round), &reader.value(2, field::N)?)?;
        }
        let token = now(store, store.things)?;
        other.one(other.delete(3))?;
        must_report(store, store.things, token, &Key::Int(3), "the other's delete")?;
        let token = now(store, store.things)?;
        other.one(other.insert(9, &[])?)?;
        must_report(store, store.things, token, &Key::Int(9), "the other's insert")
    })
}

fn tokens_are_apart(subject: &dyn Subject) -> Checked {
    with_each(subject, |store, other| {
        store.fill([1])?;
        let token = now(other, other.things)?;
        let (_, changes) = store.backend.changes_since(&cx(), store.things, token)?;
        ensure(changes == Changes::Everything, || format!("since another handle's token: expected Everything, found {changes:?}"))
    })
}

/// Runs `work` on both handles at once.
fn both<T: Send>(store: &Handle, other: &Handle, work: impl Fn(&Handle) -> Checked<T> + Sync) -> Checked<[T; 2]> {
    let barrier = Barrier::new(2);
    let run = |handle: &Handle| {
        barrier.wait();
        work(handle)
    };
    thread::scope(|scope| {
        let theirs = scope.spawn(|| run(other));
        let ours = run(store);
        Ok([ours?, joined(theirs)?])
    })
}

fn insert_next(subject: &dyn Subject) -> Checked {
    const EACH: usize = 15;
    with_each(subject, |store, other| {
        let keys = both(store, other, |handle| {
            let mut keys = Vec::new();
            for _ in 0..EACH {
                let next = handle.insert_next(&[])?;
                match patiently(|| handle.apply(std::slice::from_ref(&next)))?.outcomes[..] {
                    [Outcome::Inserted(Key::Int(key))] => keys.push(key),
                    ref found => return Err(Failure::wrong(format!("expected one inserted key, found {found:?}"))),
                }
            }
            Ok(keys)
        })?;
        let mut keys = keys.concat();
        keys.sort_unstable();
        let expected: Vec<i64> = (1..=2 * EACH as i64).collect();
        equal("all assigned keys", &expected, &keys)?;
        equal("all stored keys", &expected, &store.every_id()?)
    })
}

fn increments(subject: &dyn Subject) -> Checked {
    const EACH: i64 = 15;
    with_each(subject, |store, other| {
        store.one(store.insert(1, &[])?)?;
        both(store, other, |handle| {
            for _ in 0..EACH {
                let change = Change::Increment { field: field::N, by: 1.into() };
                patiently(|| handle.apply(&[handle.update(1, vec![change.clone()], Vec::new())]))?;
            }
            Ok(())
        })?;
        equal("the sum", &Value::Int(2 * EACH), &store.value(1, field::N)?)
    })
}

fn one_winner(subject: &dyn Subject) -> Checked {
    with_each(subject, |store, other| {
        store.fill(1..=15)?;
        for id in 1..=15 {
            let won = both(store, other, |handle| {
                let claim = handle.update(id, vec![Change::set(field::T, "claimed")], vec![Condition::is_null(field::T)]);
                match patiently(|| handle.apply(std::slice::from_ref(&claim))) {
                    Ok(_) => Ok(1),
                    Err(e) if e.code() == Code::Conflict => Ok(0),
                    Err(e) => Err(e.into()),
                }
            })?;
            equal("winners", &1, &won.iter().sum::<i32>())?;
        }
        Ok(())
    })
}

fn unique(subject: &dyn Subject) -> Checked {
    with_each(subject, |store, other| {
        store.one(store.insert(1, &[("code", "ours".into())])?)?;
        other.one(other.insert(2, &[("code", "theirs".into())])?)?;
        refused("our code, inserted there", Code::Conflict, other.apply(&[other.insert(3, &[("code", "ours".into())])?]))?;
        refused("their code, inserted here", Code::Conflict, store.apply(&[store.insert(3, &[("code", "theirs".into())])?]))?;
        other.one(other.delete(2))?;
        store.one(store.insert(3, &[("code", "theirs".into())])?)?;
        Ok(())
    })
}

fn expect(subject: &dyn Subject) -> Checked {
    with_each(subject, |store, other| {
        store.fill([1])?;
        let before = store.thing_row(1, &[("n", 1.into())])?;
        other.one(other.update(1, vec![Change::set(field::N, 2)], Vec::new()))?;
        refused("expecting the record as it was", Code::Conflict, store.apply(&[store.expect(1, Some(before))]))?;
        store.one(store.expect(1, Some(store.thing_row(1, &[("n", 2.into())])?)))?;
        Ok(())
    })
}

fn close(subject: &dyn Subject) -> Checked {
    with_each(subject, |store, other| {
        store.fill([1])?;
        other.fill([2])?;
        other.close()?;
        equal("the keys", &vec![1, 2], &store.every_id()?)?;
        store.fill([3])?;
        equal("the keys", &vec![1, 2, 3], &store.every_id()?)
    })
}

fn prepare(subject: &dyn Subject) -> Checked {
    with_each(subject, |store, other| {
        let pets = hivemind_model::Collection::new("pets", 1, "id", hivemind_model::Kind::Int);
        let ids = both(store, other, |handle| {
            let ids = patiently(|| handle.backend.prepare(&cx(), std::slice::from_ref(&pets)))?;
            ids.first().copied().ok_or_else(|| Failure::wrong("prepare: expected an id, found none"))
        })?;
        let row = crate::fixture::row(&pets, &[("id", 1.into())])?;
        store.one(Mutation::Insert { collection: ids[0], row })?;
        let found = other.backend.get(&cx(), ids[1], Key::Int(1).as_ref())?;
        ensure(found.is_some(), || "expected the record that the other handle stored, found none".to_owned())
    })
}
