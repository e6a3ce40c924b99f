//! Before anybody is known: what is no authorization, what may be said in clear text, and what must not work.

use std::time::{Duration, Instant};

use hivemind_tests::node::raw::{self, Frame, Raw, envelope};
use hivemind_tests::waiting::HANGS;

use super::*;

on_both!(authorization, clear_text, no_hello_before_the_session, no_weak_password, health);

fn refused(reason: &str) -> Frame {
    Frame::Close(1008, reason.to_owned())
}

/// The upgrade always succeeds; the close frame says why nothing follows.
fn authorization(make: Make) {
    let stage = Stage::new(make, Backend::Sqlite, &[Client::new("key-kitchen")]);
    let port = stage.node.port();
    let cases = [
        ("", "invalid authorization"),
        ("?authorization=", "invalid authorization"),
        ("?authorization=bm9jb2xvbg==", "invalid authorization"),
        ("?authorization=OmtleQ==", "invalid authorization"),
        ("?authorization=bmFtZTo=", "invalid authorization"),
        ("?authorization=a2V5", "invalid authorization"),
        ("?authorization=bmFtZTprZXk=", "invalid api key"),
    ];
    for (query, reason) in cases {
        assert_eq!(Raw::open(port, query).end(), refused(reason), "{query:?}");
    }
    // The last of several counts, and what follows the first colon is the key.
    let good = raw::query("one", "key-kitchen");
    assert!(matches!(Raw::open(port, &format!("?authorization=bmFtZTprZXk=&{}", &good[1..])).read(), Frame::Text(_)));
    assert_eq!(Raw::open(port, &raw::query("one", "two:key-kitchen")).end(), refused("invalid api key"));
    // A `+` of base64: the Python node reads a space there and refuses who has a right to come in.
    let plus = "?authorization=YT4+Pj4+OmtleS1raXRjaGVu";
    match (make, Raw::open(port, plus).read()) {
        (Make::Ours, Frame::Text(hello)) => assert_eq!(hello["msg_type"], "hello"),
        (Make::Python, end) => assert_eq!(end, refused("invalid authorization")),
        (Make::Ours, other) => panic!("{other:?}"),
    }
    // Nothing else is served.
    assert!(Raw::try_open(port, "elsewhere").is_err_and(|e| e.contains("404")));
}

/// Nothing but HANDSHAKE is taken before there is a session, and each mistake has its reason.
fn clear_text(make: Make) {
    let stage = Stage::new(make, Backend::Sqlite, &[Client::new("key-kitchen")]);
    let noise =
        |pattern: &str, suite: &str, message: &str| json!({"noise": {"pattern": pattern, "suite": suite, "msg": message}});
    let suite = "25519_ChaChaPoly_SHA256";
    let cases = [
        ("no JSON".to_owned(), "invalid message"),
        ("[]".to_owned(), "invalid message"),
        (json!({"msg_type": "nothing", "payload": {}}).to_string(), "invalid message"),
        (envelope("bus", &json!({"type": UTTERANCE, "data": {}, "context": {}})).to_string(), "invalid message"),
        (envelope("shake", &json!({})).to_string(), "this node requires the v3 Noise handshake"),
        (envelope("shake", &json!({"envelope": "v2"})).to_string(), "this node requires the v3 Noise handshake"),
        (envelope("shake", &noise("XXpsk2", suite, "not hex")).to_string(), "malformed Noise envelope"),
        (
            envelope("shake", &noise("NNpsk0", suite, "00")).to_string(),
            "pattern/suite not offered: NNpsk0/25519_ChaChaPoly_SHA256",
        ),
        (envelope("shake", &noise("XXpsk2", "25519_X_X", "00")).to_string(), "pattern/suite not offered: XXpsk2/25519_X_X"),
    ];
    for (text, reason) in cases {
        let mut raw = Raw::of(stage.node.port(), "one", "key-kitchen");
        raw.opening().expect("it begins");
        raw.text(&text).expect("sent");
        let end = raw.end();
        assert!(matches!(&end, Frame::Close(1008, said) if said.starts_with(reason)), "{text}: {end:?}");
    }
    // A first message that is none, and bytes that are no text.
    for tampered in [true, false] {
        let mut raw = Raw::of(stage.node.port(), "one", "key-kitchen");
        raw.opening().expect("it begins");
        if tampered {
            raw.say("shake", &noise("XXpsk2", suite, &"00".repeat(48))).expect("sent");
        } else {
            raw.binary(vec![0, 1, 2, 0xff]).expect("sent");
        }
        let end = raw.end();
        assert!(matches!(&end, Frame::Close(1008, _)), "{end:?}");
    }
}

