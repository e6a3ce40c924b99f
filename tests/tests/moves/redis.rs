//! All records through Redis: from JSON to SQLite, on to Redis, and back to JSON.

use super::*;

/// Records that nobody can read.
const UNREADABLE: [(u64, &str); 2] =
    [(77, r#"{"client_id": 77, "api_key": "u77", "is_admin": "maybe"}"#), (3000, r#"{"client_id": 3000, "api_key": 5}"#)];

/// The options that make a JSON store of another folder the target.
const BACK: [&str; 6] = ["--from", "redis", "--to", "json", "--to-setting", "subfolder=hivemind-core/back"];

fn migrate(operator: &Operator, words: &[&str]) -> Ended {
    operator.run(&[&["migrate-db"], words].concat())
}

fn revoked(text: &str) -> String {
    UNREADABLE.iter().fold(text.to_owned(), |text, (id, damaged)| {
        text.replace(damaged, &format!(r#"{{"client_id": {id}, "api_key": "revoked"}}"#))
    })
}

#[test]
fn three_thousand_clients_come_back_through_sqlite_and_redis_as_they_went() {
    let server = Server::start(&[]);
    let text = UNREADABLE.iter().fold(many(3000), |text, (id, damaged)| text.replace(&record(*id), damaged));
    let operator = with_json_and_redis(&text, &server);
    let expected = operator.write("expected.json", revoked(&text).as_bytes());
    migrate(&operator, &["--leave-behind"]).well();
    // Looking leaves no trace but an empty, prepared namespace.
    let looked = migrate(&operator, &["--from", "sqlite", "--to", "redis", "--dry-run"]).well();
    assert!(looked.contains("3000 client(s)") && looked.contains("It can be done"), "{looked}");
    assert!(server.dump("client:client:").0.is_empty());
    let said = migrate(&operator, &["--from", "sqlite", "--to", "redis"]).well();
    assert!(said.contains(&format!("Migrated 3000 client(s) from {SQLITE} to {REDIS}.")) && said.contains("Checked"), "{said}");
    assert_same(&expected, &in_redis(&server), &[]);
    assert_counters(&server, 3000);
    // Nothing is left to be repaired, and no mark.
    assert!(operator.run(&["db", "verify", "--db-backend", "redis"]).well().contains("; 3000 records"));
    migrate(&operator, &BACK).well();
    let back = operator.data().join("back/clients.json");
    assert_same(&expected, &back, &[]);
    assert_same(&in_redis(&server), &back, &[]);
    let said = migrate(&operator, &BACK).well();
    assert!(said.contains("nothing was written"), "{said}");
}

fn assert_counters(server: &Server, count: u64) {
    let dump = server.dump("client:");
    let count = count.to_string();
    assert_eq!((dump.text("client:count"), dump.text("client:id_seq")), (Some(&*count), Some(&*count)));
}

#[test]
fn what_cannot_be_read_in_redis_is_named_and_stays_behind() {
    let server = Server::start(&[]);
    let text = many(40);
    let operator = with_json_and_redis(&text, &server);
    migrate(&operator, &["--to", "redis"]).well();
    for (id, damaged) in [("7", "{broken"), ("9", r#"{"client_id": 10, "api_key": "x"}"#), ("11", "\"\"")] {
        server.ask::<()>(&["SET", &format!("client:client:{id}"), damaged]);
    }
    server.ask::<()>(&["DEL", "client:client:40"]);
    server.ask::<()>(&["RPUSH", "client:client:40", "no string"]);
    let before = server.dump("client:client:");
    let names =
        ["clients 7 cannot be read", "clients 9 cannot be read", "clients 11 cannot be read", "clients 40 cannot be read"];
    migrate(&operator, &BACK).fails(8, &[&["error[not-carried]", "4 records"], &names[..]].concat());
    let ended = migrate(&operator, &[&BACK[..], &["--leave-behind"]].concat());
    assert_eq!(ended.err.matches("left behind").count(), 4, "{ended:?}");
    ended.well();
    let mut expected = text;
    for id in [7, 9, 11, 40] {
        expected = expected.replace(&record(id), &format!(r#"{{"client_id": {id}, "api_key": "revoked"}}"#));
    }
    let expected = operator.write("expected.json", expected.as_bytes());
    assert_same(&expected, &operator.data().join("back/clients.json"), &[]);
    assert_eq!(server.dump("client:client:"), before, "the source is untouched");
    // What cannot be read is never written over, whatever is said.
    migrate(&operator, &["--to", "redis", "--replace"]).fails(8, &["of the target", "cannot be read"]);
    assert_eq!(server.dump("client:client:").0.len(), 41, "it is marked");
    assert_marked(&operator, "redis");
}

#[test]
fn a_target_that_holds_something_is_merged_with_or_replaced() {
    let server = Server::start(&[]);
    let operator = with_json_and_redis(&few(&[(1, "x"), (2, "b"), (4, "c"), (6, "f")]), &server);
    for key in ["a", "b", "c"] {
        operator.run(&["add-client", "--db-backend", "redis", "--access-key", key]).well();
    }
    let there = listed(&operator, &["--db-backend", "redis"]);
    migrate(&operator, &["--to", "redis"]).fails(7, &["error[target-not-empty]", "--merge", "--replace"]);
    let conflicts =
        ["clients 1 is another one there", "clients 2 is another one there", "clients 4 has the api_key of clients 3 there"];
    migrate(&operator, &["--to", "redis", "--merge"]).fails(7, &conflicts);
    assert_eq!(listed(&operator, &["--db-backend", "redis"]), there);
    migrate(&operator, &["--to", "redis", "--merge", "--prefer", "source"]).well();
    let named = |all: &[(u64, &str)]| all.iter().map(|(id, key)| (*id, (*key).to_owned())).collect::<Vec<_>>();
    let merged = [(1, "x"), (2, "b"), (3, "revoked"), (4, "c"), (5, "revoked"), (6, "f")];
    assert_eq!(listed(&operator, &["--db-backend", "redis"]), named(&merged));
    operator.write("data/hivemind-core/clients.json", few(&[(1, "c"), (2, "x")]).as_bytes());
    migrate(&operator, &["--to", "redis", "--replace"]).well();
    assert_eq!(listed(&operator, &["--db-backend", "redis"]), named(&[(1, "c"), (2, "x")]));
    assert_counters(&server, 2);
    assert_same(&store(&operator, JSON), &in_redis(&server), &[]);
    operator.run(&["db", "verify", "--db-backend", "redis"]).well();
}

#[test]
fn one_namespace_is_no_move_and_another_one_is() {
    let server = Server::start(&[]);
    let operator = with_json_and_redis(&few(&[(1, "a"), (2, "b")]), &server);
    migrate(&operator, &["--to", "redis"]).well();
    migrate(&operator, &["--from", "redis", "--to", "redis"]).fails(2, &["the same store"]);
    migrate(&operator, &["--from", "redis", "--to", "redis", "--to-setting", "index_prefix=other"]).well();
    assert_eq!(server.dump("other:client:").0.len(), 2);
    let said = migrate(&operator, &["--from", "redis", "--to", "redis", "--to-setting", "db=3", "--switch"]).well();
    assert!(said.contains(&format!("names {REDIS} now")), "{said}");
    let config: Value = serde_json::from_slice(&std::fs::read(operator.config()).expect("read")).expect("JSON");
    assert_eq!((&config["database"]["module"], &config["database"][REDIS]["db"]), (&json!(REDIS), &json!(3)), "{config}");
    assert_eq!(listed(&operator, &[]).len(), 2);
}

#[test]
fn a_mark_in_redis_is_for_the_source_that_left_it() {
    let server = Server::start(&[]);
    let operator = with_json_and_redis(&few(&[(1, "a"), (2, "b")]), &server);
    // As a kill leaves it.
    let mark = |from: &str| json!({"client_id": 0, "api_key": "revoked", "name": "", "metadata": {"hivemind_migration": {"from": from, "mode": "copy"}}});
    operator.run(&["list-clients", "--db-backend", "redis"]).well();
    server.ask::<()>(&["SET", "client:client:0", &mark("somewhere else").to_string()]);
    server.ask::<()>(&["SET", "client:count", "1"]);
    assert_marked(&operator, "redis");
    migrate(&operator, &["--to", "redis"]).fails(5, &["error[migrating]", "somewhere else", "--replace"]);
    let own = format!("{JSON} ({})", store(&operator, JSON).display());
    server.ask::<()>(&["SET", "client:client:0", &mark(&own).to_string()]);
    migrate(&operator, &["--to", "redis"]).well();
    assert_same(&store(&operator, JSON), &in_redis(&server), &[]);
    assert_counters(&server, 2);
}

/// The Python node could index no client beside one without a name.
#[test]
fn a_client_that_redis_does_not_take_is_named() {
    let server = Server::start(&[]);
    let operator = with_json_and_redis(&few(&[(1, "a"), (2, "b")]), &server);
    migrate(&operator, &[]).well();
    rusqlite::Connection::open(store(&operator, SQLITE))
        .and_then(|c| c.execute("UPDATE clients SET name = NULL WHERE client_id = 2", []))
        .expect("changed");
    let ended = migrate(&operator, &["--from", "sqlite", "--to", "redis"]);
    ended.fails(1, &["name of clients 2 must be a text, found nil"]);
    // It may be mended in the source, and the same command goes on.
    rusqlite::Connection::open(store(&operator, SQLITE))
        .and_then(|c| c.execute("UPDATE clients SET name = 'b' WHERE client_id = 2", []))
        .expect("changed");
    migrate(&operator, &["--from", "sqlite", "--to", "redis"]).well();
    assert_counters(&server, 2);
}
