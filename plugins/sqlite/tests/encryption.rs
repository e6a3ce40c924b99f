//! Encrypted files: both programs' keys open them, and whoever has the wrong one leaves everything as it was.

mod common;

use std::ffi::OsString;
use std::time::SystemTime;

use common::*;
use hivemind_abi::Host;
use hivemind_abi::model::{Backend, Capability, Code, CollectionId, Context, Mutation, Row, Task, Value};
use hivemind_sqlite_plugin::backend::{Sqlite, open};

const PASSWORD: &str = "tulip-98 \"it's\"";

fn settings(password: &str) -> String {
    serde_json::json!({ "password": password }).to_string()
}

fn encrypted(folder: &Folder, password: &str) -> (Sqlite, CollectionId) {
    let store = folder.open_with(&settings(password));
    let id = store.prepare(&CX, &[clients()]).expect("prepares")[0];
    (store, id)
}

/// A connection as the Python node has it.
fn other_program(folder: &Folder, password: &str) -> rusqlite::Connection {
    let connection = folder.other_program();
    connection.execute_batch(&format!("PRAGMA key = '{}'", password.replace('\'', "''"))).expect("a key");
    connection
}

/// Every file of the folder with its bytes and the time of its last change.
fn everything(folder: &Folder) -> Vec<(OsString, Vec<u8>, SystemTime)> {
    let entries = std::fs::read_dir(folder.file().parent().expect("a folder")).expect("a folder");
    let mut found: Vec<_> = entries
        .map(|entry| entry.expect("an entry"))
        .map(|entry| {
            let changed = entry.metadata().and_then(|m| m.modified()).expect("a time");
            (entry.file_name(), std::fs::read(entry.path()).expect("a file"), changed)
        })
        .collect();
    found.sort();
    found
}

#[test]
fn a_new_file_is_encrypted_and_says_so_without_the_password() {
    let folder = Folder::new();
    let (store, id) = encrypted(&folder, PASSWORD);
    insert(&store, id, client(1, "plain-to-see"));
    assert!(store.capabilities().has(Capability::Encryption));
    let report = store.stats(&CX).expect("stats");
    assert!(report.entries.contains(&("encrypted".to_owned(), Value::Bool(true))), "{report:?}");
    assert!(!format!("{store:?} {report:?}").contains("tulip"));
    for (name, bytes, _) in everything(&folder) {
        let shows = |text: &[u8]| bytes.windows(text.len()).any(|w| w == text);
        assert!(!shows(b"plain-to-see") && !shows(b"clients") && !shows(b"SQLite format"), "{name:?}");
    }
    store.close(&CX).expect("closes");

    let plain = Folder::new();
    let (store, _) = plain.clients();
    assert!(!store.capabilities().has(Capability::Encryption));
    let report = store.stats(&CX).expect("stats");
    assert!(report.entries.contains(&("encrypted".to_owned(), Value::Bool(false))), "{report:?}");
}

#[test]
fn both_programs_read_and_write_one_encrypted_file_at_the_same_time() {
    let raw = format!("x'{}'", "5e".repeat(32));
    let raw_with_salt = format!("x'{}'", "5e".repeat(48));
    let long = "correct horse ".repeat(300);
    for password in [PASSWORD, "'", "''; DROP TABLE clients; --", "schlüssel 🔑", " ", &long, &raw, &raw_with_salt] {
        for ours_first in [true, false] {
            let folder = Folder::new();
            let ours = || encrypted(&folder, password);
            let first = ours_first.then(ours);
            let other = other_program(&folder, password);
            other.execute_batch(&format!("PRAGMA journal_mode = WAL; {PYTHON_TABLE}")).expect("SQL");
            let (store, id) = first.unwrap_or_else(ours);
            insert(&store, id, client(1, "ours"));
            let add = "INSERT INTO clients (client_id, api_key, allowed_types, metadata) VALUES (2, 'theirs', '[]', '{}')";
            other.execute_batch(add).expect("SQL");
            insert(&store, id, client(3, "ours again"));
            let count: i64 = other.query_row("SELECT count(*) FROM clients", [], |row| row.get(0)).expect("SQL");
            assert_eq!(count, 3, "{password:?}");
            assert!(get(&store, id, 2).is_some(), "{password:?}");
        }
    }
}

