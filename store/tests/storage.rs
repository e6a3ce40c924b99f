//! Calling a backend through a pool, and transactions.

mod common;

use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::{Cut, Tracked, open, wait};
use hivemind_model::{Change, Code, Collection, Error, Index, Key, KeyRef, Kind, Outcome, Row, ValueRef};
use hivemind_store::clients::NewClient;
use hivemind_store::{Offload, Options, Storage, Wake};

type Job = Box<dyn FnOnce() + Send>;

/// One worker thread.
struct Pool(Mutex<Sender<Job>>);

impl Pool {
    fn new() -> Self {
        let (sender, jobs) = channel::<Job>();
        std::thread::spawn(move || jobs.into_iter().for_each(|job| job()));
        Self(Mutex::new(sender))
    }
}

impl Offload for Pool {
    fn run(&self, job: Job) {
        self.0.lock().expect("lock").send(job).expect("a worker");
    }
}

type Alarm = (Duration, Box<dyn Wake>);

/// A worker thread, and timers whose time passes when the test says so.
struct Timed {
    pool: Pool,
    alarms: Mutex<Vec<Alarm>>,
}

impl Timed {
    fn new() -> Arc<Self> {
        Arc::new(Self { pool: Pool::new(), alarms: Mutex::default() })
    }

    /// Lets so much time pass for the calls that run.
    fn pass(&self, time: Duration) {
        let due: Vec<Alarm> = self.alarms.lock().expect("lock").extract_if(.., |(after, _)| *after <= time).collect();
        due.into_iter().for_each(|(_, wake)| wake.wake());
    }
}

impl Offload for Timed {
    fn run(&self, job: Job) {
        self.pool.run(job);
    }

    fn wake_after(&self, time: Duration, wake: Box<dyn Wake>) {
        self.alarms.lock().expect("lock").push((time, wake));
    }
}

/// A pool that is shut down.
struct Closed;

impl Offload for Closed {
    fn run(&self, job: Job) {
        drop(job);
    }
}

fn notes() -> Collection {
    Collection::new("notes", 1, "id", Kind::Int)
        .field_with("tag", Kind::Text, "", Index::Unique { except: vec!["".into()] })
        .field_with("n", Kind::Int, 0, Index::None)
}

fn storage(options: Options) -> (Storage, hivemind_model::CollectionId) {
    let storage = Storage::new(Arc::new(hivemind_model::reference::Reference::new()), options);
    let id = wait(storage.prepare(notes())).expect("prepared").id;
    (storage, id)
}

fn note(id: i64, tag: &str, n: i64) -> Row {
    let notes = notes();
    let filled = Row::builder(&notes).set("id", id).and_then(|b| b.set("tag", tag)).and_then(|b| b.set("n", n));
    filled.expect("a note").build()
}

#[test]
fn calls_that_may_block_go_to_the_pool_and_inline_reads_do_not() {
    let backend = Arc::new(Tracked::default());
    let clients = open(&backend, Options { offload: Some(Arc::new(Pool::new())), ..Options::default() });
    wait(clients.add(NewClient::new("k"))).expect("through the pool");
    common::at_once(clients.by_access_key("k")).expect("in place").expect("k");

    let backend = Arc::new(Tracked { without_inline_reads: true, ..Tracked::default() });
    let clients = open(&backend, Options { offload: Some(Arc::new(Pool::new())), ..Options::default() });
    wait(clients.add(NewClient::new("k"))).expect("through the pool");
    wait(clients.by_access_key("k")).expect("through the pool").expect("k");
    let here = std::thread::current().id();
    let there = wait(clients.storage().read(|_, _| Ok(std::thread::current().id()))).expect("a job");
    assert_ne!(here, there);
}

#[test]
fn a_refused_job_was_not_applied_and_a_dead_one_is_not_known() {
    let backend: Arc<dyn hivemind_model::Backend> = Arc::new(Tracked::default());
    let closed = Storage::new(backend.clone(), Options { offload: Some(Arc::new(Closed)), ..Options::default() });
    let error = wait(closed.run(|_, _| Ok(()))).expect_err("refused");
    assert_eq!((error.code(), error.retryable()), (Code::Unavailable, true));

    struct Guarded;
    impl Offload for Guarded {
        fn run(&self, job: Job) {
            std::thread::spawn(|| drop(std::panic::catch_unwind(std::panic::AssertUnwindSafe(job))));
        }
    }
    let guarded = Storage::new(backend, Options { offload: Some(Arc::new(Guarded)), ..Options::default() });
    let error = wait(guarded.run(|_, _| -> hivemind_model::Result<()> { panic!("for the test") })).expect_err("died");
    assert_eq!((error.code(), error.retryable()), (Code::Panicked, false));
}

