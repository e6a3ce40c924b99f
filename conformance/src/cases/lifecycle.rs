//! Opening again, closing, and what a backend tells about itself.

use hivemind_model::{Capability, Change, Code, Error, Key, Mutation, Query, Report, Task, Value};

use crate::case::{Case, Checked, Failure};
use crate::check::{ensure, equal, refused, same_lookup};
use crate::fixture::{Store, cx, field, json};
use crate::subject::Subject;

const DURABLE: &[Capability] = &[Capability::Durable];

pub(super) const CASES: &[Case] = &[
    Case::new("lifecycle::reopen", "Everything acknowledged is there after reopening.", reopen).requires(DURABLE),
    Case::new("lifecycle::reopen_often", "Reopening again and again changes nothing.", reopen_often).requires(DURABLE),
    Case::new("lifecycle::closed", "After close every call is answered with unavailable.", closed),
    Case::new("lifecycle::stats", "stats answers, and its well-known entries have their kinds.", stats),
    Case::new("lifecycle::sync", "sync answers and changes no record.", sync),
    Case::new("lifecycle::verify", "verify finds nothing wrong with a sound store, or is unsupported.", verify),
    Case::new("lifecycle::housekeeping", "Vacuum and checkpoint keep every record, or are unsupported.", housekeeping),
    Case::new("lifecycle::resources", "The resources of a handle are named and stay the same.", resources),
    Case::new("lifecycle::capabilities", "The capabilities of a handle stay the same.", capabilities),
    Case::new("lifecycle::stores_apart", "Two stores do not see each other's records.", stores_apart),
];

