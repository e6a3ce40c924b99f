//! server.json: written once, read ever after, and never overwritten.

use hivemind_tests::program::Ended;
use serde_json::{Value, json};

use super::*;

#[test]
fn the_first_run_writes_the_python_nodes_file_and_says_so() {
    let operator = Operator::new();
    let ended = operator.run(&["list-clients"]);
    assert!(
        ended.code == 0 && ended.err == format!("Created {} with the standard settings.\n", operator.config().display()),
        "{ended:?}"
    );
    assert_eq!((mode(&operator.config()), mode(operator.config().parent().expect("a folder"))), (0o600, 0o700));
    let written = std::fs::read_to_string(operator.config()).expect("the file");
    let config = parsed(&written);
    assert_eq!(
        config["database"],
        json!({"module": "hivemind-sqlite-db-plugin", "hivemind-sqlite-db-plugin": {"name": "clients", "subfolder": "hivemind-core"}})
    );
    for (name, value) in [("min_password_bits", json!(40)), ("binarize", json!(false)), ("last_seen_update_interval", json!(60))]
    {
        assert_eq!(config[name], value, "{name}");
    }
    let ended = operator.run(&["add-client"]);
    assert_eq!(ended.err, "", "only once");
    assert_eq!(std::fs::read_to_string(operator.config()).expect("the file"), written);
}

/// Plugins are handed the path as text.
#[test]
fn a_data_folder_whose_name_is_no_text_is_a_mistake_of_the_configuration() {
    use std::os::unix::ffi::OsStrExt as _;
    let operator = Operator::new();
    let data = operator.home().join(std::ffi::OsStr::from_bytes(b"data-\xff"));
    for words in [&["add-client"][..], &["status"], &["list-clients", "--db-backend", "memory"]] {
        let output = operator.command(words).env("XDG_DATA_HOME", &data).output().expect("the program starts");
        Ended::from(output).fails(3, &["error[config]", "not UTF-8", "XDG_DATA_HOME"]);
    }
    let made: Vec<_> = std::fs::read_dir(operator.home()).expect("a folder").map(|e| e.expect("an entry").file_name()).collect();
    assert!(!made.iter().any(|name| name.to_string_lossy().starts_with("data")), "{made:?}");
}

#[test]
fn where_only_a_json_store_is_the_first_run_keeps_to_it() {
    let operator = Operator::new();
    operator.write("data/hivemind-core/clients.json", two_records().to_string().as_bytes());
    assert_eq!(parsed(&operator.run(&["list-clients", "--json"]).well()).as_array().map(Vec::len), Some(2));
    let config = parsed(&std::fs::read_to_string(operator.config()).expect("the file"));
    assert_eq!(config["database"]["module"], "hivemind-json-db-plugin");
    assert!(!operator.data().join("clients.db").exists());
}

#[test]
fn a_file_that_does_not_parse_is_named_by_line_and_never_overwritten() {
    for (content, place) in [
        (&b"{\n  \"database\": {\n    oops\n"[..], "line 3 column 5"),
        (b"", "line 1 column 0"),
        (b"[]", "expected an object of settings"),
        (b"{\"a\": 1,}", "line 1 column 9"),
        (b"\xff\xfe{}", "UTF-8"),
    ] {
        let operator = Operator::new();
        let path = operator.write("config/hivemind-core/server.json", content);
        for words in [&["status"][..], &["add-client"], &["print-config"], &["plugins", "list"], &["plugins", "pin"]] {
            operator.run(words).fails(3, &["error[config]", text(&path), place]);
        }
        assert_eq!(std::fs::read(&path).expect("the file"), content);
        assert!(!operator.home().join("data").exists());
        operator.run(&["completions", "bash"]).well();
        operator.run(&["--help"]).well();
    }
}

#[test]
fn what_is_not_known_here_survives_every_command() {
    let operator = Operator::new();
    let content = "{\n  // mine\n  \"mine\": {\"deep\": [1.50, null]},\n  \"database\": {\"module\": \"json\", \"other-db-plugin\": {\"x\": 1}},\n  \"policy\": {\"chain\": []}\n}\n";
    let path = operator.write("config/hivemind-core/server.json", content.as_bytes());
    for words in [
        &["add-client"][..],
        &["make-admin", "1"],
        &["plugins", "pin"],
        &["status"],
        &["print-config"],
        &["delete-client", "1", "--yes"],
    ] {
        operator.run(words).well();
        assert_eq!(std::fs::read_to_string(&path).expect("the file"), content, "{words:?}");
    }
    let shown = parsed(&operator.run(&["print-config"]).well());
    assert_eq!((&shown["mine"], &shown["policy"]["chain"]), (&json!({"deep": [1.5, null]}), &json!([])));
}

