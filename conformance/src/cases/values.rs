//! Values come back as they were stored.

use hivemind_model::json::{Json, parse};
use hivemind_model::{Capability, Change, Collection, CollectionId, Condition, Key, Kind, Mutation, Op, Query, Value};

use crate::case::{Case, Checked, Failure};
use crate::check::{ensure, equal, same_lookup};
use crate::fixture::{Handle, Store, all_pages, cx, field, json, row};
use crate::subject::Subject;

const DURABLE: &[Capability] = &[Capability::Durable];

pub(super) const CASES: &[Case] = &[
    Case::new("values::ints", "Ints come back exactly, the greatest and least included.", ints),
    Case::new("values::reals", "Finite reals come back exactly: the largest, the smallest, every bit of the fraction.", reals),
    Case::new("values::texts", "Texts come back byte for byte: NUL, spaces, line ends, both normal forms, emoji.", texts),
    Case::new(
        "values::empty_is_not_nil",
        "Empty text, empty blob and zero are not nil, and nil is none of them.",
        empty_is_not_nil,
    ),
    Case::new("values::blobs", "Blobs come back byte for byte, and are not texts.", blobs),
    Case::new("values::json", "JSON comes back with the same meaning, members of repeated spelling included.", json_values),
    Case::new("values::json_numbers", "Numbers in JSON keep their spelling: no rounding, no shortening.", json_numbers),
    Case::new("values::json_null", "null in a json field is nil; inside of a document it is null.", json_null),
    Case::new("values::half_surrogates", "Halves of surrogate pairs in JSON stay what they are, and apart.", half_surrogates),
    Case::new("values::a_mebibyte", "A text, a blob and a JSON string of 1 MiB come back whole.", a_mebibyte),
    Case::new("values::defaults", "A row built without a field has the field's default; nil can be stored over it.", defaults),
    Case::new("values::short_rows", "A row shorter than its collection has nil in the fields it lacks.", short_rows),
    Case::new("values::key_in_the_middle", "The key can be any field of a collection.", key_in_the_middle),
    Case::new("values::many_fields", "A collection can have a hundred fields.", many_fields),
    Case::new("values::after_reopening", "Every value is the same after reopening.", after_reopening).requires(DURABLE),
];

/// Texts that engines, files and programming languages are known to spoil.
const TEXTS: [&str; 18] = [
    "",
    " ",
    " a ",
    "\0",
    "a\0b",
    "\0\0",
    "a\r\nb\n",
    "\t\u{b}\u{c}\u{1c}\u{7f}",
    "\u{85}\u{2028}\u{2029}",
    "\u{e9}",
    "e\u{301}",
    "\u{1f600}\u{1f468}\u{200d}\u{1f469}",
    "\u{feff}bom",
    "\u{fffd}\u{ffff}",
    "'; DROP TABLE things; --",
    "\"\\\\u0041\\",
    "// no comment # either",
    "123",
];

fn ints_list() -> Vec<Value> {
    [0, 1, -1, 255, 65_536, 1 << 53, (1 << 53) + 1, -(1 << 53) - 1, i64::MAX, i64::MAX - 1, i64::MIN, i64::MIN + 1]
        .map(Value::Int)
        .to_vec()
}

fn reals_list() -> Vec<Value> {
    let fractions = [0.1, 1.0 / 3.0, 1.7e9 + 0.123_456, -1.0, 1.0, 100.0, 9_007_199_254_740_993.0];
    let extremes = [f64::MAX, f64::MIN, f64::MIN_POSITIVE, 5e-324, f64::EPSILON, 1e308, 1e-308, 1e16, 1e22];
    fractions.into_iter().chain(extremes).map(Value::Real).collect()
}

fn blobs_list() -> Vec<Value> {
    vec![
        Value::Blob(Vec::new()),
        Value::Blob(vec![0]),
        Value::Blob(vec![0, 0]),
        Value::Blob((0..=255).collect()),
        Value::Blob(b"text".to_vec()),
        Value::Blob(vec![0xff, 0xfe]),
    ]
}

fn texts_list() -> Vec<Value> {
    TEXTS.map(Value::from).to_vec()
}

