//! `clients.schema_version`, the file beside a JSON store that says how its records are written.

use super::*;

const FILE: &str = "clients.schema_version";

/// The store beside it is in order.
fn content(name: &str, content: impl AsRef<[u8]>) -> Case {
    let content = content.as_ref().to_vec();
    with_store(name, move |operator| plant(operator, FILE, &content))
}

fn with_store(name: &str, plant_it: impl Fn(&Operator) + 'static) -> Case {
    Case::new(name, move |operator| {
        plant(operator, "clients.json", format!("{{\"1\": {}}}", record(1, "aaa")).as_bytes());
        plant_it(operator);
    })
}

#[test]
fn a_schema_version_that_is_newer_or_none_is_named_and_nothing_is_touched() {
    let too_new = |found: &'static str| ["error[too-new]", FILE, "version 2", found];
    let cases = [
        content("one newer", "3").fails(8, &too_new("version 3")),
        content("newer, with a line end", "3\n").fails(8, &too_new("version 3")),
        content("newer, with a sign and spaces", " +3 ").fails(8, &too_new("version 3")),
        content("huge", "9223372036854775807").fails(8, &too_new("9223372036854775807")),
        content("larger than any number", "99999999999999999999999999").fails(8, &too_new("9223372036854775807")),
        with_store("a folder", |o| folder(&o.data().join(FILE))).fails(5, &[FILE, "regular file"]),
        with_store("a pipe", |o| home::pipe(&o.data().join(FILE))).fails(5, &[FILE, "regular file"]),
        with_store("a file that may not be read", |o| {
            plant(o, FILE, b"2");
            hivemind_tests::set_mode(&o.data().join(FILE), 0);
        })
        .unprivileged()
        .fails(5, &["error[denied]", FILE]),
    ];
    try_all(Some(JSON), &cases, 8);
}
