//! Unique fields.

use hivemind_model::{Capability, Change, Code, Key, Mutation, Task, Value};

use crate::case::{Case, Checked, Failure};
use crate::check::{ensure, equal, refused, same_lookup};
use crate::fixture::{EXCEPTED, Store, cx, field};
use crate::subject::{Plant, Subject};

const UNIQUE: &[Capability] = &[Capability::Unique];

pub(super) const CASES: &[Case] = &[
    Case::new("unique::taken", "A taken value conflicts, whichever mutation brings it; the error names the field.", taken)
        .requires(UNIQUE),
    Case::new("unique::nil", "Any number of records may have nil in a unique field.", nil).requires(UNIQUE),
    Case::new("unique::excepted", "Any number of records may have an excepted value.", excepted).requires(UNIQUE),
    Case::new("unique::kept", "A record may be rewritten with the value it has.", kept).requires(UNIQUE),
    Case::new("unique::freed", "A value is free again when its record is deleted, changed or replaced.", freed).requires(UNIQUE),
    Case::new("unique::by_bytes", "Values that differ in case, spaces, NUL or normal form are different.", by_bytes)
        .requires(UNIQUE),
    Case::new("unique::empty", "The empty text is a value like others: unique.", empty).requires(UNIQUE),
    Case::new("unique::after_reopening", "Uniqueness holds against records stored before reopening.", after_reopening)
        .requires(&[Capability::Unique, Capability::Durable]),
    Case::new(
        "unique::legacy_duplicates",
        "Stored duplicates load: the lowest key wins, each can change in its other fields, no third may join.",
        legacy_duplicates,
    )
    .requires(&[Capability::Unique, Capability::Durable]),
];

fn with(store: &Store, id: i64, code: impl Into<Value>) -> Result<Mutation, hivemind_model::Error> {
    store.insert(id, &[("code", code.into())])
}

fn taken(subject: &dyn Subject) -> Checked {
    let store = Store::fresh(subject)?;
    store.one(with(&store, 1, "a")?)?;
    store.one(with(&store, 2, "b")?)?;
    for (what, mutation) in [
        ("insert", with(&store, 3, "a")?),
        ("insert next", store.insert_next(&[("code", "a".into())])?),
        ("put of a new record", store.put(3, &[("code", "a".into())])?),
        ("put over a record", store.put(2, &[("code", "a".into())])?),
        ("update", store.update(2, vec![Change::set(field::CODE, "a")], Vec::new())),
    ] {
        let error = refused(what, Code::Conflict, store.apply(&[mutation]))?;
        equal(&format!("{what}: the field that the error names"), &Some("code"), &error.detail().field.as_deref())?;
        equal(&format!("{what}: the mutation that the error names"), &Some(0), &error.detail().mutation)?;
    }
    equal("the keys", &vec![1, 2], &store.every_id()?)?;
    equal("the code of thing 2", &Value::from("b"), &store.value(2, field::CODE)?)
}

fn nil(subject: &dyn Subject) -> Checked {
    let store = Store::fresh(subject)?;
    for id in 1..=3 {
        store.one(with(&store, id, Value::Nil)?)?;
    }
    equal("the keys", &vec![1, 2, 3], &store.every_id()?)
}

fn excepted(subject: &dyn Subject) -> Checked {
    let store = Store::fresh(subject)?;
    for id in 1..=3 {
        store.one(with(&store, id, EXCEPTED)?)?;
    }
    store.one(with(&store, 4, "a")?)?;
    store.one(store.update(4, vec![Change::set(field::CODE, EXCEPTED)], Vec::new()))?;
    refused("a value that only looks excepted", Code::Conflict, {
        store.one(with(&store, 5, "None")?)?;
        store.apply(&[with(&store, 6, "None")?])
    })?;
    equal("the keys", &vec![1, 2, 3, 4, 5], &store.every_id()?)
}

fn kept(subject: &dyn Subject) -> Checked {
    let store = Store::fresh(subject)?;
    store.one(with(&store, 1, "a")?)?;
    store.one(store.put(1, &[("code", "a".into()), ("n", 1.into())])?)?;
    store.one(store.update(1, vec![Change::set(field::CODE, "a"), Change::set(field::N, 2)], Vec::new()))?;
    equal("n", &Value::Int(2), &store.value(1, field::N)?)
}

