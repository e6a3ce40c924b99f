//! Encrypted stores: without a password, with a wrong one, and damaged ones. Nothing tells them apart from a good one but the password,
//! so nothing is ever begun anew in their place.

use std::path::Path;

use serde_json::json;

use super::*;

const FILE: &str = "clients.ejson";

/// Sixteen characters, as the Python node wants them.
const PASSWORD: &str = "hunter2-hunter2!";

/// A case of the JSON backend with this password, after something was done to a good encrypted store.
fn spoilt(name: &str, password: &'static str, spoil: impl Fn(&Operator) + 'static) -> Case {
    Case::new(name, move |operator| {
        with_password(operator, JSON, PASSWORD);
        operator.run(&["add-client", "--access-key", "aaa", "--password", SECRET, "--allow-weak-password"]).well();
        with_password(operator, JSON, password);
        spoil(operator);
    })
}

fn with_password(operator: &Operator, module: &str, password: &str) {
    operator.configure(&json!({"database": {"module": module, module: {"password": password}}}));
}

/// The same store with one of its three texts changed.
fn with(name: &str, member: &'static str, change: fn(&str) -> serde_json::Value) -> Case {
    spoilt(name, PASSWORD, move |operator| {
        let path = operator.data().join(FILE);
        let mut stored: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).expect("the store")).expect("JSON");
        stored[member] = change(stored[member].as_str().expect("a text"));
        std::fs::write(&path, stored.to_string()).expect("written");
    })
}

fn content(name: &str, content: &'static [u8]) -> Case {
    spoilt(name, PASSWORD, move |operator| plant(operator, FILE, content))
}

