//! Requests that are wrong in themselves: refused as invalid, never a panic, never a trace.

use hivemind_model::{Change, Code, CollectionId, Condition, Continuation, Key, Mutation, Op, Query, Row, Value, eval, row};

use crate::case::{Case, Checked};
use crate::check::{equal, refused};
use crate::fixture::{Store, field, json};
use crate::subject::Subject;

pub(super) const CASES: &[Case] = &[
    Case::new("malformed::rows", "Bytes that are no row of the collection are invalid in every mutation.", rows),
    Case::new("malformed::values", "Values that their field cannot hold are invalid.", values),
    Case::new("malformed::collections", "Mutations of a collection that was not prepared are invalid.", collections),
    Case::new("malformed::conditions", "Conditions that do not fit their field are invalid wherever they stand.", conditions),
    Case::new("malformed::orders", "Orders and continuations that do not fit are invalid.", orders),
    Case::new("malformed::keys_of_another_kind", "A mutation under a key of the other kind is invalid.", other_keys),
    Case::new("malformed::long_pattern", "A pattern of more than 64 KiB is invalid, one of 64 KiB is not.", long_pattern),
    Case::new("malformed::deep_json", "JSON nested without end is invalid, not the end of the stack.", deep_json),
];

fn empty(store: &Store) -> Checked {
    equal("how many records", &0, &store.count(&Query::all(store.things))?)
}

fn rows(subject: &dyn Subject) -> Checked {
    let store = Store::fresh(subject)?;
    let good = store.thing_row(1, &[("t", "text".into())])?.into_bytes();
    let mut longer = good.clone();
    longer.push(0xc0);
    let truncated = good[..good.len() - 2].to_vec();
    let too_many = row::encode([Value::Int(1)].iter().cycle().take(20).collect::<Vec<_>>().into_iter().map(Value::as_ref));
    let garbage: Vec<(&str, Vec<u8>)> = vec![
        ("no bytes", vec![]),
        ("a reserved byte", vec![0xc1]),
        ("a map", vec![0x80]),
        ("an int", vec![0x01]),
        ("an array that claims 4 billion values", vec![0xdd, 0xff, 0xff, 0xff, 0xff]),
        ("a text that claims 4 billion bytes", vec![0x91, 0xdb, 0xff, 0xff, 0xff, 0xff]),
        ("bytes behind the end", longer),
        ("a truncated row", truncated),
        ("more values than fields", too_many.into_bytes()),
        ("invalid UTF-8", vec![0x95, 0x01, 0xc0, 0xc0, 0xc0, 0xa2, 0xff, 0xfe]),
    ];
    for (what, bytes) in garbage {
        let (collection, row) = (store.things, Row::from_bytes(bytes));
        for mutation in [
            Mutation::Insert { collection, row: row.clone() },
            Mutation::InsertNext { collection, row: row.clone() },
            Mutation::Put { collection, row: row.clone() },
        ] {
            refused(&format!("{what} in {mutation:?}"), Code::Invalid, store.apply(&[mutation]))?;
        }
    }
    // A row without its key is for InsertNext alone.
    let row = row::encode([Value::Nil, Value::Bool(true)].iter().map(Value::as_ref));
    let collection = store.things;
    for mutation in [Mutation::Insert { collection, row: row.clone() }, Mutation::Put { collection, row: row.clone() }] {
        refused("a row without key", Code::Invalid, store.apply(&[mutation]))?;
    }
    empty(&store)?;
    store.fill([1])?;
    let expectation = store.expect(1, Some(Row::from_bytes(vec![0xc1])));
    refused("an expectation that is no row", Code::Invalid, store.apply(&[expectation]))?;
    Ok(())
}

