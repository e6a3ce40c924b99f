//! Reading records by key and by unique field.

use hivemind_model::{Capability, Code, CollectionId, Key, Query, Value};

use crate::case::{Case, Checked, Failure};
use crate::check::{ensure, equal, refused, same_lookup, same_row};
use crate::fixture::{Store, cx, field};
use crate::subject::Subject;

pub(super) const CASES: &[Case] = &[
    Case::new("read::absent", "A key that is not stored is answered with nothing, not with an error.", absent),
    Case::new("read::by_int_key", "A record is found by its int key, negative and extreme ones included.", by_int_key),
    Case::new(
        "read::by_text_key",
        "Text keys are told apart by their bytes: case, spaces, NUL, accents, the empty text.",
        by_text_key,
    ),
    Case::new(
        "read::key_of_another_kind",
        "A key of the other kind is invalid, not absent, even if it looks the same.",
        other_kind,
    ),
    Case::new("read::many", "get_many answers each key at its own position, absent and repeated ones included.", many),
    Case::new("read::many_of_none", "get_many of no keys answers nothing.", many_of_none),
    Case::new("read::by_unique", "A record is found by the value of a unique field, which is compared by bytes.", by_unique)
        .requires(&[Capability::Unique]),
    Case::new("read::by_unique_kind", "get_by with a value of another kind, or nil, is invalid.", by_unique_kind)
        .requires(&[Capability::Unique]),
    Case::new("read::unknown_collection", "Reading a collection that was not prepared is invalid.", unknown_collection),
    Case::new("read::collections_apart", "Collections do not see each other's records.", collections_apart),
];

fn absent(subject: &dyn Subject) -> Checked {
    let store = Store::fresh(subject)?;
    same_lookup("get of an absent key", &store.thing, None, store.get(1)?.as_ref())?;
    same_lookup("get of an absent text key", &store.note, None, store.get_note("x")?.as_ref())?;
    store.fill([1])?;
    same_lookup("get of another key", &store.thing, None, store.get(2)?.as_ref())?;
    equal("count of an empty collection", &0, &store.count(&Query::all(store.notes))?)?;
    let page = store.find(&Query::all(store.notes), usize::MAX)?;
    ensure(page.rows.is_empty() && page.next.is_none(), || format!("find in an empty collection: found {page:?}"))
}

fn by_int_key(subject: &dyn Subject) -> Checked {
    let store = Store::fresh(subject)?;
    let keys = [i64::MIN, -1, 0, 1, 9_007_199_254_740_993, 9_007_199_254_740_992, i64::MAX];
    store.fill(keys)?;
    for key in keys {
        equal("the field n of the record", &Value::Int(key), &store.value(key, field::N)?)?;
        equal("the key of the record", &Value::Int(key), &store.value(key, field::ID)?)?;
    }
    let mut sorted = keys.to_vec();
    sorted.sort_unstable();
    equal("all keys in order", &sorted, &store.every_id()?)
}

fn by_text_key(subject: &dyn Subject) -> Checked {
    const KEYS: [&str; 12] =
        ["", " ", "a", "A", "a ", "a\0", "a\0b", "\u{e9}", "e\u{301}", "1", "../../x", "\u{1f600}%_\\'\";--"];
    let store = Store::fresh(subject)?;
    for key in KEYS {
        let row = store.note_row(key, &[("body", key.into())])?;
        store.one(hivemind_model::Mutation::Insert { collection: store.notes, row })?;
    }
    for key in KEYS {
        equal("the body of the note", &Value::from(key), &store.note_value(key, 1)?)?;
    }
    equal("how many notes", &(KEYS.len() as u64), &store.count(&Query::all(store.notes))?)
}

fn other_kind(subject: &dyn Subject) -> Checked {
    let store = Store::fresh(subject)?;
    store.fill([1])?;
    let row = store.note_row("1", &[])?;
    store.one(hivemind_model::Mutation::Insert { collection: store.notes, row })?;
    for (collection, key) in [(store.things, Key::from("1")), (store.notes, Key::Int(1))] {
        refused(&format!("get of {key:?}"), Code::Invalid, store.backend.get(&cx(), collection, key.as_ref()))?;
    }
    let answers = store.backend.get_many(&cx(), store.things, &[Key::Int(1), Key::from("1"), Key::Int(2)])?;
    let found: Vec<_> = answers.iter().map(|answer| answer.as_ref().map(Option::is_some).map_err(|e| e.code())).collect();
    equal("get_many with such a key in the middle", &vec![Ok(true), Err(Code::Invalid), Ok(false)], &found)
}