#[test]
fn a_deadline_covers_the_time_in_the_queue() {
    struct Slow;
    impl Offload for Slow {
        fn run(&self, job: Job) {
            std::thread::spawn(move || {
                std::thread::sleep(Duration::from_millis(30));
                job();
            });
        }
    }
    let options = Options { offload: Some(Arc::new(Slow)), deadline: Some(Duration::from_millis(5)), ..Options::default() };
    let storage = Storage::new(Arc::new(Tracked::default()), options);
    let error = wait(storage.run(|_, cx| cx.check())).expect_err("too late");
    assert_eq!(error.code(), Code::Deadline);
}

#[test]
fn dropping_a_call_raises_its_cancel_flag() {
    let (go, wait_for_go) = channel::<()>();
    let (tell, told) = channel();
    let storage =
        Storage::new(Arc::new(Tracked::default()), Options { offload: Some(Arc::new(Pool::new())), ..Options::default() });
    let mut call = Box::pin(storage.run(move |_, cx| {
        wait_for_go.recv().expect("go");
        tell.send(cx.check().map_err(|e| e.code())).expect("told");
        Ok(())
    }));
    assert!(call.as_mut().poll(&mut std::task::Context::from_waker(std::task::Waker::noop())).is_pending());
    drop(call);
    go.send(()).expect("running");
    assert_eq!(told.recv(), Ok(Err(Code::Deadline)));
}

#[test]
fn increments_in_transactions_from_many_threads_all_count() {
    let (storage, id) = storage(Options::default());
    wait(storage.transaction(move |tx| tx.insert(id, note(1, "a", 0)))).expect("insert");
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..50 {
                    let work = wait(storage.transaction(move |tx| {
                        let row = tx.get(id, KeyRef::Int(1))?.ok_or_else(|| Error::not_found("gone"))?;
                        let notes = notes();
                        let ValueRef::Int(n) = row.view(&notes)?.at(2) else { return Err(Error::corrupt("no number")) };
                        tx.update(id, KeyRef::Int(1), vec![Change::set(2, n + 1)], Vec::new()).map(drop)
                    }));
                    work.expect("committed");
                }
            });
        }
    });
    let row = wait(storage.read(move |b, cx| b.get(cx, id, KeyRef::Int(1)))).expect("read").expect("row");
    assert_eq!(row.view(&notes()).expect("view").at(2), ValueRef::Int(200));
}

#[test]
fn a_transaction_sees_its_own_writes_and_a_failing_one_leaves_nothing() {
    let (storage, id) = storage(Options::default());
    let committed = wait(storage.transaction(move |tx| {
        tx.insert(id, note(1, "a", 0))?;
        tx.put(id, note(2, "b", 0))?;
        assert!(tx.get_by(id, 1, ValueRef::Text("b"))?.is_some());
        tx.update(id, KeyRef::Int(2), vec![Change::set(1, "c")], Vec::new())?;
        assert!(tx.get_by(id, 1, ValueRef::Text("b"))?.is_none() && tx.get_by(id, 1, ValueRef::Text("c"))?.is_some());
        tx.delete(id, KeyRef::Int(1));
        assert_eq!(tx.get(id, KeyRef::Int(1))?, None);
        tx.insert_next(id, note(0, "d", 0));
        Ok::<_, Error>("value")
    }))
    .expect("committed");
    assert_eq!((committed.value, committed.outcomes.last()), ("value", Some(&Outcome::Inserted(Key::Int(3)))));

    let failed = wait(storage.transaction(move |tx| {
        tx.get(id, KeyRef::Int(2))?;
        tx.insert(id, note(9, "new", 0))?;
        tx.insert(id, note(10, "c", 0))
    }));
    let error = failed.expect_err("the tag is taken");
    assert_eq!((error.code(), error.detail().mutation), (Code::Conflict, Some(1)), "positions are the caller's");
    let aborted = wait(storage.transaction(move |tx| {
        tx.insert(id, note(9, "new", 0))?;
        Err::<(), _>(Error::invalid("changed my mind"))
    }));
    assert_eq!(aborted.map(|c| c.value), Err(Error::invalid("changed my mind")));
    assert_eq!(wait(storage.read(move |b, cx| b.get(cx, id, KeyRef::Int(9)))), Ok(None));
}

