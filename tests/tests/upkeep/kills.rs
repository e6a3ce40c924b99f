//! `kill -9` in the middle of a backup, a restore, a rekey, a vacuum: what was stored is there, whole, old or new, and the next command
//! goes on from it.

use std::process::Stdio;
use std::time::{Duration, Instant};

use super::*;

/// Kills of each command.
const ROUNDS: u32 = 12;
const CLIENTS: usize = 1500;

/// A store of many clients whose names end in `mark`, and a second collection that nobody prepares.
fn filled(store: Store, mark: &str) -> Operator {
    let json = PLAIN[1].operator();
    let operator = Store { password: None, ..store }.operator();
    let record =
        |n: usize| (n.to_string(), json!({"client_id": n, "api_key": format!("key-{n}"), "name": format!("{n}-{mark}")}));
    let records: serde_json::Map<_, _> = (1..=CLIENTS).map(record).collect();
    let to = if store.module == JSON { &operator } else { &json };
    to.write("data/hivemind-core/clients.json", Value::Object(records).to_string().as_bytes());
    to.write("data/hivemind-core/clients.schema_version", b"2");
    to.write("data/hivemind-core/notes.json", json!({"n": {"mark": mark}}).to_string().as_bytes());
    to.write("data/hivemind-core/notes.schema_version", b"1");
    files(&to.data()).iter().for_each(|file| hivemind_tests::set_mode(file, 0o600));
    if store.module == SQLITE {
        operator.run(&["list-clients"]).well();
        let connection = rusqlite::Connection::open(store.file(&operator)).expect("opens");
        let fill = format!(
            "WITH RECURSIVE n(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < {CLIENTS}) INSERT INTO clients \
             (client_id, api_key, name, description) SELECT n, 'key-' || n, n || '-{mark}', hex(zeroblob(200)) FROM n; \
             CREATE TABLE notes (mark TEXT); INSERT INTO notes VALUES ('{mark}')"
        );
        connection.execute_batch(&fill).expect("filled");
    }
    if store.password.is_some() {
        let secret = operator.write("secret", PASSWORD.as_bytes());
        operator.run(&["db", "rekey", "--switch", "--password-file", text(&secret)]).well();
    }
    operator
}

/// The one mark that all records bear.
fn mark(operator: &Operator, store: Store) -> String {
    let clients = operator.clients();
    assert_eq!(clients.len(), CLIENTS);
    let mut marks: Vec<&str> = clients.iter().filter_map(|c| c["name"].as_str()?.split('-').nth(1)).collect();
    marks.sort_unstable();
    marks.dedup();
    assert_eq!(marks.len(), 1, "some records are old and some new: {marks:?}");
    if let Store { module: JSON, password: None } = store {
        let notes = parsed(&std::fs::read_to_string(operator.data().join("notes.json")).expect("read"));
        assert_eq!(notes["n"]["mark"], marks[0], "one file is old and one new");
    }
    marks[0].to_owned()
}

/// Starts a command and kills it after a part of the time that it takes; whether it had ended before.
fn killed(operator: &Operator, words: &[&str], after: Duration) -> bool {
    let mut command = operator.command(words);
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("the program starts");
    std::thread::sleep(after);
    let ended = child.try_wait().expect("a state").is_some();
    let _ = child.kill();
    child.wait().expect("ended");
    ended
}

/// How long a command takes that is let be.
fn duration(operator: &Operator, words: &[&str]) -> Duration {
    let since = Instant::now();
    operator.run(words).well();
    since.elapsed()
}

/// Kills a command so many times at moments between its start and its end, and checks after each.
fn kills(operator: &Operator, words: &[&str], mut takes: Duration, mut check: impl FnMut(u32)) {
    let mut cut = 0;
    for round in 0..ROUNDS * 6 {
        if cut == ROUNDS {
            return;
        }
        // It may be faster than it was when nobody was to kill it: the machine has other work too.
        if killed(operator, words, takes * (cut + 1) / (ROUNDS + 1)) {
            takes = takes * 3 / 4;
        } else {
            cut += 1;
        }
        check(round);
    }
    panic!("{words:?} was cut {cut} times only");
}

/// What is left of copies that were cut is cleared away by a repair.
fn assert_cleared(operator: &Operator) {
    operator.run(&["db", "repair", "--no-backup"]).well();
    // The database's own journal may be there, with nothing in it, where the kill came between its making and its first page.
    let is_empty = |file: &Path| std::fs::metadata(file).is_ok_and(|meta| meta.len() == 0);
    let is_own = |file: &Path| file.ends_with("clients.db-journal") && is_empty(file);
    let left: Vec<_> = files(&operator.data())
        .into_iter()
        .filter(|file| text(file).ends_with(".tmp") || text(file).ends_with("journal") && !is_own(file))
        .collect();
    assert!(left.is_empty(), "{left:?}");
    assert_private(operator);
}

fn backup(store: Store) {
    let operator = filled(store, "a");
    let first = operator.home().join("first.backup");
    let takes = duration(&operator, &["backup", text(&first)]);
    let folder = operator.home().join("backups");
    std::fs::create_dir(&folder).expect("a folder");
    kills(&operator, &["backup", text(&folder)], takes, |_| {
        for file in files(&folder) {
            assert_eq!(mode(&file), 0o600);
            // What was cut has a dot in front: a copy, and what SQLite keeps beside it.
            if !file.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b".")) {
                operator.run(&["db", "verify", text(&file)]).well();
            }
        }
    });
    assert_eq!(mark(&operator, store), "a");
}

