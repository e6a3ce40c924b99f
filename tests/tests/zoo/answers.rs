//! Answers that are no answers: bytes that mean nothing, records nobody asked for, pages without end.

use hivemind_model::wire::Wire;
use hivemind_model::{Applied, Capabilities, Capability, Code, Error, Key, Outcome, Page, Query, Task, Token};
use hivemind_store::clients::{self, NewClient};
use hivemind_store::{Clients, Options, Storage};
use pollster::block_on;

use super::*;

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// The scripted plugin with this answer to one call.
fn scripted(call: &str, answer: &str) -> Result<Arc<dyn Backend>, OpenError> {
    open("scripted", &json!({ call: answer }))
}

/// Bytes that are no answer to anything: nothing, half a number, an unknown type, text that is no UTF-8, a tag nobody knows, bytes left
/// over, lists and texts longer than memory, nesting without end, a map in place of all else.
fn nonsense() -> Vec<Vec<u8>> {
    vec![
        vec![],
        vec![0xcd, 0x01],
        vec![0xc1],
        vec![0xd9, 2, 0xff, 0xfe],
        vec![0x81, 0x7e, 0xc0],
        vec![0x90, 0x90],
        vec![0xdd, 0xff, 0xff, 0xff, 0xff],
        vec![0xdf, 0xff, 0xff, 0xff, 0xff],
        vec![0xc6, 0xff, 0xff, 0xff, 0xff, 1],
        vec![0x91; 100_000],
        vec![0x81; 100_000],
        vec![0x82, 0x00, 0xc0, 0x00, 0xc0],
    ]
}

#[test]
fn an_answer_that_means_nothing_is_an_error_of_that_call() {
    let collection = things();
    for bytes in nonsense() {
        let script = hex(&bytes);
        let prepared = |call: &str| {
            let backend = scripted(call, &script).unwrap_or_else(|e| panic!("{e}"));
            (backend.prepare(&CX, std::slice::from_ref(&collection)).map(|ids| ids[0]), backend)
        };
        let malformed = |error: Error| {
            assert_eq!(error.code(), Code::Corrupt, "{script}: {error}");
            assert_says(&error, &["the plugin's answer is malformed"]);
        };
        malformed(prepared("prepare").0.expect_err("no ids"));
        let keys = [Key::Int(1), Key::Int(2)];
        let (id, backend) = prepared("get_many");
        malformed(backend.get_many(&CX, id.expect("prepared"), &keys).expect_err("no rows"));
        let (id, backend) = prepared("find");
        malformed(backend.find(&CX, &Query::all(id.expect("prepared")), 1_000).expect_err("no page"));
        // Nothing at all means that nothing changed.
        let (id, backend) = prepared("changes_since");
        if !bytes.is_empty() {
            malformed(backend.changes_since(&CX, id.expect("prepared"), Token::default()).expect_err("no changes"));
        }
        for (call, ask) in REPORTS {
            let (_, backend) = prepared(call);
            malformed(ask(backend.as_ref()).expect_err("no report"));
        }
        // It may have been applied: nobody may repeat it.
        let (id, backend) = prepared("apply");
        let row = Row::builder(&collection).set("id", 1).expect("an id").build();
        let error = backend.apply(&CX, &[Mutation::Insert { collection: id.expect("prepared"), row }]).expect_err("no outcomes");
        assert!(error.code() == Code::OutcomeUnknown && !error.retryable(), "{error}");
        assert_says(&error, &["may have been applied", "the plugin's answer is malformed"]);
        // What is promised or needed cannot be told, so it is not opened at all.
        // Promises that this host has no name for are passed over.
        let newer = bytes == [0x81, 0x7e, 0xc0];
        for call in if newer { &["resources"][..] } else { &["capabilities", "resources"] } {
            let error = scripted(call, &script).map(drop).expect_err(call);
            assert_says(&error, &["scripted-db-plugin did not open", "the plugin's answer is malformed"]);
        }
    }
    alive();
}

type Ask = fn(&dyn Backend) -> hivemind_model::Result<hivemind_model::Report>;

const REPORTS: [(&str, Ask); 3] =
    [("sync", |b| b.sync(&CX)), ("maintain", |b| b.maintain(&CX, &Task::Vacuum)), ("stats", |b| b.stats(&CX))];

