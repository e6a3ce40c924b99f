//! `plugins list`, `info` and `pin`, and a backend that is dropped into a folder.

use std::path::PathBuf;

use hivemind_tests::program::Ended;
use hivemind_tests::{build, place, set_mode};
use serde_json::{Value, json};

use super::*;

/// A folder for plugins below an operator's home, which `plugins_dir` of server.json names.
fn folder(operator: &Operator, module: &str) -> PathBuf {
    let folder = operator.home().join("vendor");
    std::fs::create_dir(&folder).expect("a folder");
    operator.configure(&json!({"database": {"module": module}, "plugins_dir": folder}));
    folder
}

/// The entries of `plugins list --json` that lie in this folder.
fn listed(operator: &Operator, folder: &Path) -> Vec<Value> {
    let Value::Array(all) = parsed(&operator.run(&["plugins", "list", "--json"]).well()) else { panic!("a list") };
    all.into_iter().filter(|entry| Path::new(entry["file"].as_str().expect("a file")).starts_with(folder)).collect()
}

#[test]
fn a_backend_dropped_into_a_folder_is_in_use_after_the_next_start() {
    let operator = with_two("sqlite");
    let folder = folder(&operator, "ledger-db-plugin");
    operator.run(&["status"]).fails(4, &["error[plugin-not-found]", "\"ledger-db-plugin\"", text(&folder), "plugins list"]);
    place(&build::fixture("ledger"), &folder, "anything.so");
    let out = operator.run(&["add-client", "--name", "new", "--access-key", "k"]).well();
    assert!(out.starts_with("Database backend: ledger-db-plugin\n") && out.contains("Node ID: 1\n"), "{out}");
    operator.run(&["allow-msg", "speak", "1"]).well();
    let clients = operator.clients();
    assert_eq!((clients.len(), &clients[0]["name"], &clients[0]["allowed_types"]), (1, &json!("new"), &json!(["speak"])));
    assert!(operator.home().join("data/ledger/clients.ledger").is_file());
    let sqlite = operator.run(&["list-clients", "--json", "--db-backend", "sqlite"]).well();
    assert_eq!(parsed(&sqlite).as_array().map(Vec::len), Some(2), "the old store is as it was");
}

#[test]
fn a_backend_answers_to_its_name_its_alias_and_its_files_absolute_path() {
    let operator = Operator::new();
    let folder = folder(&operator, "ledger-db-plugin");
    let file = place(&build::fixture("ledger"), &folder, "x.so");
    for name in ["ledger-db-plugin", "ledger", text(&file)] {
        for words in [&["status", "--json", "--db-backend", name][..], &["plugins", "info", "--json", name]] {
            let facts = parsed(&operator.run(words).well());
            assert_eq!(facts.get("backend").or_else(|| facts.get("module")), Some(&json!("ledger-db-plugin")), "{words:?}");
        }
    }
    let mut relative = operator.command(&["plugins", "info", "--json", "./x.so"]);
    let facts = parsed(&Ended::from(relative.current_dir(&folder).output().expect("the program starts")).well());
    assert_eq!(facts["module"], "ledger-db-plugin", "a path from where the operator stands");
    let mut relative = operator.command(&["status", "--db-backend", "./x.so"]);
    let ended = Ended::from(relative.current_dir(&folder).output().expect("the program starts"));
    ended.fails(4, &["error[plugin-not-found]"]);
}

/// Mapping a library runs its constructors. One that writes a file shows that looking at a plugin does not map it.
#[test]
fn looking_at_plugins_runs_nothing_of_them() {
    let operator = Operator::new();
    let folder = folder(&operator, "ledger");
    place(&build::fixture("constructor"), &folder, "x.so");
    let mark = operator.home().join("it-ran");
    let run = |words: &[&str]| {
        let output = operator.command(words).env("HIVEMIND_TEST_CONSTRUCTOR", &mark).output();
        Ended::from(output.expect("the program starts")).well()
    };
    for words in [
        &["plugins", "list"][..],
        &["plugins", "list", "--json"],
        &["plugins", "info"],
        &["plugins", "info", "ledger"],
        &["plugins", "info", "--json", text(&folder.join("x.so"))],
        &["plugins", "pin"],
        &["print-config"],
        &["list-clients", "--db-backend", "memory"],
    ] {
        run(words);
        assert!(!mark.exists(), "{words:?}");
    }
    run(&["status"]);
    assert!(mark.exists(), "the constructor does write when the library is mapped");
}

