use super::*;
use crate::config::Config;

fn password(text: &str) -> Password {
    let block = serde_json::json!({ "password": text }).to_string();
    Config::parse(&block).expect("settings").password.expect("a password")
}

#[test]
fn a_raw_key_is_told_from_a_password_as_sqlcipher_does() {
    for digits in [64, 96, 160] {
        assert!(is_raw(&format!("x'{}'", "0aF".repeat(digits).split_at(digits).0)));
        assert!(is_raw(&format!("X'{}'", "7".repeat(digits))));
    }
    let zeros = "0".repeat(64);
    for other in ["", "x''", &zeros, &format!("x'{zeros}"), &format!("x'{zeros}00'"), &format!("x'g{}'", &zeros[1..]), "x'é'"] {
        assert!(!is_raw(other), "{other}");
    }
}

#[test]
fn the_key_that_is_derived_here_is_the_one_that_sqlcipher_derives() {
    let folder = tempfile::tempdir().expect("a folder");
    let raw = format!("x'{}'", "5e".repeat(32));
    for (at, text) in ["tulip", "it's \"a\" 'quote''", "schlüssel 🔑", " ", &"long ".repeat(500), &raw].into_iter().enumerate()
    {
        let file = folder.path().join(format!("{at}.db"));
        let theirs = Connection::open(&file).expect("opens");
        set(&theirs, text).expect("a key");
        theirs.execute_batch("CREATE TABLE t (a); INSERT INTO t VALUES (7)").expect("SQL");
        let cipher = Cipher::new(Some(password(text)));
        // The second connection gets the finished key.
        for _ in 0..2 {
            let ours = Connection::open(&file).expect("opens");
            cipher.unlock(&ours).expect("a key");
            assert_eq!(ours.query_row("SELECT a FROM t", [], |row| row.get::<_, i64>(0)).expect("opened"), 7, "{text}");
        }
        let known = cipher.derived();
        let spec = &known.as_ref().expect("a key").text;
        assert_eq!(spec.as_str() == text, text == raw);
        assert!(!format!("{cipher:?}").contains(text.trim()) || text.trim().is_empty());
    }
}

#[test]
fn an_error_about_a_key_does_not_quote_it() {
    let connection = Connection::open_in_memory().expect("memory");
    // An empty key is the one that SQLCipher refuses.
    let error = set(&connection, "").expect_err("no key");
    assert!(!format!("{error:?}").contains("PRAGMA"), "{error:?}");
}

#[test]
fn random_bytes_are_told_from_what_somebody_wrote() {
    for written in [&b"{\"1\": {\"client_i"[..], &[0; 16], b"plain text\n\twith"] {
        assert!(looks_written(written));
    }
    assert!(!looks_written(&[3, 200, 7, 9, 250, 1, 1, 1, 90, 91, 92, 0, 0, 14, 65, 65]));
}
