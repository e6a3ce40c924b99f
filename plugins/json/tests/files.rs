//! The files: Python's layout and places, links and modes kept, and one that is broken or gone never taken for empty.

mod common;

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

use common::{Folder, client, clients, count, cx, member, name, notes, put, rename};
use hivemind_abi::Host;
use hivemind_abi::model::{Backend, Change, Code, Collection, Key, Kind, Mutation, Query, Row, Task, Value};
use hivemind_json_plugin::backend::open;

fn unchanged(folder: &Folder, content: &str) {
    assert_eq!(folder.read("clients.json"), content);
}

#[test]
fn a_new_store_has_pythons_layout_byte_for_byte() {
    let folder = Folder::new();
    let (store, id) = folder.open();
    assert_eq!(
        (folder.names(), folder.read("clients.schema_version")),
        (vec!["clients.schema_version".to_owned()], "2".to_owned())
    );
    let row = client(1, "key", "Küche 🐝\u{7f}\n\"");
    put(&store, id, row);
    let list = Change::ListAdd { field: 6, item: "speak".into() };
    let meta = Change::JsonSet { field: 11, name: "raum".to_owned(), json: "{\"a\":[1.50,null]}".to_owned() };
    store
        .apply(&cx(), &[Mutation::Update { collection: id, key: Key::Int(1), changes: vec![list, meta], when: vec![] }])
        .expect("ok");
    put(&store, id, client(12, "other", ""));
    let expected = r#"{
    "1": {
        "client_id": 1,
        "api_key": "key",
        "name": "Küche 🐝\n\"",
        "description": "",
        "is_admin": false,
        "last_seen": -1.0,
        "allowed_types": [
            "speak"
        ],
        "password": null,
        "can_broadcast": true,
        "can_escalate": true,
        "can_propagate": true,
        "metadata": {
            "raum": {
                "a": [
                    1.50,
                    null
                ]
            }
        }
    },
    "12": {
        "client_id": 12,
        "api_key": "other",
        "name": "",
        "description": "",
        "is_admin": false,
        "last_seen": -1.0,
        "allowed_types": [],
        "password": null,
        "can_broadcast": true,
        "can_escalate": true,
        "can_propagate": true,
        "metadata": {}
    }
}"#;
    assert_eq!(folder.read("clients.json"), expected.replace("🐝\\n", "🐝\u{7f}\\n"));
    let mode = |name| fs::metadata(folder.file(name)).expect(name).mode() & 0o777;
    assert_eq!((mode("clients.json"), mode("clients.schema_version")), (0o600, 0o600));
    store.apply(&cx(), &[Mutation::DeleteWhere { query: Query::all(id) }]).expect("emptied");
    unchanged(&folder, "{}");
}

#[test]
fn new_folders_are_the_owners_alone() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = open(r#"{"subfolder": "a/b", "name": "c/clients"}"#, Host::detached(folder.path())).expect("a handle");
    store.prepare(&cx(), &[clients()]).expect("prepared");
    for made in ["a", "a/b", "a/b/c"] {
        assert_eq!(fs::metadata(folder.path().join(made)).expect(made).mode() & 0o777, 0o700, "{made}");
    }
    assert_eq!(fs::read_to_string(folder.path().join("a/b/c/c/clients.schema_version")).expect("Python's odd place"), "2");
}

#[test]
fn a_file_that_cannot_be_read_is_reported_and_never_overwritten() {
    for content in ["", "{", "[]", "null", "\u{feff}{}", "{\"1\": {\"client_id\": 1},}"] {
        let folder = Folder::new();
        folder.write("clients.json", content);
        folder.write("clients.schema_version", "1");
        let error = folder.handle().prepare(&cx(), &[clients()]).expect_err(content);
        assert_eq!(error.code(), Code::Corrupt);
        assert!(error.message().contains("clients.json") && error.message().contains("line 1"), "{error}");
        assert_eq!((folder.read("clients.json").as_str(), folder.read("clients.schema_version").as_str()), (content, "1"));
    }
    let folder = Folder::new();
    let (store, id) = folder.open();
    put(&store, id, client(1, "a", "x"));
    let good = folder.read("clients.json");
    folder.write("clients.json", "{\n  \"1\": oops}");
    for _ in 0..2 {
        let error = store.get(&cx(), id, Key::Int(1).as_ref()).expect_err("broken");
        assert!(error.code() == Code::Corrupt && error.message().contains("line 2 column 8"), "{error}");
        assert_eq!(store.apply(&cx(), &[rename(id, 1, "y")]).expect_err("broken").code(), Code::Corrupt);
        std::thread::sleep(std::time::Duration::from_millis(30));
    }
    unchanged(&folder, "{\n  \"1\": oops}");
    assert_eq!(store.maintain(&cx(), &Task::Verify).expect("a report").problems.len(), 1);
    folder.write("clients.json", &good);
    assert_eq!(name(&store, id, 1).as_deref(), Some("x"));
}

