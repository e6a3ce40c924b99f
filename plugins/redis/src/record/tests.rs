use std::sync::Arc;

use hivemind_abi::model::{Index, Kind};

use super::*;

fn clients() -> Collection {
    let mut clients = Collection::new("clients", 2, "client_id", Kind::Int)
        .field_with("api_key", Kind::Text, Value::Nil, Index::Unique { except: Vec::new() })
        .field_with("last_seen", Kind::Real, -1.0, Index::None)
        .field_with("metadata", Kind::Json, Value::Json("{}".to_owned()), Index::None);
    clients.primary = true;
    clients.extras = Some(3);
    clients
}

fn form() -> Form {
    Form::new(&Arc::new(clients()))
}

fn read(text: &str) -> Stored {
    Raw::Text(text.as_bytes().to_vec()).read(&form(), &Key::Int(7))
}

#[test]
fn what_is_written_is_what_python_writes() {
    let clients = clients();
    let builder = Row::builder(&clients).set("client_id", 7).and_then(|b| b.set("api_key", "Küche \"1\"\u{7f}")).expect("a row");
    let text = |seen: f64| {
        let row = builder.clone().set("last_seen", seen).expect("a real").build();
        render(&form(), &row.view(&clients).expect("a view"))
    };
    assert_eq!(text(-1.0), "{\"api_key\": \"Küche \\\"1\\\"\u{7f}\", \"client_id\": 7, \"last_seen\": -1, \"metadata\": {}}");
    for (seen, expected) in [
        (1.0, "1.0"),
        (0.0, "0.0"),
        (1_690_000_000.25, "1690000000.25"),
        (1e16, "1e+16"),
        (9_999_999_999_999_998.0, "9999999999999998.0"),
        (1.5e300, "1.5e+300"),
        (0.0001, "0.0001"),
        (0.000_05, "5e-05"),
        (-1.25e-7, "-1.25e-07"),
        (5e-324, "5e-324"),
    ] {
        assert!(text(seen).contains(&format!("\"last_seen\": {expected},")), "{expected}: {}", text(seen));
    }
}

#[test]
fn a_record_is_readable_under_its_own_key_only() {
    assert!(matches!(read(r#"{"client_id": 7, "api_key": "k"}"#), Stored::Row(_)));
    assert_eq!(read("__hivemind_creating__"), Stored::Creating);
    assert_eq!(Raw::Absent.read(&form(), &Key::Int(7)), Stored::Absent);
    for (text, tells) in [
        (r#"{"client_id": 8, "api_key": "k"}"#, true),
        (r#"{"api_key": "k"}"#, true),
        (r#"{"client_id": 7, "api_key": "k", "last_seen": "never"}"#, true),
        ("[]", false),
        ("", false),
        ("{", false),
    ] {
        let stored = read(text);
        let Stored::Unreadable { values, .. } = &stored else { panic!("{text}: {stored:?}") };
        assert_eq!(values.is_some(), tells, "{text}");
        assert!(stored.has(&clients(), 1, ValueRef::Text("k")), "{text}");
        assert_eq!(stored.has(&clients(), 1, ValueRef::Text("other")), !tells, "{text}");
    }
    assert!(matches!(Raw::OtherType.read(&form(), &Key::Int(7)), Stored::Unreadable { values: None, .. }));
}
