//! `policy list`, `policy test` and `derive-psk`, beside those of the Python node.

use hivemind_tests::python::hivemind_core;

use super::*;

/// The last JSON object in what a Python command printed among its log lines.
fn object(text: &str) -> Value {
    let start = text.rfind("\n{").map_or(0, |at| at + 1);
    parsed(&text[start..])
}

#[test]
fn a_message_is_judged_as_the_python_node_judges_it() {
    let operator = with_two("hivemind-sqlite-db-plugin");
    for (key, kind) in [("aaa", "speak"), ("aaa", "other"), ("bbb", "speak"), ("bbb", "other")] {
        let ours = object(&operator.run(&["policy", "test", key, kind]).well());
        let (code, said) = hivemind_core(operator.home(), &["policy", "test", key, kind]);
        assert_eq!(code, 0, "{said}");
        let theirs = object(&said);
        for member in ["denied", "code", "reason", "data"] {
            // Where nothing is denied they leave the words empty in their own ways.
            if ours["denied"] == true || member == "denied" {
                assert_eq!(ours[member], theirs[member], "{key} {kind} {member}: {ours} {theirs}");
            }
        }
    }
    let allowed = object(&operator.run(&["policy", "test", "bbb", "speak"]).well());
    assert_eq!(allowed["mutations"], json!([{"session": "blacklisted_skills", "add": ["s1"]}]));
    let default = object(&operator.run(&["policy", "test", "1", "speak", "--session", "default"]).well());
    assert_eq!((default["denied"].clone(), default["code"].clone()), (json!(true), json!("session_id_default_forbidden")));
    operator.run(&["policy", "test", "nobody", "speak"]).fails(6, &["error[unknown-client]"]);
}

#[test]
fn the_chain_is_listed_in_its_order() {
    let operator = Operator::new();
    let all = operator.run(&["policy", "list"]).well();
    assert!(all.contains("whitelist") && all.contains("hivemind-ovos-agent-policy"), "{all}");
    operator.configure(&json!({"policy": {"chain": []}}));
    assert!(!operator.run(&["policy", "list"]).well().contains("hivemind-ovos-agent-policy"));
    operator.configure(&json!({"policy": {"chain": ["x"]}}));
    operator.run(&["policy", "list"]).fails(3, &["policy.chain[0]"]);
}

#[test]
fn a_derived_key_is_the_python_nodes() {
    let operator = Operator::new();
    let (code, said) = hivemind_core(operator.home(), &["derive-psk", "--password", STRONG, "--node-id", "the node"]);
    assert_eq!(code, 0, "{said}");
    let theirs =
        said.lines().map(str::trim).find(|line| line.len() == 64 && line.bytes().all(|b| b.is_ascii_hexdigit())).expect("a key");
    let ours = operator.run(&["derive-psk", "--password", STRONG, "--node-id", "the node"]).well();
    assert_eq!(ours.trim(), theirs);
    let typed =
        operator.run_with_input(&["derive-psk", "--password-stdin", "--node-id", "the node"], &format!("{STRONG}\n")).well();
    assert_eq!(typed.trim(), theirs);
    operator.run(&["derive-psk", "--node-id", "n"]).fails(2, &["there is no password", "HIVEMIND_PASSWORD"]);
    // Whose node is meant is known once there is one.
    operator.run(&["derive-psk", "--password", STRONG]).fails(3, &["_identity.json", "--node-id"]);
    operator.write("config/hivemind/_identity.json", br#"{"public_key": "the node"}"#);
    assert_eq!(operator.run(&["derive-psk", "--password", STRONG]).well().trim(), theirs);
}
