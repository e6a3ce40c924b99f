//! Several callers that write at once share commits, and each gets the answer it would have got alone.

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Barrier, Mutex};
use std::time::Duration;

use common::*;
use hivemind_abi::model::{
    Backend, Change, Changes, Code, CollectionId, Condition, Context, Error, Key, KeyRef, Mutation, Op, Outcome, ValueRef,
};
use hivemind_sqlite_plugin::backend::Sqlite;

const THREADS: i64 = 8;

fn next(id: CollectionId, api_key: &str) -> [Mutation; 1] {
    [Mutation::InsertNext { collection: id, row: client(0, api_key) }]
}

/// The keys and access keys that another program sees.
fn stored(folder: &Folder) -> BTreeMap<i64, String> {
    let connection = folder.other_program();
    let mut statement = connection.prepare("SELECT client_id, api_key FROM clients").expect("SQL");
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).expect("rows");
    rows.collect::<Result<_, _>>().expect("rows")
}

fn inserted(result: Result<hivemind_abi::model::Applied, Error>) -> Result<i64, Error> {
    result.map(|applied| match &applied.outcomes[..] {
        [Outcome::Inserted(Key::Int(key))] => *key,
        other => panic!("{other:?}"),
    })
}

fn in_threads(work: impl Fn(i64) + Sync) {
    let barrier = Barrier::new(usize::try_from(THREADS).expect("a number"));
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let (work, barrier) = (&work, &barrier);
            scope.spawn(move || {
                barrier.wait();
                work(thread);
            });
        }
    });
}

#[test]
fn eight_threads_with_conflicts_among_them_are_answered_as_one_after_another() {
    const ROUNDS: i64 = 60;
    let folder = Folder::new();
    let (store, id) = folder.clients();
    insert(&store, id, client(1, "counter"));
    let winners = Mutex::new(BTreeMap::new());
    let counted = AtomicU64::new(0);
    in_threads(|thread| {
        let seen = folder.other_program();
        for round in 0..ROUNDS {
            // All want this access key; one gets it, and who does not is right at the time of the answer, for other programs too.
            let wanted = format!("wanted-{round}");
            match inserted(store.apply(&CX, &next(id, &wanted))) {
                Ok(key) => assert_eq!(winners.lock().expect("winners").insert(wanted, key), None),
                Err(error) => {
                    assert_eq!((error.code(), error.detail().mutation), (Code::Conflict, Some(0)), "{error}");
                    let count: i64 = seen
                        .query_row("SELECT count(*) FROM clients WHERE api_key = ?1", [&wanted], |row| row.get(0))
                        .expect("a count");
                    assert_eq!(count, 1, "who won is committed when the loser is told");
                }
            }
            // Adds one, if nobody did meanwhile.
            let row = get(&store, id, 1).expect("the counter");
            let value = row.view(&clients()).expect("a view").at(LAST_SEEN).to_value();
            let before = match value {
                hivemind_abi::model::Value::Real(v) => v,
                other => panic!("{other:?}"),
            };
            let update = Mutation::Update {
                collection: id,
                key: Key::Int(1),
                changes: vec![Change::set(LAST_SEEN, before + 1.0)],
                when: vec![Condition::new(LAST_SEEN, Op::Eq, before)],
            };
            // What a batch that fails in its second half did before that is undone.
            let batch = if (thread + round) % 5 == 0 {
                vec![update, Mutation::Insert { collection: id, row: client(1, "taken") }]
            } else {
                vec![update]
            };
            match store.apply(&CX, &batch) {
                Ok(_) => drop(counted.fetch_add(1, Ordering::Relaxed)),
                Err(error) => assert_eq!(error.code(), Code::Conflict, "{error}"),
            }
        }
    });
    let winners = winners.into_inner().expect("winners");
    assert_eq!(i64::try_from(winners.len()), Ok(ROUNDS));
    let expected: BTreeMap<i64, String> =
        winners.into_iter().map(|(wanted, key)| (key, wanted)).chain([(1, "counter".to_owned())]).collect();
    let found = stored(&folder);
    assert_eq!(found, expected);
    assert!(found.keys().copied().eq(1..=ROUNDS + 1), "no key was used up by a failure");
    let last = get(&store, id, 1).expect("the counter").view(&clients()).expect("a view").at(LAST_SEEN).to_value();
    #[expect(clippy::cast_precision_loss, reason = "a small number")]
    let expected = counted.into_inner() as f64 - 1.0;
    assert_eq!(last, hivemind_abi::model::Value::Real(expected));
}

