use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::noise::Setup;
use super::*;
use crate::key::StaticKey;
use crate::object::RawJson;
use crate::opening::{Hello, Offer};
use crate::psk::{Psk, psk_binding};
use crate::session::{Body, Message, Session};
use crate::vectors;

const HELLO: Hello<'_> = Hello { node_id: "node", pubkey: Some("PEM\n"), peer: "tracer::1::k\u{fc}che::\u{1}" };

fn raw(payload: &[u8]) -> RawJson<'_> {
    RawJson::parse(std::str::from_utf8(payload).expect("UTF-8")).expect("JSON")
}

fn psk(digit: &str) -> Psk {
    Psk::from_hex(&digit.repeat(64)).expect("64 digits")
}

fn key(digit: &str) -> StaticKey {
    StaticKey::from_hex(&digit.repeat(64)).expect("64 digits")
}

/// A satellite and a node that have the keys 1 and 2.
struct Pair {
    responder: Responder,
    initiator: Initiator,
}

impl Pair {
    fn new(known_key: bool, suite: Suite, psk: &Psk) -> Self {
        let (satellite, node) = (key("1"), key("2"));
        let (hello, offer) = (HELLO.payload(), Offer { known_key }.payload());
        let satellite_knows = Satellite { key: &satellite, psk, suite, known: known_key.then(|| node.public()) };
        Self {
            responder: Responder::new(&node, &hello, &offer, known_key.then(|| satellite.public())),
            initiator: Initiator::new(satellite_knows, raw(&hello), raw(&offer)).expect("offered"),
        }
    }
}

/// Both ends of a session.
pub(crate) fn met() -> (Session, Session) {
    let Pair { mut responder, mut initiator } = Pair::new(false, Suite::ChaChaPoly, &psk("3"));
    responder.select(raw(&initiator.first().expect("a message"))).expect("offered");
    let Step::Reply(second) = responder.read_first(&psk("3")).expect("the message fits") else { panic!("not XXpsk2") };
    let Step::Done { reply, session: satellite, .. } = initiator.read(raw(&second)).expect("it fits") else { panic!("not done") };
    let third = reply.expect("a third message");
    let Step::Done { session: node, .. } = responder.read_last(raw(&third)).expect("it fits") else { panic!("not done") };
    (satellite, node)
}

#[test]
fn those_who_share_a_password_meet() {
    for suite in [Suite::ChaChaPoly, Suite::AesGcm] {
        for known in [false, true] {
            let Pair { mut responder, mut initiator } = Pair::new(known, suite, &psk("3"));
            let pattern = if known { Pattern::KKpsk0 } else { Pattern::XXpsk2 };
            let first = initiator.first().expect("a message");
            assert_eq!(responder.select(raw(&first)), Ok(Selected { pattern, suite }));
            let (second, ended) = match responder.read_first(&psk("3")).expect("it fits") {
                Step::Reply(second) => (second, None),
                Step::Done { reply, session, remote_static, pattern } => {
                    (reply.expect("a second message"), Some((session, remote_static, pattern)))
                }
            };
            let Step::Done { reply: third, session: mut satellite, remote_static, .. } =
                initiator.read(raw(&second)).expect("it fits")
            else {
                panic!("not done")
            };
            assert_eq!(remote_static, key("2").public());
            assert_eq!((third.is_none(), ended.is_some()), (known, known));
            let (mut node, remote, used) = ended.unwrap_or_else(|| {
                let third = third.expect("a third message");
                match responder.read_last(raw(&third)).expect("it fits") {
                    Step::Done { reply: None, session, remote_static, pattern } => (session, remote_static, pattern),
                    other => panic!("{other:?}"),
                }
            });
            assert_eq!((remote, used), (key("1").public(), pattern));
            satellite
                .seal(Body::Json, b"{}", &mut |frame| assert_eq!(node.open(&frame), Ok(Some(Message::Json("{}")))))
                .expect("sealed");
            node.seal(Body::Binary, b"x", &mut |frame| assert_eq!(satellite.open(&frame), Ok(Some(Message::Binary(b"x")))))
                .expect("sealed");
        }
    }
}