#[test]
fn a_named_file_is_used_and_one_that_is_missing_is_an_error_and_not_created() {
    let operator = Operator::new();
    let named = operator.write("elsewhere/my.json", br#"{"database": {"module": "json", "json": {"name": "mine"}}}"#);
    operator.run(&["add-client", "--config", text(&named)]).well();
    operator.run(&["--config", text(&named), "plugins", "pin"]).well();
    assert!(operator.data().join("mine.json").is_file() && named.with_file_name("plugins.lock.toml").is_file());
    assert!(!operator.config().exists(), "the standard file is neither read nor written");
    let missing = operator.home().join("missing.json");
    for words in [&["status"][..], &["add-client"], &["print-config"]] {
        let words: Vec<&str> = words.iter().copied().chain(["--config", text(&missing)]).collect();
        operator.run(&words).fails(3, &["error[config]", text(&missing), "correct the file or --config"]);
    }
    assert!(!missing.exists());
    operator.run(&["status", "--config", text(operator.home())]).fails(3, &["error[config]", "folder"]);
}

#[test]
fn a_folder_that_cannot_be_written_is_named_on_the_first_run() {
    let operator = Operator::new();
    let ended = operator.command(&["status"]).env("XDG_CONFIG_HOME", "/proc/config").output().expect("the program starts");
    Ended::from(ended).fails(3, &["error[config]", "cannot create /proc/config/hivemind-core/server.json", "--config"]);
    operator.write("config", b"a file where a folder should be");
    operator.run(&["status"]).fails(3, &["error[config]", "cannot read", text(&operator.config())]);
}

#[test]
fn folders_come_from_the_xdg_variables_only_when_they_are_absolute() {
    for (config, data, expected) in [
        ("", "", [".config", ".local/share"]),
        ("relative", "./also", [".config", ".local/share"]),
        ("ABSOLUTE", "", ["xdg", ".local/share"]),
        ("", "ABSOLUTE", [".config", "xdg"]),
    ] {
        let operator = Operator::new();
        let absolute = operator.home().join("xdg");
        let value = |text: &str| if text == "ABSOLUTE" { absolute.clone() } else { text.into() };
        let mut command = operator.command(&["add-client"]);
        command.env("XDG_CONFIG_HOME", value(config)).env("XDG_DATA_HOME", value(data)).current_dir(operator.home());
        Ended::from(command.output().expect("the program starts")).well();
        let [config, data] = expected.map(|folder| operator.home().join(folder).join("hivemind-core"));
        assert!(config.join("server.json").is_file() && data.join("clients.db").is_file(), "{expected:?}");
        assert!(!operator.home().join("relative").exists() && !operator.home().join("also").exists());
    }
}

#[test]
fn the_command_line_goes_before_the_file_and_changes_nothing_in_it() {
    let operator = with_two("sqlite");
    let written = std::fs::read(operator.config()).expect("the file");
    for backend in ["json", "hivemind-json-db-plugin"] {
        assert_eq!(operator.run(&["list-clients", "--json", "--db-backend", backend]).well(), "[]\n");
        assert_eq!(parsed(&operator.run(&["print-config", "--db-backend", backend]).well())["database"]["module"], backend);
    }
    assert_eq!(operator.clients().len(), 2);
    assert_eq!(std::fs::read(operator.config()).expect("the file"), written);
}

#[test]
fn print_config_shows_what_is_in_force_and_masks_every_secret() {
    let operator = Operator::new();
    let mark = |n: u32| format!("marker-{n}");
    operator.configure(&json!({
        "upstream": {"enabled": true, "key": mark(1), "password": mark(2)},
        "database": {
            "module": "json",
            "json": {"password": mark(3)},
            "hivemind-redis-db-plugin": {"password": mark(4), "url": format!("redis://user:{}@host:6379/0", mark(5)), "host": "shown"},
        },
        "list": [{"api_key": mark(6)}, {"deep": {"secret": {"any": mark(7)}}}],
        "tokens": {"auth_token": 4711, "noise_psk": mark(8), "noise_pubkey": "open"},
        "ssl_keyfile": "/path/of.pem",
    }));
    for words in [&["print-config"][..], &["print-config", "--json"]] {
        let out = operator.run(words).well();
        assert!(!out.contains("marker-") && !out.contains("4711"), "{out}");
        let shown = parsed(&out);
        assert_eq!(
            (&shown["upstream"]["port"], &shown["min_password_bits"]),
            (&json!(5678), &json!(40)),
            "what is assumed is shown too"
        );
        assert_eq!(shown["database"]["hivemind-redis-db-plugin"]["host"], "shown");
        assert_eq!((&shown["tokens"]["noise_pubkey"], &shown["ssl_keyfile"]), (&json!("open"), &json!("/path/of.pem")));
    }
    let all = operator.run(&["print-config", "--show-secrets"]).well();
    assert!((1..=8).all(|n| all.contains(&mark(n))), "{all}");
    assert!(matches!(parsed(&all)["tokens"]["auth_token"], Value::Number(_)));
}
