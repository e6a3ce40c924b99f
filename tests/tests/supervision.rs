//! What the host does with a handle whose plugin panicked: nothing is served from it, nothing comes back behind a close.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use hivemind_model::{Backend, Code, Collection, Context, Key, KeyRef, Kind, Mutation, Query, Row};
use hivemind_tests::{build, loader, place};
use serde_json::{Value, json};

static CX: Context<'static> = Context::unbounded();

fn collection(name: &str) -> Collection {
    Collection::new(name, 1, "id", Kind::Int).field("name", Kind::Text)
}

/// A durable backend whose store the whole test binary shares.
fn misbehaving(folder: &Path, settings: Value) -> Arc<dyn Backend> {
    place(&build::fixture("misbehaving"), folder, "x.so");
    let loader = loader(&[folder], folder);
    loader.open("misbehaving", settings.as_object().expect("an object")).unwrap_or_else(|e| panic!("{e}")).backend
}

#[test]
fn a_panic_in_apply_leaves_the_outcome_unknown_and_the_next_call_gets_a_new_handle() {
    let folder = tempfile::tempdir().expect("a folder");
    let backend = misbehaving(folder.path(), json!({"misdeed": "panic-in-apply", "durable": true}));
    let id = backend.prepare(&CX, &[collection("one")]).expect("prepared")[0];
    let error = backend.apply(&CX, &[]).expect_err("a panic");
    assert_eq!(error.code(), Code::OutcomeUnknown, "it may have committed before it panicked");
    assert!(!error.retryable());
    assert_eq!(backend.get(&CX, id, KeyRef::Int(1)), Ok(None), "a new handle, prepared as the old one was");
}

#[test]
fn collections_keep_their_ids_when_a_handle_is_opened_anew() {
    let folder = tempfile::tempdir().expect("a folder");
    let backend = misbehaving(folder.path(), json!({"misdeed": "panic-in-get", "durable": true}));
    let names = ["one", "two", "three"];
    let ids: Vec<_> = names.iter().map(|n| backend.prepare(&CX, &[collection(n)]).expect("prepared")[0]).collect();
    let row = Row::builder(&collection("three")).set("id", 3).expect("an id").build();
    backend.apply(&CX, &[Mutation::Put { collection: ids[2], row }]).expect("applied");
    assert_eq!(backend.get(&CX, ids[0], KeyRef::Int(666)).expect_err("a panic").code(), Code::Panicked);
    assert!(backend.get(&CX, ids[2], KeyRef::Int(3)).expect("read").is_some());
    assert_eq!(backend.prepare(&CX, &[collection("two"), collection("three")]).expect("prepared"), ids[1..]);
    let gone = Mutation::Delete { collection: ids[2], key: Key::Int(3), when: Vec::new() };
    backend.apply(&CX, &[gone]).expect("applied");
}

#[test]
fn what_was_closed_after_a_panic_stays_closed_and_its_store_is_free() {
    let folder = tempfile::tempdir().expect("a folder");
    let settings = json!({"misdeed": "panic-in-get", "durable": true, "resource": "the one"});
    let backend = misbehaving(folder.path(), settings.clone());
    let id = backend.prepare(&CX, &[collection("one")]).expect("prepared")[0];
    backend.get(&CX, id, KeyRef::Int(666)).expect_err("a panic");
    backend.close(&CX).expect("closed");
    let error = backend.count(&CX, &Query::all(id)).expect_err("closed");
    assert!(error.code() == Code::Unavailable && !error.retryable(), "{error}");
    misbehaving(folder.path(), settings);
}

#[test]
fn many_threads_that_meet_a_panic_all_end_with_an_answer() {
    let folder = tempfile::tempdir().expect("a folder");
    let backend = misbehaving(folder.path(), json!({"misdeed": "panic-in-get", "durable": true}));
    let id = backend.prepare(&CX, &[collection("one")]).expect("prepared")[0];
    std::thread::scope(|scope| {
        for n in 0..8 {
            let backend = &backend;
            scope.spawn(move || {
                for key in 0..200 {
                    let key = if n == 0 && key % 50 == 7 { 666 } else { key };
                    match backend.get(&CX, id, KeyRef::Int(key)) {
                        Ok(_) => {}
                        Err(error) => assert!(matches!(error.code(), Code::Panicked | Code::Poisoned), "{error}"),
                    }
                }
            });
        }
    });
    std::thread::sleep(Duration::from_millis(2100));
    assert_eq!(backend.get(&CX, id, KeyRef::Int(1)), Ok(None), "it recovers");
}

/// Nobody waits for the stuck call again and again, and it is not waited for without end.
#[test]
fn a_panic_beside_a_call_that_never_ends_closes_the_store_for_good() {
    let folder = tempfile::tempdir().expect("a folder");
    let settings = json!({"misdeed": "panic-beside-a-block", "durable": true, "resource": "beside a block"});
    let backend = misbehaving(folder.path(), settings);
    let id = backend.prepare(&CX, &[collection("one")]).expect("prepared")[0];
    let (begin, begun) = std::sync::mpsc::channel();
    let stuck = Arc::clone(&backend);
    std::thread::spawn(move || {
        begin.send(()).expect("awaited");
        stuck.get(&CX, id, KeyRef::Int(667))
    });
    begun.recv().expect("it begins");
    std::thread::sleep(Duration::from_millis(200));
    backend.get(&CX, id, KeyRef::Int(666)).expect_err("a panic");
    let (mut waited, mut refused) = (0, 0);
    let end = loop {
        let error = backend.get(&Context::within(Duration::from_millis(20)), id, KeyRef::Int(1)).expect_err("no new handle");
        match error.message() {
            _ if !error.retryable() => break error,
            message if message.contains("still run in its old handle") => waited += 1,
            message if message.contains("it is tried again in") => refused += 1,
            _ => panic!("{error}"),
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    assert!(waited > 0 && refused > waited, "{waited} waited, {refused} were told at once");
    assert_eq!(end.code(), Code::Unavailable);
    for error in [end, backend.count(&CX, &Query::all(id)).expect_err("for good"), backend.close(&CX).expect_err("not closed")] {
        assert!(error.message().contains("does not come back") && error.message().contains("restart"), "{error}");
    }
}
