//! What needs a look behind the trait.

use hivemind_abi::model::{Code, Index, Kind, Value};

use super::*;

#[test]
fn a_full_disk_is_said_to_be_one_and_what_was_stored_stays() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = open("{}", Host::detached(folder.path())).expect("opens");
    let cx = Context::unbounded();
    let notes = Collection::new("notes", 1, "id", Kind::Int).field("text", Kind::Text);
    let id = store.prepare(&cx, std::slice::from_ref(&notes)).expect("prepares")[0];
    let put = |key: i64, size: usize| {
        let builder = Row::builder(&notes).set("id", key).expect("id").set("text", "x".repeat(size)).expect("text");
        store.apply(&cx, &[Mutation::Put { collection: id, row: builder.build() }])
    };
    put(1, 10).expect("stores");
    let (token, _) = store.changes_since(&cx, id, Token::default()).expect("a token");
    // SQLite answers alike whether its own limit or the disk's is reached.
    let limit = |pages: i64| {
        let connection = store.writer(&cx, store.store().expect("a store")).expect("the writer");
        let set: rusqlite::Result<i64> = connection.query_row(&format!("PRAGMA max_page_count = {pages}"), [], |r| r.get(0));
        set.expect("a limit");
    };
    limit(1);
    let error = put(2, 1 << 20).expect_err("full");
    assert_eq!((error.code(), error.detail().mutation), (Code::Io, Some(0)));
    assert!(error.message().contains("disk full") && error.message().contains("clients.db"), "{error}");
    assert!(store.get(&cx, id, KeyRef::Int(1)).expect("gets").is_some());
    assert_eq!(store.changes_since(&cx, id, token).expect("changes").1, Changes::Nothing);
    limit(1 << 30);
    put(2, 1 << 20).expect("there is room again");
    let row = store.get(&cx, id, KeyRef::Int(2)).expect("gets").expect("a note");
    let text = row.view(&notes).expect("a view").at(1).to_value();
    assert_eq!(text, Value::from("x".repeat(1 << 20)));
}

#[test]
fn a_lookup_by_a_unique_field_and_the_check_of_a_new_value_use_the_index() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = open("{}", Host::detached(folder.path())).expect("opens");
    let cx = Context::unbounded();
    let unique = Index::Unique { except: Vec::new() };
    let notes = Collection::new("notes", 1, "id", Kind::Int).field_with("slug", Kind::Text, Value::Nil, unique);
    let id = store.prepare(&cx, &[notes]).expect("prepares")[0];
    let table = store.table(id).expect("a table");
    let connection = store.reader(&cx, None, store.store().expect("a store"), Use::Brief).expect("a reader");
    for (sql, expected) in [
        (&table.get, "USING INTEGER PRIMARY KEY (rowid=?)"),
        (&table.by_field[1], "INDEX idx_notes_slug (slug=?)"),
        (&table.holder[1], "idx_notes_slug (slug=?"),
        (&table.greatest, "SEARCH"),
    ] {
        let mut statement = connection.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).expect("SQL");
        let mut rows = statement.raw_query();
        let plan: String = rows.next().expect("a plan").expect("a step").get(3).expect("text");
        assert!(plan.contains(expected), "{sql}: {plan}");
    }
}

#[test]
fn a_statement_is_compiled_once_however_many_values_it_is_asked_with() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = open("{}", Host::detached(folder.path())).expect("opens");
    let cx = Context::unbounded();
    let notes = Collection::new("notes", 1, "id", Kind::Int).field_with("slug", Kind::Text, Value::Nil, Index::Plain);
    let id = store.prepare(&cx, &[notes]).expect("prepares")[0];
    let sql = &store.table(id).expect("a table").by_field[1];
    for n in 0..50 {
        store.get_by(&cx, id, 1, Value::from(format!("{n}")).as_ref()).expect("a lookup");
    }
    let connection = store.reader(&cx, None, store.store().expect("a store"), Use::Brief).expect("a reader");
    let statement = connection.prepare_cached(sql).expect("SQL");
    let compiled = statement.get_status(rusqlite::StatementStatus::RePrepare);
    assert!(compiled <= 1, "compiled {compiled} times more");
}

