//! Backups of a store in use, and the way back into it.

mod common;

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use common::*;
use hivemind_abi::Host;
use hivemind_abi::model::{Backend, Changes, Code, CollectionId, Key, Mutation, Query, Report, Result, Row, Task, Token, Value};
use hivemind_json_plugin::backend::{JsonStore, open};

const PASSWORD: &str = "sixteen letters!";

fn opened(folder: &Folder, password: Option<&str>) -> (JsonStore, Vec<CollectionId>) {
    let store = handle(folder, password);
    let ids = store.prepare(&cx(), &[clients(), notes()]).expect("prepared");
    (store, ids)
}

fn handle(folder: &Folder, password: Option<&str>) -> JsonStore {
    let settings = password.map_or_else(|| "{}".to_owned(), |password| format!("{{\"password\": \"{password}\"}}"));
    open(&settings, Host::detached(folder.data_dir())).expect("a handle")
}

fn backup(store: &JsonStore, to: &Path) -> Result<Report> {
    store.maintain(&cx(), &Task::Backup { to: to.display().to_string() })
}

fn restore(store: &JsonStore, from: &Path, keep: Option<&Path>) -> Result<Report> {
    let keep = keep.map(|keep| keep.display().to_string());
    store.maintain(&cx(), &Task::Restore { from: from.display().to_string(), keep })
}

fn verify(store: &JsonStore, from: &Path) -> Result<Report> {
    store.maintain(&cx(), &Task::VerifyBackup { from: from.display().to_string(), collections: vec![clients(), notes()] })
}

fn note(id: CollectionId, name: &str, body: &str) -> Mutation {
    let collection = notes();
    let row = Row::builder(&collection).set("id", name).and_then(|row| row.set("body", body)).expect("a note").build();
    Mutation::Put { collection: id, row }
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).expect("a file").permissions().mode() & 0o7777
}

#[test]
fn what_was_backed_up_comes_back_and_every_open_handle_sees_it() {
    for password in [None, Some(PASSWORD)] {
        let folder = Folder::new();
        let (store, ids) = opened(&folder, password);
        let (other, other_ids) = opened(&folder, password);
        for n in 1..=50 {
            put(&store, ids[0], client(n, &format!("k{n}"), "before"));
        }
        store.apply(&cx(), &[note(ids[1], "n", "before")]).expect("written");
        let file = folder.data_dir().join("a.backup");
        backup(&store, &file).expect("a backup");
        assert_eq!(mode(&file), 0o600);
        if password.is_some() {
            let bytes = std::fs::read(&file).expect("read");
            assert!(!bytes.windows(6).any(|w| w == b"before"), "what is encrypted stays so");
        }
        store.apply(&cx(), &[rename(ids[0], 1, "later"), note(ids[1], "n", "later"), note(ids[1], "m", "new")]).expect("written");
        store.apply(&cx(), &[Mutation::Delete { collection: ids[0], key: Key::Int(2), when: Vec::new() }]).expect("deleted");
        put(&other, other_ids[0], client(60, "k60", "new"));
        let (token, _) = other.changes_since(&cx(), other_ids[0], Token::default()).expect("a token");
        let kept = folder.data_dir().join("kept.backup");
        let report = restore(&store, &file, Some(&kept)).expect("restored");
        assert_eq!((report.get("records"), mode(&kept)), (Some(&Value::Int(51)), 0o600));
        for (store, ids) in [(&store, &ids), (&other, &other_ids)] {
            assert_eq!((count(store, ids[0]), count(store, ids[1])), (50, 1));
            assert_eq!(name(store, ids[0], 1).as_deref(), Some("before"));
            assert!(name(store, ids[0], 2).is_some() && name(store, ids[0], 60).is_none());
        }
        assert!(!matches!(other.changes_since(&cx(), other_ids[0], token), Ok((_, Changes::Nothing))));
        put(&other, other_ids[0], client(51, "k51", "after it"));
        restore(&other, &kept, None).expect("restored");
        assert_eq!((count(&store, ids[0]), count(&store, ids[1])), (50, 2));
        assert_eq!(name(&store, ids[0], 1).as_deref(), Some("later"));
        assert!(store.maintain(&cx(), &Task::Verify).expect("verified").problems.is_empty());
        assert!(folder.names().iter().all(|name| !name.ends_with(".tmp") && !name.contains("journal")), "{:?}", folder.names());
    }
}

#[test]
fn a_backup_is_an_archive_that_any_system_takes_apart_and_checks() {
    let folder = Folder::new();
    let (store, ids) = opened(&folder, None);
    put(&store, ids[0], client(1, "a", "x"));
    let file = folder.data_dir().join("a.backup");
    backup(&store, &file).expect("a backup");
    let out = folder.data_dir().join("out");
    std::fs::create_dir(&out).expect("a folder");
    let shell = |command: &str| {
        let ended = std::process::Command::new("sh").arg("-ec").arg(command).current_dir(&out).output().expect("a shell");
        assert!(ended.status.success(), "{command}: {ended:?}");
    };
    shell("tar xf ../a.backup && sha256sum --check --strict SHA256SUMS");
    assert_eq!(std::fs::read_to_string(out.join("clients.json")).expect("read"), folder.read("clients.json"));
    assert_eq!(std::fs::read_to_string(out.join("clients.schema_version")).expect("read"), "2");
    assert_eq!(mode(&out.join("clients.json")), 0o600);
}

