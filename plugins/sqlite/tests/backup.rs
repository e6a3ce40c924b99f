//! Backups of a file in use, and the way back into it.

mod common;

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use common::*;
use hivemind_abi::model::{Backend, Change, Changes, Code, CollectionId, Key, Mutation, Query, Report, Task, Token, Value};
use hivemind_sqlite_plugin::backend::Sqlite;

const PASSWORD: &str = "tulip-98 \"it's\"";

/// A handle on a plain file or an encrypted one.
fn opened(folder: &Folder, password: Option<&str>) -> (Sqlite, CollectionId) {
    let store = folder.open_with(&serde_json::json!({ "password": password }).to_string());
    let id = store.prepare(&CX, &[clients()]).expect("prepares")[0];
    (store, id)
}

fn path(folder: &Folder, name: &str) -> String {
    folder.path().join(name).display().to_string()
}

fn backup(store: &Sqlite, to: &str) -> Report {
    store.maintain(&CX, &Task::Backup { to: to.to_owned() }).expect("a backup")
}

fn restore(store: &Sqlite, from: &str, keep: Option<&str>) -> hivemind_abi::model::Result<Report> {
    store.maintain(&CX, &Task::Restore { from: from.to_owned(), keep: keep.map(str::to_owned) })
}

fn verify(store: &Sqlite, from: &str) -> hivemind_abi::model::Result<Report> {
    store.maintain(&CX, &Task::VerifyBackup { from: from.to_owned(), collections: vec![clients()] })
}

fn count(store: &Sqlite, id: CollectionId) -> u64 {
    store.count(&CX, &Query::all(id)).expect("a count")
}

