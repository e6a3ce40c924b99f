//! What HiveMind means by a client, on any backend.

mod common;

use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;

use common::{Cut, Tracked, at_once, clients, open, wait};
use hivemind_model::{Backend, Code, Context, Mutation, Row, Value};
use hivemind_store::clients::{Blacklist, MetadataChange, NewClient, Permission, Pinned, REVOKED, collection};
use hivemind_store::{Client, Clients, Error, Options};

fn add(clients: &Clients, key: &str) -> Arc<Client> {
    wait(clients.add(NewClient { password: Some("pw".to_owned()), name: key.to_uppercase(), ..NewClient::new(key) })).expect(key)
}

fn put(backend: &Tracked, clients: &Clients, fields: &[(&str, Value)]) {
    let collection = collection();
    let mut builder = Row::builder(&collection);
    for (name, value) in fields {
        builder = builder.set(name, value.clone()).expect(name);
    }
    let mutation = Mutation::Put { collection: clients.id(), row: builder.build() };
    backend.apply(&Context::unbounded(), &[mutation]).expect("a put");
}

#[test]
fn ids_are_dense_and_an_access_key_belongs_to_one_client() {
    let (_, clients) = clients();
    assert_eq!((add(&clients, "a").id, add(&clients, "b").id), (1, 2));
    let taken = wait(clients.add(NewClient::new("a")));
    assert!(matches!(taken, Err(Error::KeyTaken { .. })), "{taken:?}");
    assert_eq!(add(&clients, "c").id, 3, "a refused one uses no id up");
    let found = wait(clients.by_access_key("b")).expect("found").expect("b");
    assert_eq!((found.id, found.label(), found.password.as_deref()), (2, "B", Some("pw")));
    assert!(found.can_broadcast && !found.is_admin && found.allowed_types.is_empty());
}

