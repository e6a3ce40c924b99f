//! Disks that fail, files that are torn, clocks that jump: a typed error that names the file and says what to do, old data intact,
//! and everything works again when the fault is gone, in the same process.

mod clock;
mod disk;
mod each_call;
mod torn;

use std::path::Path;
use std::process::Command;

use hivemind_model::{Change, Code, CollectionId, Error, Key, Mutation, Row, Value};
use hivemind_tests::faults::op::in_full;
use hivemind_tests::faults::process::{Process, collections};
use hivemind_tests::faults::site::Site;

fn peer() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_backend-peer"))
}

/// Another process on the store, with nothing wrong around it.
fn start(site: &dyn Site) -> Process {
    Process::start(site, peer(), |program| Command::new(program)).unwrap_or_else(|e| panic!("another process: {e}"))
}

/// A client under the next id.
fn client(ids: [CollectionId; 2], key: &str) -> Mutation {
    let collection = &collections()[0];
    let row = Row::builder(collection).set("api_key", key).expect("a key").build();
    Mutation::InsertNext { collection: ids[0], row }
}

/// A note with a text of so many bytes.
fn note(ids: [CollectionId; 2], slug: &str, length: usize) -> Mutation {
    let collection = &collections()[1];
    let body = in_full(&format!("{slug}:{length}"));
    let row = Row::builder(collection).set("slug", slug).and_then(|b| b.set("body", body)).expect("a note").build();
    Mutation::Put { collection: ids[1], row }
}

fn increment(ids: [CollectionId; 2], slug: &str) -> Mutation {
    let n = collections()[1].position("n").expect("a field");
    let changes = vec![Change::Increment { field: n, by: Value::Int(1) }];
    Mutation::Update { collection: ids[1], key: Key::from(slug), changes, when: Vec::new() }
}

/// What every error of a fault must be: of a code that says what kind it is, naming a file of the store, saying what to do.
fn assert_helpful(error: &Error, site: &dyn Site, when: &str) {
    use Code::{Busy, Corrupt, Denied, Io, OutcomeUnknown, Unsupported};
    assert!(matches!(error.code(), Busy | Corrupt | Denied | Io | OutcomeUnknown | Unsupported), "{when}: {error}");
    let message = error.message();
    assert!(message.contains(&site.home().display().to_string()), "{when}: which file? {error}");
    let advice =
        ["free space", "raise the limit", "check ", "try again", "restore", "restart", "use a ", "correct ", "read it", "next "];
    assert!(advice.iter().any(|words| message.contains(words)), "{when}: what to do? {error}");
}
