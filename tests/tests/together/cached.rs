//! A reader that caches sees every change of another process at its next call: the reader is told to look only after the writer was
//! acknowledged, and then it must see exactly that, every time. Before each change it looks too, so that it has something to be wrong by.

use std::os::unix::fs::FileExt as _;
use std::path::Path;

use super::*;

/// What a reader sees of client `id`: its access key and the member `n` of its metadata.
fn seen(reader: &mut Peer, id: i64) -> (String, u64) {
    let client = reader.ask(&json!({"op": "look", "id": id}));
    (client["api_key"].as_str().expect("a key").to_owned(), client["metadata"]["n"].as_u64().unwrap_or(0))
}

/// Whose client it is that has this access key.
fn holder(reader: &mut Peer, key: &str) -> Option<i64> {
    reader.ask(&json!({"op": "look", "key": key}))["client_id"].as_i64()
}

/// The writer changes client `id` to `n` under the access key `key` and then gives it another one; the reader follows.
fn followed(what: &str, reader: &mut Peer, id: i64, old: (&str, u64), new: (&str, u64), write: impl FnOnce()) {
    assert_eq!(seen(reader, id), (old.0.to_owned(), old.1), "{what}, before the change to {new:?}");
    assert_eq!(holder(reader, old.0), Some(id), "{what}, before the change to {new:?}");
    if old.0 != new.0 {
        assert_eq!(holder(reader, new.0), None, "{what}: {new:?} is nobody's yet");
    }
    write();
    assert_eq!(holder(reader, new.0), Some(id), "{what}: who has the access key, right after the change from {old:?} to {new:?}");
    assert_eq!(seen(reader, id), (new.0.to_owned(), new.1), "{what}: right after the change from {old:?}");
    if old.0 != new.0 {
        assert_eq!(holder(reader, old.0), None, "{what}: the access key was taken away by the change to {new:?}");
    }
}

/// A revocation, and the client that comes after it.
fn revoked(what: &str, reader: &mut Peer, (id, key): (i64, &str), revoke: impl FnOnce()) {
    assert_eq!(holder(reader, key), Some(id), "{what}: before client {id} is revoked");
    revoke();
    assert_eq!(holder(reader, key), None, "{what}: client {id} was just revoked");
    assert_eq!(seen(reader, id), ("revoked".to_owned(), 0), "{what}: client {id} was just revoked");
}

#[test]
fn every_change_of_another_process_of_ours_is_seen_at_the_next_call_on_sqlite() {
    ours_follows_ours(SQLITE, 2000);
}

#[test]
fn every_change_of_another_process_of_ours_is_seen_at_the_next_call_on_json() {
    ours_follows_ours(JSON, 1000);
}

/// Two processes write in turn, and each reads what the other wrote, while a thread of each looks over and over.
fn ours_follows_ours(module: &str, rounds: u64) {
    let operator = Operator::with_module(module);
    let mut pair = [worker(&operator, module), worker(&operator, module)];
    let id = pair[0].ask(&json!({"op": "add", "key": "key-0"})).as_i64().expect("an id");
    for one in &mut pair {
        one.ask(&json!({"op": "watch", "id": id, "member": "n"}));
    }
    let mut key = "key-0".to_owned();
    for n in 1..=rounds {
        let [a, b] = &mut pair;
        let (writer, reader) = if n % 2 == 0 { (a, b) } else { (b, a) };
        followed(module, reader, id, (&key, n - 1), (&key, n), || {
            writer.ask(&json!({"op": "set", "id": id, "member": "n", "value": n}));
        });
        if n % 5 == 0 {
            let next = format!("key-{n}");
            followed(module, reader, id, (&key, n), (&next, n), || {
                drop(writer.ask(&json!({"op": "rekey", "id": id, "key": next})))
            });
            key = next;
        }
        if n % 7 == 0 {
            let name = format!("short-lived-{n}");
            assert_eq!(holder(reader, &name), None, "{module}: nobody has it yet");
            let added = writer.ask(&json!({"op": "add", "key": name})).as_i64().expect("an id");
            assert_eq!(seen(reader, added), (name.clone(), 0), "{module}: client {added} was just added");
            revoked(module, reader, (added, &name), || drop(writer.ask(&json!({"op": "revoke", "id": added}))));
        }
    }
    let looks = pair.each_mut().map(|one| one.try_ask(&json!({"op": "unwatch"})).unwrap_or_else(|e| panic!("{module}: {e}")));
    println!("{module}: {rounds} rounds, watched meanwhile by {looks:?} lookups");
}

#[test]
fn every_change_of_python_is_seen_at_the_next_call_on_sqlite() {
    ours_follows_python(SQLITE, 400);
}

