//! A reader that caches, beside real other processes on one `clients.db`: what they acknowledged is what it says at its next call,
//! whatever else they do to the file. The reader is the typed store over the loaded library.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use hivemind_conformance::pipe::Remote;
use hivemind_model::{Backend, Change, Changes, CollectionId, Context, Key, KeyRef, Mutation, Token, Value, ValueRef};
use hivemind_store::clients::{NewClient, collection};
use hivemind_store::{Clients, Options, Storage};
use hivemind_tests::python::{Peer, isolate, venv};
use hivemind_tests::waiting::{KillOnDrop, wait_until};
use hivemind_tests::{build, loader};
use serde_json::{Map, json};

static CX: Context<'static> = Context::unbounded();
const MODULE: &str = "sqlite";

/// How often the other process writes; `HIVEMIND_TEST_ROUNDS` asks for more.
fn rounds() -> usize {
    std::env::var("HIVEMIND_TEST_ROUNDS").map_or(200, |rounds| rounds.parse().expect("a number"))
}

/// A store with one client, and the reader on it.
struct Scene {
    home: tempfile::TempDir,
    backend: Arc<dyn Backend>,
    clients: Clients,
    id: CollectionId,
}

impl Scene {
    fn new() -> Self {
        let home = tempfile::tempdir().expect("a folder");
        let backend =
            loader(&[&build::shipped_plugins()], home.path()).open(MODULE, &settings(home.path())).expect("opens").backend;
        let storage = Storage::new(Arc::clone(&backend), Options::default());
        let clients = pollster::block_on(Clients::open(&storage)).expect("clients");
        pollster::block_on(clients.add(NewClient::new("key-1"))).expect("a client");
        let id = backend.prepare(&CX, &[collection()]).expect("prepared")[0];
        Self { home, backend, clients, id }
    }

    fn file(&self) -> PathBuf {
        file(self.home.path())
    }

    /// What the cache says.
    fn cached(&self) -> f64 {
        pollster::block_on(self.clients.by_access_key("key-1")).expect("a lookup").expect("the client").last_seen
    }

    /// What is stored.
    fn stored(&self) -> f64 {
        let row = self.backend.get(&CX, self.id, KeyRef::Int(1)).expect("a lookup").expect("the client");
        match row.view(&collection()).expect("a view").get("last_seen") {
            Some(ValueRef::Real(seen)) => seen,
            other => panic!("{other:?}"),
        }
    }

    fn since(&self, token: Token) -> (Token, Changes) {
        self.backend.changes_since(&CX, self.id, token).expect("changes")
    }

