//! A reader that caches sees every change of another process at its next call, on Redis within a bound: the reader is told to look only
//! after the writer was acknowledged, and then it must see exactly that, every time. Before each change it looks too, so that it has
//! something to be wrong by.

use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::time::Instant;

use super::*;

/// A process that reads through its cache.
struct Reader<'p> {
    what: &'p str,
    peer: &'p mut Peer,
    /// How long a change of another process may go unseen.
    within: Duration,
}

impl Reader<'_> {
    /// What it sees of client `id`: its access key and the member `n` of its metadata.
    fn seen(&mut self, id: i64) -> (String, u64) {
        let client = self.peer.ask(&json!({"op": "look", "id": id}));
        (client["api_key"].as_str().expect("a key").to_owned(), client["metadata"]["n"].as_u64().unwrap_or(0))
    }

    /// Whose client it is that has this access key.
    fn holder(&mut self, key: &str) -> Option<i64> {
        self.peer.ask(&json!({"op": "look", "key": key}))["client_id"].as_i64()
    }

    /// Looks until it is so. The first look that begins behind the bound must be right; without a bound that is the first of all.
    fn sees<T: PartialEq + std::fmt::Debug>(&mut self, expected: &T, what: &str, mut look: impl FnMut(&mut Self) -> T) {
        let end = Instant::now() + self.within;
        loop {
            let is_last = Instant::now() >= end;
            let found = look(self);
            if found == *expected {
                return;
            }
            assert!(!is_last, "{}: {what}: expected {expected:?}, found {found:?}", self.what);
        }
    }

    /// The writer changes client `id` to `n` under the access key `key` and then gives it another one; the reader follows.
    fn followed(&mut self, id: i64, old: (&str, u64), new: (&str, u64), write: impl FnOnce()) {
        let what = self.what;
        assert_eq!(self.seen(id), (old.0.to_owned(), old.1), "{what}, before the change to {new:?}");
        assert_eq!(self.holder(old.0), Some(id), "{what}, before the change to {new:?}");
        if old.0 != new.0 {
            assert_eq!(self.holder(new.0), None, "{what}: {new:?} is nobody's yet");
        }
        write();
        self.sees(&Some(id), &format!("who has the access key after the change from {old:?} to {new:?}"), |r| r.holder(new.0));
        self.sees(&(new.0.to_owned(), new.1), &format!("the client after the change from {old:?}"), |r| r.seen(id));
        if old.0 != new.0 {
            self.sees(&None, &format!("who has the access key that was taken away by the change to {new:?}"), |r| {
                r.holder(old.0)
            });
        }
    }

    /// A revocation, and the client that comes after it.
    fn revoked(&mut self, (id, key): (i64, &str), revoke: impl FnOnce()) {
        assert_eq!(self.holder(key), Some(id), "{}: before client {id} is revoked", self.what);
        revoke();
        self.sees(&None, &format!("who has the access key of client {id}, which was just revoked"), |r| r.holder(key));
        self.sees(&("revoked".to_owned(), 0), &format!("client {id}, which was just revoked"), |r| r.seen(id));
    }
}

/// How long a process may not see what others changed: on files no moment, on Redis what the backend declares, a second at most.
fn bound(module: &str, peer: &mut Peer) -> Duration {
    let declared = Duration::from_millis(peer.ask(&json!({"op": "staleness"})).as_u64().expect("milliseconds"));
    let most = if module == REDIS { Duration::from_secs(1) } else { Duration::ZERO };
    assert!(declared <= most, "{module} declares {declared:?}");
    declared
}

#[test]
fn every_change_of_another_process_of_ours_is_seen_at_the_next_call_on_sqlite() {
    ours_follows_ours(SQLITE, 2000);
}

#[test]
fn every_change_of_another_process_of_ours_is_seen_at_the_next_call_on_json() {
    ours_follows_ours(JSON, 1000);
}

#[test]
fn every_change_of_another_process_of_ours_is_seen_within_the_bound_on_redis() {
    ours_follows_ours(REDIS, 1000);
}

