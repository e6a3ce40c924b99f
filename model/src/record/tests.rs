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

#[test]
fn a_record_with_nothing_to_fold_is_read_as_by_the_rules() {
    let c = collection();
    let mut quick = 0;
    for text in [
        r#"{"id": 1}"#,
        r#"{"id": 1, "t": "\u00e9\n", "r": 1e3, "meta": {"a": [NaN, 1.0]}, "blob": null}"#,
        r#"{"id": null, "t": null, "r": -0.0, "meta": {}}"#,
        r#"{"id": 1, "t": "first", "t": "last"}"#,
        r#"{"id": 1, "meta": {"skills": [], "messages": 1}}"#,
        r#"{"id": 1, "meta": null}"#,
        r#"{"id": 1, "meta": [1]}"#,
        r#"{"id": 1.0, "blob": "AP8="}"#,
        r#"{"id": 1, "skills": ["a"]}"#,
        r#"{"\u0069d": 1}"#,
    ] {
        let Json::Object(members) = json::parse(text).expect(text) else { panic!("{text}") };
        if let Some(row) = as_it_stands(&c, &members) {
            quick += 1;
            assert_eq!(row, by_the_rules(&c, &members).expect(text), "{text}");
        }
    }
    assert_eq!(quick, 2);
}
