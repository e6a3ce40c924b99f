//! Many threads on one handle.

use hivemind_model::{Capability, Change, Code, Condition, Error, Key, Mutation, Op, Outcome, Query, Value};

use crate::case::{Case, Checked, Failure};
use crate::check::{ensure, equal};
use crate::fixture::{Handle, Store, cx, field, json};
use crate::subject::Subject;
use crate::threads::{THREADS, patiently, together};

const UNIQUE: &[Capability] = &[Capability::Unique];
const BATCHES: &[Capability] = &[Capability::AtomicBatch];
const ROUNDS: i64 = 12;

pub(super) const CASES: &[Case] = &[
    Case::new("races::insert_next", "InsertNext from many threads gives dense keys, each once.", insert_next),
    Case::new("races::increments", "No increment is lost.", increments),
    Case::new("races::fields", "Updates of different fields of one record do not undo each other.", fields),
    Case::new("races::members", "Changes of different members and list items of one record are all kept.", members),
    Case::new("races::insert", "Of many inserts under one key exactly one succeeds.", insert),
    Case::new("races::unique", "Of many inserts with one unique value exactly one succeeds.", unique).requires(UNIQUE),
    Case::new("races::when", "Of many updates with one condition that they make false exactly one succeeds.", when),
    Case::new("races::expect", "Of many batches that expect the same record exactly one succeeds.", expect).requires(BATCHES),
    Case::new("races::delete", "Of many deletes of one record exactly one counts.", delete),
    Case::new("races::transfers", "Batches that move an amount between records never create or lose any.", transfers)
        .requires(BATCHES),
    Case::new("races::reads_while_writing", "Reads while others write give whole records, never an error.", reads_while_writing),
];

/// How many of the racing calls succeeded; the others must have failed with conflict.
fn winners(results: Vec<Result<(), Error>>) -> Checked<usize> {
    let mut winners = 0;
    for result in results {
        match result {
            Ok(()) => winners += 1,
            Err(e) if e.code() == Code::Conflict => {}
            Err(e) => return Err(Failure::wrong(format!("a racing call: expected success or conflict, found {e}"))),
        }
    }
    Ok(winners)
}

/// One mutation per thread, all at once, round after round: exactly one wins each.
fn one_winner(store: &Handle, batch: impl Fn(i64, usize) -> Checked<Vec<Mutation>> + Sync) -> Checked {
    for round in 1..=ROUNDS {
        let results = together(|thread| {
            let batch = batch(round, thread)?;
            Ok(patiently(|| store.apply(&batch)).map(|_| ()))
        })?;
        equal(&format!("winners of round {round} of {THREADS} threads"), &1, &winners(results)?)?;
    }
    Ok(())
}

fn insert_next(subject: &dyn Subject) -> Checked {
    const EACH: usize = 20;
    let store = Store::fresh(subject)?;
    let next = store.insert_next(&[])?;
    let keys = together(|_| {
        let mut keys = Vec::new();
        for _ in 0..EACH {
            let applied = patiently(|| store.apply(std::slice::from_ref(&next)))?;
            match applied.outcomes[..] {
                [Outcome::Inserted(Key::Int(key))] => keys.push(key),
                _ => return Err(Failure::wrong(format!("expected one inserted key, found {:?}", applied.outcomes))),
            }
        }
        ensure(keys.is_sorted(), || format!("the keys one thread got one after another: expected them to grow, found {keys:?}"))?;
        Ok(keys)
    })?;
    let mut keys: Vec<i64> = keys.into_iter().flatten().collect();
    keys.sort_unstable();
    let expected: Vec<i64> = (1..=(THREADS * EACH) as i64).collect();
    equal("all assigned keys", &expected, &keys)?;
    equal("all stored keys", &expected, &store.every_id()?)
}

