//! Group commit: callers that wait at the same time share one new file, and each still gets what is its own.

mod common;

use std::fs::{self, File};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, ScopedJoinHandle};
use std::time::Duration;

use common::{Folder, Mounted, client, clients, count, cx, name, put, rename, with};
use hivemind_abi::Host;
use hivemind_abi::model::{
    Applied, Backend, Change, Code, CollectionId, Context, Error, Key, Mutation, Outcome, Result, Token, Value,
};
use hivemind_json_plugin::backend::{JsonStore, open};

/// A store whose lock this test holds, and with it everyone who wants to write.
struct Held {
    folder: tempfile::TempDir,
    store: JsonStore,
    id: CollectionId,
    lock: File,
    // A store that was closed does not tell it any more.
    lock_file: PathBuf,
}

impl Held {
    fn new(name: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let store = open(&format!(r#"{{"name": "hivemind-test-{name}"}}"#), Host::detached(folder.path())).expect("a handle");
        let id = store.prepare(&cx(), &[clients()]).expect("prepared")[0];
        put(&store, id, with(&client(1, "a", "x"), &[("last_seen", 0.0.into())]));
        let Some(Value::Text(lock)) = store.stats(&cx()).expect("facts").get("lock").cloned() else { panic!("the lock's path") };
        let lock_file = PathBuf::from(lock);
        let lock = File::open(&lock_file).expect("the lock file");
        rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive).expect("held");
        Self { folder, store, id, lock, lock_file }
    }

    fn let_go(&self) {
        rustix::fs::flock(&self.lock, rustix::fs::FlockOperation::Unlock).expect("let go");
    }

    /// Starts one call after the other; all of them wait.
    fn start<'s, 'e: 's>(
        &'e self,
        scope: &'s thread::Scope<'s, 'e>,
        batches: Vec<Vec<Mutation>>,
    ) -> Vec<ScopedJoinHandle<'s, Result<Applied>>> {
        let start = |batch: Vec<Mutation>| {
            let thread = scope.spawn(move || self.store.apply(&cx(), &batch));
            thread::sleep(Duration::from_millis(30));
            assert!(!thread.is_finished());
            thread
        };
        batches.into_iter().map(start).collect()
    }

    /// Lets go after the calls stand in line; gives their results in the same order.
    fn results(&self, batches: Vec<Vec<Mutation>>) -> Vec<Result<Applied>> {
        thread::scope(|scope| {
            let threads = self.start(scope, batches);
            self.let_go();
            threads.into_iter().map(|t| t.join().expect("a thread")).collect()
        })
    }

    fn file(&self) -> PathBuf {
        let Some(Value::Text(path)) = self.store.stats(&cx()).expect("facts").get("location").cloned() else { panic!("a path") };
        path.into()
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.let_go();
        let _ = fs::remove_file(&self.lock_file);
        assert!(self.folder.path().exists());
    }
}

fn insert_next(id: CollectionId, api_key: &str) -> Mutation {
    Mutation::InsertNext { collection: id, row: client(0, api_key, "") }
}

fn seen_once_more(id: CollectionId) -> Mutation {
    let changes = vec![Change::Increment { field: 5, by: 1.into() }];
    Mutation::Update { collection: id, key: Key::Int(1), changes, when: Vec::new() }
}

fn token(result: &Result<Applied>) -> Token {
    result.as_ref().expect("applied").token
}

