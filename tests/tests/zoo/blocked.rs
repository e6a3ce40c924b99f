//! Calls that do not come back.

use std::time::Duration;

use hivemind_host::offload::Threads;
use hivemind_model::Code;
use hivemind_store::clients::NewClient;
use hivemind_store::{Clients, Options, Storage};
use pollster::block_on;

use super::*;

/// The handle is given up; what it may still hold is not given to anybody else.
#[test]
fn a_close_that_never_ends_is_given_up_and_its_store_stays_taken() {
    let block = json!({"misdeed": "block-in-close", "resource": "stuck"});
    let (backend, id) = misbehaving(&block);
    let error = backend.close(&Context::within(Duration::from_millis(50))).expect_err("given up");
    assert_eq!((error.code(), error.retryable()), (Code::Unavailable, false));
    assert_says(&error, &["misbehaving-db-plugin does not come back", "from closing", "until the program ends: restart it"]);
    assert_eq!(backend.get(&CX, id, KeyRef::Int(1)).expect_err("closed").code(), Code::Unavailable);
    drop(backend);
    let Err(OpenError::Refused(refusal)) = open("misbehaving", &block) else { panic!("it is taken") };
    assert_eq!(refusal.reason.code(), "in-use");
    assert_says(&refusal, &["stuck is already open through misbehaving-db-plugin", "give each backend a store of its own"]);
    alive();
}

#[test]
fn a_handle_that_is_dropped_and_does_not_close_holds_nobody_up_for_ever() {
    let (backend, _) = misbehaving(&json!({"misdeed": "block-in-close", "resource": "dropped"}));
    drop(backend);
    alive();
}

/// The caller has its answer in time; the call itself goes on in a thread that nobody waits for, and the handle serves others.
#[test]
fn a_call_that_ignores_its_deadline_is_answered_in_time() {
    let clients = |misdeed: &str| {
        let backend = open("misbehaving", &json!({"misdeed": misdeed, "durable": true, "resource": misdeed})).expect("open");
        let options =
            Options { deadline: Some(Duration::from_millis(50)), offload: Some(Arc::new(Threads::new())), ..Options::default() };
        block_on(Clients::open(&Storage::new(backend, options))).expect("prepared, which has all the time it needs")
    };
    let backend = |error: hivemind_store::Error| match error {
        hivemind_store::Error::Backend(error) => error,
        other => panic!("{other}"),
    };
    let reads = clients("block-in-get");
    let error = backend(block_on(reads.by_id(1)).expect_err("given up"));
    assert!(error.code() == Code::Deadline, "{error}");
    assert_says(&error, &["the backend does not answer"]);
    assert_eq!(block_on(reads.count()).expect("others are served"), 0);

    let writes = clients("block-in-apply");
    let error = backend(block_on(writes.add(NewClient::new("key-1"))).expect_err("given up"));
    assert!(error.code() == Code::OutcomeUnknown && !error.retryable(), "nobody knows whether it comes to be: {error}");
    assert_says(&error, &["whether it did what it was asked is not known"]);
    assert_eq!(block_on(writes.count()).expect("others are served"), 0);
    alive();
}
