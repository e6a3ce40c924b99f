//! Tables and their versions.
//!
//! The primary collection's table is the one the Python node makes: the same columns in the same order, its version in
//! `PRAGMA user_version`. Uniqueness is not in the schema: under a UNIQUE index the Python node's `INSERT OR REPLACE` would delete
//! the *other* row, so it is enforced inside the write transaction and the indexes are plain. All other collections have a table
//! each beside it and their versions in `hivemind_collections`, which that node never looks at.

use std::collections::HashMap;

use hivemind_abi::model::{Collection, Error, Field, Index, Kind, Result, Value};
use rusqlite::{Connection, OptionalExtension};

use crate::statements::quoted;

/// The table of the other collections' versions.
const VERSIONS: &str = "hivemind_collections";

/// A column of an existing table.
#[derive(Debug, Clone)]
pub(crate) struct Column {
    pub(crate) name: String,
    pub(crate) not_null: bool,
}

impl Column {
    /// Whether this is a field's column. SQLite's names ignore the case of ASCII letters.
    pub(crate) fn is_field_of(&self, collection: &Collection) -> bool {
        collection.fields.iter().any(|f| f.name.eq_ignore_ascii_case(&self.name))
    }
}

/// Something with a name in the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Object {
    /// A table, and the name and type of the columns of its key.
    Table(Vec<(String, String)>),
    /// A view, an index, a virtual table.
    Other(&'static str),
}

/// What has a name in the file, by that name in small letters.
pub(crate) fn objects(connection: &Connection) -> rusqlite::Result<HashMap<String, Object>> {
    let mut named = connection.prepare("SELECT name, type, rootpage FROM sqlite_master WHERE type <> 'trigger'")?;
    let named = named.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    let mut key = connection.prepare("SELECT name, type FROM pragma_table_info(?1) WHERE pk > 0")?;
    named
        .map(|found| {
            let (name, kind, page): (String, String, Option<i64>) = found?;
            let object = match (kind.as_str(), page) {
                // Only what is stored in the file itself begins on a page of it.
                ("table", None | Some(0)) => Object::Other("a virtual table"),
                ("table", _) => {
                    Object::Table(key.query_map([&name], |row| Ok((row.get(0)?, row.get(1)?)))?.collect::<Result<_, _>>()?)
                }
                ("view", _) => Object::Other("a view"),
                _ => Object::Other("an index"),
            };
            Ok((name.to_ascii_lowercase(), object))
        })
        .collect()
}

/// Refuses a file in which the collection's name belongs to something that cannot hold its records.
pub(crate) fn check_object(collection: &Collection, objects: &HashMap<String, Object>, place: &str) -> Result<()> {
    let (name, key) = (&collection.name, collection.key_name());
    let expected = if collection.key_kind() == Kind::Int { "INT" } else { "" };
    let found = match objects.get(&name.to_ascii_lowercase()) {
        None => return Ok(()),
        Some(Object::Table(columns)) => match &columns[..] {
            [(column, kind)] if column.eq_ignore_ascii_case(key) && kind.to_ascii_uppercase().contains(expected) => return Ok(()),
            [] => "a table without one".to_owned(),
            columns => columns.iter().map(|(column, kind)| format!("{column} {kind}")).collect::<Vec<_>>().join(", "),
        },
        Some(Object::Other(what)) => (*what).to_owned(),
    };
    let kind = if expected.is_empty() { "TEXT" } else { "INTEGER" };
    let message = format!(
        "{place} is another program's database: expected a table {name} with the primary key {key} {kind}, found {found}; move \
         it away or choose another `name` (it is left as it is)"
    );
    Err(Error::corrupt(message).collection(name).place(place))
}

pub(crate) fn user_version(connection: &Connection) -> rusqlite::Result<i64> {
    connection.query_row("PRAGMA user_version", [], |row| row.get(0))
}

/// The versions of the collections beside the primary one.
pub(crate) fn versions(connection: &Connection) -> rusqlite::Result<HashMap<String, i64>> {
    if columns(connection, VERSIONS)?.is_empty() {
        return Ok(HashMap::new());
    }
    let mut statement = connection.prepare("SELECT name, version FROM hivemind_collections")?;
    statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect()
}

