use super::*;
use crate::catalog::Catalog;
use crate::error::Code;
use crate::value::Kind;
use crate::{json, record};

#[test]
fn a_value_of_another_kind_is_not_found_by_its_bytes() {
    let unique = |name: &str, kind| {
        Collection::new("c", 1, "id", Kind::Int).field_with(name, kind, Value::Nil, Index::Unique { except: Vec::new() })
    };
    let table = |collection: Collection, value: Value| {
        let collection = Arc::new(collection);
        let name = collection.fields[1].name.clone();
        let row = Row::builder(&collection).set("id", 1).and_then(|b| b.set(&name, value)).expect("a row").build();
        let mut table = Table::new(Arc::clone(&collection));
        table.replace(&Key::Int(1), Some(Record::Row(row)));
        table
    };
    let texts = table(unique("t", Kind::Text), "abcdefgh".into());
    assert!(texts.get_by(1, ValueRef::Text("abcdefgh")).expect("text").is_some());
    let same_bytes = i64::from_ne_bytes(*b"abcdefgh");
    for wrong in [ValueRef::Int(same_bytes), ValueRef::Blob(b"abcdefgh"), ValueRef::Nil] {
        assert_eq!(texts.get_by(1, wrong).expect_err("another kind").code(), Code::Invalid, "{wrong:?}");
    }
    // Int and real stand for each other, so that an index of the one is passed by for the other.
    let reals = table(unique("r", Kind::Real), 2.0.into());
    assert!(reals.get_by(1, ValueRef::Int(2)).expect("a number").is_some());
    assert!(reals.get_by(1, ValueRef::Real(f64::NAN)).is_err());
}

fn keyed() -> Arc<Collection> {
    let unique = Index::Unique { except: vec!["revoked".into()] };
    let described = Collection::new("c", 1, "id", Kind::Int)
        .field_with("code", Kind::Text, Value::Nil, unique)
        .field_with("n", Kind::Int, Value::Nil, Index::Plain)
        .field("seen", Kind::Real)
        .field("free", Kind::Text);
    Arc::new(described)
}

fn table_of(records: &[(i64, &str)]) -> Table {
    let mut table = Table::new(keyed());
    for (key, text) in records {
        let record = Record::from_json(&keyed(), text);
        table.replace(&Key::Int(*key), Some(record));
    }
    table
}

fn found(table: &Table, field: usize, value: impl Into<Value>) -> Result<Option<Key>, Code> {
    let found = table.get_by(field, value.into().as_ref()).map_err(|e| e.code())?;
    Ok(found.map(|row| row.view(&keyed()).expect("a view").key().to_key()))
}

