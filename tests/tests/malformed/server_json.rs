//! `server.json`: what cannot be parsed, what is no file, and settings of the wrong type.

use super::*;

const CONFIG: &str = "config/hivemind-core/server.json";

fn content(name: &str, content: impl AsRef<[u8]>) -> Case {
    let content = content.as_ref().to_vec();
    Case::new(name, move |operator| drop(operator.write(CONFIG, &content)))
}

/// Settings of the shipped backends in a file that is JSON.
fn setting(name: &str, text: &str) -> Case {
    content(name, text)
}

fn no_json() -> Vec<Case> {
    let at = |place: &'static str| ["error[config]", CONFIG, place];
    let deep = |open: &str, close: &str| format!("{{\"a\": {}{}}}", open.repeat(100_000), close.repeat(100_000));
    vec![
        content("empty", "").fails(3, &at("line 1 column 0")),
        content("white space", " \n\n ").fails(3, &at("line 3 column 1")),
        content("not JSON", "module = sqlite\n").fails(3, &at("line 1 column 1")),
        content("cut in the middle", "{\n  \"database\": {\n    \"module\": \"sql").fails(3, &at("line 3 column")),
        content("a comma too much", "{\n  \"a\": 1,\n}").fails(3, &at("line 3 column 1")),
        content("a list", "[{\"database\": {}}]").fails(3, &at("expected an object of settings")),
        content("null", "null").fails(3, &at("expected an object of settings")),
        content("a number", "1e400").fails(3, &at("line 1 column")),
        content("two documents", "{}\n{}").fails(3, &at("line 2 column 1")),
        content("a byte order mark", b"\xef\xbb\xbf{}").fails(3, &at("byte order mark")),
        content("UTF-16", b"\xff\xfe{\0}\0").fails(3, &at("UTF-8")),
        content("Latin-1", b"{\"name\": \"K\xfcche\"}").fails(3, &at("UTF-8")),
        content("NUL bytes", b"{\"database\": {}}\0\0\0").fails(3, &at("line 1 column 17")),
        content("nothing but NUL bytes", vec![0; 4096]).fails(3, &at("line 1 column 1")),
        content("lists nested 100,000 deep", deep("[", "]")).fails(3, &at("recursion limit")),
        content("objects nested 100,000 deep", deep("{\"a\":", "}")).fails(3, &at("line 1")),
        content("brackets that never close", "[".repeat(200_000)).fails(3, &at("line 1")),
        content("half of a surrogate pair", r#"{"name": "\ud800"}"#).fails(3, &at("line 1 column")),
        content("a control character in a string", "{\"name\": \"a\nb\"}").fails(3, &at("line 2 column 0")),
        content("NaN", r#"{"min_password_bits": NaN}"#).fails(3, &at("line 1 column")),
        content("a number beyond all", r#"{"min_password_bits": 1e999}"#).fails(3, &at("number out of range")),
        content("a comment that never ends", "{} /* never").fails(3, &at("line 1 column 4")),
    ]
}

fn no_file() -> Vec<Case> {
    vec![
        Case::new("a folder", |o| folder(&o.config())).fails(3, &["error[config]", CONFIG, "folder"]),
        Case::new("a pipe", |o| home::pipe(&o.config())).fails(3, &["error[config]", CONFIG, "regular file"]),
        Case::new("a gigabyte of nothing", |o| home::sparse(&o.config(), 1 << 30)).fails(3, &["error[config]", CONFIG, "16 MiB"]),
        Case::new("a device", |o| {
            folder(o.config().parent().expect("a folder"));
            std::os::unix::fs::symlink("/dev/zero", o.config()).expect("a link");
        })
        .fails(3, &["error[config]", CONFIG, "regular file"]),
        Case::new("a link to itself", |o| {
            folder(o.config().parent().expect("a folder"));
            std::os::unix::fs::symlink("server.json", o.config()).expect("a link");
        })
        .fails(3, &["error[config]", CONFIG]),
        Case::new("a file that may not be read", |o| {
            hivemind_tests::set_mode(&o.write(CONFIG, b"{}"), 0);
        })
        .unprivileged()
        .fails(3, &["error[config]", CONFIG, "ermission denied"]),
        Case::new("a folder in which nothing may be created", |o| {
            let folder_of_it = o.config().parent().expect("a folder").to_owned();
            folder(&folder_of_it);
            hivemind_tests::set_mode(&folder_of_it, 0o500);
        })
        .unprivileged()
        .fails(3, &["error[config]", CONFIG, "cannot create"]),
        Case::new("a file where its folder should be", |o| drop(o.write("config/hivemind-core", b"")))
            .fails(3, &["error[config]", CONFIG]),
    ]
}

fn wrong_types() -> Vec<Case> {
    let block = |module: &str, json: &str| format!(r#"{{"database": {{"module": "{module}", "{module}": {json}}}}}"#);
    let mut cases = Vec::new();
    for value in ["5", "\"sqlite\"", "[]", "true"] {
        let text = format!(r#"{{"database": {value}}}"#);
        cases.push(
            setting(&format!("database is {value}"), &text).fails(3, &["error[config]", CONFIG, "database: expected an object"]),
        );
    }
    for value in ["5", "[\"sqlite\"]", "{}", "true", "\"\""] {
        let text = format!(r#"{{"database": {{"module": {value}}}}}"#);
        cases.push(setting(&format!("the module is {value}"), &text).fails(3, &["error[config]", CONFIG, "database.module"]));
    }
    for value in ["5", "\"x\"", "[]", "true"] {
        let found = setting(&format!("the settings of SQLite are {value}"), &block(SQLITE, value));
        cases.push(found.fails(3, &["error[config]", CONFIG, SQLITE, "expected an object"]));
    }
    for (module, key, value) in [
        (SQLITE, "name", "5"),
        (SQLITE, "name", "\"\""),
        (SQLITE, "subfolder", "[]"),
        (SQLITE, "db_path", "{}"),
        (SQLITE, "password", "4711"),
        (JSON, "name", "true"),
        (JSON, "name", "\"..\""),
        (JSON, "subfolder", "5"),
        (JSON, "password", "[1]"),
        (JSON, "lock_timeout_ms", "-1"),
        (JSON, "lock_timeout_ms", "1e999"),
        (JSON, "lock_timeout_ms", "\"10\""),
    ] {
        let text = block(module, &format!(r#"{{"{key}": {value}}}"#));
        let parts: &[&str] = if value == "1e999" { &["error[config]", CONFIG, "out of range"] } else { &[CONFIG, module, key] };
        cases.push(setting(&format!("{module}: {key} is {value}"), &text).fails(3, parts));
    }
    let misspelt = block(SQLITE, r#"{"nmae": "clients"}"#);
    cases.push(
        setting("a setting is misspelt", &misspelt).fails(3, &["error[plugin-settings]", "nmae", "did you mean `name`?", CONFIG]),
    );
    let unknown = r#"{"database": {"module": "hivemind-sqlit-db-plugin"}}"#;
    cases.push(
        setting("the module is misspelt", unknown).fails(4, &["error[plugin-not-found]", "hivemind-sqlit-db-plugin", SQLITE]),
    );
    let relative = r#"{"database": {"module": "./plugin.so"}}"#;
    cases.push(setting("the module is a relative path", relative).fails(4, &["error[plugin-not-found]", "./plugin.so"]));
    for value in ["5", "{}", "[1]", "true"] {
        let text = format!(r#"{{"plugins_dir": {value}}}"#);
        cases.push(
            setting(&format!("plugins_dir is {value}"), &text)
                .fails(3, &["error[config]", CONFIG, "plugins_dir: expected a path"]),
        );
    }
    cases
}

#[test]
fn a_server_json_that_cannot_be_parsed_is_named_by_line_and_left_alone() {
    try_all(None, &no_json(), 20);
}

#[test]
fn a_server_json_that_is_no_readable_file_is_named_and_left_alone() {
    try_all(None, &no_file(), 8);
}

#[test]
fn a_setting_of_the_wrong_type_is_named_and_nothing_is_opened() {
    try_all(None, &wrong_types(), 25);
}
