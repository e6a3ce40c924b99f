//! Opening a loaded plugin, and what it may do wrong then.

use hivemind_host::plugins::{OpenError, Opened};
use hivemind_model::{Code, Context, KeyRef, Mutation, Query, Row};
use serde_json::json;

use super::*;

fn code(error: &OpenError) -> &'static str {
    match error {
        OpenError::Refused(refusal) => refusal.reason.code(),
        OpenError::Backend { .. } => "the backend's own",
    }
}

fn misbehaving(block: Value) -> (Folder, Result<Opened, OpenError>) {
    let folder = Folder::new().with("misbehaving", "x.so");
    let opened = folder.loader().open("misbehaving", &settings(&block));
    (folder, opened)
}

#[test]
fn wrong_settings_name_the_nearest_key_and_never_the_value() {
    let (_folder, opened) = misbehaving(json!({"duarble": true, "secret": 12345, "limit": 0, "misdeed": "HUNTER2"}));
    let error = opened.err().expect("a refusal");
    assert_eq!(code(&error), "settings");
    assert_says(
        &error,
        &[
            "unknown key `duarble`; did you mean `durable`?",
            "`secret`: expected string, found number",
            "`limit`: expected at least 1",
            "`misdeed`: value does not match",
        ],
    );
    assert!(!error.to_string().contains("12345") && !error.to_string().contains("HUNTER2"), "{error}");
}

#[test]
fn a_panic_while_opening_or_more_promises_than_declared_is_an_error_and_the_host_lives() {
    let (_folder, opened) = misbehaving(json!({"misdeed": "panic-in-open"}));
    assert_says(&opened.err().expect("an error"), &["panicked", "misbehaving as told in open"]);
    let folder = Folder::new();
    folder.write("x.so", &patched("misbehaving", r#""network""#, r#""netw0rk""#));
    let opened = folder.loader().open("misbehaving", &settings(&json!({"claims": ["network"]})));
    let error = opened.err().expect("an error");
    assert_eq!(code(&error), "overpromises");
    assert_says(&error, &["promises more than its manifest declares"]);
}

#[test]
fn an_answer_without_message_or_with_a_malformed_row_is_an_error() {
    let cx = Context::unbounded();
    let (_folder, opened) = misbehaving(json!({"misdeed": "silent-error"}));
    let backend = opened.expect("open").backend;
    let id = backend.prepare(&cx, &[things()]).expect("prepared")[0];
    assert_says(&backend.get(&cx, id, KeyRef::Int(1)).expect_err("an error"), &["without a message"]);
    let (_folder, opened) = misbehaving(json!({"misdeed": "malformed-row"}));
    let backend = opened.expect("open").backend;
    let id = backend.prepare(&cx, &[things()]).expect("prepared")[0];
    let row = backend.get(&cx, id, KeyRef::Int(1)).expect("bytes").expect("a row");
    assert_eq!(row.view(&things()).expect_err("malformed").code(), Code::Invalid);
}

#[test]
fn after_a_panic_a_durable_backend_is_opened_again_with_its_data() {
    let cx = Context::unbounded();
    let (_folder, opened) = misbehaving(json!({"misdeed": "panic-in-get", "durable": true}));
    let backend = opened.expect("open").backend;
    let id = backend.prepare(&cx, &[things()]).expect("prepared")[0];
    let row = Row::builder(&things()).set("id", 1).expect("an id").build();
    backend.apply(&cx, &[Mutation::Insert { collection: id, row }]).expect("applied");
    assert_eq!(backend.get(&cx, id, KeyRef::Int(666)).expect_err("a panic").code(), Code::Panicked);
    assert_eq!(backend.count(&cx, &Query::all(id)), Ok(1), "opened again, prepared again, same ids");
    // The second panic comes within the pause.
    assert_eq!(backend.get(&cx, id, KeyRef::Int(666)).expect_err("a panic").code(), Code::Panicked);
    let refused = backend.count(&cx, &Query::all(id)).expect_err("not yet");
    assert!(refused.code() == Code::Poisoned && refused.retryable(), "{refused}");
    std::thread::sleep(std::time::Duration::from_millis(300));
    assert_eq!(backend.count(&cx, &Query::all(id)), Ok(1));
}

#[test]
fn after_a_panic_a_backend_that_is_not_durable_fails_closed_for_ever() {
    let cx = Context::unbounded();
    let (_folder, opened) = misbehaving(json!({"misdeed": "panic-in-apply"}));
    let backend = opened.expect("open").backend;
    let id = backend.prepare(&cx, &[things()]).expect("prepared")[0];
    assert_eq!(backend.apply(&cx, &[]).expect_err("a panic").code(), Code::OutcomeUnknown, "it may have committed");
    for _ in 0..2 {
        let error = backend.get(&cx, id, KeyRef::Int(1)).expect_err("closed");
        assert!(error.code() == Code::Poisoned && !error.retryable(), "{error}");
        assert_says(&error, &["not durable", "restart the node"]);
    }
}

#[test]
fn a_second_handle_on_one_resource_is_refused_until_the_first_is_dropped() {
    let (folder, first) = misbehaving(json!({"resource": "one"}));
    let first = first.expect("open");
    let block = settings(&json!({"resource": "one"}));
    let error = folder.loader().open("misbehaving", &block).err().expect("a refusal");
    assert_eq!(code(&error), "in-use");
    assert_says(&error, &["one is already open through misbehaving-db-plugin"]);
    drop(first);
    folder.loader().open("misbehaving", &block).expect("free again");
}

#[test]
fn several_backends_live_in_one_process() {
    let ledgers = Folder::new().with("ledger", "l.so").with("misbehaving", "m.so");
    let loader = ledgers.loader();
    let cx = Context::unbounded();
    let opened: Vec<_> = (0..3)
        .map(|n| loader.open("ledger", &settings(&json!({"file": ledgers.path().join(format!("{n}.ledger"))}))).expect("open"))
        .chain([loader.open("misbehaving", &Map::new()).expect("open")])
        .collect();
    for (n, opened) in opened.iter().enumerate() {
        let id = opened.backend.prepare(&cx, &[things()]).expect("prepared")[0];
        let row = Row::builder(&things()).set("id", i64::try_from(n).expect("small")).expect("an id").build();
        opened.backend.apply(&cx, &[Mutation::Insert { collection: id, row }]).expect("applied");
    }
    for opened in &opened {
        let id = opened.backend.prepare(&cx, &[things()]).expect("prepared")[0];
        assert_eq!(opened.backend.count(&cx, &Query::all(id)), Ok(1), "each has its own");
    }
}