#[test]
fn a_link_and_the_mode_of_its_file_are_kept() {
    let folder = Folder::new();
    let real = folder.data_dir().join("real.json");
    fs::write(&real, "{}").expect("written");
    fs::set_permissions(&real, fs::Permissions::from_mode(0o640)).expect("a mode");
    std::os::unix::fs::symlink(&real, folder.file("clients.json")).expect("a link");
    let (store, id) = folder.open();
    put(&store, id, client(1, "a", ""));
    assert!(fs::symlink_metadata(folder.file("clients.json")).expect("there").is_symlink());
    assert_eq!(fs::metadata(&real).expect("there").mode() & 0o777, 0o640);
    assert!(member(&fs::read_to_string(&real).expect("read"), &["1"]).is_some());
    let direct = open(r#"{"name": "real", "subfolder": ""}"#, Host::detached(folder.data_dir())).expect("a handle");
    assert_eq!(direct.resources()[0].id, folder.handle().resources()[0].id, "one store, whatever the way to it");
}

#[test]
fn a_batch_that_changes_nothing_writes_nothing() {
    let folder = Folder::new();
    let (store, id) = folder.open();
    put(&store, id, client(1, "a", "x"));
    let before = fs::metadata(folder.file("clients.json")).expect("there");
    let token = store.changes_since(&cx(), id, Default::default()).expect("a token").0;
    let same = Mutation::Put { collection: id, row: client(1, "a", "x") };
    let back = [rename(id, 1, "y"), rename(id, 1, "x"), same];
    assert_eq!(store.apply(&cx(), &back).expect("applied").token, token);
    let after = fs::metadata(folder.file("clients.json")).expect("there");
    assert_eq!((before.ino(), before.ctime_nsec()), (after.ino(), after.ctime_nsec()));
}

#[test]
fn a_failed_write_changes_nothing_and_the_next_one_works() {
    let folder = Folder::new();
    let (store, id) = folder.open();
    put(&store, id, client(1, "a", "x"));
    // A folder in place of the file cannot be replaced by one.
    let aside = folder.file("aside");
    fs::rename(folder.file("clients.json"), &aside).expect("moved");
    fs::create_dir(folder.file("clients.json")).expect("a folder");
    let error = store.apply(&cx(), &[rename(id, 1, "y")]).expect_err("a folder");
    assert!(error.code() == Code::Io && error.message().contains("clients.json"), "{error}");
    fs::remove_dir(folder.file("clients.json")).expect("removed");
    fs::rename(&aside, folder.file("clients.json")).expect("back");
    assert_eq!(name(&store, id, 1).as_deref(), Some("x"));
    store.apply(&cx(), &[rename(id, 1, "y")]).expect("works again");
    assert_eq!(name(&store, id, 1).as_deref(), Some("y"));
    assert_eq!(folder.names(), ["clients.json", "clients.schema_version"]);
}

#[test]
fn a_folder_that_is_gone_is_not_an_empty_store() {
    let folder = Folder::new();
    let (store, id) = folder.open();
    put(&store, id, client(1, "a", "x"));
    let aside = folder.data_dir().join("unmounted");
    fs::rename(folder.path(), &aside).expect("moved");
    assert_eq!(store.get(&cx(), id, Key::Int(1).as_ref()).expect_err("gone").code(), Code::Unavailable);
    assert_eq!(store.apply(&cx(), &[rename(id, 1, "y")]).expect_err("gone").code(), Code::Unavailable);
    fs::rename(&aside, folder.path()).expect("back");
    assert_eq!(name(&store, id, 1).as_deref(), Some("x"));
}

#[test]
fn a_file_that_is_moved_away_from_an_open_store_is_not_an_empty_one() {
    let folder = Folder::new();
    let (store, id) = folder.open();
    assert_eq!(count(&store, id), 0, "before there is a file there are no records");
    put(&store, id, client(1, "a", "x"));
    let (reader, _) = folder.open();
    let aside = folder.file("aside");
    fs::rename(folder.file("clients.json"), &aside).expect("moved");
    for store in [&store, &reader] {
        let error = store.get(&cx(), id, Key::Int(1).as_ref()).expect_err("gone");
        assert!(error.message().contains("clients.json was moved away"), "{error}");
        assert_eq!((error.code(), error.retryable()), (Code::Unavailable, false));
        let row = client(2, "b", "");
        let error = store.apply(&cx(), &[Mutation::Insert { collection: id, row }]).expect_err("gone");
        assert_eq!(error.code(), Code::Unavailable);
        assert_eq!(store.sync(&cx()).expect_err("gone").code(), Code::Unavailable);
        let token = Default::default();
        assert_eq!(store.changes_since(&cx(), id, token).expect_err("gone").code(), Code::Unavailable);
    }
    assert!(!folder.file("clients.json").exists());
    assert_eq!(count(&folder.open().0, id), 0, "a new start begins without it");
    fs::rename(&aside, folder.file("clients.json")).expect("back");
    assert_eq!((name(&store, id, 1).as_deref(), name(&reader, id, 1).as_deref()), (Some("x"), Some("x")));
}

#[test]
fn it_tells_what_it_is_and_what_a_write_is_worth() {
    let folder = Folder::new();
    let (store, id) = folder.open();
    put(&store, id, client(1, "a", "x"));
    let facts = store.stats(&cx()).expect("facts");
    assert_eq!(
        (facts.get("engine"), facts.get("schema_version"), facts.get("records")),
        (Some(&"json".into()), Some(&2.into()), Some(&1.into()))
    );
    assert_eq!(facts.get("location"), Some(&Value::from(folder.file("clients.json").display().to_string())));
    assert_eq!(facts.get("file_bytes"), Some(&Value::from(folder.read("clients.json").len() as i64)));
    assert!(matches!(facts.get("acknowledged_write"), Some(Value::Text(text)) if text.contains("synced")));
    for task in [Task::Vacuum, Task::Checkpoint] {
        assert_eq!(store.maintain(&cx(), &task).expect_err("unsupported").code(), Code::Unsupported);
    }
    folder.write("clients.schema_version", "two");
    let twice = folder.read("clients.json").replacen('{', r#"{"2": {"client_id": 2, "api_key": "a"},"#, 1);
    folder.write("clients.json", &twice);
    let report = store.maintain(&cx(), &Task::Verify).expect("a report");
    assert!(report.problems.iter().any(|p| p.message.contains("holds no number")), "{report:?}");
    assert!(report.problems.iter().any(|p| p.key == Some(Key::Int(2)) && p.message.contains("api_key")), "{report:?}");
    store.close(&cx()).expect("closed");
    assert_eq!(store.get(&cx(), id, Key::Int(1).as_ref()).expect_err("closed").code(), Code::Unavailable);
    assert_eq!(store.apply(&cx(), &[]).expect_err("closed").code(), Code::Unavailable);
    assert_eq!(store.stats(&cx()).expect_err("closed").code(), Code::Unavailable);
}

#[test]
fn other_collections_lie_beside_in_files_of_their_own() {
    let folder = Folder::new();
    let store = folder.handle();
    let ids = store.prepare(&cx(), &[clients(), notes()]).expect("prepared");
    let note = Row::builder(&notes()).set("id", "a \"b\"/\u{2028}").and_then(|b| b.set("body", "x")).expect("a note").build();
    store.apply(&cx(), &[Mutation::Insert { collection: ids[1], row: note.clone() }]).expect("stored");
    assert_eq!(folder.names(), ["clients.schema_version", "notes.json", "notes.schema_version"]);
    assert_eq!(
        folder.read("notes.json"),
        "{\n    \"a \\\"b\\\"/\\u2028\": {\n        \"id\": \"a \\\"b\\\"/\\u2028\",\n        \"body\": \"x\"\n    }\n}"
    );
    assert_eq!(store.prepare(&cx(), &[notes(), clients()]).expect("again"), [ids[1], ids[0]]);
    let other = folder.handle();
    let ids = other.prepare(&cx(), &[notes()]).expect("prepared");
    assert_eq!(other.get(&cx(), ids[0], Key::from("a \"b\"/\u{2028}").as_ref()), Ok(Some(note)));
    let named = open(r#"{"name": "notes"}"#, Host::detached(folder.data_dir())).expect("a handle");
    assert_eq!(named.prepare(&cx(), &[notes()]).expect_err("the same file").code(), Code::Invalid);
}

#[test]
fn a_collection_whose_file_cannot_be_loaded_is_not_prepared_and_can_be_later() {
    let folder = Folder::new();
    folder.write("notes.json", "{");
    let (store, id) = folder.open();
    put(&store, id, client(1, "a", "x"));
    let agents = Collection::new("agents", 1, "id", Kind::Text);
    let both = [agents.clone(), notes()];
    assert_eq!(store.prepare(&cx(), &both).expect_err("corrupt").code(), Code::Corrupt);
    assert_eq!(store.prepare(&cx(), &both).expect_err("still corrupt").code(), Code::Corrupt);
    store.sync(&cx()).expect("what is prepared works");
    // Another description of the name that failed is no contradiction, and takes the id that was never given.
    folder.write("notes.json", "{\"5\": {\"id\": 5}}");
    let numbered = Collection::new("notes", 1, "id", Kind::Int);
    let ids = store.prepare(&cx(), &[numbered, agents]).expect("prepared");
    assert_eq!((count(&store, ids[0]), count(&store, ids[1]), count(&store, id)), (1, 0, 1));
    let clashing = clients().field("more", Kind::Text);
    assert_eq!(store.prepare(&cx(), &[clashing]).expect_err("another description").code(), Code::Invalid);
}