#[test]
fn an_error_that_means_nothing_is_an_error_all_the_same() {
    for bytes in nonsense() {
        let script = format!("!{}", hex(&bytes));
        let error = scripted("open", &script).map(drop).expect_err("an error");
        assert_says(&error, &["scripted-db-plugin did not open its store", "malformed"]);
        for call in ["get", "find", "count", "close"] {
            let backend = scripted(call, &script).unwrap_or_else(|e| panic!("{e}"));
            let id = backend.prepare(&CX, &[things()]).expect("prepared")[0];
            let error = match call {
                "get" => backend.get(&CX, id, KeyRef::Int(1)).map(drop),
                "find" => backend.find(&CX, &Query::all(id), 1_000).map(drop),
                "count" => backend.count(&CX, &Query::all(id)).map(drop),
                _ => backend.close(&CX),
            };
            assert_says(&error.expect_err("an error"), &["malformed"]);
        }
    }
    let silent = format!("!{}", hex(&Error::io("").to_bytes()));
    let backend = scripted("get", &silent).unwrap_or_else(|e| panic!("{e}"));
    let id = backend.prepare(&CX, &[things()]).expect("prepared")[0];
    assert_says(&backend.get(&CX, id, KeyRef::Int(1)).expect_err("an error"), &["the plugin failed without a message"]);
    // A code that a later ABI adds.
    let newer = format!("!{}", hex(&[0x82, 0x00, 0xcd, 0x03, 0xe7, 0x02, 0xa1, b'x']));
    let backend = scripted("get", &newer).unwrap_or_else(|e| panic!("{e}"));
    let id = backend.prepare(&CX, &[things()]).expect("prepared")[0];
    let error = backend.get(&CX, id, KeyRef::Int(1)).expect_err("an error");
    assert!(error.code() == Code::Unrecognized && !error.retryable(), "{error}");
    alive();
}

#[test]
fn ids_that_do_not_count_from_zero_and_answers_of_another_number_are_refused() {
    for ids in [vec![], vec![1_u32], vec![0, 1], vec![u32::MAX]] {
        let backend = scripted("prepare", &hex(&ids.to_bytes())).unwrap_or_else(|e| panic!("{e}"));
        backend.prepare(&CX, &[things()]).expect_err("a refusal");
    }
    let backend = scripted("get_many", &hex(&[0x91, 0xc0])).unwrap_or_else(|e| panic!("{e}"));
    let id = backend.prepare(&CX, &[things()]).expect("prepared")[0];
    let error = backend.get_many(&CX, id, &[Key::Int(1), Key::Int(2)]).expect_err("one of two");
    assert_says(&error, &["1 answers for 2 keys"]);
    let capabilities = Capabilities::of(&[Capability::Durable]);
    let error = scripted("capabilities", &hex(&capabilities.to_bytes())).map(drop).expect_err("a refusal");
    assert_says(&error, &["promises more than its manifest declares", "durable", "tell its vendor"]);
    alive();
}

#[test]
fn outcomes_too_few_or_of_another_mutation_leave_the_outcome_unknown() {
    for (misdeed, part) in [("fewer-outcomes", "0 outcomes for 1 mutations"), ("other-outcomes", "one of another mutation")] {
        let (backend, id) = misbehaving(&json!({"misdeed": misdeed}));
        let row = Row::builder(&things()).set("id", 1).expect("an id").build();
        let error = backend.apply(&CX, &[Mutation::Insert { collection: id, row }]).expect_err(misdeed);
        assert!(error.code() == Code::OutcomeUnknown && !error.retryable(), "{error}");
        assert_says(&error, &["may have been applied", part]);
        assert_eq!(backend.count(&CX, &Query::all(id)), Ok(1), "as it was");
    }
    // The store reads back what is there, and so knows.
    let clients = clients_of("misbehaving", &json!({"misdeed": "fewer-outcomes"}));
    block_on(clients.add(NewClient::new("key-1"))).expect("found to have been added");
    alive();
}

fn clients_of(fixture: &str, block: &Value) -> Clients {
    let backend = open(fixture, block).unwrap_or_else(|e| panic!("{e}"));
    block_on(Clients::open(&Storage::new(backend, Options::default()))).unwrap_or_else(|e| panic!("{e}"))
}

