//! What each mutation does and how it fails.

use hivemind_model::{Change, Code, Condition, Key, Mutation, Op, Outcome, Query, Value};

use crate::case::{Case, Checked, Failure};
use crate::check::{equal, refused, same_lookup, same_row};
use crate::fixture::{Store, field, json};
use crate::subject::Subject;

pub(super) const CASES: &[Case] = &[
    Case::new("mutate::insert", "Insert adds a record and answers with its key.", insert),
    Case::new("mutate::insert_taken", "Insert under a key that is taken conflicts and leaves the record alone.", insert_taken),
    Case::new("mutate::put", "Put adds a record or replaces all of it, and says which.", put),
    Case::new("mutate::update", "Update changes the named fields only and answers with the whole record.", update),
    Case::new("mutate::update_absent", "Update of an absent record is not found.", update_absent),
    Case::new("mutate::update_nothing", "Update without changes answers with the record as it is.", update_nothing),
    Case::new("mutate::update_when", "Update with conditions conflicts unless all of them hold, naming the field.", update_when),
    Case::new("mutate::delete", "Delete removes a record, once.", delete),
    Case::new("mutate::delete_when", "Delete with conditions conflicts unless they hold; an absent record is fine.", delete_when),
    Case::new("mutate::delete_where", "DeleteWhere removes what its conditions find and counts it.", delete_where),
    Case::new("mutate::delete_where_limit", "DeleteWhere with a limit removes no more than that.", delete_where_limit),
    Case::new(
        "mutate::delete_where_order",
        "DeleteWhere with order, offset and limit removes exactly the records that find would give.",
        delete_where_order,
    ),
    Case::new("mutate::expect", "Expect holds for a record that is as expected, or absent as expected.", expect),
    Case::new(
        "mutate::expect_canonical",
        "Expect compares by canonical value: JSON objects unordered, numbers by value, -0.0 as 0.0.",
        expect_canonical,
    ),
    Case::new(
        "mutate::expect_as_put",
        "Expect holds for the very row that was put, with nil, null or no object in the extras field too.",
        expect_as_put,
    ),
    Case::new("mutate::no_mutations", "A batch of no mutations succeeds with no outcomes.", no_mutations),
    Case::new("mutate::text_keys", "Every mutation works on text keys.", text_keys),
];

fn insert(subject: &dyn Subject) -> Checked {
    let store = Store::fresh(subject)?;
    let outcome = store.one(store.insert(5, &[("t", "five".into())])?)?;
    equal("the outcome", &Outcome::Inserted(Key::Int(5)), &outcome)?;
    let expected = store.thing_row(5, &[("t", "five".into())])?;
    same_lookup("the record", &store.thing, Some(&expected), store.get(5)?.as_ref())
}

fn insert_taken(subject: &dyn Subject) -> Checked {
    let store = Store::fresh(subject)?;
    store.fill([1])?;
    let again = store.insert(1, &[("n", 99.into())])?;
    let error = refused("insert under a taken key", Code::Conflict, store.apply(&[again]))?;
    equal("the mutation that the error names", &Some(0), &error.detail().mutation)?;
    equal("the record's n", &Value::Int(1), &store.value(1, field::N)?)
}

fn put(subject: &dyn Subject) -> Checked {
    let store = Store::fresh(subject)?;
    let first = store.one(store.put(1, &[("n", 1.into()), ("t", "old".into())])?)?;
    equal("the outcome of the first put", &Outcome::Put { replaced: false }, &first)?;
    let second = store.one(store.put(1, &[("n", 2.into())])?)?;
    equal("the outcome of the second put", &Outcome::Put { replaced: true }, &second)?;
    let expected = store.thing_row(1, &[("n", 2.into())])?;
    same_lookup("the record", &store.thing, Some(&expected), store.get(1)?.as_ref())
}

fn update(subject: &dyn Subject) -> Checked {
    let store = Store::fresh(subject)?;
    store.one(store.insert(1, &[("n", 1.into()), ("t", "kept".into()), ("j", json("{\"a\": 1}"))])?)?;
    let changes = vec![Change::set(field::N, 2), Change::set(field::FLAG, true), Change::set(field::J, Value::Nil)];
    let outcome = store.one(store.update(1, changes, Vec::new()))?;
    let expected = store.thing_row(1, &[("n", 2.into()), ("t", "kept".into()), ("flag", true.into())])?;
    let Outcome::Updated(row) = &outcome else { return Err(Failure::wrong(format!("expected Updated, found {outcome:?}"))) };
    same_row("the row in the outcome", &store.thing, &expected, row)?;
    same_lookup("the record", &store.thing, Some(&expected), store.get(1)?.as_ref())
}

