//! `clients.db`: files that are no database, databases that are not this one, and what stands in the way of a database.

use std::os::unix::fs::symlink;

use rusqlite::Connection;

use super::*;

const FILE: &str = "clients.db";

fn path(operator: &Operator) -> std::path::PathBuf {
    operator.data().join(FILE)
}

fn content(name: &str, content: impl AsRef<[u8]>) -> Case {
    let content = content.as_ref().to_vec();
    Case::new(name, move |operator| plant(operator, FILE, &content))
}

/// A database that these statements made, closed, with no log beside it.
fn made(name: &str, sql: &'static str) -> Case {
    Case::new(name, move |operator| {
        folder(&operator.data());
        let db = Connection::open(path(operator)).expect("a database");
        db.execute_batch(sql).expect(sql);
        db.close().expect("closed");
    })
}

/// The program's own database with two clients, and then something done to it.
fn spoilt(name: &str, spoil: impl Fn(&Operator) + 'static) -> Case {
    Case::new(name, move |operator| {
        for key in ["aaa", "bbb"] {
            operator.run(&["add-client", "--access-key", key, "--password", SECRET, "--allow-weak-password"]).well();
        }
        spoil(operator);
    })
}

fn sql(operator: &Operator, sql: &str) {
    let db = Connection::open(path(operator)).expect("a database");
    db.execute_batch(sql).expect(sql);
    db.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)").expect("a checkpoint");
    db.close().expect("closed");
}

/// Writes over some bytes of the file.
fn overwrite(operator: &Operator, at: u64, bytes: &[u8]) {
    use std::os::unix::fs::FileExt as _;
    std::fs::OpenOptions::new().write(true).open(path(operator)).expect("open").write_all_at(bytes, at).expect("written");
}