/// The columns of a table; none if there is no such table.
pub(crate) fn columns(connection: &Connection, table: &str) -> rusqlite::Result<Vec<Column>> {
    let mut statement = connection.prepare(r#"SELECT name, "notnull" FROM pragma_table_info(?1) ORDER BY cid"#)?;
    statement.query_map([table], |row| Ok(Column { name: row.get(0)?, not_null: row.get(1)? }))?.collect()
}

/// Refuses what this layout cannot hold. `others` are all collections of the store, this one among them.
pub(crate) fn check(collection: &Collection, others: &[&Collection]) -> Result<()> {
    let name = &collection.name;
    let invalid = |what: String| Err(Error::invalid(format!("collection {name}: {what}")).collection(name));
    if name == VERSIONS || name.starts_with("sqlite_") {
        return invalid("this name is taken by the database itself".to_owned());
    }
    if i32::try_from(collection.version).is_err() {
        return invalid(format!("expected a version of 31 bits, found {}", collection.version));
    }
    if others.iter().any(|o| o.name == *name && *o != collection) {
        return invalid("it is already prepared with another description".to_owned());
    }
    match others.iter().find(|o| o.primary && o.name != *name) {
        Some(other) if collection.primary => invalid(format!("{} is the primary collection of this store already", other.name)),
        _ => Ok(()),
    }
}

/// The version a collection is stored in, from the two markers; `None` if it was never stored under one.
pub(crate) fn stored_version(collection: &Collection, user_version: i64, versions: &HashMap<String, i64>) -> Option<i64> {
    if collection.primary { Some(user_version) } else { versions.get(&collection.name).copied() }
}

/// `too new` if the stored version is newer than the collection's.
pub(crate) fn check_version(collection: &Collection, stored: Option<i64>, place: &str) -> Result<()> {
    match stored {
        Some(found) if found > i64::from(collection.version) => {
            let (name, known) = (&collection.name, collection.version);
            let message = format!(
                "{place}: expected {name} of schema version {known} or older, found {found}; upgrade this plugin \
                 (the file is left as it is)"
            );
            Err(Error::too_new(message).collection(name).place(place))
        }
        _ => Ok(()),
    }
}

pub(crate) fn set_version(connection: &Connection, collection: &Collection) -> rusqlite::Result<()> {
    if collection.primary {
        return connection.pragma_update(None, "user_version", collection.version);
    }
    connection
        .execute_batch("CREATE TABLE IF NOT EXISTS hivemind_collections (name TEXT PRIMARY KEY, version INTEGER NOT NULL)")?;
    let sql = "INSERT INTO hivemind_collections (name, version) VALUES (?1, ?2) ON CONFLICT (name) DO UPDATE SET version = ?2";
    connection.execute(sql, (&collection.name, collection.version)).map(drop)
}

/// Whether table, columns and indexes are there.
pub(crate) fn is_complete(connection: &Connection, collection: &Collection) -> rusqlite::Result<bool> {
    let columns = columns(connection, &collection.name)?;
    let has = |name: &str| columns.iter().any(|c| c.name.eq_ignore_ascii_case(name));
    if !collection.fields.iter().all(|f| has(&f.name)) || !collection.retired.iter().all(|r| has(&r.name)) {
        return Ok(false);
    }
    Ok(missing_indexes(connection, collection)?.is_empty())
}

/// Creates the table or adds what is missing in it. To be called in a transaction.
pub(crate) fn complete(connection: &Connection, collection: &Collection) -> rusqlite::Result<()> {
    let columns = columns(connection, &collection.name)?;
    if columns.is_empty() {
        connection.execute_batch(&create(collection))?;
    } else {
        let missing = |name: &str| !columns.iter().any(|c| c.name.eq_ignore_ascii_case(name));
        let table = quoted(&collection.name);
        for field in collection.fields.iter().filter(|f| missing(&f.name)) {
            add_column(connection, &table, field)?;
        }
        for retired in collection.retired.iter().filter(|r| missing(&r.name)) {
            connection.execute_batch(&format!("ALTER TABLE {table} ADD COLUMN {} TEXT", quoted(&retired.name)))?;
        }
    }
    create_indexes(connection, collection).map(drop)
}

/// The statement that makes a table.
fn create(collection: &Collection) -> String {
    let mut columns = Vec::new();
    let retired = |before: Option<usize>| {
        let here = collection.retired.iter().filter(move |r| r.before == before);
        here.map(|r| format!("{} TEXT", quoted(&r.name)))
    };
    for (at, field) in collection.fields.iter().enumerate() {
        columns.extend(retired(Some(at)));
        let name = quoted(&field.name);
        columns.push(match field.kind {
            Kind::Int if at == collection.key => format!("{name} INTEGER PRIMARY KEY"),
            _ if at == collection.key => format!("{name} TEXT NOT NULL PRIMARY KEY"),
            // The Python node gives its JSON columns no default.
            Kind::Json => format!("{name} TEXT"),
            kind => match literal(&field.default) {
                Some(default) => format!("{name} {} DEFAULT {default}", type_of(kind)),
                None => format!("{name} {}", type_of(kind)),
            },
        });
    }
    let last = collection.retired.iter().filter(|r| r.before.is_none_or(|at| at >= collection.fields.len()));
    columns.extend(last.map(|r| format!("{} TEXT", quoted(&r.name))));
    format!("CREATE TABLE {} ({})", quoted(&collection.name), columns.join(", "))
}

/// Adds a field to a table whose records do not have it: they get its default.
fn add_column(connection: &Connection, table: &str, field: &Field) -> rusqlite::Result<()> {
    let column = format!("{} {}", quoted(&field.name), type_of(field.kind));
    match literal(&field.default) {
        Some(default) => connection.execute_batch(&format!("ALTER TABLE {table} ADD COLUMN {column} DEFAULT {default}")),
        None => connection.execute_batch(&format!("ALTER TABLE {table} ADD COLUMN {column}")),
    }
}

/// The declared type, which decides what SQLite converts: nothing for blobs, and never text to numbers for the others.
const fn type_of(kind: Kind) -> &'static str {
    match kind {
        Kind::Bool => "BOOLEAN",
        Kind::Int => "INTEGER",
        Kind::Real => "REAL",
        Kind::Blob => "BLOB",
        _ => "TEXT",
    }
}

