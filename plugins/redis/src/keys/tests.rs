use hivemind_abi::model::{Row, Value};

use super::*;

fn clients() -> Collection {
    let unique = Index::Unique { except: vec!["revoked".into()] };
    let mut clients = Collection::new("clients", 2, "client_id", Kind::Int)
        .field_with("api_key", Kind::Text, Value::Nil, unique)
        .field_with("name", Kind::Text, "", Index::None)
        .field_with("site", Kind::Text, Value::Nil, Index::Plain);
    clients.primary = true;
    clients
}

fn texts(keys: Vec<Vec<u8>>) -> Vec<String> {
    keys.into_iter().map(|key| String::from_utf8(key).expect("text")).collect()
}

fn row(collection: &Collection, set: &[(&str, &str)]) -> Row {
    let builder = Row::builder(collection).set("client_id", 7).expect("an id");
    set.iter().fold(builder, |builder, (name, value)| builder.set(name, *value).expect(name)).build()
}

#[test]
fn the_primary_collection_has_the_python_nodes_keys() {
    let clients = clients();
    let keys = Keys::new(&Namespace::new("client", None), &clients);
    assert_eq!(keys.record(&Key::Int(7)), b"client:client:7");
    assert_eq!(keys.parse_record(&clients, b"client:client:7"), Some(Key::Int(7)));
    for other in [&b"client:client:07"[..], b"client:client:", b"client:client:x", b"client:clients:7", b"client:client:7:x"] {
        assert_eq!(keys.parse_record(&clients, other), None);
    }
    let row = row(&clients, &[("name", "Küche"), ("api_key", "k"), ("site", "s")]);
    let view = row.view(&clients).expect("a view");
    assert_eq!(texts(keys.sets_of(&view)), ["client:api_key:k", "client:name:Küche", "client:indexes:clients:set:site:s"]);
    assert_eq!(keys.document(&Key::Int(7), &view), Some((b"client:idx:7".to_vec(), "Küche", "k")));
    assert_eq!(keys.admission(&view).as_deref(), Some(&b"client:api_key_record:k"[..]));
    assert_eq!((keys.count.as_deref(), keys.version.as_slice()), (Some(&b"client:count"[..]), &b"client:schema_version"[..]));
    let tagged = Keys::new(&Namespace::new("client", Some("hub")), &clients);
    assert_eq!(tagged.record(&Key::Int(7)), b"client:{hub}:client:7");
    assert_eq!(Namespace::new("client", Some("hub")).search_index(), "client_hub_search_index");
}

#[test]
fn who_is_revoked_or_nameless_is_in_no_set_of_names() {
    let clients = clients();
    let keys = Keys::new(&Namespace::new("client", None), &clients);
    for (name, api_key, expected) in [("a", "revoked", vec!["client:api_key:revoked"]), ("", "k", vec!["client:api_key:k"])] {
        let row = row(&clients, &[("name", name), ("api_key", api_key)]);
        assert_eq!(texts(keys.sets_of(&row.view(&clients).expect("a view"))), expected);
    }
    assert!(keys.is_complete(1) && !keys.is_complete(2) && keys.is_complete(3));
}

#[test]
fn a_client_that_python_could_not_index_is_refused() {
    let clients = clients();
    let keys = Keys::new(&Namespace::new("client", None), &clients);
    let row = row(&clients, &[("name", "a")]);
    let error = keys.check(&clients, &row.view(&clients).expect("a view")).expect_err("no access key");
    assert_eq!(error.detail().field.as_deref(), Some("api_key"));
}

#[test]
fn another_collection_has_keys_that_are_nobody_elses() {
    let name = Collection::new("name", 1, "slug", Kind::Text).field_with("n", Kind::Real, Value::Nil, Index::Plain);
    let keys = Keys::new(&Namespace::new("client", None), &name);
    assert_eq!(keys.record(&Key::from("a:b")), b"client:collections:name:record:a:b");
    assert_eq!(keys.parse_record(&name, b"client:collections:name:record:a:b"), Some(Key::from("a:b")));
    assert_eq!(keys.set(1, ValueRef::Real(-0.0)), keys.set(1, ValueRef::Real(0.0)));
    assert_eq!(keys.set(1, ValueRef::Nil), None);
    assert_eq!((keys.count, keys.id_seq), (None, None));
}

#[test]
fn a_pattern_matches_its_prefix_literally() {
    assert_eq!(pattern("a[1]*{x}:"), r"a\[1\]\*{x}:*");
}

#[test]
fn no_access_key_is_shown() {
    for (key, expected) in [
        ("client:api_key:secret", "client:api_key:…"),
        ("client:{t}:api_key_record:secret:1", "client:{t}:api_key_record:…"),
        ("client:indexes:x:set:code:secret", "client:indexes:x:set:…"),
        ("client:count", "client:count"),
    ] {
        assert_eq!(shown(key.as_bytes()), expected);
    }
}

#[test]
fn a_number_has_one_spelling() {
    let collection = Collection::new("c", 1, "id", Kind::Int);
    for (member, key) in
        [("0", 0), ("7", 7), ("-7", -7), ("10", 10), ("9223372036854775807", i64::MAX), ("-9223372036854775808", i64::MIN)]
    {
        assert_eq!(parse_member(&collection, member.as_bytes()), Some(Key::Int(key)));
    }
    for member in ["", "-", "+7", "07", "-07", "00", "-0", "7 ", "7.0", "9223372036854775808", "\u{663}"] {
        assert_eq!(parse_member(&collection, member.as_bytes()), None, "{member:?}");
    }
}