/// Rows of a client's collection: too short ones are fine, all others are an error, and never "there is no such client".
#[test]
fn a_row_that_is_no_client_is_an_error_and_never_absence() {
    let collection = clients::collection();
    let good = Row::builder(&collection).set("client_id", 1).expect("an id").set("api_key", "k").expect("a key").build();
    let with = |change: fn(&mut Vec<u8>)| {
        let mut bytes = good.as_bytes().to_vec();
        change(&mut bytes);
        bytes
    };
    let rows = [
        ("no row", vec![0xc1]),
        ("no array", vec![0x01]),
        ("too long", vec![0xdc, 0, 40].into_iter().chain([0xc0; 40]).collect()),
        ("no id", vec![0x92, 0xc0, 0xa1, b'k']),
        ("another kind", vec![0x92, 0xa1, b'1', 0xa1, b'k']),
        (
            "a real that is none",
            with(|b| {
                let at = b.iter().position(|byte| *byte == 0xcb).expect("a real");
                b[at + 1..at + 9].copy_from_slice(&f64::NAN.to_be_bytes());
            }),
        ),
        ("no UTF-8", vec![0x92, 1, 0xa1, 0xff]),
        ("cut", with(|b| b.truncate(b.len() - 1))),
        ("longer than memory", vec![0x92, 1, 0xdb, 0xff, 0xff, 0xff, 0xff]),
        ("deeply nested", vec![0x91; 50_000]),
        (
            "another client",
            Row::builder(&collection)
                .set("client_id", 2)
                .expect("an id")
                .set("api_key", "other")
                .expect("a key")
                .build()
                .into_bytes(),
        ),
        (
            "another collection",
            Row::builder(&things()).set("id", 1).expect("an id").set("name", "kitchen").expect("a name").build().into_bytes(),
        ),
    ];
    for (what, row) in rows {
        println!("{what}");
        let by_id = block_on(clients_of("scripted", &json!({"get": hex(&row)})).by_id(1));
        let by_key = block_on(clients_of("scripted", &json!({"get_by": hex(&row)})).by_access_key("k"));
        if what == "another collection" {
            // A client with number 1 and the key "kitchen", as far as anybody can tell; nobody is let in by it who did not ask for it.
            assert!(by_key.is_err(), "{what}");
            continue;
        }
        assert!(by_id.is_err() && by_key.is_err(), "{what}: {by_id:?} {by_key:?}");
        // In a page it is listed as unreadable, and hides nobody.
        let id_is_there = what == "another client";
        let page = Page { rows: vec![good.clone(), Row::from_bytes(row)], ..Page::default() };
        let clients = clients_of("scripted", &json!({"find": hex(&page.to_bytes())}));
        let page = block_on(clients.pages().next()).expect("a page").expect("the first");
        assert_eq!((page.clients.len(), page.unreadable.len()), if id_is_there { (2, 0) } else { (1, 1) }, "{what}");
    }
    alive();
}

/// It is read to its end, and what comes behind that is nobody's.
#[test]
fn bytes_behind_a_client_change_nothing_in_it() {
    let good =
        Row::builder(&clients::collection()).set("client_id", 1).expect("an id").set("api_key", "k").expect("a key").build();
    let longer = [good.as_bytes(), &[0xc0, 0xff]].concat();
    let [short, long] = [good.as_bytes(), &longer].map(|row| {
        let clients = clients_of("scripted", &json!({"get": hex(row)}));
        block_on(clients.by_id(1)).expect("read").expect("there")
    });
    assert_eq!(short, long);
}

#[test]
fn a_record_that_was_not_asked_for_lets_nobody_in() {
    let clients = clients_of("misbehaving", &json!({"misdeed": "wrong-record", "durable": true, "resource": "wrong"}));
    block_on(clients.add(NewClient::new("key-of-one"))).expect("added");
    for answer in [block_on(clients.by_access_key("no-such-key")), block_on(clients.by_id(7))] {
        let error = answer.expect_err("an error");
        assert_says(&error, &["answered with client 1, which is not the one asked for", "tell its vendor"]);
    }
    alive();
}

#[test]
fn pages_without_end_end() {
    for (misdeed, part) in [("pages-in-circles", "twice or out of order"), ("empty-pages", "a page that leads no further")] {
        let clients = clients_of("misbehaving", &json!({"misdeed": misdeed, "durable": true, "resource": misdeed}));
        block_on(clients.add(NewClient::new("key-1"))).expect("added");
        let answer = block_on(clients.for_each(|_| Ok::<_, hivemind_store::Error>(())));
        assert_says(&answer.expect_err(misdeed), &[part, "tell its vendor"]);
    }
    alive();
}

/// A token is the plugin's own business; the cache trusts "nothing changed" alone.
#[test]
fn tokens_that_go_backwards_make_nothing_stale() {
    let clients = clients_of("misbehaving", &json!({"misdeed": "go-backwards", "claims": ["change-tracking"]}));
    let added = block_on(clients.add(NewClient::new("key-1"))).expect("added");
    for n in 0..20 {
        let name = format!("name {n}");
        block_on(clients.rename(&added, &name)).expect("renamed");
        let found = block_on(clients.by_access_key("key-1")).expect("read").expect("there");
        assert_eq!(found.label(), name);
    }
    alive();
}

#[test]
fn an_applied_batch_tells_its_outcomes() {
    // What the scripted plugin says when it says something right: so the nonsense above is refused for what it is.
    let applied = Applied { outcomes: vec![Outcome::Inserted(Key::Int(1))], token: Token::default() };
    let backend = scripted("apply", &hex(&applied.to_bytes())).unwrap_or_else(|e| panic!("{e}"));
    let id = backend.prepare(&CX, &[things()]).expect("prepared")[0];
    let row = Row::builder(&things()).set("id", 1).expect("an id").build();
    assert_eq!(backend.apply(&CX, &[Mutation::Insert { collection: id, row }]), Ok(applied));
}