#[test]
fn a_value_of_an_unreadable_record_is_found_as_corrupt_and_is_taken() {
    let mut table = table_of(&[
        (1, r#"{"id": 1, "code": "one", "n": 1, "seen": "never", "free": "x"}"#),
        (2, r#"{"id": 2, "code": "two", "n": 2, "seen": 2}"#),
    ]);
    let other = Key::Int(9);
    for (field, value) in [(1, Value::from("one")), (2, 1.into()), (2, 1.0.into()), (4, "x".into())] {
        assert_eq!(found(&table, field, value.clone()), Err(Code::Corrupt), "{value:?}");
        assert_eq!(table.holder(field, value.as_ref(), &other), Ok(Some(Key::Int(1))), "{value:?}");
        assert_eq!(table.holder(field, value.as_ref(), &Key::Int(1)), Ok(None), "{value:?}");
    }
    let error = table.get_by(1, ValueRef::Text("one")).expect_err("corrupt");
    assert_eq!(error.detail().key, Some(Key::Int(1)));
    assert_eq!(found(&table, 1, "two"), Ok(Some(Key::Int(2))));
    assert_eq!(found(&table, 1, "three"), Ok(None));
    assert_eq!(table.holder(1, ValueRef::Text("three"), &other), Ok(None));
    // Repaired, and then gone, it leaves nothing behind.
    table.replace(&Key::Int(1), Some(Record::from_json(&keyed(), r#"{"id": 1, "code": "other"}"#)));
    assert_eq!((found(&table, 1, "one"), found(&table, 1, "other")), (Ok(None), Ok(Some(Key::Int(1)))));
    table.replace(&Key::Int(1), None);
    assert_eq!(found(&table, 1, "other"), Ok(None));
}

#[test]
fn of_a_field_that_cannot_be_read_itself_nothing_is_known() {
    let table = table_of(&[(1, r#"{"id": 1, "code": 5, "n": 1}"#), (2, "[]")]);
    assert_eq!((found(&table, 1, "5"), found(&table, 2, 1)), (Ok(None), Err(Code::Corrupt)));
    assert_eq!(table.get(&Key::Int(2)).expect_err("no object").code(), Code::Corrupt);
}

#[test]
fn of_an_unreadable_and_a_readable_duplicate_the_lowest_key_answers() {
    let (bad, good) = (r#"{"id": 1, "code": "twin", "seen": []}"#, r#"{"id": 2, "code": "twin"}"#);
    let table = table_of(&[(1, bad), (2, good)]);
    assert_eq!(found(&table, 1, "twin"), Err(Code::Corrupt));
    let named: Vec<_> = table.problems().into_iter().map(|p| p.key).collect();
    assert_eq!(named, [Some(Key::Int(1)), Some(Key::Int(2))]);
    let table = table_of(&[(2, good), (3, &bad.replace("1,", "3,"))]);
    assert_eq!(found(&table, 1, "twin"), Ok(Some(Key::Int(2))));
}

#[test]
fn what_stands_under_no_key_has_its_values_too() {
    let mut table = table_of(&[(1, r#"{"id": 1, "code": "one"}"#)]);
    table.set_strays(vec![record::salvaged(&keyed(), &json::parse(r#"{"id": "x", "code": "lost"}"#).expect("JSON"))]);
    assert_eq!((found(&table, 1, "lost"), found(&table, 1, "one")), (Err(Code::Corrupt), Ok(Some(Key::Int(1)))));
    assert_eq!(table.holder(1, ValueRef::Text("lost"), &Key::Int(2)).expect_err("taken").code(), Code::Corrupt);
    assert_eq!(table.holder(1, ValueRef::Text("free"), &Key::Int(2)), Ok(None));
}

#[test]
fn under_another_description_an_unreadable_record_keeps_its_values() {
    let old = keyed();
    let mut new = Collection::new("c", 2, "id", Kind::Int).field("n", Kind::Text);
    new = new.field_with("code", Kind::Text, Value::Nil, Index::Unique { except: Vec::new() });
    let catalog = Catalog::new();
    catalog.register(std::slice::from_ref(&old)).expect("registered");
    let mut tables = Tables::default();
    tables.extend(&catalog);
    let id = crate::CollectionId(0);
    let table = tables.get_mut(id).expect("a table");
    for (key, text) in [(1, r#"{"id": 1, "code": "a", "seen": []}"#), (2, r#"{"id": 2, "code": "b", "n": 5}"#)] {
        table.replace(&Key::Int(key), Some(Record::from_json(&old, text)));
    }
    let catalog = Catalog::new();
    catalog.register(&[new]).expect("registered");
    let tables = tables.redefined(&catalog);
    for code in ["a", "b"] {
        let found = tables.get(id).expect("a table").get_by(2, ValueRef::Text(code));
        assert_eq!(found.expect_err("unreadable").code(), Code::Corrupt, "{code}");
    }
}

#[test]
fn a_key_of_another_kind_is_invalid_and_not_absent() {
    let table = table_of(&[]);
    assert_eq!(table.get(&Key::from("1")).expect_err("a text").code(), Code::Invalid);
    assert_eq!(table.get(&Key::Int(1)), Ok(None));
}

#[test]
fn a_long_search_ends_when_the_caller_gives_up() {
    let records: Vec<_> = (1..=2000).map(|id| (id, format!(r#"{{"id": {id}, "free": "{}"}}"#, id * 7919 % 2003))).collect();
    let table = table_of(&records.iter().map(|(id, text)| (*id, text.as_str())).collect::<Vec<_>>());
    let gone = std::sync::atomic::AtomicBool::new(true);
    let (gives_up, waits) = (Context::unbounded().cancelled_by(&gone), Context::unbounded());
    let all = Query::all(crate::CollectionId(0));
    let some = all.clone().filter(crate::Condition::new(4, Op::Ne, "x"));
    for query in [all.clone().order_by(4, false), some.clone(), some.clone().order_by(4, true)] {
        assert_eq!(table.find(&gives_up, &query, usize::MAX).expect_err("cancelled").code(), Code::Deadline);
        assert_eq!(table.find(&waits, &query, usize::MAX).expect("a page").rows.len(), 2000);
    }
    assert_eq!(table.count(&gives_up, &some).expect_err("cancelled").code(), Code::Deadline);
    assert_eq!((table.count(&waits, &some), table.count(&gives_up, &all)), (Ok(2000), Ok(2000)), "the size is known");
    assert_eq!(table.find(&gives_up, &all.limit(3), usize::MAX).expect("short").rows.len(), 3);
}