fn freed(subject: &dyn Subject) -> Checked {
    let store = Store::fresh(subject)?;
    for (id, code) in [(1, "a"), (2, "b"), (3, "c")] {
        store.one(with(&store, id, code)?)?;
    }
    store.one(store.delete(1))?;
    store.one(store.update(2, vec![Change::set(field::CODE, Value::Nil)], Vec::new()))?;
    store.one(store.put(3, &[("code", "d".into())])?)?;
    for (id, code) in [(4, "a"), (5, "b"), (6, "c")] {
        store.one(with(&store, id, code)?)?;
        let found = store.backend.get_by(&cx(), store.things, field::CODE, Value::from(code).as_ref())?;
        let expected = store.thing_row(id, &[("code", code.into())])?;
        same_lookup(&format!("get_by of {code}"), &store.thing, Some(&expected), found.as_ref())?;
    }
    refused("the value that took the place", Code::Conflict, store.apply(&[with(&store, 7, "d")?]))?;
    Ok(())
}

fn by_bytes(subject: &dyn Subject) -> Checked {
    let store = Store::fresh(subject)?;
    let codes = ["k", "K", " k", "k ", "k\0", "k\0x", "\u{e9}", "e\u{301}", "\u{df}", "ss"];
    for (id, code) in (1..).zip(codes) {
        store.one(with(&store, id, code)?)?;
    }
    for code in codes {
        refused(&format!("a second {code:?}"), Code::Conflict, store.apply(&[store.insert_next(&[("code", code.into())])?]))?;
    }
    Ok(())
}

fn empty(subject: &dyn Subject) -> Checked {
    let store = Store::fresh(subject)?;
    store.one(with(&store, 1, "")?)?;
    refused("a second empty text", Code::Conflict, store.apply(&[with(&store, 2, "")?]))?;
    Ok(())
}

fn after_reopening(subject: &dyn Subject) -> Checked {
    let store = Store::fresh(subject)?;
    store.one(with(&store, 1, "a")?)?;
    let store = store.reopen()?;
    refused("insert of a stored value", Code::Conflict, store.apply(&[with(&store, 2, "a")?]))?;
    Ok(())
}

fn legacy_duplicates(subject: &dyn Subject) -> Checked {
    let store = Store::fresh(subject)?;
    for (id, code) in [(1, "x"), (2, "twin"), (3, "other")] {
        store.one(with(&store, id, code)?)?;
    }
    let thing = store.thing.clone();
    let instance = store.shut()?;
    let plant = Plant::Set { key: Key::Int(3), name: "code".to_owned(), json: "\"twin\"".to_owned() };
    if !instance.plant(&thing, &plant)? {
        return Err(Failure::Skipped("the subject cannot plant a stored value".to_owned()));
    }
    let store = Store::open(instance)?;
    equal("the keys", &vec![1, 2, 3], &store.every_id()?)?;
    let found = store.backend.get_by(&cx(), store.things, field::CODE, Value::from("twin").as_ref())?;
    let expected = store.thing_row(2, &[("code", "twin".into())])?;
    same_lookup("get_by of the duplicated value", &store.thing, Some(&expected), found.as_ref())?;
    for id in [2, 3] {
        store.one(store.update(id, vec![Change::set(field::N, 5)], Vec::new()))?;
    }
    refused("a third", Code::Conflict, store.apply(&[with(&store, 4, "twin")?]))?;
    match store.backend.maintain(&cx(), &Task::Verify) {
        Err(error) if error.code() == Code::Unsupported => {}
        Err(error) => return Err(error.into()),
        Ok(report) => {
            let named = report.problems.iter().any(|p| p.collection == "things" && p.key == Some(Key::Int(3)));
            ensure(named, || format!("verify: expected a problem of thing 3, found {:?}", report.problems))?;
        }
    }
    // The loser's end leaves the winner as it was.
    store.one(store.delete(3))?;
    refused("a second after the loser went", Code::Conflict, store.apply(&[with(&store, 4, "twin")?]))?;
    store.one(store.delete(2))?;
    store.one(with(&store, 4, "twin")?)?;
    Ok(())
}
