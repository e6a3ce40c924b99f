//! What the rules of a batch say, of the engine and of the reference model alike.

use crate::reference::Reference;
use crate::table::Database;
use crate::*;

fn collection() -> Collection {
    let mut c = Collection::new("c", 1, "id", Kind::Int).field("n", Kind::Int).field("j", Kind::Json).field("rest", Kind::Json);
    c.extras = Some(3);
    c
}

/// Applies each batch to both, which must agree, and gives what came of it.
fn applied(batches: &[Vec<Mutation>]) -> Vec<Result<Vec<Outcome>, Code>> {
    let (cx, reference, mut database) = (Context::unbounded(), Reference::new(), Database::default());
    reference.prepare(&cx, &[collection()]).expect("prepared");
    database.define(&[collection()]).expect("defined");
    batches
        .iter()
        .map(|batch| {
            let engine = database.apply(&cx, batch).map(|(outcomes, _)| outcomes).map_err(|e| e.code());
            let model = reference.apply(&cx, batch).map(|applied| applied.outcomes).map_err(|e| e.code());
            assert_eq!(engine, model, "{batch:?}");
            engine
        })
        .collect()
}

const C: CollectionId = CollectionId(0);

fn row(set: &[(usize, Value)]) -> Row {
    let mut values = [Value::Int(1), Value::Nil, Value::Nil, Value::Nil];
    for (at, value) in set {
        values[*at] = value.clone();
    }
    crate::row::encode(values.iter().map(Value::as_ref))
}

fn json(text: &str) -> Value {
    Value::Json(text.to_owned())
}

#[test]
fn a_row_is_as_expected_right_after_it_was_put() {
    for put in [row(&[]), row(&[(3, json("[1]"))]), row(&[(2, json("null"))]), row(&[(2, json("{}")), (3, json("null"))])] {
        let expect = Mutation::Expect { collection: C, key: Key::Int(1), row: Some(put.clone()) };
        let found = applied(&[vec![Mutation::Put { collection: C, row: put }, expect.clone()], vec![expect]]);
        assert!(found.iter().all(Result::is_ok), "{found:?}");
    }
    let other = Mutation::Expect { collection: C, key: Key::Int(1), row: Some(row(&[(3, json(r#"{"a": 1}"#))])) };
    let found = applied(&[vec![Mutation::Put { collection: C, row: row(&[]) }], vec![other]]);
    assert_eq!(found[1], Err(Code::Conflict));
}

#[test]
fn null_in_a_json_field_is_stored_as_nil() {
    let update = |changes| Mutation::Update { collection: C, key: Key::Int(1), changes, when: vec![Condition::is_null(2)] };
    let member = Change::JsonSet { field: 2, name: "a".to_owned(), json: "null".to_owned() };
    let found = applied(&[
        vec![Mutation::Put { collection: C, row: row(&[(2, json("null"))]) }],
        vec![update(vec![Change::set(2, json(" null "))])],
        vec![update(vec![Change::set(2, json("null")), member])],
    ]);
    let stored = |value| Ok(vec![Outcome::Updated(row(&[(2, value), (3, json("{}"))]))]);
    assert_eq!(found[1..], [stored(Value::Nil), stored(json(r#"{"a": null}"#))]);
}

#[test]
fn a_key_of_another_kind_is_invalid_and_not_absent() {
    let (collection, key) = (C, Key::from("1"));
    for mutation in [
        Mutation::Update { collection, key: key.clone(), changes: Vec::new(), when: Vec::new() },
        Mutation::Delete { collection, key: key.clone(), when: Vec::new() },
        Mutation::Expect { collection, key: key.clone(), row: None },
    ] {
        assert_eq!(applied(&[vec![mutation]]), [Err(Code::Invalid)]);
    }
    let cx = Context::unbounded();
    let reference = Reference::new();
    reference.prepare(&cx, &[self::collection()]).expect("prepared");
    assert_eq!(reference.get(&cx, C, key.as_ref()).expect_err("a text").code(), Code::Invalid);
}