fn mode(path: &str) -> u32 {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::metadata(path).expect("a file").permissions().mode() & 0o7777
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> = std::fs::read_dir(folder)
        .expect("a folder")
        .map(|e| e.expect("an entry").file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

fn rename(id: CollectionId, key: i64, name: &str) -> Mutation {
    Mutation::Update { collection: id, key: Key::Int(key), changes: vec![Change::set(NAME, name)], when: Vec::new() }
}

#[test]
fn what_was_backed_up_comes_back_and_every_open_handle_sees_it() {
    for password in [None, Some(PASSWORD)] {
        let folder = Folder::new();
        let (store, id) = opened(&folder, password);
        // A handle that another process would have, and one that only reads.
        let (other, other_id) = opened(&folder, password);
        for n in 1..=500 {
            insert(&store, id, client(n, &format!("k{n}")));
        }
        assert_eq!(count(&other, other_id), 500);
        let file = path(&folder, "a.backup");
        backup(&store, &file);
        assert_eq!((mode(&file), names(folder.path())), (0o600, vec!["a.backup".to_owned(), "hivemind-core".to_owned()]));
        store.apply(&CX, &[rename(id, 1, "later")]).expect("renamed");
        store.apply(&CX, &[Mutation::Delete { collection: id, key: Key::Int(2), when: Vec::new() }]).expect("deleted");
        for n in 501..=900 {
            insert(&other, other_id, client(n, &format!("k{n}")));
        }
        let (token, _) = other.changes_since(&CX, other_id, Token::default()).expect("a token");
        let kept = path(&folder, "kept.backup");
        let report = restore(&store, &file, Some(&kept)).expect("restored");
        assert_eq!(report.get("records"), Some(&Value::Int(500)));
        assert_eq!(mode(&kept), 0o600);
        for (store, id) in [(&store, id), (&other, other_id)] {
            assert_eq!(count(store, id), 500);
            let first = get(store, id, 1).expect("a client");
            assert!(!shown(&first).contains("later") && get(store, id, 2).is_some());
        }
        insert(&store, id, client(501, "after it, here"));
        insert(&other, other_id, client(502, "after it, there"));
        assert_eq!((count(&store, id), count(&other, other_id)), (502, 502));
        assert!(matches!(other.changes_since(&CX, other_id, token), Ok((_, Changes::Everything))));
        // The previous state, and back to it.
        restore(&other, &kept, None).expect("restored");
        assert_eq!((count(&store, id), count(&other, other_id)), (899, 899));
        assert!(shown(&get(&store, id, 1).expect("a client")).contains("later"));
        store.close(&CX).expect("closes");
        other.close(&CX).expect("closes");
        let (again, id) = opened(&folder, password);
        assert_eq!(count(&again, id), 899);
        assert!(again.maintain(&CX, &Task::Verify).expect("verified").problems.is_empty());
        assert_eq!(names(&folder.path().join("hivemind-core")).iter().filter(|n| n.ends_with(".tmp")).count(), 0);
    }
}

#[test]
fn a_backup_is_a_database_that_opens_as_one() {
    let folder = Folder::new();
    let (store, id) = opened(&folder, None);
    insert(&store, id, client(1, "a"));
    let file = path(&folder, "a.backup");
    backup(&store, &file);
    let plain = rusqlite::Connection::open(&file).expect("opens");
    let found: (i64, String, i64) = plain
        .query_row("SELECT count(*), max(api_key), (SELECT user_version FROM pragma_user_version) FROM clients", [], |r| {
            Ok((r.get(0)?, r.get(1)?, r.get(2)?))
        })
        .expect("read");
    assert_eq!(found, (1, "a".to_owned(), 2));
    let checked: String = plain.query_row("PRAGMA integrity_check", [], |r| r.get(0)).expect("checked");
    assert_eq!(checked, "ok");
    drop(plain);
    assert_eq!(names(folder.path()), ["a.backup", "hivemind-core"], "and nothing came to lie beside it");
}

#[test]
fn nothing_is_written_over_and_nothing_half_stays() {
    let folder = Folder::new();
    let (store, id) = opened(&folder, None);
    insert(&store, id, client(1, "a"));
    let file = path(&folder, "a.backup");
    std::fs::write(&file, "mine").expect("written");
    let error = store.maintain(&CX, &Task::Backup { to: file.clone() }).expect_err("there is one");
    assert_eq!((error.code(), std::fs::read(&file).expect("read")), (Code::Conflict, b"mine".to_vec()));
    assert!(error.message().contains("a.backup exists already"), "{error}");
    let good = path(&folder, "b.backup");
    backup(&store, &good);
    let error = restore(&store, &good, Some(&file)).expect_err("there is one");
    assert_eq!((error.code(), std::fs::read(&file).expect("read")), (Code::Conflict, b"mine".to_vec()));
    let error = store.maintain(&CX, &Task::Backup { to: path(&folder, "no/such/folder") }).expect_err("no folder");
    assert!(error.message().contains("no/such/folder"), "{error}");
    let own = folder.file().display().to_string();
    assert_eq!(restore(&store, &own, None).expect_err("itself").code(), Code::Invalid);
    assert_eq!(names(folder.path()), ["a.backup", "b.backup", "hivemind-core"]);
}

#[test]
fn backups_under_writers_hold_whole_batches() {
    for password in [None, Some(PASSWORD)] {
        let folder = Folder::new();
        let (store, id) = opened(&folder, password);
        // Each batch moves two records together, so a torn copy shows.
        for n in 1..=40 {
            insert(&store, id, client(n, &format!("k{n}")));
        }
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let (store, stop) = (&store, &stop);
                scope.spawn(move || {
                    for round in 0.. {
                        if stop.load(Ordering::Relaxed) {
                            break;
                        }
                        let name = format!("{thread}-{round}");
                        let first = 1 + thread * 10;
                        store.apply(&CX, &[rename(id, first, &name), rename(id, first + 1, &name)]).expect("written");
                    }
                });
            }
            for n in 0..8 {
                backup(&store, &path(&folder, &format!("{n}.backup")));
            }
            stop.store(true, Ordering::Relaxed);
        });
        let target = Folder::new();
        let (restored, restored_id) = opened(&target, password);
        for n in 0..8 {
            restore(&restored, &path(&folder, &format!("{n}.backup")), None).expect("restored");
            assert_eq!(count(&restored, restored_id), 40);
            for thread in 0..4 {
                let name = |key| {
                    let row = get(&restored, restored_id, key).expect("a client");
                    row.view(&clients()).expect("a view").at(NAME).to_value()
                };
                assert_eq!(name(1 + thread * 10), name(2 + thread * 10));
            }
        }
    }
}

#[test]
fn what_is_wrong_with_a_backup_is_said_and_changes_nothing() {
    for password in [None, Some(PASSWORD)] {
        let folder = Folder::new();
        let (store, id) = opened(&folder, password);
        for n in 1..=200 {
            insert(&store, id, client(n, &format!("key-{n}")));
        }
        let file = path(&folder, "a.backup");
        backup(&store, &file);
        assert!(verify(&store, &file).expect("verified").problems.is_empty());
        store.apply(&CX, &[rename(id, 1, "later")]).expect("renamed");
        let whole = std::fs::read(&file).expect("read");
        let damaged = path(&folder, "damaged.backup");
        let mut random = fastrand_like(7);
        for round in 0..if password.is_some() { 16 } else { 60 } {
            let mut bytes = whole.clone();
            let at = usize::try_from(random()).unwrap_or(0) % bytes.len();
            if round % 2 == 0 {
                bytes[at] ^= 1 << (random() % 8);
            } else {
                bytes.truncate(at);
            }
            std::fs::write(&damaged, &bytes).expect("written");
            let error = restore(&store, &damaged, None).expect_err("damaged");
            assert!(matches!(error.code(), Code::Corrupt | Code::Denied), "{at}: {error}");
            assert!(error.message().contains("damaged.backup"), "{error}");
            match verify(&store, &damaged) {
                Ok(report) => assert!(report.problems.iter().any(|p| p.message.contains("damaged.backup")), "{report:?}"),
                Err(error) => assert!(error.message().contains("damaged.backup"), "{error}"),
            }
        }
        assert!(shown(&get(&store, id, 1).expect("a client")).contains("later"));
        assert_eq!(count(&store, id), 200);
    }
}