fn values(subject: &dyn Subject) -> Checked {
    let store = Store::fresh(subject)?;
    let at = |position: usize, value: Value| {
        let mut values = vec![Value::Nil; store.thing.fields.len()];
        values[0] = Value::Int(1);
        values[position] = value;
        row::encode(values.iter().map(Value::as_ref))
    };
    for (position, value) in [
        (field::ID, "1".into()),
        (field::ID, 1.0.into()),
        (field::FLAG, 1.into()),
        (field::N, "1".into()),
        (field::N, 1.0.into()),
        (field::R, 1.into()),
        (field::R, f64::NAN.into()),
        (field::R, f64::INFINITY.into()),
        (field::R, f64::NEG_INFINITY.into()),
        (field::T, Value::Blob(b"text".to_vec())),
        (field::B, "text".into()),
        (field::J, json("{")),
        (field::J, json("")),
        (field::J, json("{} {}")),
        (field::J, json("[1,]")),
        (field::J, Value::Blob(b"{}".to_vec())),
    ] {
        let row = at(position, value.clone());
        for mutation in [
            Mutation::Insert { collection: store.things, row: row.clone() },
            Mutation::Put { collection: store.things, row: row.clone() },
        ] {
            refused(&format!("{value:?} in field {position}"), Code::Invalid, store.apply(&[mutation]))?;
        }
        if position != field::ID {
            let next = Mutation::InsertNext { collection: store.things, row };
            refused(&format!("{value:?} in field {position} of InsertNext"), Code::Invalid, store.apply(&[next]))?;
        }
    }
    empty(&store)
}

fn collections(subject: &dyn Subject) -> Checked {
    let store = Store::fresh(subject)?;
    let key = Key::Int(1);
    for collection in [CollectionId(77), CollectionId(u32::MAX)] {
        let row = store.thing_row(1, &[])?;
        for mutation in [
            Mutation::Insert { collection, row: row.clone() },
            Mutation::InsertNext { collection, row: row.clone() },
            Mutation::Put { collection, row },
            Mutation::Update { collection, key: key.clone(), changes: vec![Change::set(1, true)], when: Vec::new() },
            Mutation::Delete { collection, key: key.clone(), when: Vec::new() },
            Mutation::DeleteWhere { query: Query::all(collection) },
            Mutation::Expect { collection, key: key.clone(), row: None },
        ] {
            refused(&format!("{mutation:?}"), Code::Invalid, store.apply(&[mutation]))?;
        }
    }
    empty(&store)
}

fn conditions(subject: &dyn Subject) -> Checked {
    let store = Store::fresh(subject)?;
    store.fill([1])?;
    let with = Condition::with_operands;
    for condition in [
        Condition::new(99, Op::Eq, 1),
        Condition::new(usize::MAX, Op::Eq, 1),
        Condition::new(field::N, Op::Eq, Value::Nil),
        Condition::new(field::N, Op::Ne, Value::Nil),
        Condition::new(field::N, Op::Eq, "1"),
        Condition::new(field::T, Op::Eq, 1),
        Condition::new(field::T, Op::Eq, Value::Blob(vec![1])),
        Condition::new(field::FLAG, Op::Eq, 1),
        Condition::new(field::R, Op::Lt, f64::NAN),
        Condition::new(field::N, Op::Lt, f64::INFINITY),
        Condition::new(field::J, Op::Eq, json("{")),
        Condition::new(field::J, Op::Lt, json("1")),
        Condition::new(field::N, Op::Like, "1"),
        Condition::new(field::T, Op::Like, 1),
        Condition::new(field::T, Op::Contains, "a"),
        Condition::new(field::J, Op::Contains, json("1")),
        Condition::new(field::T, Op::Eq, "a").on_member("a"),
        with(field::N, Op::Eq, vec![]),
        with(field::N, Op::Eq, vec![1.into(), 2.into()]),
        with(field::N, Op::In, vec![1.into(), Value::Nil]),
        with(field::N, Op::IsNull, vec![1.into()]),
        with(field::N, Op::NotNull, vec![1.into()]),
    ] {
        let what = format!("{condition:?}");
        let query = Query::all(store.things).filter(condition.clone());
        let when = vec![condition];
        refused(&format!("find with {what}"), Code::Invalid, store.find(&query, usize::MAX))?;
        refused(&format!("count with {what}"), Code::Invalid, store.count(&query))?;
        for mutation in [
            Mutation::DeleteWhere { query },
            store.update(1, vec![Change::set(field::N, 2)], when.clone()),
            Mutation::Delete { collection: store.things, key: Key::Int(1), when },
        ] {
            refused(&format!("{mutation:?}"), Code::Invalid, store.apply(&[mutation]))?;
        }
    }
    equal("n of the record", &Value::Int(1), &store.value(1, field::N)?)
}

