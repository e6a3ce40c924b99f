//! Adding, listing and exporting clients.

use super::*;

#[test]
fn add_client_prints_the_credentials_in_the_python_nodes_words() {
    let desk = Desk::new();
    let out = desk.ok(&[
        "add-client",
        "--name",
        "Küche",
        "--access-key",
        "k2",
        "--password",
        "correct horse battery staple zebra",
        "--admin",
        "true",
        "--metadata",
        r#"{"z": 1, "a": "ü", "n": 1.0}"#,
        "--allow",
        "speak",
        "--allow",
        "a.b",
        "--allow",
        "speak",
    ]);
    assert_eq!(
        out,
        "Database backend: hivemind-sqlite-db-plugin\nCredentials added to database!\n\nNode ID: 1\nAdmin Privileges: True\n\
         Friendly Name: Küche\nAccess Key: k2\nPassword: correct horse battery staple zebra\n\
         Metadata: {\"a\": \"ü\", \"n\": 1.0, \"z\": 1}\nAllowed Message Types: speak, a.b\n"
    );
    let bare = desk.ok(&["add-client"]);
    assert!(
        bare.contains("Friendly Name: HiveMind-Node-1\n")
            && bare.contains("allow-msg ovos.utterance.handle recognizer_loop:utterance 2")
    );
    let record = desk.client(2);
    for field in ["api_key", "password"] {
        let text = record[field].as_str().expect("text");
        assert!(text.len() == 32 && text.bytes().all(|b| b.is_ascii_hexdigit()), "{field}");
    }
    assert_eq!(
        (&record["is_admin"], &record["allowed_types"], &record["metadata"]),
        (&false.into(), &serde_json::json!([]), &serde_json::json!({}))
    );
    let json: serde_json::Value = serde_json::from_str(&desk.ok(&["add-client", "--json"])).expect("JSON");
    assert_eq!((&json["client_id"], json["password"].as_str().map(str::len)), (&3.into(), Some(32)));
}

#[test]
fn add_client_refuses_what_the_python_node_refuses_and_adds_nothing() {
    let desk = Desk::with_two();
    for (words, exit, part) in [
        (&["--password", "Password123!"][..], Exit::Usage, "too guessable"),
        (&["--access-key", "aaa"], Exit::Conflict, "(Node ID: 1, Friendly Name: aaa)"),
        (&["--access-key", "revoked"], Exit::Usage, "marks revoked clients"),
        (&["--allow", "a b"], Exit::Usage, "white space"),
        (&["--allow", ""], Exit::Usage, "empty"),
        (&["--metadata", "[]"], Exit::Usage, "must be a JSON object"),
        (&["--metadata", "{"], Exit::Usage, "must be valid JSON"),
        (&["--name", "a\u{2028}b"], Exit::Usage, "U+2028"),
        (&["--password-stdin"], Exit::Usage, "no password"),
    ] {
        let words: Vec<&str> = std::iter::once("add-client").chain(words.iter().copied()).collect();
        let (found, message) = desk.fails(&words);
        assert!(found == exit && message.contains(part), "{words:?}: {message}");
        assert!(!message.contains("Password123!"), "{message}");
    }
    assert_eq!(desk.list().len(), 2);
}

#[test]
fn a_password_can_come_from_the_standard_input() {
    let desk = Desk::new().answering(&["correct horse battery staple zebra"]);
    desk.ok(&["add-client", "--password-stdin"]);
    assert_eq!(desk.client(1)["password"], "correct horse battery staple zebra");
}

#[test]
fn lists_mask_secrets_and_leave_revoked_clients_out() {
    let desk = Desk::with_two();
    desk.ok(&["set-metadata", "1", "--metadata", r#"{"noise_psk": "topsecret", "site": "x", "nan": NaN}"#]);
    desk.ok(&["delete-client", "2", "--yes"]);
    for words in [&["list-clients"][..], &["list-clients", "--json"], &["list-clients", "--all"]] {
        let out = desk.ok(words);
        assert!(!out.contains("topsecret") && !out.contains("\"pw\"") && !out.contains(" pw "), "{out}");
        assert_eq!(out.contains("revoked"), words.contains(&"--all"), "{out}");
    }
    let shown = desk.ok(&["list-clients", "--show-secrets"]);
    assert!(shown.contains(" pw ") && shown.contains("speak"), "{shown}");
    let json: serde_json::Value = serde_json::from_str(&desk.ok(&["list-clients", "--json"])).expect("JSON");
    assert_eq!(json.as_array().map(Vec::len), Some(1));
    assert_eq!((&json[0]["password"], &json[0]["metadata"]["nan"]), (&"********".into(), &serde_json::Value::Null));
    assert_eq!(Desk::new().ok(&["list-clients", "--json"]), "[]\n");
}

#[test]
fn an_export_is_csv_that_reads_back_and_is_for_its_owner_alone() {
    let desk = Desk::with_two();
    let odd = "a,\"b\"\nc";
    desk.ok(&["rename-client", "1", "--name", odd]);
    let out = desk.ok(&["export-clients"]);
    assert!(out.starts_with("client_id,name,is_admin,access_key,password\n1,\"a,\"\"b\"\"\nc\",False,aaa,pw\n2,"), "{out}");
    assert!(desk.noted("in clear"));
    let path = desk.folder.path().join("out.csv");
    std::fs::write(&path, "old").expect("a file");
    assert_eq!(desk.ok(&["export-clients", "--path", path.to_str().expect("UTF-8")]), "");
    assert_eq!(std::fs::read_to_string(&path).expect("the file"), out);
    #[cfg(unix)]
    assert_eq!(std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&path).expect("there").permissions()) & 0o777, 0o600);
    desk.ok(&["export-clients", "--path", desk.folder.path().to_str().expect("UTF-8")]);
    assert!(desk.folder.path().join("hivemind_clients.csv").is_file());
    let (exit, message) = desk.fails(&["export-clients", "--path", "/nowhere/at/all.csv"]);
    assert!(exit == Exit::Failed && message.contains("/nowhere/at/all.csv"), "{message}");
}
