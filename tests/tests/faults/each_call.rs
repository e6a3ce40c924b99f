//! One fault at each system call by which a store is created and written, on a real process by `strace`.
//!
//! A first run without faults tells which calls there are. Then each of them fails once, in a store and a process of its own; what
//! that process and one beside it see is compared with the states of the first run.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use hivemind_model::{Backend, Code, CollectionId, Context, Detail, Key, Mutation};
use hivemind_tests::faults::process::{Content, Process, content, open, prepare, problems};
use hivemind_tests::faults::site::{Age, Backend as _, Files, Site};
use hivemind_tests::faults::strace::{self, Fault};

use super::{assert_helpful, client, increment, note, peer, start};

/// At a time: more than cores, because they wait for disks.
const JOBS: usize = 3;

/// Errors that a disk gives at a call. What is not listed does not fail like that in practice.
fn errors(call: &str) -> &'static [&'static str] {
    match call {
        "write" | "pwrite64" => &["EIO", "ENOSPC"],
        "fsync" | "fdatasync" => &["EIO"],
        "ftruncate" | "fallocate" => &["ENOSPC", "EIO"],
        "rename" | "unlink" => &["EROFS", "EIO"],
        "openat" => &["EROFS", "EMFILE"],
        "flock" => &["ENOLCK"],
        "mmap" => &["ENOMEM"],
        _ => &[],
    }
}

/// The writes, each of another kind.
fn steps(ids: [CollectionId; 2]) -> Vec<Vec<Mutation>> {
    vec![
        vec![client(ids, "one")],
        vec![client(ids, "two"), note(ids, "a", 300)],
        vec![increment(ids, "a")],
        vec![note(ids, "b", 9000), increment(ids, "a"), client(ids, "three")],
        vec![Mutation::Delete { collection: ids[1], key: Key::from("a"), when: Vec::new() }],
    ]
}

fn traced<'p>(log: &'p Path, watched: &'p str, fault: Option<(&'p str, usize, &'p str)>) -> impl FnOnce(&Path) -> Command + 'p {
    move |program| {
        let fault = fault.map(|(name, number, error)| (name, number, Fault::Error(error)));
        strace::with_fault(program, watched, log, fault)
    }
}

/// The states of a run without faults, and the calls it made on the store.
fn record(backend: Files) -> (Vec<Content>, BTreeSet<(String, usize)>) {
    let site = backend.fresh(Age::New).expect("a store");
    let log = site.home().join("strace.log");
    let watched = "write,pwrite64,fsync,fdatasync,ftruncate,fallocate,rename,unlink,openat,flock,mmap";
    let process = Process::start(&*site, peer(), traced(&log, watched, None)).expect("opened");
    let ids = prepare(&process.handle).expect("prepared");
    let mut states = vec![content(&process.handle, ids).expect("read")];
    for step in steps(ids) {
        process.handle.apply(&Context::unbounded(), &step).expect("applied");
        states.push(content(&process.handle, ids).expect("read"));
    }
    drop(process);
    let home = site.home().display().to_string();
    let calls = strace::calls(&std::fs::read_to_string(&log).expect("a log"));
    let of_store = calls.into_iter().filter(|call| call.line.contains(&home));
    (states, of_store.map(|call| (call.name, call.number)).collect())
}