/// Two processes write in turn, and each reads what the other wrote, while a thread of each looks over and over.
fn ours_follows_ours(module: &'static str, rounds: u64) {
    let place = Place::new(module);
    let mut pair = [worker(&place), worker(&place)];
    let within = bound(module, &mut pair[0]);
    let id = pair[0].ask(&json!({"op": "add", "key": "key-0"})).as_i64().expect("an id");
    for one in &mut pair {
        one.ask(&json!({"op": "watch", "id": id, "member": "n"}));
    }
    let mut key = "key-0".to_owned();
    for n in 1..=rounds {
        let [a, b] = &mut pair;
        let (writer, peer) = if n % 2 == 0 { (a, b) } else { (b, a) };
        let mut reader = Reader { what: module, peer, within };
        reader.followed(id, (&key, n - 1), (&key, n), || {
            writer.ask(&json!({"op": "set", "id": id, "member": "n", "value": n}));
        });
        if n % 5 == 0 {
            let next = format!("key-{n}");
            reader.followed(id, (&key, n), (&next, n), || drop(writer.ask(&json!({"op": "rekey", "id": id, "key": next}))));
            key = next;
        }
        if n % 7 == 0 {
            let name = format!("short-lived-{n}");
            assert_eq!(reader.holder(&name), None, "{module}: nobody has it yet");
            let added = writer.ask(&json!({"op": "add", "key": name})).as_i64().expect("an id");
            assert_eq!(reader.seen(added), (name.clone(), 0), "{module}: client {added} was just added");
            reader.sees(&Some(added), "who has the access key of the client that was just added", |r| r.holder(&name));
            reader.revoked((added, &name), || drop(writer.ask(&json!({"op": "revoke", "id": added}))));
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

#[test]
fn every_change_of_python_is_seen_within_the_bound_on_redis() {
    ours_follows_python(REDIS, 300);
}

fn ours_follows_python(module: &'static str, rounds: u64) {
    let place = Place::new(module);
    let mut ours = worker(&place);
    let within = bound(module, &mut ours);
    let id = ours.ask(&json!({"op": "add", "key": "key-0"})).as_i64().expect("an id");
    let victims: Vec<(i64, String)> = (0..rounds / 20)
        .map(|n| {
            let key = format!("victim-{n}");
            (ours.ask(&json!({"op": "add", "key": key})).as_i64().expect("an id"), key)
        })
        .collect();
    let mut theirs = place.python();
    let mut reader = Reader { what: module, peer: &mut ours, within };
    let mut key = "key-0".to_owned();
    for n in 1..=rounds {
        reader.followed(id, (&key, n - 1), (&key, n), || {
            theirs.ask(&json!({"op": "set_field", "id": id, "fields": {"metadata": {"n": n}}}));
        });
        if n % 5 == 0 {
            let next = format!("key-{n}");
            reader.followed(id, (&key, n), (&next, n), || {
                theirs.ask(&json!({"op": "set_field", "id": id, "fields": {"api_key": next}}));
            });
            key = next;
        }
        if n % 20 == 0 {
            let (victim, key) = &victims[usize::try_from(n / 20 - 1).expect("small")];
            reader.revoked((*victim, key), || drop(theirs.ask(&json!({"op": "revoke", "id": victim}))));
        }
    }
    python_follows_ours(module, &mut ours, &mut theirs, id, rounds / 4);
    assert_eq!(place.repairs(Writers::Both), Vec::<String>::new(), "{module}: Python's sync has something to repair");
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
    let operator = Place::new(JSON);
    let mut peer = worker(&operator);
    let id = peer.ask(&json!({"op": "add", "key": "key-00000"})).as_i64().expect("an id");
    peer.ask(&json!({"op": "set", "id": id, "member": "n", "value": 10_000}));
    let file = operator.data().join("clients.json");
    let mut before = ("key-00000".to_owned(), 10_000);
    for n in 10_001..=11_200_u64 {
        let after = if n % 5 == 0 { (format!("key-{n}"), before.1) } else { (before.0.clone(), n) };
        let from = if n % 5 == 0 { &before.0 } else { &before.1.to_string() };
        let to = if n % 5 == 0 { &after.0 } else { &after.1.to_string() };
        // The size stays the same, and often the time of the change too: the clock of files ticks every few milliseconds.
        let how = ["some bytes in place", "the whole file in place", "another file in its place"]
            [usize::try_from(n % 3).expect("small")];
        let mut reader = Reader { what: how, peer: &mut peer, within: Duration::ZERO };
        reader.followed(id, (&before.0, before.1), (&after.0, after.1), || edit(&file, from, to, how));
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
