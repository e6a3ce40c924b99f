//! Every narrow change, what it does and what it refuses.

use hivemind_model::{Change, Code, Value};

use crate::case::{Case, Checked, Failure};
use crate::check::{equal, refused, same_lookup};
use crate::fixture::{Store, field, json};
use crate::subject::Subject;

pub(super) const CASES: &[Case] = &[
    Case::new("narrow::set", "Set gives a field of any kind a value, or nil.", set),
    Case::new("narrow::increment", "Increment adds to ints and reals; nil counts as zero.", increment),
    Case::new("narrow::increment_overflow", "An increment beyond what its kind can hold is invalid.", increment_overflow),
    Case::new("narrow::json_set", "JsonSet changes one member and keeps the others, their numbers exactly.", json_set),
    Case::new("narrow::json_unset", "JsonUnset removes one member; an absent one is fine.", json_unset),
    Case::new("narrow::list_add", "ListAdd puts a scalar at the end of a list that does not hold it.", list_add),
    Case::new("narrow::list_remove", "ListRemove removes every equal item, and only those.", list_remove),
    Case::new("narrow::in_sequence", "The changes of one update see those before them.", in_sequence),
    Case::new("narrow::key", "The key of a record cannot be changed.", key),
    Case::new("narrow::misfits", "Changes that do not fit their field are invalid and leave the record alone.", misfits),
];

/// The json field after changes to a thing that starts with `start` in it.
fn changed(subject: &dyn Subject, start: Value, changes: Vec<Change>) -> Checked<Value> {
    let store = Store::fresh(subject)?;
    store.one(store.insert(1, &[("j", start)])?)?;
    store.one(store.update(1, changes, Vec::new()))?;
    store.value(1, field::J)
}

fn same_json(what: &str, expected: &str, found: &Value) -> Checked {
    let expected = json(expected);
    if hivemind_model::eval::same(expected.as_ref(), found.as_ref()) {
        return Ok(());
    }
    Err(Failure::wrong(format!("{what}: expected {expected:?}, found {found:?}")))
}

fn set(subject: &dyn Subject) -> Checked {
    let store = Store::fresh(subject)?;
    store.fill([1])?;
    let values: [(usize, Value); 6] = [
        (field::FLAG, true.into()),
        (field::N, (-5).into()),
        (field::R, 1.25.into()),
        (field::T, "t\0é".into()),
        (field::B, Value::Blob(vec![0, 255])),
        (field::J, json("[1]")),
    ];
    let changes = values.iter().map(|(at, value)| Change::set(*at, value.clone())).collect();
    store.one(store.update(1, changes, Vec::new()))?;
    for (at, value) in &values {
        equal(&format!("field {at}"), value, &store.value(1, *at)?)?;
    }
    let changes = values.iter().map(|(at, _)| Change::set(*at, Value::Nil)).collect();
    store.one(store.update(1, changes, Vec::new()))?;
    let expected = store.thing_row(1, &[])?;
    same_lookup("the record after setting nil", &store.thing, Some(&expected), store.get(1)?.as_ref())
}

fn increment(subject: &dyn Subject) -> Checked {
    let store = Store::fresh(subject)?;
    store.one(store.insert(1, &[])?)?;
    let by = |at: usize, by: Value| {
        store.one(store.update(1, vec![Change::Increment { field: at, by }], Vec::new()))?;
        store.value(1, at)
    };
    equal("nil and 5", &Value::Int(5), &by(field::N, 5.into())?)?;
    equal("5 and -7", &Value::Int(-2), &by(field::N, (-7).into())?)?;
    equal("nil and 1.5", &Value::Real(1.5), &by(field::R, 1.5.into())?)?;
    equal("1.5 and the int 1", &Value::Real(2.5), &by(field::R, 1.into())?)
}

fn increment_overflow(subject: &dyn Subject) -> Checked {
    let store = Store::fresh(subject)?;
    store.one(store.insert(1, &[("n", i64::MAX.into()), ("r", f64::MAX.into())])?)?;
    for (at, by) in [(field::N, Value::Int(1)), (field::R, Value::Real(f64::MAX))] {
        let change = Change::Increment { field: at, by };
        let what = format!("{change:?}");
        refused(&what, Code::Invalid, store.apply(&[store.update(1, vec![change], Vec::new())]))?;
    }
    equal("n", &Value::Int(i64::MAX), &store.value(1, field::N)?)?;
    equal("r", &Value::Real(f64::MAX), &store.value(1, field::R)?)
}

