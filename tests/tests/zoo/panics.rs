//! Panics, wherever they come from: the call is answered, the handle is not used any more, and the host lives.

use hivemind_model::{Code, Query};

use super::*;

fn panicked(error: &OpenError, parts: &[&str]) {
    let OpenError::Backend { module, error } = error else { panic!("{error}") };
    assert_eq!((module.as_str(), error.code()), ("misbehaving-db-plugin", Code::Panicked));
    assert_says(error, parts);
    alive();
}

#[test]
fn a_panic_while_opening_is_an_error() {
    let opened = |misdeed: &str| open("misbehaving", &json!({"misdeed": misdeed})).map(drop).expect_err(misdeed);
    panicked(&opened("panic-in-open"), &["the plugin panicked in open", "misbehaving as told in open"]);
    panicked(&opened("panic-in-capabilities"), &["the plugin panicked in capabilities"]);
}

/// A payload may be anything, even something that panics when it is dropped.
#[test]
fn a_panic_with_any_payload_is_an_error_and_a_durable_handle_is_opened_again() {
    for (misdeed, said) in [
        ("panic-in-get", "misbehaving as told in get"),
        ("panic-with-a-number", "no message"),
        ("panic-with-a-bomb", "no message"),
        ("panic-while-locked", "misbehaving as told while holding a lock"),
    ] {
        let (backend, id) = misbehaving(&json!({"misdeed": misdeed, "durable": true, "resource": misdeed}));
        store(backend.as_ref(), id, 1);
        let error = backend.get(&CX, id, KeyRef::Int(666)).expect_err(misdeed);
        assert_eq!(error.code(), Code::Panicked, "{misdeed}");
        assert_says(&error, &["the plugin panicked in get", said]);
        assert_eq!(backend.count(&CX, &Query::all(id)), Ok(1), "{misdeed}: a new handle with the same records");
        alive();
    }
}

#[test]
fn after_a_panic_a_handle_that_is_not_durable_stays_closed() {
    for misdeed in ["panic-in-find", "panic-with-a-bomb"] {
        let (backend, id) = misbehaving(&json!({"misdeed": misdeed}));
        let _ = backend.get(&CX, id, KeyRef::Int(666));
        let _ = backend.find(&CX, &Query::all(id), 1_000);
        let error = backend.count(&CX, &Query::all(id)).expect_err(misdeed);
        assert!(error.code() == Code::Poisoned && !error.retryable(), "{error}");
        assert_says(&error, &["not durable", "it would come back empty", "restart the node"]);
        alive();
    }
}

#[test]
fn a_panic_in_apply_before_or_behind_the_commit_leaves_the_outcome_unknown() {
    for (misdeed, stored) in [("panic-in-apply", 0), ("panic-behind-apply", 1)] {
        let (backend, id) = misbehaving(&json!({"misdeed": misdeed, "durable": true, "resource": misdeed}));
        let row = Row::builder(&things()).set("id", 1).expect("an id").build();
        let error = backend.apply(&CX, &[Mutation::Insert { collection: id, row }]).expect_err(misdeed);
        assert!(error.code() == Code::OutcomeUnknown && !error.retryable(), "{error}");
        assert_says(&error, &["may have been applied", "misbehaving as told"]);
        assert_eq!(backend.count(&CX, &Query::all(id)), Ok(stored), "{misdeed}");
        alive();
    }
}

/// It has no caller that could be told. The panic ends its own thread only.
#[test]
fn a_panic_in_a_thread_of_the_plugins_own_disturbs_nobody() {
    let (backend, id) = misbehaving(&json!({"misdeed": "panic-in-background"}));
    store(backend.as_ref(), id, 1);
    assert_eq!(backend.count(&CX, &Query::all(id)), Ok(1));
    alive();
}

#[test]
fn a_panic_while_closing_or_dropping_is_an_error_at_most() {
    let (backend, _) = misbehaving(&json!({"misdeed": "panic-in-close", "resource": "closing"}));
    let error = backend.close(&CX).expect_err("a panic");
    assert_eq!(error.code(), Code::Panicked);
    assert_says(&error, &["the plugin panicked in close"]);
    drop(backend);
    let (backend, _) = misbehaving(&json!({"misdeed": "panic-in-drop", "resource": "dropping"}));
    drop(backend);
    misbehaving(&json!({"resource": "dropping"}));
    alive();
}