/// Stores each value in a record of its own, numbered from 1.
fn store_each(store: &Handle, name: &str, values: &[Value]) -> Checked {
    let inserts: Result<Vec<_>, _> = (1..).zip(values).map(|(id, v)| store.insert(id, &[(name, v.clone())])).collect();
    store.all(inserts?)
}

/// Reads each value back by get, and all of them by find.
fn read_each(store: &Handle, at: usize, values: &[Value]) -> Checked {
    for (id, value) in (1..).zip(values) {
        equal(&format!("field {at} of thing {id}"), value, &store.value(id, at)?)?;
    }
    let rows = all_pages(&*store.backend, &Query::all(store.things), usize::MAX)?;
    equal("how many rows find gives", &values.len(), &rows.len())?;
    for (row, value) in rows.iter().zip(values) {
        equal("a value that find gives", value, &row.view(&store.thing)?.at(at).to_value())?;
    }
    Ok(())
}

fn round_trip(subject: &dyn Subject, at: usize, values: &[Value]) -> Checked {
    let store = Store::fresh(subject)?;
    let name = store.thing.fields[at].name.clone();
    store_each(&store, &name, values)?;
    read_each(&store, at, values)
}

fn ints(subject: &dyn Subject) -> Checked {
    round_trip(subject, field::N, &ints_list())
}

fn reals(subject: &dyn Subject) -> Checked {
    round_trip(subject, field::R, &reals_list())?;
    // The sign of zero is no part of the value; a zero it must be.
    round_trip(subject, field::R, &[Value::Real(-0.0), Value::Real(0.0)])
}

fn texts(subject: &dyn Subject) -> Checked {
    round_trip(subject, field::T, &texts_list())?;
    let every: String = ('\0'..='\u{2ff}').chain(['\u{d7ff}', '\u{e000}', '\u{10ffff}']).collect();
    round_trip(subject, field::T, &[Value::Text(every)])
}

fn empty_is_not_nil(subject: &dyn Subject) -> Checked {
    let store = Store::fresh(subject)?;
    let empty: [(&str, usize, Value); 6] = [
        ("flag", field::FLAG, false.into()),
        ("n", field::N, 0.into()),
        ("r", field::R, 0.0.into()),
        ("t", field::T, "".into()),
        ("b", field::B, Value::Blob(Vec::new())),
        ("j", field::J, json("\"\"")),
    ];
    for (id, (name, at, value)) in (1..).zip(&empty) {
        store.one(store.insert(id, &[(name, value.clone())])?)?;
        equal(name, value, &store.value(id, *at)?)?;
        for (other, other_at, _) in empty.iter().filter(|(other, _, _)| other != name) {
            equal(&format!("{other} where {name} is set"), &Value::Nil, &store.value(id, *other_at)?)?;
        }
    }
    Ok(())
}

fn blobs(subject: &dyn Subject) -> Checked {
    round_trip(subject, field::B, &blobs_list())
}

fn json_values(subject: &dyn Subject) -> Checked {
    let store = Store::fresh(subject)?;
    let texts = [
        "{}",
        "[]",
        "\"\"",
        "true",
        "[null, [null], {\"a\": null}]",
        r#"{"z": 1, "a": {"c": [1, {"d": 2}], "b": "x"}}"#,
        r#"{"": "", "a b": 1, "\u0000": "\u0000", "é": "é", "e\u0301": "\ud83d\ude00"}"#,
        r#""\u2028\u0085\/\b\f\n\r\t\"\\""#,
    ];
    for (id, text) in (1..).zip(texts) {
        let expected = store.thing_row(id, &[("j", json(text))])?;
        store.one(store.insert(id, &[("j", json(text))])?)?;
        same_lookup(&format!("the record with {text}"), &store.thing, Some(&expected), store.get(id)?.as_ref())?;
    }
    Ok(())
}

/// The numbers of a document in the order in which they stand, as they are spelled.
fn numbers(json: &Json<'_>, out: &mut Vec<String>) {
    match json {
        Json::Number(raw) => out.push((*raw).to_owned()),
        Json::Array(items) => items.iter().for_each(|item| numbers(item, out)),
        Json::Object(members) => members.iter().for_each(|member| numbers(&member.value, out)),
        _ => {}
    }
}

