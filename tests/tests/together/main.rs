//! Several programs on one store at the same time: workers of ours (the typed store over the loaded library, several threads each), our
//! program started again and again, Python processes with the node's own plugins, and the Python node's command line.

mod beside;
mod cached;
mod check;
mod same_rows;

use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hivemind_tests::python::Peer;
use hivemind_tests::redis::Kind;
use hivemind_tests::redis::sync::Writers;
use hivemind_tests::together::place::{JSON, Place, REDIS, SQLITE};
use serde_json::{Value, json};

/// A process of ours that has the store open.
fn worker(place: &Place) -> Peer {
    place.worker(Path::new(env!("CARGO_BIN_EXE_store-worker")))
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
