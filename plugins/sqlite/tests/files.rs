//! The file itself: how it is created, and what happens to one that we do not understand.

mod common;

use common::*;
use hivemind_abi::Host;
use hivemind_abi::model::{Backend, Capability, Code, Collection, Key, KeyRef, Kind, Mutation, Query, Task, ValueRef};
use hivemind_sqlite_plugin::backend::open;

#[cfg(unix)]
fn mode(path: &std::path::Path) -> u32 {
    std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(path).expect("a file").permissions()) & 0o7777
}

#[cfg(unix)]
#[test]
fn a_new_file_and_its_companions_are_private_and_an_existing_mode_stays() {
    use std::os::unix::fs::PermissionsExt;

    let folder = Folder::new();
    let (store, id) = folder.clients();
    insert(&store, id, client(1, "a"));
    let file = folder.file();
    let log = file.with_extension("db-wal");
    assert_eq!(mode(file.parent().expect("a folder")), 0o700);
    assert_eq!((mode(&file), mode(&log), mode(&file.with_extension("db-shm"))), (0o600, 0o600, 0o600));
    store.close(&CX).expect("closes");
    assert!(!log.exists(), "the log is moved into the file when nobody else has it open");

    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o640)).expect("a mode");
    let (store, _) = folder.clients();
    assert_eq!((mode(&file), mode(&log)), (0o640, 0o640));
    drop(store);
}

#[cfg(unix)]
#[test]
fn a_link_to_a_file_that_is_not_there_yet_is_followed_with_a_private_mode() {
    let folder = Folder::new();
    let target = folder.path().join("elsewhere.db");
    std::fs::create_dir(folder.path().join("hivemind-core")).expect("a folder");
    std::os::unix::fs::symlink(&target, folder.file()).expect("a link");
    let (store, id) = folder.clients();
    insert(&store, id, client(1, "a"));
    assert_eq!(mode(&target), 0o600);
}

#[test]
fn the_table_is_the_one_the_python_node_makes() {
    let folder = Folder::new();
    drop(folder.clients());
    let other = Folder::new();
    other.written(PYTHON_TABLE);
    let columns = |folder: &Folder| -> Vec<(String, bool, Option<String>, i64)> {
        let connection = folder.other_program();
        let mut statement =
            connection.prepare("SELECT name, type, dflt_value, pk FROM pragma_table_info('clients')").expect("SQL");
        let row = |row: &rusqlite::Row<'_>| {
            let is_text = matches!(row.get::<_, String>(1)?.as_str(), "TEXT" | "VARCHAR(255)");
            let default: Option<String> = row.get(2)?;
            Ok((row.get(0)?, is_text, default.filter(|d| d != "''"), row.get(3)?))
        };
        statement.query_map([], row).expect("rows").collect::<Result<_, _>>().expect("columns")
    };
    assert_eq!(columns(&folder), columns(&other));
    let connection = folder.other_program();
    let version: i64 = connection.query_row("PRAGMA user_version", [], |r| r.get(0)).expect("a version");
    let index: String = connection
        .query_row("SELECT sql FROM sqlite_master WHERE name = 'idx_clients_api_key'", [], |r| r.get(0))
        .expect("the index");
    assert_eq!((version, index.contains("UNIQUE")), (2, false));
}

/// Everything in the folder, to compare.
fn contents(folder: &Folder) -> Vec<(std::ffi::OsString, Vec<u8>)> {
    let entries = std::fs::read_dir(folder.file().parent().expect("a folder")).expect("a folder");
    let mut found: Vec<_> = entries
        .map(|entry| entry.expect("an entry"))
        .map(|entry| (entry.file_name(), std::fs::read(entry.path()).expect("a file")))
        .collect();
    found.sort();
    found
}

#[test]
fn a_newer_schema_is_refused_and_not_a_byte_changes() {
    for mode in ["DELETE", "WAL"] {
        let folder = Folder::new();
        folder
            .written(&format!("PRAGMA journal_mode = {mode}; CREATE TABLE clients (client_id INTEGER); PRAGMA user_version = 3"));
        let before = contents(&folder);
        let store = folder.open_with("{}");
        let error = store.prepare(&CX, &[clients()]).expect_err("too new");
        assert_eq!(error.code(), Code::TooNew, "{error}");
        assert!(error.message().contains("clients.db") && error.message().contains('3'), "{error}");
        store.close(&CX).expect("closes");
        drop(store);
        assert!(contents(&folder) == before, "{mode}");
    }
}

