//! Records in and out, and several programs at once.

mod common;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use common::*;
use hivemind_abi::model::{
    Backend, Change, Changes, Code, Collection, Condition, Context, Index, Key, Kind, Mutation, Op, Outcome, Query, Row, Task,
    Token, Value, ValueRef,
};

#[test]
fn a_record_is_added_read_changed_and_removed() {
    let folder = Folder::new();
    let (store, id) = folder.clients();
    assert_eq!(insert(&store, id, client(1, "a")), Key::Int(1));
    assert_eq!(get(&store, id, 1), Some(client(1, "a")));
    assert_eq!(store.get_by(&CX, id, API_KEY, ValueRef::Text("a")).expect("a lookup"), Some(client(1, "a")));
    assert_eq!(store.get_by(&CX, id, API_KEY, ValueRef::Text("b")).expect("a lookup"), None);
    let found = store.get_many(&CX, id, &[Key::Int(2), Key::Int(1)]).expect("lookups");
    assert_eq!(found, vec![Ok(None), Ok(Some(client(1, "a")))]);
    let update = Mutation::Update {
        collection: id,
        key: Key::Int(1),
        changes: vec![Change::set(LAST_SEEN, 1.5), Change::JsonSet { field: 11, name: "a".to_owned(), json: "1.50".to_owned() }],
        when: vec![Condition::new(API_KEY, Op::Eq, "a")],
    };
    let outcomes = store.apply(&CX, &[update]).expect("updates").outcomes;
    let changed = get(&store, id, 1).expect("a client");
    assert_eq!(outcomes, vec![Outcome::Updated(changed.clone())]);
    assert!(shown(&changed).contains(r#""metadata": {"a": 1.50}"#) && shown(&changed).contains(r#""last_seen": 1.5"#));
    let delete = Mutation::Delete { collection: id, key: Key::Int(1), when: vec![] };
    assert_eq!(store.apply(&CX, &[delete]).expect("deletes").outcomes, vec![Outcome::Deleted(1)]);
    assert_eq!(get(&store, id, 1), None);
    assert_eq!(store.get(&CX, id, Key::from("1").as_ref()).expect_err("text is no key here").code(), Code::Invalid);
}

#[test]
fn a_batch_is_all_or_nothing_and_the_failing_mutation_is_named() {
    let folder = Folder::new();
    let (store, id) = folder.clients();
    insert(&store, id, client(1, "a"));
    let batch = [
        Mutation::Put { collection: id, row: client(2, "b") },
        Mutation::Delete { collection: id, key: Key::Int(1), when: vec![] },
        Mutation::InsertNext { collection: id, row: client(0, "b") },
    ];
    let error = store.apply(&CX, &batch).expect_err("b is taken");
    assert_eq!((error.code(), error.detail().mutation), (Code::Conflict, Some(2)));
    assert_eq!(error.detail().field.as_deref(), Some("api_key"));
    assert_eq!((get(&store, id, 1), get(&store, id, 2)), (Some(client(1, "a")), None));
    let next = store.apply(&CX, &[Mutation::InsertNext { collection: id, row: client(0, "c") }]).expect("inserts");
    assert_eq!(next.outcomes, vec![Outcome::Inserted(Key::Int(2))], "a failure uses no key up");
}

#[test]
fn every_value_a_field_can_hold_comes_back_as_it_was() {
    let folder = Folder::new();
    let all = Collection::new("all_kinds", 1, "id", Kind::Text)
        .field("bool", Kind::Bool)
        .field_with("int", Kind::Int, Value::Nil, Index::Plain)
        .field("real", Kind::Real)
        .field_with("text", Kind::Text, Value::Nil, Index::Unique { except: vec![] })
        .field("blob", Kind::Blob)
        .field("json", Kind::Json);
    let store = folder.open_with("{}");
    let id = store.prepare(&CX, std::slice::from_ref(&all)).expect("prepares")[0];
    let long = "ü\0".repeat(512 * 1024);
    let json = |text: &str| Value::Json(text.to_owned());
    let records: Vec<(&str, [Value; 6])> = vec![
        ("", [true.into(), i64::MIN.into(), f64::MAX.into(), "".into(), vec![].into(), json("[null]")]),
        ("\0", [false.into(), i64::MAX.into(), f64::MIN_POSITIVE.into(), "\0".into(), vec![0, 255].into(), json("\"\"")]),
        ("a\0b", [Value::Nil, 0.into(), 9007199254740993.0.into(), long.as_str().into(), vec![7; 1 << 20].into(), json("1e400")]),
        ("🐝", [Value::Nil, Value::Nil, Value::Nil, Value::Nil, Value::Nil, Value::Nil]),
        ("x'y\"z", [true.into(), (-1).into(), 5e-324.into(), "'); DROP TABLE".into(), Value::Nil, json(" [1,\n NaN] ")]),
    ];
    for (key, values) in &records {
        let mut builder = Row::builder(&all);
        builder.put(0, (*key).into()).expect("a key");
        for (at, value) in values.iter().enumerate() {
            builder.put(at + 1, value.clone()).expect("a value");
        }
        let row = builder.build();
        insert(&store, id, row.clone());
        assert_eq!(store.get(&CX, id, Key::from(*key).as_ref()).expect("gets"), Some(row.clone()), "{key:?}");
        if let text @ Value::Text(_) = &values[3] {
            assert_eq!(store.get_by(&CX, id, 4, text.as_ref()).expect("gets"), Some(row));
        }
    }
    let keys: Vec<_> = store.find(&CX, &Query::all(id), usize::MAX).expect("a page").rows;
    let keys: Vec<_> = keys.iter().map(|r| r.view(&all).expect("a view").key().to_key()).collect();
    let mut sorted: Vec<_> = records.iter().map(|(key, _)| Key::from(*key)).collect();
    sorted.sort();
    assert_eq!(keys, sorted, "text keys are in the order of their bytes");
}

#[test]
fn int_keys_reach_both_ends() {
    let folder = Folder::new();
    let (store, id) = folder.clients();
    for key in [i64::MIN, -1, 0, i64::MAX] {
        insert(&store, id, client(key, &key.to_string()));
        assert!(get(&store, id, key).is_some());
    }
    let error = store.apply(&CX, &[Mutation::InsertNext { collection: id, row: client(0, "x") }]).expect_err("no key left");
    assert_eq!(error.code(), Code::Invalid);
}

#[test]
fn eight_threads_are_given_dense_keys() {
    let folder = Folder::new();
    let (store, id) = folder.clients();
    let other = Arc::new(folder.clients().0);
    let store = Arc::new(store);
    std::thread::scope(|scope| {
        for thread in 0..8 {
            // Half of them through a handle of their own, as another process would.
            let store = if thread % 2 == 0 { Arc::clone(&store) } else { Arc::clone(&other) };
            scope.spawn(move || {
                for n in 0..20 {
                    let row = client(0, &format!("{thread}-{n}"));
                    store.apply(&CX, &[Mutation::InsertNext { collection: id, row }]).expect("inserts");
                }
            });
        }
    });
    let rows = store.find(&CX, &Query::all(id), usize::MAX).expect("a page").rows;
    let keys: Vec<_> = rows.iter().map(|r| r.view(&clients()).expect("a view").key().to_key()).collect();
    assert_eq!(keys, (1..=160).map(Key::Int).collect::<Vec<_>>());
}

#[test]
fn own_changes_have_keys_and_those_of_others_are_everything() {
    let folder = Folder::new();
    let (ours, id) = folder.clients();
    let (theirs, their_id) = folder.clients();
    let since = |token| ours.changes_since(&CX, id, token).expect("changes");
    let (start, first) = since(Token::default());
    assert_eq!(first, Changes::Everything);
    assert_eq!(since(start), (start, Changes::Nothing));

    let applied = ours.apply(&CX, &[Mutation::Insert { collection: id, row: client(1, "a") }]).expect("inserts");
    let (now, changes) = since(start);
    assert_eq!((now, changes), (applied.token, Changes::Keys(vec![Key::Int(1)])));

    insert(&theirs, their_id, client(2, "b"));
    let (later, changes) = since(now);
    assert_eq!(changes, Changes::Everything);
    assert_eq!(since(later), (later, Changes::Nothing));

    // A foreign change that we meet while writing ourselves is not taken for ours.
    insert(&theirs, their_id, client(3, "c"));
    insert(&ours, id, client(4, "d"));
    assert_eq!(since(later).1, Changes::Everything);
    let (now, _) = since(later);
    insert(&ours, id, client(5, "e"));
    assert_eq!(since(now).1, Changes::Keys(vec![Key::Int(5)]));

    let (now, _) = since(now);
    folder.other_program().execute_batch("UPDATE clients SET name = 'x' WHERE client_id = 1").expect("SQL");
    assert_eq!(since(now).1, Changes::Everything, "a plain connection's change is seen as well");
    let (now, _) = since(now);
    ours.apply(&CX, &[Mutation::Delete { collection: id, key: Key::Int(99), when: vec![] }]).expect("deletes nothing");
    assert_eq!(since(now), (now, Changes::Nothing));
    assert_eq!(theirs.changes_since(&CX, their_id, now).expect("changes").1, Changes::Everything, "a token of another handle");
}

#[test]
fn no_change_is_missed_while_two_handles_write() {
    let folder = Folder::new();
    let (ours, id) = folder.clients();
    let (theirs, their_id) = folder.clients();
    for key in [1, 2] {
        insert(&ours, id, client(key, &format!("k{key}")));
    }
    let (ours, theirs) = (Arc::new(ours), Arc::new(theirs));
    let stop = AtomicBool::new(false);
    let write = |store: &dyn Backend, collection, key| {
        let changes = vec![Change::Increment { field: LAST_SEEN, by: 1.into() }];
        let update = Mutation::Update { collection, key: Key::Int(key), changes, when: vec![] };
        store.apply(&CX, &[update]).expect("updates");
    };
    let deadline = Instant::now() + Duration::from_millis(1500);
    let (mut own_hits, mut checks) = (0_u32, 0_u32);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while Instant::now() < deadline {
                write(&*ours, id, 1);
            }
        });
        scope.spawn(|| {
            while Instant::now() < deadline {
                write(&*theirs, their_id, 2);
                std::thread::sleep(Duration::from_millis(20));
            }
            stop.store(true, std::sync::atomic::Ordering::Relaxed);
        });
        // A cache as the store keeps one: what it serves must be what stood there when it asked, or newer.
        let mut cached: [Option<f64>; 2] = [None, None];
        let mut token = Token::default();
        let seen = |key: i64| {
            let row = get(&*ours, id, key).expect("a client");
            match row.view(&clients()).expect("a view").at(LAST_SEEN) {
                ValueRef::Real(v) => v,
                other => panic!("{other:?}"),
            }
        };
        while Instant::now() < deadline {
            let before = [seen(1), seen(2)];
            let (now, changes) = ours.changes_since(&CX, id, token).expect("changes");
            token = now;
            match changes {
                Changes::Nothing => {}
                Changes::Keys(keys) => {
                    own_hits += 1;
                    keys.iter().for_each(|k| cached[if *k == Key::Int(1) { 0 } else { 1 }] = None);
                }
                _ => cached = [None, None],
            }
            for at in 0..2 {
                let value = *cached[at].get_or_insert_with(|| seen(at as i64 + 1));
                assert!(value >= before[at], "client {} was served as {value} after it was seen as {}", at + 1, before[at]);
            }
            checks += 1;
        }
    });
    assert!(own_hits > 0 && checks > own_hits / 2, "{own_hits} of {checks} answers had keys");
}

