//! Changing clients, and finding the one that is meant.

use super::*;

#[test]
fn changes_say_what_they_did_and_that_nothing_was_left_to_do() {
    let desk = Desk::with_two();
    for (words, expected) in [
        (&["rename-client", "bbb", "--name", "two"][..], "Renamed 'bbb' to 'two'\n"),
        (&["make-admin", "2"], "Gave administrator powers to two\n"),
        (&["make-admin", "2"], "two is already an administrator!\n"),
        (&["revoke-admin", "2"], "Revoked administrator powers for two\n"),
        (&["revoke-admin", "2"], "two is not an administrator\n"),
        (&["blacklist-broadcast", "2"], "Blacklisted 'BROADCAST' messages for two\n"),
        (&["blacklist-broadcast", "2"], "Client 'two' 'BROADCAST' messages already blacklisted\n"),
        (
            &["allow-broadcast", "2"],
            "Allowed 'BROADCAST' messages for two\nNOTE: two is not an admin, so it still can not broadcast\n",
        ),
        (&["allow-escalate", "2"], "Client two already allowed to send 'ESCALATE' messages\n"),
        (&["blacklist-propagate", "2"], "Blacklisted 'PROPAGATE' messages for two\n"),
        (
            &["allow-msg", "c", "speak", "c", "d", "2"],
            "Allowed 'c' for two\nAllowed 'd' for two\nClient two already allowed 'speak'\n",
        ),
        (&["blacklist-msg", "c", "x", "2"], "Blacklisted 'c' for two\nClient 'two' message already blacklisted: 'x'\n"),
        (&["blacklist-skill", "s1", "2"], "Blacklisted 's1' for two\n"),
        (&["blacklist-skill", "s1", "2"], "Client two already has 's1' in skill_blacklist\n"),
        (&["allow-skill", "s1", "2"], "Unblacklisted 's1' for two\n"),
        (&["allow-skill", "s1", "2"], "'s1' is not in skill_blacklist for client two\n"),
        (&["blacklist-intent", "i", "2"], "Blacklisted 'i' for two\n"),
        (&["allow-intent", "i", "2"], "Unblacklisted 'i' for two\n"),
        (
            &[
                "set-metadata",
                "2",
                "--metadata",
                r#"{"noise_pubkey": "p", "noise_psk": "s", "a": {"b": 1}}"#,
                "--key",
                "a",
                "--value",
                "1.50",
                "--unset",
                "skill_blacklist",
            ],
            "Updated metadata for two: {\"a\": 1.50, \"intent_blacklist\": [], \"noise_psk\": \"********\", \"noise_pubkey\": \"p\"}\n",
        ),
        (&["reset-noise-pin", "2"], "Forgot the pinned Noise key for two. Its next connection will pin the key it presents.\n"),
        (&["reset-noise-pin", "2"], "two has no pinned Noise key — nothing to reset\n"),
        (&["delete-client", "2", "--yes"], "Revoked credentials!\n\nNode ID: 2\nFriendly Name: two\nAccess Key: bbb\n"),
    ] {
        assert_eq!(desk.ok(words), expected, "{words:?}");
    }
    let one = desk.client(1);
    assert_eq!((&one["name"], &one["allowed_types"]), (&"aaa".into(), &serde_json::json!(["speak"])), "the other is untouched");
}

#[test]
fn an_access_key_goes_before_a_number_and_a_revoked_client_is_nobodys_target() {
    let desk = Desk::with_two();
    desk.ok(&["add-client", "--access-key", "1", "--name", "three"]);
    assert!(desk.noted("looks like a client's number"));
    assert_eq!(desk.ok(&["make-admin", "1"]), "Gave administrator powers to three\n");
    assert!(desk.noted("name client 1 by its access key"));
    assert_eq!(desk.ok(&["make-admin", " +02"]), "Gave administrator powers to bbb\n");
    desk.ok(&["delete-client", "2", "--yes"]);
    for (id, part) in [
        ("2", "client 2 is revoked"),
        ("revoked", "neither an access key nor the number"),
        ("BBB", "neither"),
        ("", "neither"),
        ("9", "neither"),
    ] {
        let (exit, message) = desk.fails(&["make-admin", id]);
        assert!(exit == Exit::NoSuchClient && message.contains(part), "{id:?}: {message}");
    }
}

#[test]
fn the_last_word_names_the_client_and_nothing_is_guessed() {
    let desk = Desk::with_two();
    let (exit, message) = desk.fails(&["allow-msg", "a", "b"]);
    assert!(exit == Exit::NoSuchClient && message.contains("last word names the client"), "{message}");
    for word in ["1", "bbb"] {
        let (exit, message) = desk.fails(&["allow-msg", word]);
        assert!(exit == Exit::Usage && message.contains("no message type was given"), "{message}");
    }
    assert!(desk.fails(&["allow-msg", "a b", "1"]).1.contains("white space"));
    assert_eq!(desk.fails(&["allow-msg", "a"]).0, Exit::Usage, "no terminal to choose on");
    assert_eq!(desk.client(1)["allowed_types"], serde_json::json!(["speak"]));
    let desk = desk.answering(&["bbb"]);
    assert_eq!(desk.ok(&["allow-msg", "a"]), "Allowed 'a' for bbb\n");
}