#[test]
fn nothing_is_written_over_and_another_form_is_refused() {
    let folder = Folder::new();
    let (store, ids) = opened(&folder, None);
    put(&store, ids[0], client(1, "a", "x"));
    let (mine, file) = (folder.data_dir().join("mine"), folder.data_dir().join("a.backup"));
    std::fs::write(&mine, "mine").expect("written");
    assert_eq!(backup(&store, &mine).expect_err("there is one").code(), Code::Conflict);
    backup(&store, &file).expect("a backup");
    assert_eq!(restore(&store, &file, Some(&mine)).expect_err("there is one").code(), Code::Conflict);
    assert_eq!(std::fs::read(&mine).expect("read"), b"mine");
    let error = backup(&store, &folder.data_dir().join("no/such/folder")).expect_err("no folder");
    assert!(error.message().contains("no/such/folder"), "{error}");
    assert_eq!(restore(&store, &mine, None).expect_err("no backup").code(), Code::Corrupt);
    let other = Folder::new();
    let (secret, _) = opened(&other, Some(PASSWORD));
    assert_eq!(restore(&secret, &file, None).expect_err("plain").code(), Code::Denied);
    let secret_file = other.data_dir().join("secret.backup");
    put(&secret, ids[0], client(1, "b", "y"));
    backup(&secret, &secret_file).expect("a backup");
    assert_eq!(restore(&store, &secret_file, None).expect_err("encrypted").code(), Code::Denied);
    let third = Folder::new();
    let (third, third_ids) = opened(&third, Some("another 16 chars"));
    put(&third, third_ids[0], client(1, "c", "z"));
    let error = restore(&third, &secret_file, None).expect_err("another password");
    assert!(error.code() == Code::Denied && error.message().contains("secret.backup"), "{error}");
    assert_eq!((count(&store, ids[0]), count(&third, third_ids[0])), (1, 1));
}

#[test]
fn a_collection_that_nobody_prepared_is_in_it_and_one_that_it_lacks_is_emptied() {
    let folder = Folder::new();
    let (store, ids) = opened(&folder, None);
    put(&store, ids[0], client(1, "a", "x"));
    let without = folder.data_dir().join("without.backup");
    {
        let alone = Folder::new();
        let (store, id) = alone.open();
        put(&store, id, client(5, "e", "alone"));
        backup(&store, &without).expect("a backup");
    }
    store.apply(&cx(), &[note(ids[1], "n", "body")]).expect("written");
    // A handle of a program that knows the clients alone.
    let (plain, plain_id) = folder.open();
    let with = folder.data_dir().join("with.backup");
    backup(&plain, &with).expect("a backup");
    restore(&plain, &without, None).expect("restored");
    assert_eq!((count(&store, ids[0]), count(&store, ids[1]), count(&plain, plain_id)), (1, 0, 1));
    assert_eq!(name(&store, ids[0], 5).as_deref(), Some("alone"));
    restore(&plain, &with, None).expect("restored");
    assert_eq!((count(&store, ids[0]), count(&store, ids[1])), (1, 1));
}

#[test]
fn an_older_form_is_brought_up_a_newer_one_refused_and_a_damaged_store_replaced() {
    let folder = Folder::new();
    let (store, ids) = opened(&folder, None);
    put(&store, ids[0], client(1, "a", "x"));
    let archived = |name: &str, version: &str, content: &str| {
        let parts = folder.data_dir().join("parts");
        std::fs::create_dir_all(&parts).expect("a folder");
        std::fs::write(parts.join("clients.json"), content).expect("written");
        std::fs::write(parts.join("clients.schema_version"), version).expect("written");
        let command = format!(
            "cd parts && sha256sum clients.json clients.schema_version > SHA256SUMS && \
             tar cf ../{name} clients.json clients.schema_version SHA256SUMS"
        );
        let done = std::process::Command::new("sh").arg("-ec").arg(command).current_dir(folder.data_dir()).status();
        assert!(done.expect("a shell").success());
        folder.data_dir().join(name)
    };
    let newer = archived("newer.backup", "3", "{}");
    assert_eq!(restore(&store, &newer, None).expect_err("newer").code(), Code::TooNew);
    let old = r#"{"7": {"client_id": 7, "api_key": "old", "skill_blacklist": ["s"], "crypto_key": "c"}, "8": 5}"#;
    let old = archived("old.backup", "1", old);
    let found = verify(&store, &old).expect("read").problems;
    assert_eq!(found.len(), 1, "{found:?}");
    folder.write("clients.json", "{ damaged");
    assert!(store.get(&cx(), ids[0], Key::Int(1).as_ref()).is_err());
    restore(&store, &old, None).expect("restored");
    let row = shown(&store, ids[0], 7).expect("a client");
    assert!(row.contains("\"skill_blacklist\"") && row.contains("crypto_key"), "{row}");
    assert!(store.get(&cx(), ids[0], Key::Int(8).as_ref()).is_err_and(|e| e.code() == Code::Corrupt), "it came as it was");
    assert_eq!(folder.read("clients.schema_version"), "2");
}

