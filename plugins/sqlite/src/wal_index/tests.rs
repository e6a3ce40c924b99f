use super::*;

/// A connection as another program has it.
fn open(folder: &tempfile::TempDir, password: Option<&str>) -> Connection {
    let connection = Connection::open(folder.path().join("t.db")).expect("opens");
    if let Some(password) = password {
        connection.pragma_update(None, "key", password).expect("a key");
    }
    connection
}

fn sql(connection: &Connection, text: &str) {
    connection.execute_batch(text).expect(text);
}

fn checkpoint(connection: &Connection, mode: &str) {
    let busy = connection.query_row(&format!("PRAGMA wal_checkpoint({mode})"), [], |row| row.get::<_, i64>(0));
    assert_eq!(busy.expect(mode), 0, "{mode}");
}

#[test]
fn every_commit_moves_the_head_and_nothing_else_does_encrypted_or_not() {
    for password in [None, Some("tulip")] {
        let folder = tempfile::tempdir().expect("a folder");
        let writer = open(&folder, password);
        sql(&writer, "PRAGMA journal_mode = WAL; CREATE TABLE t (a)");
        let index = WalIndex::new(open(&folder, password)).expect("an index");
        let reader = open(&folder, password);
        let mut known = index.read().expect("a head");
        for round in 0..50 {
            sql(&writer, "BEGIN IMMEDIATE; INSERT INTO t VALUES (1)");
            assert!(index.is_still(&known), "{round}: not before the commit");
            sql(&writer, "COMMIT");
            assert!(!index.is_still(&known), "{round}");
            let now = index.read().expect("a head");
            assert!(!now.holds_the_same(&known), "{round}");
            known = now;
            let count: i64 = reader.query_row("SELECT count(*) FROM t", [], |row| row.get(0)).expect("a count");
            assert_eq!(count, round + 1);
            sql(&writer, "BEGIN IMMEDIATE; INSERT INTO t VALUES (1); ROLLBACK");
            checkpoint(&reader, "PASSIVE");
            assert!(index.is_still(&known), "{round}: reading, taking back and moving pages into the file change nothing");
        }
    }
}

#[test]
fn a_restarted_log_holds_the_same_until_something_is_written_to_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let writer = open(&folder, None);
    sql(&writer, "PRAGMA journal_mode = WAL; CREATE TABLE t (a)");
    let index = WalIndex::new(open(&folder, None)).expect("an index");
    let head = || index.read().expect("a head");
    for mode in ["RESTART", "TRUNCATE", "PASSIVE"] {
        sql(&writer, "INSERT INTO t VALUES (1)");
        let known = head();
        checkpoint(&writer, mode);
        assert!(head().holds_the_same(&known), "{mode}");
        let restarted = head();
        sql(&writer, "INSERT INTO t VALUES (2)");
        assert!(!head().holds_the_same(&known) && !head().holds_the_same(&restarted), "{mode}");
    }
}

#[test]
fn nobody_leaves_wal_mode_while_it_is_looked_at() {
    let folder = tempfile::tempdir().expect("a folder");
    let writer = open(&folder, None);
    sql(&writer, "PRAGMA journal_mode = WAL; CREATE TABLE t (a)");
    let index = WalIndex::new(open(&folder, None)).expect("an index");
    let known = index.read().expect("a head");
    writer.busy_timeout(std::time::Duration::ZERO).expect("a timeout");
    let mode = writer.query_row("PRAGMA journal_mode = DELETE", [], |row| row.get::<_, String>(0));
    assert!(mode.is_err() || mode.is_ok_and(|mode| mode == "wal"));
    assert!(index.is_still(&known));
    sql(&writer, "INSERT INTO t VALUES (1)");
    assert!(!index.is_still(&known));
}

#[test]
fn without_a_shared_index_the_connection_is_given_back() {
    let folder = tempfile::tempdir().expect("a folder");
    let other = open(&folder, None);
    sql(&other, "PRAGMA journal_mode = DELETE; CREATE TABLE t (a)");
    let back = WalIndex::new(open(&folder, None)).expect_err("a journal");
    assert!(back.query_row("SELECT count(*) FROM t", [], |row| row.get::<_, i64>(0)).is_ok(), "and it works");
    drop(back);
    assert!(WalIndex::new(Connection::open_in_memory().expect("memory")).is_err());
    let exclusive = open(&folder, None);
    sql(&exclusive, "PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = WAL; INSERT INTO t VALUES (1)");
    drop(other);
    assert!(WalIndex::new(exclusive).is_err(), "its index is memory of its own");
}

#[test]
fn a_head_of_which_one_copy_was_written_counts_as_changed() {
    let folder = tempfile::tempdir().expect("a folder");
    let writer = open(&folder, None);
    sql(&writer, "PRAGMA journal_mode = WAL; CREATE TABLE t (a); INSERT INTO t VALUES (1)");
    let index = WalIndex::new(open(&folder, None)).expect("an index");
    let known = index.read().expect("a head");
    for copy in index.copies() {
        for word in copy {
            // As a program that is killed between its two copies leaves it.
            let was = word.fetch_xor(1, Ordering::SeqCst);
            assert!(!index.is_still(&known));
            assert_eq!(index.read(), None);
            word.store(was, Ordering::SeqCst);
        }
    }
    index.copies()[1][2].fetch_add(1, Ordering::SeqCst);
    let reader = open(&folder, None);
    let count: i64 = reader.query_row("SELECT count(*) FROM t", [], |row| row.get(0)).expect("SQLite repairs it");
    assert_eq!(count, 1);
    assert!(index.read().is_some() && !index.is_still(&known), "and the repair is a change");
}
