//! What an operator asks for: facts, checks, and giving space back.

use hivemind_abi::model::{Context, Index, Key, Kind, Problem, Report, Result, Value};
use rusqlite::types::ValueRef;
use rusqlite::{Connection, params_from_iter};

use crate::config::Synchronous;
use crate::connection::Opener;
use crate::find;
use crate::statements::{Bound, Table, quoted};

/// Problems of the file as a whole that are listed at most.
const MOST_FILE_PROBLEMS: usize = 100;

/// Reads everything and says what is wrong.
pub(crate) fn verify(cx: &Context<'_>, connection: &Connection, opener: &Opener, tables: &[&Table]) -> Result<Report> {
    let failed = |e: rusqlite::Error| opener.failed(&e);
    let mut report = Report::new();
    for message in integrity(connection, "integrity_check").map_err(failed)? {
        report.problems.push(Problem { collection: String::new(), key: None, message: format!("{}: {message}", opener.place()) });
    }
    let mut records = 0;
    for table in tables {
        cx.check()?;
        let ask = || connection.query_row(&format!("SELECT count(*) FROM {}", table.name()), [], |row| row.get::<_, i64>(0));
        records += ask().map_err(failed)?;
        let mut problems: Vec<Problem> = find::unreadable(cx, connection, opener, table)?
            .into_iter()
            .map(|record| problem(table, record.key, format!("unreadable: {}", record.message)))
            .collect();
        for (at, field) in table.collection.fields.iter().enumerate() {
            if let Index::Unique { except } = &field.index {
                problems.extend(duplicates(connection, table, at, except).map_err(failed)?);
            }
        }
        problems.sort_by(|a, b| a.key.cmp(&b.key));
        report.problems.extend(problems);
    }
    Ok(report.with("records", records))
}

/// What a check of the whole file finds.
pub(crate) fn integrity(connection: &Connection, check: &str) -> rusqlite::Result<Vec<String>> {
    let mut statement = connection.prepare(&format!("PRAGMA {check}({MOST_FILE_PROBLEMS})"))?;
    let found: rusqlite::Result<Vec<String>> = statement.query_map([], |row| row.get(0))?.collect();
    Ok(found?.into_iter().filter(|message| message != "ok").collect())
}

fn problem(table: &Table, key: Key, message: String) -> Problem {
    Problem { collection: table.collection.name.clone(), key: Some(key), message }
}

/// The records whose unique value a record with a lower key has.
fn duplicates(connection: &Connection, table: &Table, at: usize, except: &[Value]) -> rusqlite::Result<Vec<Problem>> {
    let Some(field) = table.collection.fields.get(at) else { return Ok(Vec::new()) };
    let (name, key, column) = (table.name(), table.key(), quoted(&field.name));
    let excepted: Vec<String> = (1..=except.len()).map(|n| format!("?{n}")).collect();
    let sql = format!(
        "SELECT later.{key}, (SELECT min(first.{key}) FROM {name} AS first WHERE first.{column} = later.{column}) AS winner \
         FROM {name} AS later WHERE later.{column} NOT IN ({}) AND later.{key} > winner ORDER BY 1",
        excepted.join(", ")
    );
    let mut statement = connection.prepare(&sql)?;
    let mut rows = statement.query(params_from_iter(except.iter().map(|v| Bound(v.as_ref()))))?;
    let mut found = Vec::new();
    let key = |row: &rusqlite::Row<'_>, column: usize| match table.collection.key_kind() {
        Kind::Int => row.get(column).map(Key::Int),
        _ => row.get(column).map(Key::Text),
    };
    while let Some(row) = rows.next()? {
        let (later, winner) = (key(row, 0)?, key(row, 1)?);
        found.push(problem(table, later, format!("{} is the same as that of {winner}, which wins", field.name)));
    }
    Ok(found)
}

/// Gives unused space back to the file system.
pub(crate) fn vacuum(connection: &Connection, opener: &Opener) -> Result<Report> {
    let work = || {
        let before = file_bytes(connection)?;
        connection.execute_batch("VACUUM")?;
        checkpoint_all(connection)?;
        Ok((before, file_bytes(connection)?))
    };
    let (before, after) = work().map_err(|e| opener.failed(&e))?;
    Ok(Report::new().with("bytes_before", before).with("bytes_after", after))
}

/// Moves the write-ahead log into the file.
pub(crate) fn checkpoint(connection: &Connection, opener: &Opener) -> Result<Report> {
    let complete = checkpoint_all(connection).map_err(|e| opener.failed(&e))?;
    Ok(Report::new().with("complete", complete))
}

/// Whether everything could be moved: a reader of another program may hold some of it back.
fn checkpoint_all(connection: &Connection) -> rusqlite::Result<bool> {
    connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get::<_, i64>(0)).map(|busy| busy == 0)
}

pub(crate) fn file_bytes(connection: &Connection) -> rusqlite::Result<i64> {
    let pages: i64 = connection.query_row("PRAGMA page_count", [], |row| row.get(0))?;
    Ok(pages.saturating_mul(page_size(connection)?))
}

/// SQLCipher answers in text for an encrypted file.
pub(crate) fn page_size(connection: &Connection) -> rusqlite::Result<i64> {
    connection.query_row("PRAGMA page_size", [], |row| match row.get_ref(0)? {
        ValueRef::Text(digits) => Ok(std::str::from_utf8(digits).ok().and_then(|d| d.parse().ok()).unwrap_or_default()),
        other => Ok(other.as_i64()?),
    })
}

/// Facts about the database.
pub(crate) fn facts(connection: &Connection, opener: &Opener) -> Result<Report> {
    let ask = || {
        let number = |pragma: &str| connection.query_row(pragma, [], |row| row.get::<_, i64>(0));
        let mode: String = connection.query_row("PRAGMA journal_mode", [], |row| row.get(0))?;
        Ok(described(opener)
            .with("schema_version", number("PRAGMA user_version")?)
            .with("journal_mode", mode)
            .with("page_size", page_size(connection)?)
            .with("pages", number("PRAGMA page_count")?)
            .with("unused_pages", number("PRAGMA freelist_count")?))
    };
    ask().map_err(|e: rusqlite::Error| opener.failed(&e))
}

/// What is known without asking the database.
pub(crate) fn described(opener: &Opener) -> Report {
    let report = Report::new()
        .with("engine", format!("SQLite {}", rusqlite::version()))
        .with("location", opener.place())
        .with("acknowledged_write", acknowledged_write(opener));
    let Some(file) = opener.file() else { return report };
    let bytes = |suffix| i64::try_from(file.size(suffix)).unwrap_or(i64::MAX);
    let encrypted = opener.cipher().is_on();
    report
        .with("encrypted", encrypted)
        .with("synchronous", opener.synchronous().name())
        .with("file_bytes", bytes(""))
        .with("wal_bytes", bytes("-wal"))
}

fn acknowledged_write(opener: &Opener) -> &'static str {
    match (opener.file().is_some(), opener.synchronous()) {
        (false, _) => "kept in memory: gone when the process ends",
        (true, Synchronous::Normal) => {
            "survives the end of the process; a power cut or system crash may lose the last writes, and never damages the file"
        }
        (true, Synchronous::Full | Synchronous::Extra) => {
            "synced to disk before it was acknowledged: survives the end of the process, a system crash and a power cut"
        }
    }
}