/// Whoever has no more than an access key, which is no secret, hears nothing of what is said to that client. The Python node takes a
/// HELLO in clear text and sends what is for that client in clear text from then on.
fn no_hello_before_the_session(make: Make) {
    let kitchen = Client::new("key-kitchen");
    let stage = Stage::new(make, Backend::Sqlite, std::slice::from_ref(&kitchen));
    let mut spy = Raw::of(stage.node.port(), "spy", "key-kitchen");
    spy.opening().expect("it begins");
    let session = json!({"pubkey": null, "session": {"session_id": "session-of-spy"}, "site_id": "room"});
    spy.say("hello", &session).expect("sent");
    if make == Make::Ours {
        assert_eq!(spy.end(), refused("invalid message"));
        return;
    }
    let to = peer("spy", 1, &kitchen, "session-of-spy");
    let secret =
        json!({"type": "speak", "data": {"utterance": "the code is 1234"}, "context": {"destination": to, "source": "skills"}});
    // It is registered by another thread, some time.
    let end = Instant::now() + HANGS;
    let heard = loop {
        stage.tap.say(&secret);
        match spy.read_within(Duration::from_millis(200)) {
            None if Instant::now() < end => {}
            heard => break heard,
        }
    };
    match heard {
        Some(Frame::Text(leaked)) => assert_eq!(leaked["payload"]["data"]["utterance"], "the code is 1234"),
        other => panic!("the fault of the Python node is gone: {other:?}"),
    }
}

/// Whoever knows the access key of a client can try as often as it likes: its operator hears of it once, and nobody how weak it is.
#[test]
fn a_weak_password_is_one_line_however_often_it_is_tried() {
    let stage = Stage::new(Make::Ours, Backend::Sqlite, &[Client::new("key-weak").with_password("password1")]);
    for _ in 0..5 {
        let end = Raw::of(stage.node.port(), "one", "key-weak").end();
        assert!(matches!(&end, Frame::Close(1008, _)), "{end:?}");
    }
    let log = stage.node.log();
    assert_eq!(log.matches("password").count(), 1 + log.matches("min_password_bits").count(), "{log}");
    assert!(log.contains("min_password_bits (40)") && log.matches("client=1").count() == 1, "{log}");
}

/// A client with a weak password is refused with a word about it, and the node lives on. The Python node drops the connection, with an
/// exception that nobody catches.
fn no_weak_password(make: Make) {
    let (weak, strong) = (Client::new("key-weak").with_password("password1"), Client::new("key-kitchen"));
    let mut stage = Stage::new(make, Backend::Sqlite, &[weak, strong.clone()]);
    let mut raw = Raw::of(stage.node.port(), "one", "key-weak");
    let end = raw.end();
    if make == Make::Ours {
        assert!(matches!(&end, Frame::Close(1008, reason) if reason.contains("password")), "{end:?}");
    } else {
        assert_eq!(end, Frame::Gone);
    }
    stage.satellites.up("two", &strong);
}

/// Whoever watches over it asks there, from the same machine.
fn health(make: Make) {
    let stage = Stage::new(make, Backend::Sqlite, &[Client::new("key-kitchen")]);
    let ask = |path: &str| {
        use std::io::{Read as _, Write as _};
        let mut stream = std::net::TcpStream::connect(("127.0.0.1", stage.node.port())).expect("it listens");
        write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").expect("asked");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("answered");
        answer.split(' ').nth(1).expect("a status").to_owned()
    };
    assert_eq!([ask("/_healthz"), ask("/"), ask("/else")], ["204", "400", "404"]);
}
