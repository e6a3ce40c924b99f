//! `add-client`: what it prints, what it stores, and where a password may come from.

use serde_json::json;

use super::*;

#[test]
fn a_new_client_is_printed_in_the_python_nodes_words_and_stored_as_printed() {
    for module in DURABLE {
        let operator = Operator::with_module(module);
        let out = operator
            .run(&[
                "add-client",
                "--name",
                "Küche",
                "--access-key",
                "k",
                "--password",
                STRONG,
                "--admin",
                "true",
                "--metadata",
                r#"{"z": 1, "a": "ü"}"#,
                "--allow",
                "speak",
                "--allow",
                "a.b",
                "--allow",
                "speak",
            ])
            .well();
        let expected = format!(
            "Database backend: {module}\nCredentials added to database!\n\nNode ID: 1\nAdmin Privileges: True\nFriendly Name: Küche\n\
             Access Key: k\nPassword: {STRONG}\nMetadata: {{\"a\": \"ü\", \"z\": 1}}\nAllowed Message Types: speak, a.b\n"
        );
        assert_eq!(out, expected);
        let client = operator.client(1);
        let stored = ["name", "api_key", "password", "is_admin", "allowed_types", "metadata"].map(|name| client[name].clone());
        assert_eq!(
            stored,
            [json!("Küche"), json!("k"), json!(STRONG), json!(true), json!(["speak", "a.b"]), json!({"z": 1, "a": "ü"})],
            "{module}"
        );
    }
}

#[test]
fn what_is_not_given_is_made_and_a_client_nobody_allowed_anything_is_said_to_be_denied() {
    for module in DURABLE {
        let operator = Operator::with_module(module);
        let out = operator.run(&["add-client"]).well();
        for part in [
            "Friendly Name: HiveMind-Node-0\n",
            "DENIED on every message",
            "hivemind-host allow-msg ovos.utterance.handle recognizer_loop:utterance 1",
        ] {
            assert!(out.contains(part), "{out}");
        }
        let record = parsed(&operator.run(&["add-client", "--json", "--name", ""]).well());
        assert_eq!((&record["client_id"], &record["name"]), (&json!(2), &json!("HiveMind-Node-1")));
        let mut made = Vec::new();
        for client in operator.clients() {
            for field in ["api_key", "password"] {
                let value = client[field].as_str().expect("text").to_owned();
                assert!(value.len() == 32 && value.bytes().all(|b| b.is_ascii_hexdigit()), "{value}");
                made.push(value);
            }
        }
        made.sort();
        made.dedup();
        assert_eq!(made.len(), 4, "no two are the same");
    }
}

#[test]
fn admin_may_stand_alone_or_take_a_truth_value() {
    let operator = Operator::with_module("json");
    for (words, admin) in [
        (&[][..], false),
        (&["--admin"], true),
        (&["--admin", "true"], true),
        (&["--admin", "false"], false),
        (&["--admin=no"], false),
        (&["--admin", "1"], true),
        (&["--admin", "--name", "x"], true),
    ] {
        let words: Vec<&str> = ["add-client", "--json"].iter().chain(words).copied().collect();
        assert_eq!(parsed(&operator.run(&words).well())["is_admin"], admin, "{words:?}");
    }
}

#[test]
fn a_password_may_come_from_the_standard_input_or_the_environment_and_then_is_in_no_process_list() {
    let operator = Operator::with_module("sqlite");
    for (id, input) in [(1, format!("{STRONG}\nsecond line")), (2, format!("{STRONG}\r\n")), (3, STRONG.to_owned())] {
        operator.run_with_input(&["add-client", "--password-stdin"], &input).well();
        assert_eq!(operator.client(id)["password"], STRONG, "{input:?}");
    }
    for input in ["", "\n", "\nsecond line"] {
        operator.run_with_input(&["add-client", "--password-stdin"], input).fails(2, &["the standard input holds no password"]);
    }
    let weak = operator.run_with_input(&["add-client", "--password-stdin"], "hunter2hunter\n");
    assert!(!weak.err.contains("hunter2hunter"), "{weak:?}");
    weak.fails(2, &["error[weak-password]"]);
    let ended = hivemind_tests::program::Ended::from(
        operator.command(&["add-client"]).env("HIVEMIND_PASSWORD", STRONG).output().expect("the program starts"),
    );
    assert!(ended.well().contains(STRONG));
    assert_eq!((operator.clients().len(), operator.client(4)["password"].clone()), (4, json!(STRONG)));
}

#[test]
fn how_strong_a_password_must_be_is_the_configurations_say() {
    let operator = Operator::new();
    for (bits, code) in [(json!(40), 2), (json!(0), 0), (json!(-1), 0), (json!("1000"), 2), (json!(5), 0)] {
        operator.configure(&json!({"database": {"module": "memory"}, "min_password_bits": bits}));
        assert_eq!(operator.run(&["add-client", "--password", "pass word"]).code, code, "{bits}");
        operator.run(&["add-client", "--password", "pass word", "--allow-weak-password"]).well();
    }
}

#[test]
fn a_value_may_begin_with_a_dash() {
    let operator = Operator::with_module("json");
    let password = "-correct --horse battery staple 7";
    operator.run(&["add-client", "--name", "-5", "--access-key", "-k", "--password", password]).well();
    let client = operator.client(1);
    assert_eq!((&client["name"], &client["api_key"], &client["password"]), (&json!("-5"), &json!("-k"), &json!(password)));
    operator.run(&["rename-client", "--name", "--", "1"]).well();
    operator.run(&["set-metadata", "1", "--key", "-a", "--value", "-1"]).well();
    assert_eq!((&operator.client(1)["name"], &operator.client(1)["metadata"]), (&json!("--"), &json!({"-a": -1})));
    operator.run(&["set-metadata", "1", "--unset", "-a"]).well();
    operator.run(&["make-admin", "--", "-k"]).well();
    assert_eq!((&operator.client(1)["is_admin"], &operator.client(1)["metadata"]), (&json!(true), &json!({})));
}

/// Numbers are never given twice, and a gap is never filled by two processes at once.
#[test]
fn clients_added_by_many_processes_at_once_get_one_number_each() {
    for module in DURABLE {
        let operator = Operator::with_module(module);
        operator.run(&["status"]).well();
        std::thread::scope(|scope| {
            for _ in 0..6 {
                scope.spawn(|| operator.run(&["add-client"]).well());
            }
        });
        let mut ids: Vec<_> = operator.clients().iter().map(|c| c["client_id"].as_i64().expect("a number")).collect();
        ids.sort_unstable();
        assert_eq!(ids, [1, 2, 3, 4, 5, 6], "{module}");
    }
}