#[test]
fn a_handle_is_closed_under_eight_threads_that_look_things_up() {
    for _ in 0..20 {
        let folder = Folder::new();
        let (store, id) = folder.clients();
        insert(&store, id, client(1, "k"));
        let (token, _) = store.changes_since(&CX, id, Token::default()).expect("a token");
        let asked = std::sync::atomic::AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for thread in 0..8 {
                let (store, asked) = (&store, &asked);
                scope.spawn(move || {
                    loop {
                        let answer = store.changes_since(&CX, id, token).map(drop);
                        let answer = if thread % 2 == 0 {
                            answer
                        } else {
                            answer.and_then(|()| store.get(&CX, id, Key::Int(1).as_ref()).map(drop))
                        };
                        if let Err(error) = answer {
                            assert_eq!(error.code(), Code::Unavailable, "{error}");
                            return;
                        }
                        asked.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                    }
                });
            }
            while asked.load(std::sync::atomic::Ordering::Relaxed) < 100 {
                std::thread::yield_now();
            }
            store.close(&CX).expect("closes");
        });
        assert!(!folder.file().with_extension("db-wal").exists(), "the writer was the last to go");
    }
}

#[test]
fn a_lock_of_another_program_is_waited_for_as_long_as_allowed() {
    let folder = Folder::new();
    let store = folder.open_with(r#"{"busy_timeout_ms": 50}"#);
    let id = store.prepare(&CX, &[clients()]).expect("prepares")[0];
    let other = folder.other_program();
    other.execute_batch("BEGIN IMMEDIATE").expect("the lock");
    let write = |cx: &Context<'_>| store.apply(cx, &[Mutation::InsertNext { collection: id, row: client(0, "a") }]);
    let error = write(&CX).expect_err("locked");
    assert_eq!((error.code(), error.retryable()), (Code::Busy, true));
    assert!(error.message().contains("clients.db"), "{error}");
    let error = write(&Context::within(Duration::from_millis(10))).expect_err("locked");
    assert_eq!((error.code(), error.retryable()), (Code::Deadline, true));
    let cancel = AtomicBool::new(true);
    assert_eq!(write(&CX.clone().cancelled_by(&cancel)).expect_err("cancelled").code(), Code::Deadline);
    assert!(get(&store, id, 1).is_none(), "reading does not wait");
    // Opening a file that needs nothing does not wait either.
    drop(folder.clients());
    other.execute_batch("ROLLBACK").expect("lets go");
    write(&CX).expect("free again");
}

#[test]
fn a_null_that_the_python_table_forbids_is_invalid() {
    let folder = Folder::new();
    folder.written(&format!("{PYTHON_TABLE}; PRAGMA user_version = 2"));
    let (store, id) = folder.clients();
    let clients = clients();
    let row = Row::builder(&clients).set("client_id", 1_i64).expect("id").build();
    let error = store.apply(&CX, &[Mutation::Insert { collection: id, row }]).expect_err("NOT NULL");
    assert_eq!((error.code(), error.detail().mutation), (Code::Invalid, Some(0)));
}

#[test]
fn maintenance_reports_and_what_is_not_offered_is_unsupported() {
    let folder = Folder::new();
    let (store, id) = folder.clients();
    for key in 1..=200 {
        insert(&store, id, client(key, &format!("{key}")));
    }
    let (token, _) = store.changes_since(&CX, id, Token::default()).expect("a token");
    let report = store.maintain(&CX, &Task::Checkpoint).expect("a checkpoint");
    assert_eq!(report.get("complete"), Some(&Value::Bool(true)));
    assert_eq!(std::fs::metadata(folder.file().with_extension("db-wal")).expect("the log").len(), 0);
    assert_eq!(store.changes_since(&CX, id, token).expect("changes").1, Changes::Nothing, "a checkpoint changes nothing");
    store.maintain(&CX, &Task::Vacuum).expect("a vacuum");
    assert_eq!(store.count(&CX, &Query::all(id)).expect("a count"), 200);
    let report = store.maintain(&CX, &Task::Verify).expect("a report");
    assert_eq!((report.get("records"), report.problems.len()), (Some(&Value::Int(200)), 0));

    let stats = store.stats(&CX).expect("facts");
    assert_eq!(stats.get("schema_version"), Some(&Value::Int(2)));
    assert_eq!(stats.get("journal_mode"), Some(&Value::from("wal")));
    assert_eq!(stats.get("synchronous"), Some(&Value::from("full")));
    assert!(matches!(stats.get("engine"), Some(Value::Text(engine)) if engine.starts_with("SQLite 3.")));
    assert!(matches!(stats.get("location"), Some(Value::Text(place)) if place.ends_with("clients.db")));
    assert!(matches!(stats.get("acknowledged_write"), Some(Value::Text(worth)) if worth.contains("power cut")));
    assert_eq!(stats.get("other_writer_seen"), Some(&Value::Bool(false)));
}

#[test]
fn a_missing_index_is_made_by_sync() {
    let folder = Folder::new();
    let (store, id) = folder.clients();
    insert(&store, id, client(1, "a"));
    folder.other_program().execute_batch("DROP INDEX idx_clients_api_key").expect("SQL");
    assert!(store.get_by(&CX, id, API_KEY, ValueRef::Text("a")).expect("a lookup").is_some());
    assert_eq!(store.sync(&CX).expect("a report").get("indexes_created"), Some(&Value::Int(1)));
    assert_eq!(store.sync(&CX).expect("a report").get("indexes_created"), Some(&Value::Int(0)));
}

#[test]
fn a_file_that_was_replaced_is_noticed_by_sync() {
    let folder = Folder::new();
    let (store, _) = folder.clients();
    std::fs::rename(folder.file(), folder.path().join("old.db")).expect("moved");
    std::fs::write(folder.file(), b"").expect("another");
    assert_eq!(store.sync(&CX).expect_err("replaced").code(), Code::Io);
}

#[test]
fn a_resource_is_the_same_for_two_handles_on_one_file() {
    let folder = Folder::new();
    let (a, _) = folder.clients();
    let path = folder.path().join("hivemind-core").join(".").join("clients.db");
    let b = folder.open_with(&format!(r#"{{"db_path": {:?}}}"#, path.display().to_string()));
    assert_eq!(a.resources()[0].id, b.resources()[0].id);
    assert_eq!(a.resources()[0].kind, "file");
}
