//! A row of a table as a record.
//!
//! SQLite's columns hold what a writer puts there, whatever their declared type, so each value's storage class is checked. What does
//! not fit makes that one row unreadable: it is reported, and nothing overwrites it. Most rows have nothing to fold; they are encoded
//! straight from SQLite's memory.

use hivemind_abi::model::json::{self, Flat, Member, Text};
use hivemind_abi::model::msgpack::Writer;
use hivemind_abi::model::{Collection, Error, Key, Kind, Row, Unreadable, ValueRef, base64, record};
use rusqlite::types::ValueRef as SqlRef;

use crate::statements::{Folded, Table};

/// What a stored row gave.
pub(crate) enum Decoded {
    /// A record as it is stored.
    AsStored(Row),
    /// A record that is stored in another form, which the next write replaces.
    Folded(Row),
    /// Why it is none.
    Unreadable(Unreadable),
}

impl Decoded {
    /// The record, or `corrupt`.
    pub(crate) fn into_row(self, collection: &Collection, place: &str) -> Result<Row, Error> {
        match self {
            Self::AsStored(row) | Self::Folded(row) => Ok(row),
            Self::Unreadable(Unreadable { key, message }) => {
                let name = &collection.name;
                let message = format!("{name} {key} cannot be read: {message}");
                Err(Error::corrupt(message).collection(name).key(key).place(place))
            }
        }
    }
}

/// Reads a row that starts with the columns of `table.select`.
pub(crate) fn decode(table: &Table, row: &rusqlite::Row<'_>) -> Decoded {
    let decoded = match encode(table, row) {
        Ok(Some(encoded)) => return Decoded::AsStored(encoded),
        Ok(None) => folded(table, row).map(Decoded::Folded),
        Err(message) => Err(message),
    };
    decoded.unwrap_or_else(|message| Decoded::Unreadable(Unreadable { key: key_of(table, row), message }))
}

/// Room for a row of the usual size: growing costs more than what is not used.
const ROOM: usize = 512;

/// Encodes a row straight from SQLite's memory; `None` if there is something to fold.
fn encode(table: &Table, row: &rusqlite::Row<'_>) -> Result<Option<Row>, String> {
    let collection = table.collection.as_ref();
    let mut writer = Writer::with_capacity(ROOM);
    writer.array(collection.fields.len());
    for at in 0..collection.fields.len() {
        let is_extras = collection.extras == Some(at);
        match value(table, row, at)? {
            (ValueRef::Nil, _) if at == collection.key => return Err("it has no key".to_owned()),
            (ValueRef::Nil, _) if is_extras => return Ok(None),
            (ValueRef::Nil, _) => writer.nil(),
            (ValueRef::Bool(v), _) => writer.bool(v),
            (ValueRef::Int(v), _) => writer.int(v),
            (ValueRef::Real(v), _) => writer.real(v),
            (ValueRef::Text(v), _) => writer.str(v),
            (ValueRef::Blob(v), _) => writer.bin(v),
            (ValueRef::Json(_), is_folded) if is_extras && !is_folded => return Ok(None),
            (ValueRef::Json(v), _) => writer.str(v),
        }
    }
    for at in collection.fields.len()..collection.fields.len() + table.folded.len() {
        if column(row, at)? != SqlRef::Null {
            return Ok(None);
        }
    }
    Ok(Some(Row::from_bytes(writer.into_bytes())))
}

/// A row with something to fold.
fn folded(table: &Table, row: &rusqlite::Row<'_>) -> Result<Row, String> {
    let collection = table.collection.as_ref();
    let values: Vec<_> = (0..collection.fields.len()).map(|at| Ok(value(table, row, at)?.0)).collect::<Result<_, String>>()?;
    if values.get(collection.key).is_none_or(|key| key.is_nil()) {
        return Err("it has no key".to_owned());
    }
    let mut unknown = Vec::new();
    for (folded, at) in table.folded.iter().zip(collection.fields.len()..) {
        if let Some(text) = as_json(folded, column(row, at)?) {
            unknown.push((json::quote(&folded.name), text));
        }
    }
    fold(collection, &values, &unknown).map_err(|e| e.message().to_owned())
}

/// A field's value, and whether it could be an extras field that needs no folding.
fn value<'r>(table: &Table, row: &'r rusqlite::Row<'_>, at: usize) -> Result<(ValueRef<'r>, bool), String> {
    let Some(field) = table.collection.fields.get(at) else { return Ok((ValueRef::Nil, false)) };
    let value = read(field.kind, column(row, at)?).map_err(|what| format!("field {}: {what}", field.name))?;
    let ValueRef::Json(text) = value else { return Ok((value, false)) };
    let mut is_clean = true;
    let is_dropped = |name: Text<'_>| table.dropped.iter().any(|dropped| name.name() == *dropped.as_str());
    let shape = json::check(text, |name| is_clean &= !is_dropped(name));
    Ok(match shape.map_err(|e| format!("field {}: expected JSON text: {e}", field.name))? {
        // As a file's `null` is.
        Flat::Null => (ValueRef::Nil, false),
        flat => (value, is_clean && flat == Flat::Object),
    })
}

