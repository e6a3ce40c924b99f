use super::*;

#[test]
fn everything_python_writes_comes_back_verbatim() {
    for text in [
        r#"{"a": NaN, "b": -Infinity, "c": 123456789012345678901234567890}"#,
        r#"["\ud800", "\u00e9", "é\/", 1.0, 1e400, -0]"#,
        "[]",
        "{}",
        r#""x""#,
    ] {
        assert_eq!(parse(text).expect(text).to_text(), text);
    }
}

#[test]
fn outermost_members_are_handed_out_as_they_come() {
    let text = r#"{"a": {"x": [1]}, "b": 2, "a": {"y": 1, "y": 3}}"#;
    let mut handed = Vec::new();
    assert_eq!(members(text, |m| handed.push((m.name.raw, m.raw, m.value.to_text()))), Ok(Json::Object(vec![])));
    let expected = [("a", r#"{"x": [1]}"#, r#"{"x": [1]}"#), ("b", "2", "2"), ("a", r#"{"y": 1, "y": 3}"#, r#"{"y": 3}"#)];
    assert_eq!(handed, expected.map(|(name, raw, value)| (name, raw, value.to_owned())));
    assert_eq!(members("[{\"a\": 1}]", |m| panic!("{m:?}")).map(|d| d.to_text()), Ok("[{\"a\": 1}]".to_owned()));
    let broken = "{\"a\": 1,\n \"b\" 2}";
    assert_eq!(members(broken, |_| ()), parse(broken));
}

#[test]
fn few_names_are_the_same_whether_they_are_escaped_or_not() {
    for (text, kept) in [(r#"{"a": 1, "\u0061": 2}"#, 1), (r#"{"a": 1, "b": 2, "a": 3}"#, 2), (r#"{"\u0062": 1, "a": 2}"#, 2)] {
        let Json::Object(members) = parse(text).expect(text) else { panic!("{text}") };
        assert_eq!(members.len(), kept, "{text}");
    }
}

#[test]
fn malformed_text_is_refused_with_its_place() {
    for (text, place) in [
        ("", (1, 1)),
        ("{", (1, 2)),
        ("[1,]", (1, 4)),
        ("{\"a\":1\n \"b\":2}", (2, 2)),
        ("01", (1, 3)),
        ("1.", (1, 3)),
        ("\"\\x\"", (1, 2)),
        ("\"\n\"", (1, 2)),
        ("nul", (1, 1)),
        ("1 2", (1, 3)),
        ("{\"a\" 1}", (1, 6)),
        ("\"\\u12g4\"", (1, 2)),
    ] {
        let error = parse(text).expect_err(text);
        assert_eq!((error.line, error.column), place, "{text}: {error}");
        assert_eq!(check(text, |_| ()), Err(error), "{text}");
    }
    let deep = "[".repeat(100_000);
    assert_eq!(parse(&deep).expect_err("deep").what, "nested too deep");
}

#[test]
fn comments_become_spaces_outside_of_strings_only() {
    let source = "{ // one\n \"a//b\": \"#\", # two é\n \"c\\\"//\": 1 }";
    let clean = without_comments(source);
    assert_eq!(clean.len(), source.len());
    let json = parse(&clean).expect("clean");
    assert_eq!(json.member("a//b").map(|m| m.raw), Some("\"#\""));
    assert_eq!(json.member("c\"//").map(|m| m.raw), Some("1"));
}

#[test]
fn canonical_equality_ignores_order_and_notation() {
    for (a, b, same) in [
        (r#"{"a":1,"b":[1.0]}"#, r#"{"b":[1],"a":1e0}"#, true),
        (r#"{"a":1}"#, r#"{"a":1,"b":2}"#, false),
        (r#""\u00e9""#, r#""é""#, true),
        (r#"{"a":1,"a":2}"#, r#"{"a":2}"#, true),
        ("[1,2]", "[2,1]", false),
        ("true", "1", false),
    ] {
        assert_eq!(parse(a).unwrap().same(&parse(b).unwrap()), same, "{a} {b}");
    }
}

#[test]
fn quoting_and_decoding_are_inverse() {
    let all: String = (0..0x300).filter_map(char::from_u32).chain(['\u{1f600}', '"', '\\']).collect();
    let quoted = quote(&all);
    let Json::String(text) = parse(&quoted).unwrap() else { panic!("a string") };
    assert_eq!(text.decode(), all);
    assert_eq!(parse("\"\\ud83d\\ude00\\/\"").unwrap(), Json::String(Text { raw: "\\ud83d\\ude00\\/" }));
    let Json::String(text) = parse("\"\\ud83d\\ude00\\/\"").unwrap() else { panic!("a string") };
    assert_eq!(text.decode(), "\u{1f600}/");
}

#[test]
fn the_indented_layout_is_pythons() {
    let mut out = String::new();
    parse(r#"{"a":{"x":{},"y":[1,2]},"b":[]}"#).unwrap().write_indented(0, &mut out);
    let expected = "{\n    \"a\": {\n        \"x\": {},\n        \"y\": [\n            1,\n            2\n        ]\n    },\n    \"b\": []\n}";
    assert_eq!(out, expected);

    let mut out = String::new();
    parse(r#"{"b":[],"a":{"y":1.50,"x":{}}}"#).unwrap().write_indented(1, &mut out);
    assert_eq!(out, "{\n        \"b\": [],\n        \"a\": {\n            \"y\": 1.50,\n            \"x\": {}\n        }\n    }");
}

#[test]
fn lone_surrogates_are_kept_apart_and_read_as_one_sign_each() {
    let text = r#"{"\ud800": 1, "\ud801": 2, "\uD800": 3}"#;
    let Json::Object(members) = parse(text).unwrap() else { panic!("an object") };
    let names: Vec<_> = members.iter().map(|m| (m.name.raw, m.raw)).collect();
    assert_eq!(names, [("\\ud801", "2"), ("\\uD800", "3")]);
    assert_eq!(members[0].name.to_str(), None);
    assert_eq!(members[0].name.decode(), "\u{fffd}");
    for (raw, decoded) in [
        (r"\ud83d\ud83d\ude00", "\u{fffd}\u{1f600}"),
        (r"a\udc00\ud800é", "a\u{fffd}\u{fffd}é"),
        (r"\ud800\ufffd", "\u{fffd}\u{fffd}"),
    ] {
        let text = Text { raw };
        assert_eq!((text.decode().as_ref(), text.to_str()), (decoded, None), "{raw}");
    }
    let lossy = parse(r#"{"\ud800": 1}"#).unwrap();
    assert!(lossy.member("\u{fffd}").is_none() && lossy.member("\\ud800").is_none());
    for (a, b, same) in [
        (r#""\ud800""#, r#""\uD800""#, true),
        (r#""\ud800""#, r#""\ud801""#, false),
        (r#""\ud800""#, r#""\ufffd""#, false),
        (r#"{"\ud800": 1, "\ud801": 2}"#, r#"{"\ud801": 2, "\uD800": 1}"#, true),
        (r#"{"\ud800": 1}"#, r#"{"\ud801": 1}"#, false),
    ] {
        assert_eq!(parse(a).unwrap().same(&parse(b).unwrap()), same, "{a} {b}");
    }
}

#[test]
fn two_huge_objects_are_compared_without_their_product() {
    const MEMBERS: usize = 5_000;
    let object = |names: &mut dyn Iterator<Item = usize>| {
        let members: Vec<_> = names.map(|n| format!("\"name {n}\": {n}")).collect();
        format!("{{{}}}", members.join(","))
    };
    let (forth, back) = (object(&mut (0..MEMBERS)), object(&mut (0..MEMBERS).rev()));
    let (forth, back) = (parse(&forth).unwrap(), parse(&back).unwrap());
    // Names of which a map's hashes are alike in part are compared too, hence the factor.
    let compared = names::compared::during(|| assert!(forth.same(&back)));
    assert!(compared <= 4 * MEMBERS, "{compared} names were compared");
    let few = (parse(r#"{"a":1,"b":2}"#).unwrap(), parse(r#"{"b":2,"a":1}"#).unwrap());
    assert!(few.0.same(&few.1));
}

#[test]
fn a_check_reads_as_the_parser_does_and_tells_the_outermost_names() {
    for (text, flat) in [(" null ", Flat::Null), ("[null]", Flat::Array), ("{}", Flat::Object)] {
        assert_eq!(check(text, |_| ()), Ok(flat), "{text}");
    }
    let mut names = Vec::new();
    let text = r#"{"a": {"inner": [{"x": 1}]}, "\u0062": [], "a": "a long text, so that it is read by words \" and on"}"#;
    assert_eq!(check(text, |name| names.push(name.decode().into_owned())), Ok(Flat::Object));
    assert_eq!(names, ["a", "b", "a"]);
    assert_eq!(check(&"[".repeat(100_000), |_| ()).expect_err("deep").what, "nested too deep");
}

#[test]
fn a_byte_that_ends_a_string_is_seen_wherever_it_stands() {
    for before in 0..20 {
        for after in [0, 1, 7, 8, 9] {
            for (byte, what) in [
                ("\"", "unexpected text after the document"),
                ("\\", "unknown escape"),
                ("\u{1f}", "control character in a string"),
            ] {
                let text = format!("\"{}{byte}{}\"", "é ".repeat(before), "~".repeat(after));
                assert_eq!(
                    parse(&text).expect_err(&text).what,
                    if after == 0 && byte == "\\" { "string without end" } else { what },
                    "{text}"
                );
            }
        }
        let text = format!("\"{}\"", "\u{7f}\u{80} !#[]".repeat(before));
        assert_eq!(parse(&text).expect(&text).to_text(), text);
    }
}
