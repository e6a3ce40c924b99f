//! What the commands refuse: the exit code a script sees, the words an operator reads, and that nothing was changed.

use serde_json::json;

use super::*;

/// Every command about one client.
const ABOUT_A_CLIENT: [&[&str]; 18] = [
    &["rename-client", "--name", "x"],
    &["delete-client", "--yes"],
    &["make-admin"],
    &["revoke-admin"],
    &["allow-msg", "type"],
    &["blacklist-msg", "type"],
    &["allow-broadcast"],
    &["blacklist-broadcast"],
    &["allow-escalate"],
    &["blacklist-escalate"],
    &["allow-propagate"],
    &["blacklist-propagate"],
    &["allow-skill", "x"],
    &["blacklist-skill", "x"],
    &["allow-intent", "x"],
    &["blacklist-intent", "x"],
    &["set-metadata", "--key", "a", "--value", "1"],
    &["reset-noise-pin"],
];

#[test]
fn every_command_ends_with_6_for_an_unknown_client_and_2_without_one_or_a_terminal() {
    for operator in all_with_two() {
        let before = operator.clients();
        for words in ABOUT_A_CLIENT {
            for id in ["9", "nobody", "-- -1", "revoked", ""] {
                let mut named = words.to_vec();
                named.extend(if id.starts_with("--") { id.split(' ').collect() } else { vec![id] });
                operator
                    .run(&named)
                    .fails(6, &["error[unknown-client]", "neither an access key nor the number", "help: list-clients"]);
            }
            operator.run(words).fails(2, &["error[usage]", "no terminal", "help: give the client's number or access key"]);
        }
        assert_eq!(operator.clients(), before);
    }
}

#[test]
fn an_empty_store_has_nobody_to_choose_and_a_revoked_client_is_nobodys_target() {
    for module in ["sqlite", "json", "memory"] {
        let empty = Operator::with_module(module);
        for words in ABOUT_A_CLIENT {
            empty.run(words).fails(2, &["no terminal"]);
        }
        let ended = empty.run_on_terminal(&["make-admin"], &[]);
        assert!(ended.code == 6 && ended.out.contains("there are no clients"), "{ended:?}");
    }
    for module in DURABLE {
        let operator = with_two(module);
        operator.run(&["delete-client", "2", "--yes"]).well();
        for words in ABOUT_A_CLIENT {
            let named: Vec<&str> = words.iter().copied().chain(["2"]).collect();
            operator.run(&named).fails(6, &["error[unknown-client]", "client 2 is revoked", "add-client"]);
        }
        assert_eq!(operator.client(2)["api_key"], "revoked");
    }
}

#[test]
fn an_access_key_goes_before_a_number_and_the_operator_is_told() {
    for module in DURABLE {
        let operator = with_two(module);
        let ended = operator.run(&["add-client", "--access-key", "1", "--name", "three"]);
        assert!(ended.err.contains("looks like a client's number"), "{ended:?}");
        let ended = operator.run(&["make-admin", "1"]);
        assert!(ended.out.contains("to three") && ended.err.contains("name client 1 by its access key"), "{ended:?}");
        assert!(operator.run(&["make-admin", " +01 "]).well().contains("to aaa"));
    }
}

