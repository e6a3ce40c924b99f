//! Several programs on one store: each sees what the others did, at once, and nobody's change is lost.

mod common;

use std::fs;
use std::os::unix::fs::FileExt as _;
use std::sync::Barrier;
use std::thread;
use std::time::Duration;

use common::{Folder, client, clients, count, cx, name, put, rename, with};
use hivemind_abi::Host;
use hivemind_abi::model::{Backend, Change, Changes, Code, Context, Key, Mutation, Outcome, Value};
use hivemind_json_plugin::backend::open;

#[test]
fn two_handles_see_each_others_changes_at_once() {
    let folder = Folder::new();
    let (a, id) = folder.open();
    let (b, _) = folder.open();
    for round in 0..20 {
        let name_now = format!("name-{round:02}");
        let (writer, reader) = if round % 2 == 0 { (&a, &b) } else { (&b, &a) };
        put(writer, id, client(1, "key", &name_now));
        assert_eq!(name(reader, id, 1), Some(name_now));
    }
    let by_key = b.get_by(&cx(), id, 1, Value::from("key").as_ref()).expect("a look-up");
    assert!(by_key.is_some());
    a.apply(&cx(), &[Mutation::Delete { collection: id, key: Key::Int(1), when: vec![] }]).expect("deleted");
    assert_eq!(b.get_by(&cx(), id, 1, Value::from("key").as_ref()), Ok(None));
}

#[test]
fn a_change_in_place_of_the_same_size_in_the_same_tick_is_seen() {
    let folder = Folder::new();
    let (store, id) = folder.open();
    put(&store, id, client(1, "key", "name-a"));
    let file = fs::File::options().write(true).open(folder.file("clients.json")).expect("open");
    let at = folder.read("clients.json").find("name-a").expect("there") as u64;
    for letter in ["b", "c", "d", "e"].iter().cycle().take(40) {
        file.write_all_at(letter.as_bytes(), at + 5).expect("changed");
        assert_eq!(name(&store, id, 1), Some(format!("name-{letter}")));
    }
}

#[test]
fn a_write_keeps_what_others_wrote_since_the_last_look() {
    let folder = Folder::new();
    let (a, id) = folder.open();
    put(&a, id, client(1, "a", "x"));
    let text = folder.read("clients.json");
    // What a program without our manners does: the whole file, another record first, unknown fields.
    let more = r#"{"2": {"client_id": 2, "api_key": "b", "firmware": {"v": 1}},"#;
    folder.write("clients.json", &text.replacen('{', more, 1));
    a.apply(&cx(), &[rename(id, 1, "y")]).expect("renamed");
    let (b, _) = folder.open();
    assert_eq!((name(&b, id, 1).as_deref(), name(&b, id, 2).as_deref()), (Some("y"), Some("")));
    assert!(
        folder
            .read("clients.json")
            .starts_with("{\n    \"2\": {\"client_id\": 2, \"api_key\": \"b\", \"firmware\": {\"v\": 1}},")
    );
    let taken = a.apply(&cx(), &[Mutation::Put { collection: id, row: client(3, "b", "") }]).expect_err("taken by the other's");
    assert_eq!((taken.code(), taken.detail().field.as_deref()), (Code::Conflict, Some("api_key")));
}

#[test]
fn changes_are_told_exactly_whoever_made_them() {
    let folder = Folder::new();
    let (a, id) = folder.open();
    let (b, _) = folder.open();
    put(&a, id, client(1, "a", ""));
    put(&a, id, client(2, "b", ""));
    let since = |token| a.changes_since(&cx(), id, token).expect("changes");
    let (token, first) = since(Default::default());
    assert_eq!((first, since(token).1), (Changes::Everything, Changes::Nothing));
    put(&b, id, client(3, "c", ""));
    let (token, seen) = since(token);
    assert_eq!(seen, Changes::Keys(vec![Key::Int(3)]));
    b.apply(&cx(), &[rename(id, 1, "x"), Mutation::Delete { collection: id, key: Key::Int(2), when: vec![] }]).expect("changed");
    let (token, seen) = since(token);
    let Changes::Keys(mut keys) = seen else { panic!("{seen:?}") };
    keys.sort();
    assert_eq!(keys, [Key::Int(1), Key::Int(2)]);
    let own = a.apply(&cx(), &[rename(id, 1, "y")]).expect("changed").token;
    assert_eq!((since(token).1, since(own).1), (Changes::Keys(vec![Key::Int(1)]), Changes::Nothing));
    folder.write("clients.json", "{}");
    let (_, Changes::Keys(mut keys)) = since(own) else { panic!("keys") };
    keys.sort();
    assert_eq!(keys, [Key::Int(1), Key::Int(3)]);
}

#[test]
fn next_ids_from_eight_threads_on_four_handles_are_dense() {
    const THREADS: usize = 8;
    const EACH: usize = 6;
    let folder = Folder::new();
    let handles: Vec<_> = (0..4).map(|_| folder.open()).collect();
    let start = Barrier::new(THREADS);
    let mut ids: Vec<i64> = thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS)
            .map(|thread| {
                let ((store, id), start) = (&handles[thread % handles.len()], &start);
                scope.spawn(move || {
                    start.wait();
                    (0..EACH)
                        .map(|i| {
                            let row = client(0, &format!("key-{thread}-{i}"), "");
                            let applied = store.apply(&cx(), &[Mutation::InsertNext { collection: *id, row }]).expect("added");
                            let [Outcome::Inserted(Key::Int(key))] = applied.outcomes[..] else { panic!("an id") };
                            key
                        })
                        .collect::<Vec<_>>()
                })
            })
            .collect();
        threads.into_iter().flat_map(|t| t.join().expect("a thread")).collect()
    });
    ids.sort_unstable();
    assert_eq!(ids, (1..=(THREADS * EACH) as i64).collect::<Vec<_>>());
    for (store, id) in &handles {
        assert_eq!(count(store, *id), (THREADS * EACH) as u64);
    }
}