    /// Another process of ours, through the library.
    fn peer(&self) -> (KillOnDrop, Remote, CollectionId) {
        let child = Command::new(env!("CARGO_BIN_EXE_backend-peer"))
            .arg(build::shipped_plugins())
            .arg(MODULE)
            .arg(serde_json::Value::Object(settings(self.home.path())).to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the peer starts");
        let mut process = KillOnDrop(child);
        let child = &mut process.0;
        let (from, to) = (child.stdout.take().expect("a pipe"), child.stdin.take().expect("a pipe"));
        let remote = Remote::new(from, to).expect("the peer answers");
        let id = remote.prepare(&CX, &[collection()]).expect("prepared")[0];
        (process, remote, id)
    }
}

fn file(home: &Path) -> PathBuf {
    home.join("data/hivemind-core/clients.db")
}

fn settings(home: &Path) -> Map<String, serde_json::Value> {
    Map::from_iter([("db_path".to_owned(), json!(file(home)))])
}

fn set(id: CollectionId, seen: f64) -> Mutation {
    let field = collection().position("last_seen").expect("a field");
    let changes = vec![Change::Set { field, value: Value::Real(seen) }];
    Mutation::Update { collection: id, key: Key::Int(1), changes, when: vec![] }
}

fn seconds(round: usize) -> f64 {
    f64::from(u32::try_from(round).expect("a small number"))
}

#[test]
fn what_python_wrote_is_what_the_next_lookup_says_whatever_it_does_to_the_file() {
    let scene = Scene::new();
    let mut python = Peer::start(scene.home.path());
    let open = json!({"op": "open", "kind": "sqlite"});
    python.ask(&open);
    for round in 1..=rounds() {
        python.ask(&json!({"op": "set_field", "id": 1, "fields": {"last_seen": round}}));
        assert_eq!(scene.cached(), seconds(round), "round {round}");
        let mut sql = |sql: &str| python.try_ask(&json!({"op": "raw", "sql": sql}));
        match round % 50 {
            5 => drop(sql("PRAGMA wal_checkpoint(PASSIVE)")),
            10 => drop(sql("PRAGMA wal_checkpoint(RESTART)")),
            15 => drop(sql("PRAGMA wal_checkpoint(TRUNCATE)")),
            20 => drop(sql("VACUUM")),
            25 => {
                // It cannot leave WAL mode beside us, and what it writes then is seen all the same.
                let mode = sql("PRAGMA journal_mode = DELETE");
                assert!(mode.is_err() || mode.is_ok_and(|rows| rows[0]["journal_mode"] == "wal"));
            }
            30 => {
                python.ask(&json!({"op": "close"}));
                python.ask(&open);
            }
            35 => {
                python = Peer::start(scene.home.path());
                python.ask(&open);
            }
            _ => {}
        }
        assert_eq!(scene.cached(), seconds(round), "round {round}, after what it did to the file");
    }
}

#[test]
fn what_another_process_of_ours_wrote_is_what_the_next_lookup_says_and_own_changes_have_keys() {
    let scene = Scene::new();
    let (_process, other, id) = scene.peer();
    for round in 1..=rounds() {
        other.apply(&CX, &[set(id, seconds(round))]).expect("the other writes");
        assert_eq!(scene.cached(), seconds(round), "round {round}");
        match round % 50 {
            10 => drop(other.maintain(&CX, &hivemind_model::Task::Checkpoint).expect("a checkpoint")),
            20 => drop(other.maintain(&CX, &hivemind_model::Task::Vacuum).expect("a vacuum")),
            30 => drop(scene.backend.maintain(&CX, &hivemind_model::Task::Checkpoint).expect("a checkpoint")),
            _ => {}
        }
        let (before, _) = scene.since(Token::default());
        scene.backend.apply(&CX, &[set(scene.id, seconds(round) + 0.5)]).expect("we write");
        let (now, changes) = scene.since(before);
        assert_eq!(changes, Changes::Keys(vec![Key::Int(1)]), "round {round}: our own");
        assert_eq!(scene.since(now), (now, Changes::Nothing), "round {round}");
        assert_eq!(scene.cached(), seconds(round) + 0.5, "round {round}, after our own write");
    }
}

/// Writes without end, from one process after the other, each killed at some moment; `start` starts one.
fn killed_while_writing<W>(scene: &Scene, kills: u64, start: impl Fn() -> (KillOnDrop, W)) {
    let mut seen = 0.0_f64;
    for kill in 0..kills {
        let first = scene.stored();
        let (mut process, rest) = start();
        wait_until("another process writes", || {
            assert_eq!(process.0.try_wait().expect("a child"), None, "it ended by itself");
            scene.stored() != first
        });
        std::thread::sleep(Duration::from_micros(kill * 997 % 5000));
        let before = scene.stored();
        assert!(scene.cached() >= before, "kill {kill}");
        drop(process);
        drop(rest);
        // Nobody writes now: the cache must say what is stored, also right after SQLite repaired what the dead one left.
        let cached = scene.cached();
        assert_eq!((cached, scene.cached()), (scene.stored(), cached), "kill {kill}");
        assert!(cached >= before && before >= seen, "kill {kill}");
        seen = cached;
        scene.backend.apply(&CX, &[set(scene.id, seen + 1.0)]).expect("we write");
        assert_eq!(scene.cached(), seen + 1.0, "kill {kill}");
    }
}

#[test]
fn after_a_kill_of_python_the_cache_says_what_is_stored() {
    const SCRIPT: &str = "import sqlite3, sys\ndb = sqlite3.connect(sys.argv[1], timeout=10)\nwhile True:\n    with db:\n        \
        db.execute('UPDATE clients SET last_seen = last_seen + 1')\n";
    let scene = Scene::new();
    killed_while_writing(&scene, 40, || {
        let mut command = Command::new(venv().join("bin/python"));
        command.args(["-c", SCRIPT]).arg(scene.file()).stdin(Stdio::null());
        isolate(&mut command, scene.home.path());
        (KillOnDrop(command.spawn().expect("python starts")), ())
    });
}

/// A thread that ends when the process does to which it talks, and is waited for when this goes.
struct Joined(Option<std::thread::JoinHandle<()>>);

impl Drop for Joined {
    fn drop(&mut self) {
        let joined = self.0.take().map_or(Ok(()), std::thread::JoinHandle::join);
        assert!(joined.is_ok() || std::thread::panicking());
    }
}

#[test]
fn after_a_kill_of_ours_the_cache_says_what_is_stored() {
    let scene = Scene::new();
    killed_while_writing(&scene, 20, || {
        let (process, other, id) = scene.peer();
        let mut next = scene.stored() + 1.0;
        let writes = std::thread::spawn(move || {
            while other.apply(&CX, &[set(id, next)]).is_ok() {
                next += 1.0;
            }
        });
        (process, Joined(Some(writes)))
    });
}