#[test]
fn a_transaction_gives_up_after_its_attempts() {
    let (storage, id) = storage(Options { attempts: 3, ..Options::default() });
    wait(storage.transaction(move |tx| tx.insert(id, note(1, "a", 0)))).expect("insert");
    let other = storage.clone();
    let mut tries = 0;
    let result = wait(storage.transaction(move |tx| {
        tries += 1;
        tx.get(id, KeyRef::Int(1))?;
        let meanwhile = hivemind_model::Mutation::Put { collection: id, row: note(1, "a", tries) };
        wait(other.apply(vec![meanwhile]))?;
        tx.put(id, note(1, "mine", 0))
    }));
    assert_eq!(result.expect_err("gave up").code(), Code::Conflict);
    let row = wait(storage.read(move |b, cx| b.get(cx, id, KeyRef::Int(1)))).expect("read").expect("row");
    assert_eq!(row.view(&notes()).expect("view").at(2), ValueRef::Int(3), "tried three times, wrote nothing");
}

/// A migration is one step; cut off at a deadline each time, it would never end.
#[test]
fn preparing_a_store_has_no_deadline() {
    let backend = Arc::new(Tracked::default());
    let deadline = Some(Duration::from_millis(5));
    for offload in [None, Some(Arc::new(Pool::new()) as Arc<dyn Offload>)] {
        *backend.before_prepare.lock().expect("lock") = Some(Box::new(|| std::thread::sleep(Duration::from_millis(30))));
        let clients = open(&backend, Options { deadline, offload, ..Options::default() });
        let error = wait(clients.storage().run(|_, cx| {
            std::thread::sleep(Duration::from_millis(30));
            cx.check()
        }));
        assert_eq!(error.expect_err("other calls have one").code(), Code::Deadline);
    }
}

const DEADLINE: Duration = Duration::from_secs(15);

/// A store of clients whose next look-up takes so long.
fn slow_next_time(time: Duration) -> (Arc<Tracked>, hivemind_store::Clients, impl Fn()) {
    let (backend, timed) = (Arc::new(Tracked { without_inline_reads: true, ..Tracked::default() }), Timed::new());
    let offload: Option<Arc<dyn Offload>> = Some(timed.clone());
    let clients = open(&backend, Options { offload, deadline: Some(DEADLINE), ..Options::default() });
    let slow = {
        let backend = backend.clone();
        move || {
            let timed = timed.clone();
            *backend.after_lookup.lock().expect("lock") = Some(Box::new(move || timed.pass(time)));
        }
    };
    (backend, clients, slow)
}

/// Reading back may take as long as the write that went before, and the caller is not told "unknown" in the middle of it.
#[test]
fn reading_back_an_unknown_outcome_has_the_time_it_is_given() {
    let (backend, clients, slow) = slow_next_time(DEADLINE * 2 - Duration::from_secs(1));
    *backend.cut.lock().expect("lock") = Some(Cut::AfterCommit);
    slow();
    let added = wait(clients.add(NewClient::new("k"))).expect("found by reading back");
    assert_eq!(added.api_key.as_str(), "k");

    let (backend, clients, slow) = slow_next_time(DEADLINE * 2 + Duration::from_secs(2));
    *backend.cut.lock().expect("lock") = Some(Cut::AfterCommit);
    slow();
    match wait(clients.add(NewClient::new("k"))) {
        Err(hivemind_store::Error::Backend(error)) => assert_eq!(error.code(), Code::OutcomeUnknown, "{error}"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_read_that_is_late_is_no_write_of_unknown_outcome() {
    let (_, clients, slow) = slow_next_time(DEADLINE + Duration::from_secs(2));
    let client = wait(clients.add(NewClient::new("k"))).expect("added");
    wait(clients.revoke(&client)).expect("revoked");
    // Refused, and then it is looked up why.
    slow();
    match wait(clients.rename(&client, "new")) {
        Err(hivemind_store::Error::Backend(error)) => assert_eq!(error.code(), Code::Deadline, "{error}"),
        other => panic!("{other:?}"),
    }
}
