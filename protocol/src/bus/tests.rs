use super::*;
use crate::vectors;

#[test]
fn what_the_reference_takes_is_taken() {
    for vector in vectors::of("buses") {
        let text = vectors::text(vector, "text");
        assert_eq!(Bus::parse(text).is_ok(), vector["taken"].as_bool().expect("a verdict"), "{text}");
    }
}

#[test]
fn numbers_survive() {
    let text =
        r#"{"type":"a\u0062","data":{"n":123456789012345678901234567890,"f":1.50,"x":NaN},"context":{"source":"b","z":-0}}"#;
    let mut bus = Bus::parse(text).expect("a message");
    assert_eq!(bus.kind, "ab");
    bus.context.set_text("source", "c");
    let mut out = Vec::new();
    bus.write(&mut out);
    let expected =
        r#"{"type":"ab","data":{"n":123456789012345678901234567890,"f":1.50,"x":NaN},"context":{"source":"c","z":-0}}"#;
    assert_eq!(String::from_utf8(out).expect("UTF-8"), expected);
}

#[test]
fn two_readers_cannot_read_two_messages() {
    for text in [
        r#"{"type":"allowed","type":"other"}"#,
        r#"{"type":"allowed","\u0074ype":"other"}"#,
        r#"{"type":"a","context":{"session":{},"session":{}}}"#,
    ] {
        assert_eq!(Bus::parse(text).expect_err(text), Malformed::Repeated);
    }
    assert_eq!(Bus::parse(r#"{"type":"\ud800"}"#).expect_err("no text"), Malformed::Member("type"));
}
