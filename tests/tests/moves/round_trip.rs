//! All records from JSON to SQLite and back.

use super::*;

/// Records that nobody can read: a wrong type, and a key that is another one than the record's.
const UNREADABLE: [(u64, &str); 2] =
    [(77, r#"{"client_id": 77, "api_key": "u77", "is_admin": "maybe"}"#), (20_000, r#"{"client_id": 20000, "api_key": 5}"#)];

#[test]
fn twenty_thousand_clients_come_back_from_sqlite_as_they_went() {
    let mut text = many(20_000);
    for (id, damaged) in UNREADABLE {
        text = text.replace(&record(id), damaged);
    }
    let operator = with_json(&text);
    let (json, sqlite, back) = (store(&operator, JSON), store(&operator, SQLITE), operator.data().join("back/clients.json"));
    // Neither looking nor refusing leaves a trace.
    let looked = operator.run(&["migrate-db", "--dry-run"]).well();
    for part in [
        "19998 client(s) can be read",
        "clients 77 cannot be read",
        "clients 20000 cannot be read",
        "2 id(s)",
        "would be refused",
    ] {
        assert!(looked.contains(part), "{part} in {looked}");
    }
    operator.run(&["migrate-db"]).fails(8, &["error[not-carried]", "clients 77", "clients 20000", "--leave-behind"]);
    assert!(!sqlite.exists());

    let ended = operator.run(&["migrate-db", "--leave-behind"]);
    assert!(ended.err.contains("left behind: clients 77"), "{ended:?}");
    let said = ended.well();
    assert!(said.contains(&format!("Migrated 20000 client(s) from {JSON} to {SQLITE}.")) && said.contains("Checked"), "{said}");
    assert_same_but_unreadable(&json, &sqlite, &operator);

    let settings = ["--from", "sqlite", "--to", "json", "--to-setting", "subfolder=hivemind-core/back"];
    operator.run(&[&["migrate-db"][..], &settings].concat()).well();
    assert_same(&sqlite, &back, &[]);
    assert_same_but_unreadable(&json, &back, &operator);
    assert_eq!(std::fs::read_to_string(&json).expect("the source"), text, "the source is untouched");

    // What is there already is not written again.
    let said = operator.run(&[&["migrate-db"][..], &settings].concat()).well();
    assert!(said.contains("nothing was written"), "{said}");
}

/// Python reads the damaged ones in a way of its own.
fn assert_same_but_unreadable(json: &Path, moved: &Path, operator: &Operator) {
    let mut text = std::fs::read_to_string(json).expect("the store");
    for (id, damaged) in UNREADABLE {
        text = text.replace(damaged, &format!(r#"{{"client_id": {id}, "api_key": "revoked"}}"#));
    }
    let expected = operator.write("expected.json", text.as_bytes());
    assert_same(&expected, moved, &[]);
}

#[test]
fn gaps_are_filled_and_encrypted_stores_are_sources_and_targets() {
    let operator = with_json(&few(&[(2, "b"), (5, "e")]));
    let secret = operator.write("secret", b"sixteen letters!\n");
    hivemind_tests::set_mode(&secret, 0o600);
    let password = format!("password_file={}", secret.display());
    let said = operator.run(&["migrate-db", "--to-setting", &password]).well();
    assert!(said.contains("Migrated 5 client(s)") && said.contains("3 are revoked ones"), "{said}");
    let bytes = std::fs::read(store(&operator, SQLITE)).expect("the database");
    assert!(!bytes.starts_with(b"SQLite format 3"), "it is encrypted");
    let back = [
        "migrate-db",
        "--from",
        "sqlite",
        "--from-setting",
        &password,
        "--to",
        "json",
        "--to-setting",
        &password,
        "--to-setting",
        "subfolder=sealed",
    ];
    operator.run(&back).well();
    assert!(operator.home().join("data/sealed/clients.ejson").is_file());
    operator.configure(&json!({"database": {"module": JSON, JSON: {"subfolder": "sealed"}}}));
    let mut command = operator.command(&["list-clients", "--all", "--json", "--show-secrets"]);
    let ended = Ended::from(command.env("HIVEMIND_JSON_PASSWORD", "sixteen letters!").output().expect("the program starts"));
    let keys: Vec<Value> = serde_json::from_str(&ended.well()).expect("JSON");
    let keys: Vec<&str> = keys.iter().map(|c| c["api_key"].as_str().expect("a key")).collect();
    assert_eq!(keys, ["revoked", "b", "revoked", "revoked", "e"]);
}

#[test]
fn a_terminal_sees_a_bar_with_rate_and_time_left() {
    let operator = with_json(&many(3000));
    let ended = operator.run_on_terminal(&["migrate-db"], &[]);
    for part in ["reading", "copying", "checking", " of 3,000", "/s", " left", "Migrated 3000"] {
        assert!(ended.out.contains(part), "{part} in {}", ended.out);
    }
}
