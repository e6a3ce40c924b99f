//! Redis servers that fail, and things that are no Redis: a typed error that says what to do, nothing lost that was acknowledged,
//! nothing done twice, no index that points at nothing, and everything works again when the fault is gone, with the same handle.

mod beside_python;
mod check;
mod cuts;
mod doors;
mod rights;
mod stuck;
mod under_load;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use hivemind_host::plugins::OpenError;
use hivemind_model::{Backend, Code, Context, Error, Result};
use hivemind_tests::python::Peer;
use hivemind_tests::redis::load::{self, Book, Collections};
use hivemind_tests::redis::sync::{Writers, repairs};
use hivemind_tests::redis::{Deployment, Kind};
use hivemind_tests::subject::shared;
use serde_json::{Map, Value, json};

/// The namespace of these tests.
const PREFIX: &str = "faults";
/// How long each call may take.
const DEADLINE: Duration = Duration::from_secs(2);
/// A call that comes back later than this did not mind its deadline, however busy the machine is.
const FAR_TOO_LATE: Duration = Duration::from_secs(30);

/// The lines of a server that has synced what it acknowledges.
const DURABLE: [&str; 2] = ["appendonly yes", "appendfsync always"];

fn open(settings: &Map<String, Value>) -> Result<Arc<dyn Backend>> {
    match shared().open("redis", settings) {
        Ok(opened) => Ok(opened.backend),
        Err(OpenError::Backend { error, .. }) => Err(error),
        Err(refused) => panic!("{refused}"),
    }
}

/// The settings with some of them changed.
fn but(mut settings: Map<String, Value>, changes: &Value) -> Map<String, Value> {
    settings.extend(changes.as_object().expect("an object").clone());
    settings
}

fn soon() -> Context<'static> {
    Context::within(DEADLINE)
}

/// Does something that must not take much longer than its deadline.
fn in_time<T>(what: &str, call: impl FnOnce() -> T) -> T {
    let start = Instant::now();
    let done = call();
    assert!(start.elapsed() < FAR_TOO_LATE, "{what} took {:?}", start.elapsed());
    done
}

/// An error of one of these codes that names the place and says what to do, and holds no secret.
fn assert_helpful(error: &Error, codes: &[Code], parts: &[&str]) {
    assert!(codes.contains(&error.code()), "expected one of {codes:?}: {error}");
    let said = error.to_string();
    for part in parts {
        assert!(said.contains(part), "expected {part:?} in: {said}");
    }
    for secret in ["it's a", "hunter2"] {
        assert!(!said.contains(secret) && !format!("{error:?}").contains(secret), "a secret in: {said}");
    }
}

/// Waits until a call passes, with one and the same handle.
fn recovered(backend: &dyn Backend, collections: &Collections) {
    let mut last = None;
    let end = Instant::now() + Duration::from_secs(60);
    while Instant::now() < end {
        match collections.look_up(backend, &soon(), "nobody") {
            Ok(_) => return,
            Err(error) => last = Some(error),
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    panic!("it did not recover: {last:?}");
}

/// The store is as the books say, with what another handle reads too, and Python's `sync()` finds nothing to repair.
fn check(deployment: &Deployment, backend: &dyn Backend, collections: &Collections, books: &[Book], kept: bool) {
    let mut problems = load::problems(backend, collections, books, kept).unwrap_or_else(|e| panic!("{e}"));
    let home = tempfile::tempdir().expect("a folder");
    problems.extend(repairs(deployment, PREFIX, Writers::Ours, &mut Peer::start(home.path())));
    assert!(problems.is_empty(), "{} problems:\n{}\n{books:#?}", problems.len(), problems.join("\n"));
}

/// What threads did and met, in a line.
fn summary(books: &[Book]) -> String {
    let sum = |of: fn(&Book) -> usize| books.iter().map(of).sum::<usize>();
    let mut errors = std::collections::BTreeMap::new();
    for (code, count) in books.iter().flat_map(|book| &book.errors) {
        *errors.entry(code).or_insert(0) += count;
    }
    format!(
        "{} added, {} maybe, {} not; {} counted; errors {errors:?}",
        sum(|b| b.added.len()),
        sum(|b| b.maybe_added.len()),
        sum(|b| b.not_added.len()),
        books.iter().map(|b| b.counted[0]).sum::<u64>()
    )
}

/// Works in the background while `happens` happens; gives what every thread was told.
fn while_working(backend: &dyn Backend, collections: &Collections, run: &str, happens: impl FnOnce()) -> Vec<Book> {
    const THREADS: usize = 4;
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let working = scope.spawn(|| load::work(backend, collections, (run, THREADS), DEADLINE, &stop));
        let stops = hivemind_tests::waiting::StopOnDrop(&stop);
        std::thread::sleep(Duration::from_millis(300));
        happens();
        recovered(backend, collections);
        std::thread::sleep(Duration::from_millis(300));
        drop(stops);
        let books = working.join().expect("the workers end");
        assert!(stop.load(Ordering::SeqCst));
        for book in &books {
            assert!(book.longest < FAR_TOO_LATE, "a call took {:?}: {:?}", book.longest, book.messages);
        }
        println!("{run}: {}", summary(&books));
        books
    })
}

/// A store that is ready to be worked on.
fn begun(settings: &Map<String, Value>) -> (Arc<dyn Backend>, Collections) {
    let backend = open(settings).unwrap_or_else(|e| panic!("{e}"));
    let collections = Collections::prepare(&*backend).unwrap_or_else(|e| panic!("{e}"));
    load::begin(&*backend, &collections, 4).unwrap_or_else(|e| panic!("{e}"));
    (backend, collections)
}

/// Settings that wait less, for what never answers.
fn impatient() -> Value {
    json!({"connect_timeout_ms": 1000, "socket_timeout_ms": 1000})
}

fn single(lines: &[&str]) -> Deployment {
    Deployment::start(Kind::Single, lines)
}