fn increments(subject: &dyn Subject) -> Checked {
    const EACH: usize = 20;
    let store = Store::fresh(subject)?;
    store.one(store.insert(1, &[])?)?;
    together(|_| {
        for _ in 0..EACH {
            let change = Change::Increment { field: field::N, by: 1.into() };
            patiently(|| store.apply(&[store.update(1, vec![change.clone()], Vec::new())]))?;
        }
        Ok(())
    })?;
    equal("the sum", &Value::Int((THREADS * EACH) as i64), &store.value(1, field::N)?)
}

fn fields(subject: &dyn Subject) -> Checked {
    let store = Store::fresh(subject)?;
    store.one(store.insert(1, &[])?)?;
    let last = 15;
    together(|thread| {
        for i in 0..=last {
            let change = match thread {
                0 => Change::set(field::N, i),
                1 => Change::set(field::T, i.to_string()),
                2 => Change::set(field::GRP, i.to_string()),
                3 => Change::set(field::B, Value::Blob(vec![i as u8])),
                4 => Change::set(field::R, i as f64),
                _ => Change::set(field::FLAG, i % 2 == 1),
            };
            patiently(|| store.apply(&[store.update(1, vec![change.clone()], Vec::new())]))?;
        }
        Ok(())
    })?;
    for (at, expected) in [
        (field::N, Value::Int(last)),
        (field::T, last.to_string().into()),
        (field::GRP, last.to_string().into()),
        (field::B, Value::Blob(vec![last as u8])),
        (field::R, (last as f64).into()),
        (field::FLAG, true.into()),
    ] {
        equal(&format!("field {at}, written by one thread alone"), &expected, &store.value(1, at)?)?;
    }
    Ok(())
}

fn members(subject: &dyn Subject) -> Checked {
    const EACH: usize = 8;
    let store = Store::fresh(subject)?;
    store.all(vec![store.insert(1, &[("j", json("{}"))])?, store.insert(2, &[("j", json("[]"))])?])?;
    together(|thread| {
        for i in 0..EACH {
            let name = format!("{thread}-{i}");
            let item = Change::ListAdd { field: field::J, item: name.as_str().into() };
            let member = Change::JsonSet { field: field::J, name, json: i.to_string() };
            patiently(|| store.apply(&[store.update(1, vec![member.clone()], Vec::new())]))?;
            patiently(|| store.apply(&[store.update(2, vec![item.clone()], Vec::new())]))?;
        }
        Ok(())
    })?;
    for thread in 0..THREADS {
        for i in 0..EACH {
            let name = format!("{thread}-{i}");
            let member = Condition::new(field::J, Op::Eq, i as i64).on_member(&name);
            let item = Condition::new(field::J, Op::Contains, name.as_str());
            equal(&format!("member {name}"), &vec![1], &store.ids(&Query::all(store.things).filter(member))?)?;
            equal(&format!("item {name}"), &vec![2], &store.ids(&Query::all(store.things).filter(item))?)?;
        }
    }
    Ok(())
}

fn insert(subject: &dyn Subject) -> Checked {
    let store = Store::fresh(subject)?;
    one_winner(&store, |round, thread| Ok(vec![store.insert(round, &[("n", (thread as i64).into())])?]))?;
    equal("the keys", &(1..=ROUNDS).collect::<Vec<_>>(), &store.every_id()?)
}

fn unique(subject: &dyn Subject) -> Checked {
    let store = Store::fresh(subject)?;
    one_winner(&store, |round, thread| {
        let id = round * 100 + thread as i64;
        Ok(vec![store.insert(id, &[("code", format!("code {round}").into())])?])
    })?;
    equal("how many records", &(ROUNDS as u64), &store.count(&Query::all(store.things))?)
}

fn when(subject: &dyn Subject) -> Checked {
    let store = Store::fresh(subject)?;
    store.fill(1..=ROUNDS)?;
    one_winner(&store, |round, thread| {
        let claim = vec![Change::set(field::T, format!("thread {thread}"))];
        Ok(vec![store.update(round, claim, vec![Condition::is_null(field::T)])])
    })
}

