//! The SQL of each collection, built once when it is prepared.
//!
//! Names come from the collection and from the table's own columns, and are quoted; values are always bound. Columns are always
//! named, never `*`: another program may add one at any time.

use std::sync::Arc;

use hivemind_abi::model::{Collection, Kind, LegacyRule, ValueRef};
use rusqlite::ToSql;
use rusqlite::types::{ToSqlOutput, ValueRef as SqlRef};

use crate::schema::Column;

/// A prepared collection and its statements.
#[derive(Debug)]
pub(crate) struct Table {
    pub(crate) collection: Arc<Collection>,
    /// Columns that are no field and move into the extras field of a row that is read.
    pub(crate) folded: Vec<Folded>,
    /// Names that are removed from the extras field of a row that is read.
    pub(crate) dropped: Vec<String>,
    /// `SELECT` with the columns of the fields, then the folded ones, `FROM` the table.
    pub(crate) select: String,
    /// The record with key ?1.
    pub(crate) get: String,
    /// For each field: the record with the lowest key of those with value ?1.
    pub(crate) by_field: Vec<String>,
    /// For each field: the lowest key other than ?2 with value ?1.
    pub(crate) holder: Vec<String>,
    /// The greatest key.
    pub(crate) greatest: String,
    /// Stores the fields, bound in their order, and clears what has been folded into them.
    pub(crate) write: String,
    /// Removes the record with key ?1.
    pub(crate) remove: String,
    /// Up to ?2 records from row ?1 on as in `select`, then the row's number, then whether a column is left to clear.
    pub(crate) batch: String,
}

/// A column that is no field.
#[derive(Debug)]
pub(crate) struct Folded {
    pub(crate) name: String,
    /// Whether its text is JSON: old writers' columns are. Text of a column nobody described is a string.
    pub(crate) json: bool,
}

impl Table {
    /// The statements for a collection whose table has these columns.
    pub(crate) fn new(collection: Arc<Collection>, columns: &[Column]) -> Self {
        let c = collection.as_ref();
        let folded = folded(c, columns);
        let dropped = c.legacy.iter().filter(|l| l.rule == LegacyRule::Drop).map(|l| l.name.clone()).collect();
        let table = quoted(&c.name);
        let key = quoted(c.key_name());
        let fields: Vec<String> = c.fields.iter().map(|f| quoted(&f.name)).collect();
        let cleared = cleared(c, columns, &folded);
        let read: Vec<String> = fields.iter().cloned().chain(folded.iter().map(|f| quoted(&f.name))).collect();
        let read = read.join(", ");
        let places: Vec<String> = (1..=fields.len()).map(|n| format!("?{n}")).collect();
        let updated = fields.iter().filter(|f| **f != key).map(|f| format!("{f} = excluded.{f}"));
        let updated: Vec<String> = updated.chain(cleared.iter().map(|c| format!("{c} = NULL"))).collect();
        let conflict = if updated.is_empty() { "NOTHING".to_owned() } else { format!("UPDATE SET {}", updated.join(", ")) };
        let stale: Vec<String> = cleared.iter().map(|c| format!("{c} IS NOT NULL")).collect();
        let stale = if stale.is_empty() { "0".to_owned() } else { stale.join(" OR ") };
        Self {
            get: format!("SELECT {read} FROM {table} WHERE {key} = ?1"),
            by_field: (0..fields.len())
                .map(|at| format!("SELECT {read} FROM {table} WHERE {} = ?1 ORDER BY {key} LIMIT 1", compared(c, at)))
                .collect(),
            holder: (0..fields.len())
                .map(|at| {
                    format!("SELECT {key} FROM {table} WHERE {} = ?1 AND {key} <> ?2 ORDER BY {key} LIMIT 1", compared(c, at))
                })
                .collect(),
            greatest: format!("SELECT max({key}) FROM {table}"),
            write: format!(
                "INSERT INTO {table} ({}) VALUES ({}) ON CONFLICT ({key}) DO {conflict}",
                fields.join(", "),
                places.join(", ")
            ),
            remove: format!("DELETE FROM {table} WHERE {key} = ?1"),
            batch: format!("SELECT {read}, _rowid_, {stale} FROM {table} WHERE _rowid_ >= ?1 ORDER BY _rowid_ LIMIT ?2"),
            select: format!("SELECT {read} FROM {table}"),
            folded,
            dropped,
            collection,
        }
    }

    /// The quoted name of the table.
    pub(crate) fn name(&self) -> String {
        quoted(&self.collection.name)
    }

    /// The quoted name of the key's column.
    pub(crate) fn key(&self) -> String {
        quoted(self.collection.key_name())
    }
}

/// The columns whose values a reader moves into the extras field.
fn folded(collection: &Collection, columns: &[Column]) -> Vec<Folded> {
    if collection.extras.is_none() {
        return Vec::new();
    }
    let rule = |name: &str| collection.legacy.iter().find(|l| l.name == name).map(|l| l.rule);
    let retired = |name: &str| collection.retired.iter().any(|r| r.name == name);
    let foreign = columns.iter().filter(|column| !column.is_field_of(collection));
    foreign
        .filter_map(|column| match rule(&column.name) {
            Some(LegacyRule::Fold) => Some(Folded { name: column.name.clone(), json: true }),
            Some(_) => None,
            // A column that must not be NULL cannot be cleared, so what it holds cannot move.
            None if retired(&column.name) || column.not_null => None,
            None => Some(Folded { name: column.name.clone(), json: false }),
        })
        .collect()
}

/// The columns, quoted, that are NULL in every row we write.
fn cleared(collection: &Collection, columns: &[Column], folded: &[Folded]) -> Vec<String> {
    let ours = |name: &str| {
        collection.retired.iter().any(|r| r.name == name)
            || collection.legacy.iter().any(|l| l.name == name)
            || folded.iter().any(|f| f.name == name)
    };
    let columns = columns.iter().filter(|c| !c.not_null && !c.is_field_of(collection) && ours(&c.name));
    columns.map(|c| quoted(&c.name)).collect()
}

/// The expression to compare a field by: truth is what is not zero, whatever number a foreign writer put for it.
pub(crate) fn compared(collection: &Collection, at: usize) -> String {
    match collection.fields.get(at) {
        Some(field) if field.kind == Kind::Bool => format!("({} <> 0)", quoted(&field.name)),
        Some(field) => quoted(&field.name),
        None => "NULL".to_owned(),
    }
}

/// A name as SQL.
pub(crate) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A value as a bound parameter.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bound<'a>(pub(crate) ValueRef<'a>);

impl ToSql for Bound<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self.0 {
            ValueRef::Nil => SqlRef::Null,
            ValueRef::Bool(v) => SqlRef::Integer(v.into()),
            ValueRef::Int(v) => SqlRef::Integer(v),
            ValueRef::Real(v) => SqlRef::Real(v),
            ValueRef::Text(v) | ValueRef::Json(v) => SqlRef::Text(v.as_bytes()),
            ValueRef::Blob(v) => SqlRef::Blob(v),
        }))
    }
}
