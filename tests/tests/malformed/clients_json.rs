//! `clients.json`: files that cannot be read as a whole are refused; records that cannot be read hide no others and stay as they are.

use super::*;

const FILE: &str = "clients.json";

fn content(name: &str, content: impl AsRef<[u8]>) -> Case {
    let content = content.as_ref().to_vec();
    Case::new(name, move |operator| plant(operator, FILE, &content))
}

fn data(operator: &Operator) -> std::path::PathBuf {
    operator.data().join(FILE)
}

fn whole_file() -> Vec<Case> {
    let at = |place: &'static str| ["error[corrupt]", FILE, place];
    let (one, two) = (record(1, "aaa"), record(2, "bbb"));
    vec![
        content("empty", "").fails(8, &at("line 1 column 1")),
        content("white space", "\n\n  ").fails(8, &at("line 3 column")),
        content("not JSON", "1,aaa,kitchen\n").fails(8, &at("line 1 column 2")),
        content("a list", format!("[{one}]")).fails(8, &at("expected an object of records at line 1, found a list")),
        content("null", "null").fails(8, &at("found null")),
        content("a number", "7").fails(8, &at("found a number")),
        content("a string", "\"clients\"").fails(8, &at("found a string")),
        content("a record cut off", &format!("{{\n\"1\": {one},\n\"2\": {two}")[..200]).fails(8, &at("line 3 column")),
        content("a brace is missing", format!("{{\n\"1\": {one}")).fails(8, &at("line 2 column")),
        content("a comma is missing", format!("{{\"1\": {one}\n\"2\": {two}}}")).fails(8, &at("line 2 column 1")),
        content("something behind the end", format!("{{\"1\": {one}}}\n}}")).fails(8, &at("line 2 column 1")),
        content("two documents", format!("{{\"1\": {one}}}{{\"2\": {two}}}")).fails(8, &at("line 1 column")),
        content("single quotes", "{'1': {}}").fails(8, &at("line 1 column 2")),
        content("a byte order mark", format!("\u{feff}{{\"1\": {one}}}")).fails(8, &at("byte order mark")),
        content("UTF-16", b"\xff\xfe{\0}\0").fails(8, &at("line 1, byte 1")),
        content("Latin-1 in the second line", b"{\n\"K\xfcche\": {}}").fails(8, &at("line 2, byte 3")),
        content("half of a character", b"{\"1\": {\"name\": \"\xe2\x82\"}}").fails(8, &at("line 1, byte 17")),
        content("NUL bytes behind the end", b"{}\0\0").fails(8, &at("line 1 column 3")),
        content("nothing but NUL bytes, as after a power cut", vec![0; 4096]).fails(8, &at("line 1 column 1")),
        content("a comment that never ends", format!("{{\"1\": {one}}} /* never")).fails(8, &at("line 1 column")),
        content("a line end in a string", "{\"1\": {\"name\": \"a\nb\"}}").fails(8, &at("line 1 column")),
        content("brackets that never close", "[".repeat(300_000)).fails(8, &at("line 1 column")),
        content("lists nested 100,000 deep", format!("{}{}", "[".repeat(100_000), "]".repeat(100_000))).fails(8, &at("line 1")),
        content("a bad escape", r#"{"1": {"name": "\x41"}}"#).fails(8, &at("line 1 column")),
        content("a number that is none", r#"{"1": {"client_id": 0x1}}"#).fails(8, &at("line 1 column")),
    ]
}

fn no_file() -> Vec<Case> {
    vec![
        Case::new("a folder", |o| folder(&data(o))).fails(5, &[FILE, "regular file"]),
        Case::new("a pipe", |o| home::pipe(&data(o))).fails(5, &[FILE, "regular file"]),
        Case::new("a device", |o| {
            folder(&o.data());
            std::os::unix::fs::symlink("/dev/zero", data(o)).expect("a link");
        })
        .fails(5, &[FILE, "regular file"]),
        Case::new("a link to itself", |o| {
            folder(&o.data());
            std::os::unix::fs::symlink(FILE, data(o)).expect("a link");
        })
        .fails(5, &[FILE, "symbolic links"]),
        Case::new("a file that may not be read", |o| {
            plant(o, FILE, b"{}");
            hivemind_tests::set_mode(&data(o), 0);
        })
        .unprivileged()
        .fails(5, &["error[denied]", FILE]),
        Case::new("a folder that may not be searched", |o| {
            plant(o, FILE, b"{}");
            hivemind_tests::set_mode(&o.data(), 0);
        })
        .unprivileged()
        .fails(5, &["error[denied]", "hivemind-core"]),
        Case::new("a file where its folder should be", |o| drop(o.write("data/hivemind-core", b""))).fails(5, &["hivemind-core"]),
        Case::new("a folder in which nothing may be created", |o| {
            plant(o, FILE, format!("{{\"1\": {}}}", record(1, "aaa")).as_bytes());
            plant(o, "clients.schema_version", b"2");
            hivemind_tests::set_mode(&o.data(), 0o500);
        })
        .unprivileged()
        .fails(5, &["error[denied]", FILE])
        .reads(&["1"]),
    ]
}

#[test]
fn a_clients_json_that_cannot_be_parsed_is_named_by_line_and_left_alone() {
    try_all(Some(JSON), &whole_file(), 24);
}

#[test]
fn a_clients_json_that_is_no_readable_file_is_named_and_left_alone() {
    try_all(Some(JSON), &no_file(), 8);
}
