//! The memory backend: against the reference model, its seed, and what it says of itself.

mod random;

use std::path::Path;

use hivemind_abi::Host;
use hivemind_abi::model::{
    Backend, Capability, Changes, Code, Collection, Context, Error, Index, Key, Kind, Mutation, Query, Row, Task, Value,
};
use hivemind_memory_plugin::backend::{Memory, open};
use proptest::prelude::*;

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn it_answers_like_the_reference_model(batches in random::batches()) {
        let memory = open("{}", Host::detached("/nonexistent")).expect("a store");
        random::compare(memory, &batches, |memory| memory);
    }
}

fn clients() -> Collection {
    let mut c = Collection::new("clients", 2, "client_id", Kind::Int)
        .field_with("api_key", Kind::Text, Value::Nil, Index::Unique { except: vec!["revoked".into()] })
        .field_with("metadata", Kind::Json, Value::Json("{}".to_owned()), Index::None);
    c.primary = true;
    c.extras = Some(2);
    c
}

fn seeded(folder: &Path, seed: &str) -> (Memory, Result<(), Error>) {
    std::fs::write(folder.join("seed.json"), seed).expect("written");
    let memory = open(r#"{"seed": "seed.json"}"#, Host::detached(folder)).expect("a store");
    let prepared = memory.prepare(&Context::unbounded(), &[clients()]).map(drop);
    (memory, prepared)
}

#[test]
fn a_seed_is_loaded_once_and_never_written() {
    let folder = tempfile::tempdir().expect("a folder");
    let seed = "{\n  // the kitchen\n  \"1\": {\"client_id\": 1, \"api_key\": \"a\", \"site\": 7},\n  \"2\": {\"client_id\": 2, \"api_key\": \"b\"}\n}";
    let (memory, prepared) = seeded(folder.path(), seed);
    prepared.expect("a good seed");
    let cx = Context::unbounded();
    let id = memory.prepare(&cx, &[clients()]).expect("again")[0];
    let row = memory.get_by(&cx, id, 1, Value::from("a").as_ref()).expect("a look-up").expect("a row");
    assert_eq!(row.view(&clients()).expect("a view").get("metadata").and_then(|v| v.as_str()), Some(r#"{"site": 7}"#));
    memory.apply(&cx, &[Mutation::Delete { collection: id, key: Key::Int(1), when: vec![] }]).expect("deleted");
    memory.prepare(&cx, &[clients()]).expect("again");
    assert_eq!(memory.count(&cx, &Query::all(id)), Ok(1), "it does not come back");
    assert_eq!(std::fs::read_to_string(folder.path().join("seed.json")).expect("read"), seed);
}

#[test]
fn a_broken_seed_names_the_file_and_the_place() {
    let folder = tempfile::tempdir().expect("a folder");
    for (seed, place) in [
        ("{\n  \"1\": }", "line 2 column 8"),
        ("[]", "expected an object of records, found a list"),
        ("{\n\"1\": {\"client_id\": \"1\"}}", "record \"1\" at line 2: field client_id: expected int"),
        ("{\"1\": {\"client_id\": 2}}", "record \"1\" at line 1: it says that its client_id is 2"),
    ] {
        let (_, prepared) = seeded(folder.path(), seed);
        let error = prepared.expect_err(seed);
        assert_eq!(error.code(), Code::Corrupt);
        assert!(error.message().contains(place) && error.message().contains("seed.json"), "{error}");
    }
    let memory = open(r#"{"seed": "none.json"}"#, Host::detached(folder.path())).expect("a store");
    let error = memory.prepare(&Context::unbounded(), &[clients()]).expect_err("no such file");
    assert!(error.message().contains("none.json"), "{error}");
}

#[test]
fn it_promises_no_durability_and_says_what_a_write_is_worth() {
    let memory = open("{}", Host::detached("/nonexistent")).expect("a store");
    let cx = Context::unbounded();
    let id = memory.prepare(&cx, &[clients()]).expect("prepared")[0];
    assert!(!memory.capabilities().has(Capability::Durable) && memory.resources().is_empty());
    assert_eq!(memory.stats(&cx).expect("facts").get("acknowledged_write"), Some(&"lost when the process ends".into()));
    assert_eq!(memory.maintain(&cx, &Task::Vacuum).expect_err("unsupported").code(), Code::Unsupported);

    let row =
        |key: i64| Row::builder(&clients()).set("client_id", key).and_then(|b| b.set("api_key", "same")).expect("a row").build();
    memory.apply(&cx, &[Mutation::Put { collection: id, row: row(1) }]).expect("stored");
    let taken = memory.apply(&cx, &[Mutation::Put { collection: id, row: row(2) }]).expect_err("taken");
    assert_eq!(taken.code(), Code::Conflict);
    assert_eq!(memory.maintain(&cx, &Task::Verify).expect("a report").problems, []);
}

#[test]
fn a_closed_store_is_unavailable() {
    let memory = open("{}", Host::detached("/nonexistent")).expect("a store");
    let cx = Context::unbounded();
    let id = memory.prepare(&cx, &[clients()]).expect("prepared")[0];
    let (token, changes) = memory.changes_since(&cx, id, Default::default()).expect("changes");
    assert_eq!(changes, Changes::Everything);
    memory.close(&cx).expect("closed");
    assert_eq!(memory.get(&cx, id, Key::Int(1).as_ref()).expect_err("closed").code(), Code::Unavailable);
    assert_eq!(memory.apply(&cx, &[]).expect_err("closed").code(), Code::Unavailable);
    assert_eq!(memory.changes_since(&cx, id, token).expect_err("closed").code(), Code::Unavailable);
}