fn expect(subject: &dyn Subject) -> Checked {
    let store = Store::fresh(subject)?;
    store.fill(1..=ROUNDS)?;
    one_winner(&store, |round, thread| {
        let expected = store.thing_row(round, &[("n", round.into())])?;
        let put = store.put(round, &[("n", (1_000 + thread as i64).into())])?;
        Ok(vec![store.expect(round, Some(expected)), put])
    })?;
    // Absence can be expected too.
    one_winner(&store, |round, thread| {
        let put = store.put(100 + round, &[("n", (thread as i64).into())])?;
        Ok(vec![store.expect(100 + round, None), put])
    })
}

fn delete(subject: &dyn Subject) -> Checked {
    let store = Store::fresh(subject)?;
    store.fill(1..=ROUNDS)?;
    for round in 1..=ROUNDS {
        let counts = together(|_| {
            let applied = patiently(|| store.apply(&[store.delete(round)]))?;
            match applied.outcomes[..] {
                [Outcome::Deleted(count)] => Ok(count),
                _ => Err(Failure::wrong(format!("expected Deleted, found {:?}", applied.outcomes))),
            }
        })?;
        equal("records deleted by all threads", &1, &counts.iter().sum())?;
    }
    Ok(())
}

fn transfers(subject: &dyn Subject) -> Checked {
    const RECORDS: i64 = 4;
    let store = Store::fresh(subject)?;
    // One has it all, so that the first batches that take from another fail for certain.
    let amount = |id: i64| if id == RECORDS { 10 * RECORDS } else { 0 };
    let accounts: Result<Vec<_>, _> = (1..=RECORDS).map(|id| store.insert(id, &[("n", amount(id).into())])).collect();
    store.all(accounts?)?;
    together(|thread| {
        for i in 0..20_i64 {
            let (from, to) = ((thread as i64 + i) % RECORDS + 1, (thread as i64 + 3 * i + 1) % RECORDS + 1);
            let by = |by: i64| vec![Change::Increment { field: field::N, by: by.into() }];
            let enough = vec![Condition::new(field::N, Op::Ge, 5)];
            // The gift is booked first, so that a batch that fails for want of funds has something to take back.
            let batch = [store.update(to, by(5), Vec::new()), store.update(from, by(-5), enough)];
            match patiently(|| store.apply(&batch)) {
                Ok(_) => {}
                Err(e) if e.code() == Code::Conflict => {}
                Err(e) => return Err(e.into()),
            }
        }
        Ok(())
    })?;
    let mut sum = 0;
    for id in 1..=RECORDS {
        match store.value(id, field::N)? {
            Value::Int(n) if n >= 0 => sum += n,
            other => return Err(Failure::wrong(format!("an amount: expected 0 or more, found {other:?}"))),
        }
    }
    equal("the sum of all amounts", &(10 * RECORDS), &sum)
}

fn reads_while_writing(subject: &dyn Subject) -> Checked {
    let store = Store::fresh(subject)?;
    store.one(store.insert(1, &[("n", 0.into()), ("t", "0".into())])?)?;
    together(|thread| {
        for i in 0..30 {
            if thread < 2 {
                let changes = vec![Change::set(field::N, i), Change::set(field::T, i.to_string())];
                patiently(|| store.apply(&[store.update(1, changes.clone(), Vec::new())]))?;
                continue;
            }
            let row = match thread % 2 {
                0 => patiently(|| store.get(1))?,
                _ => patiently(|| store.backend.find(&cx(), &Query::all(store.things), usize::MAX))?.rows.pop(),
            };
            let row = row.ok_or_else(|| Failure::wrong("expected the record, found none"))?;
            let view = row.view(&store.thing)?;
            let (n, t) = (view.at(field::N).to_value(), view.at(field::T).to_value());
            let Value::Int(n) = n else { return Err(Failure::wrong(format!("n: expected an int, found {n:?}"))) };
            equal("t, which is written together with n", &Value::from(n.to_string()), &t)?;
        }
        Ok(())
    })?;
    Ok(())
}
