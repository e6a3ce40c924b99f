//! Keeping data through the program: backups of stores in use, the way back, and what an operator does to a store. Real processes, the
//! plugins as libraries on disk, the real Python plugins. One theme per file.

mod commands;
mod damage;
mod full;
mod kills;
mod live;
mod redis;
mod rekey;

use std::path::{Path, PathBuf};

use hivemind_tests::program::Operator;
use serde_json::{Value, json};

const SQLITE: &str = "hivemind-sqlite-db-plugin";
const JSON: &str = "hivemind-json-db-plugin";
const REDIS: &str = "hivemind-redis-db-plugin";
/// Fit for both: the JSON backend takes sixteen characters.
const PASSWORD: &str = "MARK-sixteen-ch.";

/// A backend that keeps what it is given, and its password.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Store {
    module: &'static str,
    password: Option<&'static str>,
}

const PLAIN: [Store; 2] = [Store { module: SQLITE, password: None }, Store { module: JSON, password: None }];
const ENCRYPTED: [Store; 2] =
    [Store { module: SQLITE, password: Some(PASSWORD) }, Store { module: JSON, password: Some(PASSWORD) }];

impl Store {
    /// An operator who has configured it.
    fn operator(self) -> Operator {
        let operator = Operator::new();
        self.configure(&operator);
        operator
    }

    fn configure(self, operator: &Operator) {
        let block = json!({"name": "clients", "subfolder": "hivemind-core", "password": self.password});
        operator.configure(&json!({"database": {"module": self.module, self.module: block}}));
    }

    /// The file that holds the clients.
    fn file(self, operator: &Operator) -> PathBuf {
        operator.data().join(match (self.module, self.password) {
            (SQLITE, _) => "clients.db",
            (_, None) => "clients.json",
            (_, Some(_)) => "clients.ejson",
        })
    }

    /// What the Python peer calls it.
    fn kind(self) -> &'static str {
        if self.module == SQLITE { "sqlite" } else { "json" }
    }
}

fn all() -> impl Iterator<Item = Store> {
    PLAIN.into_iter().chain(ENCRYPTED)
}

fn add(operator: &Operator, key: &str) {
    operator.run(&["add-client", "--access-key", key, "--name", key, "--password", "correct horse battery staple 7"]).well();
}

fn keys(operator: &Operator) -> Vec<String> {
    operator.clients().iter().filter_map(|c| c["api_key"].as_str().map(str::to_owned)).collect()
}

/// A path as text.
fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

fn mode(path: &Path) -> u32 {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::metadata(path).unwrap_or_else(|e| panic!("{}: {e}", path.display())).permissions().mode() & 0o7777
}

/// Every file below a folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten() {
        let path = entry.expect("an entry").path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found.sort();
    found
}

/// Asserts that nothing but its owner reads a store, its backups and what lies beside them.
fn assert_private(operator: &Operator) {
    for file in files(&operator.data()) {
        assert_eq!(mode(&file), 0o600, "{}", file.display());
    }
}

fn parsed(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|e| panic!("{e}: {text}"))
}
