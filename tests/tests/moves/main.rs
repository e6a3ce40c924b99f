//! Moving records from one store to another, with the program as an operator runs it.

mod archive;
mod beside;
mod collections;
mod kills;
mod merging;
mod redis;
mod refusals;
mod round_trip;
mod secrets;
mod switch;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use hivemind_tests::program::{Ended, Operator};
use hivemind_tests::redis::Server;
use hivemind_tests::{python, root};
use serde_json::{Value, json};

const JSON: &str = "hivemind-json-db-plugin";
const SQLITE: &str = "hivemind-sqlite-db-plugin";
const REDIS: &str = "hivemind-redis-db-plugin";

/// The text of a `clients.json` with so many clients: big numbers, other scripts, odd metadata, and revoked ones.
fn many(count: u64) -> String {
    let mut text = String::from("{");
    for id in 1..=count {
        let _ = write!(text, "{}\n    \"{id}\": {}", if id == 1 { "" } else { "," }, record(id));
    }
    text + "\n}\n"
}

fn record(id: u64) -> String {
    if id.is_multiple_of(199) {
        return format!(r#"{{"client_id": {id}, "api_key": "revoked"}}"#);
    }
    let metadata = match id % 7 {
        0 => format!(r#"{{"big": {id}12345678901234567890123456789, "tiny": 1e-400, "huge": {id}e300}}"#),
        1 => r#"{"nothing": null, "list": [1, [2.50, {"x": []}], "\ud83d\ude42"], "half": "\ud800"}"#.to_owned(),
        2 => r#"{"NaN": NaN, "infinite": -Infinity, "": {"": ""}, "line\u2028break": "\u0000"}"#.to_owned(),
        3 => r#"{"skill_blacklist": ["a", "b"], "noise_pubkey": "p"}"#.to_owned(),
        _ => "{}".to_owned(),
    };
    let (admin, broadcast) = (id.is_multiple_of(11), !id.is_multiple_of(13));
    let seen = if id.is_multiple_of(3) { "-1".to_owned() } else { format!("1.7{id}e9") };
    let password = if id.is_multiple_of(5) { "null".to_owned() } else { format!("\"p\u{00e4}ss {id}\"") };
    format!(
        r#"{{"client_id": {id}, "api_key": "key-{id:08x}", "name": "Küche 🙂 {id}", "description": "第{id}\t\"x\"", "is_admin": {admin}, "last_seen": {seen}, "allowed_types": ["speak", "t{id}"], "password": {password}, "can_broadcast": {broadcast}, "can_escalate": true, "can_propagate": true, "metadata": {metadata}}}"#
    )
}

/// An operator whose JSON store has these contents in the present schema, and is the configured one.
fn with_json(text: &str) -> Operator {
    let operator = Operator::with_module(JSON);
    operator.write("data/hivemind-core/clients.json", text.as_bytes());
    operator.write("data/hivemind-core/clients.schema_version", b"2");
    operator
}

/// The same, and `redis` leads to this server.
fn with_json_and_redis(text: &str, server: &Server) -> Operator {
    let operator = with_json(text);
    let files = json!({"name": "clients", "subfolder": "hivemind-core"});
    operator.configure(&json!({"database": {"module": JSON, JSON: files, REDIS: {"host": "127.0.0.1", "port": server.port()}}}));
    operator
}

/// The clients of the usual namespace, as [`assert_same`] takes them.
fn in_redis(server: &Server) -> PathBuf {
    PathBuf::from(format!("redis://127.0.0.1:{}/client", server.port()))
}

/// The store of a backend in the usual place.
fn store(operator: &Operator, module: &str) -> PathBuf {
    operator.data().join(if module == JSON { "clients.json" } else { "clients.db" })
}

/// Asserts that Python reads the same clients from both places, but for revoked ones in the second under these ids.
fn assert_same(first: &Path, second: &Path, revoked: &[u64]) {
    let mut command = Command::new(python::venv().join("bin/python"));
    command.arg(root().join("tests/python/same_clients.py")).arg(first).arg(second);
    command.args(revoked.iter().map(u64::to_string));
    let ended = Ended::from(command.output().expect("Python starts"));
    assert_eq!(ended.code, 0, "{ended:?}");
}

/// Asserts that every command refuses a store that is being filled.
fn assert_marked(operator: &Operator, module: &str) {
    for words in [
        &["status"][..],
        &["list-clients"],
        &["add-client"],
        &["listen", "--host", "127.0.0.1", "--port", "0", "--agent", "echo"],
        &["export", "-"],
        &["migrate-db", "--from", module, "--to", "memory"],
    ] {
        let words: Vec<&str> = words.iter().chain(&["--db-backend", module]).copied().collect();
        let ended = operator.run(&words);
        if words[0] == "migrate-db" {
            assert_ne!(ended.code, 0, "{ended:?}");
        } else {
            ended.fails(5, &["error[migrating]", "run it again"]);
        }
    }
}

/// A client of a small store.
fn client(id: u64, key: &str) -> Value {
    json!({"client_id": id, "api_key": key, "name": key, "password": "pw", "allowed_types": ["speak"]})
}

/// A small store.
fn few(clients: &[(u64, &str)]) -> String {
    let all: serde_json::Map<_, _> = clients.iter().map(|(id, key)| (id.to_string(), client(*id, key))).collect();
    Value::Object(all).to_string()
}

/// Ids and access keys, as `list-clients --all` gives them.
fn listed(operator: &Operator, words: &[&str]) -> Vec<(u64, String)> {
    let text = operator.run(&[&["list-clients", "--all", "--json", "--show-secrets"], words].concat()).well();
    let all: Vec<Value> = serde_json::from_str(&text).expect("JSON");
    all.iter().map(|c| (c["client_id"].as_u64().expect("an id"), c["api_key"].as_str().expect("a key").to_owned())).collect()
}
