//! The checks of these tests themselves can fail: each kind of loss is made on purpose, by a write past both programs.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use hivemind_tests::together::expected;
use hivemind_tests::together::log;

use super::*;

/// The problems that are found in a store after a short run of one worker, once this statement has damaged it. A run on a machine that
/// has no time may leave nothing to damage; then the next one is longer.
fn after_a_run(sql: &str) -> Vec<String> {
    for ms in [1000, 4000, 16_000, 64_000] {
        let operator = Place::new(SQLITE);
        let logs = operator.home().join("logs");
        let part = json!({"op": "beside", "by": "ours", "logs": logs, "threads": 2, "ms": ms, "shared": []});
        let mut worker = worker(&operator);
        worker.ask(&part);
        let entries = log::read_all(&logs);
        assert_eq!(expected::problems(&entries, &operator.clients()), Vec::<String>::new());
        let db = rusqlite::Connection::open(operator.data().join("clients.db")).expect("the database");
        if db.execute(sql, []).expect(sql) > 0 {
            return expected::problems(&entries, &operator.clients());
        }
    }
    panic!("{sql} found nothing to damage");
}

#[test]
fn an_update_that_is_lost_is_found_with_its_client_and_its_writer() {
    // As a program does that writes a whole row from an earlier copy.
    let found = after_a_run(
        "UPDATE clients SET metadata = '{}' WHERE client_id = (SELECT min(client_id) FROM clients WHERE metadata <> '{}')",
    );
    let [what] = &found[..] else { panic!("one problem, not {found:#?}") };
    for part in ["client ", "metadata: expected {\"ours-", "found {}", "at 1", "by ours-"] {
        assert!(what.contains(part), "{part} in {what}");
    }
}

#[test]
fn a_client_that_is_lost_one_that_comes_back_and_one_that_nobody_added_are_found() {
    let found = after_a_run("DELETE FROM clients WHERE client_id = 2");
    assert!(found.iter().any(|what| what.contains("client 2: it was added and is not there")), "{found:#?}");
    assert!(found.iter().any(|what| what.contains("the ids are not 1 to")), "{found:#?}");
    let found = after_a_run(
        "UPDATE clients SET api_key = 'back' WHERE client_id = (SELECT min(client_id) FROM clients WHERE api_key = 'revoked')",
    );
    assert!(found.iter().any(|what| what.contains("api_key: expected \"revoked\", found \"back\"")), "{found:#?}");
    let found = after_a_run("INSERT INTO clients (client_id, api_key) SELECT max(client_id) + 1, min(api_key) FROM clients");
    assert!(found.iter().any(|what| what.contains("nobody was told")), "{found:#?}");
    assert!(found.iter().any(|what| what.contains("both have the access key")), "{found:#?}");
}

#[test]
fn a_worker_notices_an_update_that_is_lost_while_it_runs() {
    let operator = Place::new(SQLITE);
    let logs = operator.home().join("logs");
    let mut worker = worker(&operator);
    worker.tell(&json!({"op": "beside", "by": "ours", "logs": logs, "threads": 1, "ms": 60_000, "shared": []}));
    let noticed = AtomicBool::new(false);
    let error = thread::scope(|scope| {
        // Again and again: one loss may fall between the worker's look at a client and its taking back of all that was lost.
        scope.spawn(|| {
            while !noticed.load(Ordering::Relaxed) {
                lose_types(&operator);
                thread::sleep(Duration::from_millis(1));
            }
        });
        let answer = worker.answer();
        noticed.store(true, Ordering::Relaxed);
        answer.expect_err("it must notice")
    });
    // What it found may hold a type that it granted after the loss.
    assert!(error.contains("this thread left the types {") && error.contains(", found {"), "{error}");
}

/// Takes the types of all clients that have any, as soon as there is a store.
fn lose_types(operator: &Place) {
    let path = operator.data().join("clients.db");
    let Ok(db) = rusqlite::Connection::open_with_flags(&path, rusqlite::OpenFlags::SQLITE_OPEN_READ_WRITE) else { return };
    let _ = db.busy_timeout(Duration::from_secs(10));
    let _ = db.execute("UPDATE clients SET allowed_types = '[]' WHERE allowed_types <> '[]' AND api_key <> 'revoked'", []);
}
