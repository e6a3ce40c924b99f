//! What is refused, and that nothing is changed then.

use super::*;

#[test]
fn a_target_that_holds_others_is_refused_and_left_as_it_is() {
    let operator = with_json(&few(&[(1, "a")]));
    operator.run(&["add-client", "--db-backend", "sqlite", "--access-key", "other"]).well();
    operator.run(&["migrate-db"]).fails(7, &["error[target-not-empty]", "--merge", "--replace"]);
    let looked = operator.run(&["migrate-db", "--dry-run"]).well();
    assert!(looked.contains("would be refused"), "{looked}");
    assert_eq!(listed(&operator, &["--db-backend", "sqlite"]), [(1, "other".to_owned())]);
    operator.run(&["migrate-db", "--replace"]).well();
    assert_eq!(listed(&operator, &["--db-backend", "sqlite"]), [(1, "a".to_owned())]);
}

#[test]
fn stores_that_forget_and_stores_that_are_one_are_no_move() {
    let operator = with_json(&few(&[(1, "a")]));
    operator.run(&["migrate-db", "--to", "memory"]).fails(2, &["error[not-durable]", "target"]);
    operator.run(&["migrate-db", "--from", "memory"]).fails(2, &["error[not-durable]", "source"]);
    operator.run(&["migrate-db", "--from", "json", "--to", "json"]).fails(2, &["the same store"]);
    operator.run(&["migrate-db", "--from", "sqlite", "--to", "json"]).fails(2, &["error[no-source]", "--from"]);
    operator.run(&["migrate-db", "--merge", "--replace"]).fails(2, &["--replace"]);
    operator.run(&["migrate-db", "--prefer", "source"]).fails(2, &["--merge"]);
    for (setting, said) in
        [("password=hunter2hunter2", "password_file=PATH"), ("name", "NAME=VALUE"), ("nmae=x", "did you mean `name`")]
    {
        let ended = operator.run(&["migrate-db", "--to-setting", setting]);
        assert!(ended.err.contains(said) && !ended.err.contains("hunter2"), "{ended:?}");
        assert!(matches!(ended.code, 2 | 3), "{ended:?}");
    }
    assert!(!store(&operator, SQLITE).exists());
}

#[test]
fn access_keys_that_stand_there_twice_stay_behind_with_the_higher_id() {
    let operator = with_json(&few(&[(1, "a"), (2, "twice"), (3, "twice"), (4, "b"), (5, "twice")]));
    operator.run(&["migrate-db"]).fails(8, &["error[not-carried]", "clients 3 has the api_key of clients 2", "clients 5 has"]);
    assert!(!store(&operator, SQLITE).exists());
    operator.run(&["migrate-db", "--leave-behind"]).well();
    let expected = [(1, "a"), (2, "twice"), (3, "revoked"), (4, "b"), (5, "revoked")].map(|(id, key)| (id, key.to_owned()));
    assert_eq!(listed(&operator, &["--db-backend", "sqlite"]), expected);
}

/// Nothing is left out without a word, whatever it is.
#[test]
fn what_stands_among_the_clients_and_is_none_is_named() {
    let operator = with_json(r#"{"1": {"client_id": 1, "api_key": "a"}, "x": {"client_id": 2, "api_key": "b"}, "3": 5, "y": 6}"#);
    operator
        .run(&["migrate-db"])
        .fails(8, &["error[not-carried]", "3 records", "clients 2 cannot be read", "clients 3 cannot be read", "\"y\""]);
    assert!(!store(&operator, SQLITE).exists());
    let ended = operator.run(&["migrate-db", "--leave-behind"]);
    assert_eq!(ended.err.matches("left behind").count(), 3, "{ended:?}");
    assert_eq!(ended.code, 0);
    let expected = [(1, "a"), (2, "revoked"), (3, "revoked")].map(|(id, key)| (id, key.to_owned()));
    assert_eq!(listed(&operator, &["--db-backend", "sqlite"]), expected);
}

#[test]
fn an_id_far_out_is_named_and_not_filled_up_to() {
    let operator = with_json(&few(&[(1, "a"), (9_000_000_000, "b")]));
    operator.run(&["migrate-db", "--leave-behind"]).fails(8, &["error[not-carried]", "9000000000"]);
    assert!(!store(&operator, SQLITE).exists());
}

#[test]
fn a_marked_store_is_refused_until_it_is_whole_and_another_source_does_not_go_on_with_it() {
    let operator = with_json(&many(500));
    // Of another home, so that it is another source.
    let other = with_json(&few(&[(1, "a")]));
    let target = operator.data().join("clients.db");
    let path = format!("db_path={}", target.display());
    cut_short(&other, &path);
    assert_marked(&operator, "sqlite");
    operator.run(&["migrate-db"]).fails(5, &["error[migrating]", "--replace"]);
    operator.run(&["migrate-db", "--replace"]).well();
    assert_same(&store(&operator, JSON), &target, &[]);
    other.run(&["migrate-db", "--to-setting", &path]).fails(7, &["error[target-not-empty]"]);
}

/// Leaves a marked target behind, as a kill does.
fn cut_short(operator: &Operator, path: &str) {
    // The source cannot stand still in one round, and the command gives up: as good as killed.
    let source = operator.data().join("clients.json");
    let text = std::fs::read_to_string(&source).expect("the store");
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let _stop = hivemind_tests::waiting::StopOnDrop(&stop);
        scope.spawn(|| {
            let mut n = 0;
            while !stop.load(std::sync::atomic::Ordering::SeqCst) {
                n += 1;
                let changed = text.replace("\"pw\"", &format!("\"pw{n}\""));
                let staged = operator.write("data/hivemind-core/staged", changed.as_bytes());
                std::fs::rename(staged, &source).expect("renamed");
                std::thread::sleep(std::time::Duration::from_millis(1));
            }
        });
        let ended = operator.run(&["migrate-db", "--rounds", "2", "--to-setting", path]);
        ended.fails(5, &["error[source-changing]", "run the command again"]);
    });
}
