//! A store of an old Python node: migrated once, to the same end whenever it is cut, and a newer one left alone.

mod common;

use common::{Folder, clients, cx, member, shown};
use hivemind_abi::model::{Backend, Code, Key, Task};

/// Seven clients as schema 1 stored them, each for one rule.
const SCHEMA_1: &str = r#"{
    "1": {
        "client_id": 1,
        "api_key": "7f1c0a6e",
        "name": "HiveMind-Node-0",
        "description": "",
        "is_admin": false,
        "last_seen": 1718035200.25,
        "intent_blacklist": [],
        "skill_blacklist": [],
        "message_blacklist": [],
        "allowed_types": [
            "speak:b64_audio"
        ],
        "crypto_key": "a1b2c3d4e5f60718",
        "password": "kettle-orbit-mango-29-lantern",
        "can_broadcast": true,
        "can_escalate": true,
        "can_propagate": true,
        "metadata": {}
    },
    "2": {"client_id": 2, "api_key": "9d8e", "name": "Küche 厨房 🐝", "is_admin": true, "last_seen": -1, "crypto_key": "", "metadata": {"größe": 1.5}},
    "3": {"client_id": 3, "api_key": "0011", "intent_blacklist": ["skill-b:Übung"], "skill_blacklist": ["a"], "message_blacklist": ["speak"], "metadata": {}},
    "4": {"client_id": 4, "api_key": "ffee", "name": null, "skill_blacklist": ["from-column"], "intent_blacklist": ["kept:intent"], "metadata": {"skill_blacklist": ["from-metadata"], "message_blacklist": ["old"], "noise_pubkey": "ab"}},
    "5": {"client_id": 5, "api_key": "revoked", "crypto_key": null, "skill_blacklist": [], "metadata": {}},
    "6": {"client_id": 6, "api_key": "c0ff", "metadata": ["not", "an", "object"]},
    "7": {"client_id": 7, "api_key": "5eed", "crypto_key": "8899", "metadata": {"site": "metadata wins"}, "site": "top level loses", "firmware": {"version": "0.3.1"}, "tls_fingerprint": null},
    "8": {"client_id": 8, "api_key": "beef", "metadata": {"a": 1.10}},
    "9": {"client_id": "nine", "api_key": 9}
}"#;

fn metadata(text: &str, id: &str) -> String {
    let raw = member(text, &[id, "metadata"]).expect("metadata");
    hivemind_abi::model::json::parse(&raw).expect("JSON").to_text()
}

#[test]
fn a_schema_1_store_is_folded_and_the_version_written_last() {
    let folder = Folder::new();
    folder.write("clients.json", SCHEMA_1);
    let (store, id) = folder.open();
    let text = folder.read("clients.json");
    for (client, expected) in [
        ("1", r#"{"crypto_key": "a1b2c3d4e5f60718"}"#),
        ("2", r#"{"größe": 1.5, "crypto_key": ""}"#),
        ("3", r#"{"intent_blacklist": ["skill-b:Übung"], "skill_blacklist": ["a"]}"#),
        ("4", r#"{"skill_blacklist": ["from-metadata"], "noise_pubkey": "ab", "intent_blacklist": ["kept:intent"]}"#),
        ("5", r#"{"crypto_key": null}"#),
        ("6", "{}"),
        ("7", r#"{"site": "metadata wins", "crypto_key": "8899", "firmware": {"version": "0.3.1"}, "tls_fingerprint": null}"#),
    ] {
        assert_eq!(metadata(&text, client), expected, "client {client}");
        for gone in ["intent_blacklist", "skill_blacklist", "message_blacklist", "crypto_key", "site"] {
            assert_eq!(member(&text, &[client, gone]), None, "client {client}");
        }
    }
    assert_eq!(member(&text, &["2", "last_seen"]).as_deref(), Some("-1"));
    assert_eq!(member(&text, &["4", "name"]).as_deref(), Some("null"));
    for untouched in ["8", "9"] {
        assert_eq!(member(&text, &[untouched]), member(SCHEMA_1, &[untouched]));
    }
    assert_eq!(folder.read("clients.schema_version"), "2");
    assert!(shown(&store, id, 3).expect("there").contains(r#""skill_blacklist": ["a"]"#));
    assert_eq!(store.get(&cx(), id, Key::Int(9).as_ref()).expect_err("unreadable").code(), Code::Corrupt);
}

#[test]
fn migrating_again_changes_nothing() {
    let folder = Folder::new();
    folder.write("clients.json", SCHEMA_1);
    folder.open();
    let once = folder.read("clients.json");
    // As after a crash between the records and the version.
    for sentinel in [None, Some("1"), Some(""), Some("x")] {
        match sentinel {
            None => std::fs::remove_file(folder.file("clients.schema_version")).expect("removed"),
            Some(content) => folder.write("clients.schema_version", content),
        }
        let (store, _) = folder.open();
        assert_eq!((folder.read("clients.json"), folder.read("clients.schema_version")), (once.clone(), "2".to_owned()));
        assert_eq!(store.maintain(&cx(), &Task::Verify).expect("a report").problems.len(), 1, "the unreadable one");
    }
}

#[test]
fn a_newer_store_is_refused_and_left_as_it_is() {
    for newer in ["3", " 4\n", "99999999999999999999"] {
        let folder = Folder::new();
        folder.write("clients.json", SCHEMA_1);
        folder.write("clients.schema_version", newer);
        folder.write("clients.journal", "torn");
        let error = folder.handle().prepare(&cx(), &[clients()]).expect_err("newer");
        assert_eq!(error.code(), Code::TooNew);
        assert!(error.message().contains("clients.schema_version"), "{error}");
        assert_eq!((folder.read("clients.json").as_str(), folder.read("clients.schema_version").as_str()), (SCHEMA_1, newer));
        assert_eq!(folder.read("clients.journal"), "torn");
    }
}