#[test]
fn a_newer_schema_that_is_still_in_the_log_is_refused() {
    let folder = Folder::new();
    folder.written("PRAGMA journal_mode = WAL; CREATE TABLE clients (client_id INTEGER); PRAGMA user_version = 2");
    let other = folder.other_program();
    other.execute_batch("PRAGMA user_version = 3").expect("SQL");
    let (file, log) = (folder.file(), folder.file().with_extension("db-wal"));
    let read = || (std::fs::read(&file).expect("the file"), std::fs::read(&log).expect("the log"));
    let before = read();
    let store = folder.open_with("{}");
    assert_eq!(store.prepare(&CX, &[clients()]).expect_err("too new").code(), Code::TooNew);
    drop(store);
    assert!(read() == before);
}

#[test]
fn a_newer_version_of_another_collection_is_refused_and_the_rest_still_works() {
    let folder = Folder::new();
    let tasks = |version| Collection::new("tasks", version, "id", Kind::Text).field("state", Kind::Text);
    let (store, id) = folder.clients();
    store.prepare(&CX, &[tasks(4)]).expect("prepares");
    store.close(&CX).expect("closes");

    let before = contents(&folder);
    let store = folder.open_with("{}");
    assert_eq!(store.prepare(&CX, &[clients(), tasks(3)]).expect_err("too new").code(), Code::TooNew);
    drop(store);
    assert!(contents(&folder) == before);

    let (store, _) = folder.clients();
    assert_eq!(store.prepare(&CX, &[tasks(3)]).expect_err("too new").code(), Code::TooNew);
    insert(&store, id, client(1, "a"));
    store.prepare(&CX, &[tasks(4)]).expect("the right version");
}

#[test]
fn a_file_that_is_no_database_is_corrupt_and_left_alone() {
    let folder = Folder::new();
    std::fs::create_dir_all(folder.file().parent().expect("a folder")).expect("a folder");
    let bytes = b"{\"1\": {\"client_id\": 1}} and so on, until it is long enough to be looked at as a header of a database file"
        .repeat(8);
    std::fs::write(folder.file(), &bytes).expect("a file");
    let store = open("{}", Host::detached(folder.path())).expect("opening touches nothing yet");
    let error = store.prepare(&CX, &[clients()]).expect_err("no database");
    assert_eq!(error.code(), Code::Corrupt);
    assert!(error.message().contains("clients.db"), "{error}");
    assert_eq!(std::fs::read(folder.file()).expect("a file"), bytes);
    assert_eq!(contents(&folder).len(), 1);
}