/// A default as SQL; `None` for nil.
fn literal(value: &Value) -> Option<String> {
    let hex = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
    Some(match value {
        Value::Nil => return None,
        Value::Bool(v) => if *v { "TRUE" } else { "FALSE" }.to_owned(),
        Value::Int(v) => v.to_string(),
        Value::Real(v) if v.fract() == 0.0 && v.abs() < 1e15 => format!("{v:.0}"),
        Value::Real(v) => format!("{v:?}"),
        Value::Blob(v) => format!("x'{}'", hex(v)),
        // A NUL would end the statement.
        Value::Text(v) | Value::Json(v) if v.contains('\0') => format!("(CAST(x'{}' AS TEXT))", hex(v.as_bytes())),
        Value::Text(v) | Value::Json(v) => format!("'{}'", v.replace('\'', "''")),
    })
}

/// The indexed fields for which a table has no index.
fn missing_indexes<'c>(connection: &Connection, collection: &'c Collection) -> rusqlite::Result<Vec<&'c str>> {
    let sql = "SELECT info.name FROM pragma_index_list(?1) AS list, pragma_index_info(list.name) AS info \
               WHERE info.seqno = 0 AND NOT list.partial";
    let mut statement = connection.prepare(sql)?;
    let first: Vec<Option<String>> = statement.query_map([&collection.name], |row| row.get(0))?.collect::<Result<_, _>>()?;
    let indexed = collection.fields.iter().filter(|f| f.index != Index::None).map(|f| f.name.as_str());
    Ok(indexed.filter(|name| !first.iter().flatten().any(|f| f.eq_ignore_ascii_case(name))).collect())
}

/// Creates the missing indexes and says how many there were.
pub(crate) fn create_indexes(connection: &Connection, collection: &Collection) -> rusqlite::Result<usize> {
    let missing = missing_indexes(connection, collection)?;
    for field in &missing {
        let name = free_index_name(connection, &format!("idx_{}_{field}", collection.name))?;
        let (table, field) = (quoted(&collection.name), quoted(field));
        connection.execute_batch(&format!("CREATE INDEX {} ON {table} ({field})", quoted(&name)))?;
    }
    Ok(missing.len())
}

/// The name, or with a number behind it: `a_b` of `c` and `b_c` of `a` would share one.
fn free_index_name(connection: &Connection, wanted: &str) -> rusqlite::Result<String> {
    let mut statement = connection.prepare("SELECT 1 FROM sqlite_master WHERE name = ?1")?;
    let mut name = wanted.to_owned();
    for number in 2.. {
        if statement.query_row([&name], |_| Ok(())).optional()?.is_none() {
            break;
        }
        name = format!("{wanted}_{number}");
    }
    Ok(name)
}
