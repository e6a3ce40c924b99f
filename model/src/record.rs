//! A record as JSON, the form foreign programs store: an object of field names and values.
//!
//! Reading folds what older or other writers stored, by the rules of the collection alone:
//!
//! 1. A field that is missing takes its default; `null` is nil, in a json field too.
//! 2. A name under a [`LegacyRule::Drop`] is forgotten, at the top and inside the extras field.
//! 3. Every other name that is no field (and no retired column) moves into the extras field, unless that has the name already;
//!    a collection without extras forgets it. A name under a [`LegacyRule::Fold`] moves only if its value says something: `null`,
//!    `false`, zero and whatever is empty are forgotten, as the Python node forgets them.
//! 4. An extras field that holds no object counts as `{}`.
//!
//! Folding is idempotent, and every write stores the folded form.

mod form;
mod plain;

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt::Write as _;

pub use self::form::Form;
use crate::base64;
use crate::collection::{Collection, Field, LegacyRule};
use crate::error::{Error, Result};
use crate::json::{self, Flat, Json, Member, Name, Text};
use crate::number::same_number;
use crate::row::{Row, RowBuilder, RowView};
use crate::value::{Kind, Value, ValueRef};

/// Reads a JSON object as a record.
///
/// # Errors
/// `invalid`, naming the field: no object, a value of another kind, a real that is not finite.
pub fn from_json(collection: &Collection, text: &str) -> Result<Row> {
    if let Some(row) = plain::from_text(collection, text) {
        return Ok(row);
    }
    let parsed = json::parse(text).map_err(|e| Error::invalid(format!("expected a JSON object: {e}")))?;
    from_parsed(collection, &parsed)
}

/// The same for a document that is parsed already, as the members of a larger one are.
///
/// # Errors
/// See [`from_json`].
pub fn from_parsed(collection: &Collection, parsed: &Json<'_>) -> Result<Row> {
    let Json::Object(members) = parsed else {
        return Err(Error::invalid(format!("expected a JSON object, found {}", parsed.kind())));
    };
    match plain::from_members(collection, members) {
        Some(row) => Ok(row),
        None => by_the_rules(collection, members),
    }
}

fn by_the_rules(collection: &Collection, members: &[Member<'_>]) -> Result<Row> {
    let mut builder = Row::builder(collection);
    let mut unknown = Vec::new();
    for member in members {
        match position(collection, member) {
            Some(at) => builder.put(at, value_of(&collection.fields[at], member)?)?,
            None => unknown.push(member),
        }
    }
    fold_into(collection, &mut builder, &unknown)?;
    Ok(builder.build())
}

/// What can be read of a record that as a whole cannot: the values of its fields by position, nil and json left out. A unique value
/// among them is taken, though nobody can say by what.
#[must_use]
pub fn salvaged(collection: &Collection, parsed: &Json<'_>) -> Vec<(usize, Value)> {
    let Json::Object(members) = parsed else { return Vec::new() };
    let mut values: Vec<Value> = collection.fields.iter().map(|f| f.default.clone()).collect();
    for member in members {
        if let Some(at) = position(collection, member) {
            values[at] = value_of(&collection.fields[at], member).unwrap_or(Value::Nil);
        }
    }
    values.into_iter().enumerate().filter(|(_, v)| !matches!(v, Value::Nil | Value::Json(_))).collect()
}

/// The position of the field that a member is the value of.
fn position(collection: &Collection, member: &Member<'_>) -> Option<usize> {
    collection.position(&member.name.to_str()?)
}

/// Folds legacy and unknown members into the extras field of a record under construction (rules 2 to 4).
///
/// # Errors
/// `invalid` if the extras field's own text is not JSON.
pub fn fold_into(collection: &Collection, builder: &mut RowBuilder<'_>, unknown: &[&Member<'_>]) -> Result<()> {
    let Some(at) = collection.extras else { return Ok(()) };
    let stored = builder.at(at).as_str().unwrap_or("{}").to_owned();
    let parsed = json::parse(&stored).map_err(|e| {
        let name = &collection.fields[at].name;
        Error::invalid(format!("field {name}: expected JSON text: {e}")).field(name)
    })?;
    let (mut extras, mut changed) = match parsed {
        Json::Object(members) => (members, builder.at(at).is_nil()),
        _ => (Vec::new(), true),
    };
    let before = extras.len();
    extras.retain(|m| rule(collection, m) != Some(LegacyRule::Drop));
    changed |= extras.len() != before;
    let of_interest = if unknown.is_empty() { &[] } else { &extras[..] };
    let mut names: HashSet<Name<'_>> = of_interest.iter().map(|m| m.name.name()).collect();
    for member in unknown {
        let name = member.name.name();
        let retired = collection.retired.iter().any(|r| name == *r.name.as_str());
        let folded = match rule(collection, member) {
            Some(LegacyRule::Drop) => false,
            Some(LegacyRule::Fold) => !is_falsy(&member.value),
            None => !retired,
        };
        if folded && names.insert(name) {
            extras.push((*member).clone());
            changed = true;
        }
    }
    if changed {
        builder.put(at, Value::Json(Json::Object(extras).to_text()))?;
    }
    Ok(())
}