#[test]
fn every_change_of_python_is_seen_at_the_next_call_on_json() {
    ours_follows_python(JSON, 300);
}

fn ours_follows_python(module: &str, rounds: u64) {
    let operator = Operator::with_module(module);
    let mut ours = worker(&operator, module);
    let id = ours.ask(&json!({"op": "add", "key": "key-0"})).as_i64().expect("an id");
    let victims: Vec<(i64, String)> = (0..rounds / 20)
        .map(|n| {
            let key = format!("victim-{n}");
            (ours.ask(&json!({"op": "add", "key": key})).as_i64().expect("an id"), key)
        })
        .collect();
    let mut theirs = python(&operator, module);
    let mut key = "key-0".to_owned();
    for n in 1..=rounds {
        followed(module, &mut ours, id, (&key, n - 1), (&key, n), || {
            theirs.ask(&json!({"op": "set_field", "id": id, "fields": {"metadata": {"n": n}}}));
        });
        if n % 5 == 0 {
            let next = format!("key-{n}");
            followed(module, &mut ours, id, (&key, n), (&next, n), || {
                theirs.ask(&json!({"op": "set_field", "id": id, "fields": {"api_key": next}}));
            });
            key = next;
        }
        if n % 20 == 0 {
            let (victim, key) = &victims[usize::try_from(n / 20 - 1).expect("small")];
            revoked(module, &mut ours, (*victim, key), || drop(theirs.ask(&json!({"op": "revoke", "id": victim}))));
        }
    }
    python_follows_ours(module, &mut ours, &mut theirs, id, rounds / 4);
}

/// The other direction: Python's plugin reads SQLite at each call, and its JSON store when it is told to.
fn python_follows_ours(module: &str, ours: &mut Peer, theirs: &mut Peer, id: i64, rounds: u64) {
    for n in 1..=rounds {
        let key = format!("ours-{n}");
        ours.ask(&json!({"op": "set", "id": id, "member": "n", "value": n}));
        ours.ask(&json!({"op": "rekey", "id": id, "key": key}));
        if module == JSON {
            theirs.ask(&json!({"op": "sync"}));
        }
        let found = theirs.ask(&json!({"op": "get_by_key", "key": key}));
        assert_eq!((&found["client_id"], &found["metadata"]["n"]), (&json!(id), &json!(n)), "{module}: {found}");
        let before = theirs.ask(&json!({"op": "get_by_key", "key": format!("ours-{}", n - 1)}));
        assert_eq!(before, Value::Null, "{module}: round {n}");
    }
}

/// What people do to a file: an editor writes it in place or puts another one in its place, a script changes some bytes of it.
#[test]
fn every_change_that_an_editor_makes_to_the_json_file_is_seen_at_the_next_call() {
    let operator = Operator::with_module(JSON);
    let mut reader = worker(&operator, JSON);
    let id = reader.ask(&json!({"op": "add", "key": "key-00000"})).as_i64().expect("an id");
    reader.ask(&json!({"op": "set", "id": id, "member": "n", "value": 10_000}));
    let file = operator.data().join("clients.json");
    let mut before = ("key-00000".to_owned(), 10_000);
    for n in 10_001..=11_200_u64 {
        let after = if n % 5 == 0 { (format!("key-{n}"), before.1) } else { (before.0.clone(), n) };
        let from = if n % 5 == 0 { &before.0 } else { &before.1.to_string() };
        let to = if n % 5 == 0 { &after.0 } else { &after.1.to_string() };
        // The size stays the same, and often the time of the change too: the clock of files ticks every few milliseconds.
        let how = ["some bytes in place", "the whole file in place", "another file in its place"]
            [usize::try_from(n % 3).expect("small")];
        followed(how, &mut reader, id, (&before.0, before.1), (&after.0, after.1), || edit(&file, from, to, how));
        before = after;
    }
}

fn edit(file: &Path, from: &str, to: &str, how: &str) {
    let text = std::fs::read_to_string(file).expect("the store");
    // With what stands around it, because a number may be part of a key.
    let [from, to] =
        if from.starts_with("key") { [from, to].map(|key| format!("\"{key}\"")) } else { [from, to].map(|n| format!(": {n}")) };
    assert_eq!(text.matches(&from).count(), 1, "{from} in {text}");
    match how {
        "some bytes in place" => {
            let at = u64::try_from(text.find(&from).expect("found")).expect("small");
            std::fs::OpenOptions::new().write(true).open(file).expect("open").write_all_at(to.as_bytes(), at).expect("written");
        }
        "the whole file in place" => std::fs::write(file, text.replace(&from, &to)).expect("written"),
        _ => {
            let new = file.with_extension("new");
            std::fs::write(&new, text.replace(&from, &to)).expect("written");
            std::fs::rename(new, file).expect("renamed");
        }
    }
}