#[test]
fn in_memory_nothing_is_promised_that_a_file_gives() {
    let folder = Folder::new();
    let store = folder.open_with(r#"{"db_path": ":memory:"}"#);
    let id = store.prepare(&CX, &[clients()]).expect("prepares")[0];
    insert(&store, id, client(1, "a"));
    assert!(get(&store, id, 1).is_some());
    let capabilities = store.capabilities();
    assert!(!capabilities.has(Capability::Durable) && !capabilities.has(Capability::MultiProcess));
    assert!(store.resources().is_empty());
    assert_eq!(std::fs::read_dir(folder.path()).expect("a folder").count(), 0);
}

#[test]
fn after_close_every_call_is_unavailable() {
    let folder = Folder::new();
    let (store, id) = folder.clients();
    store.close(&CX).expect("closes");
    assert_eq!(store.get(&CX, id, hivemind_abi::model::KeyRef::Int(1)).expect_err("closed").code(), Code::Unavailable);
    assert_eq!(store.apply(&CX, &[]).expect_err("closed").code(), Code::Unavailable);
    assert_eq!(store.prepare(&CX, &[clients()]).expect_err("closed").code(), Code::Unavailable);
}

#[test]
fn a_path_with_odd_characters_is_a_path() {
    let folder = Folder::new();
    let config = r#"{"subfolder": "a ?b#c%41", "name": "küche & mehr"}"#;
    let store = folder.open_with(config);
    let id = store.prepare(&CX, &[clients()]).expect("prepares")[0];
    insert(&store, id, client(1, "a"));
    store.close(&CX).expect("closes");
    assert!(folder.path().join("a ?b#c%41").join("küche & mehr.db").is_file());
    let again = folder.open_with(config);
    let id = again.prepare(&CX, &[clients()]).expect("prepares")[0];
    assert!(get(&again, id, 1).is_some());
}

/// Copies the database and what lies beside it while another program is in the middle of something: what a power cut leaves.
fn as_after_a_crash(folder: &Folder, suffixes: &[&str]) -> Folder {
    let crashed = Folder::new();
    std::fs::create_dir_all(crashed.file().parent().expect("a folder")).expect("a folder");
    for suffix in suffixes {
        let beside = |folder: &Folder| format!("{}{suffix}", folder.file().display());
        std::fs::copy(beside(folder), beside(&crashed)).expect("copied");
    }
    crashed
}

#[test]
fn what_a_killed_program_had_committed_is_there_and_what_it_had_not_is_gone() {
    let rows = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 500) \
                INSERT INTO clients (api_key, description) SELECT 'k' || i, hex(zeroblob(500)) FROM n;";
    for (journal, left) in [("DELETE", ["", "-journal"]), ("WAL", ["", "-wal"])] {
        let folder = Folder::new();
        folder.written(&format!("PRAGMA journal_mode = {journal}; {PYTHON_TABLE}; PRAGMA user_version = 2; {rows}"));
        let other = folder.other_program();
        // With so small a cache the change reaches the disk before it is committed.
        other
            .execute_batch("PRAGMA cache_size = 2; UPDATE clients SET name = 'kept'; BEGIN; UPDATE clients SET name = 'lost'")
            .expect("SQL");
        let crashed = as_after_a_crash(&folder, &left);
        assert!(crashed.file().with_extension(format!("db{}", left[1])).metadata().expect("a journal").len() > 0);
        let (store, id) = crashed.clients();
        for key in [1, 250, 500] {
            assert!(shown(&get(&store, id, key).expect("a client")).contains(r#""name": "kept""#), "{journal}");
        }
        insert(&store, id, client(501, "new"));
    }
}

/// The message of every call that looks at the file, once another one is at its path.
fn answers_moved<T: std::fmt::Debug>(answer: hivemind_abi::model::Result<T>) {
    let error = answer.expect_err("moved");
    assert_eq!(error.code(), Code::Io, "{error}");
    assert!(error.message().contains("clients.db was moved or replaced"), "{error}");
}

#[cfg(unix)]
#[test]
fn a_file_put_in_the_place_of_the_open_one_is_neither_written_nor_damaged() {
    for close in [true, false] {
        let (folder, other) = (Folder::new(), Folder::new());
        let (good, id) = other.clients();
        (1..=200).for_each(|n| drop(insert(&good, id, client(n, &format!("good-{n}")))));
        good.close(&CX).expect("closes");

        let (store, id) = folder.clients();
        insert(&store, id, client(1, "old"));
        let (token, _) = store.changes_since(&CX, id, Default::default()).expect("a token");
        std::fs::rename(folder.file(), folder.path().join("aside.db")).expect("moved");
        std::fs::rename(other.file(), folder.file()).expect("put in place");
        let before = std::fs::read(folder.file()).expect("the file");
        let row = client(2, "lost");
        if close {
            answers_moved(store.apply(&CX, &[Mutation::Insert { collection: id, row }]));
            answers_moved(store.prepare(&CX, &[clients()]));
            // Lookups may take a moment to notice.
            while store.get(&CX, id, KeyRef::Int(1)).is_ok() {
                std::thread::sleep(std::time::Duration::from_millis(5));
            }
            answers_moved(store.get(&CX, id, KeyRef::Int(1)));
            answers_moved(store.get_by(&CX, id, API_KEY, ValueRef::Text("old")));
            answers_moved(store.get_many(&CX, id, &[Key::Int(1)]));
            answers_moved(store.find(&CX, &Query::all(id), usize::MAX));
            answers_moved(store.count(&CX, &Query::all(id)));
            answers_moved(store.changes_since(&CX, id, token));
            answers_moved(store.sync(&CX));
            answers_moved(store.maintain(&CX, &Task::Vacuum));
            store.close(&CX).expect("closes");
        }
        drop(store);
        assert!(std::fs::read(folder.file()).expect("the file") == before);

        let (store, id) = folder.clients();
        assert_eq!(store.maintain(&CX, &Task::Verify).expect("a report").problems, []);
        assert!(shown(&get(&store, id, 1).expect("a client")).contains("good-1"));
        assert!(get(&store, id, 200).is_some());
        let aside = rusqlite::Connection::open(folder.path().join("aside.db")).expect("opens");
        let key: String = aside.query_row("SELECT api_key FROM clients", [], |r| r.get(0)).expect("the old client");
        assert_eq!(key, "old", "what was acknowledged is in the file that was moved away");
    }
}

#[test]
fn a_handle_that_is_dropped_without_closing_leaves_one_complete_file() {
    let folder = Folder::new();
    let (store, id) = folder.clients();
    (1..=20).for_each(|n| drop(insert(&store, id, client(n, &format!("k{n}")))));
    assert!(get(&store, id, 1).is_some(), "with a reading connection open");
    drop(store);
    assert_eq!(contents(&folder).iter().map(|(name, _)| name.to_string_lossy()).collect::<Vec<_>>(), ["clients.db"]);
    let (copy, _) = (as_after_a_crash(&folder, &[""]), drop(folder));
    let (store, id) = copy.clients();
    assert!(get(&store, id, 20).is_some());
}