/// The row with its extras field in the folded form (rules 2 and 4), or `None` if it is in that form already.
///
/// # Errors
/// `invalid` if the extras field's text is not JSON.
pub fn folded(row: &RowView<'_>) -> Result<Option<Row>> {
    let collection = row.collection();
    let Some(at) = collection.extras else { return Ok(None) };
    if is_folded(collection, row.at(at)) {
        return Ok(None);
    }
    let mut builder = row.to_builder();
    fold_into(collection, &mut builder, &[])?;
    Ok((builder.at(at) != row.at(at)).then(|| builder.build()))
}

/// Whether extras are plainly in the folded form, as most are; making nothing of them shows that.
fn is_folded(collection: &Collection, extras: ValueRef<'_>) -> bool {
    let ValueRef::Json(text) = extras else { return false };
    let mut has_dropped = false;
    let shape = json::check(text, |name| has_dropped |= is_dropped(collection, name));
    shape == Ok(Flat::Object) && !has_dropped
}

/// Whether no extras may have a member of this name.
fn is_dropped(collection: &Collection, name: Text<'_>) -> bool {
    let mut dropped = collection.legacy.iter().filter(|legacy| legacy.rule == LegacyRule::Drop);
    if name.raw.contains('\\') {
        dropped.any(|legacy| name.name() == *legacy.name.as_str())
    } else {
        dropped.any(|legacy| name.raw == legacy.name)
    }
}

/// What Python's `if value` skips.
fn is_falsy(value: &Json<'_>) -> bool {
    match value {
        Json::Null | Json::Bool(false) => true,
        Json::Bool(true) => false,
        Json::Number(raw) => same_number(raw, "0"),
        Json::String(text) => text.raw.is_empty(),
        Json::Array(items) => items.is_empty(),
        Json::Object(members) => members.is_empty(),
    }
}

fn rule(collection: &Collection, member: &Member<'_>) -> Option<LegacyRule> {
    let name = member.name.name();
    collection.legacy.iter().find(|l| name == *l.name.as_str()).map(|l| l.rule)
}

/// Whether this is the JSON document `null`, which in a json field counts as nil.
pub(crate) fn is_null(value: ValueRef<'_>) -> bool {
    matches!(value, ValueRef::Json(text) if text.trim_matches([' ', '\t', '\n', '\r']) == "null")
}

/// The row as it is stored: `null` in a json field is nil, and the extras field is in its folded form.
///
/// # Errors
/// `invalid` if the extras field's text is not JSON.
pub fn as_stored<'r>(collection: &Collection, row: &'r Row) -> Result<Cow<'r, Row>> {
    Ok(stored_form(&row.view(collection)?)?.map_or(Cow::Borrowed(row), Cow::Owned))
}