/// Opening fails with `denied` and these words, and nothing of the folder has changed.
fn refused(folder: &Folder, config: &str, parts: &[&str]) {
    let before = everything(folder);
    let store = open(config, Host::detached(folder.path())).expect("opening touches nothing yet");
    let error = store.prepare(&CX, &[clients()]).expect_err("not opened");
    assert_eq!(error.code(), Code::Denied, "{error}");
    assert_eq!((error.detail().field.as_deref(), error.detail().place.is_some()), (Some("password"), true));
    for part in parts.iter().chain(&["clients.db", "left as it is", "password"]) {
        assert!(error.message().contains(part), "{part}: {error}");
    }
    assert!(!format!("{error:?}").contains("tulip"), "{error:?}");
    store.close(&CX).expect("closes");
    drop(store);
    assert!(everything(folder) == before, "{config}: something was touched");
}

#[test]
fn whoever_has_no_password_or_the_wrong_one_touches_nothing() {
    const WRONG: &str = r#"{"password": "tulip-99"}"#;
    for mode in ["DELETE", "WAL"] {
        let folder = Folder::new();
        let other = other_program(&folder, PASSWORD);
        other.execute_batch(&format!("PRAGMA journal_mode = {mode}; {PYTHON_TABLE}")).expect("SQL");
        let check = |folder: &Folder| {
            refused(folder, WRONG, &["another one", "damaged", "correct `password`"]);
            refused(folder, "{}", &["looks encrypted", "set `password`"]);
        };
        // While the other program has it open, with a log in WAL mode.
        check(&folder);
        let crashed = Folder::new();
        std::fs::create_dir_all(crashed.file().parent().expect("a parent")).expect("a folder");
        for (name, bytes, _) in everything(&folder).into_iter().filter(|(name, ..)| name != "clients.db-shm") {
            std::fs::write(crashed.file().with_file_name(name), bytes).expect("copied");
        }
        drop(other);
        check(&folder);
        check(&crashed);
        let (store, id) = encrypted(&crashed, PASSWORD);
        insert(&store, id, client(1, "the right one still opens it"));
    }
    for mode in ["DELETE", "WAL"] {
        let folder = Folder::new();
        folder.written(&format!("PRAGMA journal_mode = {mode}; {PYTHON_TABLE}"));
        refused(&folder, &settings(PASSWORD), &["is not encrypted", "remove `password`"]);
    }
}

#[test]
fn a_file_that_is_no_database_is_not_taken_for_an_encrypted_one() {
    for (bytes, with_password) in [
        (b"{\"1\": {\"client_id\": 1, \"api_key\": \"k\"}} and so on".repeat(512), Code::Denied),
        (vec![0; 8192], Code::Denied),
        // Too short for a database of either kind.
        (vec![200, 1, 3], Code::Corrupt),
    ] {
        let folder = Folder::new();
        std::fs::create_dir_all(folder.file().parent().expect("a parent")).expect("a folder");
        std::fs::write(folder.file(), &bytes).expect("a file");
        let before = everything(&folder);
        for (config, expected) in [("{}".to_owned(), Code::Corrupt), (settings(PASSWORD), with_password)] {
            let store = folder.open_with(&config);
            let error = store.prepare(&CX, &[clients()]).expect_err("no database");
            assert_eq!(error.code(), expected, "{error}");
        }
        assert!(everything(&folder) == before);
    }
}

#[test]
fn a_refused_handle_beside_a_good_one_disturbs_it_not() {
    let folder = Folder::new();
    let (store, id) = encrypted(&folder, PASSWORD);
    insert(&store, id, client(1, "a"));
    for config in ["{}", r#"{"password": "tulip-99"}"#] {
        let error = folder.open_with(config).prepare(&CX, &[clients()]).expect_err("the wrong one");
        assert_eq!(error.code(), Code::Denied, "{error}");
    }
    insert(&store, id, client(2, "b"));
    let other = other_program(&folder, PASSWORD);
    other.execute_batch("BEGIN IMMEDIATE").expect("the lock");
    let short = Context::within(std::time::Duration::from_millis(30));
    let busy = store.apply(&short, &[Mutation::Put { collection: id, row: client(3, "c") }]).expect_err("locked");
    assert!(matches!(busy.code(), Code::Busy | Code::Deadline), "the locks hold: {busy}");
}

#[test]
fn programs_that_create_one_file_at_the_same_time_all_open_it() {
    for _ in 0..5 {
        let folder = Folder::new();
        let barrier = std::sync::Barrier::new(4);
        std::thread::scope(|scope| {
            for n in 0..4 {
                let (folder, barrier) = (&folder, &barrier);
                scope.spawn(move || {
                    barrier.wait();
                    let (store, id) = encrypted(folder, PASSWORD);
                    insert(&store, id, client(n, &format!("key-{n}")));
                    store
                });
            }
        });
        let (store, id) = encrypted(&folder, PASSWORD);
        assert!((0..4).all(|n| get(&store, id, n).is_some()));
    }
}