fn many(subject: &dyn Subject) -> Checked {
    let store = Store::fresh(subject)?;
    store.fill(1..=4)?;
    let asked = [3, 9, 1, 3, 4, -1];
    let keys: Vec<Key> = asked.into_iter().map(Key::Int).collect();
    let found = store.backend.get_many(&cx(), store.things, &keys)?;
    equal("how many answers", &asked.len(), &found.len())?;
    for (position, (key, answer)) in asked.into_iter().zip(found).enumerate() {
        let expected = (1..=4).contains(&key).then(|| store.thing_row(key, &[("n", key.into())])).transpose()?;
        let what = format!("the answer at position {position}, for key {key}");
        same_lookup(&what, &store.thing, expected.as_ref(), answer?.as_ref())?;
    }
    Ok(())
}

fn many_of_none(subject: &dyn Subject) -> Checked {
    let store = Store::fresh(subject)?;
    equal("how many answers", &0, &store.backend.get_many(&cx(), store.things, &[])?.len())
}

fn by_unique(subject: &dyn Subject) -> Checked {
    const CODES: [&str; 6] = ["k", "K", "k ", "k\0", "\u{e9}", "e\u{301}"];
    let store = Store::fresh(subject)?;
    for (id, code) in (1..).zip(CODES) {
        store.one(store.insert(id, &[("code", code.into())])?)?;
    }
    let by = |code: &str| store.backend.get_by(&cx(), store.things, field::CODE, Value::from(code).as_ref());
    for (id, code) in (1..).zip(CODES) {
        let expected = store.thing_row(id, &[("code", code.into())])?;
        same_lookup(&format!("get_by of {code:?}"), &store.thing, Some(&expected), by(code)?.as_ref())?;
    }
    same_lookup("get_by of an absent value", &store.thing, None, by("absent")?.as_ref())?;
    store.one(store.update(1, vec![hivemind_model::Change::set(field::CODE, "moved")], Vec::new()))?;
    same_lookup("get_by of a value that moved away", &store.thing, None, by("k")?.as_ref())?;
    store.one(store.delete(2))?;
    same_lookup("get_by of a deleted record's value", &store.thing, None, by("K")?.as_ref())?;
    let expected = store.thing_row(1, &[("code", "moved".into())])?;
    same_lookup("get_by of the new value", &store.thing, Some(&expected), by("moved")?.as_ref())
}

fn by_unique_kind(subject: &dyn Subject) -> Checked {
    let store = Store::fresh(subject)?;
    // Eight letters are as long as an int, so that an index of bytes could mix them up.
    store.one(store.insert(1, &[("code", "abcdefgh".into())])?)?;
    let wrong = [Value::Int(i64::from_le_bytes(*b"abcdefgh")), Value::Blob(b"abcdefgh".to_vec()), Value::Nil, Value::Bool(true)];
    for value in wrong {
        let found = store.backend.get_by(&cx(), store.things, field::CODE, value.as_ref());
        refused(&format!("get_by of {value:?}"), Code::Invalid, found)?;
    }
    let beyond = store.backend.get_by(&cx(), store.things, 99, Value::from("x").as_ref());
    refused("get_by of a field that is not there", Code::Invalid, beyond)?;
    Ok(())
}

fn unknown_collection(subject: &dyn Subject) -> Checked {
    let store = Store::fresh(subject)?;
    for id in [99, u32::MAX] {
        let id = CollectionId(id);
        refused("get", Code::Invalid, store.backend.get(&cx(), id, Key::Int(1).as_ref()))?;
        refused("get_by", Code::Invalid, store.backend.get_by(&cx(), id, 1, Value::from("x").as_ref()))?;
        refused("find", Code::Invalid, store.find(&Query::all(id), 100))?;
        refused("count", Code::Invalid, store.count(&Query::all(id)))?;
        let many = store.backend.get_many(&cx(), id, &[Key::Int(1)]);
        let many = many.and_then(|answers| answers.into_iter().collect::<Result<Vec<_>, _>>());
        refused("get_many", Code::Invalid, many)?;
    }
    Ok(())
}

fn collections_apart(subject: &dyn Subject) -> Checked {
    let store = Store::fresh(subject)?;
    store.fill(1..=2)?;
    let row = store.note_row("only", &[])?;
    store.one(hivemind_model::Mutation::Insert { collection: store.notes, row: row.clone() })?;
    equal("how many things", &2, &store.count(&Query::all(store.things))?)?;
    let page = store.find(&Query::all(store.notes), usize::MAX)?;
    match &page.rows[..] {
        [found] => same_row("the only note", &store.note, &row, found),
        rows => Err(Failure::wrong(format!("find in notes: expected one row, found {}", rows.len()))),
    }
}
