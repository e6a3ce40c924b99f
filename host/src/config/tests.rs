use super::*;

struct Folder {
    root: tempfile::TempDir,
    places: Places,
}

fn folder() -> Folder {
    let root = tempfile::tempdir().expect("a folder");
    let places = Places { config: root.path().join("c"), data: root.path().join("d") };
    Folder { root, places }
}

fn written(text: &str) -> (Folder, PathBuf) {
    let folder = folder();
    let path = folder.root.path().join("server.json");
    std::fs::write(&path, text).expect("a file");
    (folder, path)
}

#[test]
fn the_first_run_writes_the_python_nodes_file_for_its_owner_alone() {
    let folder = folder();
    let config = Config::load(None, &folder.places).expect("created");
    assert!(config.was_created());
    let path = folder.places.server_json();
    let text = std::fs::read_to_string(&path).expect("the file");
    assert!(text.starts_with("{\n    \"binarize\": false,\n    \"allowed_encodings\": [\n        \"JSON-B64\","), "{text}");
    assert!(text.ends_with("        \"hivemind-sqlite-db-plugin\": {\n            \"name\": \"clients\",\n            \"subfolder\": \"hivemind-core\"\n        }\n    }\n}"), "{text}");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = |p: &Path| std::fs::metadata(p).expect("there").permissions().mode() & 0o777;
        assert_eq!((mode(&path), mode(path.parent().expect("a folder"))), (0o600, 0o700));
    }
    let again = Config::load(None, &folder.places).expect("read");
    assert!(!again.was_created());
    assert_eq!(again.stored, config.stored);
    assert_eq!(std::fs::read_to_string(&path).expect("the file"), text);
}

#[test]
fn a_file_that_does_not_parse_is_named_by_line_and_left_alone() {
    for (text, place) in [("{\n  \"a\": 1,\n  oops\n}", "line 3 column 3"), ("", "line 1 column 0"), ("[]", "expected an object")]
    {
        let (folder, path) = written(text);
        let failure = Config::load(Some(&path), &folder.places).expect_err("broken");
        assert_eq!(failure.exit, Exit::Config);
        assert!(failure.message.contains(place) && failure.message.contains("server.json"), "{failure}");
        assert_eq!(std::fs::read_to_string(&path).expect("the file"), text);
    }
}

#[test]
fn a_named_file_that_is_missing_is_an_error_and_is_not_created() {
    let folder = folder();
    let path = folder.root.path().join("absent.json");
    let failure = Config::load(Some(&path), &folder.places).expect_err("missing");
    assert!(failure.exit == Exit::Config && !path.exists(), "{failure}");
}

#[test]
fn comments_are_tolerated_and_unknown_settings_kept_in_order() {
    let (folder, path) = written("{\n// a comment\n\"z\": 1, # another\n\"url\": \"http://x\",\n\"a\": {\"b\": 2}\n}");
    let config = Config::load(Some(&path), &folder.places).expect("read");
    let effective = config.effective();
    let names: Vec<_> = effective.as_object().expect("an object").keys().take(3).cloned().collect();
    assert_eq!(names, ["z", "url", "a"]);
    assert_eq!(effective["url"], "http://x");
}

#[test]
fn plugin_folders_are_one_or_many_and_relative_to_the_file() {
    for (text, expected) in [
        ("{}", Some(vec![])),
        (r#"{"plugins_dir": "p"}"#, Some(vec!["p"])),
        (r#"{"plugins_dir": ["/a", "b"]}"#, Some(vec!["/a", "b"])),
        (r#"{"plugins_dir": 5}"#, None),
        (r#"{"plugins_dir": [5]}"#, None),
    ] {
        let (folder, path) = written(text);
        let found = Config::load(Some(&path), &folder.places).expect("read").plugins_dirs();
        let expected = expected.map(|all| all.iter().map(|p| folder.root.path().join(p)).collect::<Vec<_>>());
        assert_eq!(found.ok(), expected, "{text}");
    }
}

#[test]
fn the_password_threshold_reads_as_the_python_node_reads_it() {
    for (text, bits) in [
        ("{}", 40.0),
        (r#"{"min_password_bits": 0}"#, 0.0),
        (r#"{"min_password_bits": "55.5"}"#, 55.5),
        (r#"{"min_password_bits": []}"#, 40.0),
    ] {
        let (folder, path) = written(text);
        let config = Config::load(Some(&path), &folder.places).expect("read");
        assert!((config.min_password_bits() - bits).abs() < f64::EPSILON, "{text}");
    }
}

/// What a log line of somebody debugging would print.
#[test]
fn debug_shows_no_secret_of_the_configuration_or_the_command_line() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("my.json");
    let stored = r#"{"upstream": {"key": "MARK"}, "secret": "MARK",
        "database": {"module": "hivemind-redis-db-plugin", "hivemind-redis-db-plugin": {"password": "MARK"}}}"#;
    std::fs::write(&path, stored).expect("a file");
    let places = Places { config: folder.path().join("c"), data: folder.path().join("d") };
    let config = Config::load(Some(&path), &places).expect("a configuration");
    let words = ["hivemind-host", "--redis-password", "MARK", "add-client", "--password", "MARK", "--access-key", "MARK"];
    let cli = crate::cli::Cli::read(words.iter().chain(&["--metadata", r#"{"noise_psk": "MARK"}"#])).expect("a command line");
    let set = ["hivemind-host", "set-metadata", "1", "--key", "noise_psk", "--value", "MARK", "--metadata", r#"{"a": "MARK"}"#];
    let set = crate::cli::Cli::read(set).expect("a command line");
    let mut overrides = cli.global.overrides();
    overrides.settings.insert("password".to_owned(), "MARK".into());
    let database = config.database(&overrides).expect("a database");
    let settings = database.settings("hivemind-redis-db-plugin").expect("settings");
    for shown in [
        format!("{config:?}"),
        format!("{cli:?}"),
        format!("{set:?}"),
        format!("{:?}", cli.global),
        format!("{overrides:?}"),
        format!("{database:#?}"),
        format!("{settings:?}"),
    ] {
        assert!(!shown.contains("MARK"), "{shown}");
    }
    assert!(format!("{config:?}").contains("upstream") && format!("{settings:?}").contains("password"), "names are shown");
}