#[test]
fn those_who_wait_share_one_commit_and_each_is_all_or_nothing() {
    let held = Held::new("shared");
    let id = held.id;
    let before = held.store.changes_since(&cx(), id, Token::default()).expect("a token").0;
    let results = held.results(vec![
        vec![insert_next(id, "b"), seen_once_more(id)],
        vec![insert_next(id, "c"), seen_once_more(id)],
        // Taken by the first, so that its increment does not count either.
        vec![seen_once_more(id), insert_next(id, "b")],
        vec![insert_next(id, "d"), seen_once_more(id)],
        vec![],
    ]);
    let keys = |result: &Result<Applied>| result.as_ref().expect("applied").outcomes.first().cloned();
    assert_eq!([&results[0], &results[1], &results[3]].map(keys), [2, 3, 4].map(|key| Some(Outcome::Inserted(Key::Int(key)))));
    let refused = results[2].as_ref().expect_err("taken");
    assert_eq!((refused.code(), refused.detail().mutation), (Code::Conflict, Some(1)));
    // The first leads alone up to the lock and then takes all of them along: one point in history for all.
    let after = token(&results[0]);
    assert_eq!((after.sequence, token(&results[1]), token(&results[3])), (before.sequence + 1, after, after));
    let row = held.store.get(&cx(), id, Key::Int(1).as_ref()).expect("a look-up").expect("there");
    assert_eq!(row.view(&clients()).expect("a view").get("last_seen").map(|v| v.to_value()), Some(Value::Real(3.0)));
    let again = open(r#"{"name": "hivemind-test-shared"}"#, Host::detached(held.folder.path())).expect("a handle");
    let id = again.prepare(&cx(), &[clients()]).expect("prepared")[0];
    assert_eq!(count(&again, id), 4);
}

#[test]
fn a_group_that_cannot_be_written_is_done_one_by_one() {
    let held = Held::new("one-by-one");
    let id = held.id;
    let deep = format!("{}{}", "[".repeat(201), "]".repeat(201));
    // It fits the collection, but no file can hold it: the whole group's file cannot be made.
    let row = with(&client(7, "deep", ""), &[("allowed_types", Value::Json(deep))]);
    let results = held.results(vec![
        vec![rename(id, 1, "first")],
        vec![Mutation::Put { collection: id, row }, rename(id, 1, "never")],
        vec![insert_next(id, "b")],
    ]);
    let codes: Vec<_> = results.iter().map(|r| r.as_ref().map(|_| ()).map_err(Error::code)).collect();
    assert_eq!(codes, [Ok(()), Err(Code::Invalid), Ok(())]);
    assert_eq!((name(&held.store, id, 1).as_deref(), name(&held.store, id, 2).as_deref()), (Some("first"), Some("")));
    assert_eq!(count(&held.store, id), 2);
}

#[test]
fn a_full_disk_fails_what_does_not_fit_and_nothing_else() {
    let held = Held::new("full");
    let id = held.id;
    let mount = tempfile::tempdir().expect("a folder");
    let Some(_mounted) = Mounted::new(&["-t", "tmpfs", "-o", "size=256k", "tmpfs"], mount.path()) else {
        assert!(std::env::var_os("HIVEMIND_REQUIRE_MOUNT").is_none(), "a tmpfs cannot be mounted here, but it is required");
        eprintln!("skipped: mounting needs root");
        return;
    };
    let file = held.file();
    let real = mount.path().join("real.json");
    fs::copy(&file, &real).expect("copied");
    fs::remove_file(&file).expect("removed");
    std::os::unix::fs::symlink(&real, &file).expect("a link");
    let big = with(&client(7, "big", ""), &[("description", "x".repeat(200_000).into())]);
    let results = held.results(vec![
        vec![rename(id, 1, "first")],
        vec![Mutation::Put { collection: id, row: big.clone() }],
        vec![insert_next(id, "b")],
        vec![Mutation::Put { collection: id, row: with(&big, &[("client_id", 8.into()), ("api_key", "bigger".into())]) }],
    ]);
    let codes: Vec<_> = results.iter().map(|r| r.as_ref().map(|_| ()).map_err(Error::code)).collect();
    // Whoever led goes first. Of the others, which go in any order, one of the large ones fits beside the small file, and beside that
    // one nothing any more.
    assert_eq!(codes[0], Ok(()));
    assert!(codes[1].is_err() || codes[3].is_err(), "{codes:?}");
    for error in results.iter().filter_map(|r| r.as_ref().err()) {
        assert!(error.code() == Code::Io && error.message().contains("No space left"), "{error}");
    }
    let stored: Vec<_> = (1..=9).filter_map(|key| name(&held.store, id, key)).collect();
    assert_eq!(stored.len(), 1 + codes[1..].iter().filter(|c| c.is_ok()).count());
    // As soon as there is room it works again.
    let large = Key::Int(if codes[1].is_ok() { 7 } else { 8 });
    held.store.apply(&cx(), &[Mutation::Delete { collection: id, key: large, when: vec![] }]).expect("makes room");
    held.store.apply(&cx(), &[rename(id, 1, "again")]).expect("there is room");
    assert_eq!(name(&held.store, id, 1).as_deref(), Some("again"));
}

#[test]
fn who_stands_in_line_may_leave_it_and_nothing_was_done() {
    let held = Held::new("leaves");
    let id = held.id;
    let cancelled = AtomicBool::new(false);
    thread::scope(|scope| {
        let first = held.start(scope, vec![vec![rename(id, 1, "first")]]);
        let late = Context::within(Duration::from_millis(40));
        let error = held.store.apply(&late, &[rename(id, 1, "late")]).expect_err("the lock is held");
        assert_eq!((error.code(), error.retryable()), (Code::Deadline, true));
        let cancels = scope.spawn(|| {
            let cx = Context::unbounded().cancelled_by(&cancelled);
            held.store.apply(&cx, &[rename(id, 1, "cancelled")])
        });
        thread::sleep(Duration::from_millis(30));
        cancelled.store(true, Ordering::Relaxed);
        assert_eq!(cancels.join().expect("a thread").expect_err("cancelled").code(), Code::Deadline);
        held.let_go();
        for thread in first {
            thread.join().expect("a thread").expect("applied");
        }
    });
    assert_eq!(name(&held.store, id, 1).as_deref(), Some("first"));
}

#[test]
fn a_leader_whose_time_is_up_leaves_the_others_to_the_next() {
    let held = Held::new("hands-over");
    let id = held.id;
    thread::scope(|scope| {
        let short = scope.spawn(|| held.store.apply(&Context::within(Duration::from_millis(100)), &[rename(id, 1, "short")]));
        thread::sleep(Duration::from_millis(30));
        let others = held.start(scope, vec![vec![insert_next(id, "b")], vec![insert_next(id, "c")]]);
        assert_eq!(short.join().expect("a thread").expect_err("too long").code(), Code::Deadline);
        held.let_go();
        for thread in others {
            thread.join().expect("a thread").expect("applied");
        }
    });
    assert_eq!((name(&held.store, id, 1).as_deref(), count(&held.store, id)), (Some("x"), 3));
}

#[test]
fn closing_finishes_what_came_before_and_refuses_what_came_after() {
    let held = Held::new("closes");
    let id = held.id;
    thread::scope(|scope| {
        let before = held.start(scope, vec![vec![insert_next(id, "b")], vec![insert_next(id, "c")]]);
        let closes = scope.spawn(|| held.store.close(&cx()));
        thread::sleep(Duration::from_millis(30));
        let after = held.start(scope, vec![vec![insert_next(id, "d")]]);
        held.let_go();
        for thread in before {
            thread.join().expect("a thread").expect("applied");
        }
        closes.join().expect("a thread").expect("closed");
        for thread in after {
            assert_eq!(thread.join().expect("a thread").expect_err("closed").code(), Code::Unavailable);
        }
    });
    let again = open(r#"{"name": "hivemind-test-closes"}"#, Host::detached(held.folder.path())).expect("a handle");
    let id = again.prepare(&cx(), &[clients()]).expect("prepared")[0];
    assert_eq!(count(&again, id), 3);
}

#[test]
fn many_threads_and_handles_lose_nothing() {
    let folder = Folder::new();
    let handles: Vec<_> = (0..2).map(|_| folder.open()).collect();
    put(&handles[0].0, handles[0].1, with(&client(1, "a", ""), &[("last_seen", 0.0.into())]));
    thread::scope(|scope| {
        for thread in 0..8 {
            let (store, id) = &handles[thread % 2];
            scope.spawn(move || {
                for i in 0..20 {
                    store.apply(&cx(), &[seen_once_more(*id), insert_next(*id, &format!("{thread}-{i}"))]).expect("applied");
                }
            });
        }
    });
    for (store, id) in &handles {
        let row = store.get(&cx(), *id, Key::Int(1).as_ref()).expect("a look-up").expect("there");
        assert_eq!(row.view(&clients()).expect("a view").get("last_seen").map(|v| v.to_value()), Some(Value::Real(160.0)));
        assert_eq!(count(store, *id), 161);
        assert!(name(store, *id, 161).is_some(), "dense");
    }
}
