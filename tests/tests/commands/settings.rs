//! A backend's settings block: what is wrong with it is said before the backend sees it, and a value is never repeated.

use hivemind_tests::program::Ended;
use serde_json::{Value, json};

use super::*;

/// Sixteen characters, which is what a JSON store takes for a password.
const MARK: &str = "XYZZY-4711-PLUGH";

fn configured(module: &str, block: &Value) -> Operator {
    let operator = Operator::new();
    operator.configure(&json!({"database": {"module": module, module: block}}));
    operator
}

#[test]
fn an_unknown_key_or_a_wrong_type_is_named_and_its_value_is_not() {
    for (module, block, parts) in [
        ("sqlite", json!({"db_paht": MARK}), &["unknown key `db_paht`; did you mean `db_path`?"][..]),
        ("sqlite", json!({"qqqqqqqqqqqq": MARK}), &["unknown key `qqqqqqqqqqqq`; known are name, subfolder, password, db_path"]),
        ("sqlite", json!({"synchronous": MARK}), &["`synchronous`: expected one of", "normal"]),
        ("sqlite", json!({"readers": MARK}), &["`readers`: expected integer, found string"]),
        ("sqlite", json!({"readers": 0}), &["`readers`: expected at least 1"]),
        ("sqlite", json!({"readers": 471_100}), &["`readers`: expected at most 64"]),
        ("sqlite", json!({"name": ""}), &["`name`: value is shorter"]),
        ("sqlite", json!({"password": [MARK]}), &["`password`: expected null or string, found array"]),
        ("json", json!({"nmae": MARK, "subfolder": 5}), &["did you mean `name`?", "`subfolder`: expected string, found number"]),
        ("json", json!({"lock_timeout_ms": MARK}), &["`lock_timeout_ms`: expected integer, found string"]),
        ("memory", json!({"sead": MARK}), &["unknown key `sead`; did you mean `seed`?"]),
        ("memory", json!({"seed": {"a": MARK}}), &["`seed`: expected null or string, found object"]),
    ] {
        let operator = configured(module, &block);
        for words in [&["status"][..], &["add-client"]] {
            let ended = operator.run(words);
            assert!(!ended.err.contains(MARK) && !ended.err.contains("4711"), "{module} {block}: {ended:?}");
            ended.fails(3, &[&["error[plugin-settings]", module], parts].concat());
        }
        assert!(!operator.home().join("data").exists(), "{module} {block}: nothing was created");
    }
}

#[test]
fn a_block_or_module_of_the_wrong_shape_names_its_place_in_server_json() {
    for (config, place) in [
        (json!({"database": [MARK]}), "database: expected an object, found a list"),
        (json!({"database": {"module": 4711}}), "database.module: expected the name of a module, found a number"),
        (json!({"database": {"module": null}}), "database.module: expected the name of a module, found null"),
        (json!({"database": {"module": "sqlite", "sqlite": MARK}}), "database.sqlite: expected an object, found a string"),
        (json!({"plugins_dir": 4711}), "plugins_dir: expected a path or a list of paths"),
    ] {
        let operator = Operator::new();
        operator.configure(&config);
        let ended = operator.run(&["status"]);
        assert!(!ended.err.contains("4711"), "{ended:?}");
        ended.fails(3, &["error[config]", text(&operator.config()), place]);
    }
}

#[test]
fn every_key_that_the_python_node_documents_is_accepted() {
    let empty = json!({"name": "clients", "subfolder": "hivemind-core", "password": null});
    for (module, block, file) in [
        ("hivemind-sqlite-db-plugin", empty.clone(), "data/hivemind-core/clients.db"),
        (
            "hivemind-sqlite-db-plugin",
            json!({"name": "k", "subfolder": "hive", "password": null, "db_path": null}),
            "data/hive/k.db",
        ),
        ("hivemind-sqlite-db-plugin", json!({"db_path": "DB"}), "own/place.db"),
        ("hivemind-json-db-plugin", empty.clone(), "data/hivemind-core/clients.json"),
        ("hivemind-json-db-plugin", json!({"name": "k", "subfolder": "hive", "password": ""}), "data/hive/k.json"),
        ("hivemind-json-db-plugin", Value::Null, "data/hivemind-core/clients.json"),
    ] {
        let operator = Operator::new();
        let mut block = block;
        if block["db_path"] == "DB" {
            block["db_path"] = json!(operator.home().join(file));
            std::fs::create_dir(operator.home().join("own")).expect("a folder");
        }
        operator.configure(&json!({"database": {"module": module, module: block}}));
        operator.run(&["add-client"]).well();
        assert!(operator.home().join(file).is_file(), "{module} {block}");
        assert_eq!(operator.clients().len(), 1);
    }
    configured("memory", &json!({"name": "clients", "subfolder": "hivemind-core", "seed": null})).run(&["status"]).well();
}

#[test]
fn a_password_for_a_plain_store_is_refused_and_neither_said_nor_is_anything_touched() {
    for (module, file, code, parts) in [
        ("sqlite", "clients.db", 5, ["error[denied]", "is not encrypted", "password"]),
        ("json", "clients.json", 3, ["error[invalid]", "clients.json", "password"]),
    ] {
        let operator = with_two(module);
        operator.configure(&json!({"database": {"module": module, module: {"password": MARK}}}));
        let path = operator.data().join(file);
        let state =
            || (std::fs::read(&path).expect("the store"), std::fs::metadata(&path).and_then(|m| m.modified()).expect("its time"));
        let before = state();
        for words in [&["status"][..], &["add-client"], &["list-clients"], &["export-clients"], &["make-admin", "1"]] {
            let ended = operator.run(words);
            assert!(!ended.err.contains(MARK) && ended.out.is_empty(), "{ended:?}");
            ended.fails(code, &parts);
        }
        assert!(state() == before, "{module}");
        assert!(!path.with_extension("ejson").exists());
    }
}

#[test]
fn options_for_redis_are_refused_for_any_other_backend() {
    for module in ["sqlite", "json", "memory"] {
        let operator = Operator::with_module(module);
        for words in [&["--redis-host", "h"][..], &["--redis-port", "1"], &["--redis-password", MARK]] {
            let ended = operator.run(&[words, &["list-clients"]].concat());
            assert!(!ended.err.contains(MARK), "{ended:?}");
            ended.fails(2, &["error[usage]", "do not apply to hivemind-", "--db-backend redis"]);
        }
    }
    for value in ["", MARK] {
        let output = Operator::with_module("json").command(&["list-clients"]).env("HIVEMIND_REDIS_PASSWORD", value).output();
        Ended::from(output.expect("the program starts")).well();
    }
    // Nothing can listen on that port.
    let redis = Operator::new().run(&["list-clients", "--db-backend", "redis", "--redis-port", "1", "--redis-password", MARK]);
    assert!(!redis.err.contains(MARK), "{redis:?}");
    redis.fails(5, &["error[unavailable]", "127.0.0.1:1"]);
}