fn json_set(subject: &dyn Subject) -> Checked {
    let set = |name: &str, text: &str| Change::JsonSet { field: field::J, name: name.to_owned(), json: text.to_owned() };
    let start = r#"{"big": 123456789012345678901234567890, "a": 1}"#;
    let found = changed(subject, json(start), vec![set("a", "[2]"), set("b\"\\\u{e9}\0", "null")])?;
    same_json("two members", "{\"a\":[2],\"b\\\"\\\\é\\u0000\":null,\"big\":123456789012345678901234567890}", &found)?;
    let found = changed(subject, Value::Nil, vec![set("a", "1")])?;
    same_json("a member of nil", r#"{"a": 1}"#, &found)
}

fn json_unset(subject: &dyn Subject) -> Checked {
    let unset = |name: &str| Change::JsonUnset { field: field::J, name: name.to_owned() };
    let found = changed(subject, json(r#"{"a": 1, "\u0062": 2, "c": {"b": 3}}"#), vec![unset("b"), unset("absent")])?;
    same_json("without b", r#"{"a": 1, "c": {"b": 3}}"#, &found)?;
    equal("unset in nil", &Value::Nil, &changed(subject, Value::Nil, vec![unset("a")])?)
}

fn list_add(subject: &dyn Subject) -> Checked {
    let add = |item: Value| Change::ListAdd { field: field::J, item };
    let changes = vec![add("a".into()), add(1.into()), add("1".into()), add(true.into()), add(2.5.into()), add("é\0\"".into())];
    let found = changed(subject, json(r#"["\u0061", 1.0]"#), changes)?;
    same_json("the list", r#"["a", 1, "1", true, 2.5, "é\u0000\""]"#, &found)?;
    same_json("a list from nil", r#"["a"]"#, &changed(subject, Value::Nil, vec![add("a".into())])?)
}

fn list_remove(subject: &dyn Subject) -> Checked {
    let remove = |item: Value| Change::ListRemove { field: field::J, item };
    let found = changed(subject, json(r#"[1, "1", 1.0, "a", [1], 2]"#), vec![remove(1.into()), remove("absent".into())])?;
    same_json("without 1", r#"["1", "a", [1], 2]"#, &found)
}

fn in_sequence(subject: &dyn Subject) -> Checked {
    let store = Store::fresh(subject)?;
    store.one(store.insert(1, &[])?)?;
    let increment = Change::Increment { field: field::N, by: 1.into() };
    store.one(store.update(1, vec![Change::set(field::N, 10), increment.clone(), increment], Vec::new()))?;
    equal("n", &Value::Int(12), &store.value(1, field::N)?)
}

fn key(subject: &dyn Subject) -> Checked {
    let store = Store::fresh(subject)?;
    store.fill([1])?;
    for change in [Change::set(field::ID, 2), Change::set(field::ID, 1), Change::Increment { field: field::ID, by: 1.into() }] {
        let what = format!("{change:?}");
        refused(&what, Code::Invalid, store.apply(&[store.update(1, vec![change], Vec::new())]))?;
    }
    equal("the keys", &vec![1], &store.every_id()?)
}

fn misfits(subject: &dyn Subject) -> Checked {
    let store = Store::fresh(subject)?;
    let set: &[(&str, Value)] = &[("n", 1.into()), ("t", "text".into()), ("j", json("\"neither list nor object\""))];
    store.one(store.insert(1, set)?)?;
    let json_set = |at: usize, text: &str| Change::JsonSet { field: at, name: "a".to_owned(), json: text.to_owned() };
    let wrong = [
        Change::set(field::N, "1"),
        Change::set(field::N, 1.0),
        Change::set(field::R, 1),
        Change::set(field::R, f64::NAN),
        Change::set(field::R, f64::INFINITY),
        Change::set(field::FLAG, 1),
        Change::set(field::T, Value::Blob(vec![1])),
        Change::set(field::J, "text"),
        Change::set(field::J, json("{")),
        Change::set(99, 1),
        Change::set(usize::MAX, 1),
        Change::Increment { field: field::N, by: 1.5.into() },
        Change::Increment { field: field::T, by: 1.into() },
        Change::Increment { field: field::N, by: Value::Nil },
        json_set(field::T, "1"),
        json_set(field::J, "1"),
        json_set(field::J, "{"),
        Change::JsonUnset { field: field::J, name: "a".to_owned() },
        Change::ListAdd { field: field::J, item: 1.into() },
        Change::ListAdd { field: field::N, item: 1.into() },
        Change::ListRemove { field: field::J, item: 1.into() },
        Change::ListAdd { field: field::J, item: Value::Nil },
        Change::ListAdd { field: field::J, item: json("[]") },
    ];
    for change in wrong {
        let what = format!("{change:?}");
        // A change that fits stands in front: it must not be kept either.
        let changes = vec![Change::set(field::N, 2), change];
        refused(&what, Code::Invalid, store.apply(&[store.update(1, changes, Vec::new())]))?;
    }
    let expected = store.thing_row(1, set)?;
    same_lookup("the record", &store.thing, Some(&expected), store.get(1)?.as_ref())
}
