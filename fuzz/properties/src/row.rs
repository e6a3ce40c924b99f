//! The row reader: it agrees with another reader of MessagePack, and what it accepts can be read, checked, written and read again.

use hivemind_model::{Code, Collection, Kind, Row, RowView, ValueRef, eval, record};
use hivemind_store::Client;
use rmpv::ValueRef as Other;

use crate::{collections, is_too_deep, messagepack};

/// The first byte chooses the collection, the rest is the row.
///
/// # Panics
/// Where a property does not hold.
pub fn check(data: &[u8]) {
    let Some((collection, bytes)) = collections::chosen(data) else { return };
    let expected = by_the_other_reader(&collection, bytes);
    let keyed = RowView::new(&collection, bytes);
    match RowView::keyless(&collection, bytes) {
        Err(error) => {
            assert_eq!(error.code(), Code::Invalid, "{error}");
            assert_eq!(error.detail().collection.as_deref(), Some(collection.name.as_str()));
            let agreed = expected.is_none() || messagepack::is_reserved(&error);
            assert!(keyed.is_err() && agreed, "refused with {error}, though it is {expected:?}");
        }
        Ok(view) => {
            let values: Vec<_> = view.iter().map(|(_, value)| value).collect();
            assert_eq!(Some(&values), expected.as_ref(), "the two readers differ");
            assert_eq!(keyed.is_ok(), !view.at(collection.key).is_nil());
            readable(&collection, &view);
            if let Ok(view) = keyed {
                whole(&collection, bytes, &view);
            }
        }
    }
}

/// The values that `rmpv` finds, if they are what the collection asks for.
fn by_the_other_reader<'a>(collection: &Collection, bytes: &'a [u8]) -> Option<Vec<ValueRef<'a>>> {
    let Some(Other::Array(items)) = messagepack::whole(bytes) else { return None };
    if items.len() > collection.fields.len() {
        return None;
    }
    let mut values = items.iter().zip(&collection.fields).map(|(i, f)| value(i, f.kind)).collect::<Option<Vec<_>>>()?;
    values.resize(collection.fields.len(), ValueRef::Nil);
    Some(values)
}

fn value<'a>(item: &Other<'a>, kind: Kind) -> Option<ValueRef<'a>> {
    match (item, kind) {
        (Other::Nil, _) => Some(ValueRef::Nil),
        (Other::Boolean(v), Kind::Bool) => Some(ValueRef::Bool(*v)),
        (Other::Integer(v), Kind::Int) => v.as_i64().map(ValueRef::Int),
        (Other::F32(v), Kind::Real) if v.is_finite() => Some(ValueRef::Real(f64::from(*v))),
        (Other::F64(v), Kind::Real) if v.is_finite() => Some(ValueRef::Real(*v)),
        (Other::String(v), Kind::Text) => v.into_str().map(ValueRef::Text),
        (Other::String(v), Kind::Json) => v.into_str().map(ValueRef::Json),
        (Other::Binary(v), Kind::Blob) => Some(ValueRef::Blob(v)),
        _ => None,
    }
}

/// Every way to read its fields gives the same, and what is written reads back as it was.
fn readable(collection: &Collection, view: &RowView<'_>) {
    for (at, field) in collection.fields.iter().enumerate() {
        assert_eq!(Some(view.at(at)), view.get(&field.name));
        assert!(eval::same(view.at(at), view.at(at)) || matches!(view.at(at), ValueRef::Json(_)));
    }
    assert!(view.at(collection.fields.len()).is_nil() && view.get("no such field").is_none());
    let written = view.to_builder().build();
    let again = RowView::keyless(collection, written.as_bytes()).expect("what was written is read");
    assert!(view.iter().zip(again.iter()).all(|((_, a), (_, b))| a == b), "it came back as another");
    assert_eq!(again.to_builder().build(), written, "one form of it");
}

/// A row with a key: stored, it is in a form that storing leaves alone, and JSON carries all of it.
fn whole(collection: &Collection, bytes: &[u8], view: &RowView<'_>) {
    let valid = view.validate();
    let row = Row::from_bytes(bytes.to_vec());
    let stored = record::as_stored(collection, &row);
    if collection.name == hivemind_store::clients::NAME {
        let client = Client::from_row(collection, &row);
        assert!(client.is_ok(), "a row of clients is no client: {client:?}");
    }
    if let Err(error) = valid {
        assert_eq!(error.code(), Code::Invalid);
        assert!(error.detail().field.is_some(), "{error}");
        return;
    }
    let stored = stored.expect("a valid row can be stored");
    let view = stored.view(collection).expect("what is stored is a row");
    view.validate().expect("what is stored is valid");
    let again = record::as_stored(collection, &stored).expect("it can be stored again");
    assert_eq!(again.as_ref(), stored.as_ref(), "storing is idempotent");

    let text = record::to_json(&view);
    match record::from_json(collection, &text) {
        Ok(back) => {
            let back = back.view(collection).expect("a row with its key");
            assert!(eval::same_rows(&view, &back), "JSON lost something of {text}");
        }
        // A document at the depth limit stands deeper inside of another.
        Err(error) => assert!(is_too_deep(error.message()), "{text}: {error}"),
    }
}
