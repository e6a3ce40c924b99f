//! Encrypted stores: without a password, with a wrong one, and damaged ones.

use serde_json::json;

use super::*;

/// The settings of a module with a password.
fn with_password(operator: &Operator, module: &str, password: &str) {
    operator.configure(&json!({"database": {"module": module, module: {"password": password}}}));
}

/// A database that SQLCipher wrote under a password, as Python's sqlcipher3 does.
fn encrypted_database(operator: &Operator) {
    folder(&operator.data());
    let db = rusqlite::Connection::open(operator.data().join("clients.db")).expect("a database");
    db.execute_batch(
        "PRAGMA key = 'the password of the store'; CREATE TABLE clients (client_id INTEGER PRIMARY KEY, api_key TEXT);",
    )
    .expect("encrypted");
    db.close().expect("closed");
}

#[test]
fn an_encrypted_database_without_its_password_is_named_and_left_alone() {
    let cases = [Case::new("no password", encrypted_database).fails(8, &["error[corrupt]", "clients.db", "encrypted"])];
    try_all(Some(SQLITE), &cases, 1);
}

/// Sixteen characters, as the Python node wants them; nothing may say it.
const PASSWORD: &str = SECRET_KEY;
const SECRET_KEY: &str = "hunter2-hunter2!";

#[test]
fn a_password_of_the_wrong_type_is_refused_and_never_shown() {
    for module in [SQLITE, JSON] {
        let operator = Operator::with_module(module);
        operator.configure(&json!({"database": {"module": module, module: {"password": [PASSWORD]}}}));
        let ended = operator.run(&["status"]);
        assert!(!ended.err.contains(SECRET), "{ended:?}");
        ended.fails(3, &["password"]);
        with_password(&operator, module, "");
        operator.run(&["status"]).well();
    }
}
