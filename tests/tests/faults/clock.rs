//! A wall clock that is set back and forward while the store is in use: readers that cache see every change, and nobody waits until
//! a time that has been moved away.
//!
//! File times do not come from libfaketime, so they are set by hand as well.

use std::fs::{File, FileTimes};
use std::sync::mpsc::channel;
use std::time::{Duration, SystemTime};

use hivemind_model::{Backend, Code, Context};
use hivemind_store::clients::NewClient;
use hivemind_store::{Clients, Options, Storage};
use hivemind_tests::clock::Clock;
use hivemind_tests::faults::process::{Process, content, open, prepare};
use hivemind_tests::faults::site::{Age, Backend as _, Files, Site};

use super::{increment, note, peer, start};

/// Longer than anything takes that does not wait for a moved clock.
const HANGS: Duration = Duration::from_secs(120);
const JUMPS: [&str; 6] = ["+0", "-3650d", "+3650d", "-1h", "+20y", "+0"];

/// A store and a process whose clock the test sets.
fn faked(backend: Files) -> (Box<dyn Site>, Clock, Process) {
    let site = backend.fresh(Age::New).expect("a store");
    let clock = Clock::at(&site.home().join("clock"));
    let process = Process::start(&*site, peer(), |program| clock.command(program)).expect("opened");
    (site, clock, process)
}

#[test]
fn the_clock_really_jumps() {
    let folder = tempfile::tempdir().expect("a folder");
    let clock = Clock::at(&folder.path().join("clock"));
    let now = clock.year();
    clock.set("+20y");
    assert!((now + 19..=now + 21).contains(&clock.year()));
    clock.set("-3650d");
    assert!((now - 11..=now - 9).contains(&clock.year()));
}

#[test]
fn a_process_whose_clock_jumps_reads_and_writes_on() {
    for backend in Files::SHIPPED {
        let (site, clock, process) = faked(backend);
        let ids = prepare(&process.handle).expect("prepared");
        let second = start(&*site);
        let other = &second.handle;
        prepare(other).expect("prepared");
        let cx = Context::within(HANGS);
        for (n, jump) in JUMPS.iter().enumerate() {
            clock.set(jump);
            let slug = format!("n{n}");
            process.handle.apply(&cx, &[note(ids, &slug, 10)]).unwrap_or_else(|e| panic!("{jump}: {e}"));
            assert!(content(other, ids).expect("read").0.contains_key(&(ids[1].0, format!("{slug:?}"))), "{jump}: not seen");
            other.apply(&cx, &[increment(ids, &slug)]).expect("applied");
            let (ours, others) = (content(&process.handle, ids).expect("read"), content(other, ids).expect("read"));
            assert!(ours == others, "{jump}: the change of the other process is not seen");
        }
    }
}

/// Holds the store's lock as another program does.
enum Holder {
    Database(rusqlite::Connection),
    File(File),
}

impl Holder {
    fn new(backend: Files, site: &dyn Site) -> Self {
        if backend == Files::Sqlite {
            let database = rusqlite::Connection::open(&site.files()[0]).expect("opened");
            database.execute_batch("BEGIN IMMEDIATE").expect("locked");
            return Self::Database(database);
        }
        let lock = File::options().read(true).write(true).open(site.home().join("tmp/clients.json.lock")).expect("a lock file");
        lock.lock().expect("locked");
        Self::File(lock)
    }

    fn let_go(self) {
        match self {
            Self::Database(database) => database.execute_batch("ROLLBACK").expect("let go"),
            Self::File(lock) => lock.unlock().expect("let go"),
        }
    }
}

#[test]
fn a_deadline_comes_whatever_the_clock_says() {
    for backend in Files::SHIPPED {
        let (site, clock, process) = faked(backend);
        let ids = prepare(&process.handle).expect("prepared");
        process.handle.apply(&Context::within(HANGS), &[note(ids, "a", 10)]).expect("applied");
        for jump in JUMPS {
            clock.set("+0");
            let holder = Holder::new(backend, &*site);
            let (done, ended) = channel();
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    let _ = done.send(process.handle.apply(&Context::within(Duration::from_millis(300)), &[increment(ids, "a")]));
                });
                // While the call waits for the lock.
                clock.set(jump);
                let ended = ended.recv_timeout(HANGS);
                holder.let_go();
                let error = ended.unwrap_or_else(|_| panic!("{jump}: still waiting after {HANGS:?}")).expect_err("locked");
                assert!(matches!(error.code(), Code::Deadline | Code::Busy) && error.retryable(), "{jump}: {error}");
            });
            process.handle.apply(&Context::within(HANGS), &[increment(ids, "a")]).unwrap_or_else(|e| panic!("{jump}: {e}"));
        }
    }
}

#[test]
fn a_caching_reader_sees_every_change_whatever_time_the_files_have() {
    let day = Duration::from_secs(86_400);
    let now = SystemTime::now();
    let times = [now, now - 4000 * day, now + 4000 * day, now + 4000 * day, SystemTime::UNIX_EPOCH, now - day];
    for backend in Files::SHIPPED {
        let site = backend.fresh(Age::New).expect("a store");
        let process = start(&*site);
        // In this process, and it only reads: the two need no lock of each other's.
        let reader = Storage::new(open(&*site).expect("opened"), Options::default());
        let reader = pollster::block_on(Clients::open(&reader)).expect("clients");
        let writer = Storage::new(std::sync::Arc::new(Shared(process)), Options::default());
        let writer = pollster::block_on(Clients::open(&writer)).expect("clients");
        let mut client = pollster::block_on(writer.add(NewClient::new("key"))).expect("added");
        for round in 0..60 {
            let name = format!("name {}", round % 10);
            client = pollster::block_on(writer.rename(&client, &name)).expect("renamed");
            for file in site.files() {
                if let Ok(file) = File::options().write(true).open(&file) {
                    file.set_times(FileTimes::new().set_modified(times[round % times.len()])).expect("a time");
                }
            }
            let seen = pollster::block_on(reader.by_access_key("key")).expect("read").expect("there");
            assert_eq!(seen.name.as_deref(), Some(name.as_str()), "{}, round {round}", backend.name());
        }
    }
}

/// A process as a backend of its own.
struct Shared(Process);

impl Backend for Shared {
    fn capabilities(&self) -> hivemind_model::Capabilities {
        self.0.handle.capabilities()
    }

    fn prepare(
        &self,
        cx: &Context<'_>,
        collections: &[hivemind_model::Collection],
    ) -> hivemind_model::Result<Vec<hivemind_model::CollectionId>> {
        self.0.handle.prepare(cx, collections)
    }

    fn get(
        &self,
        cx: &Context<'_>,
        collection: hivemind_model::CollectionId,
        key: hivemind_model::KeyRef<'_>,
    ) -> hivemind_model::Result<Option<hivemind_model::Row>> {
        self.0.handle.get(cx, collection, key)
    }

    fn find(
        &self,
        cx: &Context<'_>,
        query: &hivemind_model::Query,
        max_bytes: usize,
    ) -> hivemind_model::Result<hivemind_model::Page> {
        self.0.handle.find(cx, query, max_bytes)
    }

    fn apply(&self, cx: &Context<'_>, mutations: &[hivemind_model::Mutation]) -> hivemind_model::Result<hivemind_model::Applied> {
        self.0.handle.apply(cx, mutations)
    }
}
