//! Backups while eight threads write: each restores to a state that the history of acknowledged writes allows.
//!
//! Every thread numbers its writes and puts the number into two records at once. So what a backup holds of a thread says which of its
//! writes are in it, and it must be one that was made of writes in an order they can have happened in: none that had not begun when
//! the backup ended, none missing that was acknowledged before it began, and none missing that was acknowledged before another one
//! began which is in it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use hivemind_host::plugins::lock::Lock;
use hivemind_host::plugins::{Loader, SearchPath};
use hivemind_model::{Backend, Change, Context, Key, Mutation};
use hivemind_store::{Clients, Options, Storage};
use hivemind_tests::build;
use hivemind_tests::redis::{Deployment, Kind};

use super::*;

const THREADS: usize = 8;
/// How long is written, in seconds; `HIVEMIND_UPKEEP_SECONDS` says otherwise.
const SECONDS: u64 = 15;
const NAME: usize = 2;

/// When a write began, and when it was acknowledged.
type Write = (Instant, Option<Instant>);

/// A thread's writes: number n is at n - 1.
#[derive(Default)]
struct History(Mutex<Vec<Write>>);

impl History {
    fn all(&self) -> Vec<Write> {
        self.0.lock().expect("a history").clone()
    }
}

struct Taken {
    file: PathBuf,
    began: Instant,
    ended: Instant,
}

fn write_on(backend: &dyn Backend, clients: &Clients, thread: usize, history: &History, stop: &AtomicBool) {
    let id = clients.id();
    let set = |key: usize, number: usize| {
        let changes = vec![Change::set(NAME, number.to_string())];
        Mutation::Update { collection: id, key: Key::Int(i64::try_from(key).expect("small")), changes, when: Vec::new() }
    };
    for number in 1.. {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        history.0.lock().expect("a history").push((Instant::now(), None));
        let batch = [set(2 * thread + 1, number), set(2 * thread + 2, number)];
        backend.apply(&Context::unbounded(), &batch).expect("written");
        history.0.lock().expect("a history").last_mut().expect("one").1 = Some(Instant::now());
    }
}

/// How many writes of each thread a restored store holds.
fn numbers(operator: &Operator) -> Vec<usize> {
    let clients = operator.clients();
    let number = |id: usize| clients[id]["name"].as_str().and_then(|name| name.parse().ok()).unwrap_or_default();
    assert_eq!(clients.len(), 2 * THREADS);
    (0..THREADS)
        .map(|thread| {
            let (a, b): (usize, usize) = (number(2 * thread), number(2 * thread + 1));
            assert_eq!(a, b, "half of a batch is in it");
            a
        })
        .collect()
}

fn assert_allowed(numbers: &[usize], histories: &[Vec<Write>], taken: &Taken) {
    let acknowledged = |thread: usize, number: usize| histories[thread].get(number - 1).and_then(|write| write.1);
    for (thread, number) in numbers.iter().copied().enumerate() {
        let began = |number: usize| histories[thread][number - 1].0;
        assert!(number == 0 || began(number) <= taken.ended, "thread {thread}: write {number} had not begun");
        // The first that is missing.
        if let Some(at) = acknowledged(thread, number + 1) {
            assert!(at >= taken.began, "thread {thread}: write {} was acknowledged before and is missing", number + 1);
            for (other, last) in numbers.iter().copied().enumerate().filter(|(_, last)| *last > 0) {
                let later = histories[other][last - 1].0;
                let missing = number + 1;
                assert!(
                    at >= later,
                    "write {missing} of thread {thread} came before write {last} of thread {other}, and is missing"
                );
            }
        }
    }
}

fn run(store: Store) {
    live(&format!("{store:?}"), store.module, &json!({"password": store.password}), &store.operator(), &store.operator());
}

