//! The program as an operator runs it: a real process, the plugins as libraries on disk, real files, and a real terminal where one is
//! needed. One theme per file.

mod add;
mod audit;
mod certificates;
mod changes;
mod config;
mod documents;
mod export;
mod files;
mod listen;
mod plugins;
mod policy;
mod redis;
mod refusals;
mod secrets;
mod settings;
mod status;
mod terminal;
mod wrong;

use std::path::Path;

use hivemind_tests::program::Operator;
use serde_json::{Value, json};

/// The backends that keep what they are given.
const DURABLE: [&str; 2] = ["hivemind-sqlite-db-plugin", "hivemind-json-db-plugin"];

/// A password that is strong enough.
const STRONG: &str = "correct horse battery staple 7";

/// Two clients, `aaa` and `bbb`, as a seed or a store of the JSON backend.
fn two_records() -> Value {
    json!({
        "1": {"client_id": 1, "api_key": "aaa", "name": "aaa", "password": "pw", "allowed_types": ["speak"]},
        "2": {"client_id": 2, "api_key": "bbb", "name": "bbb", "password": "pw", "allowed_types": ["speak"], "is_admin": true,
              "metadata": {"noise_pubkey": "p", "skill_blacklist": ["s1"]}},
    })
}

/// An operator with those two clients in a store of this module, added by the program itself.
fn with_two(module: &str) -> Operator {
    let operator = Operator::with_module(module);
    let add = |key: &str, more: &[&str]| {
        let mut words = vec!["add-client", "--name", key, "--access-key", key, "--password", "pw", "--allow-weak-password"];
        words.extend(["--allow", "speak"].iter().chain(more));
        operator.run(&words).well();
    };
    add("aaa", &[]);
    add("bbb", &["--admin", "--metadata", r#"{"noise_pubkey": "p", "skill_blacklist": ["s1"]}"#]);
    operator
}

/// All three shipped backends, each with the two clients.
fn all_with_two() -> Vec<Operator> {
    let mut all: Vec<_> = DURABLE.iter().map(|module| with_two(module)).collect();
    all.push(Operator::with_seed(&two_records()));
    all
}

/// A path as text.
fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

/// What must be JSON.
fn parsed(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|e| panic!("{e}: {text}"))
}

/// The permission bits of a file or folder.
fn mode(path: &Path) -> u32 {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::metadata(path).unwrap_or_else(|e| panic!("{}: {e}", path.display())).permissions().mode() & 0o7777
}
