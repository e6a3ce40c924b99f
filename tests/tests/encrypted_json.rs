//! An encrypted JSON store between the Python node and ours: both write and read it with the same password, and no other opens it.

use hivemind_tests::program::Operator;
use hivemind_tests::python::{Peer, hivemind_core};
use serde_json::{Value, json};

const MODULE: &str = "hivemind-json-db-plugin";
/// Keys of AES-128, AES-192 and AES-256: what counts is that they have 16 characters.
const PASSWORDS: [&str; 3] = ["sixteen letters!", "8lettersüüüüüüüü", "ключизбуквтутраз"];

fn configure(operator: &Operator, password: Option<&str>) {
    let settings = json!({"name": "clients", "subfolder": "hivemind-core", "password": password});
    operator.configure(&json!({"database": {"module": MODULE, MODULE: settings}}));
}

fn python_reads(operator: &Operator, password: &str) -> Vec<Value> {
    let mut peer = Peer::start(operator.home());
    peer.ask(&json!({"op": "open", "kind": "json", "password": password}));
    match peer.ask(&json!({"op": "list"})) {
        Value::Array(clients) => clients,
        other => panic!("a list, not {other}"),
    }
}

/// Both programs read the same names, in the order of the ids.
fn agreed(operator: &Operator, password: &str) -> Vec<String> {
    let names = |clients: &[Value]| clients.iter().map(|c| c["name"].as_str().unwrap_or("").to_owned()).collect::<Vec<_>>();
    let (ours, pythons) = (names(&operator.clients()), names(&python_reads(operator, password)));
    assert_eq!(ours, pythons);
    ours
}

#[test]
fn python_and_ours_take_turns_on_one_encrypted_file() {
    let secret = "correct horse battery staple 7";
    for (password, python_first) in PASSWORDS.into_iter().zip([true, false, true]) {
        let operator = Operator::new();
        configure(&operator, Some(password));
        let python = |arguments: &[&str]| {
            let (code, text) = hivemind_core(operator.home(), arguments);
            assert_eq!(code, 0, "{arguments:?}: {text}");
        };
        let ours = |arguments: &[&str]| drop(operator.run(arguments).well());
        let add = |name, key| ["add-client", "--name", name, "--access-key", key, "--password", secret];
        if python_first {
            python(&add("küche", "key-1"));
            ours(&add("garten 🌻", "key-2"));
        } else {
            ours(&add("küche", "key-1"));
            python(&add("garten 🌻", "key-2"));
        }
        assert_eq!(agreed(&operator, password), ["küche", "garten 🌻"]);
        ours(&["rename-client", "2", "--name", "vom Büro"]);
        python(&["rename-client", "1", "--name", "厨房"]);
        assert_eq!(agreed(&operator, password), ["厨房", "vom Büro"]);
        let file = std::fs::read_to_string(operator.data().join("clients.ejson")).expect("the file");
        assert!(!file.contains("key-1") && !operator.data().join("clients.json").exists());
        assert!(operator.home().join("tmp/clients.ejson.lock").exists());
        let status = operator.run(&["status"]).well();
        assert!(status.contains("Encrypted              true") && status.contains(&file.len().to_string()), "{status}");
        assert!(!status.contains(password), "{status}");
    }
}

#[test]
fn the_same_store_is_changed_by_both_while_both_have_it_open() {
    let operator = Operator::new();
    configure(&operator, Some(PASSWORDS[0]));
    let mut peer = Peer::start(operator.home());
    peer.ask(&json!({"op": "open", "kind": "json", "password": PASSWORDS[0]}));
    peer.ask(&json!({"op": "add_client", "name": "n", "key": "k1", "admin": false, "allowed_types": [], "password": "p"}));
    for round in 0..5 {
        operator.run(&["allow-msg", &format!("type-{round}"), "1"]).well();
        peer.ask(&json!({"op": "set_field", "id": 1, "fields": {"name": format!("name {round}")}}));
        let client = operator.client(1);
        assert_eq!(client["name"], format!("name {round}"));
        assert_eq!(client["allowed_types"].as_array().map(Vec::len), Some(round + 1), "{client}");
        peer.ask(&json!({"op": "sync"}));
    }
}

#[test]
fn without_the_right_password_the_program_says_so_and_touches_nothing() {
    let operator = Operator::new();
    configure(&operator, Some(PASSWORDS[0]));
    operator.run(&["add-client", "--name", "n", "--access-key", "k"]).well();
    let before = operator.data_files();
    for (password, parts) in [
        (Some("sixteen others !"), ["clients.ejson", "written with another one"]),
        (Some("too short"), ["expected 16 characters", "found 9"]),
        (None, ["clients.ejson", "set `password`"]),
    ] {
        configure(&operator, password);
        for arguments in [&["list-clients"][..], &["add-client", "--name", "m"]] {
            let ended = operator.run(arguments);
            assert_ne!(ended.code, 0, "{ended:?}");
            assert!(parts.iter().all(|part| ended.err.contains(part)), "{ended:?}");
            assert!(password.is_none_or(|p| !ended.err.contains(p)), "{ended:?}");
            assert!(!ended.err.contains("as the user that owns"), "{ended:?}");
            let advice = ended.err.contains("help: correct the password of the store in server.json");
            assert_eq!(advice, ended.code == 5, "{ended:?}");
        }
        assert!(before == operator.data_files(), "{password:?}: something was touched");
    }
    // Python, given the other one, refuses too.
    let mut peer = Peer::start(operator.home());
    peer.try_ask(&json!({"op": "open", "kind": "json", "password": "sixteen others !"})).expect_err("another password");
    configure(&operator, Some(PASSWORDS[0]));
    assert_eq!(operator.clients().len(), 1);
}