fn reopen(subject: &dyn Subject) -> Checked {
    let store = Store::fresh(subject)?;
    store.fill(1..=50)?;
    store.one(store.update(1, vec![Change::set(field::T, "changed")], Vec::new()))?;
    store.one(store.delete(2))?;
    store.one(store.put(3, &[("j", json(r#"{"a": [1.0]}"#)), ("code", "c".into())])?)?;
    store.one(Mutation::Insert { collection: store.notes, row: store.note_row("n", &[("body", "b".into())])? })?;
    let store = store.reopen()?;
    let mut expected: Vec<i64> = (1..=50).collect();
    expected.retain(|id| *id != 2);
    equal("the keys", &expected, &store.every_id()?)?;
    equal("the updated field", &Value::from("changed"), &store.value(1, field::T)?)?;
    let third = store.thing_row(3, &[("j", json(r#"{"a": [1.0]}"#)), ("code", "c".into())])?;
    same_lookup("the replaced record", &store.thing, Some(&third), store.get(3)?.as_ref())?;
    equal("the note", &Value::from("b"), &store.note_value("n", 1)?)
}

fn reopen_often(subject: &dyn Subject) -> Checked {
    let mut store = Store::fresh(subject)?;
    for id in 1..=5 {
        store.fill([id])?;
        store = store.reopen()?;
        equal("the keys", &(1..=id).collect::<Vec<_>>(), &store.every_id()?)?;
    }
    Ok(())
}

fn closed(subject: &dyn Subject) -> Checked {
    let store = Store::fresh(subject)?;
    store.fill([1])?;
    store.close()?;
    let (backend, things) = (&store.backend, store.things);
    refused("get", Code::Unavailable, store.get(1))?;
    refused("find", Code::Unavailable, store.find(&Query::all(things), usize::MAX))?;
    refused("count", Code::Unavailable, store.count(&Query::all(things)))?;
    let many = backend.get_many(&cx(), things, &[Key::Int(1)]);
    refused("get_many", Code::Unavailable, many.and_then(|answers| answers.into_iter().collect::<Result<Vec<_>, _>>()))?;
    refused("apply", Code::Unavailable, store.apply(&[store.insert(2, &[])?]))?;
    refused("prepare", Code::Unavailable, backend.prepare(&cx(), std::slice::from_ref(&store.thing)))?;
    if store.has(Capability::Unique) {
        refused("get_by", Code::Unavailable, backend.get_by(&cx(), things, field::CODE, Value::from("a").as_ref()))?;
    }
    if store.has(Capability::ChangeTracking) {
        refused("changes_since", Code::Unavailable, backend.changes_since(&cx(), things, Default::default()))?;
    }
    // What a backend leaves to the trait touches nothing and knows nothing of closing.
    for (what, answer, left) in [
        ("sync", backend.sync(&cx()), Ok(Report::new())),
        ("stats", backend.stats(&cx()), Ok(Report::new())),
        ("verify", backend.maintain(&cx(), &Task::Verify), Err(Code::Unsupported)),
    ] {
        if answer.as_ref().map_err(Error::code) != left.as_ref().map_err(|code| *code) {
            refused(what, Code::Unavailable, answer)?;
        }
    }
    Ok(())
}

fn stats(subject: &dyn Subject) -> Checked {
    let store = Store::fresh(subject)?;
    let report = store.backend.stats(&cx())?;
    for (name, value) in &report.entries {
        let fits = match name.as_str() {
            "location" | "acknowledged_write" | "engine" => matches!(value, Value::Text(_)),
            "schema_version" => matches!(value, Value::Int(_)),
            _ => true,
        };
        ensure(fits, || format!("the entry {name} of stats: found {value:?}, which is not of its kind"))?;
    }
    equal("problems of a sound store", &Vec::new(), &report.problems)
}

fn sync(subject: &dyn Subject) -> Checked {
    let store = Store::fresh(subject)?;
    store.fill(1..=5)?;
    store.one(store.delete(2))?;
    store.backend.sync(&cx())?;
    equal("the keys", &vec![1, 3, 4, 5], &store.every_id()?)?;
    store.one(store.insert_next(&[])?)?;
    equal("the keys after InsertNext", &vec![1, 3, 4, 5, 6], &store.every_id()?)
}

fn verify(subject: &dyn Subject) -> Checked {
    let store = Store::fresh(subject)?;
    store.one(store.insert(1, &[("code", "c".into()), ("j", json("[1]")), ("t", "x\0".into())])?)?;
    store.one(Mutation::Insert { collection: store.notes, row: store.note_row("n", &[])? })?;
    match store.backend.maintain(&cx(), &Task::Verify) {
        Err(e) if e.code() == Code::Unsupported => Ok(()),
        Err(e) => Err(e.into()),
        Ok(report) => equal("problems of a sound store", &Vec::new(), &report.problems),
    }
}

fn housekeeping(subject: &dyn Subject) -> Checked {
    let store = Store::fresh(subject)?;
    store.fill(1..=20)?;
    store.one(store.delete(7))?;
    for task in [Task::Vacuum, Task::Checkpoint] {
        match store.backend.maintain(&cx(), &task) {
            Ok(_) => {}
            Err(e) if e.code() == Code::Unsupported => {}
            Err(e) => return Err(Failure::from(e).context(format!("{task:?}"))),
        }
    }
    equal("how many records", &19, &store.count(&Query::all(store.things))?)
}

fn resources(subject: &dyn Subject) -> Checked {
    let store = Store::fresh(subject)?;
    let before = store.backend.resources();
    for resource in &before {
        let named = !resource.kind.is_empty() && !resource.id.is_empty() && !resource.name.is_empty();
        ensure(named, || format!("a resource: expected a kind, an id and a name, found {resource:?}"))?;
    }
    store.fill(1..=5)?;
    store.backend.sync(&cx())?;
    equal("the resources later", &before, &store.backend.resources())
}

fn capabilities(subject: &dyn Subject) -> Checked {
    let instance = subject.fresh()?;
    let backend = instance.open()?;
    let before = backend.capabilities();
    let store = crate::fixture::Handle::over(backend)?;
    store.fill(1..=5)?;
    equal("the capabilities later", &before, &store.backend.capabilities())
}

fn stores_apart(subject: &dyn Subject) -> Checked {
    let (one, two) = (Store::fresh(subject)?, Store::fresh(subject)?);
    one.fill(1..=3)?;
    equal("keys of the other store", &Vec::<i64>::new(), &two.every_id()?)?;
    two.fill([9])?;
    equal("keys of the first store", &vec![1, 2, 3], &one.every_id()?)
}
