//! Several programs on one store at the same time: workers of ours (the typed store over the loaded library, several threads each), our
//! program started again and again, Python processes with the node's own plugins, and the Python node's command line.

mod beside;
mod cached;
mod check;
mod same_rows;

use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hivemind_tests::program::Operator;
use hivemind_tests::python::Peer;
use serde_json::{Value, json};

const SQLITE: &str = "hivemind-sqlite-db-plugin";
const JSON: &str = "hivemind-json-db-plugin";

/// The name of a module's kind to the Python peer.
fn kind(module: &str) -> &str {
    if module == SQLITE { "sqlite" } else { "json" }
}

/// A process of ours that has the operator's store open.
fn worker(operator: &Operator, module: &str) -> Peer {
    let mut command = Command::new(env!("CARGO_BIN_EXE_store-worker"));
    command.arg(hivemind_tests::build::shipped_plugins()).arg(module).arg(operator.home().join("data"));
    Peer::of(command, operator.home())
}

/// A Python process that has it open.
fn python(operator: &Operator, module: &str) -> Peer {
    let mut peer = Peer::start(operator.home());
    peer.ask(&json!({"op": "open", "kind": kind(module)}));
    peer
}

/// All clients as Python's plugin lists them to a process that opens the store anew.
fn python_lists(operator: &Operator, module: &str) -> Vec<Value> {
    match python(operator, module).ask(&json!({"op": "list"})) {
        Value::Array(clients) => clients,
        other => panic!("a list, not {other}"),
    }
}

/// For a run of many processes, which has the machine to itself: two at a time show nothing more, and on two cores each of them would
/// wait for the other's.
fn alone() -> MutexGuard<'static, ()> {
    static RUNS: Mutex<()> = Mutex::new(());
    // A run that failed is over all the same.
    RUNS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How long a run takes: what the project promises, unless somebody who looks for something else says so.
fn run_time(standard: u64) -> Duration {
    let named = std::env::var("HIVEMIND_RUN_SECONDS").ok().and_then(|text| text.parse().ok());
    Duration::from_secs(named.unwrap_or(standard))
}