#[test]
fn without_an_id_the_operator_chooses() {
    let empty = Desk::new();
    assert_eq!(empty.fails(&["make-admin"]).0, Exit::Usage, "no terminal");
    let empty = empty.answering(&[]);
    assert_eq!(empty.fails(&["make-admin"]).0, Exit::NoSuchClient);
    empty.ok(&["add-client", "--name", "only"]);
    assert_eq!(empty.ok(&["make-admin"]), "Gave administrator powers to only\n");
    assert!(empty.noted("Client 1 (only), the only one"));

    let desk = Desk::with_two();
    let (exit, message) = desk.fails(&["make-admin"]);
    assert!(exit == Exit::Usage && message.contains("no terminal"), "{message}");
    let desk = desk.answering(&["nope", "7", "2"]);
    assert_eq!(desk.ok(&["make-admin"]), "Gave administrator powers to bbb\n");
    assert!(desk.noted("Please choose one"));
    let desk = desk.answering(&[""]);
    assert_eq!(desk.fails(&["make-admin"]).0, Exit::Aborted);
    assert_eq!(desk.fails(&["make-admin"]).0, Exit::Failed, "the input ended");
    desk.ok(&["delete-client", "1", "--yes"]);
    assert_eq!(desk.ok(&["revoke-admin"]), "Revoked administrator powers for bbb\n", "a revoked one is no choice");
}

/// `delete-client --yes $ID` with an empty variable is what a script gets wrong.
#[test]
fn the_only_client_is_never_taken_to_be_revoked_and_never_without_a_terminal() {
    let desk = Desk::new();
    desk.ok(&["add-client", "--name", "only"]);
    for words in [&["delete-client", "--yes"][..], &["delete-client"], &["make-admin"], &["allow-msg", "a"], &["reset-noise-pin"]]
    {
        let (exit, message) = desk.fails(words);
        assert!(exit == Exit::Usage && message.contains("no terminal"), "{words:?}: {message}");
    }
    let desk = desk.answering(&[""]);
    assert_eq!(desk.fails(&["delete-client", "--yes"]).0, Exit::Aborted);
    assert!(desk.noted("Which client?"));
    let desk = desk.answering(&["1"]);
    assert!(desk.ok(&["delete-client", "--yes"]).starts_with("Revoked credentials!"));
}

#[test]
fn of_an_option_given_twice_the_last_one_holds() {
    let desk = Desk::with_two();
    desk.ok(&["rename-client", "1", "--name", "x", "--name", "y"]);
    assert_eq!(desk.client(1)["name"], "y");
    let add = ["add-client", "--admin", "true", "--admin", "no", "--allow", "a", "--allow", "b", "--json", "--json"];
    let json: serde_json::Value = serde_json::from_str(&desk.ok(&add)).expect("JSON");
    assert_eq!((&json["is_admin"], &json["allowed_types"]), (&false.into(), &serde_json::json!(["a", "b"])), "lists grow");
    desk.ok(&["set-metadata", "1", "--key", "a", "--value", "1", "--key", "b", "--value", "2"]);
    assert_eq!(desk.client(1)["metadata"], serde_json::json!({"b": 2}));
}

#[test]
fn deleting_asks_first() {
    let desk = Desk::with_two().answering(&["what", "YES"]);
    assert!(desk.ok(&["delete-client", "1"]).starts_with("Revoked credentials!"));
    assert!(desk.noted("Delete client 'aaa' (id 1)? This permanently revokes its credentials. [y/N]: "));
    let desk = desk.answering(&["n"]);
    assert_eq!(desk.fails(&["delete-client", "2"]).0, Exit::Aborted);
    let (exit, message) = desk.fails(&["delete-client", "2"]);
    assert!(exit == Exit::Usage && message.contains("--yes"), "{message}");
    assert_eq!(desk.client(2)["api_key"], "bbb");
}

#[test]
fn set_metadata_refuses_incomplete_requests() {
    let desk = Desk::with_two();
    for (words, part) in [
        (&[][..], "pass --metadata"),
        (&["--metadata", "{}"], "pass --metadata"),
        (&["--key", "a"], "--key requires --value"),
        (&["--value", "1"], "--value requires --key"),
        (&["--metadata", "5"], "must be a JSON object"),
        (&["--metadata", "x"], "must be valid JSON"),
    ] {
        let words: Vec<&str> = ["set-metadata", "1"].into_iter().chain(words.iter().copied()).collect();
        let (exit, message) = desk.fails(&words);
        assert!(exit == Exit::Usage && message.contains(part), "{words:?}: {message}");
    }
}
