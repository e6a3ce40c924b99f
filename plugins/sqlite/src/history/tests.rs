use super::*;

const CLIENTS: CollectionId = CollectionId(0);

fn keys(keys: impl IntoIterator<Item = i64>) -> Touched {
    keys.into_iter().map(|k| (CLIENTS, Key::Int(k))).collect()
}

/// A writer, a foreign program, and the history of the handle that the writer belongs to; once for each witness.
fn scenes(play: impl Fn(Connection, Connection, History)) {
    let new = |connection| Witness::new(Some(connection));
    for (witness, is_index) in [(&new as &dyn Fn(_) -> _, true), (&|c| Witness::Tracker(Mutex::new(c)), false)] {
        let folder = tempfile::tempdir().expect("a folder");
        let open = || Connection::open(folder.path().join("t.db")).expect("opens");
        let writer = open();
        writer.execute_batch("PRAGMA journal_mode = WAL; CREATE TABLE t (a)").expect("SQL");
        let witness = witness(open());
        assert_eq!(matches!(witness, Witness::Index(_)), is_index);
        play(writer, open(), History::witnessed_by(witness, 7));
    }
}

fn write(connection: &Connection) {
    connection.execute_batch("INSERT INTO t VALUES (1)").expect("SQL");
}

#[test]
fn a_foreign_commit_right_after_ours_is_not_taken_for_ours() {
    scenes(|writer, other, history| {
        let start = history.token();
        writer.execute_batch("BEGIN IMMEDIATE").expect("SQL");
        history.began(&writer);
        write(&writer);
        writer.execute_batch("COMMIT").expect("SQL");
        write(&other);
        let token = history.committed(&writer, Some(keys([1])));
        assert_eq!(history.since(CLIENTS, token).1, Changes::Everything);
        assert_eq!(history.since(CLIENTS, start).1, Changes::Everything);
        assert!(history.others_seen());
    });
}

#[test]
fn a_foreign_commit_right_before_ours_is_not_taken_for_ours() {
    scenes(|writer, other, history| {
        let start = history.token();
        write(&other);
        writer.execute_batch("BEGIN IMMEDIATE").expect("SQL");
        history.began(&writer);
        write(&writer);
        writer.execute_batch("COMMIT").expect("SQL");
        let token = history.committed(&writer, Some(keys([1])));
        assert_eq!(history.since(CLIENTS, start).1, Changes::Everything);
        assert_eq!(history.since(CLIENTS, token).1, Changes::Nothing);
    });
}

#[test]
fn our_commit_is_never_hidden_between_its_appearance_and_its_settling() {
    scenes(|writer, _, history| {
        let start = history.token();
        writer.execute_batch("BEGIN IMMEDIATE").expect("SQL");
        history.began(&writer);
        write(&writer);
        assert_eq!(history.since(CLIENTS, start).1, Changes::Nothing);
        writer.execute_batch("COMMIT").expect("SQL");
        assert_eq!(history.since(CLIENTS, start), (start, Changes::Everything));
        assert_eq!(history.unknown_changes(), None);
        history.committed(&writer, Some(keys([1])));
        assert_eq!(history.since(CLIENTS, start).1, Changes::Keys(vec![Key::Int(1)]), "and then its keys are known");
        assert!(!history.others_seen());
    });
}

#[test]
fn what_only_restarts_the_log_is_no_change() {
    let folder = tempfile::tempdir().expect("a folder");
    let open = || Connection::open(folder.path().join("t.db")).expect("opens");
    let (writer, other) = (open(), open());
    writer.execute_batch("PRAGMA journal_mode = WAL; CREATE TABLE t (a)").expect("SQL");
    let history = History::new(Some(open())).expect("a history");
    write(&other);
    let (start, _) = history.since(CLIENTS, history.token());
    for _ in 0..3 {
        other.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).expect("SQL");
        assert_eq!(history.since(CLIENTS, start), (start, Changes::Nothing));
    }
    // Our own transaction restarts it before it commits, and may take that long.
    write(&other);
    let (start, _) = history.since(CLIENTS, start);
    other.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(())).expect("SQL");
    writer.execute_batch("PRAGMA cache_size = 1; PRAGMA cache_spill = 1; BEGIN IMMEDIATE").expect("SQL");
    history.began(&writer);
    let many = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5000) INSERT INTO t SELECT i FROM n";
    writer.execute_batch(many).expect("SQL");
    assert_ne!(history.seen().head, history.seen().witness.ask().and_then(head), "restarted");
    assert_eq!(history.since(CLIENTS, start), (start, Changes::Nothing));
    writer.execute_batch("ROLLBACK").expect("SQL");
    history.ended();
    assert_eq!(history.since(CLIENTS, start), (start, Changes::Nothing));
}

fn head(testimony: Testimony) -> Option<Head> {
    match testimony {
        Testimony::Head(head) => Some(head),
        _ => None,
    }
}

#[test]
fn what_commits_by_itself_hides_no_foreign_commit_and_is_settled_after_a_panic() {
    scenes(|writer, other, history| {
        let start = history.token();
        {
            let _outside = history.outside(&writer);
            writer.execute_batch("VACUUM").expect("SQL");
        }
        assert_eq!(history.since(CLIENTS, start).1, Changes::Nothing, "no record changed");
        {
            let _outside = history.outside(&writer);
            write(&other);
            writer.execute_batch("PRAGMA wal_checkpoint").expect("SQL");
        }
        assert_eq!(history.since(CLIENTS, start).1, Changes::Everything);
        let before = history.token();
        let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let _outside = history.outside(&writer);
            panic!("in what was done");
        }));
        assert!(ended.is_err() && !history.state().writing);
        assert_eq!(history.since(CLIENTS, before).1, Changes::Nothing);
    });
}