#[test]
fn another_password_does_not_fit() {
    // XXpsk2: it is the satellite that finds out, by the second message.
    let Pair { mut responder, mut initiator } = Pair::new(false, Suite::ChaChaPoly, &psk("3"));
    responder.select(raw(&initiator.first().expect("a message"))).expect("offered");
    let Step::Reply(second) = responder.read_first(&psk("4")).expect("the password is not in it yet") else { panic!() };
    assert_eq!(initiator.read(raw(&second)).expect_err("another password"), HandshakeError::Failed);
    // KKpsk0: it is the node, by the first.
    let Pair { mut responder, mut initiator } = Pair::new(true, Suite::ChaChaPoly, &psk("3"));
    responder.select(raw(&initiator.first().expect("a message"))).expect("offered");
    assert_eq!(responder.read_first(&psk("4")).expect_err("another password"), HandshakeError::Failed);
    assert_eq!(responder.read_first(&psk("3")).expect_err("it has failed"), HandshakeError::OutOfTurn);
}

#[test]
fn an_offer_that_was_changed_does_not_fit() {
    let (node, satellite) = (key("2"), key("1"));
    let (hello, offer) = (HELLO.payload(), Offer { known_key: false }.payload());
    let changed = [
        (String::from_utf8(hello.clone()).expect("UTF-8").replace("tracer", "other"), String::from_utf8(offer.clone())),
        (String::from_utf8(hello.clone()).expect("UTF-8"), Ok(String::from_utf8_lossy(&offer).replace("[]", "[\"AES\"]"))),
    ];
    for (said, offered) in changed {
        let offered = offered.expect("UTF-8");
        let knows = Satellite { key: &satellite, psk: &psk("3"), suite: Suite::ChaChaPoly, known: None };
        let mut initiator = Initiator::new(knows, raw(said.as_bytes()), raw(offered.as_bytes())).expect("offered");
        let mut responder = Responder::new(&node, &hello, &offer, None);
        responder.select(raw(&initiator.first().expect("a message"))).expect("offered");
        assert_eq!(responder.read_first(&psk("3")).expect_err("it was changed"), HandshakeError::Failed);
    }
    // White space and order are not what is bound.
    let loose = String::from_utf8(offer.clone()).expect("UTF-8").replace(',', " , ");
    let knows = Satellite { key: &satellite, psk: &psk("3"), suite: Suite::ChaChaPoly, known: None };
    let mut initiator = Initiator::new(knows, raw(&hello), raw(loose.as_bytes())).expect("offered");
    let mut responder = Responder::new(&node, &hello, &offer, None);
    responder.select(raw(&initiator.first().expect("a message"))).expect("offered");
    assert!(responder.read_first(&psk("3")).is_ok());
}

