//! The program on Redis: the options that name a server, and what `status` says of one.

use hivemind_tests::redis::{Deployment, Kind, Server};

use super::*;

const PASSWORD: &str = "MARK-of-the-server";

/// An operator without any configuration, and the options that lead to a server.
fn options(server: &Server) -> [String; 8] {
    let port = server.port().to_string();
    ["--db-backend", "redis", "--redis-host", "127.0.0.1", "--redis-port", &port, "--redis-password", PASSWORD].map(str::to_owned)
}

fn with<'w>(options: &'w [String], words: &[&'w str]) -> Vec<&'w str> {
    words.iter().copied().chain(options.iter().map(String::as_str)).collect()
}

#[test]
fn the_options_for_redis_lead_every_command_to_the_server() {
    let server = Server::start(&[&format!("requirepass {PASSWORD}")]);
    let (operator, options) = (Operator::new(), options(&server));
    let run = |words: &[&str]| {
        let ended = operator.run(&with(&options, words));
        assert!(!ended.err.contains(PASSWORD) && !ended.out.contains(PASSWORD), "{words:?}: {ended:?}");
        ended.well()
    };
    run(&["add-client", "--name", "kitchen", "--access-key", "key-1", "--password", STRONG, "--allow", "speak"]);
    run(&["add-client", "--name", "garden", "--access-key", "key-2", "--password", STRONG]);
    for words in [
        &["rename-client", "1", "--name", "küche"][..],
        &["make-admin", "key-1"],
        &["revoke-admin", "1"],
        &["allow-msg", "a", "b", "1"],
        &["blacklist-msg", "a", "1"],
        &["blacklist-broadcast", "1"],
        &["allow-escalate", "1"],
        &["blacklist-skill", "s", "1"],
        &["set-metadata", "1", "--key", "room", "--value", "3"],
        &["reset-noise-pin", "1"],
        &["status"],
        &["export-clients"],
        &["delete-client", "key-2", "--yes"],
    ] {
        run(words);
    }
    let clients = parsed(&run(&["list-clients", "--json", "--all"]));
    assert_eq!((&clients[0]["name"], &clients[0]["allowed_types"]), (&json!("küche"), &json!(["speak", "b"])));
    assert_eq!((&clients[0]["metadata"]["room"], &clients[1]["api_key"]), (&json!(3), &json!("revoked")));
    let dump = server.dump("client:");
    assert_eq!((dump.text("client:count"), dump.text("client:id_seq")), (Some("2"), Some("2")), "{dump:?}");
    let files: Vec<_> =
        std::fs::read_dir(operator.data()).expect("a folder").map(|entry| entry.expect("an entry").file_name()).collect();
    assert_eq!(files, ["audit.jsonl"], "nothing of it is in files but who changed what");

    // The same from server.json and the environment.
    operator.configure(&json!({"database": {
        "module": "hivemind-redis-db-plugin", "hivemind-redis-db-plugin": {"host": "127.0.0.1", "port": server.port()},
    }}));
    let output = operator.command(&["list-clients", "--json"]).env("HIVEMIND_REDIS_PASSWORD", PASSWORD).output();
    assert!(hivemind_tests::program::Ended::from(output.expect("it starts")).well().contains("key-1"));
    let denied = operator.run(&["list-clients"]);
    denied.fails(5, &["error[denied]", "password"]);
}

#[test]
fn a_server_that_is_not_there_is_unavailable() {
    let server = Server::start(&[]);
    let options = options(&server);
    drop(server);
    let operator = Operator::new();
    for words in [&["list-clients"][..], &["add-client"], &["status"]] {
        let ended = operator.run(&with(&options, words));
        assert!(!ended.err.contains(PASSWORD), "{ended:?}");
        ended.fails(5, &["error[unavailable]", &options[5]]);
    }
}

/// What an acknowledged write is worth depends on the server alone, so it is asked.
#[test]
fn status_says_what_the_server_is_and_what_an_acknowledged_write_is_worth() {
    let worth = |lines: &[&str]| {
        let server = Server::start(lines);
        let operator = Operator::new();
        let port = server.port().to_string();
        let words = ["status", "--json", "--db-backend", "redis", "--redis-host", "127.0.0.1", "--redis-port", &port];
        let facts = parsed(&operator.run(&words).well());
        assert!(facts["location"].as_str().is_some_and(|place| place.contains(&port)), "{facts}");
        assert!(facts.to_string().contains("master"), "its role: {facts}");
        facts["acknowledged_write"].as_str().expect("a text").to_owned()
    };
    let all = [
        worth(&["appendonly yes", "appendfsync always"]),
        worth(&["appendonly yes", "appendfsync everysec"]),
        worth(&["appendonly no", "save 60 1"]),
        worth(&[]),
    ];
    let different: std::collections::BTreeSet<&String> = all.iter().collect();
    assert_eq!(different.len(), 4, "{all:#?}");
    assert!(all[1].contains("second"), "{all:#?}");
    assert!(all[3].contains("lost"), "{all:#?}");
}

#[test]
fn a_cluster_without_a_tag_is_warned_of_with_the_remedy() {
    let deployment = Deployment::start(Kind::ClusterUntagged, &[]);
    let operator = Operator::new();
    let module = "hivemind-redis-db-plugin";
    operator.configure(&json!({"database": {"module": module, module: deployment.settings("client")}}));
    let ended = operator.run(&["status"]);
    assert!(ended.err.contains("cluster_hash_tag") || ended.out.contains("cluster_hash_tag"), "{ended:?}");
    operator.run(&["add-client", "--access-key", "key-1", "--password", STRONG]).well();
    assert_eq!(operator.client(1)["api_key"], "key-1");
}

#[test]
fn a_namespace_is_moved_to_a_tag_on_trial_first() {
    let deployment = Deployment::start(Kind::ClusterUntagged, &[]);
    let operator = Operator::new();
    let module = "hivemind-redis-db-plugin";
    let mut settings = deployment.settings("client");
    operator.configure(&json!({"database": {"module": module, module: settings}}));
    for key in ["key-1", "key-2"] {
        operator.run(&["add-client", "--access-key", key, "--name", key, "--password", STRONG]).well();
    }
    let before = deployment.dump("client");
    let trial = operator.run(&["move-namespace", "hub", "--dry-run"]).well();
    assert!(trial.contains("client:{hub}") && trial.contains("nothing was changed"), "{trial}");
    assert_eq!(deployment.dump("client"), before);
    let moved = operator.run(&["move-namespace", "hub"]).well();
    assert!(moved.contains("cluster_hash_tag"), "{moved}");
    settings.insert("cluster_hash_tag".to_owned(), json!("hub"));
    operator.configure(&json!({"database": {"module": module, module: settings}}));
    assert_eq!((&operator.client(1)["api_key"], &operator.client(2)["api_key"]), (&json!("key-1"), &json!("key-2")));
    operator.run(&["move-namespace", "hub"]).fails(1, &["has the tag"]);
    operator.run(&["--db-backend", "memory", "move-namespace", "hub"]).fails(1, &["unsupported"]);
}