/// Enough of a random number, and the same each time.
fn fastrand_like(seed: u64) -> impl FnMut() -> u64 {
    let mut state = seed;
    move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state >> 33
    }
}

#[test]
fn another_password_and_a_newer_form_are_refused() {
    let folder = Folder::new();
    let (plain, id) = opened(&folder, None);
    insert(&plain, id, client(1, "a"));
    let file = path(&folder, "plain.backup");
    backup(&plain, &file);
    let other = Folder::new();
    let (secret, secret_id) = opened(&other, Some(PASSWORD));
    insert(&secret, secret_id, client(1, "b"));
    let secret_file = path(&other, "secret.backup");
    backup(&secret, &secret_file);
    for (store, from) in [(&plain, &secret_file), (&secret, &file)] {
        let error = restore(store, from, None).expect_err("another password");
        assert_eq!(error.code(), Code::Denied, "{error}");
        assert!(!error.message().contains("tulip"));
    }
    rusqlite::Connection::open(&file).expect("opens").execute_batch("PRAGMA user_version = 3").expect("a version");
    // As another program wrote to it, its seal does not hold either; what is said first does not matter.
    assert!(matches!(restore(&plain, &file, None).expect_err("newer").code(), Code::TooNew | Code::Corrupt));
    let newer = path(&folder, "newer.db");
    rusqlite::Connection::open(&newer)
        .expect("opens")
        .execute_batch(&format!("{PYTHON_TABLE}; PRAGMA user_version = 3"))
        .expect("a file");
    assert_eq!(restore(&plain, &newer, None).expect_err("newer").code(), Code::TooNew);
    assert!(get(&plain, id, 1).is_some() && get(&secret, secret_id, 1).is_some());
}

/// Somebody who has it open names its tables and columns, which must be there afterwards too.
#[test]
fn a_collection_that_came_after_the_backup_is_emptied_and_stays() {
    use hivemind_abi::model::{Collection, Index, Kind, Row};
    let folder = Folder::new();
    let (store, id) = opened(&folder, None);
    insert(&store, id, client(1, "a"));
    let file = path(&folder, "a.backup");
    backup(&store, &file);
    let notes = Collection::new("notes", 3, "slug", Kind::Text).field_with("body", Kind::Text, "", Index::Plain);
    let other = folder.open_with("{}");
    let notes_id = other.prepare(&CX, &[clients(), notes.clone()]).expect("prepares")[1];
    let note = |slug: &str| Row::builder(&notes).set("slug", slug).expect("a slug").build();
    insert(&other, notes_id, note("n"));
    restore(&store, &file, None).expect("restored");
    assert_eq!(count(&other, notes_id), 0);
    insert(&other, notes_id, note("m"));
    other.close(&CX).expect("closes");
    let again = folder.open_with("{}");
    let notes_id = again.prepare(&CX, &[clients(), notes]).expect("prepares")[1];
    assert_eq!((count(&again, notes_id), count(&store, id)), (1, 1));
}

#[test]
fn an_older_form_another_page_size_and_other_columns_are_brought_up() {
    let folder = Folder::new();
    let (store, id) = opened(&folder, None);
    store.close(&CX).expect("closes");
    folder.other_program().execute_batch("ALTER TABLE clients ADD COLUMN crypto_key VARCHAR(16)").expect("a column");
    let (store, _) = opened(&folder, None);
    insert(&store, id, client(7, "live"));
    let old = path(&folder, "old.db");
    rusqlite::Connection::open(&old)
        .expect("opens")
        .execute_batch(
            "PRAGMA page_size = 1024; PRAGMA journal_mode = WAL; \
             CREATE TABLE clients (client_id INTEGER PRIMARY KEY, api_key VARCHAR(255) NOT NULL, name VARCHAR(255), \
             description VARCHAR(255), is_admin BOOLEAN DEFAULT FALSE, last_seen REAL DEFAULT -1, intent_blacklist TEXT, \
             skill_blacklist TEXT, message_blacklist TEXT, allowed_types TEXT, password TEXT, can_broadcast BOOLEAN DEFAULT TRUE, \
             can_escalate BOOLEAN DEFAULT TRUE, can_propagate BOOLEAN DEFAULT TRUE); \
             INSERT INTO clients (client_id, api_key, skill_blacklist) VALUES (1, 'old', '[\"s\"]')",
        )
        .expect("an old file");
    restore(&store, &old, None).expect("restored");
    let row = shown(&get(&store, id, 1).expect("a client"));
    assert!(row.contains("\"skill_blacklist\"") && row.contains("old"), "{row}");
    assert!(get(&store, id, 7).is_none());
    insert(&store, id, client(2, "new"));
    assert!(store.maintain(&CX, &Task::Verify).expect("verified").problems.is_empty());
}

