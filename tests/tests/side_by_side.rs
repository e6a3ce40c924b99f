//! The Python node and ours taking turns on one store, command by command, in both directions; and stores of older Python nodes.

use std::process::Command;

use hivemind_tests::python::{hivemind_core, venv};
use hivemind_tests::redis::Kind;
use hivemind_tests::redis::sync::Writers;
use hivemind_tests::root;
use hivemind_tests::together::place::{JSON, Place, REDIS, SQLITE};
use hivemind_tests::together::same;
use serde_json::{Value, json};

/// Both programs read the same clients; gives them.
fn agreed(place: &Place, after: &str) -> Vec<Value> {
    let (ours, pythons) = (place.clients(), place.python_lists());
    let equal = ours.len() == pythons.len() && ours.iter().zip(&pythons).all(|(a, b)| same(a, b));
    assert!(equal, "after {after}, ours: {ours:#?}\npython's: {pythons:#?}");
    ours
}

fn taking_turns(place: &Place) {
    let operator = place;
    let secret = "correct horse battery staple 7";
    let ours = |arguments: &[&str]| {
        let text = operator.run(arguments).well();
        (agreed(place, &format!("our {arguments:?}")), text)
    };
    let python = |arguments: &[&str]| {
        let (code, text) = hivemind_core(operator.home(), arguments);
        assert_eq!(code, 0, "{arguments:?}: {text}");
        agreed(place, &format!("python's {arguments:?}"))
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
    assert_eq!(place.repairs(Writers::Both), Vec::<String>::new(), "Python's sync has something to repair");
}

#[test]
fn python_and_ours_take_turns_on_one_sqlite_database() {
    taking_turns(&Place::new(SQLITE));
}

#[test]
fn python_and_ours_take_turns_on_one_json_file() {
    taking_turns(&Place::new(JSON));
}

#[test]
fn python_and_ours_take_turns_on_one_redis_server() {
    taking_turns(&Place::new(REDIS));
}

#[test]
fn python_and_ours_take_turns_on_a_redis_cluster_with_a_tag() {
    taking_turns(&Place::on(Kind::ClusterTagged));
}

#[test]
fn python_and_ours_take_turns_on_a_redis_server_with_tls_and_rights() {
    taking_turns(&Place::on(Kind::TlsAcl));
}

/// A store as an old Python node left it, written by `tests/python/legacy.py`.
fn legacy(operator: &Place, shape: &str) {
    if let Some(deployment) = operator.deployment() {
        return hivemind_tests::redis::legacy::write(deployment, "client", &operator.data()).expect("written");
    }
    let script = root().join("tests/python/legacy.py");
    let status = Command::new(venv().join("bin/python")).arg(script).arg(shape).arg(operator.data()).status();
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
fn ours_migrates(module: &'static str, shape: &str) {
    let operator = Place::new(module);
    legacy(&operator, shape);
    let ours = operator.clients();
    assert_migrated(&ours);
    let pythons = operator.python_lists();
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
fn a_schema_1_redis_namespace_is_migrated_and_python_reads_it_back() {
    ours_migrates(REDIS, "redis");
}

#[test]
fn a_store_that_python_migrated_reads_as_one_that_ours_migrated() {
    for (module, shape) in [(SQLITE, "sqlite"), (SQLITE, "sqlite-oldest"), (JSON, "json"), (REDIS, "redis")] {
        let operator = Place::new(module);
        legacy(&operator, shape);
        let pythons = operator.python_lists();
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
    for (module, file) in [(SQLITE, "clients.db"), (JSON, "clients.schema_version"), (REDIS, "")] {
        let operator = Place::new(module);
        operator.run(&["add-client", "--access-key", "k", "--name", "n"]).well();
        if module == SQLITE {
            let db = rusqlite::Connection::open(operator.data().join(file)).expect("open");
            db.execute_batch("PRAGMA user_version = 3; PRAGMA wal_checkpoint(TRUNCATE);").expect("planted");
        } else if let Some(deployment) = operator.deployment() {
            deployment.ask::<()>(&["SET", "client:schema_version", "3"]);
        } else {
            std::fs::write(operator.data().join(file), "3").expect("planted");
        }
        let before = snapshot(&operator);
        operator.run(&["list-clients"]).fails(8, &["3", "2"]);
        operator.run(&["add-client", "--access-key", "k2"]).fails(8, &["too-new"]);
        assert_eq!(before, snapshot(&operator), "{module}");
    }
}

/// Every file of the store and its bytes; of a server every key.
fn snapshot(operator: &Place) -> Vec<(String, Vec<u8>)> {
    if let Some(deployment) = operator.deployment() {
        return deployment.dump("").0.into_iter().map(|(key, stored)| (key, stored.to_string().into_bytes())).collect();
    }
    let files = operator.data_files().into_iter().map(|(path, content, _)| (path.display().to_string(), content));
    // SQLite's shared memory is no data, nor is a log with nothing in it.
    files.filter(|(name, content)| !(name.ends_with("-shm") || name.ends_with("-wal") && content.is_empty())).collect()
}