fn update_absent(subject: &dyn Subject) -> Checked {
    let store = Store::fresh(subject)?;
    let update = store.update(1, vec![Change::set(field::N, 2)], Vec::new());
    let error = refused("update of an absent record", Code::NotFound, store.apply(&[update]))?;
    equal("the mutation that the error names", &Some(0), &error.detail().mutation)?;
    same_lookup("the record", &store.thing, None, store.get(1)?.as_ref())
}

fn update_nothing(subject: &dyn Subject) -> Checked {
    let store = Store::fresh(subject)?;
    store.fill([1])?;
    let outcome = store.one(store.update(1, Vec::new(), Vec::new()))?;
    let Outcome::Updated(row) = &outcome else { return Err(Failure::wrong(format!("expected Updated, found {outcome:?}"))) };
    same_row("the row in the outcome", &store.thing, &store.thing_row(1, &[("n", 1.into())])?, row)
}

fn update_when(subject: &dyn Subject) -> Checked {
    let store = Store::fresh(subject)?;
    store.fill([1])?;
    let n_is = |n: i64| Condition::new(field::N, Op::Eq, n);
    let set = |t: &str| vec![Change::set(field::T, t)];
    store.one(store.update(1, set("first"), vec![n_is(1), Condition::is_null(field::T)]))?;
    equal("t after the condition held", &Value::from("first"), &store.value(1, field::T)?)?;
    for when in [vec![n_is(2)], vec![n_is(1), Condition::is_null(field::T)], vec![Condition::new(field::R, Op::Ne, 1.0)]] {
        let update = store.update(1, set("second"), when.clone());
        let error = refused(&format!("update when {when:?}"), Code::Conflict, store.apply(&[update]))?;
        equal("the mutation that the error names", &Some(0), &error.detail().mutation)?;
    }
    equal("t after the conditions did not hold", &Value::from("first"), &store.value(1, field::T)?)
}

fn delete(subject: &dyn Subject) -> Checked {
    let store = Store::fresh(subject)?;
    store.fill(1..=2)?;
    equal("the first delete", &Outcome::Deleted(1), &store.one(store.delete(1))?)?;
    equal("the second delete", &Outcome::Deleted(0), &store.one(store.delete(1))?)?;
    equal("what is left", &vec![2], &store.every_id()?)
}

fn delete_when(subject: &dyn Subject) -> Checked {
    let store = Store::fresh(subject)?;
    store.fill(1..=2)?;
    let delete = |id: i64, n: i64| {
        let when = vec![Condition::new(field::N, Op::Eq, n)];
        Mutation::Delete { collection: store.things, key: Key::Int(id), when }
    };
    refused("delete of thing 1 when n is 5", Code::Conflict, store.apply(&[delete(1, 5)]))?;
    equal("delete of an absent record", &Outcome::Deleted(0), &store.one(delete(9, 5))?)?;
    equal("what is left", &vec![1, 2], &store.every_id()?)?;
    equal("delete of thing 1 when n is 1", &Outcome::Deleted(1), &store.one(delete(1, 1))?)?;
    equal("what is left", &vec![2], &store.every_id()?)
}

fn delete_where(subject: &dyn Subject) -> Checked {
    let store = Store::fresh(subject)?;
    store.fill(1..=10)?;
    let query = Query::all(store.things).filter(Condition::new(field::N, Op::Gt, 3)).filter(Condition::new(field::N, Op::Le, 8));
    equal("the outcome", &Outcome::Deleted(5), &store.one(Mutation::DeleteWhere { query: query.clone() })?)?;
    equal("the same again", &Outcome::Deleted(0), &store.one(Mutation::DeleteWhere { query })?)?;
    equal("what is left", &vec![1, 2, 3, 9, 10], &store.every_id()?)?;
    let all = Mutation::DeleteWhere { query: Query::all(store.things) };
    equal("deleting all", &Outcome::Deleted(5), &store.one(all)?)?;
    equal("what is left", &Vec::<i64>::new(), &store.every_id()?)
}

fn delete_where_limit(subject: &dyn Subject) -> Checked {
    let store = Store::fresh(subject)?;
    store.fill(1..=6)?;
    let none = Mutation::DeleteWhere { query: Query::all(store.things).limit(0) };
    equal("with the limit 0", &Outcome::Deleted(0), &store.one(none)?)?;
    let two = Mutation::DeleteWhere { query: Query::all(store.things).limit(2) };
    equal("with the limit 2", &Outcome::Deleted(2), &store.one(two)?)?;
    equal("what is left: the lowest keys went", &vec![3, 4, 5, 6], &store.every_id()?)
}

fn delete_where_order(subject: &dyn Subject) -> Checked {
    let store = Store::fresh(subject)?;
    let things: Result<Vec<_>, _> = (1..=6).map(|id| store.insert(id, &[("n", (10 - id).into())])).collect();
    store.all(things?)?;
    // By n ascending the keys stand as 6 5 4 3 2 1.
    let query = Query::all(store.things).order_by(field::N, false).offset(1).limit(2);
    equal("the outcome", &Outcome::Deleted(2), &store.one(Mutation::DeleteWhere { query })?)?;
    equal("what is left", &vec![1, 2, 3, 6], &store.every_id()?)
}

