//! The list to choose from, on a real terminal.

use super::*;

const QUESTION: &str = "Which client? (its ID; nothing to leave) ";

#[test]
fn the_operator_chooses_from_the_list_by_number_or_by_key() {
    for module in DURABLE {
        let operator = with_two(module);
        operator.run(&["add-client", "--name", "ccc", "--access-key", "ccc"]).well();
        operator.run(&["delete-client", "ccc", "--yes"]).well();
        let ended = operator.run_on_terminal(&["make-admin"], &[(QUESTION, "1\n")]);
        assert!(ended.code == 0 && ended.out.ends_with("Gave administrator powers to aaa\n"), "{ended:?}");
        let list = ended.out.split(QUESTION).next().expect("a list");
        for part in ["ID", "Name", "Allowed message types", "aaa", "bbb", "speak"] {
            assert!(list.contains(part), "{part}: {list}");
        }
        assert!(!list.contains("revoked") && !list.contains("pw"), "{list}");
        let steps = [(QUESTION, "nobody\n"), ("Please choose one of the clients listed.", "3\n"), ("Please choose", "bbb\n")];
        let ended = operator.run_on_terminal(&["rename-client", "--name", "zwei"], &steps);
        assert!(ended.code == 0 && ended.out.contains("Renamed 'bbb' to 'zwei'"), "{ended:?}");
        assert_eq!((operator.client(1)["is_admin"].as_bool(), operator.client(2)["name"].as_str()), (Some(true), Some("zwei")));
    }
}

#[test]
fn leaving_or_ending_the_input_changes_nothing_and_says_so() {
    let operator = with_two("sqlite");
    let before = operator.clients();
    for (typed, code, says) in [
        ("\n", 10, "error[aborted]: no client was chosen; nothing was changed"),
        ("  \n", 10, "error[aborted]"),
        ("\u{4}", 1, "\nerror[no-answer]: no answer came; nothing was changed"),
    ] {
        let ended = operator.run_on_terminal(&["make-admin"], &[(QUESTION, typed)]);
        assert!(ended.code == code && ended.out.contains(says), "{typed:?}: {ended:?}");
    }
    // Ctrl-C ends it by the signal.
    let ended = operator.run_on_terminal(&["make-admin"], &[(QUESTION, "\u{3}")]);
    assert!(ended.code == -2, "{ended:?}");
    assert_eq!(operator.clients(), before);
}

#[test]
fn the_only_client_is_taken_and_named_on_a_terminal_alone_and_never_to_be_revoked() {
    let operator = with_two("json");
    operator.run(&["delete-client", "2", "--yes"]).well();
    let ended = operator.run_on_terminal(&["make-admin"], &[]);
    assert!(ended.code == 0 && ended.out.contains("Client 1 (aaa), the only one:"), "{ended:?}");
    for words in [&["revoke-admin"][..], &["delete-client", "--yes"], &["delete-client"], &["allow-msg", "a"]] {
        operator.run(words).fails(2, &["no client was named", "no terminal", "list-clients"]);
    }
    let client = operator.client(1);
    assert_eq!((&client["is_admin"], &client["api_key"]), (&true.into(), &"aaa".into()), "nothing was changed");
    assert_eq!(operator.run_on_terminal(&["delete-client", "--yes"], &[(QUESTION, "\n")]).code, 10);
    assert_eq!(operator.client(1)["api_key"], "aaa");
    let ended = operator.run_on_terminal(&["delete-client", "--yes"], &[(QUESTION, "1\n")]);
    assert!(ended.code == 0 && ended.out.contains("Revoked credentials!"), "{ended:?}");
}

/// The one that cannot be read may be the one that was meant.
#[test]
fn beside_a_record_that_cannot_be_read_no_client_is_the_only_one() {
    let operator = with_two("json");
    let file = operator.data().join("clients.json");
    let stored = std::fs::read_to_string(&file).expect("the store");
    std::fs::write(&file, stored.replacen("\"is_admin\": true", "\"is_admin\": \"perhaps\"", 1)).expect("written");
    let ended = operator.run_on_terminal(&["make-admin"], &[(QUESTION, "\n")]);
    assert!(ended.code == 10 && ended.out.contains("record 2 cannot be read"), "{ended:?}");
    let facts = parsed(&operator.run(&["status", "--json"]).well());
    let counts = ["clients", "revoked_clients", "unreadable_clients"].map(|name| facts[name].as_i64());
    assert_eq!(counts, [Some(1), Some(0), Some(1)], "{facts}");
    let shown = operator.run(&["status"]);
    assert!(shown.err.contains("cannot be read; list-clients names them") && shown.out.contains("Unreadable"), "{shown:?}");
}

#[test]
fn revoking_asks_and_means_no_unless_told_yes() {
    let operator = with_two("sqlite");
    let question = "Delete client 'bbb' (id 2)? This permanently revokes its credentials. [y/N]: ";
    for (typed, code) in [("\n", 10), ("n\n", 10), ("NO\n", 10), ("\u{4}", 2)] {
        assert_eq!(operator.run_on_terminal(&["delete-client", "2"], &[(question, typed)]).code, code, "{typed:?}");
    }
    assert_eq!(operator.client(2)["api_key"], "bbb");
    let steps = [(QUESTION, "2\n"), (question, "what\n"), ("Please answer y or n.", "Yes\n")];
    let ended = operator.run_on_terminal(&["delete-client"], &steps);
    assert!(ended.code == 0 && ended.out.contains("Revoked credentials!"), "{ended:?}");
    assert_eq!(operator.client(2)["api_key"], "revoked");
}

#[test]
fn an_export_to_the_screen_warns_that_passwords_are_shown_and_one_to_a_pipe_does_not() {
    let operator = with_two("json");
    let ended = operator.run_on_terminal(&["export-clients"], &[]);
    assert!(ended.out.contains("warning: the passwords below are in clear; use --path"), "{ended:?}");
    let ended = operator.run(&["export-clients"]);
    assert_eq!((ended.code, ended.err.as_str()), (0, ""));
}

#[test]
fn stored_names_cannot_drive_the_terminal() {
    let operator = with_two("sqlite");
    operator.run(&["rename-client", "1", "--name", "\u{1b}[2J\u{1b}]0;pwned\u{7}\u{202e}x"]).well();
    for (words, steps) in [
        (&["list-clients"][..], &[][..]),
        (&["make-admin"], &[(QUESTION, "1\n")]),
        (&["set-metadata", "1", "--key", "\u{1b}[31m", "--value", "\u{9b}1m"], &[]),
        (&["allow-msg", "a\u{1b}b", "1"], &[]),
        (&["make-admin", "\u{1b}[2J"], &[]),
        (&["delete-client", "1", "--yes"], &[]),
    ] {
        let screen = operator.run_on_terminal(words, steps).out;
        assert!(!screen.contains(['\u{1b}', '\u{7}', '\u{9b}', '\u{202e}']), "{words:?}: {screen:?}");
    }
}
