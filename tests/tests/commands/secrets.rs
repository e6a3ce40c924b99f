//! Secrets planted wherever there can be one, and looked for in all that the program says, with everything logged.

use hivemind_tests::program::Ended;
use serde_json::json;

use super::*;

const PASSWORD: &str = "MARK-password-kqzv-7351";
const GIVEN: &str = "MARK-given-jwxp-9024-vmbt";
const PSK: &str = "MARK-psk";
const PSK_FOR: &str = "MARK-for-psk";
const REDIS: &str = "MARK-redis";
const DATABASE: &str = "MARK-database";
const UPSTREAM: &str = "MARK-upstream";

/// Runs a command with everything logged that can be, and a secret in the environment that is for another backend.
fn loudly(operator: &Operator, words: &[&str]) -> Ended {
    let mut command = operator.command(words);
    command.args(["--verbose", "--verbose"]).env("RUST_LOG", "trace").env("RUST_BACKTRACE", "full");
    command.env("HIVEMIND_REDIS_PASSWORD", REDIS);
    command.output().expect("the program starts").into()
}

fn silent(words: &[&str], ended: &Ended) {
    for (stream, said) in [("stdout", &ended.out), ("stderr", &ended.err)] {
        assert!(!said.contains("MARK"), "{words:?} shows a secret on {stream}: {said}");
    }
}

/// A client with every secret a record can hold.
fn planted(module: &str) -> Operator {
    let operator = Operator::new();
    operator.configure(&json!({
        "database": {
            "module": module,
            module: {"name": "clients"},
            "hivemind-redis-db-plugin": {"password": REDIS},
            "another-db-plugin": {"password": DATABASE},
        },
        "upstream": {"key": UPSTREAM, "password": UPSTREAM},
    }));
    let metadata = json!({"noise_psk": PSK, "noise_psk_for": PSK_FOR, "nested": {"token": PSK}, "site": "shown"}).to_string();
    operator.run(&["add-client", "--name", "one", "--access-key", "one", "--password", PASSWORD, "--metadata", &metadata]).well();
    operator.run(&["add-client", "--name", "two", "--access-key", "two", "--password", PASSWORD, "--metadata", &metadata]).well();
    operator
}

#[test]
fn no_command_says_a_secret_it_was_not_asked_for_whether_it_succeeds_or_fails() {
    for module in DURABLE {
        let operator = planted(module);
        let cases: [(&[&str], i32); 40] = [
            (&["list-clients"], 0),
            (&["list-clients", "--json"], 0),
            (&["list-clients", "--all"], 0),
            (&["status"], 0),
            (&["status", "--json"], 0),
            (&["print-config"], 0),
            (&["print-config", "--json"], 0),
            (&["plugins", "list"], 0),
            (&["plugins", "list", "--json"], 0),
            (&["plugins", "info"], 0),
            (&["plugins", "pin"], 0),
            (&["rename-client", "1", "--name", "uno"], 0),
            (&["make-admin", "1"], 0),
            (&["make-admin", "1"], 0),
            (&["revoke-admin", "one"], 0),
            (&["allow-msg", "speak", "1"], 0),
            (&["blacklist-msg", "speak", "1"], 0),
            (&["blacklist-broadcast", "1"], 0),
            (&["allow-broadcast", "1"], 0),
            (&["blacklist-escalate", "1"], 0),
            (&["blacklist-propagate", "1"], 0),
            (&["blacklist-skill", "s", "1"], 0),
            (&["allow-intent", "s", "1"], 0),
            (&["set-metadata", "1", "--key", "a", "--value", "1"], 0),
            (&["set-metadata", "1", "--key", "noise_psk", "--value", PSK], 0),
            (&["set-metadata", "1", "--key", "p", "--value", "{\"password\": \"MARK-inner\"}"], 0),
            (&["set-metadata", "1", "--metadata", "{\"psk\": \"MARK-broken\""], 2),
            (&["set-metadata", "1", "--metadata", "\"MARK-text\""], 2),
            (&["set-metadata", "9", "--key", "noise_psk", "--value", PSK], 6),
            (&["reset-noise-pin", "1"], 0),
            (&["make-admin", "9"], 6),
            (&["make-admin"], 2),
            (&["delete-client", "1"], 2),
            (&["add-client", "--access-key", "one", "--password", GIVEN], 7),
            (&["add-client", "--password", "MARKMARK"], 2),
            (&["add-client", "--password", GIVEN, "--metadata", "{"], 2),
            (&["add-client", "--password", GIVEN, "--allow", "a b"], 2),
            (&["add-client", "--password", "MARK\u{2028}kqzv-7351-jwxp-vmbt"], 2),
            (&["list-clients", "--redis-password", REDIS], 2),
            (&["list-clients", "--db-backend", "redis", "--redis-port", "1", "--redis-password", REDIS], 5),
        ];
        for (words, code) in cases {
            let ended = loudly(&operator, words);
            assert_eq!(ended.code, code, "{module} {words:?}: {ended:?}");
            silent(words, &ended);
        }
        let delete = &["delete-client", "1", "--yes"];
        let ended = loudly(&operator, delete);
        silent(delete, &ended);
        ended.well();
    }
}