#[test]
fn each_caller_gets_a_token_at_which_its_write_is_there_and_the_groups_keys_are_told_once_it_is() {
    let folder = Folder::new();
    let (store, id) = folder.clients();
    in_threads(|thread| {
        let mut last = store.changes_since(&CX, id, hivemind_abi::model::Token::default()).expect("a token").0;
        for round in 0..40 {
            let key = thread * 1000 + round + 1;
            let put = [Mutation::Put { collection: id, row: client(key, &format!("{key}")) }];
            let token = store.apply(&CX, &put).expect("applied").token;
            assert!(token.sequence > last.sequence && token.epoch == last.epoch);
            assert!(get(&store, id, key).is_some(), "readers see it");
            match store.changes_since(&CX, id, last).expect("changes").1 {
                Changes::Keys(keys) => assert!(keys.contains(&Key::Int(key)), "{keys:?}"),
                Changes::Everything => {}
                other => panic!("its own write is among the changes: {other:?}"),
            }
            last = token;
        }
    });
    assert_eq!(stored(&folder).len(), usize::try_from(THREADS).expect("a number") * 40);
}

#[test]
fn a_batch_that_ends_the_whole_transaction_fails_alone() {
    let folder = Folder::new();
    let (store, id) = folder.clients();
    // Not a statement of ours: SQLite takes the transaction back, with all that other callers did in it.
    folder.written(
        "CREATE TRIGGER poison BEFORE INSERT ON clients WHEN new.api_key LIKE 'poison%' \
         BEGIN SELECT RAISE(ROLLBACK, 'poison'); END",
    );
    let good = Mutex::new(BTreeMap::new());
    in_threads(|thread| {
        for round in 0..30 {
            let poison = (thread + round) % 4 == 0;
            let name = format!("{}-{thread}-{round}", if poison { "poison" } else { "good" });
            match inserted(store.apply(&CX, &next(id, &name))) {
                Ok(key) => assert!(!poison && good.lock().expect("good").insert(key, name).is_none()),
                Err(error) => assert!(poison && error.message().contains("poison"), "{name}: {error}"),
            }
        }
    });
    let good = good.into_inner().expect("good");
    assert_eq!(stored(&folder), good);
    assert!(good.keys().copied().eq(1..=THREADS * 30 * 3 / 4));
}

/// A file system of two megabytes.
#[cfg(target_os = "linux")]
struct SmallDisk(tempfile::TempDir);

#[cfg(target_os = "linux")]
impl SmallDisk {
    /// `None` where mounting is not allowed.
    fn mount() -> Option<Self> {
        let folder = tempfile::tempdir().expect("a folder");
        let mut mount = std::process::Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=2m", "tmpfs"]).arg(folder.path());
        mount.output().is_ok_and(|output| output.status.success()).then_some(Self(folder))
    }
}

#[cfg(target_os = "linux")]
impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg("--lazy").arg(self.0.path()).status();
    }
}

#[cfg(target_os = "linux")]
#[test]
fn on_a_full_disk_only_what_does_not_fit_fails() {
    let Some(disk) = SmallDisk::mount() else {
        eprintln!("not tested: mounting a small file system needs the rights of root");
        return;
    };
    let file = disk.0.path().join("clients.db");
    let config = serde_json::json!({ "db_path": file }).to_string();
    let store = Folder::new().open_with(&config);
    let id = store.prepare(&CX, &[clients()]).expect("prepares")[0];
    for round in 0..3 {
        // Everybody waits for this lock, and then they share a transaction.
        let other = rusqlite::Connection::open(&file).expect("opens");
        other.execute_batch("BEGIN IMMEDIATE").expect("the lock");
        std::thread::scope(|scope| {
            for thread in 0..THREADS {
                let store = &store;
                scope.spawn(move || {
                    let fits = thread % 4 != round % 4;
                    let api_key = if fits { format!("{thread}") } else { "x".repeat(3 << 20) };
                    let put = [Mutation::Put { collection: id, row: client(100 * round + thread, &format!("{round}{api_key}")) }];
                    match store.apply(&CX, &put) {
                        Ok(_) => assert!(fits),
                        Err(error) => {
                            assert!(!fits && error.code() == Code::Io && error.message().contains("disk full"), "{error}")
                        }
                    }
                });
            }
            std::thread::sleep(Duration::from_millis(100));
            other.execute_batch("ROLLBACK").expect("let go");
        });
    }
    let other = rusqlite::Connection::open(&file).expect("opens");
    let count: i64 = other.query_row("SELECT count(*) FROM clients", [], |row| row.get(0)).expect("a count");
    assert_eq!(count, 3 * 6);
    drop(other);
    store.close(&CX).expect("closes");
}