/// The same, or `None` for a row that is in that form already.
pub(crate) fn stored_form(view: &RowView<'_>) -> Result<Option<Row>> {
    if !view.iter().any(|(_, value)| is_null(value)) {
        return folded(view);
    }
    let collection = view.collection();
    let mut builder = view.to_builder();
    let nulls = (0..collection.fields.len()).filter(|at| is_null(view.at(*at)));
    for at in nulls {
        builder.put(at, Value::Nil)?;
    }
    fold_into(collection, &mut builder, &[])?;
    Ok(Some(builder.build()))
}

fn value_of(field: &Field, member: &Member<'_>) -> Result<Value> {
    let expected = |found: &str| {
        let message = format!("field {}: expected {}, found {found}", field.name, field.kind);
        Err(Error::invalid(message).field(&field.name))
    };
    let wrong = || expected(member.value.kind());
    Ok(match (field.kind, &member.value) {
        (Kind::Json, Json::Null) => Value::Nil,
        (Kind::Json, _) => Value::Json(member.raw.to_owned()),
        (_, Json::Null) => Value::Nil,
        (Kind::Bool, Json::Bool(v)) => Value::Bool(*v),
        // Python's truth values are numbers, and its SQLite stores them so.
        (Kind::Bool, Json::Number("0")) => Value::Bool(false),
        (Kind::Bool, Json::Number("1")) => Value::Bool(true),
        (Kind::Int, Json::Number(raw)) => match integer(raw) {
            Some(v) => Value::Int(v),
            None => return wrong(),
        },
        (Kind::Real, Json::Number(raw)) => match raw.parse::<f64>() {
            Ok(v) if v.is_finite() => Value::Real(v),
            _ => return wrong(),
        },
        (Kind::Text, Json::String(text)) => match text.to_str() {
            Some(text) => Value::Text(text.into_owned()),
            None => return expected("a string with half of a surrogate pair, which is no character"),
        },
        (Kind::Blob, Json::String(text)) => match text.to_str().and_then(|text| base64::decode(&text)) {
            Some(bytes) => Value::Blob(bytes),
            None => return wrong(),
        },
        _ => return wrong(),
    })
}

/// An integer of 64 bits, written as one or as a real without fraction.
#[expect(clippy::cast_possible_truncation, reason = "the range was checked")]
fn integer(raw: &str) -> Option<i64> {
    const SAFE: f64 = 9_007_199_254_740_992.0;
    raw.parse().ok().or_else(|| raw.parse::<f64>().ok().filter(|v| v.fract() == 0.0 && v.abs() <= SAFE).map(|v| v as i64))
}

/// Writes a record as a JSON object: names sorted, non-ASCII unescaped, single spaces after `,` and `:`.
#[must_use]
pub fn to_json(row: &RowView<'_>) -> String {
    let mut fields: Vec<_> = row.iter().collect();
    fields.sort_by(|(a, _), (b, _)| a.name.cmp(&b.name));
    let mut out = String::from("{");
    for (i, (field, value)) in fields.into_iter().enumerate() {
        out.push_str(if i == 0 { "" } else { ", " });
        json::quote_into(&field.name, &mut out);
        out.push_str(": ");
        write_json(value, &mut out);
    }
    out.push('}');
    out
}

/// Appends one value as JSON; reals always with a point or exponent, as Python writes them.
pub fn write_json(value: ValueRef<'_>, out: &mut String) {
    match value {
        ValueRef::Nil => out.push_str("null"),
        ValueRef::Bool(v) => out.push_str(if v { "true" } else { "false" }),
        ValueRef::Int(v) => drop(write!(out, "{v}")),
        ValueRef::Real(v) => drop(write!(out, "{v:?}")),
        ValueRef::Text(v) => json::quote_into(v, out),
        ValueRef::Blob(v) => json::quote_into(&base64::encode(v), out),
        ValueRef::Json(v) => out.push_str(v),
    }
}

#[cfg(test)]
mod tests;
