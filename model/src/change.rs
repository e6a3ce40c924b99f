//! Applying narrow changes to a row: a pure function that every backend calls, so that all mean the same.

use crate::collection::Collection;
use crate::error::{Error, Result};
use crate::eval::scalar_is;
use crate::json::{self, Json, Member, Text};
use crate::mutation::Change;
use crate::record::is_null;
use crate::row::{Row, RowBuilder, RowView};
use crate::value::{Kind, Value, ValueRef};

/// The row with `changes` applied one after another.
///
/// # Errors
/// `invalid`, naming the field: no such field, the key, a value of another kind, an overflow, JSON of another shape.
pub fn apply(row: &RowView<'_>, changes: &[Change]) -> Result<Row> {
    let collection = row.collection();
    let mut builder = row.to_builder();
    for change in changes {
        apply_one(collection, &mut builder, change)?;
    }
    Ok(builder.build())
}

fn apply_one(collection: &Collection, row: &mut RowBuilder<'_>, change: &Change) -> Result<()> {
    let at = change.field();
    let field = collection.at(at)?;
    let wrong = |what: String| Error::invalid(format!("field {}: {what}", field.name)).field(&field.name);
    let invalid = |what: String| Err(wrong(what));
    if at == collection.key {
        return invalid("the key of a record cannot be changed".to_owned());
    }
    let json_only = || {
        if field.kind == Kind::Json { Ok(()) } else { invalid(format!("expected a json field, found {}", field.kind)) }
    };
    let value = match change {
        Change::Set { value, .. } if is_null(value.as_ref()) => Value::Nil,
        Change::Set { value, .. } => value.clone(),
        Change::Increment { by, .. } => match increment(row.at(at), by, field.kind) {
            Some(value) => value,
            None => return invalid(format!("cannot increment this {} field by {:?}", field.kind, by)),
        },
        Change::JsonSet { name, json, .. } => {
            json_only()?;
            let new = json::parse(json).map_err(|e| wrong(format!("expected JSON text: {e}")))?;
            let quoted = json::quote(name);
            let source = text_or(row.at(at), "{}");
            let Ok(Json::Object(mut members)) = json::parse(&source) else {
                return invalid("expected an object to set a member in".to_owned());
            };
            let member = Member { name: Text { raw: &quoted[1..quoted.len() - 1] }, value: new, raw: json };
            match members.iter_mut().find(|m| m.name.name() == *name.as_str()) {
                Some(old) => *old = member,
                None => members.push(member),
            }
            Value::Json(Json::Object(members).to_text())
        }
        Change::JsonUnset { name, .. } => {
            json_only()?;
            let source = text_or(row.at(at), "{}");
            let Ok(Json::Object(mut members)) = json::parse(&source) else {
                return invalid("expected an object to remove a member from".to_owned());
            };
            let before = members.len();
            members.retain(|m| m.name.name() != *name.as_str());
            if members.len() == before {
                return Ok(());
            }
            Value::Json(Json::Object(members).to_text())
        }
        Change::ListAdd { item, .. } | Change::ListRemove { item, .. } => {
            json_only()?;
            let Some(scalar) = scalar_text(item.as_ref()) else {
                return invalid("a list item must be a bool, int, finite real or text".to_owned());
            };
            let source = text_or(row.at(at), "[]");
            let Ok(Json::Array(mut items)) = json::parse(&source) else {
                return invalid("expected a list".to_owned());
            };
            let before = items.len();
            if matches!(change, Change::ListRemove { .. }) {
                items.retain(|i| !scalar_is(i, item.as_ref()));
            } else if !items.iter().any(|i| scalar_is(i, item.as_ref())) {
                items.push(json::parse(&scalar).map_err(|e| wrong(e.to_string()))?);
            }
            if items.len() == before && !row.at(at).is_nil() {
                return Ok(());
            }
            Value::Json(Json::Array(items).to_text())
        }
    };
    row.put(at, value)
}

fn text_or(value: ValueRef<'_>, empty: &str) -> String {
    value.as_str().unwrap_or(empty).to_owned()
}

