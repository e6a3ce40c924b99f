//! A record in the file and the row it stands for.

use hivemind_abi::model::json::{self, Json, Member, Text};
use hivemind_abi::model::{Collection, Error, Key, Kind, Result, Row, RowView, Value, ValueRef, eval, record};

use crate::document::without_separators;

/// What stands under a name.
#[cfg_attr(test, derive(Debug))]
pub(crate) enum Reading {
    /// A record under its own key.
    Row(Key, Row),
    /// Something that is kept as it is and answered `corrupt` under `key`.
    Unreadable {
        /// The key that the name stands for.
        key: Key,
        /// Whether the name is how that key is written.
        exact: bool,
        /// Why.
        why: String,
        /// The key that the record gives itself, where it is another: nobody else may take it.
        own: Option<Key>,
        /// What of it could be read: nobody else may have its unique values.
        values: Vec<(usize, Value)>,
    },
    /// Something that is kept as it is under a name that is no key.
    Stray {
        /// Why, and what the name is.
        why: String,
        /// As above.
        own: Option<Key>,
        /// As above.
        values: Vec<(usize, Value)>,
    },
}

/// The key a name stands for, and whether it is written exactly so. A name with half of a surrogate pair stands for none.
pub(crate) fn key_named(collection: &Collection, name: Text<'_>) -> Option<(Key, bool)> {
    let name = name.to_str()?;
    match collection.key_kind() {
        Kind::Text => Some((Key::Text(name.into_owned()), true)),
        _ => name.trim().parse::<i64>().ok().map(|key| (Key::Int(key), key.to_string() == name)),
    }
}

/// The name of a key's record, quoted.
pub(crate) fn quoted_name(key: &Key) -> String {
    match key {
        Key::Int(key) => format!("\"{key}\""),
        Key::Text(key) => json::quote(key),
    }
}

/// Whether values of a record were covered because they are nested too deep, see `document::deep`: its parts stand in another text
/// than it does itself then.
fn is_covered(member: &Member<'_>) -> bool {
    let text = member.raw.as_bytes().as_ptr_range();
    matches!(&member.value, Json::Object(parts) if parts.iter().any(|part| !text.contains(&part.raw.as_ptr())))
}

/// Reads what stands under a name.
pub(crate) fn read(collection: &Collection, member: &Member<'_>) -> Reading {
    let name = member.name.decode();
    let is_covered = is_covered(member);
    let (own, why) = match row_of(collection, &member.value) {
        _ if is_covered => (None, format!("it is nested deeper than {} levels", json::MAX_DEPTH)),
        Ok((key, row)) => match key_named(collection, member.name) {
            Some((named, true)) if named == key => return Reading::Row(key, row),
            _ => {
                let field = collection.key_name();
                (Some(key.clone()), format!("its {field} is {key}, but it stands under the name {name:?}; correct one of them"))
            }
        },
        Err(e) => (None, e.message().to_owned()),
    };
    let values = record::salvaged(collection, &member.value);
    match key_named(collection, member.name) {
        Some((key, exact)) => Reading::Unreadable { own: own.filter(|own| *own != key), key, exact, why, values },
        None => Reading::Stray { why: format!("the record {name:?}: {why}"), own, values },
    }
}

fn row_of(collection: &Collection, value: &Json<'_>) -> Result<(Key, Row)> {
    let row = record::from_parsed(collection, value)?;
    let view = row.view(collection)?;
    let key = view.key().to_key();
    let one_line = on_one_line(&view)?;
    Ok((key, one_line.unwrap_or(row)))
}

/// The row with its JSON on one line, if it is not so already: the file's indentation is layout, not content, and what was written
/// must come back as it was given.
fn on_one_line(row: &RowView<'_>) -> Result<Option<Row>> {
    let mut builder = None;
    for (at, (_, value)) in row.iter().enumerate() {
        let ValueRef::Json(text) = value else { continue };
        if text.contains('\n') {
            let line = json::parse(text).map_err(|e| Error::invalid(e.to_string()))?.to_text();
            builder.get_or_insert_with(|| row.to_builder()).put(at, Value::Json(line))?;
        }
    }
    Ok(builder.map(|b| b.build()))
}

/// Writes a row as it stands in the file, and reads that back: what is returned is what a later start will find.
///
/// `previous` is the row that stands there and its text: a text or number that stays the same keeps its spelling, because a number's
/// notation has no other place to survive in, and what did not change should not look changed.
///
/// # Errors
/// `invalid` if the file could not be read any more with this record in it.
pub(crate) fn render(collection: &Collection, row: &Row, previous: Option<(&Row, &str)>) -> Result<(String, Row)> {
    let view = row.view(collection)?;
    let previous = previous.and_then(|(row, text)| Some((row.view(collection).ok()?, json::parse(text).ok()?)));
    let mut out = String::with_capacity(512);
    for (at, (field, value)) in view.iter().enumerate() {
        out.push_str(if at == 0 { "{\n        " } else { ",\n        " });
        json::quote_into(&field.name, &mut out);
        out.push_str(": ");
        let kept =
            previous.as_ref().filter(|(old, _)| eval::same(old.at(at), value)).and_then(|(_, text)| text.member(&field.name));
        match (value, kept) {
            (ValueRef::Json(text), _) => {
                let parsed =
                    json::parse(text).map_err(|e| Error::invalid(format!("field {}: {e}", field.name)).field(&field.name))?;
                parsed.write_indented(2, &mut out);
            }
            (ValueRef::Text(_) | ValueRef::Real(_), Some(kept)) => out.push_str(kept.raw),
            _ => record::write_json(value, &mut out),
        }
    }
    out.push_str("\n    }");
    let text = without_separators(&out).into_owned();
    let back = read_back(collection, &text, &view.key().to_key()).map_err(|e| e.key(view.key().to_key()))?;
    Ok((text, back))
}

