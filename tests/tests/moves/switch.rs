//! `--switch`.

use super::*;

#[test]
fn the_configuration_names_the_target_when_all_is_done_and_the_old_one_is_kept() {
    let operator = with_json(&few(&[(1, "a"), (2, "b")]));
    let secret = operator.write("config/hivemind-core/secret", b"hunter2 of the file\n");
    hivemind_tests::set_mode(&secret, 0o600);
    let before = "// mine\n{\"extra\": {\"big\": 1}, \"database\": {\"module\": \"json\", \"json\": {\"name\": \"clients\"}}}";
    operator.write("config/hivemind-core/server.json", before.as_bytes());
    let words = ["migrate-db", "--switch", "--to-setting", "password_file=secret", "--to-setting", "readers=2"];
    let said = operator.run(&words).well();
    assert!(said.contains("server.json.old"), "{said}");
    let after = std::fs::read_to_string(operator.config()).expect("server.json");
    assert!(!after.contains("hunter2"));
    let after: Value = serde_json::from_str(&after).expect("JSON");
    assert_eq!(after["database"]["module"], SQLITE);
    assert_eq!(after["database"][SQLITE], json!({"password_file": "secret", "readers": 2}));
    assert_eq!((&after["extra"]["big"], &after["database"]["json"]["name"]), (&json!(1), &json!("clients")));
    let kept = operator.config().with_file_name("server.json.old");
    assert_eq!(std::fs::read_to_string(&kept).expect("the old one"), before);
    assert_eq!(listed(&operator, &[]), [(1, "a".to_owned()), (2, "b".to_owned())]);
    assert!(operator.run(&["status"]).well().contains(SQLITE));

    // Once more, to somewhere else: nothing that was kept is written over.
    operator.run(&["migrate-db", "--to", "json", "--to-setting", "subfolder=other", "--switch"]).well();
    assert_eq!(std::fs::read_to_string(&kept).expect("the old one"), before);
    assert!(operator.config().with_file_name("server.json.old1").is_file());
    assert_eq!(listed(&operator, &[]).len(), 2);
}

#[test]
fn a_move_that_fails_switches_nothing() {
    let operator = with_json(&few(&[(1, "twice"), (2, "twice")]));
    let before = std::fs::read_to_string(operator.config()).expect("server.json");
    operator.run(&["migrate-db", "--switch"]).fails(8, &["not-carried"]);
    operator.run(&["migrate-db", "--switch", "--dry-run"]).fails(2, &["--dry-run"]);
    assert_eq!(std::fs::read_to_string(operator.config()).expect("server.json"), before);
    assert!(!operator.config().with_file_name("server.json.old").exists());
}