#[test]
fn the_list_has_every_file_with_its_state_and_why_it_is_refused() {
    let operator = Operator::new();
    let folder = folder(&operator, "ledger");
    let ledger = build::fixture("ledger");
    let good = place(&ledger, &folder, "a-good.so");
    let bytes = std::fs::read(&ledger).expect("the library");
    std::fs::write(folder.join("b-half.so"), &bytes[..bytes.len() / 2]).expect("written");
    std::fs::write(folder.join("c-text.so"), "hello").expect("written");
    place(&build::fixture("no-manifest"), &folder, "d-other.so");
    set_mode(&place(&ledger, &folder, "e-open.so"), 0o777);
    std::fs::write(folder.join("readme.txt"), "no library").expect("written");
    for name in ["b-half.so", "c-text.so"] {
        set_mode(&folder.join(name), 0o755);
    }
    let entries = listed(&operator, &folder);
    let brief: Vec<_> =
        entries.iter().map(|e| (e["file"].as_str().and_then(|f| f.rsplit('/').next()), e["state"].as_str())).collect();
    let refused = Some("refused");
    assert_eq!(
        brief,
        [
            (Some("a-good.so"), Some("in use")),
            (Some("b-half.so"), refused),
            (Some("c-text.so"), refused),
            (Some("d-other.so"), refused),
            (Some("e-open.so"), refused)
        ]
    );
    for (entry, why) in entries[1..].iter().zip(["cut short", "a text file", "no hivemind storage plugin", "chmod go-w"]) {
        assert!(entry["why"].as_str().is_some_and(|w| w.contains(why)), "{entry}");
    }
    assert_eq!((entries[0]["module"].as_str(), entries[0]["version"].as_str()), (Some("ledger-db-plugin"), Some("0.3.1")));
    assert_eq!(entries[0]["sha256"].as_str().map(str::len), Some(64));
    let table = operator.run(&["plugins", "list"]).well();
    for part in [text(&good), "ledger-db-plugin", "ready", "refused", "cut short", "hivemind-sqlite-db-plugin"] {
        assert!(table.contains(part), "{part}: {table}");
    }
}

/// What the list calls ready is what the loader takes.
#[test]
fn files_that_the_loader_would_not_take_are_not_called_ready() {
    let operator = Operator::new();
    let folder = folder(&operator, "sqlite");
    let ledger = build::fixture("ledger");
    let [a, b] = ["a.so", "b.so"].map(|name| place(&ledger, &folder, name));
    let entries = listed(&operator, &folder);
    assert_eq!(entries.len(), 2, "{entries:?}");
    for entry in &entries {
        let why = entry["why"].as_str().expect("a reason");
        assert!(entry["state"] == "refused" && why.contains(text(&a)) && why.contains(text(&b)), "{entry}");
        assert_eq!(entry["module"], "ledger-db-plugin");
    }
    // By its own path one of them can be used all the same.
    operator.configure(&json!({"database": {"module": b}, "plugins_dir": folder}));
    let states: Vec<_> = listed(&operator, &folder).iter().map(|e| e["state"].as_str().map(str::to_owned)).collect();
    assert_eq!(states, [Some("refused".to_owned()), Some("in use".to_owned())]);
    operator.configure(&json!({"database": {"module": b}}));
    let entries = listed(&operator, &folder);
    assert_eq!((entries.len(), &entries[0]["state"]), (1, &json!("in use")), "one that lies in no folder that is searched");

    std::fs::remove_file(&b).expect("removed");
    let later = operator.data().join("plugins");
    std::fs::create_dir_all(&later).expect("a folder");
    let copy = place(&ledger, &later, "copy.so");
    operator.configure(&json!({"database": {"module": "sqlite"}, "plugins_dir": folder}));
    assert_eq!(listed(&operator, &folder)[0]["state"], "ready");
    let hidden = &listed(&operator, &later)[0];
    assert_eq!(
        (hidden["state"].as_str(), hidden["shadowed_by"].as_str()),
        (Some(&*format!("shadowed by {}", a.display())), Some(text(&a)))
    );
    let table = operator.run(&["plugins", "list"]).well();
    for part in ["in use", "ready", &format!("shadowed by {}", a.display()), text(&copy)] {
        assert!(table.contains(part), "{part}: {table}");
    }
}

#[test]
fn everything_about_a_plugin_is_told_its_settings_included() {
    let operator = Operator::new();
    let configured = parsed(&operator.run(&["plugins", "info", "--json"]).well());
    assert_eq!(configured["module"], "hivemind-sqlite-db-plugin", "without a name it is the configured one");
    for (alias, setting) in [("sqlite", "synchronous"), ("json", "lock_timeout_ms"), ("memory", "seed")] {
        let facts = parsed(&operator.run(&["plugins", "info", alias, "--json"]).well());
        for name in ["module", "version", "vendor", "licence", "file", "sha256", "abi", "target", "rustc"] {
            assert!(facts[name].as_str().is_some_and(|text| !text.is_empty()), "{name}: {facts}");
        }
        assert_eq!((&facts["aliases"], &facts["pinned"]), (&json!([alias]), &json!(false)));
        assert!(facts["capabilities"].as_array().is_some_and(|all| all.contains(&json!("atomic-batch"))));
        assert!(facts["config"]["properties"][setting]["description"].is_string(), "{facts}");
        let shown = operator.run(&["plugins", "info", alias]).well();
        for part in [facts["sha256"].as_str().expect("a hash"), setting, "Default"] {
            assert!(shown.contains(part), "{part}: {shown}");
        }
    }
    operator.run(&["plugins", "info", "sqlit"]).fails(4, &["error[plugin-not-found]", "did you mean \"sqlite\"?"]);
    operator.run(&["plugins", "info", "/nowhere/x.so"]).fails(4, &["error[plugin-unreadable]", "/nowhere/x.so"]);
}

