//! The Python node and ours taking turns on one store, command by command, in both directions; and stores of older Python nodes.

use std::process::Command;

use hivemind_tests::program::Operator;
use hivemind_tests::python::{Peer, hivemind_core, venv};
use hivemind_tests::root;
use serde_json::{Value, json};

const SQLITE: &str = "hivemind-sqlite-db-plugin";
const JSON: &str = "hivemind-json-db-plugin";

fn kind(module: &str) -> &str {
    if module == SQLITE { "sqlite" } else { "json" }
}

/// What Python reads in a store, by a process that opens it anew.
fn python_reads(operator: &Operator, module: &str) -> Vec<Value> {
    let mut peer = Peer::start(operator.home());
    peer.ask(&json!({"op": "open", "kind": kind(module)}));
    match peer.ask(&json!({"op": "list"})) {
        Value::Array(clients) => clients,
        other => panic!("a list, not {other}"),
    }
}

/// Numbers by value: one program writes -1, the other -1.0.
fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => a == b || a.as_f64() == b.as_f64(),
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        (Value::Object(a), Value::Object(b)) => a.len() == b.len() && a.iter().all(|(k, v)| b.get(k).is_some_and(|w| same(v, w))),
        _ => a == b,
    }
}

/// Both programs read the same clients; gives them.
fn agreed(operator: &Operator, module: &str, after: &str) -> Vec<Value> {
    let (ours, pythons) = (operator.clients(), python_reads(operator, module));
    let equal = ours.len() == pythons.len() && ours.iter().zip(&pythons).all(|(a, b)| same(a, b));
    assert!(equal, "after {after}, ours: {ours:#?}\npython's: {pythons:#?}");
    ours
}