#[test]
fn backups_under_writers_hold_whole_batches() {
    let folder = Folder::new();
    let (store, ids) = opened(&folder, None);
    for n in 1..=4 {
        put(&store, ids[0], client(n, &format!("k{n}"), "0"));
    }
    store.apply(&cx(), &(1..=4).map(|n| note(ids[1], &n.to_string(), "0")).collect::<Vec<_>>()).expect("written");
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for thread in 1..=4 {
            let (store, stop, ids) = (&store, &stop, &ids);
            scope.spawn(move || {
                for round in 1.. {
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                    let value = round.to_string();
                    let batch = [rename(ids[0], thread, &value), note(ids[1], &thread.to_string(), &value)];
                    store.apply(&cx(), &batch).expect("written");
                }
            });
        }
        for n in 0..10 {
            backup(&store, &folder.data_dir().join(format!("{n}.backup"))).expect("a backup");
        }
        stop.store(true, Ordering::Relaxed);
    });
    let target = Folder::new();
    let (restored, ids) = opened(&target, None);
    for n in 0..10 {
        restore(&restored, &folder.data_dir().join(format!("{n}.backup")), None).expect("restored");
        for thread in 1..=4_i64 {
            let body = restored.get(&cx(), ids[1], Key::Text(thread.to_string()).as_ref()).expect("a look-up").expect("a note");
            let body = body.view(&notes()).expect("a view").at(1).as_str().map(str::to_owned);
            assert_eq!(name(&restored, ids[0], thread), body, "both files are of one moment");
        }
    }
}

#[test]
fn another_password_a_first_one_and_none() {
    let folder = Folder::new();
    let (store, ids) = opened(&folder, None);
    for n in 1..=10 {
        put(&store, ids[0], client(n, &format!("k{n}"), "ü"));
    }
    store.apply(&cx(), &[note(ids[1], "n", "body")]).expect("written");
    store.close(&cx()).expect("closed");
    let mut before: Option<&str> = None;
    for next in [Some(PASSWORD), Some("another 16 chars"), None] {
        let store = handle(&folder, before);
        let task = |password: &str| Task::Rekey { password: Some(password.to_owned()) };
        assert_eq!(store.maintain(&cx(), &task("too short")).expect_err("no key").code(), Code::Invalid);
        store.maintain(&cx(), &Task::Rekey { password: next.map(str::to_owned) }).expect("another password");
        assert_eq!(store.maintain(&cx(), &Task::Verify).expect_err("closed").code(), Code::Unavailable);
        let (again, ids) = opened(&folder, next);
        assert_eq!((count(&again, ids[0]), count(&again, ids[1])), (10, 1));
        assert_eq!(name(&again, ids[0], 1).as_deref(), Some("ü"));
        again.apply(&cx(), &[rename(ids[0], 1, "ü")]).expect("written");
        let extension = if next.is_some() { "ejson" } else { "json" };
        let files = folder.names().into_iter().filter(|name| name.ends_with("json")).collect::<Vec<_>>();
        assert_eq!(files, [format!("clients.{extension}"), format!("notes.{extension}")]);
        assert!(files.iter().all(|name| mode(&folder.file(name)) == 0o600));
        assert!(handle(&folder, before).prepare(&cx(), &[clients()]).is_err());
        before = next;
    }
    folder.write("clients.ejson", "{}");
    let error = handle(&folder, None).maintain(&cx(), &Task::Rekey { password: Some(PASSWORD.to_owned()) });
    assert_eq!(error.expect_err("in the way").code(), Code::Conflict);
    assert_eq!(folder.read("clients.ejson"), "{}");
}

#[test]
fn repair_finishes_a_journal_and_clears_away_what_crashes_left() {
    let folder = Folder::new();
    let (store, ids) = opened(&folder, None);
    put(&store, ids[0], client(1, "a", "x"));
    folder.write(".clients.json.0123456789abcdef.tmp", "half");
    folder.write("clients.journal", "hivemind-journal 1 5 torn");
    let report = store.maintain(&cx(), &Task::Repair).expect("repaired");
    assert_eq!(
        (report.get("journal_finished"), report.get("leftovers_removed")),
        (Some(&Value::Bool(true)), Some(&Value::Int(1)))
    );
    assert!(!folder.names().iter().any(|name| name.ends_with(".tmp") || name.ends_with(".journal")), "{:?}", folder.names());
    assert_eq!(store.count(&cx(), &Query::all(ids[0])).expect("a count"), 1);
}
