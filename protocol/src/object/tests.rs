use super::*;

fn written(object: &Object<'_>) -> String {
    let mut out = Vec::new();
    object.write(&mut out);
    String::from_utf8(out).expect("UTF-8")
}

#[test]
fn what_is_not_touched_stays_as_it_was_written() {
    let text = r#" { "n" : 123456789012345678901234567890, "f":1.50 , "s":"\u00e9\ud800","x": NaN, "o": {"a": [ 1 ]} } "#;
    let mut object = Object::parse(text).expect("an object");
    assert_eq!(written(&object), r#"{"n":123456789012345678901234567890,"f":1.50,"s":"\u00e9\ud800","x":NaN,"o":{"a": [ 1 ]}}"#);
    object.remove("n");
    object.remove("nothing");
    object.set_text("f", "a \"quoted\"\nline");
    object.set("new \"name\"", "[1]");
    assert_eq!(written(&object), r#"{"f":"a \"quoted\"\nline","s":"\u00e9\ud800","x":NaN,"o":{"a": [ 1 ]},"new \"name\"":[1]}"#);
    assert_eq!(object.text("f").as_deref(), Some("a \"quoted\"\nline"));
    assert_eq!(object.get("new \"name\"").map(RawJson::get), Some("[1]"));
    assert_eq!(object.text("s"), None, "no Rust string holds it");
    assert_eq!(object.get("o").expect("there").object().expect("an object").iter().count(), 1);
}

#[test]
fn names_are_compared_by_what_they_stand_for() {
    let mut object = Object::parse(r#"{"\u0061": 1, "\u005c": 2}"#).expect("an object");
    assert_eq!(object.get("a").map(RawJson::get), Some("1"));
    assert_eq!(object.get("\\").map(RawJson::get), Some("2"));
    assert!(object.get("\\u0061").is_none());
    object.set("a", "3");
    assert_eq!(written(&object), r#"{"\u0061":3,"\u005c":2}"#);
}

#[test]
fn repeated_names_are_refused_however_they_are_written() {
    let many = (0..1000).map(|n| format!("\"{n}\":0")).collect::<Vec<_>>().join(",");
    assert!(Object::parse(&format!("{{{many}}}")).is_ok());
    for text in [
        r#"{"a":1,"a":1}"#.to_owned(),
        r#"{"a":1,"\u0061":1}"#.to_owned(),
        r#"{"\ud800":1,"\uD800":1}"#.to_owned(),
        format!("{{{many},\"999\":0}}"),
    ] {
        assert_eq!(Object::parse(&text).expect_err(&text), Malformed::Repeated);
    }
}

#[test]
fn what_has_too_many_parts_is_not_taken_apart() {
    let members = |n: usize| format!("{{{}}}", (0..n).map(|n| format!("\"{n}\":0")).collect::<Vec<_>>().join(","));
    let items = |n: usize| format!("[{}]", vec!["0"; n].join(","));
    assert_eq!(Object::parse(&members(MAX_PARTS)).expect("an object").iter().count(), MAX_PARTS);
    assert_eq!(Object::parse(&members(MAX_PARTS + 1)).expect_err("too many"), Malformed::TooMany);
    assert_eq!(RawJson::parse(&items(MAX_PARTS)).expect("JSON").items().expect("a list").len(), MAX_PARTS);
    let many = items(MAX_PARTS + 1);
    assert_eq!(RawJson::parse(&many).expect("JSON").items(), Err(Malformed::TooMany));
    let inside = format!("{{\"a\":{many}}}");
    assert_eq!(Object::parse(&inside).expect("an object").get("a").map(RawJson::get), Some(&*many), "it is passed on");
}

#[test]
fn values_are_what_they_are() {
    let raw = |text| RawJson::parse(text).expect(text);
    assert_eq!(raw(" \"k\u{fc}che\\n\" ").as_str().as_deref(), Some("k\u{fc}che\n"));
    assert_eq!(raw("\"\"").as_str().as_deref(), Some(""));
    assert_eq!(raw("5").as_str(), None);
    assert!(raw("\tnull\r\n").is_null());
    assert!(raw(" {}").is_object() && !raw("[]").is_object());
    let items = raw(r#"[ "a" , [1,2], {"b": 3} ]"#).items().expect("a list");
    assert_eq!(items.iter().map(|item| item.get()).collect::<Vec<_>>(), [r#""a""#, "[1,2]", r#"{"b": 3}"#]);
    assert_eq!(raw("{}").items(), Err(Malformed::WrongKind));
    assert_eq!(Object::parse("[]").expect_err("a list"), Malformed::WrongKind);
    for bad in ["", "{", "\"", "{}{}", "[1,]", "nul", "\u{feff}{}"] {
        assert!(matches!(RawJson::parse(bad), Err(Malformed::NotJson(_))), "{bad}");
    }
    assert!(matches!(RawJson::parse(&"[".repeat(1_000_000)), Err(Malformed::NotJson(_))));
}