#[test]
fn refused_requests_change_nothing_and_say_what_was_expected() {
    let taken = "a client already exists for access key 'aaa' (Node ID: 1, Friendly Name: aaa)";
    let cases: [(&[&str], i32, &[&str]); 23] = [
        (
            &["add-client", "--password", "Password123!"],
            2,
            &["error[weak-password]", "too guessable", "40 required", "--allow-weak-password"],
        ),
        (&["add-client", "--access-key", "aaa"], 7, &["error[key-taken]", taken, "choose another access key"]),
        (&["add-client", "--access-key", "revoked"], 2, &["error[refused]", "revoked"]),
        (&["add-client", "--metadata", "[]"], 2, &["--metadata must be a JSON object, found"]),
        (&["add-client", "--metadata", "{"], 2, &["--metadata must be valid JSON"]),
        (&["add-client", "--allow", "a b"], 2, &["--allow", "white space"]),
        (&["add-client", "--allow", ""], 2, &["--allow", "empty"]),
        (&["add-client", "--name", "a\u{2028}b"], 2, &["error[refused]", "U+2028"]),
        (&["add-client", "--metadata", r#"{"a": "\u0085"}"#], 2, &["error[refused]", "U+0085"]),
        (&["add-client", "--admin", "maybe"], 2, &["--admin", "maybe"]),
        (&["add-client", "--password-stdin"], 2, &["the standard input holds no password"]),
        (&["add-client", "surplus"], 2, &["surplus"]),
        (&["rename-client", "1"], 2, &["--name"]),
        (&["rename-client", "1", "--name", "a\u{2029}"], 2, &["error[refused]", "U+2029"]),
        (&["set-metadata", "1"], 2, &["pass --metadata, --key/--value, --cert, or --unset"]),
        (&["set-metadata", "1", "--metadata", "5"], 2, &["must be a JSON object, found"]),
        (&["set-metadata", "1", "--key", "a"], 2, &["--key requires --value"]),
        (&["set-metadata", "1", "--value", "a"], 2, &["--value requires --key"]),
        (&["delete-client", "1"], 2, &["no answer came; nothing was changed", "--yes"]),
        (&["allow-msg", "a", "b"], 6, &["the last word names the client, and nothing was changed"]),
        (&["allow-msg", "bbb"], 2, &["names a client, and no message type was given"]),
        (&["allow-msg", "a b", "1"], 2, &["white space"]),
        (&["make-admn", "1"], 2, &["make-admin"]),
    ];
    for operator in all_with_two() {
        let before = operator.clients();
        for (words, code, parts) in cases {
            let ended = operator.run(words);
            assert!(!ended.err.contains("Password123!") && ended.out.is_empty(), "{words:?}: {ended:?}");
            ended.fails(code, parts);
        }
        assert_eq!(operator.clients(), before);
    }
}

#[test]
fn a_damaged_record_is_named_hides_no_other_and_is_left_as_it_is() {
    let operator = Operator::with_module("json");
    let mut records = two_records();
    records["2"]["is_admin"] = json!("perhaps");
    let file = operator.write("data/hivemind-core/clients.json", records.to_string().as_bytes());
    let ended = operator.run(&["list-clients"]);
    assert!(ended.code == 0 && ended.out.contains("aaa") && ended.err.contains("record 2 cannot be read"), "{ended:?}");
    operator.run(&["make-admin", "2"]).fails(8, &["error[corrupt]", "help: the record was left as it is"]);
    operator.run(&["make-admin", "1"]).well();
    let stored = parsed(&std::fs::read_to_string(file).expect("the store"));
    assert_eq!((&stored["1"]["is_admin"], &stored["2"]), (&json!(true), &records["2"]));
}

#[test]
fn a_store_of_a_newer_version_or_one_that_cannot_be_read_is_left_untouched() {
    let operator = Operator::with_module("json");
    let folder = operator.data();
    let read = |name: &str| std::fs::read(folder.join(name)).expect(name);
    operator.write("data/hivemind-core/clients.json", two_records().to_string().as_bytes());
    operator.write("data/hivemind-core/clients.schema_version", b"3");
    operator.run(&["make-admin", "1"]).fails(8, &["error[too-new]", "a newer program wrote this store"]);
    assert_eq!((read("clients.json"), read("clients.schema_version")), (two_records().to_string().into_bytes(), b"3".to_vec()));
    operator.write("data/hivemind-core/clients.schema_version", b"2");
    operator.write("data/hivemind-core/clients.json", b"{\n\"1\": {oops}}");
    let ended = operator.run(&["add-client"]);
    assert_eq!(ended.err.matches("clients.json").count(), 1, "the path is said once: {ended:?}");
    assert!(!ended.err.contains("the record"), "it is about the whole file: {ended:?}");
    ended.fails(8, &["error[corrupt]", "line 2", "help: what is stored was left as it is"]);
    assert_eq!(read("clients.json"), b"{\n\"1\": {oops}}");

    let operator = with_two("sqlite");
    let db = rusqlite::Connection::open(operator.data().join("clients.db")).expect("a database");
    db.pragma_update(None, "user_version", 3).expect("a newer version");
    drop(db);
    let before = std::fs::read(operator.data().join("clients.db")).expect("the database");
    operator.run(&["make-admin", "1"]).fails(8, &["error[too-new]"]);
    assert_eq!(std::fs::read(operator.data().join("clients.db")).expect("the database"), before);
    let operator = Operator::with_module("sqlite");
    let path = operator.write("data/hivemind-core/clients.db", b"this is no database, whatever its name says");
    operator.run(&["status"]).fails(8, &["error[corrupt]", "clients.db"]);
    assert_eq!(std::fs::read(path).expect("the file"), b"this is no database, whatever its name says");
}
