//! The cache of decoded clients: used when it may be, and never stale.

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};

use common::{Tracked, clients, open, wait};
use hivemind_model::{Backend, Change, Context, Mutation};
use hivemind_store::clients::NewClient;
use hivemind_store::{Clients, Options};

fn add(clients: &Clients, key: &str) -> Arc<hivemind_store::Client> {
    wait(clients.add(NewClient::new(key))).expect(key)
}

fn name_of(clients: &Clients, key: &str) -> Option<String> {
    wait(clients.by_access_key(key)).expect("read").map(|c| c.label().to_owned())
}

/// A change by another program: past this store, straight to the backend.
fn rename_outside(backend: &Tracked, clients: &Clients, id: i64, name: &str) {
    let changes = vec![Change::set(2, name)];
    let update = Mutation::Update { collection: clients.id(), key: id.into(), changes, when: Vec::new() };
    backend.apply(&Context::unbounded(), &[update]).expect("update");
}

#[test]
fn an_unchanged_client_is_read_once() {
    let (backend, clients) = clients();
    add(&clients, "k");
    let first = wait(clients.by_access_key("k")).expect("read").expect("k");
    let reads = backend.reads();
    let second = wait(clients.by_access_key("k")).expect("read").expect("k");
    let by_id = wait(clients.by_id(1)).expect("read").expect("k");
    assert_eq!(backend.reads(), reads, "answered from the cache");
    assert!(Arc::ptr_eq(&first, &second) && Arc::ptr_eq(&first, &by_id));
    wait(clients.by_access_key("nobody")).expect("read");
    assert_eq!(backend.reads(), reads + 1, "absence is not cached");
    let counts = clients.cache_counts().expect("a cache");
    assert_eq!((counts.hits(), counts.misses()), (2, 2));
}

#[test]
fn a_change_by_anyone_is_seen_by_the_next_look_up() {
    let (backend, clients) = clients();
    let client = add(&clients, "k");
    add(&clients, "other");
    assert_eq!(name_of(&clients, "k").as_deref(), Some(""));
    rename_outside(&backend, &clients, 1, "outside");
    assert_eq!(name_of(&clients, "k").as_deref(), Some("outside"));
    wait(clients.rename(&client, "inside")).expect("rename");
    assert_eq!(name_of(&clients, "k").as_deref(), Some("inside"));
    for n in 0..100 {
        rename_outside(&backend, &clients, 2, &n.to_string());
        rename_outside(&backend, &clients, 1, &n.to_string());
    }
    assert_eq!(name_of(&clients, "k").as_deref(), Some("99"), "more changes than are read again one by one");
    wait(clients.revoke(&client)).expect("revoke");
    assert_eq!(name_of(&clients, "k"), None);
    assert!(wait(clients.by_id(1)).expect("read").expect("row").is_revoked());
}

#[test]
fn a_record_read_while_it_changes_is_not_kept() {
    let (backend, clients) = clients();
    add(&clients, "k");
    let (b, c) = (backend.clone(), clients.clone());
    // The row has been read; before it is kept, somebody changes it and somebody else looks it up.
    *backend.after_lookup.lock().expect("lock") = Some(Box::new(move || {
        rename_outside(&b, &c, 1, "newer");
        assert_eq!(name_of(&c, "k").as_deref(), Some("newer"));
    }));
    assert_eq!(name_of(&clients, "k").as_deref(), Some(""), "as it was when read");
    assert_eq!(name_of(&clients, "k").as_deref(), Some("newer"));
}

#[test]
fn a_key_that_moves_to_another_client_is_answered_by_that_client() {
    let (backend, clients) = clients();
    add(&clients, "a");
    add(&clients, "b");
    let id = |key| wait(clients.by_access_key(key)).expect("read").map(|c| c.id);
    assert_eq!((id("a"), id("b")), (Some(1), Some(2)));
    let set = |id: i64, key: &str| Mutation::Update {
        collection: clients.id(),
        key: id.into(),
        changes: vec![Change::set(1, key)],
        when: Vec::new(),
    };
    backend.apply(&Context::unbounded(), &[set(1, "tmp"), set(2, "a"), set(1, "b")]).expect("swap");
    assert_eq!((id("a"), id("b"), id("tmp")), (Some(2), Some(1), None));
    assert_eq!((id("a"), id("b")), (Some(2), Some(1)), "and again, from the cache");
}

#[test]
fn without_history_nothing_is_served_from_memory() {
    let backend = Arc::new(Tracked { without_tracking: true, ..Tracked::default() });
    let clients = open(&backend, Options::default());
    add(&clients, "k");
    name_of(&clients, "k");
    let reads = backend.reads();
    name_of(&clients, "k");
    assert_eq!(backend.reads(), reads + 1);

    let (backend, clients) = common::clients();
    add(&clients, "k");
    name_of(&clients, "k");
    backend.history_down.store(true, SeqCst);
    let reads = backend.reads();
    assert_eq!(name_of(&clients, "k").as_deref(), Some(""));
    assert_eq!(backend.reads(), reads + 1, "read, as nothing vouches for the cache");
    backend.database_down.store(true, SeqCst);
    assert!(wait(clients.by_access_key("k")).is_err(), "and never from memory while the database is down");
}