#[test]
fn an_encrypted_json_store_that_cannot_be_opened_is_named_and_left_alone() {
    let corrupt = |what: &'static str| ["error[corrupt]", FILE, what];
    let locked = ["error[denied]", FILE, "password"];
    let cases = [
        spoilt("no password", "", |_| {}).fails(3, &["error[invalid]", FILE, "password"]),
        spoilt("another password", "hunter3-hunter3!", |_| {}).fails(5, &locked),
        spoilt("a password that is too short", "hunter2", |_| {}).fails(3, &["password: expected 16 characters"]),
        spoilt("a password that is too long", "hunter2-hunter2-hunter2", |_| {}).fails(3, &["password: expected 16 characters"]),
        Case::new("a password, and a store that is not encrypted", |o| {
            plant(o, "clients.json", format!("{{\"1\": {}}}", record(1, "aaa")).as_bytes());
            with_password(o, JSON, PASSWORD);
        })
        .fails(3, &["error[invalid]", "clients.json", "not encrypted"]),
        content("empty", b"").fails(8, &corrupt("ciphertext")),
        content("not JSON", b"\x00\x01\x02\x03").fails(8, &corrupt("ciphertext")),
        content("not text", b"\xff\xfe\xfd").fails(8, &corrupt("ciphertext")),
        content("a list", b"[]").fails(8, &corrupt("found a list")),
        content("a store that is not encrypted", br#"{"1": {"client_id": 1, "api_key": "aaa"}}"#)
            .fails(8, &corrupt("not encrypted")),
        content("nothing but a nonce", br#"{"nonce": "00000000000000000000000000000000"}"#).fails(8, &corrupt("ciphertext")),
        with("a nonce that is no text", "nonce", |_| json!(5)).fails(8, &corrupt("nonce")),
        with("a nonce of another length", "nonce", |text| json!(text[2..])).fails(8, &corrupt("nonce")),
        with("a tag of another length", "tag", |text| json!(text[2..])).fails(8, &corrupt("tag")),
        with("not hexadecimal", "ciphertext", |_| json!("zz")).fails(8, &corrupt("hexadecimal")),
        with("half a byte", "ciphertext", |text| json!(text[1..])).fails(8, &corrupt("hexadecimal")),
        with("cut", "ciphertext", |text| json!(text[..text.len() / 4 * 2])).fails(5, &locked),
        with("one bit turned", "ciphertext", |text| json!(turned(text))).fails(5, &locked),
        with("another nonce", "nonce", |text| json!(turned(text))).fails(5, &locked),
        with("another tag", "tag", |text| json!(turned(text))).fails(5, &locked),
        spoilt("cut in the middle of the file", PASSWORD, |o| {
            let file = std::fs::OpenOptions::new().write(true).open(o.data().join(FILE)).expect("open");
            file.set_len(100).expect("cut");
        })
        .fails(8, &corrupt("ciphertext")),
        spoilt("a newer version", PASSWORD, |o| plant(o, "clients.schema_version", b"3"))
            .fails(8, &["error[too-new]", "version 3"]),
        spoilt("a folder", PASSWORD, |o| {
            std::fs::remove_file(o.data().join(FILE)).expect("the store");
            folder(&o.data().join(FILE));
        })
        .fails(5, &[FILE, "regular file"]),
        spoilt("a pipe", PASSWORD, |o| {
            std::fs::remove_file(o.data().join(FILE)).expect("the store");
            home::pipe(&o.data().join(FILE));
        })
        .fails(5, &[FILE, "regular file"]),
    ];
    try_all(Some(JSON), &cases, 24);
}

/// The text with its first digit changed.
fn turned(text: &str) -> String {
    format!("{}{}", if text.starts_with('0') { '1' } else { '0' }, &text[1..])
}

/// A database that SQLCipher wrote under a password, as Python's sqlcipher3 does; `spoil` is done to the file.
fn database(name: &str, password: Option<&'static str>, spoil: impl Fn(&Path) + 'static) -> Case {
    Case::new(name, move |operator| {
        folder(&operator.data());
        let path = operator.data().join("clients.db");
        let db = rusqlite::Connection::open(&path).expect("a database");
        db.pragma_update(None, "key", PASSWORD).expect("a key");
        db.execute_batch("CREATE TABLE clients (client_id INTEGER PRIMARY KEY, api_key TEXT);").expect("encrypted");
        db.close().expect("closed");
        spoil(&path);
        if let Some(password) = password {
            with_password(operator, SQLITE, password);
        }
    })
}

#[test]
fn an_encrypted_database_that_cannot_be_opened_is_named_and_left_alone() {
    let wrong = ["error[denied]", "clients.db", "another one, or the file is damaged"];
    let cases = [
        database("no password", None, |_| {}).fails(5, &["error[denied]", "clients.db", "no password is set"]),
        database("another password", Some("hunter3-hunter3!"), |_| {}).fails(5, &wrong),
        database("a damaged first page", Some(PASSWORD), |path| {
            let mut bytes = std::fs::read(path).expect("the database");
            bytes[100] ^= 1;
            std::fs::write(path, bytes).expect("written");
        })
        .fails(5, &wrong),
        database("another salt", Some(PASSWORD), |path| {
            let mut bytes = std::fs::read(path).expect("the database");
            bytes[0] ^= 1;
            std::fs::write(path, bytes).expect("written");
        })
        .fails(5, &wrong),
        Case::new("a password, and a database that is not encrypted", |operator| {
            folder(&operator.data());
            let db = rusqlite::Connection::open(operator.data().join("clients.db")).expect("a database");
            db.execute_batch("CREATE TABLE clients (client_id INTEGER PRIMARY KEY, api_key TEXT);").expect("written");
            db.close().expect("closed");
            with_password(operator, SQLITE, PASSWORD);
        })
        .fails(5, &["error[denied]", "clients.db", "is not encrypted, but a password is set"]),
        database("an empty password", Some(""), |_| {}).fails(3, &["error[plugin-settings]", "`password`: value is shorter"]),
    ];
    try_all(Some(SQLITE), &cases, 6);
}

#[test]
fn a_password_of_the_wrong_type_is_refused_and_never_shown() {
    for module in [SQLITE, JSON] {
        let operator = Operator::with_module(module);
        operator.configure(&json!({"database": {"module": module, module: {"password": [PASSWORD]}}}));
        let ended = operator.run(&["status"]);
        assert!(!ended.err.contains(SECRET), "{ended:?}");
        ended.fails(3, &["password"]);
    }
}