fn taking_turns(module: &str) {
    let operator = Operator::with_module(module);
    let secret = "correct horse battery staple 7";
    let ours = |arguments: &[&str]| {
        let text = operator.run(arguments).well();
        (agreed(&operator, module, &format!("our {arguments:?}")), text)
    };
    let python = |arguments: &[&str]| {
        let (code, text) = hivemind_core(operator.home(), arguments);
        assert_eq!(code, 0, "{arguments:?}: {text}");
        agreed(&operator, module, &format!("python's {arguments:?}"))
    };

    let clients = python(&["add-client", "--name", "küche", "--access-key", "key-1", "--password", secret, "--allow", "speak"]);
    assert_eq!(clients[0]["allowed_types"], json!(["speak"]));
    let (clients, _) = ours(&[
        "add-client",
        "--name",
        "garten 🌻",
        "--access-key",
        "key-2",
        "--password",
        secret,
        "--metadata",
        r#"{"π": 3.25}"#,
    ]);
    assert_eq!((&clients[1]["client_id"], &clients[1]["metadata"]["π"]), (&json!(2), &json!(3.25)));
    let clients = python(&["add-client", "--access-key", "key-3", "--admin", "true", "--password", secret]);
    assert_eq!(clients[2]["client_id"], 3);
    assert_eq!(ours(&["rename-client", "1", "--name", "kitchen"]).0[0]["name"], "kitchen");
    assert_eq!(python(&["rename-client", "key-2", "--name", "garden"])[1]["name"], "garden");
    assert_eq!(ours(&["make-admin", "key-1"]).0[0]["is_admin"], true);
    assert_eq!(python(&["revoke-admin", "1"])[0]["is_admin"], false);
    assert_eq!(python(&["make-admin", "2"])[1]["is_admin"], true);
    assert_eq!(ours(&["revoke-admin", "2"]).0[1]["is_admin"], false);
    assert_eq!(ours(&["allow-msg", "a", "b", "c", "1"]).0[0]["allowed_types"], json!(["speak", "a", "b", "c"]));
    assert_eq!(python(&["blacklist-msg", "b", "1"])[0]["allowed_types"], json!(["speak", "a", "c"]));
    assert_eq!(python(&["allow-msg", "d", "2"])[1]["allowed_types"], json!(["d"]));
    assert_eq!(ours(&["blacklist-msg", "d", "2"]).0[1]["allowed_types"], json!([]));
    for (flag, field) in [("broadcast", "can_broadcast"), ("escalate", "can_escalate"), ("propagate", "can_propagate")] {
        let (allow, deny) = (format!("allow-{flag}"), format!("blacklist-{flag}"));
        assert_eq!(ours(&[&deny, "1"]).0[0][field], false);
        assert_eq!(python(&[&allow, "1"])[0][field], true);
        assert_eq!(python(&[&deny, "2"])[1][field], false);
        assert_eq!(ours(&[&allow, "2"]).0[1][field], true);
    }
    for (what, key) in [("skill", "skill_blacklist"), ("intent", "intent_blacklist")] {
        let (allow, deny) = (format!("allow-{what}"), format!("blacklist-{what}"));
        assert_eq!(ours(&[&deny, "x.y", "1"]).0[0]["metadata"][key], json!(["x.y"]));
        assert_eq!(python(&[&deny, "z", "1"])[0]["metadata"][key], json!(["x.y", "z"]));
        assert_eq!(ours(&[&allow, "x.y", "1"]).0[0]["metadata"][key], json!(["z"]));
        python(&[&allow, "z", "1"]);
    }
    assert_eq!(
        ours(&["set-metadata", "2", "--key", "big", "--value", "123456789012345678901234567890"]).0[1]["metadata"]["π"],
        3.25
    );
    assert_eq!(python(&["set-metadata", "2", "--metadata", r#"{"room": {"floor": 1}}"#])[1]["metadata"]["room"]["floor"], 1);
    assert_eq!(ours(&["set-metadata", "2", "--unset", "big"]).0[1]["metadata"].get("big"), None);
    ours(&["set-metadata", "1", "--key", "noise_pubkey", "--value", &"ab".repeat(32)]);
    assert_eq!(python(&["reset-noise-pin", "1"])[0]["metadata"].get("noise_pubkey"), None);
    python(&["set-metadata", "3", "--key", "noise_pubkey", "--value", &"cd".repeat(32)]);
    assert_eq!(ours(&["reset-noise-pin", "3"]).0[2]["metadata"].get("noise_pubkey"), None);
    assert_eq!(ours(&["delete-client", "1", "--yes"]).0[0]["api_key"], "revoked");
    let clients = python(&["delete-client", "key-3", "--yes"]);
    assert_eq!((&clients[2]["api_key"], &clients[2]["client_id"]), (&json!("revoked"), &json!(3)));
    assert_eq!(ours(&["add-client", "--access-key", "key-4", "--password", secret]).0[3]["client_id"], 4);
    assert_eq!(python(&["add-client", "--access-key", "key-5", "--password", secret])[4]["client_id"], 5);
    let csv = operator.run(&["export-clients"]).well();
    assert!(csv.contains("key-5"), "{csv}");
}

#[test]
fn python_and_ours_take_turns_on_one_sqlite_database() {
    taking_turns(SQLITE);
}

#[test]
fn python_and_ours_take_turns_on_one_json_file() {
    taking_turns(JSON);
}

/// A store as an old Python node left it, written by `tests/python/legacy.py`.
fn legacy(operator: &Operator, shape: &str) {
    let status = Command::new(venv().join("bin/python"))
        .arg(root().join("tests/python/legacy.py"))
        .arg(shape)
        .arg(operator.data())
        .status();
    assert!(status.expect("python runs").success());
}

fn by_id(clients: &[Value], id: i64) -> &Value {
    clients.iter().find(|c| c["client_id"] == id).unwrap_or_else(|| panic!("no client {id} in {clients:#?}"))
}

/// What is expected of every shape; see the table in legacy.py.
fn assert_migrated(clients: &[Value]) {
    assert!(
        clients.iter().all(|c| ["skill_blacklist", "intent_blacklist", "message_blacklist", "crypto_key"]
            .iter()
            .all(|k| c.get(*k).is_none()))
    );
    assert!(by_id(clients, 3)["metadata"]["skill_blacklist"].is_array());
    assert_eq!(by_id(clients, 3)["metadata"].get("message_blacklist"), None);
    assert_eq!(by_id(clients, 5)["api_key"], "revoked");
    assert!(by_id(clients, 6)["metadata"].is_object(), "a list counts as an empty object");
}

/// Ours migrates, Python reads it back; and a second opening changes nothing.
fn ours_migrates(module: &str, shape: &str) {
    let operator = Operator::with_module(module);
    legacy(&operator, shape);
    let ours = operator.clients();
    assert_migrated(&ours);
    let pythons = python_reads(&operator, module);
    assert_eq!(ours.len(), pythons.len());
    for (a, b) in ours.iter().zip(&pythons) {
        assert!(same(a, b), "{shape}, ours: {a:#}\npython's: {b:#}");
    }
    assert_eq!(ours, operator.clients(), "opening it again changes nothing");
}

#[test]
fn a_schema_1_sqlite_database_is_migrated_and_python_reads_it_back() {
    ours_migrates(SQLITE, "sqlite");
    ours_migrates(SQLITE, "sqlite-oldest");
}

#[test]
fn a_schema_1_json_file_is_migrated_and_python_reads_it_back() {
    ours_migrates(JSON, "json");
}

#[test]
fn a_store_that_python_migrated_reads_as_one_that_ours_migrated() {
    for (module, shape) in [(SQLITE, "sqlite"), (SQLITE, "sqlite-oldest"), (JSON, "json")] {
        let operator = Operator::with_module(module);
        legacy(&operator, shape);
        let pythons = python_reads(&operator, module);
        let ours = operator.clients();
        assert_migrated(&ours);
        for python in &pythons {
            let id = python["client_id"].as_i64().expect("an id");
            let our = by_id(&ours, id);
            // Python leaves a crypto_key column where it is and does not look at it; ours folds it as every unknown name.
            let mut our = our.clone();
            if python["metadata"].get("crypto_key").is_none() {
                our["metadata"].as_object_mut().expect("an object").remove("crypto_key");
            }
            assert!(same(&our, python), "{shape}, ours: {our:#}\npython's: {python:#}");
        }
    }
}

#[test]
fn a_newer_schema_is_refused_and_nothing_is_touched() {
    for (module, file) in [(SQLITE, "clients.db"), (JSON, "clients.schema_version")] {
        let operator = Operator::with_module(module);
        operator.run(&["add-client", "--access-key", "k", "--name", "n"]).well();
        if module == SQLITE {
            let db = rusqlite::Connection::open(operator.data().join(file)).expect("open");
            db.execute_batch("PRAGMA user_version = 3; PRAGMA wal_checkpoint(TRUNCATE);").expect("planted");
        } else {
            std::fs::write(operator.data().join(file), "3").expect("planted");
        }
        let before = snapshot(&operator);
        operator.run(&["list-clients"]).fails(8, &["3", "2"]);
        operator.run(&["add-client", "--access-key", "k2"]).fails(8, &["too-new"]);
        assert_eq!(before, snapshot(&operator), "{module}");
    }
}

/// Every file of the store and its bytes.
fn snapshot(operator: &Operator) -> Vec<(String, Vec<u8>)> {
    let files = std::fs::read_dir(operator.data()).expect("a folder");
    let mut files: Vec<_> = files
        .map(|f| f.expect("an entry").path())
        // SQLite's shared memory is no data.
        .filter(|p| p.extension().is_none_or(|e| e != "db-shm"))
        .map(|p| (p.display().to_string(), std::fs::read(&p).expect("readable")))
        .filter(|(name, bytes)| !(name.ends_with("-wal") && bytes.is_empty()))
        .collect();
    files.sort();
    files
}
