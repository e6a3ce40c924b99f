//! Files of older writers, and rows that nobody can read.

mod common;

use common::*;
use hivemind_abi::model::{Backend, Change, Code, Condition, Index, Key, Kind, Mutation, Op, Query, Row, Task, Value, ValueRef};

/// The clients of an old file: one for each rule of the migration. `metadata` is the last column, or missing in the oldest files.
fn legacy(metadata: bool) -> String {
    let rows: [(&str, &str); 6] = [
        (
            "1, 'k1', 'HiveMind-Node-0', '', 0, 1718035200.25, '[]', '[]', '[]', '[\"speak\"]', 'a1b2c3d4e5f60718', 'kettle', 1, 1, 1",
            "{}",
        ),
        (
            "2, 'k2', 'Küche 厨房 🐝', 'a \"b\"', 1, 1721900000.0, '[]', '[]', '[]', '[]', '', 'Grüße', 1, 1, 1",
            r#"{"raum": "K\u00fcche", "größe": 1.5}"#,
        ),
        (
            "3, 'k3', 'kitchen-pi', '', 0, -1, '[\"a:secret\"]', '[\"shutdown\"]', '[\"speak\"]', '[]', '0011223344556677', 'v', 0, 0, 1",
            "{}",
        ),
        (
            "4, 'k4', NULL, NULL, 0, -1, '[\"kept:intent\"]', '[\"from-column\"]', '[]', '[]', NULL, NULL, 1, 1, 0",
            r#"{"skill_blacklist": ["from-metadata"], "message_blacklist": ["old"], "noise_pubkey": "abab"}"#,
        ),
        ("5, 'revoked', '', '', 0, -1, '[]', '[]', '[]', '[]', NULL, NULL, 1, 1, 1", "{}"),
        ("6, 'k6', 'odd', '', 0, -1, '[]', '[]', '[]', '[]', NULL, 'granite', 1, 1, 1", r#"["not", "an", "object"]"#),
    ];
    let last = if metadata { ", metadata TEXT" } else { "" };
    let mut sql = format!(
        "CREATE TABLE clients (client_id INTEGER PRIMARY KEY, api_key VARCHAR(255) NOT NULL, name VARCHAR(255), \
         description VARCHAR(255), is_admin BOOLEAN DEFAULT FALSE, last_seen REAL DEFAULT -1, intent_blacklist TEXT, \
         skill_blacklist TEXT, message_blacklist TEXT, allowed_types TEXT, crypto_key VARCHAR(16), password TEXT, \
         can_broadcast BOOLEAN DEFAULT TRUE, can_escalate BOOLEAN DEFAULT TRUE, can_propagate BOOLEAN DEFAULT TRUE{last});"
    );
    for (values, meta) in rows {
        let meta = if metadata { format!(", '{meta}'") } else { String::new() };
        sql.push_str(&format!("INSERT INTO clients VALUES ({values}{meta});"));
    }
    sql
}

fn metadata(row: &Row) -> String {
    row.view(&clients()).expect("a view").get("metadata").and_then(ValueRef::as_str).expect("metadata").to_owned()
}

#[test]
fn an_old_file_is_migrated_once_and_its_empty_columns_stay_for_old_writers() {
    let folder = Folder::new();
    folder.written(&format!("PRAGMA journal_mode = WAL; {}", legacy(true)));
    for opened in 0..2 {
        let (store, id) = folder.clients();
        let row = |key| get(&store, id, key).expect("a client");
        assert_eq!(metadata(&row(1)), r#"{"crypto_key": "a1b2c3d4e5f60718"}"#);
        assert_eq!(metadata(&row(2)), r#"{"raum": "K\u00fcche", "größe": 1.5, "crypto_key": ""}"#);
        let third = metadata(&row(3));
        assert!(third.contains(r#""intent_blacklist": ["a:secret"]"#) && third.contains(r#""skill_blacklist": ["shutdown"]"#));
        assert!(third.contains(r#""crypto_key": "0011223344556677""#) && !third.contains("message_blacklist"), "{third}");
        assert_eq!(
            metadata(&row(4)),
            r#"{"skill_blacklist": ["from-metadata"], "noise_pubkey": "abab", "intent_blacklist": ["kept:intent"]}"#
        );
        assert_eq!((metadata(&row(5)).as_str(), metadata(&row(6)).as_str()), ("{}", "{}"));
        let shown = shown(&row(2));
        assert!(shown.contains("Küche 厨房 🐝") && shown.contains(r#""is_admin": true"#), "{shown}");
        store.close(&CX).expect("closes");

        let other = folder.other_program();
        let (version, left): (i64, i64) = other
            .query_row(
                "SELECT (SELECT user_version FROM pragma_user_version), (SELECT count(*) FROM clients WHERE \
                 coalesce(intent_blacklist, skill_blacklist, message_blacklist, crypto_key) IS NOT NULL)",
                [],
                |r| Ok((r.get(0)?, r.get(1)?)),
            )
            .expect("SQL");
        assert_eq!((version, left), (2, 0), "opened {opened} times before");
    }
}

#[test]
fn the_oldest_files_have_no_metadata_and_a_rollback_journal() {
    let folder = Folder::new();
    folder.written(&legacy(false));
    let (store, id) = folder.clients();
    let third = metadata(&get(&store, id, 3).expect("a client"));
    assert!(third.contains(r#""skill_blacklist": ["shutdown"]"#), "{third}");
    let mode: String = folder.other_program().query_row("PRAGMA journal_mode", [], |r| r.get(0)).expect("a mode");
    assert_eq!(mode, "wal");
    // The Python node names all of these columns when it writes.
    let columns = "client_id, api_key, name, description, is_admin, last_seen, intent_blacklist, skill_blacklist, \
                   message_blacklist, allowed_types, password, can_broadcast, can_escalate, can_propagate, metadata";
    let values = "7, 'k7', 'n', '', 0, -1, NULL, NULL, NULL, '[]', 'p', 1, 1, 1, '{}'";
    folder.other_program().execute_batch(&format!("INSERT OR REPLACE INTO clients ({columns}) VALUES ({values})")).expect("SQL");
    assert_eq!(metadata(&get(&store, id, 7).expect("a client")), "{}");
}

#[test]
fn a_legacy_column_of_a_file_of_this_version_is_folded_when_read_and_cleared_when_written() {
    let folder = Folder::new();
    folder.written(&format!("{} PRAGMA user_version = 2;", legacy(true)));
    let (store, id) = folder.clients();
    assert_eq!(metadata(&get(&store, id, 1).expect("a client")), r#"{"crypto_key": "a1b2c3d4e5f60718"}"#);
    let stored = || -> (Option<String>, String, Option<String>) {
        let sql = "SELECT crypto_key, metadata, message_blacklist FROM clients WHERE client_id = 1";
        folder.other_program().query_row(sql, [], |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?))).expect("SQL")
    };
    assert_eq!(stored(), (Some("a1b2c3d4e5f60718".to_owned()), "{}".to_owned(), Some("[]".to_owned())));
    let update = Mutation::Update { collection: id, key: Key::Int(1), changes: vec![Change::set(NAME, "x")], when: vec![] };
    store.apply(&CX, &[update]).expect("updates");
    assert_eq!(stored(), (None, r#"{"crypto_key": "a1b2c3d4e5f60718"}"#.to_owned(), None));
}

#[test]
fn a_migration_leaves_what_it_cannot_read_and_does_the_rest() {
    let folder = Folder::new();
    folder.written(&format!("{} UPDATE clients SET allowed_types = '[oops' WHERE client_id = 1;", legacy(true)));
    let (store, id) = folder.clients();
    assert_eq!(store.get(&CX, id, Key::Int(1).as_ref()).expect_err("unreadable").code(), Code::Corrupt);
    assert!(metadata(&get(&store, id, 3).expect("a client")).contains("shutdown"));
    let left: String = folder
        .other_program()
        .query_row("SELECT allowed_types || crypto_key FROM clients WHERE client_id = 1", [], |r| r.get(0))
        .expect("SQL");
    assert_eq!(left, "[oopsa1b2c3d4e5f60718");
}

#[test]
fn an_unreadable_record_is_reported_once_and_hides_nothing_and_is_never_overwritten() {
    let folder = Folder::new();
    let (store, id) = folder.clients();
    for key in 1..=6 {
        insert(&store, id, client(key, &format!("k{key}")));
    }
    let page = store.find(&CX, &Query::all(id), usize::MAX).expect("a page");
    assert_eq!((page.rows.len(), page.unreadable.len()), (6, 0));
    folder
        .other_program()
        .execute_batch(
            "UPDATE clients SET metadata = '{' WHERE client_id = 2; UPDATE clients SET name = x'ff' WHERE client_id = 3; \
             UPDATE clients SET last_seen = 'soon' WHERE client_id = 4; UPDATE clients SET is_admin = 'no' WHERE client_id = 5; \
             UPDATE clients SET description = CAST(x'c328' AS TEXT) WHERE client_id = 6",
        )
        .expect("SQL");
    let page = store.find(&CX, &Query::all(id).limit(1), usize::MAX).expect("a page");
    let keys: Vec<_> = page.unreadable.iter().map(|u| u.key.clone()).collect();
    assert_eq!(keys, (2..=6).map(Key::Int).collect::<Vec<_>>());
    assert_eq!(page.rows.len(), 1);
    let next = store.find(&CX, &Query::all(id).after(page.next.unwrap_or_else(|| place(1))), usize::MAX).expect("a page");
    assert_eq!((next.rows.len(), next.unreadable.len()), (0, 0));
    assert_eq!(store.count(&CX, &Query::all(id)).expect("a count"), 1);
    let by_name = Query::all(id).filter(Condition::new(NAME, Op::Ge, "")).order_by(LAST_SEEN, true);
    let page = store.find(&CX, &by_name, usize::MAX).expect("a page");
    assert_eq!((page.rows.len(), page.unreadable.len()), (1, 5));

    for mutation in [
        Mutation::Put { collection: id, row: client(2, "new") },
        Mutation::Insert { collection: id, row: client(2, "new") },
        Mutation::Update { collection: id, key: Key::Int(2), changes: vec![Change::set(NAME, "x")], when: vec![] },
        Mutation::Delete { collection: id, key: Key::Int(2), when: vec![] },
        Mutation::Expect { collection: id, key: Key::Int(2), row: None },
    ] {
        let error = store.apply(&CX, &[mutation]).expect_err("unreadable");
        assert_eq!((error.code(), error.detail().key.clone()), (Code::Corrupt, Some(Key::Int(2))));
    }
    store.apply(&CX, &[Mutation::DeleteWhere { query: Query::all(id) }]).expect("deletes what it can read");
    assert_eq!(store.get_by(&CX, id, API_KEY, ValueRef::Text("k3")).expect_err("unreadable").code(), Code::Corrupt);
    assert_eq!(store.maintain(&CX, &Task::Verify).expect("a report").problems.len(), 5);

    folder.other_program().execute_batch("UPDATE clients SET metadata = '{}' WHERE client_id = 2").expect("SQL");
    let page = store.find(&CX, &Query::all(id), usize::MAX).expect("a page");
    assert_eq!((page.rows.len(), page.unreadable.len()), (1, 4), "a repaired record is back");
}

fn place(key: i64) -> hivemind_abi::model::Continuation {
    hivemind_abi::model::Continuation { values: Vec::new(), key: Key::Int(key) }
}

#[test]
fn foreign_values_of_another_storage_class_are_read_where_they_have_a_meaning() {
    let folder = Folder::new();
    folder.written(&format!(
        "{PYTHON_TABLE}; PRAGMA user_version = 2; INSERT INTO clients (client_id, api_key) VALUES (1, 'a'); \
         INSERT INTO clients (client_id, api_key, is_admin, last_seen, name, allowed_types, metadata, can_escalate) \
         VALUES (2, 'b', 2, 7, 5, '', NULL, NULL)"
    ));
    let (store, id) = folder.clients();
    let first = shown(&get(&store, id, 1).expect("a client"));
    assert!(first.contains(r#""can_broadcast": true"#) && first.contains(r#""last_seen": -1.0"#), "{first}");
    assert!(first.contains(r#""metadata": {}"#) && first.contains(r#""name": null"#), "{first}");
    let second = shown(&get(&store, id, 2).expect("a client"));
    assert!(second.contains(r#""is_admin": true"#) && second.contains(r#""last_seen": 7.0"#), "{second}");
    assert!(second.contains(r#""allowed_types": null"#) && second.contains(r#""can_escalate": null"#), "{second}");
    assert!(second.contains(r#""name": "5""#), "{second}");
    let admins = Query::all(id).filter(Condition::new(4, Op::Eq, true));
    assert_eq!(store.count(&CX, &admins).expect("a count"), 1);
}

#[test]
fn a_field_that_is_added_has_its_default_in_the_records_that_are_there() {
    let folder = Folder::new();
    let (store, id) = folder.clients();
    insert(&store, id, client(1, "a"));
    store.close(&CX).expect("closes");
    let mut newer = clients();
    newer.version = 3;
    newer = newer
        .field_with("site", Kind::Text, "it's\0here", Index::Plain)
        .field_with("weight", Kind::Real, 0.1, Index::None)
        .field_with("raw", Kind::Blob, vec![0_u8, 255], Index::None)
        .field_with("tags", Kind::Json, Value::Json("[\"x'y\"]".to_owned()), Index::None);
    let store = folder.open_with("{}");
    let id = store.prepare(&CX, std::slice::from_ref(&newer)).expect("prepares")[0];
    let row = get(&store, id, 1).expect("a client");
    let view = row.view(&newer).expect("a view");
    assert_eq!(view.get("site"), Some(ValueRef::Text("it's\0here")));
    assert_eq!(view.get("weight"), Some(ValueRef::Real(0.1)));
    assert_eq!(view.get("raw"), Some(ValueRef::Blob(&[0, 255])));
    assert_eq!(view.get("tags"), Some(ValueRef::Json("[\"x'y\"]")));
}

#[test]
fn duplicates_of_an_old_file_load_and_the_lowest_key_wins() {
    let folder = Folder::new();
    folder.written(&format!(
        "{PYTHON_TABLE}; PRAGMA user_version = 2; INSERT INTO clients (client_id, api_key, name) VALUES (4, 'same', 'late'), \
         (2, 'same', 'early'), (3, 'revoked', ''), (5, 'revoked', '')"
    ));
    let (store, id) = folder.clients();
    let found = store.get_by(&CX, id, API_KEY, ValueRef::Text("same")).expect("a lookup").expect("a client");
    assert!(shown(&found).contains("early"));
    let problems = store.maintain(&CX, &Task::Verify).expect("a report").problems;
    assert_eq!(problems.len(), 1, "{problems:?}");
    assert_eq!(problems[0].key, Some(Key::Int(4)));
    assert!(!problems[0].message.contains("same'"), "the key itself is not printed");
    // A duplicate can still be changed in its other fields, and be given a value of its own.
    let set = |field, value: &str| Mutation::Update {
        collection: id,
        key: Key::Int(4),
        changes: vec![Change::set(field, value)],
        when: vec![],
    };
    store.apply(&CX, &[set(NAME, "renamed"), set(API_KEY, "own")]).expect("updates");
    assert!(store.maintain(&CX, &Task::Verify).expect("a report").problems.is_empty());
    assert_eq!(store.apply(&CX, &[set(API_KEY, "same")]).expect_err("taken").code(), Code::Conflict);
    store.apply(&CX, &[set(API_KEY, "revoked")]).expect("any number may be revoked");
}
