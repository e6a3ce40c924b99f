use std::sync::Arc;

use hivemind_model::{Row, Value};
use hivemind_store::{Client, clients};

use super::*;

fn standing(fields: &[(&str, Value)]) -> Standing {
    let collection = clients::collection();
    let mut row = Row::builder(&collection).set("client_id", 1).expect("an id");
    row = row.set("allowed_types", Value::Json(r#"["t"]"#.to_owned())).expect("a whitelist");
    for (name, value) in fields {
        row = row.set(name, value.clone()).expect(name);
    }
    Standing::new(Arc::new(Client::from_row(&collection, &row.build()).expect("a client")))
}

fn admission(session: &str) -> Admission {
    let session = Object::parse(session).expect("a session");
    Admission::new("ns".to_owned(), Baseline::new(&session, "own"))
}

fn admit(admission: &mut Admission, payload: &str, chain: &[Policy], standing: &Standing) -> Result<String, Denial> {
    let request = Request::parse(RawJson::parse(payload).expect("JSON")).expect("a bus message");
    admission.admit(&request, (chain, standing), "peer")
}

#[test]
fn what_is_not_looked_at_stays_as_it_was_written() {
    let (mut admission, standing) = (admission(r#"{"a": 1.0}"#), standing(&[]));
    let payload = concat!(
        r#"{"type": "t", "data": {"n": [1e400, 1.50, 123456789012345678901234567890, NaN, "\ud800", "\u00fc"]}, "#,
        r#""context": {"x": 1.0E+2, "session": {"session_id": "s\u00fc\n", "y": -0.0}}}"#
    );
    let admitted = admit(&mut admission, payload, &[], &standing).expect("allowed");
    let expected = concat!(
        r#"{"type":"t","data":{"n": [1e400, 1.50, 123456789012345678901234567890, NaN, "\ud800", "\u00fc"]},"#,
        r#""context":{"x":1.0E+2,"peer":"peer","source":"peer","destination":"hivemind","#,
        r#""session":{"y":-0.0,"a":1.0,"session_id":"ns:s\u00fc\n"}}}"#
    );
    assert_eq!(admitted, expected);
    assert_eq!(admit(&mut admission, payload, &[], &standing).expect("allowed"), expected, "the same context again");
}

#[test]
fn no_spelling_of_a_label_gets_past() {
    let (mut admission, standing) = (admission("{}"), standing(&[]));
    let payload = concat!(
        r#"{"type":"t","context":{"sour\u0063e":"x","p\u0065er":"x","\u0064estination":"x","se\u0073sion":{"session_\u0069d":"mine"},"#,
        r#""\ud800":1}}"#
    );
    let admitted = admit(&mut admission, payload, &[], &standing).expect("allowed");
    let context = r#"{"\ud800":1,"peer":"peer","source":"peer","destination":"hivemind","session":{"session_id":"ns:mine"}}"#;
    assert_eq!(admitted, format!(r#"{{"type":"t","data":{{}},"context":{context}}}"#));
}

#[test]
fn a_name_that_stands_there_twice_is_refused() {
    let (mut admission, standing) = (admission("{}"), standing(&[]));
    for context in [r#"{"a":1,"a":2}"#, r#"{"session":{"session_id":"a","session_\u0069d":"b"}}"#] {
        let denied = admit(&mut admission, &format!(r#"{{"type":"t","context":{context}}}"#), &[], &standing);
        assert_eq!(denied.expect_err("denied").code, Denial::MALFORMED, "{context}");
    }
}

#[test]
fn what_was_kept_is_forgotten_when_told() {
    let (mut admission, client) = (admission("{}"), standing(&[]));
    let message = r#"{"type":"t","context":{"session":{"session_id":"s"}}}"#;
    assert!(admit(&mut admission, message, &[], &client).expect("allowed").contains("\"ns:s\""));
    let admin = standing(&[("is_admin", true.into())]);
    admission.forget();
    assert!(admit(&mut admission, message, &[], &admin).expect("allowed").contains("\"session_id\":\"s\""));
}

#[test]
fn a_context_that_is_too_long_is_not_kept() {
    let (mut admission, standing) = (admission("{}"), standing(&[]));
    let long = format!(r#"{{"type":"t","context":{{"x":"{}"}}}}"#, "y".repeat(KEPT_CONTEXT));
    for _ in 0..2 {
        assert!(admit(&mut admission, &long, &[], &standing).expect("allowed").contains("yyy"));
        assert!(admission.kept.is_none());
    }
}

#[test]
fn a_baseline_of_many_fields_is_found_in_any_order() {
    let fields = |order: &mut dyn Iterator<Item = usize>, value: &str| {
        order.map(|at| format!("\"f{at}\":{value}")).collect::<Vec<_>>().join(",")
    };
    let mut admission = admission(&format!("{{{}}}", fields(&mut (0..3000), "1")));
    let said = fields(&mut (0..3000).rev().filter(|at| at % 2 == 0), "2");
    let message = format!(r#"{{"type":"t","context":{{"session":{{{said}}}}}}}"#);
    let admitted = admit(&mut admission, &message, &[], &standing(&[])).expect("allowed");
    let object = Object::parse(&admitted).expect("JSON");
    let context = object.get("context").expect("a context").object().expect("an object");
    let session = context.get("session").expect("a session").object().expect("an object, each name once");
    assert_eq!(session.iter().count(), 3001);
    assert!((0..3000).all(|at| session.get(&format!("f{at}")).expect("there").get() == if at % 2 == 0 { "2" } else { "1" }));
}

#[test]
fn an_unreadable_blacklist_denies() {
    let metadata = |text: &str| standing(&[("metadata", Value::Json(text.to_owned()))]);
    for bad in [r#"{"skill_blacklist": "x"}"#, r#"{"intent_blacklist": {"a": 1}}"#, r#"{"skill_blacklist": 5}"#] {
        let denied = admit(&mut admission("{}"), r#"{"type":"t"}"#, &[Policy::Ovos], &metadata(bad)).expect_err("denied");
        assert_eq!((denied.code, &*denied.reason), (Denial::POLICY_ERROR, "policy raised"), "{bad}");
        assert!(admit(&mut admission("{}"), r#"{"type":"t"}"#, &[], &metadata(bad)).is_ok(), "nobody asked for it");
    }
    for good in [r#"{"skill_blacklist": 0}"#, r#"{"skill_blacklist": null, "intent_blacklist": ""}"#] {
        assert!(admit(&mut admission("{}"), r#"{"type":"t"}"#, &[Policy::Ovos], &metadata(good)).is_ok(), "{good}");
    }
}

#[test]
fn the_device_session_is_for_administrators() {
    let (client, admin) = (standing(&[]), standing(&[("is_admin", true.into())]));
    let denied = policy::check_session(&[], &client, "default").expect_err("denied");
    assert_eq!((denied.code, &*denied.data), (Denial::DEFAULT_SESSION, r#"{"session_id":"default"}"#));
    assert!(policy::check_session(&[], &client, "ns:default").is_ok());
    assert!(policy::check_session(&[], &admin, "default").is_ok());
}

#[test]
fn a_namespace_is_that_of_the_python_node() {
    // sha256("NODE KEY:1")[:16], as in the vectors that the Python node made.
    assert_eq!(namespace("NODE KEY", 1), "b96740a3e0d95c96");
}