fn read_back(collection: &Collection, text: &str, key: &Key) -> Result<Row> {
    // One level deeper, as in the file: what is nested too deep there would make the whole file unreadable.
    let wrapped = format!("[{text}]");
    let parsed = json::parse(&wrapped).map_err(|e| Error::invalid(format!("{} {key} cannot be stored: {e}", collection.name)))?;
    let Json::Array(items) = &parsed else { return Err(Error::invalid("expected a list")) };
    let item = items.first().ok_or_else(|| Error::invalid("expected a record"))?;
    match row_of(collection, item)? {
        (found, row) if found == *key => Ok(row),
        (found, _) => Err(Error::invalid(format!("{} {key} would come back as {found}", collection.name))),
    }
}

#[cfg(test)]
mod tests {
    use hivemind_abi::model::Index;

    use super::*;

    fn collection() -> Collection {
        let mut c = Collection::new("c", 1, "id", Kind::Int)
            .field("name", Kind::Text)
            .field_with("seen", Kind::Real, -1.0, Index::None)
            .field_with("list", Kind::Json, Value::Json("[]".to_owned()), Index::None)
            .field_with("meta", Kind::Json, Value::Json("{}".to_owned()), Index::None);
        c.extras = Some(4);
        c
    }

    fn reading(name: &str, value: &str) -> Reading {
        let source = format!("{{{}: {value}}}", json::quote(name));
        let parsed = json::parse(&source).expect(&source);
        let Json::Object(members) = &parsed else { panic!("an object") };
        read(&collection(), &members[0])
    }

    #[test]
    fn a_record_is_readable_only_under_its_own_key() {
        assert!(matches!(reading("7", r#"{"id": 7}"#), Reading::Row(Key::Int(7), _)));
        assert!(matches!(reading("5", r#"{"id": 7}"#), Reading::Unreadable { key: Key::Int(5), own: Some(Key::Int(7)), .. }));
        assert!(matches!(reading("07", r#"{"id": 7}"#), Reading::Unreadable { key: Key::Int(7), exact: false, own: None, .. }));
        assert!(matches!(reading("x", r#"{"id": 7}"#), Reading::Stray { own: Some(Key::Int(7)), .. }));
        assert!(matches!(reading("5", "null"), Reading::Unreadable { key: Key::Int(5), own: None, .. }));
        assert!(matches!(reading("5", r#"{"name": "no id"}"#), Reading::Unreadable { .. }));
        assert!(matches!(reading("_comment", r#""text""#), Reading::Stray { own: None, .. }));
        assert!(matches!(reading("5", r#"{"id": 5, "name": "\ud800"}"#), Reading::Unreadable { key: Key::Int(5), .. }));
    }

    #[test]
    fn the_layout_is_pythons_and_a_kept_value_keeps_its_spelling() {
        let text = "{\n        \"id\": 1,\n        \"seen\": 1.50,\n        \"name\": \"\\u00e9\",\n        \"odd\": [1]\n    }";
        let Reading::Row(_, old) = reading("1", text) else { panic!("a row") };
        let c = collection();
        let mut new = old.view(&c).expect("a view").to_builder();
        new.put(3, Value::Json("[\"\u{2028}é\",{}]".to_owned())).expect("a list");
        let (text, back) = render(&c, &new.build(), Some((&old, text))).expect("rendered");
        let expected = "{\n        \"id\": 1,\n        \"name\": \"\\u00e9\",\n        \"seen\": 1.50,\n        \"list\": [\n            \
                        \"\\u2028é\",\n            {}\n        ],\n        \"meta\": {\n            \"odd\": [\n                1\n            \
                        ]\n        }\n    }";
        assert_eq!(text, expected);
        let view = back.view(&c).expect("a view");
        assert_eq!(view.get("list"), Some(ValueRef::Json("[\"\\u2028é\", {}]")));
        assert_eq!(view.get("meta"), Some(ValueRef::Json("{\"odd\": [1]}")));
    }

    #[test]
    fn what_would_make_the_file_unreadable_is_refused() {
        let c = collection();
        let deep = |n: usize| format!("{}{}", "[".repeat(n), "]".repeat(n));
        let render = |n| {
            let row = Row::builder(&c).set("id", 1).and_then(|b| b.set("list", Value::Json(deep(n)))).expect("a row").build();
            render(&c, &row, None)
        };
        render(json::MAX_DEPTH - 1).expect("deep enough");
        assert!(render(json::MAX_DEPTH).is_err());
    }
}
