//! Every command that changes a client: what it says, what is stored then, and that doing it again changes nothing.

use serde_json::{Value, json};

use super::*;

/// A command about client 2, what it prints, and the member of the record it leads to.
type Case = (&'static [&'static str], &'static str, &'static str, fn() -> Value);

/// In an order in which each finds what the one before left.
const CASES: [Case; 34] = [
    (&["rename-client", "bbb", "--name", "zwei"], "Renamed 'bbb' to 'zwei'\n", "/name", || json!("zwei")),
    (&["rename-client", "2", "--name", "zwei"], "Renamed 'zwei' to 'zwei'\n", "/name", || json!("zwei")),
    (&["make-admin", "2"], "zwei is already an administrator!\n", "/is_admin", || json!(true)),
    (&["revoke-admin", "2"], "Revoked administrator powers for zwei\n", "/is_admin", || json!(false)),
    (&["revoke-admin", "2"], "zwei is not an administrator\n", "/is_admin", || json!(false)),
    (&["make-admin", "bbb"], "Gave administrator powers to zwei\n", "/is_admin", || json!(true)),
    (
        &["allow-msg", "c", "speak", "c", "d", "2"],
        "Allowed 'c' for zwei\nAllowed 'd' for zwei\nClient zwei already allowed 'speak'\n",
        "/allowed_types",
        || json!(["speak", "c", "d"]),
    ),
    (&["allow-msg", "c", "2"], "Client zwei already allowed 'c'\n", "/allowed_types", || json!(["speak", "c", "d"])),
    (
        &["blacklist-msg", "c", "x", "2"],
        "Blacklisted 'c' for zwei\nClient 'zwei' message already blacklisted: 'x'\n",
        "/allowed_types",
        || json!(["speak", "d"]),
    ),
    (&["blacklist-msg", "c", "2"], "Client 'zwei' message already blacklisted: 'c'\n", "/allowed_types", || {
        json!(["speak", "d"])
    }),
    (&["allow-broadcast", "2"], "Client zwei already allowed to send 'BROADCAST' messages\n", "/can_broadcast", || json!(true)),
    (&["blacklist-broadcast", "2"], "Blacklisted 'BROADCAST' messages for zwei\n", "/can_broadcast", || json!(false)),
    (&["blacklist-broadcast", "2"], "Client 'zwei' 'BROADCAST' messages already blacklisted\n", "/can_broadcast", || {
        json!(false)
    }),
    (&["allow-broadcast", "2"], "Allowed 'BROADCAST' messages for zwei\n", "/can_broadcast", || json!(true)),
    (&["blacklist-escalate", "2"], "Blacklisted 'ESCALATE' messages for zwei\n", "/can_escalate", || json!(false)),
    (&["blacklist-escalate", "2"], "Client 'zwei' 'ESCALATE' messages already blacklisted\n", "/can_escalate", || json!(false)),
    (&["allow-escalate", "2"], "Allowed 'ESCALATE' messages for zwei\n", "/can_escalate", || json!(true)),
    (&["blacklist-propagate", "2"], "Blacklisted 'PROPAGATE' messages for zwei\n", "/can_propagate", || json!(false)),
    (&["blacklist-propagate", "2"], "Client 'zwei' 'PROPAGATE' messages already blacklisted\n", "/can_propagate", || {
        json!(false)
    }),
    (&["allow-propagate", "2"], "Allowed 'PROPAGATE' messages for zwei\n", "/can_propagate", || json!(true)),
    (&["blacklist-skill", "s2", "2"], "Blacklisted 's2' for zwei\n", "/metadata/skill_blacklist", || json!(["s1", "s2"])),
    (&["blacklist-skill", "s2", "2"], "Client zwei already has 's2' in skill_blacklist\n", "/metadata/skill_blacklist", || {
        json!(["s1", "s2"])
    }),
    (&["allow-skill", "s1", "2"], "Unblacklisted 's1' for zwei\n", "/metadata/skill_blacklist", || json!(["s2"])),
    (&["allow-skill", "s1", "2"], "'s1' is not in skill_blacklist for client zwei\n", "/metadata/skill_blacklist", || {
        json!(["s2"])
    }),
    (&["blacklist-intent", "i:1", "2"], "Blacklisted 'i:1' for zwei\n", "/metadata/intent_blacklist", || json!(["i:1"])),
    (
        &["blacklist-intent", "i:1", "2"],
        "Client zwei already has 'i:1' in intent_blacklist\n",
        "/metadata/intent_blacklist",
        || json!(["i:1"]),
    ),
    (&["allow-intent", "i:1", "2"], "Unblacklisted 'i:1' for zwei\n", "/metadata/intent_blacklist", || json!([])),
    (&["allow-intent", "i:1", "2"], "'i:1' is not in intent_blacklist for client zwei\n", "/metadata/intent_blacklist", || {
        json!([])
    }),
    (
        &["set-metadata", "2", "--metadata", r#"{"room": {"floor": 1}}"#, "--unset", "intent_blacklist"],
        "Updated metadata for zwei: {\"noise_pubkey\": \"p\", \"room\": {\"floor\": 1}, \"skill_blacklist\": [\"s2\"]}\n",
        "/metadata",
        || json!({"noise_pubkey": "p", "room": {"floor": 1}, "skill_blacklist": ["s2"]}),
    ),
    (
        &["set-metadata", "2", "--key", "noise_psk", "--value", "not json"],
        "Updated metadata for zwei: {\"noise_psk\": \"********\", \"noise_pubkey\": \"p\", \"room\": {\"floor\": 1}, \"skill_blacklist\": [\"s2\"]}\n",
        "/metadata/noise_psk",
        || json!("not json"),
    ),
    (
        &["reset-noise-pin", "2"],
        "Forgot the pinned Noise key for zwei. Its next connection will pin the key it presents.\n",
        "/metadata",
        || json!({"noise_psk": "not json", "room": {"floor": 1}, "skill_blacklist": ["s2"]}),
    ),
    (
        &["reset-noise-pin", "2"],
        "zwei has no pinned Noise key — nothing to reset\n",
        "/metadata",
        || json!({"noise_psk": "not json", "room": {"floor": 1}, "skill_blacklist": ["s2"]}),
    ),
    (
        &["delete-client", "2", "--yes"],
        "Revoked credentials!\n\nNode ID: 2\nFriendly Name: zwei\nAccess Key: bbb\n",
        "/api_key",
        || json!("revoked"),
    ),
    (&["allow-msg", "late", "1"], "Allowed 'late' for aaa\n", "/api_key", || json!("revoked")),
];

#[test]
fn every_change_says_what_it_did_is_stored_and_a_second_time_changes_nothing() {
    for module in DURABLE {
        let operator = with_two(module);
        let other = operator.client(1);
        for (words, expected, pointer, value) in CASES {
            let ended = operator.run(words);
            assert_eq!((ended.code, ended.out.as_str(), ended.err.as_str()), (0, expected, ""), "{module} {words:?}");
            let client = operator.client(2);
            assert_eq!(client.pointer(pointer), Some(&value()), "{module} {words:?}: {client}");
            if words.last() != Some(&"1") {
                assert_eq!(operator.client(1), other, "{module} {words:?} touches no other client");
            }
        }
        assert_eq!(operator.client(1)["allowed_types"], json!(["speak", "late"]));
        let gone = json!({"client_id": 2, "api_key": "revoked", "name": "", "description": "", "is_admin": false, "last_seen": -1.0,
            "allowed_types": [], "password": null, "can_broadcast": true, "can_escalate": true, "can_propagate": true, "metadata": {}});
        assert_eq!(operator.client(2), gone, "{module}: nothing of a revoked client is left");
        assert_eq!(parsed(&operator.run(&["list-clients", "--json"]).well()).as_array().map(Vec::len), Some(1));
    }
}

/// What the memory backend is told is gone with the process, but a command works on it all the same.
#[test]
fn every_change_works_on_a_seeded_memory_store_and_never_on_the_seed() {
    let operator = Operator::with_seed(&two_records());
    let seed = std::fs::read(operator.home().join("seed.json")).expect("the seed");
    let before = operator.clients();
    assert_eq!((before.len(), &before[1]["metadata"]["skill_blacklist"]), (2, &json!(["s1"])));
    for (words, part) in [
        (&["rename-client", "aaa", "--name", "x"][..], "Renamed 'aaa' to 'x'"),
        (&["make-admin", "1"], "Gave administrator powers to aaa"),
        (&["make-admin", "2"], "bbb is already an administrator!"),
        (&["revoke-admin", "2"], "Revoked administrator powers for bbb"),
        (&["allow-msg", "a", "b", "1"], "Allowed 'a' for aaa\nAllowed 'b' for aaa"),
        (&["blacklist-msg", "speak", "1"], "Blacklisted 'speak' for aaa"),
        (&["blacklist-broadcast", "1"], "Blacklisted 'BROADCAST' messages for aaa"),
        (&["blacklist-escalate", "1"], "Blacklisted 'ESCALATE' messages for aaa"),
        (&["blacklist-propagate", "1"], "Blacklisted 'PROPAGATE' messages for aaa"),
        (&["allow-broadcast", "1"], "already allowed"),
        (&["allow-escalate", "1"], "already allowed"),
        (&["allow-propagate", "1"], "already allowed"),
        (&["blacklist-skill", "s1", "2"], "already has 's1'"),
        (&["allow-skill", "s1", "2"], "Unblacklisted 's1' for bbb"),
        (&["blacklist-intent", "i", "2"], "Blacklisted 'i' for bbb"),
        (&["allow-intent", "i", "2"], "'i' is not in intent_blacklist"),
        (&["set-metadata", "1", "--key", "n", "--value", "1.50"], "{\"n\": 1.50}"),
        (&["reset-noise-pin", "2"], "Forgot the pinned Noise key for bbb"),
        (&["delete-client", "2", "--yes"], "Revoked credentials!"),
        (&["add-client", "--name", "new"], "Node ID: 3"),
    ] {
        let out = operator.run(words).well();
        assert!(out.contains(part), "{words:?}: {out}");
        assert_eq!(operator.clients(), before, "{words:?}");
    }
    assert_eq!(std::fs::read(operator.home().join("seed.json")).expect("the seed"), seed);
}

#[test]
fn a_member_of_the_metadata_is_json_if_it_can_be_and_text_otherwise() {
    for module in DURABLE {
        let operator = with_two(module);
        for (value, stored) in [
            ("5", json!(5)),
            ("-1.5e3", json!(-1500.0)),
            ("true", json!(true)),
            ("null", Value::Null),
            ("[1, {\"a\": \"ü\"}]", json!([1, {"a": "ü"}])),
            ("\"5\"", json!("5")),
            ("007", json!("007")),
            ("", json!("")),
            ("two words", json!("two words")),
            ("--dash", json!("--dash")),
            ("{broken", json!("{broken")),
            ("line\nbreak \"q\" 🙂", json!("line\nbreak \"q\" 🙂")),
        ] {
            operator.run(&["set-metadata", "1", "--key", "k", "--value", value]).well();
            assert_eq!(operator.client(1)["metadata"], json!({"k": stored}), "{module} {value:?}");
        }
        operator
            .run(&["set-metadata", "1", "--metadata", r#"{"k": 1, "l": 2}"#, "--key", "l", "--value", "3", "--unset", "k"])
            .well();
        assert_eq!(operator.client(1)["metadata"], json!({"l": 3}), "{module}: first --metadata, then --key, then --unset");
        operator.run(&["set-metadata", "1", "--unset", "absent"]).well();
        assert_eq!(operator.client(1)["metadata"], json!({"l": 3}));
    }
}

#[test]
fn lists_show_live_clients_mask_secrets_and_are_strict_json() {
    for operator in all_with_two() {
        let list = operator.run(&["list-clients"]).well();
        for part in ["aaa", "bbb", "speak", "********", "yes"] {
            assert!(list.contains(part), "{list}");
        }
        assert!(!list.contains(" pw "), "{list}");
        assert!(operator.run(&["list-clients", "--show-secrets"]).well().contains(" pw "));
        let json = parsed(&operator.run(&["list-clients", "--json"]).well());
        let names: Vec<_> = json[0].as_object().expect("a record").keys().map(String::as_str).collect();
        assert_eq!(
            names,
            [
                "client_id",
                "api_key",
                "name",
                "description",
                "is_admin",
                "last_seen",
                "allowed_types",
                "password",
                "can_broadcast",
                "can_escalate",
                "can_propagate",
                "metadata"
            ]
        );
        assert_eq!((&json[0]["password"], &json[1]["metadata"]["noise_pubkey"]), (&json!("********"), &json!("p")));
    }
    for module in ["sqlite", "json", "memory"] {
        let empty = Operator::with_module(module);
        assert_eq!(empty.run(&["list-clients", "--json"]).well(), "[]\n");
        assert_eq!(empty.run(&["export-clients"]).well(), "client_id,name,is_admin,access_key,password\n");
        assert!(empty.run(&["list-clients"]).well().contains("Access key"));
    }
}
