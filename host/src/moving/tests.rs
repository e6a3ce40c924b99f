//! The rounds on the reference store, where each step can be looked at.

use std::sync::Arc;

use hivemind_model::reference::Reference;
use hivemind_model::{Backend, Collection, Key, Kind, Mutation, Query, Row};
use hivemind_store::{Options, Storage};

use super::Places;
use super::copy::{Copy, Moved, Prefer};
use super::marker::{self, Marker, Mode};
use super::progress::Unseen;
use super::rows::{Carried, Rows as _, StoreRows};
use super::source::Source as _;
use super::store::Store;
use super::survey::Survey;
use crate::failure::Failure;
use crate::open::Opened;

fn notes() -> Collection {
    Collection::new("notes", 1, "id", Kind::Text).field("text", Kind::Text)
}

/// A store with these clients, by id and access key.
fn store(clients: &[(i64, &str)]) -> Store {
    let backend: Arc<dyn Backend> = Arc::new(Reference::new());
    let opened = Opened {
        storage: Storage::new(backend, Options::default()),
        module: "reference".to_owned(),
        plugin: None,
        secrets: Vec::new(),
    };
    let store = Store::prepare(&opened, vec![hivemind_store::clients::collection(), notes()]).expect("prepared");
    let (id, collection) = store.collection(0);
    let put = |(key, api_key): &(i64, &str)| {
        let row =
            Row::builder(collection).set("client_id", *key).and_then(|b| b.set("api_key", *api_key)).expect("a row").build();
        Mutation::Put { collection: id, row }
    };
    store.apply(&clients.iter().map(put).collect::<Vec<_>>()).expect("stored");
    store
}

fn note(store: &Store, id: &str, text: &str) {
    let (collection, description) = store.collection(1);
    let row = Row::builder(description).set("id", id).and_then(|b| b.set("text", text)).expect("a row").build();
    store.apply(&[Mutation::Put { collection, row }]).expect("stored");
}

fn clients(store: &Store) -> Vec<(i64, String)> {
    let (_, collection) = store.collection(0);
    let mut rows = StoreRows::new(store, 0);
    let mut found = Vec::new();
    while let Some((key, row)) = rows.next().expect("a row") {
        let Key::Int(id) = key else { panic!("{key}") };
        let view = row.view(collection).expect("a view");
        found.push((id, view.get("api_key").and_then(|v| v.as_str()).expect("a key").to_owned()));
    }
    found
}

fn run(source: &Store, target: &Store, mode: Mode, prefer: Option<Prefer>, batch: usize) -> Result<Moved, Failure> {
    let survey = Survey::take(source, 2, &mut Unseen).expect("readable");
    Copy { source, target, mode, prefer, left: &survey.left, rounds: 5, batch }.run(survey.records, &mut Unseen)
}

#[test]
fn access_keys_that_change_hands_are_written_whatever_the_batches_are() {
    for batch in [1, 100, 1 << 20] {
        let source = store(&[(1, "b"), (2, "c"), (3, "a"), (4, "e"), (5, "d")]);
        let target = store(&[(1, "a"), (2, "b"), (3, "c"), (4, "d"), (5, "e"), (6, "gone")]);
        run(&source, &target, Mode::Replace, None, batch).expect("moved");
        assert_eq!(clients(&target), clients(&source), "{batch}");
    }
}

#[test]
fn all_collections_go_and_what_the_source_lacks_is_removed() {
    let (source, target) = (store(&[(1, "a")]), store(&[]));
    note(&source, "ä", "1");
    note(&source, "b", "2");
    note(&target, "c", "3");
    let moved = run(&source, &target, Mode::Replace, None, 1).expect("moved");
    assert_eq!(moved.digest.records, 3);
    let page = target.find(&Query::all(target.collection(1).0)).expect("a page");
    assert_eq!(page.rows.len(), 2);
    // Once more there is nothing to do.
    assert_eq!(run(&source, &target, Mode::Replace, None, 1).expect("moved"), Moved { written: 0, ..moved });
}

#[test]
fn gaps_and_what_stays_behind_become_revoked_clients() {
    let source = store(&[(2, "b"), (5, "e"), (7, "b-again")]);
    let left = Places::from([(0, Key::Int(5)), (0, Key::Int(9))]);
    let (_, collection) = source.collection(0);
    let mut carried = Carried::new(source.rows(0).expect("rows"), 0, &left, collection);
    let mut found = Vec::new();
    while let Some(wanted) = carried.advance().expect("a record") {
        found.push((wanted.key, wanted.fills));
    }
    let expected = [true, false, true, true, true, true, false, true, true];
    assert_eq!(found, (1..).map(Key::Int).zip(expected).collect::<Vec<_>>());
}

#[test]
fn a_mark_is_found_is_no_client_and_goes_away() {
    let target = store(&[(1, "a")]);
    let marker = Marker { from: "x \"y\" (/z)".to_owned(), mode: Mode::Merge };
    marker::set(&target, &marker).expect("set");
    assert_eq!(marker::find(&target), Ok(Some(marker.clone())));
    assert_eq!(clients(&target), [(1, "a".to_owned())]);
    marker::set(&target, &marker).expect("set again");
    marker::clear(&target).expect("cleared");
    assert_eq!(marker::find(&target), Ok(None));
    // Somebody made a client with this id.
    let odd = store(&[(0, "zero")]);
    assert_eq!(marker::find(&odd), Ok(None));
    let refused = marker::set(&odd, &marker).expect_err("it would be written over");
    assert!(refused.message().contains("id 0"), "{refused}");
    assert_eq!(clients(&odd).len(), 1);
}

#[test]
fn a_merge_decides_by_what_it_was_told() {
    let there = [(1, "a"), (2, "b"), (3, "c")];
    for (prefer, expected) in [
        (Prefer::Target, [(1, "a"), (2, "b"), (3, "c"), (4, "revoked"), (5, "e")]),
        (Prefer::Source, [(1, "x"), (2, "b"), (3, "revoked"), (4, "c"), (5, "e")]),
    ] {
        for batch in [1, 1 << 20] {
            let (source, target) = (store(&[(1, "x"), (4, "c"), (5, "e")]), store(&there));
            run(&source, &target, Mode::Merge, Some(prefer), batch).expect("moved");
            assert_eq!(clients(&target), expected.map(|(id, key)| (id, key.to_owned())), "{prefer:?} {batch}");
        }
    }
    let (source, target) = (store(&[(1, "x")]), store(&there));
    let failure = run(&source, &target, Mode::Merge, None, 1).expect_err("a conflict");
    assert_eq!(failure.code, "merge-conflict");
    assert_eq!(clients(&target), there.map(|(id, key)| (id, key.to_owned())));
}

/// The table of bits that finds repeated access keys may take one for another; what it suspects is looked at again.
#[test]
fn of_many_different_access_keys_none_is_left_behind() {
    let all: Vec<(i64, String)> = (1..=300).map(|id| (id, format!("key-{id}"))).collect();
    let source = store(&all.iter().map(|(id, key)| (*id, key.as_str())).collect::<Vec<_>>());
    let survey = Survey::take(&source, 1, &mut Unseen).expect("readable");
    assert_eq!((survey.records, survey.problems.len(), survey.gaps), (300, 0, 0));
}
