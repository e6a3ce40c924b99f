//! Deadlines and the cancel flag.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use hivemind_model::{Capability, Change, Code, Collection, Context, Key, Kind, Mutation, Query, Value};

use crate::case::{Case, Checked, Failure};
use crate::check::{ensure, equal, refused};
use crate::fixture::{Store, cx, field};
use crate::subject::Subject;

pub(super) const CASES: &[Case] = &[
    Case::new("context::deadline_passed_reads", "A read whose deadline has passed is answered with deadline.", deadline_reads),
    Case::new(
        "context::deadline_passed_writes",
        "A write whose deadline has passed is answered with deadline and leaves no effect.",
        deadline_writes,
    ),
    Case::new("context::cancelled", "A call whose cancel flag is set is answered with deadline and leaves no effect.", cancelled),
    Case::new("context::prepare", "So is a prepare.", prepare),
    Case::new("context::time_left", "A deadline far away and a flag not set change nothing.", time_left),
    Case::new(
        "context::cut_in_the_middle",
        "A large batch cut by its deadline or flag is applied as a whole or not at all, and its answer says which.",
        cut_in_the_middle,
    )
    .requires(&[Capability::AtomicBatch]),
];

fn reads(store: &Store, cx: &Context<'_>) -> Checked {
    let (backend, things) = (&store.backend, store.things);
    let (all, key) = (Query::all(things), Key::Int(1));
    refused("get", Code::Deadline, backend.get(cx, things, key.as_ref()))?;
    refused("find", Code::Deadline, backend.find(cx, &all, usize::MAX))?;
    refused("count", Code::Deadline, backend.count(cx, &all))?;
    let many = backend.get_many(cx, things, std::slice::from_ref(&key));
    refused("get_many", Code::Deadline, many.and_then(|answers| answers.into_iter().collect::<Result<Vec<_>, _>>()))?;
    if store.has(Capability::Unique) {
        refused("get_by", Code::Deadline, backend.get_by(cx, things, field::CODE, Value::from("a").as_ref()))?;
    }
    Ok(())
}

fn writes(store: &Store, cx: &Context<'_>) -> Checked {
    let collection = store.things;
    for mutation in [
        store.insert(2, &[])?,
        store.insert_next(&[])?,
        store.put(1, &[("n", 9.into())])?,
        store.update(1, vec![Change::set(field::N, 9)], Vec::new()),
        store.delete(1),
        Mutation::DeleteWhere { query: Query::all(collection) },
    ] {
        refused(&format!("{mutation:?}"), Code::Deadline, store.backend.apply(cx, &[mutation]))?;
    }
    equal("the keys", &vec![1], &store.every_id()?)?;
    equal("n of thing 1", &Value::Int(1), &store.value(1, field::N)?)?;
    // No key was used up either.
    store.one(store.insert_next(&[])?)?;
    equal("the keys after InsertNext", &vec![1, 2], &store.every_id()?)
}

fn deadline_reads(subject: &dyn Subject) -> Checked {
    let store = Store::fresh(subject)?;
    store.fill([1])?;
    reads(&store, &Context::within(Duration::ZERO))
}

fn deadline_writes(subject: &dyn Subject) -> Checked {
    let store = Store::fresh(subject)?;
    store.fill([1])?;
    writes(&store, &Context::within(Duration::ZERO))
}

fn cancelled(subject: &dyn Subject) -> Checked {
    let store = Store::fresh(subject)?;
    store.fill([1])?;
    let flag = AtomicBool::new(true);
    let cx = cx().cancelled_by(&flag);
    reads(&store, &cx)?;
    writes(&store, &cx)
}

fn prepare(subject: &dyn Subject) -> Checked {
    let store = Store::fresh(subject)?;
    let more = Collection::new("more", 1, "id", Kind::Int);
    let late = store.backend.prepare(&Context::within(Duration::ZERO), std::slice::from_ref(&more));
    refused("prepare", Code::Deadline, late)?;
    // The same can be asked again, or something else under that name: nothing was registered.
    store.backend.prepare(&cx(), &[more.field("n", Kind::Int)])?;
    Ok(())
}

fn time_left(subject: &dyn Subject) -> Checked {
    let store = Store::fresh(subject)?;
    let flag = AtomicBool::new(false);
    for cx in [
        Context::unbounded(),
        cx().cancelled_by(&flag),
        Context::within(Duration::MAX),
        Context::within(Duration::from_secs(3600)),
    ] {
        store.backend.apply(&cx, &[store.insert_next(&[])?])?;
        store.backend.get(&cx, store.things, Key::Int(1).as_ref())?;
    }
    equal("how many records", &4, &store.count(&Query::all(store.things))?)
}

fn cut_in_the_middle(subject: &dyn Subject) -> Checked {
    const MANY: i64 = 4_000;
    let store = Store::fresh(subject)?;
    let inserts: Result<Vec<_>, _> = (1..=MANY).map(|id| store.insert(id, &[("t", "some text".into())])).collect();
    let inserts = inserts?;
    let started = Instant::now();
    store.apply(&inserts)?;
    let whole = started.elapsed();
    for part in 1..=8 {
        store.one(Mutation::DeleteWhere { query: Query::all(store.things) })?;
        let time = whole * part / 8;
        let flag = AtomicBool::new(false);
        let result = thread::scope(|scope| {
            scope.spawn(|| {
                thread::sleep(time);
                flag.store(true, Ordering::Relaxed);
            });
            let context = if part % 2 == 0 { cx().cancelled_by(&flag) } else { Context::within(time) };
            store.backend.apply(&context, &inserts)
        });
        let found = store.count(&Query::all(store.things))?;
        let all = inserts.len() as u64;
        let expected = match result {
            Ok(_) => all,
            Err(e) if e.code() == Code::Deadline => 0,
            // A batch that is on its way over a network cannot be called back.
            Err(e) if e.code() == Code::OutcomeUnknown && store.has(Capability::Network) => found.min(all) / all * all,
            Err(e) => return Err(Failure::wrong(format!("a batch cut after {time:?}: expected deadline or success, found {e}"))),
        };
        ensure(found == expected, || format!("a batch cut after {time:?}: expected {expected} records, found {found}"))?;
    }
    Ok(())
}