#[test]
fn a_statement_ends_with_the_time_of_its_call_and_the_connection_is_good_for_the_next() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = open("{}", Host::detached(folder.path())).expect("opens");
    let cx = Context::unbounded();
    let notes = Collection::new("notes", 1, "id", Kind::Int).field("text", Kind::Text);
    let id = store.prepare(&cx, &[notes]).expect("prepares")[0];
    let put =
        "INSERT INTO notes WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 3000) SELECT i, 'x' FROM n";
    let failed = |e: rusqlite::Error| store.opener.failed(&e);
    store.writer(&cx, store.store().expect("a store")).expect("the writer").execute_batch(put).expect("SQL");
    let slow =
        "SELECT count(*) FROM notes AS a, notes AS b, notes AS c WHERE a.text <> b.text AND b.text <> c.text OR a.id = -c.id";
    let since = std::time::Instant::now();
    let short = Context::within(Duration::from_millis(50));
    {
        let reader = store.reader(&short, short.remaining(), store.store().expect("a store"), Use::Long).expect("a reader");
        let asked = reader.query_row(slow, [], |row| row.get::<_, i64>(0)).map_err(failed);
        assert_eq!(asked.expect_err("too slow").code(), Code::Deadline);
    }
    {
        let writer =
            store.writer(&Context::within(Duration::from_millis(50)), store.store().expect("a store")).expect("the writer");
        let short = Context::within(Duration::from_millis(50));
        let opened = &store.store().expect("a store").opened;
        let writing = Writing::begin(&short, &writer, &store.opener, opened, &store.store().expect("a store").history);
        let changed = writer.execute_batch(&format!("UPDATE notes SET text = ({slow})")).map_err(failed);
        assert_eq!(changed.expect_err("too slow").code(), Code::Deadline);
        drop(writing);
        assert!(writer.is_autocommit(), "taken back");
    }
    assert!(since.elapsed() < Duration::from_secs(5), "{:?}", since.elapsed());
    assert_eq!(store.count(&cx, &Query::all(id)).expect("a count"), 3000);
    store.apply(&cx, &[Mutation::Delete { collection: id, key: Key::Int(1), when: vec![] }]).expect("works again");
}

/// Eight batches that arrive while the writer is out, and how often the writer was asked to commit, the first `failures` times in vain.
fn together(failures: u32) -> (Vec<Result<Applied>>, u32, u64) {
    const BATCHES: i64 = 8;
    let folder = tempfile::tempdir().expect("a folder");
    let store = open("{}", Host::detached(folder.path())).expect("opens");
    let cx = Context::unbounded();
    let notes = Collection::new("notes", 1, "id", Kind::Int).field("text", Kind::Text);
    let id = store.prepare(&cx, std::slice::from_ref(&notes)).expect("prepares")[0];
    let commits = Arc::new(std::sync::atomic::AtomicU32::new(0));
    let mut answers = Vec::new();
    std::thread::scope(|scope| {
        let mut writer = store.writer(&cx, store.store().expect("a store")).expect("the writer");
        let counted = Arc::clone(&commits);
        let fails = move || counted.fetch_add(1, Ordering::Relaxed) < failures;
        writer.connection_mut().expect("the writer").commit_hook(Some(fails)).expect("a hook");
        let threads: Vec<_> = (0..BATCHES)
            .map(|key| {
                let row = Row::builder(&notes).set("id", key / 2).expect("id").build();
                let (store, cx) = (&store, &cx);
                // Each key is inserted twice: of two, one is a conflict.
                let thread = scope.spawn(move || store.apply(cx, &[Mutation::Insert { collection: id, row }]));
                while store.group.present() <= usize::try_from(key).expect("a number") {
                    std::thread::yield_now();
                }
                thread
            })
            .collect();
        drop(writer);
        answers.extend(threads.into_iter().map(|t| t.join().expect("no panic")));
    });
    (answers, commits.load(Ordering::Relaxed), store.count(&cx, &Query::all(id)).expect("a count"))
}

#[test]
fn batches_that_wait_share_one_commit_and_a_conflict_fails_alone() {
    let (answers, commits, count) = together(0);
    assert_eq!((commits, count), (1, 4));
    for (at, answer) in answers.iter().enumerate() {
        match answer {
            Ok(applied) => assert!(at % 2 == 0 && applied.token == answers[0].as_ref().expect("applied").token),
            Err(error) => assert!(at % 2 == 1 && error.code() == Code::Conflict, "{error}"),
        }
    }
}

#[test]
fn when_a_shared_commit_fails_each_batch_is_carried_out_alone() {
    let (answers, commits, count) = together(1);
    assert_eq!((commits, count), (1 + 4, 4), "one in vain, and one for each that changes something");
    assert!(answers.iter().enumerate().all(|(at, answer)| answer.is_ok() == (at % 2 == 0)), "{answers:?}");
}

