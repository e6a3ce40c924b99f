//! JSON to a row and back: a fixed point that loses no unknown member and changes no number's spelling.

use std::sync::Arc;

use hivemind_model::json::{self, Json, Member};
use hivemind_model::record::Form;
use hivemind_model::{Code, Collection, LegacyRule, RowView, Value, ValueRef, record, value};

use crate::{collections, is_too_deep};

/// The first byte chooses the collection, the rest is a record's JSON text.
///
/// # Panics
/// Where a property does not hold.
pub fn check(data: &[u8]) {
    let Some((collection, bytes)) = collections::chosen(data) else { return };
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let parsed = json::parse(text);
    let row = match record::from_json(&collection, text) {
        Ok(row) => row,
        Err(error) => {
            assert_eq!(error.code(), Code::Invalid, "{error}");
            assert_eq!(Form::new(&Arc::new(collection.clone())).row(text), None);
            if let Ok(parsed) = &parsed {
                assert_eq!(record::from_parsed(&collection, parsed), Err(error));
                salvaged(&collection, parsed, None);
            }
            return;
        }
    };
    let parsed = parsed.expect("a record was read from it");
    assert_eq!(record::from_parsed(&collection, &parsed).as_ref(), Ok(&row), "a text and its tree are one record");
    let form = Form::new(&Arc::new(collection.clone()));
    assert!(form.row(text).is_none_or(|read| read == row), "{text} is another record in its usual form");
    let view = RowView::keyless(&collection, row.as_bytes()).expect("a row");
    view.validate().expect("a valid row");
    assert_eq!(record::folded(&view).expect("JSON"), None, "what is read is folded");
    salvaged(&collection, &parsed, Some(&view));
    members(&collection, &parsed, &view);
    let written = record::to_json(&view);
    match record::from_json(&collection, &written) {
        Ok(back) => {
            assert_eq!(back, row, "{text} became {written}");
            assert!(form.row(&written).is_none_or(|read| read == row), "{written} is another record in its usual form");
            let back = RowView::keyless(&collection, back.as_bytes()).expect("a row");
            assert_eq!(record::to_json(&back), written);
        }
        // What stood at the top stands deeper once it is folded.
        Err(error) => assert!(is_too_deep(error.message()), "{written}: {error}"),
    }
}

/// What is saved of a record fits its fields, and is all of it where all of it can be read.
fn salvaged(collection: &Collection, parsed: &Json<'_>, row: Option<&RowView<'_>>) {
    let saved = record::salvaged(collection, parsed);
    for (at, found) in &saved {
        let field = &collection.fields[*at];
        value::check(found.as_ref(), field.kind, &field.name).expect("a value of its field's kind");
        assert!(!matches!(found, Value::Nil | Value::Json(_)));
    }
    if let Some(row) = row {
        let all = row.iter().enumerate().filter(|(_, (_, v))| !matches!(v, ValueRef::Nil | ValueRef::Json(_)));
        let all: Vec<_> = all.map(|(at, (_, v))| (at, v.to_value())).collect();
        assert_eq!(saved, all);
    }
}

/// Each member is where the rules of folding say, as it was written.
fn members(collection: &Collection, parsed: &Json<'_>, row: &RowView<'_>) {
    let Json::Object(members) = parsed else { panic!("a record is an object") };
    let extras = collection.extras.map(|at| row.at(at).as_str().expect("a folded object"));
    let extras = extras.map(|text| json::parse(text).expect("JSON"));
    let given = collection.extras.and_then(|at| parsed.member(&collection.fields[at].name));
    for member in members {
        let position = member.name.to_str().and_then(|name| collection.position(&name));
        match position {
            Some(at) if Some(at) == collection.extras => nested(collection, member, extras.as_ref()),
            Some(at) => match (row.at(at), &member.value) {
                (ValueRef::Json(text), _) => assert_eq!(text, member.raw),
                (found, Json::Null) => assert!(found.is_nil()),
                (found, _) => assert!(!found.is_nil(), "{} was lost", member.raw),
            },
            None => unknown(collection, member, given, extras.as_ref()),
        }
    }
}

fn rule(collection: &Collection, member: &Member<'_>) -> Option<LegacyRule> {
    collection.legacy.iter().find(|l| member.name.name() == *l.name.as_str()).map(|l| l.rule)
}

fn find<'j, 'a>(object: Option<&'j Json<'a>>, member: &Member<'_>) -> Option<&'j Member<'a>> {
    match object {
        Some(Json::Object(members)) => members.iter().find(|m| m.name.name() == member.name.name()),
        _ => None,
    }
}

/// Members of the extras field stay, except those that are dropped.
fn nested(collection: &Collection, given: &Member<'_>, extras: Option<&Json<'_>>) {
    let Json::Object(members) = &given.value else { return };
    for member in members {
        let kept = find(extras, member);
        if rule(collection, member) == Some(LegacyRule::Drop) {
            assert!(kept.is_none());
        } else {
            assert_eq!(kept.expect("a member of the extras was lost").value.to_text(), member.value.to_text());
        }
    }
}

/// A member that is no field is among the extras, unless they have its name already.
fn unknown(collection: &Collection, member: &Member<'_>, given: Option<&Member<'_>>, extras: Option<&Json<'_>>) {
    let retired = collection.retired.iter().any(|r| member.name.name() == *r.name.as_str());
    let rule = rule(collection, member);
    if extras.is_none() || rule == Some(LegacyRule::Drop) || (rule.is_none() && retired) {
        return;
    }
    if find(given.map(|g| &g.value), member).is_some() {
        return;
    }
    match find(extras, member) {
        Some(kept) => assert_eq!(kept.value.to_text(), member.value.to_text(), "it was changed"),
        None => assert!(rule == Some(LegacyRule::Fold) && says_nothing(&member.value), "{:?} was lost", member.name),
    }
}

/// What Python's `if value` skips.
fn says_nothing(value: &Json<'_>) -> bool {
    match value {
        Json::Null | Json::Bool(false) => true,
        Json::Bool(true) => false,
        Json::Number(raw) => raw.parse::<f64>().is_ok_and(|v| v == 0.0),
        Json::String(text) => text.raw.is_empty(),
        Json::Array(items) => items.is_empty(),
        Json::Object(members) => members.is_empty(),
    }
}