#[test]
fn what_is_no_first_message_is_refused_with_the_reason_of_the_reference() {
    let suite = Suite::ChaChaPoly.word();
    let asked = |pattern: &str, suite: &str| format!(r#"{{"noise":{{"pattern":{pattern},"suite":{suite},"msg":"00"}}}}"#);
    let long = "\\u0007x".repeat(1000);
    for (payload, reason) in [
        ("{}".to_owned(), "this node requires the v3 Noise handshake"),
        (r#"{"envelope": "v2"}"#.to_owned(), "this node requires the v3 Noise handshake"),
        (r#"{"noise": 5}"#.to_owned(), "malformed Noise envelope"),
        (r#"{"noise": {}}"#.to_owned(), "malformed Noise envelope"),
        (r#"{"noise": {"msg": "0"}}"#.to_owned(), "malformed Noise envelope"),
        (r#"{"noise": {"msg": "zz"}}"#.to_owned(), "malformed Noise envelope"),
        (r#"{"noise": {"msg": ["00"]}}"#.to_owned(), "malformed Noise envelope"),
        (r#"{"noise": {"msg": "00", "msg": "00"}}"#.to_owned(), "malformed Noise envelope"),
        (format!(r#"{{"noise": {{"msg": "{}"}}}}"#, "00".repeat(65536)), "malformed Noise envelope"),
        (r#"{"noise": {"msg": "00"}}"#.to_owned(), "pattern/suite not offered: None/None"),
        (asked("\"NN\"", &format!("\"{suite}\"")), "pattern/suite not offered: NN/25519_ChaChaPoly_SHA256"),
        (asked("\"KKpsk0\"", &format!("\"{suite}\"")), "pattern/suite not offered: KKpsk0/25519_ChaChaPoly_SHA256"),
        (asked("\"XXpsk2\"", "\"448\""), "pattern/suite not offered: XXpsk2/448"),
        (
            asked(&format!("\"{long}\""), &format!("\"{long}\"")),
            &format!("pattern/suite not offered: {}/{}", "x".repeat(44), "x".repeat(44)),
        ),
    ] {
        let mut responder = Responder::new(&key("2"), &HELLO.payload(), &Offer { known_key: false }.payload(), None);
        let error = responder.select(raw(payload.as_bytes())).expect_err(&payload);
        assert_eq!(error.reason(), reason, "{payload:.80}");
        assert!(error.reason().len() <= 123, "it fits into a close frame");
        assert_eq!(responder.read_first(&psk("3")).expect_err("refused"), HandshakeError::OutOfTurn);
    }
    // A key that is pinned but was not offered; and one that was offered but is not pinned.
    let asks = asked("\"KKpsk0\"", &format!("\"{suite}\""));
    for (known_key, pinned) in [(false, Some(key("1").public())), (true, None)] {
        let mut responder = Responder::new(&key("2"), &HELLO.payload(), &Offer { known_key }.payload(), pinned);
        assert!(matches!(responder.select(raw(asks.as_bytes())), Err(HandshakeError::NotOffered { .. })));
    }
}

#[test]
fn steps_are_taken_in_turn() {
    let Pair { mut responder, mut initiator } = Pair::new(false, Suite::ChaChaPoly, &psk("3"));
    let first = initiator.first().expect("a message");
    assert!(initiator.first().is_err());
    assert_eq!(responder.read_first(&psk("3")).expect_err("nothing to read"), HandshakeError::OutOfTurn);
    assert_eq!(responder.select(raw(&first)).expect_err("it is over"), HandshakeError::OutOfTurn);
    let Pair { mut responder, .. } = Pair::new(false, Suite::ChaChaPoly, &psk("3"));
    assert_eq!(responder.read_last(raw(&first)).expect_err("too early"), HandshakeError::OutOfTurn);
}

#[test]
fn keys_and_passwords_are_not_shown() {
    let Pair { mut responder, initiator } = Pair::new(true, Suite::AesGcm, &psk("3"));
    let shown = format!("{responder:?} {initiator:?} {:?} {:?}", psk("3"), key("2"));
    assert!(!shown.contains("333333") && !shown.contains("222222"), "{shown}");
    let error = responder.select(raw(br#"{"noise":{"msg":"planted"}}"#)).expect_err("malformed");
    assert!(!format!("{error:?} {error} {}", error.reason()).contains("planted"));
}

#[test]
fn keys_are_read_from_their_files_and_written_as_they_were() {
    let text = "a".repeat(64);
    for file in [text.clone(), format!("{text}\n"), format!(" {}\r\n", text.to_uppercase())] {
        let key = StaticKey::from_hex(&file).expect("a key");
        assert_eq!(key.to_hex().as_str(), text);
    }
    for bad in ["", "a", &"a".repeat(63), &"a".repeat(66), &"g".repeat(64), &"\u{e9}".repeat(32)] {
        assert!(StaticKey::from_hex(bad).is_none(), "{bad}");
        assert!(Psk::from_hex(bad).is_none(), "{bad}");
    }
    let made = StaticKey::generate().expect("randomness");
    assert_ne!(made.public(), StaticKey::generate().expect("randomness").public());
    assert_eq!(StaticKey::from_hex(&made.to_hex()).expect("a key").public(), made.public());
}

#[test]
fn a_password_gives_the_key_that_python_derives() {
    for vector in vectors::of("psks") {
        let (password, node_id) = (vectors::text(vector, "password"), vectors::text(vector, "node_id"));
        assert_eq!(Psk::derive(password, node_id).to_hex().as_str(), vectors::text(vector, "psk"));
        assert_eq!(psk_binding(node_id, password), vectors::text(vector, "binding"));
    }
}

/// A transcript of the Python packages, and the same by this crate with the same keys.
#[test]
fn every_message_is_that_of_the_reference() {
    for vector in vectors::of("handshakes") {
        let public = |name: &str| <[u8; 32]>::try_from(vectors::bytes(&vector["keys"][name], "public")).expect("32 bytes");
        let private = |name: &str| vectors::text(&vector["keys"][name], "private").to_owned();
        let ephemeral = |name: &str| <[u8; 32]>::try_from(vectors::bytes(&vector["keys"][name], "private")).expect("32 bytes");
        let (satellite, node) = (StaticKey::from_hex(&private("satellite")), StaticKey::from_hex(&private("node")));
        let (satellite, node) = (satellite.expect("a key"), node.expect("a key"));
        assert_eq!((satellite.public(), node.public()), (public("satellite"), public("node")));
        let (hello, offer) = (vector["hello"].to_string(), vector["offer"].to_string());
        let psk = Psk::from_hex(vectors::text(vector, "psk")).expect("a key");
        let known = vectors::text(vector, "pattern") == "KKpsk0";
        let suite = [Suite::ChaChaPoly, Suite::AesGcm].into_iter().find(|s| s.word() == vectors::text(vector, "suite"));

        let setup = Setup {
            key: &satellite,
            psk: &psk,
            hello: hello.as_bytes(),
            offer: offer.as_bytes(),
            remote: known.then(|| node.public()),
            ephemeral: Some(ephemeral("satellite ephemeral")),
        };
        let mut initiator = Initiator::with(&setup, suite.expect("a suite")).expect("offered");
        let pinned = known.then(|| satellite.public());
        let mut responder = Responder::new(&node, hello.as_bytes(), offer.as_bytes(), pinned);
        responder.ephemeral = Some(ephemeral("node ephemeral"));

        let written = vector["messages"].as_array().expect("messages");
        let noise = |payload: &[u8]| -> Value { serde_json::from_slice::<Value>(payload).expect("JSON")["noise"]["msg"].clone() };
        let first = initiator.first().expect("a message");
        assert_eq!(noise(&first), written[0]["message"]);
        responder.select(raw(&first)).expect("offered");
        let (second, ended) = match responder.read_first(&psk).expect("it fits") {
            Step::Reply(second) => (second, None),
            Step::Done { reply, session, .. } => (reply.expect("a reply"), Some(session)),
        };
        assert_eq!(noise(&second), written[1]["message"]);
        let Step::Done { reply, session: mut up, .. } = initiator.read(raw(&second)).expect("it fits") else { panic!() };
        let mut down = ended.unwrap_or_else(|| {
            let third = reply.expect("a third message");
            assert_eq!(noise(&third), written[2]["message"]);
            let Step::Done { session, .. } = responder.read_last(raw(&third)).expect("it fits") else { panic!() };
            session
        });
        for sealed in vector["sealed"].as_array().expect("messages") {
            compare_sealed(sealed, &mut up, &mut down);
        }
    }
}

fn compare_sealed(sealed: &Value, up: &mut Session, down: &mut Session) {
    let length = usize::try_from(sealed["length"].as_u64().expect("a length")).expect("small");
    let is_json = sealed["json"] == true;
    let body = match (is_json, length) {
        (true, 8) => "\"k\u{fc}che\"".as_bytes().to_vec(),
        (true, 2) if sealed["direction"] == "down" => b"{}".to_vec(),
        (true, _) => format!("\"{}\"", "a".repeat(length - 2)).into_bytes(),
        (false, 256) => (0..=255).collect(),
        (false, _) => vec![0; length],
    };
    let hash = |bytes: &[u8]| base16ct::lower::encode_string(&Sha256::digest(bytes));
    assert_eq!(hash(&body), vectors::text(sealed, "body"), "the script's messages have changed");
    let (from, to) = if sealed["direction"] == "up" { (up, down) } else { (down, up) };
    let mut frames = Vec::new();
    from.seal(if is_json { Body::Json } else { Body::Binary }, &body, &mut |frame| frames.push(frame)).expect("sealed");
    let shown: Vec<_> = frames.iter().map(|f| if f.len() < 500 { base16ct::lower::encode_string(f) } else { hash(f) }).collect();
    assert_eq!(serde_json::json!(shown), sealed["frames"]);
    let (last, before) = frames.split_last().expect("a frame");
    assert!(before.iter().all(|frame| to.open(frame) == Ok(None)));
    match to.open(last).expect("the next frame").expect("whole") {
        Message::Json(text) => assert!(is_json && text.as_bytes() == body),
        Message::Binary(bytes) => assert!(!is_json && bytes == body),
    }
}
