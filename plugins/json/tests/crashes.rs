//! What a crash leaves: a batch over several files is finished or was never begun.

mod common;

use std::fs;

use common::{Folder, client, clients, count, cx, name, notes, rename};
use hivemind_abi::model::{Backend, Code, CollectionId, Key, Mutation, Row, Task};
use hivemind_json_plugin::backend::JsonStore;

fn note(id: &str, body: &str) -> Row {
    Row::builder(&notes()).set("id", id).and_then(|b| b.set("body", body)).expect("a note").build()
}

fn both(folder: &Folder) -> (JsonStore, CollectionId, CollectionId) {
    let store = folder.handle();
    let ids = store.prepare(&cx(), &[clients(), notes()]).expect("prepared");
    (store, ids[0], ids[1])
}

fn batch(clients: CollectionId, notes: CollectionId) -> [Mutation; 3] {
    [
        rename(clients, 1, "renamed"),
        Mutation::Put { collection: clients, row: client(2, "b", "new") },
        Mutation::Put { collection: notes, row: note("n", "new") },
    ]
}

/// Leaves a store as it is before the batch; returns the clients' file then, and both files after it.
fn cut(folder: &Folder) -> (String, [String; 2]) {
    let (store, c, n) = both(folder);
    common::put(&store, c, client(1, "a", "x"));
    common::put(&store, n, note("m", "old"));
    let before = [folder.read("clients.json"), folder.read("notes.json")];
    store.apply(&cx(), &batch(c, n)).expect("applied");
    let after = [folder.read("clients.json"), folder.read("notes.json")];
    folder.write("clients.json", &before[0]);
    folder.write("notes.json", &before[1]);
    let [before, _] = before;
    (before, after)
}

/// The journal of the batch above, as its format is documented.
fn journal(before: &str, after: &[String; 2]) -> String {
    use hivemind_abi::model::json::quote;
    let record = |name: &str, before: Option<String>, after: Option<String>| {
        let text = |t: Option<String>| t.map_or("null".to_owned(), |t| quote(&t));
        format!("{{\"name\": \"{name}\", \"before\": {}, \"after\": {}}}", text(before), text(after))
    };
    let of = |text: &str, name: &str| common::member(text, &[name]);
    let body = format!(
        "[{{\"file\": \"clients.json\", \"records\": [{}, {}]}}, {{\"file\": \"notes.json\", \"records\": [{}]}}]",
        record("1", of(before, "1"), of(&after[0], "1")),
        record("2", None, of(&after[0], "2")),
        record("n", None, of(&after[1], "n")),
    );
    let checksum = body.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3));
    format!("hivemind-journal 1 {} {checksum:016x}\n{body}", body.len())
}

#[test]
fn a_batch_over_two_files_is_one() {
    let folder = Folder::new();
    let (_, after) = cut(&folder);
    let (store, c, n) = both(&folder);
    let mut failing = batch(c, n).to_vec();
    failing.push(Mutation::Insert { collection: n, row: note("m", "taken") });
    let error = store.apply(&cx(), &failing).expect_err("taken");
    assert_eq!((error.code(), error.detail().mutation), (Code::Conflict, Some(3)));
    assert_eq!((count(&store, c), count(&store, n)), (1, 1));
    store.apply(&cx(), &batch(c, n)).expect("applied");
    assert_eq!([folder.read("clients.json"), folder.read("notes.json")], after);
    assert_eq!(folder.names(), ["clients.json", "clients.schema_version", "notes.json", "notes.schema_version"]);
}

#[test]
fn a_whole_journal_is_carried_out_wherever_the_batch_was_cut() {
    for replaced in 0..=2 {
        for by_opening in [true, false] {
            let folder = Folder::new();
            let (before, after) = cut(&folder);
            let running = both(&folder);
            for (name, content) in ["clients.json", "notes.json"].iter().zip(&after).take(replaced) {
                folder.write(name, content);
            }
            folder.write("clients.journal", &journal(&before, &after));
            if by_opening {
                both(&folder);
            } else {
                let (store, c, _) = &running;
                let problems = store.maintain(&cx(), &Task::Verify).expect("a report").problems;
                assert!(problems.iter().any(|p| p.message.contains("clients.journal")), "{problems:?}");
                store.apply(&cx(), &[rename(*c, 2, "newer")]).expect("applied");
                assert_eq!(name(store, *c, 1).as_deref(), Some("renamed"));
                store.apply(&cx(), &[rename(*c, 2, "new")]).expect("applied");
            }
            assert_eq!([folder.read("clients.json"), folder.read("notes.json")], after, "{replaced} files were replaced");
            assert!(!folder.file("clients.journal").exists());
        }
    }
}

#[test]
fn a_torn_journal_is_set_aside_and_nothing_of_it_done() {
    let folder = Folder::new();
    let (before, after) = cut(&folder);
    let whole = journal(&before, &after);
    for end in [0, 10, whole.len() / 2, whole.len() - 1] {
        folder.write("clients.journal", &whole[..end]);
        let (store, c, n) = both(&folder);
        assert_eq!((count(&store, c), count(&store, n)), (1, 1));
        assert_eq!(folder.read("clients.json"), before);
        assert!(!folder.file("clients.journal").exists());
        assert_eq!(folder.file("clients.journal.damaged").exists(), end > 0);
    }
}

#[test]
fn a_change_made_after_the_cut_is_kept() {
    let folder = Folder::new();
    let (before, after) = cut(&folder);
    folder.write("clients.journal", &journal(&before, &after));
    folder.write("clients.json", &before.replace("\"x\"", "\"by another program\""));
    let (store, c, n) = both(&folder);
    assert_eq!(name(&store, c, 1).as_deref(), Some("by another program"));
    assert_eq!((name(&store, c, 2).as_deref(), count(&store, n)), (Some("new"), 2));
}

#[test]
fn a_batch_that_cannot_be_begun_leaves_no_trace() {
    let folder = Folder::new();
    cut(&folder);
    let (store, c, n) = both(&folder);
    // The journal cannot be written over a folder that holds something.
    fs::create_dir_all(folder.file("clients.journal").join("x")).expect("a folder");
    let before = [folder.read("clients.json"), folder.read("notes.json")];
    store.apply(&cx(), &batch(c, n)).expect_err("no journal");
    assert_eq!([folder.read("clients.json"), folder.read("notes.json")], before);
    assert_eq!((name(&store, c, 1).as_deref(), count(&store, n)), (Some("x"), 1));
    fs::remove_dir_all(folder.file("clients.journal")).expect("removed");
    store.apply(&cx(), &batch(c, n)).expect("works again");
    assert_eq!(store.get(&cx(), n, Key::from("n").as_ref()), Ok(Some(note("n", "new"))));
}

#[test]
fn what_a_killed_writer_left_is_cleared_away() {
    let folder = Folder::new();
    cut(&folder);
    folder.write(".clients.json.0123456789abcdef.tmp", "half a fi");
    folder.write(".clients.journal.fedcba9876543210.tmp", "hivemind-jou");
    // Another test may hold the lock, which all stores of this name share: then it is left to the next to open.
    for _ in 0..200 {
        both(&folder);
        if folder.names().len() == 4 {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    assert_eq!(folder.names(), ["clients.json", "clients.schema_version", "notes.json", "notes.schema_version"]);
}