#[test]
fn a_pinned_plugin_loads_from_that_file_alone_until_it_is_pinned_again() {
    let operator = Operator::new();
    let folder = folder(&operator, "ledger");
    let file = place(&build::fixture("ledger"), &folder, "x.so");
    let done = parsed(&operator.run(&["plugins", "pin", "ledger", "--json"]).well());
    assert_eq!((&done["pinned"][0]["module"], &done["pinned"][0]["file"]), (&json!("ledger-db-plugin"), &json!(file)));
    assert_eq!(done["lock_file"].as_str(), Some(text(&operator.config().with_file_name("plugins.lock.toml"))));
    let out = operator.run(&["plugins", "pin", "ledger"]).well();
    assert!(out.contains(done["pinned"][0]["sha256"].as_str().expect("a hash")), "{out}");
    let lock = operator.config().with_file_name("plugins.lock.toml");
    let hash = listed(&operator, &folder)[0]["sha256"].as_str().expect("a hash").to_owned();
    assert!(out.contains(&format!("Pinned ledger-db-plugin 0.3.1: {hash}")) && out.contains(text(&lock)), "{out}");
    let content = std::fs::read_to_string(&lock).expect("the lock file");
    for part in ["version = 1", "module = \"ledger-db-plugin\"", "version = \"0.3.1\"", "x86_64-unknown-linux-gnu", &hash] {
        assert!(content.contains(part), "{content}");
    }
    assert_eq!(listed(&operator, &folder)[0]["state"], "in use, pinned");
    assert_eq!(parsed(&operator.run(&["plugins", "info", "ledger", "--json"]).well())["pinned"], true);
    operator.run(&["status"]).well();

    place(&build::fixture("constructor"), &folder, "x.so");
    let data = operator.home().join("data/ledger/clients.ledger");
    let before = std::fs::read(&data).expect("the data");
    for words in [&["status"][..], &["add-client"], &["plugins", "info", "ledger"], &["status", "--db-backend", text(&file)]] {
        operator
            .run(words)
            .fails(4, &["error[plugin-not-pinned]", &hash, text(&lock), "hivemind-host plugins pin ledger-db-plugin"]);
    }
    assert_eq!(listed(&operator, &folder)[0]["state"], "refused");
    assert_eq!(std::fs::read(&data).expect("the data"), before);
    operator.run(&["list-clients", "--db-backend", "sqlite"]).well();
    operator.run(&["plugins", "pin", "sqlite", "ledger"]).well();
    operator.run(&["status"]).well();
    let pinned = std::fs::read_to_string(&lock).expect("the lock file");
    assert!(pinned.contains("hivemind-sqlite-db-plugin") && !pinned.contains(&hash), "{pinned}");

    std::fs::write(&lock, "version = 2").expect("written");
    for words in [&["status"][..], &["plugins", "list"], &["plugins", "pin"]] {
        operator.run(words).fails(4, &["error[plugin-bad-lock]", text(&lock), "expected version 1, found 2"]);
    }
    std::fs::write(&lock, &pinned).expect("written");
    operator.run(&["plugins", "pin", "nothing-such"]).fails(4, &["error[plugin-not-found]"]);
    assert_eq!(std::fs::read_to_string(&lock).expect("the lock file"), pinned, "a failed pin leaves the file as it was");
}

#[test]
fn folders_are_searched_in_the_documented_order() {
    let operator = Operator::new();
    let configured = folder(&operator, "ledger");
    let folders = ["flag-1", "flag-2", "environment"].map(|name| {
        let folder = operator.home().join(name);
        std::fs::create_dir(&folder).expect("a folder");
        folder
    });
    let data = operator.data().join("plugins");
    std::fs::create_dir_all(&data).expect("a folder");
    let [first, second, environment] = &folders;
    let found = |words: &[&str]| {
        let mut command =
            operator.command(&["--plugins-dir", text(first), "--plugins-dir", text(second), "plugins", "info", "--json"]);
        let output = command.args(words).env("HIVEMIND_PLUGINS_DIR", environment).output().expect("the program starts");
        let facts = parsed(&Ended::from(output).well());
        PathBuf::from(facts["file"].as_str().expect("a file")).parent().expect("a folder").to_owned()
    };
    for folder in [&data, &configured, environment, second, first] {
        place(&build::fixture("ledger"), folder, "x.so");
        assert_eq!(found(&["ledger"]), *folder);
        // A folder named behind the command comes after those before it, and takes none of them away.
        assert_eq!(found(&["ledger", "--plugins-dir", text(operator.home())]), *folder);
    }
}
