//! What satellites say: envelopes and bus messages, handshakes, and the frames of a session.

use hivemind_protocol::{BinaryFrame, MessageType};

use crate::Seeds;

pub(crate) fn write() {
    envelopes();
    handshakes();
    frames();
}

fn envelopes() {
    let seeds = Seeds::of("envelope");
    for kind in MessageType::ALL {
        let text = format!(r#"{{"msg_type": "{}", "payload": {{}}, "metadata": {{}}, "route": [], "node": null}}"#, kind.word());
        seeds.put(kind.word(), text);
    }
    let bus = r#"{"type": "recognizer_loop:utterance", "data": {"utterances": ["küche"], "n": 1.50, "x": NaN},
        "context": {"source": "a", "destination": ["b"], "session": {"session_id": "s", "pipeline": null}}}"#;
    seeds.put("bus-message", bus);
    seeds.put("bus-in-envelope", format!(r#"{{"msg_type": "bus", "payload": {bus}}}"#));
    let hop = r#"{"source": "a", "targets": ["b"]}"#;
    let inner = format!(r#"{{"msg_type": "bus", "payload": {bus}}}"#);
    seeds.put(
        "propagate-in-full",
        format!(
            r#"{{"msg_type": "propagate", "payload": {inner}, "metadata": {{"k": 1}}, "route": [{hop}], "node": "n",
                "target_site_id": "s", "target_pubkey": "p", "target_peers": ["q"], "source_peer": "r", "bin_type": 0}}"#
        ),
    );
    seeds.put("escaped-names", r#"{"\u006dsg_type": "\u0062us", "p\u0061yload": {"\ud83d\udc1d": "\ud800"}}"#);
    seeds.put("twice", r#"{"msg_type": "bus", "payload": {}, "msg_type": "hello"}"#);
    seeds.put("unknown-member", r#"{"msg_type": "bus", "payload": {}, "extra": 1}"#);
    seeds.put("numbers", "[0, -0, 1e400, 1e-5, 0.1, 123456789012345678901234567890, 9007199254740993.0, -Infinity]");
    seeds.put("deep", "[".repeat(300));
    seeds.put("query", "a=b&authorization=dHJhY2VyOmtleQ==");
    seeds.put("query-escaped", "authoriz%61tion=YT4+Pj4+OmtleQ%3D%3D");
}

fn handshakes() {
    let seeds = Seeds::of("handshake");
    let message = "00".repeat(48);
    let first = |pattern: &str, suite: &str| {
        format!(r#"{{"noise": {{"pattern": "{pattern}", "suite": "{suite}", "msg": "{message}"}}}}"#)
    };
    for (name, payload) in [
        ("chacha", first("XXpsk2", "25519_ChaChaPoly_SHA256")),
        ("aes", first("XXpsk2", "25519_AESGCM_SHA256")),
        ("not-offered", first("KKpsk0", "25519_ChaChaPoly_SHA256")),
        ("not-noise", r#"{"envelope": ""}"#.to_owned()),
        ("not-hex", r#"{"noise": {"msg": "zz"}}"#.to_owned()),
    ] {
        seeds.put_chosen(&format!("first-{name}"), 0, payload);
    }
    seeds.put_chosen("within-first-object", 1, r#"{"binarize": false, "encodings": ["JSON-B64"]}"#);
    seeds.put_chosen("within-first-nothing", 1, "");
    seeds.put_chosen("within-first-list", 1, "[]");
    seeds.put_chosen("changed-first", 2, [40, 1, 0, 0]);
    seeds.put_chosen("unchanged-first", 2, []);
    seeds.put_chosen("short-first", 2, [7]);
    seeds.put_chosen("last-of-zeros", 3, format!(r#"{{"noise": {{"msg": "{}"}}}}"#, "00".repeat(64)));
    seeds.put_chosen("last-without-noise", 3, "{}");
    seeds.put_chosen("within-last", 4, "anything");
    let offer = r#"{"noise": {"patterns": ["KKpsk0", "XXpsk2"], "suites": ["25519_ChaChaPoly_SHA256"]}}"#;
    seeds.put_chosen("offer", 5, offer);
    seeds.put_chosen("second-of-zeros", 5, format!(r#"{{"noise": {{"msg": "{}"}}}}"#, "00".repeat(96)));
}

fn frames() {
    let seeds = Seeds::of("frame");
    let plains = |plains: &[&[u8]]| {
        plains.iter().flat_map(|plain| [&[u8::try_from(plain.len()).expect("short")], *plain].concat()).collect::<Vec<_>>()
    };
    seeds.put("json", plains(&[b"\x00{}", b"\x00[]"]));
    seeds.put("binary", plains(&[b"\x01\xff"]));
    seeds.put("chunks", plains(&[b"\x02{", b"\x04 ", b"\x05}", b"\x03a", b"\x05b"]));
    seeds.put("half-characters", plains(&[b"\x02\xc3", b"\x05\xa9", b"\x00\xc3"]));
    seeds.put("no-marker", plains(&[b""]));
    seeds.put("unknown-marker", plains(&[b"\x06"]));
    seeds.put("more-without-first", plains(&[b"\x04a"]));
    seeds.put("last-without-first", plains(&[b"\x05a"]));
    seeds.put("one-within-another", plains(&[b"\x02a", b"\x00{}"]));
    seeds.put("again", [plains(&[b"\x00{}"]), vec![250]].concat());
    seeds.put("unsealed", [plains(&[b"\x00{}"]), vec![251, 0, 1, 2]].concat());
    seeds.put("left-out", [plains(&[b"\x00{}"]), vec![252]].concat());
    seeds.put("long", [&[200, 2][..], &[200, 4].repeat(20), &[200, 5]].concat());
    seeds.put("too-long", [&[200, 3][..], &[200, 4].repeat(520)].concat());
    for (kind, bin_type, payload) in [(MessageType::Binary, 1, &b"\x00\xff"[..]), (MessageType::Bus, 0, br#"{"type": "a"}"#)] {
        let frame = BinaryFrame { kind, metadata: r#"{"lang":"en"}"#.to_owned(), bin_type, payload: payload.to_vec() };
        seeds.put_chosen(&format!("wire1-{}", kind.word()), 128, frame.to_bytes().expect("a frame"));
    }
    // A bus message with a version, compressed: metadata and payload are both "{}".
    let empty = [0x78, 0x9c, 0xab, 0xae, 0x05, 0x00, 0x01, 0x75, 0x00, 0xf9];
    let length = u8::try_from(empty.len()).expect("short");
    seeds.put_chosen("wire1-compressed", 128, [&[0x80 | 1 << 1 | 1, length], &empty[..], &empty[..]].concat());
    seeds.put_chosen("wire1-cut", 128, [0x09, 0x80]);
}