/// Writes to the store that `operator` has configured, which these settings open, and restores into that of `target`.
fn live(name: &str, module: &str, settings: &Value, operator: &Operator, target: &Operator) {
    let seconds = std::env::var("HIVEMIND_UPKEEP_SECONDS").ok().and_then(|s| s.parse().ok()).unwrap_or(SECONDS);
    let plugins = [build::shipped_plugins()];
    let loader = Loader::new(SearchPath::only(&plugins), Lock::default(), operator.home().join("data"));
    // The lock of the JSON store lies where the program looks for it.
    let backend = loader.open(module, settings.as_object().expect("an object")).expect("opens").backend;
    let storage = Storage::new(Arc::clone(&backend), Options { deadline: None, ..Options::default() });
    let clients = pollster::block_on(Clients::open(&storage)).expect("clients");
    for n in 1..=2 * THREADS {
        pollster::block_on(clients.add(hivemind_store::clients::NewClient::new(format!("k{n}")))).expect("added");
    }
    let histories: Vec<History> = (0..THREADS).map(|_| History::default()).collect();
    let stop = AtomicBool::new(false);
    let taken: Vec<Taken> = std::thread::scope(|scope| {
        for (thread, history) in histories.iter().enumerate() {
            let (backend, clients, stop) = (&*backend, &clients, &stop);
            scope.spawn(move || write_on(backend, clients, thread, history, stop));
        }
        let since = Instant::now();
        let mut taken = Vec::new();
        while since.elapsed() < Duration::from_secs(seconds) {
            let file = operator.home().join(format!("{}.backup", taken.len()));
            let began = Instant::now();
            // Another process every other time, as from a timer; else the node itself.
            if taken.len() % 2 == 0 {
                let mut command = operator.command(&["backup", text(&file)]);
                let ended: hivemind_tests::program::Ended =
                    command.env("TMPDIR", std::env::temp_dir()).output().expect("starts").into();
                if ended.code != 0 {
                    stop.store(true, Ordering::Relaxed);
                }
                ended.well();
            } else {
                let task = hivemind_model::Task::Backup { to: text(&file).to_owned() };
                backend
                    .maintain(&Context::unbounded(), &task)
                    .inspect_err(|_| stop.store(true, Ordering::Relaxed))
                    .expect("a backup");
            }
            taken.push(Taken { file, began, ended: Instant::now() });
            std::thread::sleep(Duration::from_secs(1).saturating_sub(began.elapsed()));
        }
        stop.store(true, Ordering::Relaxed);
        taken
    });
    let histories: Vec<Vec<Write>> = histories.iter().map(History::all).collect();
    backend.close(&Context::unbounded()).expect("closed");
    for one in &taken {
        assert_eq!(mode(&one.file), 0o600);
        target.run(&["restore", text(&one.file), "--yes", "--no-keep"]).well();
        assert_allowed(&numbers(target), &histories, one);
    }
    let writes: usize = histories.iter().map(Vec::len).sum();
    eprintln!("{name}: {} backups, each allowed, under {writes} writes in {seconds} s", taken.len());
    assert!(writes > 100 && taken.len() >= 5, "{writes} writes, {} backups", taken.len());
}

/// On one server and on a cluster with a tag; restored into another namespace of the same.
#[test]
fn redis() {
    for kind in [Kind::Single, Kind::ClusterTagged] {
        let deployment = Deployment::start(kind, &[]);
        let [from, to] = ["from", "to"].map(|prefix| deployment.settings(prefix));
        let operators = [&from, &to].map(redis::operator);
        live(&format!("{kind:?}"), REDIS, &Value::Object(from), &operators[0], &operators[1]);
    }
}

#[test]
fn sqlite() {
    run(PLAIN[0]);
}

#[test]
fn json() {
    run(PLAIN[1]);
}

#[test]
fn sqlite_encrypted() {
    run(ENCRYPTED[0]);
}

#[test]
fn json_encrypted() {
    run(ENCRYPTED[1]);
}

/// A check that lets everything pass would be none.
#[test]
fn the_check_finds_what_must_not_be() {
    let start = Instant::now();
    let at = |ms: u64| start + Duration::from_millis(ms);
    let write = |began: u64, ended: u64| (at(began), Some(at(ended)));
    // Thread 0 writes at 0 and 20, thread 1 at 10 and 30; the backup is taken from 15 to 40.
    let histories = [vec![write(0, 5), write(20, 25)], vec![write(10, 12), write(30, 35)]];
    let taken = Taken { file: PathBuf::new(), began: at(15), ended: at(40) };
    let is_allowed = |numbers: [usize; 2], taken: &Taken| {
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| assert_allowed(&numbers, &histories, taken))).is_ok()
    };
    for numbers in [[1, 1], [2, 1], [2, 2]] {
        assert!(is_allowed(numbers, &taken), "{numbers:?}");
    }
    assert!(!is_allowed([0, 1], &taken), "a write that was acknowledged before is missing");
    assert!(!is_allowed([1, 2], &taken), "a write is missing that was acknowledged before one that is there began");
    let early = Taken { ended: at(18), ..taken };
    assert!(!is_allowed([2, 1], &early), "a write that had not begun is there");
}