fn expect(subject: &dyn Subject) -> Checked {
    let store = Store::fresh(subject)?;
    store.fill([1])?;
    let as_is = store.thing_row(1, &[("n", 1.into())])?;
    let other = store.thing_row(1, &[("n", 2.into())])?;
    let more = store.thing_row(1, &[("n", 1.into()), ("t", "".into())])?;
    equal("expect the record", &Outcome::Expected, &store.one(store.expect(1, Some(as_is.clone())))?)?;
    equal("expect absence", &Outcome::Expected, &store.one(store.expect(2, None))?)?;
    for (what, mutation) in [
        ("another value", store.expect(1, Some(other))),
        ("an empty text instead of nil", store.expect(1, Some(more))),
        ("absence of what is there", store.expect(1, None)),
        ("presence of what is absent", store.expect(2, Some(store.thing_row(2, &[])?))),
    ] {
        refused(&format!("expect {what}"), Code::Conflict, store.apply(&[mutation]))?;
    }
    same_lookup("the record", &store.thing, Some(&as_is), store.get(1)?.as_ref())
}

fn expect_canonical(subject: &dyn Subject) -> Checked {
    let store = Store::fresh(subject)?;
    store.one(store.insert(1, &[("j", json(r#"{"a": 1.0, "b": "\u00e9"}"#)), ("r", (-0.0).into())])?)?;
    let respelled = store.thing_row(1, &[("j", json("{ \"b\":\"é\",\"a\":1e0 }")), ("r", 0.0.into())])?;
    equal("expect the respelled record", &Outcome::Expected, &store.one(store.expect(1, Some(respelled)))?)?;
    for text in [r#"{"a": 1.0}"#, r#"{"a": 1.0, "b": "e\u0301"}"#, r#"{"a": "1.0", "b": "é"}"#] {
        let row = store.thing_row(1, &[("j", json(text)), ("r", 0.0.into())])?;
        refused(&format!("expect {text}"), Code::Conflict, store.apply(&[store.expect(1, Some(row))]))?;
    }
    Ok(())
}

fn expect_as_put(subject: &dyn Subject) -> Checked {
    let store = Store::fresh(subject)?;
    let (collection, key) = (store.notes, Key::from("a"));
    for meta in [Value::Nil, json("null"), json("[1]"), json("{}"), json(r#"{"a": null}"#)] {
        let row = store.note_row("a", &[("meta", meta.clone())])?;
        let expect = Mutation::Expect { collection, key: key.clone(), row: Some(row.clone()) };
        store.one(Mutation::Put { collection, row })?;
        equal(&format!("expect of what was put with {meta:?}"), &Outcome::Expected, &store.one(expect)?)?;
    }
    let other = store.note_row("a", &[("meta", json(r#"{"a": 1}"#))])?;
    refused("expect of another", Code::Conflict, store.apply(&[Mutation::Expect { collection, key, row: Some(other) }]))?;
    store.one(store.put(1, &[("j", json("null"))])?)?;
    let row = store.thing_row(1, &[("j", json("null"))])?;
    equal("expect of null", &Outcome::Expected, &store.one(store.expect(1, Some(row)))?)
}

fn no_mutations(subject: &dyn Subject) -> Checked {
    let store = Store::fresh(subject)?;
    equal("outcomes", &0, &store.apply(&[])?.outcomes.len())
}

fn text_keys(subject: &dyn Subject) -> Checked {
    let store = Store::fresh(subject)?;
    let (collection, key) = (store.notes, Key::from("k\0é"));
    let row = |body: &str| store.note_row("k\0é", &[("body", body.into())]);
    let insert = Mutation::Insert { collection, row: row("one")? };
    equal("insert", &Outcome::Inserted(key.clone()), &store.one(insert.clone())?)?;
    refused("insert again", Code::Conflict, store.apply(&[insert]))?;
    equal("put", &Outcome::Put { replaced: true }, &store.one(Mutation::Put { collection, row: row("two")? })?)?;
    store.one(Mutation::Expect { collection, key: key.clone(), row: Some(row("two")?) })?;
    let changes = vec![Change::set(1, "three")];
    store.one(Mutation::Update { collection, key: key.clone(), changes, when: Vec::new() })?;
    equal("the body", &Value::from("three"), &store.note_value("k\0é", 1)?)?;
    let next = Mutation::InsertNext { collection, row: row("next")? };
    refused("a key for the backend to assign", Code::Invalid, store.apply(&[next]))?;
    let delete = Mutation::Delete { collection, key, when: Vec::new() };
    equal("delete", &Outcome::Deleted(1), &store.one(delete)?)?;
    equal("what is left", &0, &store.count(&Query::all(collection))?)
}
