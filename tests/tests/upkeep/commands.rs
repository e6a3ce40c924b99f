//! `backup`, `restore` and `db` as an operator types them.

use std::path::PathBuf;

use hivemind_tests::python::Peer;

use super::*;

/// The only file below this folder whose name has this in it.
fn the_one(folder: &Path, part: &str) -> PathBuf {
    let mut found: Vec<_> =
        files(folder).into_iter().filter(|f| f.file_name().is_some_and(|n| n.to_string_lossy().contains(part))).collect();
    assert_eq!(found.len(), 1, "{found:?}");
    found.remove(0)
}

#[test]
fn a_backup_without_a_name_lies_beside_the_store_and_comes_back() {
    for store in all() {
        let operator = store.operator();
        add(&operator, "a");
        let said = operator.run(&["backup"]).well();
        let file = the_one(&operator.data().join("backups"), "clients-2");
        assert!(said.contains(text(&file)) && said.contains("bytes"), "{said}");
        add(&operator, "b");
        // What Python has open while we restore sees it at its next look.
        let mut peer = Peer::start(operator.home());
        peer.ask(&json!({"op": "open", "kind": store.kind(), "password": store.password}));
        assert_eq!(peer.ask(&json!({"op": "get_by_key", "key": "b"}))["name"], "b");
        operator.run(&["restore", text(&file)]).fails(2, &["error[usage]", "nothing was changed", "--yes"]);
        let said = operator.run(&["restore", text(&file), "--yes"]).well();
        assert!(said.contains("(1 records)"), "{said}");
        assert_eq!(keys(&operator), ["a"]);
        assert_eq!(peer.ask(&json!({"op": "get_by_key", "key": "a"}))["name"], "a");
        if store.module == SQLITE {
            assert_eq!(peer.ask(&json!({"op": "get_by_key", "key": "b"})), Value::Null, "{store:?}");
        }
        drop(peer);
        let kept = the_one(&operator.data().join("backups"), "before-restore");
        assert!(said.contains(text(&kept)), "{said}");
        operator.run(&["restore", text(&kept), "--yes", "--no-keep"]).well();
        assert_eq!(keys(&operator), ["a", "b"]);
        // And the Python node opens what was restored.
        let mut peer = Peer::start(operator.home());
        peer.ask(&json!({"op": "open", "kind": store.kind(), "password": store.password}));
        assert_eq!(peer.ask(&json!({"op": "get_by_key", "key": "b"}))["name"], "b");
        drop(peer);
        assert_private(&operator);
    }
}

#[test]
fn the_python_node_opens_a_backup_of_a_database_as_it_is() {
    for store in [PLAIN[0], ENCRYPTED[0]] {
        let operator = store.operator();
        add(&operator, "a");
        let other = store.operator();
        std::fs::create_dir_all(other.data()).expect("a folder");
        let file = store.file(&other);
        operator.run(&["backup", text(&file)]).well();
        let mut peer = Peer::start(other.home());
        peer.ask(&json!({"op": "open", "kind": "sqlite", "password": store.password}));
        assert_eq!(peer.ask(&json!({"op": "get_by_key", "key": "a"}))["name"], "a");
        peer.ask(&json!({"op": "set_field", "key": "a", "fields": {"name": "python's"}}));
        assert_eq!(other.client(1)["name"], "python's");
        assert!(other.run(&["db", "verify"]).well().contains("Nothing is wrong"));
    }
}

#[test]
fn a_file_that_is_there_stays_unless_force_says_otherwise() {
    for store in PLAIN {
        let operator = store.operator();
        add(&operator, "a");
        let file = operator.home().join("x.backup");
        std::fs::write(&file, "mine").expect("written");
        operator.run(&["backup", text(&file)]).fails(7, &["error[exists]", "x.backup exists already", "--force"]);
        assert_eq!(std::fs::read(&file).expect("read"), b"mine");
        operator.run(&["backup", text(&file), "--force"]).well();
        assert_eq!(mode(&file), 0o600, "also when the old one was for everybody");
        operator.run(&["db", "verify", text(&file)]).well();
        operator.run(&["backup", text(&file), "--force"]).well();
        // The store itself is no place for a backup, whatever is said.
        let own = store.file(&operator);
        operator.run(&["backup", text(&own), "--force"]).fails(2, &["among the files of the store"]);
        operator.run(&["restore", text(&own), "--yes"]).fails(if store.module == SQLITE { 1 } else { 8 }, &[text(&own)]);
        assert_eq!(keys(&operator), ["a"]);
        operator.run(&["backup", "/no/such/folder/x"]).fails(5, &["/no/such/folder"]);
        operator.run(&["restore", "/no/such/file", "--yes"]).fails(2, &["/no/such/file"]);
        let folder = operator.home().join("folder");
        std::fs::create_dir(&folder).expect("a folder");
        operator.run(&["backup", text(&folder)]).well();
        the_one(&folder, "clients-2");
        let kept = operator.home().join("kept.backup");
        operator.run(&["restore", text(&file), "--yes", "--keep", text(&kept)]).well();
        assert_eq!(mode(&kept), 0o600);
        assert_eq!(
            files(operator.home()).iter().filter(|f| text(f).contains(".backup_") || text(f).ends_with(".tmp")).count(),
            0
        );
    }
}

