//! What is printed of configurations, damaged data and the program itself.

use super::*;

#[test]
fn print_config_masks_secrets_and_shows_what_is_in_force() {
    let desk = Desk::new();
    let path = desk.folder.path().join("my.json");
    std::fs::write(
        &path,
        r#"{"upstream": {"key": "keysecret", "password": "passsecret"}, "url": "redis://u:urlsecret@h", "database": {"module": "json"}}"#,
    )
    .expect("a file");
    let path = path.to_str().expect("UTF-8");
    let out = desk.ok(&["print-config", "--config", path, "--db-backend", "memory"]);
    let json: serde_json::Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!((&json["database"]["module"], &json["upstream"]["port"]), (&"memory".into(), &5678.into()));
    assert!(!out.contains("secret"), "{out}");
    assert!(desk.ok(&["print-config", "--config", path, "--show-secrets"]).contains("passsecret"));
    let (exit, message) = desk.fails(&["list-clients", "--config", "/nowhere.json"]);
    assert!(exit == Exit::Config && message.contains("/nowhere.json"), "{message}");
}

#[test]
fn stored_control_characters_do_not_reach_the_terminal() {
    let desk = Desk::with_two();
    desk.ok(&["rename-client", "1", "--name", "\u{1b}[2Jx"]);
    for words in [&["list-clients"][..], &["make-admin", "1"], &["delete-client", "1", "--yes"]] {
        assert!(!desk.ok(words).contains('\u{1b}'), "{words:?}");
    }
}

#[test]
fn a_damaged_whitelist_is_shown_and_denies() {
    let desk = Desk::with_two();
    desk.put(&[("api_key", "ccc".into()), ("allowed_types", Value::Json("5".to_owned()))]);
    assert!(desk.ok(&["list-clients"]).contains("(unreadable: denies everything)"));
    let (exit, message) = desk.fails(&["allow-msg", "a", "ccc"]);
    assert!(exit == Exit::Data && message.contains("allowed_types of client 3"), "{message}");
    assert!(message.contains("allow-msg --reset TYPE... 3"), "the way out: {message}");
    assert_eq!(desk.fails(&["blacklist-msg", "a", "3"]).0, Exit::Data);
    assert_eq!(desk.ok(&["allow-msg", "--reset", "a", "b", "a", "3"]), "Allowed only 'a', 'b' for \n");
    assert_eq!(desk.client(3)["allowed_types"], serde_json::json!(["a", "b"]));
    assert_eq!(desk.ok(&["allow-msg", "c", "3"]), "Allowed 'c' for \n");
}

#[test]
fn a_blacklist_that_is_no_list_is_damaged_data_and_no_mistyped_command() {
    let desk = Desk::with_two();
    desk.ok(&["set-metadata", "1", "--key", "skill_blacklist", "--value", "5"]);
    let (exit, message) = desk.fails(&["blacklist-skill", "s", "1"]);
    assert!(exit == Exit::Data && message.contains("set-metadata") && message.contains("client 1"), "{message}");
    assert_eq!(desk.client(1)["metadata"]["skill_blacklist"], 5);
}

#[test]
fn changes_and_new_clients_can_be_read_by_programs() {
    let desk = Desk::with_two();
    let json = |words: &[&str]| -> serde_json::Value { serde_json::from_str(&desk.ok(words)).expect("JSON") };
    let metadata = r#"{"noise_psk": "s", "site": "x"}"#;
    let masked = json(&["set-metadata", "1", "--metadata", metadata, "--json"]);
    assert_eq!((&masked["client_id"], &masked["metadata"]["site"]), (&1.into(), &"x".into()));
    assert_eq!((&masked["metadata"]["noise_psk"], &masked["password"]), (&"********".into(), &"********".into()));
    let shown = json(&["set-metadata", "1", "--unset", "site", "--json", "--show-secrets"]);
    assert_eq!((&shown["metadata"], &shown["password"]), (&serde_json::json!({"noise_psk": "s"}), &"pw".into()));
    let new = json(&["add-client", "--metadata", metadata, "--json"]);
    assert_eq!((&new["metadata"]["noise_psk"], new["password"].as_str().map(str::len)), (&"********".into(), Some(32)));
    assert_eq!(json(&["add-client", "--metadata", metadata, "--json", "--show-secrets"])["metadata"]["noise_psk"], "s");
    assert!(desk.ok(&["add-client", "--metadata", metadata, "--show-secrets"]).contains("\"noise_psk\": \"s\""));
}

#[test]
fn status_tells_how_many_there_are_and_what_to_do_next() {
    let desk = Desk::new();
    let out = desk.ok(&["status"]);
    assert!(out.contains("hivemind-sqlite-db-plugin") && out.contains("hivemind-host add-client"), "{out}");
    let desk = Desk::with_two();
    desk.ok(&["delete-client", "1", "--yes"]);
    let json: serde_json::Value = serde_json::from_str(&desk.ok(&["status", "--json"])).expect("JSON");
    assert_eq!((&json["clients"], &json["revoked_clients"]), (&1.into(), &1.into()));
    assert_ne!(desk.backend.capabilities(), Capabilities::default());
    desk.put(&[("api_key", Value::Nil), ("metadata", Value::Json("{}".to_owned()))]);
    let json: serde_json::Value = serde_json::from_str(&desk.ok(&["status", "--json"])).expect("JSON");
    let counts = ["clients", "revoked_clients", "unreadable_clients"].map(|name| json[name].clone());
    assert_eq!(counts, [2, 1, 0].map(serde_json::Value::from), "without an access key it is not revoked");
}

#[test]
fn completions_and_manual_pages_come_from_the_declarations() {
    let desk = Desk::new();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        assert!(desk.ok(&["completions", shell]).contains("reset-noise-pin"), "{shell}");
    }
    assert!(desk.ok(&["man"]).contains("hivemind\\-host"));
    let dir = desk.folder.path().join("man");
    desk.ok(&["man", dir.to_str().expect("UTF-8")]);
    let page = std::fs::read_to_string(dir.join("hivemind-host-add-client.1")).expect("a page");
    assert!(page.contains("allow\\-weak\\-password"), "{page}");
}