#[test]
fn a_store_that_cannot_be_opened_or_read_says_no_secret_either() {
    for module in DURABLE {
        let operator = planted(module);
        let block = |settings: serde_json::Value| operator.configure(&json!({"database": {"module": module, module: settings}}));
        for settings in [json!({"password": DATABASE}), json!({"passwrd": DATABASE}), json!({"password": {"value": DATABASE}})] {
            block(settings);
            for words in [&["list-clients"][..], &["status", "--json"], &["print-config"], &["plugins", "info"]] {
                silent(words, &loudly(&operator, words));
            }
        }
        // A secret in the wrong place; that is all that is known of it.
        for settings in [json!({"name": [DATABASE]}), json!({"readers": DATABASE}), json!(DATABASE)] {
            block(settings);
            for words in [&["list-clients"][..], &["status", "--json"], &["plugins", "info"]] {
                silent(words, &loudly(&operator, words));
            }
        }
    }
    let operator = planted("hivemind-json-db-plugin");
    let file = operator.data().join("clients.json");
    let stored = std::fs::read_to_string(&file).expect("the store");
    for (what, broken) in [
        ("cut", stored[..stored.rfind("MARK").expect("a secret") + 6].to_owned()),
        ("type", stored.replace("\"is_admin\": false", &format!("\"is_admin\": {PASSWORD:?}"))),
        ("number", stored.replace(&format!("{PASSWORD:?}"), "{\"x\": \"MARK-object\"}")),
    ] {
        std::fs::write(&file, broken).expect("written");
        for words in [&["list-clients"][..], &["list-clients", "--json"], &["make-admin", "1"], &["status"], &["add-client"]] {
            let ended = loudly(&operator, words);
            silent(&[&[what], words].concat(), &ended);
        }
        std::fs::write(&file, &stored).expect("written");
    }
    let path =
        operator.write("config/hivemind-core/server.json", format!("{{\"password\": \"{DATABASE}\", {DATABASE}}}").as_bytes());
    silent(&[text(&path)], &loudly(&operator, &["status"]));
}

#[test]
fn what_was_asked_for_is_shown_and_a_new_clients_credentials_once() {
    let operator = planted("hivemind-sqlite-db-plugin");
    let shown = |words: &[&str], parts: &[&str]| {
        let ended = loudly(&operator, words);
        assert!(!ended.err.contains("MARK"), "{words:?}: {ended:?}");
        let out = ended.well();
        parts.iter().for_each(|part| assert!(out.contains(part), "{words:?} shows {part}: {out}"));
    };
    shown(&["export-clients"], &[PASSWORD]);
    shown(&["list-clients", "--show-secrets"], &[PASSWORD]);
    shown(&["list-clients", "--json", "--show-secrets"], &[PASSWORD, PSK, PSK_FOR]);
    shown(&["print-config", "--show-secrets"], &[REDIS, DATABASE, UPSTREAM]);
    shown(&["set-metadata", "1", "--key", "a", "--value", "1", "--show-secrets"], &[PSK, PSK_FOR]);
    shown(&["add-client", "--password", GIVEN, "--access-key", "three"], &[GIVEN, "three"]);
    shown(&["add-client", "--password", GIVEN, "--json"], &[GIVEN]);
    let metadata = json!({"noise_psk": PSK}).to_string();
    let printed = loudly(&operator, &["add-client", "--metadata", &metadata]).well();
    assert!(!printed.contains("MARK") && printed.contains("********"), "the text masks what is not its credentials: {printed}");
}

/// `ps` shows every user what `/proc/<pid>/cmdline` holds: what was typed, and nothing that was read from elsewhere.
#[test]
fn the_process_list_has_nothing_but_what_was_typed() {
    use std::io::Write as _;
    use std::process::Stdio;

    let operator = planted("hivemind-json-db-plugin");
    let mut command = operator.command(&["add-client", "--password-stdin", "--name", "typed"]);
    command.env("HIVEMIND_REDIS_PASSWORD", "").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the program starts");
    let mut input = child.stdin.take().expect("a pipe");
    input.write_all(GIVEN.as_bytes()).expect("written");
    let seen = (0..200).find_map(|_| {
        std::thread::sleep(std::time::Duration::from_millis(10));
        let line = std::fs::read(format!("/proc/{}/cmdline", child.id())).expect("the process lives");
        let line = String::from_utf8_lossy(&line).into_owned();
        line.contains("--password-stdin").then_some(line)
    });
    let seen = seen.expect("its command line");
    assert!(seen.contains("typed") && !seen.contains("MARK"), "{seen:?}");
    drop(input);
    let ended = Ended::from(child.wait_with_output().expect("the program ends"));
    assert!(ended.well().contains(GIVEN));
}