fn json_numbers(subject: &dyn Subject) -> Checked {
    const TEXT: &str = "[1, 1.0, 1.50, -0, -0.0, 1e2, 1E+2, 9007199254740993, 9223372036854775808, \
                        123456789012345678901234567890, 0.1000000000000000055511151231257827, 1e400, {\"a\": 1.10}]";
    let store = Store::fresh(subject)?;
    store.one(store.insert(1, &[("j", json(TEXT))])?)?;
    store.one(store.update(1, vec![hivemind_model::Change::set(field::N, 1)], Vec::new()))?;
    let Value::Json(found) = store.value(1, field::J)? else { return Err(Failure::wrong("expected JSON, found another kind")) };
    let spelled = |text: &str| {
        let mut out = Vec::new();
        numbers(&parse(text).map_err(|e| Failure::wrong(format!("expected JSON, found {text:?}: {e}")))?, &mut out);
        Ok::<_, Failure>(out)
    };
    equal("the numbers", &spelled(TEXT)?, &spelled(&found)?)
}

fn a_mebibyte(subject: &dyn Subject) -> Checked {
    const SIZE: usize = 1 << 20;
    let store = Store::fresh(subject)?;
    let text: String = "aé\0\u{1f600}".chars().cycle().take(SIZE / 2).collect();
    let blob: Vec<u8> = (0..SIZE).map(|i| (i % 251) as u8).collect();
    let document = hivemind_model::json::quote(&"é\n".repeat(SIZE / 3));
    let set: [(&str, Value); 3] = [("t", text.into()), ("b", Value::Blob(blob)), ("j", json(&document))];
    let expected = store.thing_row(1, &set)?;
    store.one(store.insert(1, &set)?)?;
    same_lookup("the record", &store.thing, Some(&expected), store.get(1)?.as_ref())?;
    let rows = all_pages(&*store.backend, &Query::all(store.things), 1000)?;
    same_lookup("the record that find gives", &store.thing, Some(&expected), rows.first())
}

fn defaults(subject: &dyn Subject) -> Checked {
    let store = Store::fresh(subject)?;
    let collection = store.notes;
    store.one(Mutation::Insert { collection, row: store.note_row("a", &[])? })?;
    equal("the default", &Value::Int(7), &store.note_value("a", 2)?)?;
    store.one(Mutation::Insert { collection, row: store.note_row("b", &[("n", Value::Nil)])? })?;
    equal("nil over the default", &Value::Nil, &store.note_value("b", 2)?)
}

fn short_rows(subject: &dyn Subject) -> Checked {
    let store = Store::fresh(subject)?;
    let short = hivemind_model::row::encode([Value::Int(1), Value::Bool(true)].iter().map(Value::as_ref));
    store.one(Mutation::Put { collection: store.things, row: short })?;
    let expected = store.thing_row(1, &[("flag", true.into())])?;
    same_lookup("the record", &store.thing, Some(&expected), store.get(1)?.as_ref())
}

/// A handle's id for one more collection.
fn prepared(store: &Handle, collection: &Collection) -> Checked<CollectionId> {
    let ids = store.backend.prepare(&cx(), std::slice::from_ref(collection))?;
    ids.first().copied().ok_or_else(|| Failure::wrong("prepare: expected an id, found none"))
}

fn json_null(subject: &dyn Subject) -> Checked {
    let store = Store::fresh(subject)?;
    store.one(store.insert(1, &[("j", json("null"))])?)?;
    store.one(store.insert(2, &[("j", json("[null]"))])?)?;
    store.one(store.insert(3, &[("j", json("[1]"))])?)?;
    store.one(store.update(3, vec![Change::set(field::J, json(" null\n"))], Vec::new()))?;
    for id in [1, 3] {
        equal(&format!("j of thing {id}"), &Value::Nil, &store.value(id, field::J)?)?;
    }
    let ids = |condition| store.ids(&Query::all(store.things).filter(condition));
    equal("is_null", &vec![1, 3], &ids(Condition::is_null(field::J))?)?;
    equal("not_null", &vec![2], &ids(Condition::with_operands(field::J, Op::NotNull, Vec::new()))?)
}

