use super::*;
use crate::vectors;

#[test]
fn what_the_reference_takes_is_taken_and_written_as_it_was() {
    for vector in vectors::of("envelopes") {
        let text = vectors::text(vector, "text");
        let is_taken = vector["taken"].as_bool().expect("a verdict");
        let envelope = Envelope::parse(text);
        assert_eq!(envelope.is_ok(), is_taken, "{text}");
        if let Ok(envelope) = envelope {
            let mut out = Vec::new();
            envelope.write(&mut out);
            let again = Envelope::from_bytes(&out).expect("an envelope");
            assert_eq!(
                (again.kind, again.payload, again.target_site_id),
                (envelope.kind, envelope.payload, envelope.target_site_id)
            );
            let mut once_more = Vec::new();
            again.write(&mut once_more);
            assert_eq!(String::from_utf8(out), String::from_utf8(once_more), "one form");
        }
    }
}

#[test]
fn more_is_refused_than_the_reference_refuses() {
    for (text, error) in [
        (r#"{"msg_type": "hello"}"#, EnvelopeError::Payload),
        (r#"{"msg_type": "shake"}"#, EnvelopeError::Payload),
        (r#"{"msg_type": "bus", "payload": null}"#, EnvelopeError::Payload),
        (r#"{"msg_type": "bus", "payload": [1]}"#, EnvelopeError::Payload),
        (r#"{"msg_type": "bus", "payload": {}, "msg_type": "bus"}"#, EnvelopeError::Malformed(Malformed::Repeated)),
        (r#"{"msg_type": "bus", "payload": {}, "pay\u006coad": {}}"#, EnvelopeError::Malformed(Malformed::Repeated)),
        (r#"{"msg_type": "bus", "payload": {}, "route": {}}"#, EnvelopeError::Malformed(Malformed::Member("route"))),
        (r#"{"msg_type": "bus", "payload": {}, "metadata": []}"#, EnvelopeError::Malformed(Malformed::Member("metadata"))),
        (r#"{"msg_type": "bus", "payload": {}, "\ud800": 1}"#, EnvelopeError::UnknownMember),
    ] {
        assert_eq!(Envelope::parse(text).expect_err(text), error, "{text}");
    }
    assert_eq!(Envelope::from_bytes(b"{\"msg_type\": \"\xff\"}").expect_err("not UTF-8"), EnvelopeError::NotText);
}

#[test]
fn an_envelope_around_a_payload_has_every_member_of_the_reference() {
    let wrapped = wrap(MessageType::Bus, br#"{"type":"a"}"#);
    let mut written = Vec::new();
    Envelope::new(MessageType::Bus, RawJson::checked(r#"{"type":"a"}"#)).write(&mut written);
    assert_eq!(String::from_utf8(wrapped.clone()), String::from_utf8(written));
    let python = vectors::of("envelopes").iter().map(|v| vectors::text(v, "text")).find(|t| t.contains("\"ping\""));
    let names = |text: &str| -> Vec<String> {
        let value: serde_json::Value = serde_json::from_str(text).expect("JSON");
        value.as_object().expect("an object").keys().cloned().collect()
    };
    assert_eq!(names(std::str::from_utf8(&wrapped).expect("UTF-8")), names(python.expect("a ping")));
}

#[test]
fn a_message_is_not_shown() {
    let envelope = Envelope::parse(r#"{"msg_type":"bus","payload":{"planted":1},"node":"planted"}"#).expect("an envelope");
    assert!(!format!("{envelope:?}").contains("planted"));
    let error = Envelope::parse(r#"{"msg_type":"bus","planted":1}"#).expect_err("unknown");
    assert!(!format!("{error:?} {error} {}", error.reason()).contains("planted"));
}