#[expect(clippy::cast_precision_loss, reason = "a real field rounds as doubles do")]
fn increment(value: ValueRef<'_>, by: &Value, kind: Kind) -> Option<Value> {
    match (kind, value, by) {
        (Kind::Int, ValueRef::Nil, Value::Int(by)) => Some(Value::Int(*by)),
        (Kind::Int, ValueRef::Int(v), Value::Int(by)) => v.checked_add(*by).map(Value::Int),
        (Kind::Real, value, by) => {
            let v = if let ValueRef::Real(v) = value { v } else { 0.0 };
            let by = match by {
                Value::Int(by) => *by as f64,
                Value::Real(by) => *by,
                _ => return None,
            };
            Some(v + by).filter(|sum| sum.is_finite()).map(Value::Real)
        }
        _ => None,
    }
}

fn scalar_text(item: ValueRef<'_>) -> Option<String> {
    match item {
        ValueRef::Bool(v) => Some(v.to_string()),
        ValueRef::Int(v) => Some(v.to_string()),
        ValueRef::Real(v) if v.is_finite() => Some(format!("{v:?}")),
        ValueRef::Text(v) => Some(json::quote(v)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn collection() -> Collection {
        Collection::new("c", 1, "id", Kind::Int)
            .field("n", Kind::Int)
            .field("r", Kind::Real)
            .field("o", Kind::Json)
            .field("l", Kind::Json)
    }

    fn changed(start: &[(&str, Value)], change: Change) -> Result<Value> {
        let c = collection();
        let mut builder = Row::builder(&c).set("id", 1)?;
        for (name, value) in start {
            builder = builder.set(name, value.clone())?;
        }
        let row = builder.build();
        let at = change.field();
        let new = apply(&row.view(&c)?, &[change])?;
        Ok(new.view(&c)?.at(at).to_value())
    }

    fn json(text: &str) -> Value {
        Value::Json(text.to_owned())
    }

    #[test]
    fn numbers_grow_from_nil_and_never_wrap() {
        assert_eq!(changed(&[], Change::Increment { field: 1, by: 5.into() }), Ok(Value::Int(5)));
        assert!(changed(&[("n", i64::MAX.into())], Change::Increment { field: 1, by: 1.into() }).is_err());
        assert_eq!(changed(&[("r", 1.5.into())], Change::Increment { field: 2, by: 1.into() }), Ok(Value::Real(2.5)));
        assert!(changed(&[("r", f64::MAX.into())], Change::Increment { field: 2, by: f64::MAX.into() }).is_err());
        assert!(changed(&[], Change::Increment { field: 1, by: 1.5.into() }).is_err());
        assert!(changed(&[], Change::set(0, 2)).is_err(), "the key");
    }

    #[test]
    fn a_member_changes_and_the_rest_keeps_its_spelling() {
        let start = [("o", json(r#"{"big": 123456789012345678901234567890, "a": 1.0}"#))];
        let set = Change::JsonSet { field: 3, name: "a\"".to_owned(), json: "[NaN]".to_owned() };
        assert_eq!(changed(&start, set), Ok(json(r#"{"big": 123456789012345678901234567890, "a": 1.0, "a\"": [NaN]}"#)));
        let unset = Change::JsonUnset { field: 3, name: "a".to_owned() };
        assert_eq!(changed(&start, unset), Ok(json(r#"{"big": 123456789012345678901234567890}"#)));
        let bad = Change::JsonSet { field: 3, name: "a".to_owned(), json: "{".to_owned() };
        assert_eq!(changed(&start, bad).unwrap_err().code(), crate::Code::Invalid);
        let onto_list = Change::JsonSet { field: 3, name: "a".to_owned(), json: "1".to_owned() };
        assert!(changed(&[("o", json("[]"))], onto_list).is_err());
    }

    #[test]
    fn lists_are_sets_of_scalars() {
        let add = |item: Value| Change::ListAdd { field: 4, item };
        assert_eq!(changed(&[], add("a".into())), Ok(json(r#"["a"]"#)));
        assert_eq!(changed(&[("l", json(r#"["\u0061"]"#))], add("a".into())), Ok(json(r#"["\u0061"]"#)));
        let remove = Change::ListRemove { field: 4, item: 1.into() };
        assert_eq!(changed(&[("l", json(r#"[1.0, "1", 1]"#))], remove), Ok(json(r#"["1"]"#)));
    }
}