fn half_surrogates(subject: &dyn Subject) -> Checked {
    let store = Store::fresh(subject)?;
    let document = r#"{"\ud800": 1, "\ud801": ["\udc00", "\ufffd"]}"#;
    store.one(store.insert(1, &[("j", json(document))])?)?;
    let expected = store.thing_row(1, &[("j", json(document))])?;
    same_lookup("the record", &store.thing, Some(&expected), store.get(1)?.as_ref())?;
    let ids = |text: &str| store.ids(&Query::all(store.things).filter(Condition::new(field::J, Op::Eq, json(text))));
    equal("eq in another order", &vec![1], &ids(r#"{"\uD801": ["\udc00", "\ufffd"], "\ud800": 1}"#)?)?;
    for other in [
        r#"{"\ud802": 1, "\ud801": ["\udc00", "\ufffd"]}"#,
        r#"{"\ud800": 1, "\ud801": ["\udc01", "\ufffd"]}"#,
        r#"{"\ud800": 1, "\ud801": ["\ufffd", "\ufffd"]}"#,
    ] {
        equal(&format!("eq {other}"), &Vec::<i64>::new(), &ids(other)?)?;
    }
    let update = vec![Change::JsonUnset { field: field::J, name: "\u{fffd}".to_owned() }];
    store.one(store.update(1, update, Vec::new()))?;
    same_lookup("the record after removing another name", &store.thing, Some(&expected), store.get(1)?.as_ref())
}

fn key_in_the_middle(subject: &dyn Subject) -> Checked {
    let store = Store::fresh(subject)?;
    let mut collection = Collection::new("odd", 1, "first", Kind::Int).field("label", Kind::Text).field("last", Kind::Real);
    collection.key = 1;
    let id = prepared(&store, &collection)?;
    let odd = row(&collection, &[("first", 9.into()), ("label", "k".into()), ("last", 0.5.into())])?;
    store.one(Mutation::Insert { collection: id, row: odd.clone() })?;
    let found = store.backend.get(&cx(), id, Key::from("k").as_ref())?;
    same_lookup("the record", &collection, Some(&odd), found.as_ref())
}

fn many_fields(subject: &dyn Subject) -> Checked {
    let store = Store::fresh(subject)?;
    let mut collection = Collection::new("wide", 1, "id", Kind::Int);
    let mut set: Vec<(String, Value)> = vec![("id".to_owned(), 1.into())];
    for i in 0..99_i64 {
        let name = format!("f{i}");
        collection = collection.field(&name, Kind::Int);
        set.push((name, i.into()));
    }
    let id = prepared(&store, &collection)?;
    let set: Vec<(&str, Value)> = set.iter().map(|(name, value)| (name.as_str(), value.clone())).collect();
    let wide = row(&collection, &set)?;
    store.one(Mutation::Insert { collection: id, row: wide.clone() })?;
    let found = store.backend.get(&cx(), id, Key::Int(1).as_ref())?;
    same_lookup("the record", &collection, Some(&wide), found.as_ref())
}

fn after_reopening(subject: &dyn Subject) -> Checked {
    let lists = [
        (field::N, ints_list()),
        (field::R, reals_list()),
        (field::T, texts_list()),
        (field::B, blobs_list()),
        (field::FLAG, vec![true.into(), false.into(), Value::Nil]),
    ];
    for (at, values) in lists {
        let store = Store::fresh(subject)?;
        let name = store.thing.fields[at].name.clone();
        store_each(&store, &name, &values)?;
        let store = store.reopen()?;
        read_each(&store, at, &values)?;
    }
    let store = Store::fresh(subject)?;
    let document = r#"{"a": [1.50, 123456789012345678901234567890, "\u0000é"], "b": {"c": null}}"#;
    store.one(store.insert(1, &[("j", json(document))])?)?;
    let expected = store.thing_row(1, &[("j", json(document))])?;
    let store = store.reopen()?;
    let found = store.get(1)?;
    ensure(found.is_some(), || "expected the record after reopening, found none".to_owned())?;
    same_lookup("the record after reopening", &store.thing, Some(&expected), found.as_ref())
}