fn column<'r>(row: &'r rusqlite::Row<'_>, at: usize) -> Result<SqlRef<'r>, String> {
    row.get_ref(at).map_err(|e| e.to_string())
}

fn fold(collection: &Collection, values: &[ValueRef<'_>], unknown: &[(String, String)]) -> Result<Row, Error> {
    let mut builder = Row::builder(collection);
    for (at, value) in values.iter().enumerate() {
        builder.put(at, value.to_value())?;
    }
    let mut members = Vec::with_capacity(unknown.len());
    for (quoted, raw) in unknown {
        let value = json::parse(raw).map_err(|e| Error::corrupt(e.to_string()))?;
        let name = Text { raw: quoted.get(1..quoted.len() - 1).unwrap_or("") };
        members.push(Member { name, value, raw });
    }
    record::fold_into(collection, &mut builder, &members.iter().collect::<Vec<_>>())?;
    Ok(builder.build())
}

/// A value of a field's kind. The words of the error follow "field …: ".
fn read(kind: Kind, value: SqlRef<'_>) -> Result<ValueRef<'_>, String> {
    let text = |bytes| std::str::from_utf8(bytes).map_err(|_| "expected UTF-8 text, found other bytes".to_owned());
    Ok(match (kind, value) {
        (_, SqlRef::Null) => ValueRef::Nil,
        (Kind::Bool, SqlRef::Integer(v)) => ValueRef::Bool(v != 0),
        (Kind::Bool, SqlRef::Real(v)) => ValueRef::Bool(v != 0.0),
        (Kind::Int, SqlRef::Integer(v)) => ValueRef::Int(v),
        (Kind::Real, SqlRef::Real(v)) if v.is_finite() => ValueRef::Real(v),
        // SQLite gives a real without fraction back as a real only from a column of that type.
        #[expect(clippy::cast_precision_loss, reason = "a real field rounds as doubles do")]
        (Kind::Real, SqlRef::Integer(v)) => ValueRef::Real(v as f64),
        (Kind::Text, SqlRef::Text(v)) => ValueRef::Text(text(v)?),
        (Kind::Blob, SqlRef::Blob(v)) => ValueRef::Blob(v),
        // No JSON text is empty; the Python node reads it as absent too.
        (Kind::Json, SqlRef::Text([])) => ValueRef::Nil,
        (Kind::Json, SqlRef::Text(v)) => ValueRef::Json(text(v)?),
        (kind, found) => return Err(format!("expected {kind}, found {}", class(found))),
    })
}

const fn class(value: SqlRef<'_>) -> &'static str {
    match value {
        SqlRef::Null => "nothing",
        SqlRef::Integer(_) => "an integer",
        SqlRef::Real(_) => "a number without a finite value of that kind",
        SqlRef::Text(_) => "text",
        SqlRef::Blob(_) => "bytes",
    }
}

/// The JSON text under which a column that is no field is folded; nothing for NULL.
fn as_json(folded: &Folded, value: SqlRef<'_>) -> Option<String> {
    Some(match value {
        SqlRef::Null => return None,
        SqlRef::Integer(v) => v.to_string(),
        SqlRef::Real(v) if v == f64::INFINITY => "Infinity".to_owned(),
        SqlRef::Real(v) if v == f64::NEG_INFINITY => "-Infinity".to_owned(),
        SqlRef::Real(v) => format!("{v:?}"),
        SqlRef::Blob(v) => json::quote(&base64::encode(v)),
        SqlRef::Text(v) => match std::str::from_utf8(v) {
            Ok(text) if folded.json && json::parse(text).is_ok() => text.to_owned(),
            Ok(text) => json::quote(text),
            Err(_) => json::quote(&base64::encode(v)),
        },
    })
}

/// The key of a row that may be unreadable.
pub(crate) fn key_of(table: &Table, row: &rusqlite::Row<'_>) -> Key {
    match row.get_ref(table.collection.key) {
        Ok(SqlRef::Integer(key)) => Key::Int(key),
        Ok(SqlRef::Text(key)) => Key::Text(String::from_utf8_lossy(key).into_owned()),
        Ok(SqlRef::Blob(key)) => Key::Text(String::from_utf8_lossy(key).into_owned()),
        _ => Key::Text(String::new()),
    }
}