#[test]
fn a_commit_that_fails_again_is_the_failure_of_its_batch_alone() {
    let (answers, commits, count) = together(2);
    // The first insert fails, so the second one of that key is none too many.
    assert_eq!((commits, count), (1 + 1 + 4, 4));
    let error = answers[0].as_ref().expect_err("its own commit failed");
    assert!(error.message().contains("nothing was applied"), "{error}");
    assert!(answers[1].is_ok() && answers[2].is_ok() && answers[3].is_err(), "{answers:?}");
}

/// An encrypted store with one damaged page in the middle, and the keys of its 200 notes that are on it.
fn damaged(folder: &tempfile::TempDir, notes: &Collection) -> (Sqlite, CollectionId, Vec<i64>) {
    let cx = Context::unbounded();
    let opened = || {
        let store = open(r#"{"password": "tulip-98"}"#, Host::detached(folder.path())).expect("opens");
        let id = store.prepare(&cx, std::slice::from_ref(notes)).expect("prepares")[0];
        (store, id)
    };
    let (store, id) = opened();
    let all: Vec<_> = (1..=200).map(|key| Mutation::Put { collection: id, row: note(notes, key, "x") }).collect();
    store.apply(&cx, &all).expect("stores");
    store.close(&cx).expect("closes");
    let file = folder.path().join("hivemind-core").join("clients.db");
    let mut bytes = std::fs::read(&file).expect("the file");
    let middle = bytes.len() / 4096 / 2 * 4096;
    bytes[middle + 100] ^= 1;
    std::fs::write(&file, &bytes).expect("damaged");
    let (store, id) = opened();
    let bad = (1..=200).filter(|key| store.get(&cx, id, KeyRef::Int(*key)).is_err()).collect();
    (store, id, bad)
}

fn note(notes: &Collection, key: i64, letter: &str) -> Row {
    let builder = Row::builder(notes).set("id", key).expect("id").set("text", letter.repeat(1000)).expect("text");
    builder.build()
}

#[test]
fn a_damaged_record_fails_its_own_batch_and_none_of_those_that_share_the_commit() {
    let folder = tempfile::tempdir().expect("a folder");
    let notes = Collection::new("notes", 1, "id", Kind::Int).field("text", Kind::Text);
    let (store, id, bad) = damaged(&folder, &notes);
    let cx = Context::unbounded();
    assert!((1..20).contains(&bad.len()), "{bad:?}");
    // Whoever meets the damage leads, comes in the middle, or comes last.
    for (place, letter) in [(0, "a"), (3, "b"), (7, "c")] {
        let answers: Vec<Result<Applied>> = std::thread::scope(|scope| {
            let writer = store.writer(&cx, store.store().expect("a store")).expect("the writer");
            let threads: Vec<_> = (0..8)
                .map(|n| {
                    let row = note(&notes, if n == place { bad[0] } else { 5 * n64(n) + 1 }, letter);
                    let (store, cx) = (&store, &cx);
                    let thread = scope.spawn(move || store.apply(cx, &[Mutation::Put { collection: id, row }]));
                    while store.group.present() <= n {
                        std::thread::yield_now();
                    }
                    thread
                })
                .collect();
            drop(writer);
            threads.into_iter().map(|t| t.join().expect("no panic")).collect()
        });
        for (n, answer) in answers.into_iter().enumerate() {
            match answer {
                Ok(_) => assert_ne!(n, place),
                Err(error) => assert!(n == place && error.code() == Code::Corrupt, "{n} beside {place}: {error}"),
            }
        }
    }
}

fn n64(n: usize) -> i64 {
    i64::try_from(n).expect("a small number")
}

#[test]
fn closing_while_a_connection_is_out_is_not_said_to_have_let_the_file_go() {
    let cx = Context::unbounded();
    let short = Context::within(Duration::from_millis(20));
    for writes in [true, false] {
        let folder = tempfile::tempdir().expect("a folder");
        let sqlite = open("{}", Host::detached(folder.path())).expect("opens");
        sqlite.prepare(&cx, &[Collection::new("notes", 1, "id", Kind::Int)]).expect("prepares");
        let store = sqlite.store().expect("a store");
        let lease = if writes { sqlite.writer(&cx, store) } else { sqlite.reader(&cx, None, store, Use::Long) };
        let lease = lease.expect("a connection");
        let error = sqlite.close(&short).expect_err("it is out");
        assert!(error.code() == Code::Busy && error.message().contains("clients.db: a call is still running"), "{error}");
        assert!(store.opened.is_present(), "the file counts as open");
        drop(lease);
        assert_eq!(
            store.writer.open_count() + store.readers.as_ref().map_or(0, crate::pool::Pool::open_count),
            0,
            "let go by the call"
        );
    }
}