/// Runs the writes with one call failing once; whether it was one of the store's.
fn run(backend: Files, states: &[Content], (call, number): (&str, usize), error: &str) -> bool {
    let site = backend.fresh(Age::New).expect("a store");
    let log = site.home().join("strace.log");
    let when = format!("{} with {error} at {call} number {number}", backend.name());
    let Ok(process) = Process::start(&*site, peer(), traced(&log, call, Some((call, number, error)))) else {
        // It hit the start of the program itself. Whatever it was, the store is not hurt.
        follow(&*site, &states[0], &when);
        return false;
    };
    let ids = match prepare(&process.handle) {
        Ok(ids) => ids,
        Err(error) => {
            assert_helpful(&error, &*site, &when);
            prepare(&process.handle).unwrap_or_else(|e| panic!("{when}, prepared again: {e}"))
        }
    };
    // As in the first run, so that the calls are counted alike.
    let empty = content(&process.handle, ids).or_else(|_| content(&process.handle, ids));
    assert!(empty.as_ref() == Ok(&states[0]), "{when}: not empty: {:?}", empty.err());
    let other = start(&*site);
    let beside = &other.handle;
    prepare(beside).unwrap_or_else(|e| panic!("{when}, beside: {e}"));
    for (at, step) in steps(ids).into_iter().enumerate() {
        let see = |who: &str, handle: &dyn Backend| {
            content(handle, ids).or_else(|error| {
                // The fault may come to a reader; then it reads again.
                assert_helpful(&error, &*site, &format!("{when}, step {at}, {who}"));
                content(handle, ids)
            })
        };
        let both = |what: &str| {
            let one = see("the writer", &process.handle).unwrap_or_else(|e| panic!("{when}, step {at}, {what}: {e}"));
            let other = see("the reader", beside).unwrap_or_else(|e| panic!("{when}, step {at}, {what}: {e}"));
            assert!(one == other, "{when}, step {at}, {what}: two processes see different records");
            one
        };
        let apply = || process.handle.apply(&Context::unbounded(), &step);
        if let Err(error) = apply() {
            assert_helpful(&error, &*site, &format!("{when}, step {at}"));
            let found = both("behind the error");
            let is_old = found == states[at];
            let unknown = error.code() == Code::OutcomeUnknown;
            let in_place = error.detail().field.as_deref() == Some(Detail::DURABILITY);
            assert!(is_old || (unknown && found == states[at + 1]), "{when}, step {at}: neither old nor new behind {error}");
            assert!(!(is_old && in_place), "{when}, step {at}: said to be in place, but is not: {error}");
            assert!(!(unknown && error.retryable()), "{when}, step {at}: {error}");
            if is_old {
                apply().unwrap_or_else(|e| panic!("{when}, step {at}: again, without the fault: {e}"));
            }
        }
        assert!(both("in the end") == states[at + 1], "{when}, step {at}: not what was written");
    }
    let home = site.home().display().to_string();
    let log = std::fs::read_to_string(&log).expect("a log");
    let hit = log.lines().any(|line| line.contains("INJECTED") && line.contains(&home));
    drop(process);
    beside.close(&Context::unbounded()).unwrap_or_else(|e| panic!("{when}, closed: {e}"));
    drop(other);
    follow(&*site, &states[states.len() - 1], &when);
    hit
}

/// The store as the next process finds it.
fn follow(site: &dyn Site, expected: &Content, when: &str) {
    let next = open(site).unwrap_or_else(|e| panic!("{when}, opened anew: {e}"));
    let ids = prepare(&*next).unwrap_or_else(|e| panic!("{when}, opened anew: {e}"));
    assert!(content(&*next, ids).as_ref() == Ok(expected), "{when}: not the same when opened anew");
    assert_eq!(problems(&*next), Ok(Vec::new()), "{when}");
    next.close(&Context::unbounded()).expect("closed");
}

/// Every call of writing; of those made more than often enough, some.
fn each_call_fails(backend: Files, must_hit: &[&str]) {
    let (states, calls) = record(backend);
    let cases: Vec<(String, usize, &str)> = calls
        .into_iter()
        .flat_map(|(call, number)| errors(&call).iter().map(move |error| (call.clone(), number, *error)))
        .filter(|(call, number, error)| *error == "EIO" || call != "pwrite64" || number % 3 == 0)
        .collect();
    let (next, failures, hits) = (AtomicUsize::new(0), AtomicUsize::new(0), Mutex::new(BTreeSet::new()));
    std::thread::scope(|scope| {
        for _ in 0..JOBS {
            scope.spawn(|| {
                while let Some((call, number, error)) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                    // One that fails says so on standard error, and hides no other.
                    match std::panic::catch_unwind(|| run(backend, &states, (call, *number), error)) {
                        Ok(true) => drop(hits.lock().expect("no panic").insert((call.clone(), *error, *number))),
                        Ok(false) => {}
                        Err(_) => drop(failures.fetch_add(1, Ordering::Relaxed)),
                    }
                }
            });
        }
    });
    assert_eq!(failures.into_inner(), 0, "faults that were not stood, each told above");
    let hits = hits.into_inner().expect("no panic");
    println!("{}: {} faults hit the store, of {} tried", backend.name(), hits.len(), cases.len());
    for call in must_hit {
        assert!(hits.iter().any(|(hit, ..)| hit == call), "no {call} of the store was hit: {hits:?}");
    }
    assert!(hits.len() * 2 > cases.len(), "most faults missed the store: {} of {}", hits.len(), cases.len());
}

#[test]
fn sqlite_stands_a_fault_at_each_call_of_writing() {
    each_call_fails(Files::Sqlite, &["pwrite64", "fsync", "ftruncate", "openat"]);
}

#[test]
fn json_stands_a_fault_at_each_call_of_writing() {
    each_call_fails(Files::Json, &["write", "fsync", "rename", "unlink", "openat", "flock"]);
}

#[test]
fn an_encrypted_json_store_stands_a_fault_at_each_call_of_writing() {
    each_call_fails(Files::JsonEncrypted, &["write", "fsync", "rename", "unlink", "openat", "flock"]);
}

#[test]
fn an_encrypted_sqlite_store_stands_a_fault_at_each_call_of_writing() {
    each_call_fails(Files::SqliteEncrypted, &["pwrite64", "fsync", "ftruncate", "openat"]);
}

#[test]
fn strace_is_there_and_may_trace() {
    assert_eq!(strace::program(), PathBuf::from("strace"));
}