#[test]
fn what_cannot_be_stored_safely_is_refused_before_anything_is_written() {
    let (_, clients) = clients();
    let with = |edit: fn(&mut NewClient)| {
        let mut new = NewClient::new("k");
        edit(&mut new);
        wait(clients.add(new))
    };
    for refused in [
        with(|n| n.api_key.clear()),
        with(|n| n.api_key = REVOKED.to_owned()),
        with(|n| n.api_key = "a\u{2028}".to_owned()),
        with(|n| n.name = "a\u{85}".to_owned()),
        with(|n| n.password = Some("\u{2029}".to_owned())),
        with(|n| n.allowed_types = vec!["a b".to_owned()]),
        with(|n| n.metadata = "[]".to_owned()),
        with(|n| n.metadata = r#"{"a": "\u2028"}"#.to_owned()),
    ] {
        assert!(matches!(refused, Err(Error::Refused(_))), "{refused:?}");
    }
    assert_eq!(wait(clients.count()), Ok(0));
    let client = add(&clients, "k");
    assert!(matches!(wait(clients.rename(&client, "a\u{2028}b")), Err(Error::Refused(_))));
    let set = MetadataChange { set: vec![("a".to_owned(), "{".to_owned())], unset: Vec::new() };
    assert!(matches!(wait(clients.set_metadata(&client, &set)), Err(Error::Refused(_))));
}

#[test]
fn each_change_touches_its_own_field_only() {
    let (_, clients) = clients();
    let stale = add(&clients, "k");
    wait(clients.rename(&stale, "new")).expect("rename");
    wait(clients.set_admin(&stale, true)).expect("admin");
    wait(clients.allow_types(&stale, &["speak", "a.b", "speak"])).expect("allow");
    wait(clients.set_permission(&stale, Permission::Escalate, false)).expect("escalate");
    wait(clients.touch(&stale, 12.5)).expect("touch");
    assert_eq!(wait(clients.blacklist(&stale, Blacklist::Skill, "s1")), Ok(true));
    assert_eq!(wait(clients.blacklist(&stale, Blacklist::Skill, "s1")), Ok(false));
    wait(clients.blacklist(&stale, Blacklist::Intent, "i1")).expect("intent");
    let set = MetadataChange { set: vec![("n".to_owned(), "1.50".to_owned())], unset: vec!["absent".to_owned()] };
    let now = wait(clients.set_metadata(&stale, &set)).expect("metadata");
    assert_eq!((now.label(), now.is_admin, now.can_escalate, now.can_propagate), ("new", true, false, true));
    assert_eq!(now.allowed_types, ["speak", "a.b"]);
    assert!((now.last_seen - 12.5).abs() < f64::EPSILON);
    assert_eq!(now.metadata.as_json(), r#"{"skill_blacklist": ["s1"], "intent_blacklist": ["i1"], "n": 1.50}"#);
    wait(clients.deny_types(&stale, &["speak", "never"])).expect("deny");
    assert_eq!(wait(clients.unblacklist(&stale, Blacklist::Skill, "s1")), Ok(true));
    assert_eq!(wait(clients.unblacklist(&stale, Blacklist::Skill, "s1")), Ok(false));
    let now = wait(clients.by_id(1)).expect("read").expect("client");
    assert_eq!((now.allowed_types.join(","), now.metadata.skill_blacklist().len()), ("a.b".to_owned(), 0));
    assert_eq!(now.metadata.member("skill_blacklist"), Some("[]"), "an emptied list stays, as in the Python node");
}

#[test]
fn a_blacklist_that_is_no_list_is_not_overwritten() {
    let (_, clients) = clients();
    let client = add(&clients, "k");
    let set = MetadataChange { set: vec![("skill_blacklist".to_owned(), "\"abc\"".to_owned())], unset: Vec::new() };
    let client = wait(clients.set_metadata(&client, &set)).expect("metadata");
    let refused = wait(clients.blacklist(&client, Blacklist::Skill, "d"));
    assert!(matches!(&refused, Err(Error::Backend(e)) if e.code() == Code::Corrupt), "{refused:?}");
    let now = wait(clients.by_id(1)).expect("read").expect("client");
    assert_eq!(now.metadata.member("skill_blacklist"), Some("\"abc\""));
}

#[test]
fn a_revoked_client_keeps_its_row_and_nothing_brings_it_back() {
    let (_, clients) = clients();
    add(&clients, "a");
    let stale = add(&clients, "b");
    let set = MetadataChange { set: vec![("noise_psk".to_owned(), "\"s\"".to_owned())], unset: Vec::new() };
    wait(clients.set_metadata(&stale, &set)).expect("metadata");
    let revoked = wait(clients.revoke(&stale)).expect("revoke");
    assert!(revoked.is_revoked() && revoked.password.is_none() && revoked.label().is_empty() && !revoked.is_admin);
    assert_eq!((revoked.id, revoked.metadata.as_json(), revoked.allowed_types.len()), (2, "{}", 0));
    for late in [
        wait(clients.rename(&stale, "x")).map(drop),
        wait(clients.set_admin(&stale, true)).map(drop),
        wait(clients.allow_types(&stale, &["speak"])).map(drop),
        wait(clients.set_metadata(&stale, &set)).map(drop),
        wait(clients.touch(&stale, 1.0)).map(drop),
        wait(clients.blacklist(&stale, Blacklist::Skill, "s")).map(drop),
        wait(clients.pin(&stale, "noise_pubkey", "x")).map(drop),
        wait(clients.revoke(&stale)).map(drop),
        wait(clients.rename(&revoked, "x")).map(drop),
    ] {
        assert_eq!(late, Err(Error::Revoked { id: 2 }));
    }
    assert_eq!(wait(clients.by_id(2)).expect("read").expect("row").as_ref(), revoked.as_ref());
    for key in ["b", REVOKED, ""] {
        assert_eq!(wait(clients.by_access_key(key)), Ok(None), "{key}");
    }
    assert_eq!((wait(clients.count()), wait(clients.count_live())), (Ok(2), Ok(1)));
    let c = add(&clients, "c");
    assert_eq!(c.id, 3, "an id is never used twice");
    wait(clients.revoke(&c)).expect("any number of revoked clients");
}

#[test]
fn an_unknown_client_is_no_database_failure_and_the_other_way_round() {
    let (backend, clients) = clients();
    let client = add(&clients, "k");
    let gone = Mutation::Delete { collection: clients.id(), key: 1.into(), when: Vec::new() };
    backend.apply(&Context::unbounded(), &[gone]).expect("delete");
    assert_eq!(wait(clients.rename(&client, "x")), Err(Error::Unknown { id: 1 }));
    assert_eq!(wait(clients.by_access_key("k")), Ok(None));
    backend.database_down.store(true, SeqCst);
    for failed in [
        wait(clients.by_access_key("k")).map(drop),
        wait(clients.by_id(1)).map(drop),
        wait(clients.rename(&client, "x")).map(drop),
        wait(clients.blacklist(&client, Blacklist::Skill, "x")).map(drop),
        wait(clients.count()).map(drop),
    ] {
        assert!(matches!(&failed, Err(Error::Backend(e)) if e.code() == Code::Unavailable && e.retryable()), "{failed:?}");
    }
}

#[test]
fn of_many_pins_at_once_exactly_one_wins() {
    let (_, clients) = clients();
    let client = add(&clients, "k");
    let results: Vec<_> = std::thread::scope(|scope| {
        let pins: Vec<_> = (0..8)
            .map(|n| {
                let (clients, client) = (clients.clone(), client.clone());
                scope.spawn(move || wait(clients.pin(&client, "noise_pubkey", &format!("key{n}"))).expect("pin"))
            })
            .collect();
        pins.into_iter().map(|p| p.join().expect("thread")).collect()
    });
    let stored = wait(clients.by_id(1)).expect("read").expect("client").metadata.text("noise_pubkey").expect("pinned");
    assert_eq!(results.iter().filter(|r| **r == Pinned::Now).count(), 1);
    assert!(results.iter().all(|r| *r == Pinned::Now || *r == Pinned::Before(stored.clone())), "{results:?}");
}

#[test]
fn an_empty_pin_counts_as_none() {
    let (_, clients) = clients();
    let client = add(&clients, "k");
    let set = MetadataChange { set: vec![("noise_pubkey".to_owned(), "\"\"".to_owned())], unset: Vec::new() };
    wait(clients.set_metadata(&client, &set)).expect("metadata");
    assert_eq!(wait(clients.pin(&client, "noise_pubkey", "p")), Ok(Pinned::Now));
}

#[test]
fn additions_and_blacklisting_from_many_threads_lose_nothing() {
    let (_, clients) = clients();
    let client = add(&clients, "k");
    std::thread::scope(|scope| {
        for n in 0..8 {
            let (clients, client) = (clients.clone(), client.clone());
            scope.spawn(move || {
                assert_eq!(wait(clients.blacklist(&client, Blacklist::Skill, &format!("s{n}"))), Ok(true));
                add(&clients, &format!("key{n}"));
            });
        }
    });
    assert_eq!(wait(clients.by_id(1)).expect("read").expect("client").metadata.skill_blacklist().len(), 8);
    for n in 0..8 {
        assert!(wait(clients.by_access_key(&format!("key{n}"))).expect("read").is_some());
    }
    assert_eq!(wait(clients.count()), Ok(9));
}

#[test]
fn revoking_while_others_change_always_ends_revoked() {
    let (_, clients) = clients();
    let client = add(&clients, "k");
    std::thread::scope(|scope| {
        for _ in 0..4 {
            let (clients, client) = (clients.clone(), client.clone());
            scope.spawn(move || {
                for n in 0..50 {
                    let one = wait(clients.set_admin(&client, n % 2 == 0)).map(drop);
                    let two = wait(clients.blacklist(&client, Blacklist::Skill, &n.to_string())).map(drop);
                    for result in [one, two] {
                        assert!(matches!(result, Ok(()) | Err(Error::Revoked { id: 1 })), "{result:?}");
                    }
                }
            });
        }
        wait(clients.revoke(&client)).expect("revoke");
    });
    let row = wait(clients.by_id(1)).expect("read").expect("row");
    assert!(row.is_revoked() && !row.is_admin && row.metadata.as_json() == "{}", "{row:?}");
}

#[test]
fn a_cut_behind_the_commit_is_resolved_by_reading_back_and_never_repeated() {
    let (backend, clients) = clients();
    let cut = |how| *backend.cut.lock().expect("lock") = Some(how);
    cut(Cut::AfterCommit);
    let client = add(&clients, "k");
    assert_eq!((client.id, wait(clients.count())), (1, Ok(1)));
    cut(Cut::AfterCommit);
    assert_eq!(wait(clients.rename(&client, "x")).expect("renamed").label(), "x");
    cut(Cut::AfterCommit);
    assert!(wait(clients.blacklist(&client, Blacklist::Skill, "s")).expect("blacklisted"));

    cut(Cut::BeforeCommit);
    let lost = wait(clients.add(NewClient::new("other")));
    assert!(matches!(&lost, Err(Error::Backend(e)) if e.code() == Code::OutcomeUnknown), "{lost:?}");
    cut(Cut::BeforeCommit);
    let lost = wait(clients.rename(&client, "y"));
    assert!(matches!(&lost, Err(Error::Backend(e)) if e.code() == Code::OutcomeUnknown), "{lost:?}");
    assert_eq!((wait(clients.count()), wait(clients.by_id(1)).expect("read").expect("k").label()), (Ok(1), "x"));
    cut(Cut::AfterCommit);
    assert!(wait(clients.revoke(&client)).expect("revoked").is_revoked());

    cut(Cut::NotDurable);
    let doubtful = wait(clients.add(NewClient::new("doubtful")));
    assert!(matches!(&doubtful, Err(Error::Backend(e)) if e.code() == Code::OutcomeUnknown), "memory is no answer: {doubtful:?}");
}

#[test]
fn walking_is_bounded_in_memory_sees_everyone_and_survives_a_bad_record() {
    let (backend, clients) = clients();
    let wide = "x".repeat(20_000);
    for n in 1..=60 {
        put(
            &backend,
            &clients,
            &[("client_id", n.into()), ("api_key", format!("k{n}").into()), ("description", wide.as_str().into())],
        );
    }
    put(&backend, &clients, &[("client_id", 61.into()), ("name", "no key".into())]);
    let mut ids = Vec::new();
    let unreadable = wait(clients.for_each(|c| {
        ids.push(c.id);
        Ok::<(), Error>(())
    }));
    assert_eq!((ids, unreadable), ((1..=61).collect(), Ok(Vec::new())));
    assert!(backend.page_rows.load(SeqCst) < 20, "one page at a time");
    assert_eq!(wait(clients.by_name("no key")).expect("by name").len(), 1);
}

#[test]
fn without_a_pool_every_call_is_ready_at_the_first_poll() {
    let backend = Arc::new(Tracked { without_inline_reads: true, ..Tracked::default() });
    let clients = open(&backend, Options::default());
    let client = at_once(clients.add(NewClient::new("k"))).expect("add");
    at_once(clients.by_access_key("k")).expect("read").expect("k");
    at_once(clients.blacklist(&client, Blacklist::Intent, "i")).expect("blacklist");
    at_once(clients.pages().next()).expect("page").expect("one");
}