#[test]
fn increments_from_several_handles_are_never_lost() {
    let folder = Folder::new();
    let (store, id) = folder.open();
    put(&store, id, with(&client(1, "a", ""), &[("last_seen", 0.0.into())]));
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let (store, id) = folder.open();
                for _ in 0..8 {
                    let changes = vec![Change::Increment { field: 5, by: 1.into() }];
                    store
                        .apply(&cx(), &[Mutation::Update { collection: id, key: Key::Int(1), changes, when: vec![] }])
                        .expect("grown");
                    assert!(name(&store, id, 1).is_some());
                }
            });
        }
    });
    let row = store.get(&cx(), id, Key::Int(1).as_ref()).expect("a look-up").expect("there");
    assert_eq!(row.view(&clients()).expect("a view").get("last_seen").map(|v| v.to_value()), Some(Value::Real(32.0)));
}

#[test]
fn a_lock_that_another_program_holds_is_waited_for_within_bounds() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = r#"{"name": "hivemind-test-busy", "lock_timeout_ms": 60}"#;
    let store = open(config, Host::detached(folder.path())).expect("a handle");
    let id = store.prepare(&cx(), &[clients()]).expect("prepared")[0];
    put(&store, id, client(1, "a", "x"));
    let Some(Value::Text(lock)) = store.stats(&cx()).expect("facts").get("lock").cloned() else { panic!("the lock's path") };
    let held = fs::File::open(&lock).expect("the lock file");
    rustix::fs::flock(&held, rustix::fs::FlockOperation::LockExclusive).expect("held");
    let error = store.apply(&cx(), &[rename(id, 1, "y")]).expect_err("held");
    assert!(error.code() == Code::Busy && error.retryable() && error.message().contains(&lock), "{error}");
    let error = store.apply(&Context::within(Duration::from_millis(10)), &[rename(id, 1, "y")]).expect_err("held");
    assert_eq!(error.code(), Code::Deadline);
    assert_eq!(name(&store, id, 1).as_deref(), Some("x"), "reading needs no lock");
    let waiting = thread::scope(|scope| {
        let waiting = scope.spawn(|| store.apply(&cx(), &[rename(id, 1, "y")]).map(drop));
        thread::sleep(Duration::from_millis(20));
        drop(held);
        waiting.join().expect("a thread")
    });
    waiting.expect("got it");
    assert_eq!(name(&store, id, 1).as_deref(), Some("y"));
    fs::remove_file(lock).expect("nobody else's");
}

#[test]
fn opening_waits_for_the_lock_only_if_there_is_something_to_do() {
    let folder = tempfile::tempdir().expect("a folder");
    let prepare = || {
        let store = open(r#"{"name": "hivemind-test-open", "lock_timeout_ms": 60}"#, Host::detached(folder.path()))?;
        let id = store.prepare(&cx(), &[clients()])?[0];
        Ok::<_, hivemind_abi::model::Error>((store, id))
    };
    let (store, id) = prepare().expect("prepared");
    put(&store, id, client(1, "a", "x"));
    let Some(Value::Text(lock)) = store.stats(&cx()).expect("facts").get("lock").cloned() else { panic!("the lock's path") };
    let Some(Value::Text(file)) = store.stats(&cx()).expect("facts").get("location").cloned() else { panic!("the file's path") };
    let beside = |name: &str| std::path::Path::new(&file).with_file_name(name);
    // It may be one that another program is writing just now.
    let temporary = beside(".hivemind-test-open.json.0123456789abcdef.tmp");
    fs::write(&temporary, "").expect("written");
    let held = fs::File::open(&lock).expect("the lock file");
    rustix::fs::flock(&held, rustix::fs::FlockOperation::LockExclusive).expect("held");
    let (other, other_id) = prepare().expect("nothing is to be written");
    assert_eq!(name(&other, other_id, 1).as_deref(), Some("x"));
    assert!(temporary.exists());
    let sentinel = beside("hivemind-test-open.schema_version");
    let version = fs::read(&sentinel).expect("a version");
    for old in [None, Some("1"), Some("?")] {
        match old {
            Some(old) => fs::write(&sentinel, old).expect("written"),
            None => fs::remove_file(&sentinel).expect("removed"),
        }
        assert_eq!(prepare().expect_err("a version is to be written").code(), Code::Busy, "{old:?}");
    }
    fs::write(&sentinel, version).expect("written");
    prepare().expect("nothing is to be written");
    let journal = beside("hivemind-test-open.journal");
    fs::write(&journal, "").expect("written");
    assert_eq!(prepare().expect_err("a journal is to be carried out").code(), Code::Busy);
    drop(held);
    prepare().expect("the lock is free");
    assert!(!journal.exists() && !temporary.exists());
    fs::write(&temporary, "").expect("written");
    prepare().expect("nothing is to be written");
    assert!(!temporary.exists(), "nobody was writing");
    fs::remove_file(lock).expect("nobody else's");
}

#[test]
fn a_newer_version_that_appears_while_running_is_refused() {
    let folder = Folder::new();
    let (store, id) = folder.open();
    put(&store, id, client(1, "a", "x"));
    folder.write("clients.schema_version", "3");
    let before = folder.read("clients.json");
    assert_eq!(store.apply(&cx(), &[rename(id, 1, "y")]).expect_err("newer").code(), Code::TooNew);
    assert_eq!(folder.read("clients.json"), before);
}
