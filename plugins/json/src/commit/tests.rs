use hivemind_abi::model::{Backend as _, Change, Changes, Collection, Key, Kind, Row};
use hivemind_abi::{Host, model::CollectionId};

use super::*;
use crate::backend::open;

fn collections() -> [Collection; 2] {
    ["one", "two"].map(|name| Collection::new(name, 1, "id", Kind::Int).field("n", Kind::Int))
}

fn row(of: &Collection, id: i64, n: i64) -> Row {
    Row::builder(of).set("id", id).and_then(|b| b.set("n", n)).expect("a row").build()
}

fn handle(folder: &std::path::Path) -> (JsonStore, Vec<CollectionId>) {
    let store = open(r#"{"name": "hivemind-test-cut"}"#, Host::detached(folder)).expect("a handle");
    let ids = store.prepare(&Context::unbounded(), &collections()).expect("prepared");
    (store, ids)
}

#[test]
fn a_folder_that_cannot_be_synced_is_tried_once_more_and_then_told_of() {
    let fails = |times: usize| {
        let left = std::cell::Cell::new(times);
        make_last(Path::new("folder"), |_| match left.get() {
            0 => Ok(()),
            n => {
                left.set(n - 1);
                Err(Error::io("the disk is gone"))
            }
        })
    };
    assert_eq!(fails(1), Ok(()));
    let error = fails(2).expect_err("gone");
    assert_eq!((error.code(), error.retryable()), (Code::OutcomeUnknown, false));
    assert_eq!(error.detail().field.as_deref(), Some("durability"), "by this nobody takes reading it back for an answer");
    assert!(error.message().contains("in place") && error.message().contains("the disk is gone"), "{error}");
    assert_eq!(error.detail().place.as_deref(), Some("folder"));
}

#[test]
fn who_waited_too_long_for_writes_through_the_same_handle_is_told_so() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = r#"{"name": "hivemind-test-line", "lock_timeout_ms": 50}"#;
    let store = open(config, Host::detached(folder.path())).expect("a handle");
    let ids = store.prepare(&Context::unbounded(), &collections()).expect("prepared");
    let first = store.line.enter(|| None, || Ok(())).expect("free");
    let put = [Mutation::Put { collection: ids[0], row: row(&collections()[0], 1, 1) }];
    for error in [
        store.apply(&Context::unbounded(), &put).expect_err("behind it"),
        store.sync(&Context::unbounded()).expect_err("behind it"),
    ] {
        assert_eq!((error.code(), error.retryable()), (Code::Busy, true));
        assert!(error.message().contains("through the same handle") && error.message().contains("50 ms"), "{error}");
    }
    drop(first);
    store.apply(&Context::unbounded(), &put).expect("its turn");
}

#[test]
fn our_own_commit_leaves_nothing_to_look_at_and_nothing_to_read() {
    let cx = Context::unbounded();
    let [one, _] = collections();
    let folder = tempfile::tempdir().expect("a folder");
    let (store, ids) = handle(folder.path());
    for n in 0..5 {
        for _ in 0..50 {
            store.get(&cx, ids[0], Key::Int(1).as_ref()).expect("a look-up");
        }
        store.apply(&cx, &[Mutation::Put { collection: ids[0], row: row(&one, 1, n) }]).expect("stored");
        let generation = {
            let state = store.to_change();
            let file = state.file(ids[0]).expect("a file");
            // Watched, it is current only if no event is left.
            assert!(file.means() == "stat" || file.is_current().expect("a look"));
            file.generation
        };
        assert_eq!(store.get(&cx, ids[0], Key::Int(1).as_ref()), Ok(Some(row(&one, 1, n))));
        assert_eq!(store.to_change().file(ids[0]).expect("a file").generation, generation);
    }
}

#[test]
fn after_a_panic_in_a_commit_memory_is_what_the_file_says() {
    let cx = Context::unbounded();
    let [one, _] = collections();
    let folder = tempfile::tempdir().expect("a folder");
    let (store, ids) = handle(folder.path());
    store.apply(&cx, &[Mutation::Put { collection: ids[0], row: row(&one, 1, 0) }]).expect("stored");
    let token = store.changes_since(&cx, ids[0], Token::default()).expect("a token").0;
    let lost = guarded(&store, || {
        let mut state = store.to_change();
        let half = [Mutation::Put { collection: ids[0], row: row(&one, 1, 5) }];
        state.tables.apply(&store.catalog, &cx, &half).expect("tried");
        panic!("planted");
    });
    assert!(lost.is_err());
    assert_eq!(store.get(&cx, ids[0], Key::Int(1).as_ref()), Ok(Some(row(&one, 1, 0))));
    assert_eq!(store.changes_since(&cx, ids[0], token).expect("changes").1, Changes::Everything);
    store.apply(&cx, &[Mutation::Put { collection: ids[0], row: row(&one, 1, 7) }]).expect("works");
    assert_eq!(store.get(&cx, ids[0], Key::Int(1).as_ref()), Ok(Some(row(&one, 1, 7))));
}

/// A store of two collections with `n` 0 under the id 1 in each, and three batches: one that is fine, one that is refused, one
/// that adds 1 to what the first made of it.
fn group(folder: &Path) -> (JsonStore, Vec<CollectionId>, Vec<Vec<Mutation>>) {
    let [one, two] = collections();
    let (store, ids) = handle(folder);
    let put = |at: usize, id, n| Mutation::Put { collection: ids[at], row: row([&one, &two][at], id, n) };
    store.apply(&Context::unbounded(), &[put(0, 1, 0), put(1, 1, 0)]).expect("stored");
    let refused = Mutation::Insert { collection: ids[0], row: row(&one, 1, 9) };
    let add = vec![Change::Increment { field: one.position("n").expect("a field"), by: 1.into() }];
    let added = Mutation::Update { collection: ids[0], key: Key::Int(1), when: vec![], changes: add };
    (store, ids.clone(), vec![vec![put(0, 2, 2)], vec![refused], vec![added]])
}