#[test]
fn the_cache_stays_within_its_size() {
    let backend = Arc::new(Tracked::default());
    let clients = open(&backend, Options { cached_clients: 8, ..Options::default() });
    for n in 0..40 {
        add(&clients, &n.to_string());
    }
    for n in 0..40 {
        assert!(name_of(&clients, &n.to_string()).is_some());
    }
    let reads = backend.reads();
    for n in 0..40 {
        name_of(&clients, &n.to_string());
    }
    let missed = backend.reads() - reads;
    assert!((32..=40).contains(&missed), "{missed} of 40 were read again");
}

#[test]
fn a_reader_never_sees_an_older_state_than_a_finished_write() {
    let (backend, clients) = clients();
    add(&clients, "k");
    let (done, written) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                while !done.load(SeqCst) {
                    let floor = written.load(SeqCst);
                    let seen: usize = name_of(&clients, "k").expect("k").parse().unwrap_or(0);
                    assert!(seen >= floor, "saw {seen} after {floor} was written");
                }
            });
        }
        for n in 1..=2000 {
            rename_outside(&backend, &clients, 1, &n.to_string());
            written.store(n, SeqCst);
        }
        done.store(true, SeqCst);
    });
}

#[test]
fn a_revoked_client_is_answered_to_nobody_once_its_revocation_is_acknowledged() {
    const CLIENTS: usize = 60;
    let backend = Arc::new(Tracked::default());
    // Most look-ups read, and what they read is often old by the time it is to be kept.
    backend.yielding.store(true, SeqCst);
    let clients = open(&backend, Options { cached_clients: 2, ..Options::default() });
    let all: Vec<_> = (0..CLIENTS).map(|n| add(&clients, &format!("key {n}"))).collect();
    let revoked: Vec<AtomicBool> = (0..CLIENTS).map(|_| AtomicBool::new(false)).collect();
    let (done, current, asked) = (AtomicBool::new(false), AtomicUsize::new(0), AtomicUsize::new(0));
    let look_up = |n: usize| {
        let acknowledged = revoked[n].load(SeqCst);
        let found = wait(clients.by_access_key(&format!("key {n}"))).expect("read");
        assert!(found.is_none() || !acknowledged, "client {n} was answered after its revocation");
        let found = wait(clients.by_id(n as i64 + 1)).expect("read").expect("the row stays");
        assert!(found.is_revoked() || !acknowledged, "client {n} was answered by its id after its revocation");
        asked.fetch_add(1, SeqCst);
    };
    // Readers that fail must not leave the writer waiting for them.
    let wait_for = |more: usize| {
        let before = asked.load(SeqCst);
        while asked.load(SeqCst) < before + more && !done.load(SeqCst) {
            std::thread::yield_now();
        }
    };
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let (look_up, current, done) = (&look_up, &current, &done);
            scope.spawn(move || {
                let _done = OnDrop(done);
                for other in (thread..).map(|n| n % CLIENTS) {
                    if done.load(SeqCst) {
                        return;
                    }
                    look_up(current.load(SeqCst));
                    look_up(other);
                }
            });
        }
        for (n, client) in all.iter().enumerate() {
            current.store(n, SeqCst);
            wait_for(10);
            wait(clients.revoke(client)).expect("revoke");
            revoked[n].store(true, SeqCst);
            wait_for(10);
        }
        done.store(true, SeqCst);
    });
    assert!(revoked.iter().all(|r| r.load(SeqCst)));
}

/// Says that it is over, also when a thread panics.
struct OnDrop<'a>(&'a AtomicBool);

impl Drop for OnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, SeqCst);
    }
}

#[test]
fn two_clients_with_one_key_are_answered_as_the_backend_does() {
    let (backend, clients) = clients();
    add(&clients, "a");
    add(&clients, "b");
    let id = |key| wait(clients.by_access_key(key)).expect("read").map(|c| c.id);
    assert_eq!((id("a"), id("b")), (Some(1), Some(2)));
    assert!(wait(clients.by_id(1)).expect("read").is_some());
    // Read by its id after its key went to somebody else: the cache must not answer with it for that key.
    let set = |id: i64, key: &str| Mutation::Update {
        collection: clients.id(),
        key: id.into(),
        changes: vec![Change::set(1, key)],
        when: Vec::new(),
    };
    backend.apply(&Context::unbounded(), &[set(2, "c"), set(1, "b")]).expect("hand over");
    assert_eq!(wait(clients.by_id(1)).expect("read").map(|c| c.api_key.clone()).as_deref(), Some("b"));
    assert_eq!((id("b"), id("a"), id("c")), (Some(1), None, Some(2)));
    assert_eq!((id("b"), id("c")), (Some(1), Some(2)), "and again, from the cache");
}