#[test]
fn many_connections_are_opened_with_one_key_and_short_calls_do_not_wait_for_one() {
    let folder = Folder::new();
    let config = serde_json::json!({ "password": PASSWORD, "readers": 16 }).to_string();
    let store = folder.open_with(&config);
    let id = store.prepare(&CX, &[clients()]).expect("prepares")[0];
    insert(&store, id, client(1, "a"));
    // Less time than sixteen keys take to derive.
    let cx = Context::within(std::time::Duration::from_secs(1));
    std::thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| {
                for _ in 0..100 {
                    assert!(store.get(&cx, id, hivemind_abi::model::KeyRef::Int(1)).expect("gets").is_some());
                }
            });
        }
    });
}

#[test]
fn an_encrypted_file_is_maintained_and_migrated_like_another() {
    let folder = Folder::new();
    let other = other_program(&folder, PASSWORD);
    other
        .execute_batch(&format!(
            "{PYTHON_TABLE}; INSERT INTO clients (client_id, api_key, skill_blacklist) VALUES (1, 'a', '[\"s\"]')"
        ))
        .expect("SQL");
    drop(other);
    let (store, id) = encrypted(&folder, PASSWORD);
    assert!(shown(&get(&store, id, 1).expect("a client")).contains(r#""skill_blacklist": ["s"]"#));
    for task in [Task::Verify, Task::Vacuum, Task::Checkpoint] {
        let report = store.maintain(&CX, &task).expect("maintained");
        assert!(report.problems.is_empty(), "{report:?}");
    }
    store.close(&CX).expect("closes");
    let version: i64 = other_program(&folder, PASSWORD).query_row("PRAGMA user_version", [], |row| row.get(0)).expect("opened");
    assert_eq!(version, 2);
}

#[test]
fn a_damaged_page_is_said_to_be_damage_and_the_rest_can_still_be_read() {
    let folder = Folder::new();
    let (store, id) = encrypted(&folder, PASSWORD);
    let filler = "x".repeat(1000);
    for n in 1..=200 {
        // Large where no index holds it.
        let clients = clients();
        let row = Row::builder(&clients).set("client_id", n).expect("id").set("api_key", format!("key-{n}")).expect("key");
        insert(&store, id, row.set("description", filler.as_str()).expect("text").build());
    }
    store.close(&CX).expect("closes");
    drop(store);
    let mut bytes = std::fs::read(folder.file()).expect("the file");
    let middle = bytes.len() / 4096 / 2 * 4096;
    for byte in &mut bytes[middle..middle + 8 * 4096] {
        *byte ^= 1;
    }
    std::fs::write(folder.file(), &bytes).expect("damaged");
    let (store, id) = encrypted(&folder, PASSWORD);
    let answers = || (1..=200).map(|n| store.get(&CX, id, hivemind_abi::model::KeyRef::Int(n))).collect::<Vec<_>>();
    for round in 0..2 {
        let (good, bad): (Vec<_>, Vec<_>) = answers().into_iter().partition(Result::is_ok);
        assert!(good.len() > 100 && bad.len() > 10, "round {round}: {} good, {} bad: {:?}", good.len(), bad.len(), bad.first());
        for error in bad {
            let error = error.expect_err("bad");
            assert_eq!(error.code(), Code::Corrupt, "{error}");
        }
    }
    insert(&store, id, client(201, "it can be written"));
    let delete = Mutation::Delete { collection: id, key: hivemind_abi::model::Key::Int(100), when: vec![] };
    assert_eq!(store.apply(&CX, &[delete]).expect_err("in the damaged part").code(), Code::Corrupt);
    insert(&store, id, client(202, "and again"));
}

#[test]
fn an_empty_file_that_another_program_fills_at_the_same_time_is_opened() {
    // A finished key: nothing is derived, so that the two meet.
    let key = format!("x'{}'", "5a".repeat(32));
    for round in 0..60 {
        let folder = Folder::new();
        std::fs::create_dir_all(folder.file().parent().expect("a parent")).expect("a folder");
        std::fs::write(folder.file(), "").expect("an empty file");
        let barrier = std::sync::Barrier::new(2);
        std::thread::scope(|scope| {
            let other = scope.spawn(|| {
                let other = other_program(&folder, &key);
                barrier.wait();
                std::thread::sleep(std::time::Duration::from_micros(round * 50));
                // Whether it comes first or second is its own affair.
                let _ = other.execute_batch(PYTHON_TABLE);
            });
            let store = folder.open_with(&settings(&key));
            barrier.wait();
            let prepared = store.prepare(&CX, &[clients()]);
            other.join().expect("no panic");
            insert(&store, prepared.expect("prepares")[0], client(1, "a"));
        });
    }
}
