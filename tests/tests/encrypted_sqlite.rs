//! An encrypted `clients.db` between the Python node and ours, through the programs and their settings.

use hivemind_tests::program::Operator;
use hivemind_tests::python::{Peer, hivemind_core};
use serde_json::{Value, json};

const MODULE: &str = "hivemind-sqlite-db-plugin";
const PASSWORDS: [&str; 2] = ["it's a \"tulip\"", "schlüssel 🔑 with spaces"];

fn operator(password: &str) -> Operator {
    let operator = Operator::new();
    configure(&operator, json!(password));
    operator
}

fn configure(operator: &Operator, password: Value) {
    let block = json!({"name": "clients", "subfolder": "hivemind-core", "password": password});
    operator.configure(&json!({"database": {"module": MODULE, MODULE: block}}));
}

fn keys(clients: &[Value]) -> Vec<&str> {
    clients.iter().filter_map(|c| c["api_key"].as_str()).collect()
}

#[test]
fn python_and_ours_take_turns_on_one_encrypted_database() {
    for (ours_first, password) in PASSWORDS.into_iter().enumerate().map(|(n, p)| (n % 2 == 0, p)) {
        let operator = operator(password);
        let add_ours = |key: &str| {
            operator
                .run(&["add-client", "--access-key", key, "--name", "ours", "--password", "correct horse battery staple 7"])
                .well();
        };
        let add_pythons = |key: &str| {
            let arguments =
                ["add-client", "--access-key", key, "--name", "python's", "--password", "correct horse battery staple 7"];
            let (code, text) = hivemind_core(operator.home(), &arguments);
            assert_eq!(code, 0, "{text}");
        };
        if ours_first {
            add_ours("a");
            add_pythons("b");
        } else {
            add_pythons("a");
            add_ours("b");
        }
        let header = std::fs::read(operator.data().join("clients.db")).expect("the file");
        assert!(!header.starts_with(b"SQLite format 3"), "it is encrypted");
        add_pythons("c");
        operator.run(&["rename-client", "c", "--name", "renamed"]).well();
        assert_eq!(keys(&operator.clients()), ["a", "b", "c"], "{password}");
        // And both with the file open at the same time.
        let mut peer = Peer::start(operator.home());
        peer.ask(&json!({"op": "open", "kind": "sqlite", "password": password}));
        add_ours("d");
        assert_eq!(peer.ask(&json!({"op": "get_by_key", "key": "c"}))["name"], "renamed");
        peer.ask(&json!({"op": "set_field", "key": "d", "fields": {"name": "python's word"}}));
        assert_eq!(operator.client(4)["name"], "python's word");
        operator.run(&["delete-client", "d", "--yes"]).well();
        assert_eq!(peer.ask(&json!({"op": "get_by_key", "key": "d"})), Value::Null);
    }
}

#[test]
fn a_wrong_password_is_said_to_be_one_and_touches_nothing() {
    let operator = operator("MARK-right");
    let refused = |password: Value, words: &[&str]| {
        configure(&operator, password);
        let before = operator.data_files();
        for command in [&["list-clients"][..], &["add-client", "--access-key", "k"], &["status"]] {
            let ended = operator.run(command);
            assert!(!ended.err.contains("MARK") && !ended.out.contains("MARK"), "{ended:?}");
            ended.fails(5, words);
        }
        assert!(operator.data_files() == before, "{words:?}: something was touched");
    };
    // The Python node's file, while it has it open and after.
    let mut peer = Peer::start(operator.home());
    peer.ask(&json!({"op": "open", "kind": "sqlite", "password": "MARK-right"}));
    peer.ask(&json!({"op": "add", "client": {"client_id": 1, "api_key": "a"}}));
    for peer in [Some(peer), None] {
        refused(json!("MARK-wrong"), &["error[denied]", "clients.db is not opened by this password", "or the file is damaged"]);
        refused(json!(null), &["error[denied]", "clients.db looks encrypted, but no password is set"]);
        drop(peer);
    }
    configure(&operator, json!("MARK-right"));
    assert_eq!(keys(&operator.clients()), ["a"]);
    let status = operator.run(&["status"]).well();
    assert!(status.contains("Encrypted              true") && !status.contains("MARK"), "{status}");
}

#[test]
fn a_plain_file_is_not_opened_with_a_password() {
    let operator = Operator::with_module(MODULE);
    operator.run(&["add-client", "--access-key", "a"]).well();
    configure(&operator, json!("MARK"));
    let before = operator.data_files();
    let ended = operator.run(&["list-clients"]);
    assert!(!ended.err.contains("MARK"), "{ended:?}");
    ended.fails(5, &["error[denied]", "is not encrypted, but a password is set", "remove `password`"]);
    assert!(operator.data_files() == before);
}

#[test]
fn an_empty_password_is_refused_as_the_python_node_refuses_it() {
    let operator = operator("");
    let ended = operator.run(&["list-clients"]);
    assert_eq!(ended.code, 3, "{ended:?}");
    assert!(ended.err.contains("password"), "{ended:?}");
    assert!(!operator.data().join("clients.db").exists());
    let (_, text) = hivemind_core(operator.home(), &["list-clients"]);
    assert!(text.contains("password must be non-empty"), "{text}");
}