fn restore(store: Store) {
    let (operator, other) = (filled(store, "a"), filled(store, "b"));
    let (a, b) = (operator.home().join("a.backup"), operator.home().join("b.backup"));
    operator.run(&["backup", text(&a)]).well();
    other.run(&["backup", text(&b)]).well();
    let takes = duration(&operator, &["restore", text(&b), "--yes", "--no-keep"]);
    operator.run(&["restore", text(&a), "--yes", "--no-keep"]).well();
    let mut seen = Vec::new();
    let words = ["restore", text(&b), "--yes"];
    kills(&operator, &words, takes, |_| {
        seen.push(mark(&operator, store));
        operator.run(&["restore", text(&a), "--yes", "--no-keep"]).well();
        assert_eq!(mark(&operator, store), "a");
    });
    assert!(seen.iter().all(|mark| mark == "a" || mark == "b"), "{seen:?}");
    assert_cleared(&operator);
}

fn rekey(store: Store) {
    let operator = filled(store, "a");
    let secret = operator.write("second", b"MARK-another-one");
    let changed = Store { password: Some("MARK-another-one"), ..store };
    let rekey = ["db", "rekey", "--password-file", text(&secret)];
    let back = |operator: &Operator| {
        let first = operator.write("first", PASSWORD.as_bytes());
        changed.configure(operator);
        if store.module == JSON && store.password.is_none() {
            // The old form goes file by file, the clients first. What a cut left of it is in the way, and is named by the command.
            let _ = std::fs::remove_file(operator.data().join("notes.json"));
        }
        match store.password {
            None => operator.run(&["db", "rekey", "--decrypt"]).well(),
            Some(_) => operator.run(&["db", "rekey", "--password-file", text(&first)]).well(),
        };
        store.configure(operator);
    };
    let takes = duration(&operator, &rekey);
    back(&operator);
    kills(&operator, &rekey, takes, |round| {
        let old = operator.run(&["list-clients"]).code == 0;
        if old {
            assert_eq!(mark(&operator, store), "a");
        }
        changed.configure(&operator);
        let new = operator.run(&["list-clients"]).code == 0;
        assert!(old || new, "round {round}: neither password opens it");
        if new && !old {
            assert_eq!(mark(&operator, changed), "a");
            back(&operator);
        }
        store.configure(&operator);
        if store.module == JSON && store.password.is_none() {
            // Both forms may be there; the old one is in force until it is gone.
            for name in ["clients.ejson", "notes.ejson"] {
                let _ = std::fs::remove_file(operator.data().join(name));
            }
        }
    });
    assert_eq!(mark(&operator, store), "a");
    assert_cleared(&operator);
}

#[test]
fn a_backup_of_sqlite() {
    backup(PLAIN[0]);
}

#[test]
fn a_backup_of_json() {
    backup(PLAIN[1]);
}

#[test]
fn a_restore_of_sqlite() {
    restore(PLAIN[0]);
}

#[test]
fn a_restore_of_json() {
    restore(PLAIN[1]);
}

#[test]
fn a_restore_of_encrypted_sqlite() {
    restore(ENCRYPTED[0]);
}

#[test]
fn a_rekey_of_sqlite() {
    rekey(PLAIN[0]);
}

#[test]
fn a_rekey_of_encrypted_sqlite() {
    rekey(ENCRYPTED[0]);
}

#[test]
fn a_rekey_of_json() {
    rekey(PLAIN[1]);
}

#[test]
fn a_vacuum_of_sqlite() {
    let store = PLAIN[0];
    let operator = filled(store, "a");
    let takes = duration(&operator, &["db", "vacuum"]);
    kills(&operator, &["db", "vacuum"], takes, |_| assert_eq!(mark(&operator, store), "a"));
    operator.run(&["db", "verify"]).well();
    assert_cleared(&operator);
}

/// A copy in clear must not lie about until somebody thinks of a repair.
#[test]
fn what_a_killed_decryption_left_is_gone_with_the_next_one() {
    for store in ENCRYPTED {
        let operator = filled(store, "a");
        let left = || -> Vec<PathBuf> { files(&operator.data()).into_iter().filter(|f| text(f).ends_with(".tmp")).collect() };
        let words = ["db", "rekey", "--decrypt"];
        let mut tries = 0;
        while left().is_empty() {
            tries += 1;
            assert!(tries < 200, "{store:?}: no kill left anything");
            let mut command = operator.command(&words);
            let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("the program starts");
            hivemind_tests::waiting::wait_until("it writes", || {
                !left().is_empty() || child.try_wait().expect("a state").is_some()
            });
            let _ = child.kill();
            child.wait().expect("ended");
            if operator.run(&["list-clients"]).code != 0 || !store.file(&operator).exists() {
                // It was done already.
                Store { password: None, ..store }.configure(&operator);
                let secret = operator.write("secret", PASSWORD.as_bytes());
                operator.run(&["db", "rekey", "--password-file", text(&secret)]).well();
                store.configure(&operator);
            }
        }
        left().iter().for_each(|file| assert_eq!(mode(file), 0o600));
        operator.run(&words).well();
        assert!(left().is_empty(), "{store:?}: {:?}", left());
        let plain = Store { password: None, ..store };
        plain.configure(&operator);
        assert_eq!(mark(&operator, plain), "a");
    }
}