#[test]
fn another_password_a_first_one_and_none() {
    let folder = Folder::new();
    let (store, id) = opened(&folder, None);
    for n in 1..=100 {
        insert(&store, id, client(n, &format!("k{n}")));
    }
    let rekey =
        |store: &Sqlite, password: Option<&str>| store.maintain(&CX, &Task::Rekey { password: password.map(str::to_owned) });
    // Somebody else has it open, idle.
    let (other, _) = opened(&folder, None);
    let error = rekey(&store, Some(PASSWORD)).expect_err("in use");
    assert_eq!(error.code(), Code::Busy, "{error}");
    assert!(error.message().contains("open in another program") && !error.message().contains("tulip"), "{error}");
    assert_eq!(count(&other, id), 100);
    other.close(&CX).expect("closes");
    let mut before = None;
    for next in [Some(PASSWORD), Some("another"), None] {
        let handle = folder.open_with(&serde_json::json!({ "password": before }).to_string());
        rekey(&handle, next).expect("another password");
        assert_eq!(handle.get(&CX, id, Key::Int(1).as_ref()).expect_err("closed").code(), Code::Unavailable);
        let header = std::fs::read(folder.file()).expect("read");
        assert_eq!(header.starts_with(b"SQLite format 3"), next.is_none());
        let (again, id) = opened(&folder, next);
        assert_eq!(count(&again, id), 100);
        assert!(again.maintain(&CX, &Task::Verify).expect("verified").problems.is_empty());
        again.apply(&CX, &[rename(id, 1, "written")]).expect("written");
        again.close(&CX).expect("closes");
        let error = folder.open_with(&serde_json::json!({ "password": before }).to_string()).prepare(&CX, &[clients()]);
        assert_eq!(error.expect_err("the old password").code(), Code::Denied);
        assert_eq!(mode(&folder.file().display().to_string()), 0o600);
        before = next;
    }
    assert_eq!(names(&folder.path().join("hivemind-core")), ["clients.db"]);
    let wrong = folder.open_with(r#"{"password": "wrong"}"#);
    assert_eq!(rekey(&wrong, None).expect_err("wrong").code(), Code::Denied);
}

/// It came while the password was changed, and waits at the file that has gone: it must not write beside the new one.
#[test]
fn who_opened_the_old_file_before_the_swap_is_told_that_it_is_no_database() {
    let folder = Folder::new();
    let (store, id) = opened(&folder, None);
    insert(&store, id, client(1, "a"));
    store.close(&CX).expect("closes");
    let late = folder.other_program();
    let handle = folder.open_with("{}");
    handle.maintain(&CX, &Task::Rekey { password: Some(PASSWORD.to_owned()) }).expect("another password");
    let error = late.execute_batch("PRAGMA journal_mode = WAL; DELETE FROM clients").expect_err("gone");
    assert_eq!(error.sqlite_error_code(), Some(rusqlite::ErrorCode::NotADatabase), "{error}");
    assert_eq!(names(&folder.path().join("hivemind-core")), ["clients.db"]);
    let (again, id) = opened(&folder, Some(PASSWORD));
    assert_eq!(count(&again, id), 1);
}

#[test]
fn repair_mends_indexes_and_clears_away_what_crashes_left() {
    let folder = Folder::new();
    let (store, id) = opened(&folder, None);
    insert(&store, id, client(1, "a"));
    folder.other_program().execute_batch("DROP INDEX idx_clients_api_key").expect("dropped");
    let data = folder.path().join("hivemind-core");
    std::fs::write(data.join(".clients.db.0123456789abcdef.tmp"), "half").expect("written");
    std::fs::write(data.join(".clients.db.mine.tmp"), "mine").expect("written");
    let report = store.maintain(&CX, &Task::Repair).expect("repaired");
    assert_eq!(report.get("indexes_created"), Some(&Value::Int(1)), "{report:?}");
    assert_eq!(report.get("leftovers_removed"), Some(&Value::Int(1)), "{report:?}");
    assert!(data.join(".clients.db.mine.tmp").exists());
    assert_eq!(count(&store, id), 1);
}
