//! Another password through the program, and who may learn it.

use hivemind_tests::python::Peer;

use super::*;

const SECOND: &str = "MARK-another-one";

#[test]
fn another_password_a_first_one_and_none_and_the_python_node_opens_each() {
    for module in [SQLITE, JSON] {
        let operator = Store { module, password: None }.operator();
        add(&operator, "a");
        let secret = operator.write("secret", format!("{PASSWORD}\nnot this\n").as_bytes());
        for (before, after) in [(None, Some(PASSWORD)), (Some(PASSWORD), Some(SECOND)), (Some(SECOND), None)] {
            let ended = match after {
                Some(SECOND) => {
                    let mut command = operator.command(&["db", "rekey", "--switch"]);
                    command.env("HIVEMIND_NEW_PASSWORD", SECOND).output().expect("the program starts").into()
                }
                Some(_) => operator.run(&["db", "rekey", "--switch", "--password-file", text(&secret)]),
                None => operator.run(&["db", "rekey", "--switch", "--decrypt"]),
            };
            assert!(!format!("{ended:?}").contains("MARK"), "{ended:?}");
            ended.well();
            let config = parsed(&std::fs::read_to_string(operator.config()).expect("read"));
            assert_eq!(config["database"][module]["password"], json!(after));
            assert_eq!(config["database"][module]["name"], "clients", "nothing else was changed");
            let copies: Vec<_> = files(operator.config().parent().expect("a folder"));
            let copies = copies.iter().filter(|f| text(f).contains("server.json.old"));
            assert!(copies.inspect(|copy| assert_eq!(mode(copy), 0o600)).count() > 0, "the old configuration is kept");
            assert_eq!(keys(&operator), ["a"]);
            let store = Store { module, password: after };
            assert!(store.file(&operator).is_file());
            assert_private(&operator);
            if after.is_some() {
                let bytes = std::fs::read(store.file(&operator)).expect("read");
                assert!(!bytes.windows(7).any(|w| w == b"api_key"), "it is encrypted");
            }
            let mut peer = Peer::start(operator.home());
            peer.ask(&json!({"op": "open", "kind": store.kind(), "password": after}));
            assert_eq!(peer.ask(&json!({"op": "get_by_key", "key": "a"}))["name"], "a");
            drop(peer);
            Store { module, password: before }.configure(&operator);
            assert_ne!(operator.run(&["list-clients"]).code, 0, "the old password is none any more");
            store.configure(&operator);
        }
        let left: Vec<_> = files(&operator.data()).into_iter().filter(|f| text(f).ends_with(".tmp")).collect();
        assert!(left.is_empty(), "{left:?}");
    }
}

#[test]
fn without_switch_it_says_what_to_change() {
    let operator = PLAIN[0].operator();
    add(&operator, "a");
    let before = std::fs::read(operator.config()).expect("read");
    let mut command = operator.command(&["db", "rekey"]);
    let ended = hivemind_tests::program::Ended::from(command.env("HIVEMIND_NEW_PASSWORD", PASSWORD).output().expect("starts"));
    let said = ended.well();
    assert!(said.contains("set `password`") && said.contains("server.json") && !said.contains("MARK"), "{said}");
    assert_eq!(std::fs::read(operator.config()).expect("read"), before);
}

#[test]
fn the_password_is_asked_for_twice_and_not_shown() {
    let operator = PLAIN[0].operator();
    add(&operator, "a");
    let steps = [("New password:", "MARK-typed-in-se\n"), ("again:", "MARK-typed-in-sf\n")];
    let ended = operator.run_on_terminal(&["db", "rekey"], &steps);
    assert!(ended.code == 2 && !ended.out.contains("MARK") && ended.out.contains("differ"), "{ended:?}");
    let steps = [("New password:", "MARK-typed-in-se\n"), ("again:", "MARK-typed-in-se\n")];
    let ended = operator.run_on_terminal(&["db", "rekey", "--switch"], &steps);
    assert!(ended.code == 0 && !ended.out.contains("MARK"), "{ended:?}");
    assert_eq!(keys(&operator), ["a"]);
}

#[test]
fn what_cannot_be_done_is_refused_and_changes_nothing() {
    let operator = PLAIN[0].operator();
    operator.run(&["db", "rekey", "--decrypt"]).fails(1, &["error[invalid]", "is not there yet"]);
    add(&operator, "a");
    operator.run(&["db", "rekey"]).fails(2, &["no new password", "HIVEMIND_NEW_PASSWORD"]);
    let empty = operator.write("empty", b"\n");
    operator.run(&["db", "rekey", "--password-file", text(&empty)]).fails(2, &["is empty"]);
    let before = std::fs::read(PLAIN[0].file(&operator)).expect("read");
    let secret = operator.write("secret", PASSWORD.as_bytes());
    let rekey = ["db", "rekey", "--password-file", text(&secret)];
    // A Python node has it open.
    let mut peer = Peer::start(operator.home());
    peer.ask(&json!({"op": "open", "kind": "sqlite"}));
    assert_eq!(peer.ask(&json!({"op": "get_by_key", "key": "a"}))["name"], "a");
    operator.run(&rekey).fails(5, &["error[busy]", "open in another program"]);
    assert_eq!(peer.ask(&json!({"op": "get_by_key", "key": "a"}))["name"], "a");
    drop(peer);
    // A configuration with comments is not rewritten.
    let config = std::fs::read_to_string(operator.config()).expect("read");
    std::fs::write(operator.config(), format!("// mine\n{config}")).expect("written");
    operator.run(&[&rekey[..], &["--switch"]].concat()).fails(3, &["it has comments", "nothing was changed"]);
    assert_eq!(keys(&operator), ["a"]);
    assert_eq!(std::fs::read(PLAIN[0].file(&operator)).expect("read").len(), before.len());
    // The key of a JSON store has sixteen characters.
    let json = PLAIN[1].operator();
    add(&json, "a");
    let short = json.write("short", b"MARK-short");
    let ended = json.run(&["db", "rekey", "--password-file", text(&short)]);
    assert!(!ended.err.contains("MARK"), "{ended:?}");
    ended.fails(1, &["expected 16 characters"]);
    assert_eq!(keys(&json), ["a"]);
}

#[test]
fn a_password_from_elsewhere_is_not_changed_in_server_json() {
    let operator = PLAIN[0].operator();
    add(&operator, "a");
    let secret = operator.write("secret", PASSWORD.as_bytes());
    operator.run(&["db", "rekey", "--switch", "--password-file", text(&secret)]).well();
    PLAIN[0].configure(&operator);
    let before = std::fs::read(operator.config()).expect("read");
    let run = |words: &[&str]| {
        let mut command = operator.command(words);
        let output = command.env("HIVEMIND_SQLITE_PASSWORD", PASSWORD).output();
        hivemind_tests::program::Ended::from(output.expect("the program starts"))
    };
    let ended = run(&["db", "rekey", "--switch", "--decrypt"]);
    assert!(ended.code == 2 && ended.err.contains("HIVEMIND_SQLITE_PASSWORD") && !ended.err.contains("MARK"), "{ended:?}");
    assert_eq!(std::fs::read(operator.config()).expect("read"), before);
    assert!(run(&["list-clients"]).well().contains('a'), "nothing was changed");
    let said = run(&["db", "rekey", "--decrypt"]).well();
    assert!(said.contains("HIVEMIND_SQLITE_PASSWORD"), "{said}");
    assert_eq!(keys(&operator), ["a"]);
}
