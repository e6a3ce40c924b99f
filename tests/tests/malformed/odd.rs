//! Stores that are odd and can be worked with all the same: what can be read is listed, what cannot is named and hides nothing, a client
//! can be added, and what others wrote is kept as they wrote it.

use rusqlite::Connection;
use rusqlite::types::{Value, ValueRef};

use super::*;

/// Lists and adds. Gives what listing said.
fn used(name: &str, operator: &Operator) -> String {
    for words in [COMMANDS[0], COMMANDS[1], COMMANDS[2]] {
        let ended = home::run_within(operator, words, false, LONGEST);
        let said = format!("{}{}", ended.out, ended.err);
        assert!(ended.code == 0 && !said.contains("panicked") && !said.contains(SECRET), "{name}, {words:?}: {ended:?}");
    }
    let listed = operator.run(&["list-clients", "--json", "--all"]);
    assert!(listed.out.contains("a-new-key"), "{name}: {listed:?}");
    format!("{}{}", listed.out, listed.err)
}

/// A `clients.json`, what is said of it, and what of it must still be there, byte for byte, after a client was added.
fn odd_json() -> Vec<(&'static str, String, Vec<&'static str>, Vec<String>)> {
    let good = record(1, "aaa");
    let beside = |key: &str, text: &str| format!("{{\n\"1\": {good},\n\"{key}\": {text}\n}}");
    let long = "x".repeat(10 << 20);
    let deep =
        format!(r#"{{"client_id": 2, "api_key": "bbb", "metadata": {{"a": {}{}}}}}"#, "[".repeat(100_000), "]".repeat(100_000));
    let records: Vec<(&str, &str, String, &str)> = vec![
        ("a record that is a number", "2", "5".to_owned(), "record 2 cannot be read"),
        ("a record that is null", "2", "null".to_owned(), "record 2 cannot be read"),
        ("a record that is a list", "2", "[1]".to_owned(), "record 2 cannot be read"),
        ("a record with another id", "2", record(7, "bbb"), "its client_id is 7, but it stands under the name \"2\""),
        ("a record without an id", "2", r#"{"api_key": "bbb"}"#.to_owned(), "record 2 cannot be read"),
        ("an id that is a text", "2", r#"{"client_id": "2", "api_key": "bbb"}"#.to_owned(), "record 2 cannot be read"),
        ("an id with a fraction", "2", r#"{"client_id": 2.5, "api_key": "bbb"}"#.to_owned(), "record 2 cannot be read"),
        (
            "an id beyond 64 bits",
            "2",
            r#"{"client_id": 99999999999999999999, "api_key": "b"}"#.to_owned(),
            "record 2 cannot be read",
        ),
        ("a flag that is a text", "2", r#"{"client_id": 2, "api_key": "bbb", "is_admin": "yes"}"#.to_owned(), "is_admin"),
        ("a time that is NaN", "2", r#"{"client_id": 2, "api_key": "bbb", "last_seen": NaN}"#.to_owned(), "last_seen"),
        (
            "half of a surrogate pair",
            "2",
            r#"{"client_id": 2, "api_key": "bbb", "name": "\ud800"}"#.to_owned(),
            "record 2 cannot be read",
        ),
        ("a name that is no number", "kitchen", record(2, "bbb"), "kitchen"),
        ("a name with a fraction", "2.0", record(2, "bbb"), "2.0"),
        ("a name with a zero before it", "02", record(2, "bbb"), "02"),
        ("a note of the operator", "_comment", "\"mine\"".to_owned(), "aaa"),
        ("nested 100,000 deep", "2", deep, "nested deeper"),
        ("a negative id", "-2", record(-2, "bbb"), "\"client_id\": -2"),
        ("the id 0", "0", record(0, "bbb"), "\"client_id\": 0"),
        ("10 MB of name", "2", format!(r#"{{"client_id": 2, "api_key": "bbb", "name": "{long}"}}"#), "xxxxxxxx"),
        (
            "NaN and infinity in metadata",
            "2",
            r#"{"client_id": 2, "api_key": "bbb", "metadata": {"a": NaN, "b": -Infinity, "c": 1e400}}"#.to_owned(),
            "bbb",
        ),
        (
            "a number of 40 digits",
            "2",
            r#"{"client_id": 2, "api_key": "bbb", "metadata": {"n": 1234567890123456789012345678901234567890}}"#.to_owned(),
            "1234567890123456789012345678901234567890",
        ),
        ("the same member twice", "2", r#"{"client_id": 2, "api_key": "aab", "api_key": "bbb"}"#.to_owned(), "bbb"),
        ("metadata that is no object", "2", r#"{"client_id": 2, "api_key": "bbb", "metadata": [1]}"#.to_owned(), "bbb"),
        ("a whitelist that is no list", "2", r#"{"client_id": 2, "api_key": "bbb", "allowed_types": "speak"}"#.to_owned(), "bbb"),
        ("the access key of another", "2", record(2, "aaa"), "aaa"),
    ];
    let mut all: Vec<_> = records
        .into_iter()
        .map(|(name, key, text, said)| (name, beside(key, &text), vec!["aaa", said], vec![good.clone(), text]))
        .collect();
    let lines = format!("{{\r\n\"1\": {good}\r\n}}\r\n");
    all.push(("the line ends of another system", lines, vec!["aaa"], vec![good.clone()]));
    let comments = format!("# mine\n{{ // yours\n\"1\": {good} # theirs\n}}\n// the end");
    all.push(("comments", comments, vec!["aaa"], vec![good.clone()]));
    all.push((
        "the same name twice",
        format!("{{\"1\": {good}, \"1\": {}}}", record(1, "bbb")),
        vec!["bbb"],
        vec![record(1, "bbb")],
    ));
    all.push(("nothing in it", "{}".to_owned(), vec![], vec![]));
    all
}

#[test]
fn an_odd_clients_json_is_used_and_its_records_are_kept_byte_for_byte() {
    let cases = odd_json();
    assert!(cases.len() >= 25);
    for (name, content, said, kept) in cases {
        let operator = Operator::with_module(JSON);
        plant(&operator, "clients.json", content.as_bytes());
        plant(&operator, "clients.schema_version", b"2");
        let heard = used(name, &operator);
        for part in said {
            assert!(heard.contains(part), "{name}: it does not say {part:?}: {}", heard.chars().take(2000).collect::<String>());
        }
        let stored = std::fs::read_to_string(operator.data().join("clients.json")).expect("the store");
        for text in kept {
            assert!(
                stored.contains(&text),
                "{name}: {} is gone from {}",
                &text[..text.len().min(300)],
                &stored[..stored.len().min(2000)]
            );
        }
    }
}

#[test]
fn an_odd_schema_version_stands_for_the_first_and_the_store_is_migrated() {
    let megabyte = vec![0; 1 << 20];
    for version in [&b""[..], b"2\n", b" 2 ", b"garbage", b"2 clients", b"-1", b"0", b"1", b"2.0", b"\xff\xfe2\0", &megabyte] {
        let operator = Operator::with_module(JSON);
        plant(&operator, "clients.json", format!("{{\"1\": {}}}", record(1, "aaa")).as_bytes());
        plant(&operator, "clients.schema_version", version);
        let name = String::from_utf8_lossy(&version[..version.len().min(20)]).into_owned();
        assert!(used(&name, &operator).contains("aaa"), "{name}");
        let stored = std::fs::read_to_string(operator.data().join("clients.schema_version")).expect("the version");
        assert_eq!(stored.trim(), "2", "{name}");
    }
}

const TABLE: &str = "client_id INTEGER PRIMARY KEY, api_key VARCHAR(255) NOT NULL, name VARCHAR(255), description VARCHAR(255), \
    is_admin BOOLEAN DEFAULT FALSE, last_seen REAL DEFAULT -1, intent_blacklist TEXT, skill_blacklist TEXT, message_blacklist TEXT, \
    allowed_types TEXT, password TEXT, can_broadcast BOOLEAN DEFAULT TRUE, can_escalate BOOLEAN DEFAULT TRUE, \
    can_propagate BOOLEAN DEFAULT TRUE, metadata TEXT";

/// SQL for a database beside the usual, in which `{}` stands for the usual columns; and what is said of it.
fn odd_sql() -> Vec<(&'static str, &'static str, Vec<&'static str>)> {
    let usual = "CREATE TABLE clients ({}); INSERT INTO clients (client_id, api_key, name) VALUES (1, 'aaa', 'one'); PRAGMA user_version = 2;";
    let with = |more: &str| -> &'static str { format!("{usual} {more}").leak() };
    vec![
        ("nothing in it", "VACUUM", vec![]),
        ("no index", usual, vec!["aaa"]),
        ("a negative version", with("PRAGMA user_version = -5"), vec!["aaa"]),
        ("version 0", with("PRAGMA user_version = 0"), vec!["aaa"]),
        ("another program's application id", with("PRAGMA application_id = 252006674"), vec!["aaa"]),
        ("DELETE mode", with("PRAGMA journal_mode = DELETE"), vec!["aaa"]),
        ("columns of somebody else", with("ALTER TABLE clients ADD COLUMN colour TEXT DEFAULT 'red'"), vec!["aaa"]),
        ("tables of somebody else", with("CREATE TABLE theirs (x); INSERT INTO theirs VALUES (1)"), vec!["aaa"]),
        (
            "columns are missing",
            "CREATE TABLE clients (client_id INTEGER PRIMARY KEY, api_key TEXT NOT NULL); INSERT INTO clients VALUES (1, 'aaa');",
            vec!["aaa"],
        ),
        (
            "WITHOUT ROWID",
            "CREATE TABLE clients ({}) WITHOUT ROWID; INSERT INTO clients (client_id, api_key) VALUES (1, 'aaa'); PRAGMA user_version = 2;",
            vec!["aaa"],
        ),
        (
            "a blob for a name",
            with("INSERT INTO clients (client_id, api_key, name) VALUES (2, 'bbb', x'ff00')"),
            vec!["aaa", "record 2 cannot be read", "name"],
        ),
        (
            "a text for a flag",
            with("INSERT INTO clients (client_id, api_key, is_admin) VALUES (2, 'bbb', 'perhaps')"),
            vec!["aaa", "record 2 cannot be read", "is_admin"],
        ),
        (
            "a text for a time",
            with("INSERT INTO clients (client_id, api_key, last_seen) VALUES (2, 'bbb', 'today')"),
            vec!["aaa", "record 2 cannot be read", "last_seen"],
        ),
        (
            "text that is not UTF-8",
            with("INSERT INTO clients (client_id, api_key, name) VALUES (2, 'bbb', CAST(x'fffe' AS TEXT))"),
            vec!["aaa", "record 2 cannot be read", "name"],
        ),
        (
            "metadata that is no JSON",
            with("INSERT INTO clients (client_id, api_key, metadata) VALUES (2, 'bbb', '{oops')"),
            vec!["aaa", "record 2 cannot be read", "metadata"],
        ),
        (
            "a whitelist that is no list",
            with("INSERT INTO clients (client_id, api_key, allowed_types) VALUES (2, 'bbb', '5')"),
            vec!["aaa", "bbb"],
        ),
        ("an access key that two have", with("INSERT INTO clients (client_id, api_key) VALUES (2, 'aaa')"), vec!["aaa"]),
        ("a negative id", with("INSERT INTO clients (client_id, api_key) VALUES (-3, 'bbb')"), vec!["aaa", "\"client_id\": -3"]),
        ("a gap", with("INSERT INTO clients (client_id, api_key) VALUES (50, 'bbb')"), vec!["aaa", "\"client_id\": 51"]),
    ]
}

/// Every row as it is stored, whatever it is.
fn rows(operator: &Operator) -> Vec<Vec<Value>> {
    let db = Connection::open(operator.data().join("clients.db")).expect("a database");
    let Ok(mut all) = db.prepare("SELECT * FROM clients WHERE api_key <> 'a-new-key' ORDER BY client_id") else {
        return Vec::new();
    };
    let columns = all.column_count();
    let value = |value: ValueRef<'_>| match value {
        // It may be none, and must stay so.
        ValueRef::Text(bytes) => Value::Blob([b"text ", bytes].concat()),
        other => Value::try_from(other).expect("a value"),
    };
    let all = all.query_map([], |row| (0..columns).map(|at| row.get_ref(at).map(value)).collect());
    all.expect("rows").map(|row| row.expect("a row")).collect()
}

#[test]
fn an_odd_database_is_used_and_its_rows_are_kept() {
    let cases = odd_sql();
    assert!(cases.len() >= 18);
    for (name, sql, said) in cases {
        let operator = Operator::with_module(SQLITE);
        folder(&operator.data());
        let db = Connection::open(operator.data().join("clients.db")).expect("a database");
        db.execute_batch(&sql.replace("{}", TABLE)).expect(sql);
        db.close().expect("closed");
        let before = rows(&operator);
        let heard = used(name, &operator);
        for part in said {
            assert!(heard.contains(part), "{name}: it does not say {part:?}: {heard}");
        }
        let after = rows(&operator);
        assert_eq!(before.len(), after.len(), "{name}");
        // A migration writes the defaults where nothing is stored; everything else stays.
        let kept = |(before, after): (&Value, &Value)| before == after || *before == Value::Null;
        for (before, after) in before.iter().zip(&after) {
            assert!(before.iter().zip(after).all(kept), "{name}: {before:?} became {after:?}");
        }
    }
}

/// A program that was killed in the middle of a transaction left its journal: the transaction is taken back, and nothing else happens.
#[test]
fn a_journal_of_a_program_that_was_killed_is_carried_out_first() {
    let operator = Operator::with_module(SQLITE);
    folder(&operator.data());
    let (path, aside) = (operator.data().join("clients.db"), operator.home().join("aside"));
    folder(&aside);
    let db = Connection::open(&path).expect("a database");
    let usual =
        format!("PRAGMA journal_mode = DELETE; CREATE TABLE clients ({TABLE}); PRAGMA user_version = 2; PRAGMA cache_size = 1;");
    db.execute_batch(&usual).expect("a table");
    for id in 1..=400 {
        db.execute("INSERT INTO clients (client_id, api_key, name) VALUES (?1, 'key-' || ?1, 'before')", [id]).expect("a row");
    }
    db.execute_batch("BEGIN; UPDATE clients SET name = 'after' || hex(zeroblob(200))").expect("more than the cache holds");
    for name in ["clients.db", "clients.db-journal"] {
        std::fs::copy(operator.data().join(name), aside.join(name)).expect("what a kill would have left");
    }
    db.execute_batch("ROLLBACK").expect("rolled back");
    db.close().expect("closed");
    for name in ["clients.db", "clients.db-journal"] {
        std::fs::copy(aside.join(name), operator.data().join(name)).expect("planted");
    }
    used("a hot journal", &operator);
    let clients = operator.clients();
    assert_eq!(clients.len(), 401);
    assert!(clients[..400].iter().all(|c| c["name"] == "before"), "{:?}", clients[0]);
}