#[test]
fn who_is_refused_is_not_told_that_its_change_is_in_place() {
    let cx = Context::unbounded();
    let folder = tempfile::tempdir().expect("a folder");
    let (store, ids, batches) = group(folder.path());
    let batches: Vec<&[Mutation]> = batches.iter().map(Vec::as_slice).collect();
    let held = store.lock.take(&cx, Instant::now()).expect("free");
    let course = Course { sync: &|_| Err(Error::io("planted")), ..Course::new() };
    let answers = together(&store, &batches, &course).expect("done").into_iter().map(|answer| answer.expect("no panic"));
    let errors: Vec<Error> = answers.map(|answer| answer.expect_err("it does not last")).collect();
    drop(held);
    assert_eq!(errors.iter().map(Error::code).collect::<Vec<_>>(), [Code::OutcomeUnknown, Code::Conflict, Code::OutcomeUnknown]);
    let durability = errors.iter().map(|e| e.detail().field.as_deref() == Some(Detail::DURABILITY)).collect::<Vec<_>>();
    assert_eq!(durability, [true, false, true], "{errors:?}");
    let [one, _] = collections();
    assert_eq!(store.get(&cx, ids[0], Key::Int(1).as_ref()), Ok(Some(row(&one, 1, 1))), "once");
}

#[test]
fn after_a_panic_behind_the_journal_or_a_rename_no_batch_of_the_group_is_done_again() {
    let cx = Context::unbounded();
    let [one, two] = collections();
    for (files, at) in [(1, 1), (2, 1), (2, 2), (2, 3)] {
        let folder = tempfile::tempdir().expect("a folder");
        let (store, ids, mut batches) = group(folder.path());
        if files == 2 {
            batches.push(vec![Mutation::Put { collection: ids[1], row: row(&two, 1, 5) }]);
        }
        let batches: Vec<&[Mutation]> = batches.iter().map(Vec::as_slice).collect();
        let held = store.lock.take(&cx, Instant::now()).expect("free");
        let times = Cell::new(0);
        let placed = || {
            times.set(times.get() + 1);
            assert_ne!(times.get(), at, "planted");
        };
        let course = Course { placed: &placed, ..Course::new() };
        let mut answers = together(&store, &batches, &course).expect("done").into_iter();
        assert!(answers.next().expect("its own").is_err(), "the panic is the leader's");
        for answer in answers {
            assert_eq!(answer.expect("no panic").expect_err("cut").code(), Code::OutcomeUnknown);
        }
        drop(held);
        assert_eq!(times.get(), at);
        store.sync(&cx).expect("read anew");
        assert_eq!(store.get(&cx, ids[0], Key::Int(1).as_ref()), Ok(Some(row(&one, 1, 1))), "once");
        assert_eq!(store.get(&cx, ids[0], Key::Int(2).as_ref()), Ok(Some(row(&one, 2, 2))));
        let n = if files == 2 { 5 } else { 0 };
        assert_eq!(store.get(&cx, ids[1], Key::Int(1).as_ref()), Ok(Some(row(&two, 1, n))), "finished from the journal");
    }
}

#[test]
fn a_batch_cut_behind_its_journal_is_finished_by_the_next_to_open() {
    let cx = Context::unbounded();
    let [one, two] = collections();
    for replaced in 0..=2 {
        let folder = tempfile::tempdir().expect("a folder");
        let (store, ids) = handle(folder.path());
        let put = |at: usize, id, n| {
            let collection = [&one, &two][at];
            Mutation::Put { collection: ids[at], row: row(collection, id, n) }
        };
        store.apply(&cx, &[put(0, 1, 0), put(1, 1, 0)]).expect("stored");
        let gone = Mutation::Delete { collection: ids[1], key: Key::Int(1), when: vec![] };
        let batch = [put(0, 1, 5), put(0, 2, 6), put(1, 3, 7), gone];

        let held = store.lock.take(&cx, Instant::now()).expect("free");
        let Plan { parts, .. } = store.to_change().plan(&store.catalog, &cx, &[&batch]).expect("a plan");
        let staged: Vec<_> = parts.into_iter().map(|part| part.write().expect("written")).collect();
        let (written, changes): (Vec<_>, Vec<_>) = staged.into_iter().unzip();
        journal::write(&store.place, &changes).expect("a journal");
        for (at, one) in written.into_iter().enumerate() {
            if at < replaced {
                store.to_change().switch(one, || {}).expect("in place");
            } else {
                std::mem::forget(one);
            }
        }
        drop(held);

        let (next, ids) = handle(folder.path());
        let get = |at: usize, key| next.get(&cx, ids[at], Key::Int(key).as_ref()).expect("a look-up");
        assert_eq!([get(0, 1), get(0, 2)], [Some(row(&one, 1, 5)), Some(row(&one, 2, 6))], "{replaced} files were replaced");
        assert_eq!([get(1, 1), get(1, 3)], [None, Some(row(&two, 3, 7))], "{replaced} files were replaced");
        assert!(!next.place.journal.exists());
        let left = std::fs::read_dir(&next.place.folder).expect("a list");
        assert!(left.flatten().all(|entry| !entry.file_name().to_string_lossy().starts_with('.')));
    }
}
