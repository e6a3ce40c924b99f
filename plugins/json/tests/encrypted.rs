//! Encrypted stores: nothing of them is ever on the disk in plain, and whoever has no or another password touches nothing.

mod common;

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use common::{Folder, client, clients, cx, name, notes, put, rename};
use hivemind_abi::Host;
use hivemind_abi::model::{Backend, Capability, Code, Collection, Key, Mutation, Query, Row, Task, Value};
use hivemind_json_plugin::backend::{JsonStore, open};

const PASSWORD: &str = "sixteen letters!";
const OTHER: &str = "sixteen others !";

fn with_password(folder: &Folder, password: &str) -> JsonStore {
    open(&format!(r#"{{"password": "{password}"}}"#), Host::detached(folder.data_dir())).expect("a handle")
}

fn note(body: &str) -> Row {
    Row::builder(&notes()).set("id", "1").and_then(|b| b.set("body", body)).expect("a note").build()
}

/// Every file of the store and of the folder of locks: what it holds, and its times.
fn everything(folder: &Folder) -> Vec<(String, Vec<u8>, i64, i64)> {
    let one = |path: &Path| {
        let found = fs::metadata(path).expect("there");
        (path.display().to_string(), fs::read(path).unwrap_or_default(), found.mtime_nsec(), found.ctime_nsec())
    };
    let mut all: Vec<_> = folder.names().iter().map(|name| one(&folder.file(name))).collect();
    all.push(one(&folder.path()));
    all
}

#[test]
fn a_store_with_a_password_is_encrypted_and_says_so() {
    let folder = Folder::new();
    let store = with_password(&folder, PASSWORD);
    let ids = store.prepare(&cx(), &[clients(), notes()]).expect("prepared");
    put(&store, ids[0], client(1, "key", "Küche 🐝"));
    store.apply(&cx(), &[Mutation::Insert { collection: ids[1], row: note("x") }]).expect("stored");
    let both = [rename(ids[0], 1, "kitchen-name"), Mutation::Put { collection: ids[1], row: note("body-of-a-note") }];
    store.apply(&cx(), &both).expect("both files");
    assert_eq!(folder.names(), ["clients.ejson", "clients.schema_version", "notes.ejson", "notes.schema_version"]);
    for file in ["clients.ejson", "notes.ejson"] {
        let text = folder.read(file);
        assert!(text.starts_with("{\n    \"ciphertext\": \"") && !text.contains("kitchen") && !text.contains("body"), "{text}");
        assert_eq!(fs::metadata(folder.file(file)).expect("there").mode() & 0o777, 0o600);
    }
    assert!(store.capabilities().has(Capability::Encryption));
    assert!(!folder.handle().capabilities().has(Capability::Encryption));
    let length = fs::metadata(folder.file("clients.ejson")).expect("there").len();
    let report = store.stats(&cx()).expect("facts");
    assert_eq!(report.get("encrypted"), Some(&Value::Bool(true)), "{report:?}");
    assert_eq!(report.get("file_bytes"), Some(&Value::Int(i64::try_from(length).expect("small"))), "{report:?}");
    assert_eq!(folder.handle().stats(&cx()).expect("facts").get("encrypted"), Some(&Value::Bool(false)));
    let again = with_password(&folder, PASSWORD);
    let ids = again.prepare(&cx(), &[clients(), notes()]).expect("prepared");
    assert_eq!(name(&again, ids[0], 1).as_deref(), Some("kitchen-name"));
    assert_eq!(again.get(&cx(), ids[1], Key::from("1").as_ref()), Ok(Some(note("body-of-a-note"))));
    let shown = format!("{again:?}");
    assert!(shown.contains("clients.ejson") && !shown.contains(PASSWORD), "{shown}");
    assert!(!shown.contains("kitchen-name") && !shown.contains("body-of-a-note"), "{shown}");
}

#[test]
fn handles_see_each_others_changes_and_a_broken_file_is_told() {
    let folder = Folder::new();
    let (a, b) = (with_password(&folder, PASSWORD), with_password(&folder, PASSWORD));
    let id = a.prepare(&cx(), &[clients()]).expect("prepared")[0];
    b.prepare(&cx(), &[clients()]).expect("prepared");
    for round in 0..20 {
        put(&a, id, client(1, "key", &format!("a{round}")));
        assert_eq!(name(&b, id, 1), Some(format!("a{round}")));
        b.apply(&cx(), &[rename(id, 1, &format!("b{round}"))]).expect("renamed");
        assert_eq!(name(&a, id, 1), Some(format!("b{round}")));
    }
    let good = folder.read("clients.ejson");
    folder.write("clients.ejson", &good.replace("\"tag\": \"", "\"tag\": \"00"));
    assert_eq!(a.get(&cx(), id, Key::Int(1).as_ref()).expect_err("broken").code(), Code::Corrupt);
    assert_eq!(a.apply(&cx(), &[rename(id, 1, "x")]).expect_err("broken").code(), Code::Corrupt);
    folder.write("clients.ejson", &good);
    assert_eq!(name(&a, id, 1).as_deref(), Some("b19"));
}

#[test]
fn a_wrong_password_or_a_changed_file_is_told_and_nothing_is_touched() {
    let folder = Folder::new();
    let store = with_password(&folder, PASSWORD);
    let id = store.prepare(&cx(), &[clients()]).expect("prepared")[0];
    put(&store, id, client(1, "key", "x"));
    drop(store);
    // As after a cut: a migration is due, and something is left over.
    folder.write("clients.schema_version", "1");
    folder.write(".clients.ejson.0123456789abcdef.tmp", "left");
    let sealed = folder.read("clients.ejson");
    let digit = sealed.find("ciphertext").expect("there") + 20;
    let flipped = if &sealed[digit..=digit] == "0" { "1" } else { "0" };
    let mut changed = sealed.clone();
    changed.replace_range(digit..=digit, flipped);
    for (content, password, code, said) in [
        (sealed.as_str(), OTHER, Code::Denied, "was written with another one"),
        (&changed, PASSWORD, Code::Denied, "changed since"),
        (&sealed[..sealed.len() / 2], PASSWORD, Code::Corrupt, "expected an encrypted store"),
        ("", PASSWORD, Code::Corrupt, "expected an encrypted store"),
        (r#"{"1": {"client_id": 1, "api_key": "a"}}"#, PASSWORD, Code::Corrupt, "looks like a store that is not encrypted"),
    ] {
        folder.write("clients.ejson", content);
        let before = everything(&folder);
        let error = with_password(&folder, password).prepare(&cx(), &[clients()]).expect_err(said);
        assert_eq!(error.code(), code, "{error}");
        for part in ["clients.ejson", said, "left as it is"] {
            assert!(error.message().contains(part), "{part} in {error}");
        }
        assert!(!format!("{error:?}").contains(password));
        assert_eq!(before, everything(&folder));
    }
    folder.write("clients.ejson", &sealed);
    let store = with_password(&folder, PASSWORD);
    let id = store.prepare(&cx(), &[clients()]).expect("the right one")[0];
    assert_eq!(name(&store, id, 1).as_deref(), Some("x"));
}

#[test]
fn a_store_in_the_other_form_is_not_taken_for_an_empty_one() {
    let plain = Folder::new();
    let (store, id) = plain.open();
    put(&store, id, client(1, "key", "x"));
    drop(store);
    let sealed = Folder::new();
    let store = with_password(&sealed, PASSWORD);
    let id = store.prepare(&cx(), &[clients()]).expect("prepared")[0];
    put(&store, id, client(1, "key", "x"));
    drop(store);
    for (folder, handle, parts) in [
        (&plain, with_password(&plain, PASSWORD), ["clients.json, which is not encrypted", "take the password out"]),
        (&sealed, sealed.handle(), ["clients.ejson, which is encrypted", "set `password`"]),
    ] {
        let before = everything(folder);
        let error = handle.prepare(&cx(), &[clients()]).expect_err("the other form");
        assert_eq!(error.code(), Code::Invalid);
        assert!(parts.iter().all(|part| error.message().contains(part)), "{error}");
        assert_eq!(before, everything(folder));
    }
    // Each form has its own file when both are there.
    fs::copy(plain.file("clients.json"), sealed.file("clients.json")).expect("copied");
    let (store, id) = sealed.open();
    store.apply(&cx(), &[rename(id, 1, "plain")]).expect("renamed");
    let report = store.maintain(&cx(), &Task::Verify).expect("a report");
    assert!(report.problems.iter().any(|p| p.message.contains("clients.ejson")), "{report:?}");
    let store = with_password(&sealed, PASSWORD);
    let id = store.prepare(&cx(), &[clients()]).expect("prepared")[0];
    assert_eq!(name(&store, id, 1).as_deref(), Some("x"));
}

#[test]
fn a_password_of_another_length_is_refused_and_nothing_is_touched() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = r#"{"password": "hunter2"}"#;
    let error = open(config, Host::detached(folder.path())).map(drop).expect_err("no key");
    assert_eq!(error.code(), Code::Invalid);
    assert!(error.message().contains("expected 16 characters") && error.message().contains("found 7"), "{error}");
    assert!(!format!("{error:?}").contains("hunter2"));
    assert_eq!(fs::read_dir(folder.path()).expect("a list").count(), 0);
}

#[test]
fn an_old_store_is_migrated_and_stays_encrypted() {
    let folder = Folder::new();
    let store = with_password(&folder, PASSWORD);
    let old = Collection { version: 1, ..clients() };
    let id = store.prepare(&cx(), &[old]).expect("prepared")[0];
    put(&store, id, client(1, "key", "planted-name"));
    drop(store);
    assert_eq!(folder.read("clients.schema_version"), "1");
    let store = with_password(&folder, PASSWORD);
    let id = store.prepare(&cx(), &[clients()]).expect("prepared")[0];
    assert_eq!(store.count(&cx(), &Query::all(id)), Ok(1));
    assert_eq!(folder.read("clients.schema_version"), "2");
    assert!(!folder.read("clients.ejson").contains("planted"));
}