fn orders(subject: &dyn Subject) -> Checked {
    let store = Store::fresh(subject)?;
    store.fill([1])?;
    let all = Query::all(store.things);
    let place = |values: Vec<Value>, key: Key| Continuation { values, key };
    for query in [
        all.clone().order_by(99, false),
        all.clone().order_by(field::J, false),
        all.clone().after(place(vec![1.into()], Key::Int(1))),
        all.clone().after(place(vec![], Key::from("1"))),
        all.clone().order_by(field::N, false).after(place(vec![], Key::Int(1))),
        all.clone().order_by(field::N, false).after(place(vec!["1".into()], Key::Int(1))),
        all.order_by(field::R, true).after(place(vec![f64::NAN.into()], Key::Int(1))),
    ] {
        refused(&format!("find {query:?}"), Code::Invalid, store.find(&query, usize::MAX))?;
    }
    Ok(())
}

fn other_keys(subject: &dyn Subject) -> Checked {
    let store = Store::fresh(subject)?;
    store.fill([1])?;
    let (collection, key) = (store.things, Key::from("1"));
    for mutation in [
        Mutation::Update { collection, key: key.clone(), changes: vec![Change::set(field::N, 9)], when: Vec::new() },
        Mutation::Delete { collection, key: key.clone(), when: Vec::new() },
        Mutation::Expect { collection, key, row: None },
    ] {
        let what = format!("{mutation:?}");
        refused(&what, Code::Invalid, store.apply(&[mutation]))?;
    }
    equal("n of the record", &Value::Int(1), &store.value(1, field::N)?)
}

fn long_pattern(subject: &dyn Subject) -> Checked {
    let store = Store::fresh(subject)?;
    store.one(store.insert(1, &[("t", "text".into()), ("j", json(r#"{"m": "text"}"#))])?)?;
    let like = |length: usize| {
        let pattern = Value::from("%".repeat(length));
        [Condition::new(field::T, Op::Like, pattern.clone()), Condition::new(field::J, Op::Like, pattern).on_member("m")]
    };
    for condition in like(eval::MAX_PATTERN) {
        equal("count with the longest pattern", &1, &store.count(&Query::all(store.things).filter(condition))?)?;
    }
    for condition in like(eval::MAX_PATTERN + 1) {
        let query = Query::all(store.things).filter(condition);
        refused("find with a longer pattern", Code::Invalid, store.find(&query, usize::MAX))?;
        refused("count with a longer pattern", Code::Invalid, store.count(&query))?;
        refused("DeleteWhere with a longer pattern", Code::Invalid, store.apply(&[Mutation::DeleteWhere { query }]))?;
    }
    equal("the keys", &vec![1], &store.every_id()?)
}

fn deep_json(subject: &dyn Subject) -> Checked {
    let store = Store::fresh(subject)?;
    for deep in ["[".repeat(100_000), "{\"a\":".repeat(100_000), format!("{}{}", "[".repeat(5_000), "]".repeat(5_000))] {
        let mut values = vec![Value::Nil; store.thing.fields.len()];
        values[field::ID] = Value::Int(1);
        values[field::J] = json(&deep);
        let row = row::encode(values.iter().map(Value::as_ref));
        refused("a deep document", Code::Invalid, store.apply(&[Mutation::Put { collection: store.things, row }]))?;
        let query = Query::all(store.things).filter(Condition::new(field::J, Op::Eq, json(&deep)));
        refused("a deep operand", Code::Invalid, store.find(&query, usize::MAX))?;
    }
    empty(&store)
}
