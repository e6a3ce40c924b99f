use std::collections::BTreeSet;

use hivemind_abi::model::Code;
use serde_json::Value;

use super::*;

#[test]
fn the_schema_and_the_settings_have_the_same_names_types_and_defaults() {
    let schema: Value = serde_json::from_str(include_str!("../config.schema.json")).expect("the schema is JSON");
    let properties = schema["properties"].as_object().expect("properties");
    let error = Config::parse(r#"{"odd": 1}"#).expect_err("an unknown key");
    // Serde's message lists what it knows between backquotes, after the unknown name.
    let known: BTreeSet<&str> = error.message().split('`').skip(3).step_by(2).collect();
    assert_eq!(known, properties.keys().map(String::as_str).collect(), "{error}");
    for (name, property) in properties {
        let block = serde_json::json!({ name: property["default"] }).to_string();
        assert_eq!(Config::parse(&block).expect(name), Config::default(), "the default of {name}");
        assert!(property["description"].is_string() && !property["type"].is_null(), "{name}");
        assert_eq!(property["writeOnly"] == true, name.ends_with("password"), "{name} is marked as the secret that it is");
    }
    for key in ["connect_timeout_ms", "socket_timeout_ms"] {
        assert_eq!(properties[key]["maximum"], LONGEST_WAIT_MS);
    }
    assert_eq!(properties["max_connections"]["maximum"], MOST_CONNECTIONS);
    assert_eq!(properties["retry_attempts"]["maximum"], MOST_RETRIES);
    for word in properties["ssl_cert_reqs"]["enum"].as_array().expect("words") {
        Config::parse(&serde_json::json!({ "ssl_cert_reqs": word }).to_string()).expect("a word of the schema");
    }
}

#[test]
fn a_block_that_the_python_node_takes_is_taken() {
    let config = Config::parse(
        r#"{"host": null, "port": null, "db": null, "username": null, "name": null, "subfolder": "hivemind-core", "index_prefix": null,
            "password": "", "cluster_hash_tag": " ", "cluster_nodes": [], "ssl": null, "ssl_certfile": ""}"#,
    );
    assert_eq!(config.expect("nulls"), Config { subfolder: Some("hivemind-core".to_owned()), ..Config::default() });
    let config = Config::parse(r#"{"use_ssl": false, "ssl": true, "cluster_hash_tag": " hub ", "retry_delay": 1}"#).expect("ssl");
    assert!(config.use_ssl && config.cluster_hash_tag.as_deref() == Some("hub"));
    let config = Config::parse(r#"{"cluster_nodes": [{"host": "a", "port": "7000"}, {"host": "b", "port": 7001}]}"#);
    let ports: Vec<u16> = config.expect("nodes").cluster_nodes.expect("nodes").iter().map(|n| n.port).collect();
    assert_eq!(ports, [7000, 7001]);
    assert!(!Config::parse(r#"{"use_ssl": true, "ssl_cert_reqs": "none"}"#).expect("none").checks_hostname());
}

#[test]
fn a_password_is_never_repeated() {
    let config = Config::parse(r#"{"password": "tulip-98", "sentinel_password": "tulip-98"}"#).expect("passwords");
    assert!(!format!("{config:?}").contains("tulip"), "{config:?}");
    for block in [
        r#"{"password": ["tulip-98"]}"#,
        r#"{"password": {"tulip-98": "tulip-98"}}"#,
        r#"{"sentinel_password": 98}"#,
        r#"{"password": "tulip-98", "port": 0}"#,
        r#"{"host": "redis://default:tulip-98@example.org:6379/0"}"#,
        r#"{"password": "tulip-98"#,
    ] {
        let error = Config::parse(block).expect_err(block);
        assert_eq!(error.code(), Code::Invalid, "{error}");
        assert!(!format!("{error:?}").contains("98"), "{error:?}");
    }
}

#[test]
fn a_wrong_setting_is_named() {
    for (block, name) in [
        (r#"{"port": 0}"#, "port"),
        (r#"{"port": 65536}"#, "65536"),
        (r#"{"db": -1}"#, "db"),
        (r#"{"max_connections": 0}"#, "max_connections"),
        (r#"{"retry_delay": -0.1}"#, "retry_delay"),
        (r#"{"retry_attempts": -1}"#, "-1"),
        (r#"{"api_key_cache_ttl": -1}"#, "api_key_cache_ttl"),
        (r#"{"admission_record_ttl": 0}"#, "admission_record_ttl"),
        (r#"{"socket_timeout_ms": 0}"#, "socket_timeout_ms"),
        (r#"{"cluster_hash_tag": "{hub}"}"#, "cluster_hash_tag"),
        (r#"{"cluster_nodes": [{"host": "a", "port": "x"}]}"#, "port"),
        (r#"{"cluster_nodes": [{"host": "", "port": 1}]}"#, "cluster_nodes"),
        (r#"{"cluster_nodes": [{"host": "a", "port": 1}], "db": 1}"#, "db"),
        (r#"{"sentinels": [{"host": "a", "port": 1}], "unix_socket": "/run/redis.sock"}"#, "sentinels"),
        (r#"{"unix_socket": "/run/redis.sock", "ssl": true}"#, "use_ssl"),
        (r#"{"ssl_keyfile": "/etc/key.pem"}"#, "ssl_certfile"),
        (r#"{"ssl_cert_reqs": "maybe"}"#, "maybe"),
        (r#"{"host": ""}"#, "host"),
        (r#"{"hots": "a"}"#, "hots"),
    ] {
        let error = Config::parse(block).expect_err(block);
        assert_eq!(error.code(), Code::Invalid);
        assert!(error.message().contains(name), "{block}: {error}");
    }
}
