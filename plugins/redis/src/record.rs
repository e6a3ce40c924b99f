//! A record as it is stored: the JSON object that the Python node writes.
//!
//! What cannot be read stays as it is and is `corrupt` for whoever asks for it; everything that could be read of it still counts, because
//! nobody else may have its unique values.

use std::fmt::Write as _;

use hivemind_abi::model::record::Form;
use hivemind_abi::model::table::Record;
use hivemind_abi::model::{Collection, Error, Field, Key, Row, RowView, Value, ValueRef, eval, json, record};

use crate::keys::CREATING;

/// What stands under a record's key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Raw {
    /// Nothing.
    Absent,
    /// A string.
    Text(Vec<u8>),
    /// Something that is no string.
    OtherType,
}

/// The same where it lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RawRef<'a> {
    Absent,
    Text(&'a [u8]),
    OtherType,
}

/// What that means.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Stored {
    /// There is no record.
    Absent,
    /// There is none yet: another node is making one.
    Creating,
    /// A record.
    Row(Row),
    /// One that cannot be read.
    Unreadable {
        /// Why.
        why: String,
        /// The values of its fields that could be read; `None` if nobody can tell which it has.
        values: Option<Vec<(usize, Value)>>,
    },
}

impl Raw {
    /// Reads what stands under the key of a record.
    pub(crate) fn read(&self, form: &Form, key: &Key) -> Stored {
        self.as_ref().read(form, key)
    }

    /// The same, borrowed.
    pub(crate) fn as_ref(&self) -> RawRef<'_> {
        match self {
            Self::Absent => RawRef::Absent,
            Self::Text(text) => RawRef::Text(text),
            Self::OtherType => RawRef::OtherType,
        }
    }
}

impl RawRef<'_> {
    /// Reads what stands under the key of a record.
    pub(crate) fn read(self, form: &Form, key: &Key) -> Stored {
        let text = match self {
            Self::Absent => return Stored::Absent,
            Self::Text(text) if text == CREATING => return Stored::Creating,
            Self::Text(text) => text,
            Self::OtherType => {
                return Stored::Unreadable { why: "it is no string in Redis".to_owned(), values: None };
            }
        };
        let Ok(text) = std::str::from_utf8(text) else {
            return Stored::Unreadable { why: "it is not UTF-8".to_owned(), values: None };
        };
        let collection = form.collection();
        match form.row(text).map_or_else(|| Record::from_json(collection, text), Record::Row) {
            Record::Row(row) => match key_of(collection, &row) {
                Ok(own) if own == *key => Stored::Row(row),
                Ok(own) => {
                    let why =
                        format!("its {} is {own}, but it is stored under {key}; correct one of them", collection.key_name());
                    Stored::Unreadable { why, values: json::parse(text).ok().map(|parsed| record::salvaged(collection, &parsed)) }
                }
                Err(error) => {
                    let why = error.message().to_owned();
                    Stored::Unreadable { why, values: json::parse(text).ok().map(|parsed| record::salvaged(collection, &parsed)) }
                }
            },
            Record::Unreadable { why, values } => {
                let is_object = matches!(json::parse(text), Ok(json::Json::Object(_)));
                Stored::Unreadable { why, values: is_object.then_some(values) }
            }
        }
    }
}

fn key_of(collection: &Collection, row: &Row) -> Result<Key, Error> {
    match row.at(collection, collection.key)?.as_key() {
        Some(key) => Ok(key.to_key()),
        None => Ok(row.view(collection)?.key().to_key()),
    }
}

impl Stored {
    /// The record, if there is one.
    ///
    /// # Errors
    /// `corrupt` if it cannot be read.
    pub(crate) fn into_row(self, collection: &Collection, key: &Key) -> Result<Option<Row>, Error> {
        match self {
            Self::Absent | Self::Creating => Ok(None),
            Self::Row(row) => Ok(Some(row)),
            Self::Unreadable { why, .. } => Err(corrupt(collection, key, &why)),
        }
    }

    /// Whether it has this value in a field. One of which nobody can tell has it, if the set of that value names it.
    pub(crate) fn has(&self, collection: &Collection, field: usize, value: ValueRef<'_>) -> bool {
        match self {
            Self::Absent | Self::Creating => false,
            Self::Row(row) => row.at(collection, field).is_ok_and(|found| eval::same(found, value)),
            Self::Unreadable { values: None, .. } => true,
            Self::Unreadable { values: Some(values), .. } => {
                values.iter().any(|(at, known)| *at == field && eval::same(known.as_ref(), value))
            }
        }
    }
}

/// The error for a record that cannot be read.
pub(crate) fn corrupt(collection: &Collection, key: &Key, why: &str) -> Error {
    let name = &collection.name;
    Error::corrupt(format!("{name} {key} cannot be read: {why}")).collection(name).key(key.clone())
}

/// The text that the Python node would store: names sorted, non-ASCII unescaped, numbers as that language spells them.
pub(crate) fn render(form: &Form, row: &RowView<'_>) -> String {
    let mut out = String::with_capacity(512);
    for (at, before) in form.fields() {
        out.push_str(before);
        match row.at(at) {
            ValueRef::Real(real) if is_whole_default(&form.collection().fields[at], real) => {
                let _ = write!(out, "{real}");
            }
            ValueRef::Real(real) => write_real(real, &mut out),
            other => record::write_json(other, &mut out),
        }
    }
    out.push_str(if out.is_empty() { "{}" } else { "}" });
    out
}

/// Whether a real is the default of its field and a whole number: the Python node's defaults are written as ints, `last_seen: -1`.
fn is_whole_default(field: &Field, real: f64) -> bool {
    matches!(field.default, Value::Real(default) if default.to_bits() == real.to_bits())
        && real.fract() == 0.0
        && real.abs() < 1e15
        && real != 0.0
}

/// Python's `repr` of a float: the shortest digits that give it back, with an exponent from 1e16 up and below 1e-4.
fn write_real(real: f64, out: &mut String) {
    let magnitude = real.abs();
    if magnitude == 0.0 || (1e-4..1e16).contains(&magnitude) {
        let _ = write!(out, "{real:?}");
        // Below 1e-5 this language would take an exponent already, but that is out of the range.
        return;
    }
    let shortest = format!("{real:e}");
    match shortest.split_once('e') {
        Some((digits, exponent)) => {
            let exponent: i32 = exponent.parse().unwrap_or(0);
            let sign = if exponent < 0 { '-' } else { '+' };
            let _ = write!(out, "{digits}e{sign}{:02}", exponent.unsigned_abs());
        }
        None => out.push_str(&shortest),
    }
}

#[cfg(test)]
mod tests;