fn no_database() -> Vec<Case> {
    let corrupt = ["error[corrupt]", FILE];
    vec![
        content("a text", "this is no database, whatever its name says\n".repeat(100)).fails(8, &corrupt),
        content("shorter than a header", "SQLite format 3\0").fails(8, &corrupt),
        content("JSON", format!("{{\"1\": {}}}", record(1, "aaa"))).fails(8, &corrupt),
        content("NUL bytes, as after a power cut", vec![0; 8192]).fails(8, &corrupt),
        content(
            "what encryption looks like",
            (0..8192_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect::<Vec<_>>(),
        )
        .fails(5, &["error[denied]", FILE, "encrypted"]),
        Case::new("an encrypted database without its password", |o| {
            folder(&o.data());
            let db = Connection::open(path(o)).expect("a database");
            db.execute_batch("PRAGMA key = 'sixteen-or-more-characters'; CREATE TABLE clients (client_id INTEGER PRIMARY KEY);")
                .expect("encrypted");
        })
        .fails(5, &["error[denied]", FILE, "encrypted"]),
        spoilt("cut in the middle of a page", |o| {
            let file = std::fs::OpenOptions::new().write(true).open(path(o)).expect("open");
            file.set_len(file.metadata().expect("a size").len() - 5000).expect("cut");
        })
        .fails(8, &corrupt),
        spoilt("cut to its first page", |o| {
            std::fs::OpenOptions::new().write(true).open(path(o)).expect("open").set_len(4096).expect("cut");
        })
        .fails(8, &corrupt),
        spoilt("its header says another page size", |o| overwrite(o, 16, &[0x7f, 0x01])).fails(8, &corrupt),
        spoilt("its header says a later format", |o| overwrite(o, 18, &[9, 9])).fails(8, &corrupt),
        spoilt("its schema is garbage", |o| overwrite(o, 100, &[0xff; 200])).fails(8, &corrupt),
    ]
}

fn no_file() -> Vec<Case> {
    vec![
        Case::new("a folder", |o| folder(&path(o))).fails(5, &[FILE, "regular file"]),
        Case::new("a pipe", |o| home::pipe(&path(o))).fails(5, &[FILE, "regular file"]),
        Case::new("a device", |o| {
            folder(&o.data());
            symlink("/dev/full", path(o)).expect("a link");
        })
        .fails(5, &[FILE, "regular file"]),
        Case::new("a device named in the settings", |o| {
            o.configure(&serde_json::json!({"database": {"module": SQLITE, SQLITE: {"db_path": "/dev/full"}}}));
        })
        .fails(5, &["/dev/full", "regular file"]),
        Case::new("a link to itself", |o| {
            folder(&o.data());
            symlink(FILE, path(o)).expect("a link");
        })
        .fails(5, &[FILE, "symbolic links"]),
        Case::new("a link into a folder that is not there", |o| {
            folder(&o.data());
            symlink("nowhere/clients.db", path(o)).expect("a link");
        })
        .fails(5, &[FILE]),
        spoilt("a file that may not be read", |o| hivemind_tests::set_mode(&path(o), 0))
            .unprivileged()
            .fails(5, &["error[denied]", FILE]),
        spoilt("a file that may not be written", |o| hivemind_tests::set_mode(&path(o), 0o400))
            .unprivileged()
            .fails(5, &["error[denied]", FILE])
            .reads(&["2"]),
        spoilt("a folder that may not be searched", |o| hivemind_tests::set_mode(&o.data(), 0))
            .unprivileged()
            .fails(5, &["error[denied]", FILE]),
        Case::new("a folder in which nothing may be created", |o| {
            folder(&o.data());
            hivemind_tests::set_mode(&o.data(), 0o500);
        })
        .unprivileged()
        .fails(5, &["error[denied]", "hivemind-core"]),
        Case::new("a file where its folder should be", |o| drop(o.write("data/hivemind-core", b""))).fails(5, &["hivemind-core"]),
    ]
}

fn another_database() -> Vec<Case> {
    let is_none = ["error[corrupt]", FILE, "clients"];
    vec![
        spoilt("a newer version", |o| sql(o, "PRAGMA user_version = 3"))
            .fails(8, &["error[too-new]", FILE, "version 2", "found 3"]),
        spoilt("a huge version", |o| sql(o, "PRAGMA user_version = 2147483647"))
            .fails(8, &["error[too-new]", FILE, "2147483647"]),
        made("a view instead of the table", "CREATE TABLE t (x); CREATE VIEW clients AS SELECT x AS client_id FROM t;")
            .fails(8, &is_none),
        made("a virtual table", "CREATE VIRTUAL TABLE clients USING fts5(client_id, api_key);").fails(8, &is_none),
        made(
            "a table without the key",
            "CREATE TABLE clients (name TEXT, colour TEXT); INSERT INTO clients VALUES ('a', 'red');",
        )
        .fails(8, &["error[corrupt]", FILE, "client_id"]),
        made("a key that is no number", "CREATE TABLE clients (client_id TEXT PRIMARY KEY, api_key TEXT NOT NULL);")
            .fails(8, &["error[corrupt]", FILE, "client_id"]),
        made("an index of the table's name", "CREATE TABLE t (x); CREATE INDEX clients ON t (x);").fails(8, &is_none),
        made(
            "UTF-16",
            "PRAGMA encoding = 'UTF-16le'; CREATE TABLE clients (client_id INTEGER PRIMARY KEY, api_key TEXT NOT NULL);",
        )
        .fails(1, &["error[unsupported]", FILE, "UTF-16le"]),
    ]
}

#[test]
fn a_file_that_is_no_database_is_named_and_left_alone() {
    try_all(Some(SQLITE), &no_database(), 11);
}

#[test]
fn what_stands_in_the_place_of_the_database_is_named_and_left_alone() {
    try_all(Some(SQLITE), &no_file(), 11);
}

#[test]
fn a_database_that_is_another_one_is_named_and_left_alone() {
    try_all(Some(SQLITE), &another_database(), 8);
}