#[test]
fn another_program_gets_its_turn_while_eight_threads_write_without_a_gap() {
    let folder = Folder::new();
    let (store, id) = folder.clients();
    let (stop, ours) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let (store, stop, ours) = (&store, &stop, &ours);
            scope.spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    let put = [Mutation::Put { collection: id, row: client(thread, &format!("{thread}")) }];
                    store.apply(&CX, &put).expect("applied");
                    ours.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        // As patient as the Python node, and no more.
        let other = folder.other_program();
        other.busy_timeout(Duration::from_secs(10)).expect("a timeout");
        let wrote = (0..50).try_for_each(|n| {
            other.execute_batch(&format!("BEGIN IMMEDIATE; UPDATE clients SET name = '{n}'; COMMIT")).map(|()| {
                // Long enough for ours to begin anew.
                std::thread::sleep(Duration::from_millis(5));
            })
        });
        stop.store(true, Ordering::Relaxed);
        wrote.expect("it got the lock each time");
    });
    assert!(ours.into_inner() > 50);
}

/// Any sequence of numbers that looks like none.
fn shuffled(mut state: u64) -> impl FnMut() -> u64 {
    move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state >> 33
    }
}

/// Writes from many threads, each batch with a deadline or a cancel of its own; gives what was acknowledged.
fn hurried(store: &Sqlite, id: CollectionId, rounds: u64) -> BTreeSet<String> {
    let acknowledged = Mutex::new(BTreeSet::new());
    let (running, flags) = (AtomicBool::new(true), [(); 2].map(|()| AtomicBool::new(false)));
    std::thread::scope(|scope| {
        let canceller = scope.spawn(|| {
            while running.load(Ordering::Relaxed) {
                for flag in &flags {
                    flag.fetch_xor(true, Ordering::Relaxed);
                }
                std::thread::sleep(Duration::from_micros(700));
            }
        });
        let writers: Vec<_> = (0..16_u64)
            .map(|thread| {
                let (acknowledged, flags) = (&acknowledged, &flags);
                scope.spawn(move || {
                    let mut any = shuffled(thread + 1);
                    for round in 0..rounds {
                        let cx = match any() % 4 {
                            0 => Context::unbounded(),
                            1 => Context::within(Duration::from_micros(any() % 4000)),
                            2 => Context::within(Duration::from_millis(any() % 30)).cancelled_by(&flags[0]),
                            _ => Context::unbounded().cancelled_by(&flags[1]),
                        };
                        let name = format!("{thread}-{round}");
                        match inserted(store.apply(&cx, &next(id, &name))) {
                            Ok(_) => drop(acknowledged.lock().expect("a set").insert(name)),
                            Err(e) if e.code() == Code::Unavailable => return,
                            Err(e) => assert!(matches!(e.code(), Code::Deadline | Code::Busy) && e.retryable(), "{e}"),
                        }
                    }
                })
            })
            .collect();
        let ended: Vec<_> = writers.into_iter().map(|w| w.join()).collect();
        running.store(false, Ordering::Relaxed);
        canceller.join().expect("no panic");
        ended.into_iter().for_each(|ended| ended.expect("no panic"));
    });
    acknowledged.into_inner().expect("a set")
}

#[test]
fn nobody_is_forgotten_and_what_was_given_up_was_not_applied() {
    let folder = Folder::new();
    let (store, id) = folder.clients();
    let acknowledged = hurried(&store, id, 150);
    let found: BTreeSet<String> = stored(&folder).into_values().collect();
    assert_eq!(found, acknowledged);
    insert(&store, id, client(1_000_000, "and it still works"));
}

#[test]
fn closing_answers_everybody_and_keeps_what_was_acknowledged() {
    for _ in 0..5 {
        let folder = Folder::new();
        let (store, id) = folder.clients();
        let acknowledged = std::thread::scope(|scope| {
            let writers = scope.spawn(|| hurried(&store, id, u64::MAX));
            std::thread::sleep(Duration::from_millis(60));
            store.close(&CX).expect("closes");
            writers.join().expect("no panic")
        });
        let found: BTreeSet<String> = stored(&folder).into_values().collect();
        assert_eq!(found, acknowledged);
        assert_eq!(store.get(&CX, id, KeyRef::Int(1)).expect_err("closed").code(), Code::Unavailable);
        let (again, id) = folder.clients();
        if let Some(name) = acknowledged.first() {
            assert!(again.get_by(&CX, id, API_KEY, ValueRef::Text(name)).expect("a lookup").is_some());
        }
    }
}
