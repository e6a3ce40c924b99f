use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::collection::{Legacy, Retired};

fn collection() -> Collection {
    let mut c =
        Collection::new("c", 1, "id", Kind::Int).field("t", Kind::Text).field_with("r", Kind::Real, -1.0, crate::Index::None);
    c = c.field("meta", Kind::Json).field("blob", Kind::Blob);
    c.extras = Some(3);
    c.legacy = vec![
        Legacy { name: "skills".to_owned(), rule: LegacyRule::Fold },
        Legacy { name: "messages".to_owned(), rule: LegacyRule::Drop },
    ];
    c.retired = vec![Retired { name: "skills".to_owned(), before: None }];
    c
}

fn fold(text: &str) -> String {
    let c = collection();
    let once = to_json(&from_json(&c, text).expect(text).view(&c).expect("view"));
    let twice = to_json(&from_json(&c, &once).expect("again").view(&c).expect("view"));
    assert_eq!(once, twice, "folding is idempotent");
    once
}

#[test]
fn unknown_and_legacy_names_fold_without_overwriting() {
    assert_eq!(
        fold(r#"{"id": 1, "skills": ["a"], "messages": ["b"], "odd": 12345678901234567890, "meta": {"odd": 1, "messages": 2}}"#),
        r#"{"blob": null, "id": 1, "meta": {"odd": 1, "skills": ["a"]}, "r": -1.0, "t": null}"#
    );
    assert_eq!(
        fold(r#"{"id": 2.0, "t": "é\n", "meta": [1], "skills": null, "blob": "AP8="}"#),
        r#"{"blob": "AP8=", "id": 2, "meta": {}, "r": -1.0, "t": "é\n"}"#
    );
}

#[test]
fn a_legacy_value_that_says_nothing_vanishes() {
    for falsy in ["null", "false", "0", "-0.0", "\"\"", "[]", "{}"] {
        let folded = fold(&format!(r#"{{"id": 1, "skills": {falsy}, "meta": {{}}}}"#));
        assert_eq!(folded, r#"{"blob": null, "id": 1, "meta": {}, "r": -1.0, "t": null}"#, "{falsy}");
    }
    for value in ["true", "1", "\"a\"", "[0]", "{\"a\": 0}", "NaN"] {
        let folded = fold(&format!(r#"{{"id": 1, "skills": {value}, "meta": {{}}}}"#));
        assert!(folded.contains(&format!(r#""meta": {{"skills": {value}}}"#)), "{folded}");
    }
}

#[test]
fn a_row_is_folded_where_it_is_not_and_let_be_where_it_is() {
    let c = collection();
    for (meta, expected) in [
        (Value::Nil, Some("{}")),
        (Value::Json("[1]".to_owned()), Some("{}")),
        (Value::Json(r#"{"messages":1,"a":2}"#.to_owned()), Some(r#"{"a": 2}"#)),
        (Value::Json(r#"{"a":2}"#.to_owned()), None),
    ] {
        let row = Row::builder(&c).set("id", 1).and_then(|b| b.set("meta", meta)).expect("a row").build();
        let new = folded(&row.view(&c).expect("a view")).expect("folded");
        let text = new.map(|n| n.view(&c).expect("a view").get("meta").and_then(|m| m.as_str().map(str::to_owned)));
        assert_eq!(text, expected.map(|e| Some(e.to_owned())));
    }
}

#[test]
fn many_unknown_names_are_folded_without_their_product() {
    const NAMES: usize = 5_000;
    let names = |from: usize, quoted: &str| {
        let all: Vec<_> = (from..from + NAMES).map(|n| format!("\"{quoted}{n}\": {n}")).collect();
        all.join(", ")
    };
    let text = format!("{{\"id\": 1, \"meta\": {{{}}}, {}}}", names(0, "x"), names(NAMES / 2, "x"));
    let compared = json::names::compared::during(|| {
        let row = from_json(&collection(), &text).expect("a row");
        let view = row.view(&collection()).expect("a view").get("meta").and_then(|v| v.as_str().map(str::to_owned));
        let Ok(Json::Object(members)) = json::parse(view.as_deref().unwrap_or("")) else { panic!("an object") };
        assert_eq!(members.len(), NAMES + NAMES / 2);
    });
    assert!(compared <= 20 * NAMES, "{compared} names were compared");
}

#[test]
fn null_in_a_json_field_is_nil_and_is_folded_as_nil() {
    let c = Collection::new("c", 1, "id", Kind::Int).field("j", Kind::Json).field("k", Kind::Json);
    let json = |text: &str| Value::Json(text.to_owned());
    let row = |j: Value, k: Value| crate::row::encode([Value::Int(1), j, k].iter().map(Value::as_ref));
    let stored = |row: Row| as_stored(&c, &row).expect("folded").into_owned();
    assert_eq!(stored(row(json(" null\n"), json("[null]"))), row(Value::Nil, json("[null]")));
    assert_eq!(stored(row(json("\"null\""), Value::Nil)), row(json("\"null\""), Value::Nil));
    let mut c = c;
    c.extras = Some(2);
    assert_eq!(as_stored(&c, &row(json("null"), json("null"))).expect("folded").as_ref(), &row(Value::Nil, json("{}")));
}

#[test]
fn half_a_surrogate_pair_is_no_text_and_its_names_are_folded_apart() {
    for text in [r#"{"id": 1, "t": "\ud800"}"#, r#"{"id": 1, "blob": "\ud800"}"#] {
        let error = from_json(&collection(), text).expect_err(text);
        assert_eq!(error.code(), crate::Code::Invalid, "{error}");
    }
    assert_eq!(
        fold(r#"{"id": 1, "\ud800": 1, "\ud801": 2, "meta": {"\ud801": 3}}"#),
        r#"{"blob": null, "id": 1, "meta": {"\ud801": 3, "\ud800": 1}, "r": -1.0, "t": null}"#
    );
}

#[test]
fn what_can_be_read_of_a_damaged_record_is_saved_from_it() {
    let salvaged = |text: &str| salvaged(&collection(), &json::parse(text).expect("JSON"));
    assert_eq!(salvaged(r#"{"id": 7, "t": "x", "r": "never", "meta": {}}"#), [(0, 7.into()), (1, "x".into())]);
    assert_eq!(salvaged(r#"{"id": "7", "t": "x"}"#), [(1, "x".into()), (2, (-1.0).into())]);
    assert_eq!(salvaged("null"), []);
}

#[test]
fn a_value_of_another_kind_names_its_field() {
    for (text, field) in [
        (r#"{"id": "1"}"#, "id"),
        (r#"{"id": 1.5}"#, "id"),
        (r#"{"id": 99999999999999999999}"#, "id"),
        (r#"{"id": 1, "r": NaN}"#, "r"),
        (r#"{"id": 1, "r": 1e999}"#, "r"),
        (r#"{"id": 1, "t": 5}"#, "t"),
        (r#"{"id": 1, "blob": "!"}"#, "blob"),
    ] {
        let error = from_json(&collection(), text).expect_err(text);
        assert_eq!(error.detail().field.as_deref(), Some(field), "{text}: {error}");
    }
}

/// Any JSON value: those that fields take, those that they do not, and what is in objects that extras may or may not hold.
fn any_value() -> impl Strategy<Value = String> {
    let names = prop::sample::select(vec!["a", "messages", "skills", "m\\u0065ssages", "\\ud800"]);
    let leaf = prop_oneof![
        prop::sample::select(vec![
            "null",
            "true",
            "false",
            "0",
            "1",
            "-0",
            "2.0",
            "1e2",
            "1e400",
            "NaN",
            "-Infinity",
            "12345678901234567890123",
            "9223372036854775807",
            "0.10000000000000001",
            "[]",
            "{}",
            "[1,[{\"messages\":1}]]",
            "\"AP8=\"",
            "\"\"",
        ])
        .prop_map(str::to_owned),
        any::<i64>().prop_map(|n| n.to_string()),
        any::<f64>().prop_map(|n| format!("{n:?}").replace("inf", "Infinity")),
        "([ -!#-\\[\\]-~é🙂]|\\\\n|\\\\u0041|\\\\ud83d\\\\ude00|\\\\udc00){0,6}".prop_map(|text| format!("\"{text}\"")),
    ];
    let inside = prop::collection::vec((names, leaf.clone()), 0..4);
    prop_oneof![3 => leaf, 1 => inside.prop_map(|members| object(&members))]
}

fn object<N: AsRef<str>>(members: &[(N, String)]) -> String {
    let members: Vec<_> = members.iter().map(|(name, value)| format!(" \"{}\" :{value}", name.as_ref())).collect();
    format!("{{{}}}", members.join(","))
}

/// Names of fields, of what was one, of what never was, and other spellings of each.
fn any_record() -> impl Strategy<Value = String> {
    let fields = prop::sample::select(vec!["id", "t", "r", "meta", "meta", "blob"]);
    let others = prop::sample::select(vec!["skills", "messages", "odd", "\\u0074", "m\\u0065ta", "\\udc00"]);
    let member = (prop_oneof![9 => fields, 1 => others], any_value());
    prop::collection::vec(member, 0..9).prop_map(|members| object(&members))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn a_record_that_is_read_without_a_tree_is_what_the_rules_make_of_it(text in any_record(), cut in any::<prop::sample::Index>()) {
        let c = collection();
        let rules = |text: &str| match json::parse(text) {
            Ok(Json::Object(members)) => by_the_rules(&c, &members),
            _ => Err(Error::invalid("no object")),
        };
        let parsed = json::parse(&text).expect("an object");
        let Json::Object(members) = &parsed else { panic!("an object") };
        let expected = rules(&text);
        let form = Form::new(&Arc::new(c.clone()));
        for row in [plain::from_text(&c, &text), plain::from_members(&c, members), form.row(&text)].into_iter().flatten() {
            prop_assert_eq!(Ok(&row), expected.as_ref(), "{}", &text);
        }
        if let Ok(row) = &expected {
            let view = RowView::keyless(&c, row.as_bytes()).expect("a view");
            let written = to_json(&view);
            let read = form.row(&written);
            prop_assert!(read.as_ref().is_none_or(|read| read == row), "{}", &written);
            // Escapes and bytes are decoded by the rules.
            prop_assert!(read.is_some() || written.contains('\\') || !view.at(4).is_nil(), "{}", &written);
        }
        prop_assert_eq!(from_json(&c, &text).ok(), expected.ok(), "{}", &text);
        // Half a record is none.
        let half = text.chars().take(cut.index(text.chars().count())).collect::<String>();
        prop_assert_eq!(plain::from_text(&c, &half), None);
        prop_assert!(from_json(&c, &half).is_err());
    }
}

#[test]
fn what_is_ordinary_is_read_without_a_tree() {
    let c = collection();
    for text in [
        r#"{"id": null, "r": -0.0, "meta": {}}"#,
        r#"{"meta": {"a": [{"messages": 1}, NaN]}, "t": "a\u0062\n", "id": 7, "r": -1}"#,
        r#"{"id": 1, "meta": {}, "t": "b", "t": "\u0061", "t": "c", "blob": null}"#,
        " { \"id\" : 1 , \"r\" : 1e3 , \"meta\" : { \"n\" : 1.50 } } ",
    ] {
        let Json::Object(members) = json::parse(text).expect(text) else { panic!("{text}") };
        assert_eq!(plain::from_text(&c, text), Some(by_the_rules(&c, &members).expect(text)), "{text}");
    }
    for text in [
        "[]",
        "[{\"id\": 1}]",
        r#"{"id": 1, "meta": {}, "odd": 2}"#,
        r#"{"id": 1, "meta": {"m\u0065ssages": 1}}"#,
        r#"{"id": 1.0, "meta": {}}"#,
    ] {
        assert_eq!(plain::from_text(&c, text), None, "{text}");
    }
}

#[test]
fn what_is_in_the_usual_form_is_read_by_it_and_nothing_else_is() {
    let c = collection();
    let form = Form::new(&Arc::new(c.clone()));
    let text = r#"{"blob": "aGk=", "id": 7, "meta": {"a": [{"messages": 1}, 1.50]}, "r": -1, "t": "Küche"}"#;
    let without_blob = text.replace("\"aGk=\"", "null");
    assert_eq!(form.row(&without_blob), Some(from_json(&c, &without_blob).expect("a record")));
    let nested =
        |depth: usize| without_blob.replace("[{\"messages\": 1}, 1.50]", &["[".repeat(depth), "]".repeat(depth)].concat());
    assert!(form.row(&nested(json::MAX_DEPTH - 2)).is_some());
    let odd = [
        // Bytes are decoded by the rules.
        text.to_owned(),
        without_blob.replace(", ", ","),
        without_blob.replace("\"id\": 7, ", ""),
        without_blob.replace("\"r\": -1", "\"r\": 1e999"),
        without_blob.replace("\"t\"", "\"u\""),
        without_blob.replace("Küche", "K\\u00fcche"),
        without_blob.replace("{\"a\"", "{\"messages\": 1, \"a\""),
        without_blob.replace("{\"a\"", "{\"m\\u0065ssages\": 1, \"a\""),
        without_blob.replace("{\"a\": [{\"messages\": 1}, 1.50]}", "null"),
        without_blob.replace("-1", "-1 "),
        format!("{without_blob} "),
        without_blob.replace("\"}", "\""),
        nested(json::MAX_DEPTH + 1),
        String::new(),
    ];
    for text in odd {
        assert_ne!(text, without_blob);
        assert_eq!(form.row(&text), None, "{text}");
    }
    for depth in json::MAX_DEPTH - 3..json::MAX_DEPTH + 3 {
        assert_eq!(form.row(&nested(depth)), from_json(&c, &nested(depth)).ok(), "{depth}");
    }
}
