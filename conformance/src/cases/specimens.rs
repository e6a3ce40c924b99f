//! Records that hold, kind by kind, the values on which engines differ. Record `n` holds the `n`th value of each list, nil behind
//! its end. Every scalar kind is there twice: in a field without index and in one with.

use hivemind_model::{Collection, CollectionId, Index, Key, Kind, Mutation, Row, Value};

use crate::case::{Checked, Failure};
use crate::fixture::{Store, cx, json};
use crate::subject::Subject;

pub(super) const FLAG: usize = 1;
pub(super) const INT: usize = 2;
pub(super) const REAL: usize = 3;
pub(super) const TEXT: usize = 4;
pub(super) const BLOB: usize = 5;
pub(super) const JSON: usize = 6;
/// From a scalar field without index to its twin with one.
pub(super) const INDEXED: usize = 6;
/// How many records there are.
pub(super) const COUNT: i64 = 16;

pub(super) fn collection() -> Collection {
    let kinds = [("flag", Kind::Bool), ("n", Kind::Int), ("r", Kind::Real), ("t", Kind::Text), ("b", Kind::Blob)];
    let mut collection = Collection::new("specimens", 1, "id", Kind::Int);
    for (name, kind) in kinds {
        collection = collection.field(name, kind);
    }
    collection = collection.field("j", Kind::Json);
    for (name, kind) in kinds {
        collection = collection.field_with(&format!("{name}_indexed"), kind, Value::Nil, Index::Plain);
    }
    collection
}

/// The values of one kind: those of the records 1, 2, 3 and so on.
pub(super) fn values(kind: Kind) -> Vec<Value> {
    let mut values = vec![Value::Nil];
    match kind {
        Kind::Bool => values.extend([false, true].map(Value::Bool)),
        Kind::Int => {
            values.extend([0, -1, 1, i64::MIN, i64::MAX, 9_007_199_254_740_993, 9_007_199_254_740_992].map(Value::Int));
        }
        Kind::Real => values.extend(
            [
                -0.0,
                0.0,
                1.5,
                -1.5,
                f64::MAX,
                5e-324,
                9_007_199_254_740_992.0,
                9_223_372_036_854_775_808.0,
                1.0,
                f64::MIN,
                f64::MIN_POSITIVE,
            ]
            .map(Value::Real),
        ),
        Kind::Text => values.extend(
            [
                "",
                "a",
                "A",
                "a\0b",
                "a\0c",
                "\u{e9}",
                "e\u{301}",
                "100%",
                "a_b",
                "a\\b",
                "ab",
                " a",
                "\u{fffd}",
                "\u{1f600}",
                "axb",
            ]
            .map(Value::from),
        ),
        Kind::Blob => {
            let blobs: [&[u8]; 6] = [&[], &[0], &[0, 1], &[255], &[0, 0], b"a"];
            values.extend(blobs.map(|blob| Value::Blob(blob.to_vec())));
        }
        _ => values.extend(
            [
                "1",
                "1.0",
                r#"{"a": 1, "b": [1, 2]}"#,
                r#"{"b":[1,2],"a":1e0}"#,
                r#"[1, "x", true, null, 2.5]"#,
                r#""x""#,
                "[]",
                "{}",
                "12345678901234567890",
                "12345678901234567891",
                r#"[12345678901234567890, "\u0078", "\u00e9"]"#,
                r#"{"a": "x", "n": null}"#,
                r#"{"a": true}"#,
                r#"{"a": [1, "x"]}"#,
                r#"[[1], {"a": 1}]"#,
            ]
            .map(json),
        ),
    }
    values
}

/// The rows of all records.
pub(super) fn rows() -> Checked<Vec<Row>> {
    let collection = collection();
    let lists: Vec<Vec<Value>> = collection.fields.iter().map(|f| values(f.kind)).collect();
    (1..=COUNT)
        .map(|id| {
            let mut builder = Row::builder(&collection);
            for (at, list) in lists.iter().enumerate().skip(1) {
                let value = usize::try_from(id - 1).ok().and_then(|i| list.get(i)).cloned();
                builder.put(at, value.unwrap_or(Value::Nil))?;
            }
            Ok(builder.build_with_key(&Key::Int(id)))
        })
        .collect()
}

/// A store that holds them.
pub(super) struct Specimens {
    pub(super) store: Store,
    pub(super) collection: Collection,
    pub(super) id: CollectionId,
    pub(super) rows: Vec<Row>,
}

impl Specimens {
    pub(super) fn fresh(subject: &dyn Subject) -> Checked<Self> {
        let (store, collection, rows) = (Store::fresh(subject)?, collection(), rows()?);
        let ids = store.backend.prepare(&cx(), std::slice::from_ref(&collection))?;
        let id = *ids.first().ok_or_else(|| Failure::wrong("prepare: expected an id, found none"))?;
        // Stored from the last to the first, so that no engine gets away with the order of arrival.
        store.all(rows.iter().rev().map(|row| Mutation::Insert { collection: id, row: row.clone() }).collect())?;
        Ok(Self { store, collection, id, rows })
    }
}