#[test]
fn restore_asks_on_a_terminal_and_takes_no_for_an_answer() {
    let operator = PLAIN[0].operator();
    add(&operator, "a");
    let file = operator.home().join("x.backup");
    operator.run(&["backup", text(&file)]).well();
    add(&operator, "b");
    let ended = operator.run_on_terminal(&["restore", text(&file)], &[("[y/N]", "n\n")]);
    assert_eq!(ended.code, 10, "{ended:?}");
    assert_eq!(keys(&operator), ["a", "b"]);
    let ended = operator.run_on_terminal(&["restore", text(&file)], &[("[y/N]", "y\n")]);
    assert_eq!(ended.code, 0, "{ended:?}");
    assert_eq!(keys(&operator), ["a"]);
}

#[test]
fn a_backend_without_backups_says_so() {
    let operator = Operator::with_seed(&json!({"1": {"client_id": 1, "api_key": "a"}}));
    let file = operator.home().join("x.backup");
    for words in
        [&["backup", text(&file)][..], &["db", "vacuum"], &["db", "repair", "--no-backup"], &["db", "rekey", "--decrypt"]]
    {
        operator.run(words).fails(1, &["error[unsupported]", "does not offer"]);
    }
    assert!(!file.exists());
    operator.run(&["db", "stats"]).well();
}

#[test]
fn verify_names_what_is_wrong_and_repair_mends_it_without_losing_a_record() {
    for store in PLAIN {
        let operator = store.operator();
        ["a", "b", "c"].iter().for_each(|key| add(&operator, key));
        assert!(operator.run(&["db", "verify"]).well().contains("Nothing is wrong with the store; 3 records"));
        // A gap, a duplicate, and a record that cannot be read.
        match store.module {
            SQLITE => rusqlite::Connection::open(store.file(&operator))
                .and_then(|c| {
                    c.execute_batch(
                        "UPDATE clients SET client_id = 7 WHERE client_id = 2; UPDATE clients SET api_key = 'a' WHERE client_id = 3; \
                         INSERT INTO clients (client_id, api_key, allowed_types) VALUES (9, 'broken', '[broken'); DROP INDEX idx_clients_api_key",
                    )
                })
                .expect("damaged"),
            _ => {
                let mut records = parsed(&std::fs::read_to_string(store.file(&operator)).expect("read"));
                let mut moved = records["2"].take();
                moved["client_id"] = json!(7);
                records["7"] = moved;
                records["3"]["api_key"] = json!("a");
                records["9"] = json!(5);
                records.as_object_mut().expect("an object").remove("2");
                std::fs::write(store.file(&operator), records.to_string()).expect("written");
            }
        }
        let found = operator.run(&["db", "verify", "--json"]);
        assert_eq!(found.code, 8, "{found:?}");
        let report = parsed(&found.out);
        let said = report["problems"].to_string();
        for part in ["same as that of 1", "ids are missing", "unreadable"] {
            assert!(said.contains(part), "{store:?} {part}: {said}");
        }
        operator.run(&["db", "verify"]).fails(8, &["error[problems]", "the store has 3 problems", "db repair"]);
        let repaired = operator.run(&["db", "repair"]);
        assert_eq!(repaired.code, 8, "{repaired:?}");
        assert!(repaired.out.contains("Missing ids filled with revoked clients: 5"), "{repaired:?}");
        let backup = the_one(&operator.data().join("backups"), "before-repair");
        assert!(repaired.out.contains(text(&backup)), "{repaired:?}");
        let clients = operator.clients();
        let ids: Vec<i64> = clients.iter().filter_map(|c| c["client_id"].as_i64()).collect();
        assert_eq!(ids, [1, 2, 3, 4, 5, 6, 7, 8]);
        assert_eq!(operator.client(7)["api_key"], "b", "no record is lost");
        let repaired = operator.run(&["db", "repair", "--revoke-duplicates"]);
        assert!(repaired.out.contains("another revoked: 1"), "{repaired:?}");
        assert_eq!(
            (operator.client(1)["api_key"].clone(), operator.client(3)["api_key"].clone()),
            (json!("a"), json!("revoked"))
        );
        // What cannot be read stays as it is, and is said.
        let left = operator.run(&["db", "verify"]);
        assert!(left.code == 8 && left.out.lines().count() == 1 && left.out.contains("clients 9"), "{left:?}");
        assert_private(&operator);
    }
}

#[test]
fn vacuum_checkpoint_and_stats_say_what_they_did() {
    let operator = PLAIN[0].operator();
    add(&operator, "a");
    assert!(operator.run(&["db", "vacuum"]).well().contains("Bytes after"));
    assert!(operator.run(&["db", "checkpoint"]).well().contains("Complete  true"));
    let stats = parsed(&operator.run(&["db", "stats", "--json"]).well());
    assert!(
        stats["pages"].as_i64() > Some(0) && stats["location"].as_str().is_some_and(|l| l.ends_with("clients.db")),
        "{stats}"
    );
    let json = PLAIN[1].operator();
    add(&json, "a");
    json.run(&["db", "vacuum"]).fails(1, &["error[unsupported]"]);
    assert!(json.run(&["db", "stats"]).well().contains("File bytes"));
}

#[test]
fn a_damaged_store_is_replaced_once_it_is_moved_away() {
    for store in PLAIN {
        let operator = store.operator();
        add(&operator, "a");
        let backup = operator.home().join("x.backup");
        operator.run(&["backup", text(&backup)]).well();
        let file = store.file(&operator);
        std::fs::write(&file, "this is neither a database nor JSON, but long enough to look at").expect("written");
        operator.run(&["restore", text(&backup), "--yes"]).fails(8, &[text(&file), "move its files away"]);
        // A backup is looked at without the store.
        operator.run(&["db", "verify", text(&backup)]).well();
        std::fs::rename(&file, operator.home().join("damaged")).expect("moved");
        operator.run(&["restore", text(&backup), "--yes"]).well();
        assert_eq!(keys(&operator), ["a"]);
    }
}
