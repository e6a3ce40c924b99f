//! A stranger's end of a handshake: Noise by another program's rules than the node's, so that it can say what no satellite would.

use hivemind_protocol::{Hello, Offer, Psk, RawJson, Responder, StaticKey, Step, canonical};
use snow::{Builder, HandshakeState};

pub(crate) const NAME: &str = "Noise_XXpsk2_25519_ChaChaPoly_SHA256";
const HELLO: Hello<'_> = Hello { node_id: "node", pubkey: None, peer: "a::1::b::c" };

pub(crate) fn node_key() -> StaticKey {
    StaticKey::from_hex(&"2".repeat(64)).expect("64 digits")
}

pub(crate) fn psk() -> Psk {
    Psk::from_hex(&"3".repeat(64)).expect("64 digits")
}

pub(crate) fn openings() -> (Vec<u8>, Vec<u8>) {
    (HELLO.payload(), Offer { known_key: false }.payload())
}

pub(crate) fn responder() -> Responder {
    let (hello, offer) = openings();
    Responder::new(&node_key(), &hello, &offer, None)
}

/// The stranger, with the password.
pub(crate) fn stranger() -> HandshakeState {
    let (hello, offer) = openings();
    let mut prologue = canonical(&hello).expect("JSON");
    prologue.extend(canonical(&offer).expect("JSON"));
    prologue.extend_from_slice(NAME.as_bytes());
    let key = [0x11; 32];
    let builder = Builder::new(NAME.parse().expect("a name")).local_private_key(&key).expect("one key");
    let builder = builder.psk(2, &[0x33; 32]).expect("one key").prologue(&prologue).expect("one prologue");
    builder.build_initiator().expect("all is there")
}

/// The payload of a HANDSHAKE with this message, and what else stands beside it.
pub(crate) fn payload(beside: &str, message: &[u8]) -> String {
    format!(r#"{{"noise":{{{beside}"msg":"{}"}}}}"#, base16ct::lower::encode_string(message))
}

pub(crate) const CHOICE: &str = r#""pattern":"XXpsk2","suite":"25519_ChaChaPoly_SHA256","#;

pub(crate) fn write(state: &mut HandshakeState, payload: &[u8]) -> Vec<u8> {
    let mut message = vec![0; payload.len() + 200];
    let length = state.write_message(payload, &mut message).expect("it fits");
    message.truncate(length);
    message
}

/// What the node replied, read by the stranger.
pub(crate) fn read(state: &mut HandshakeState, reply: &[u8]) {
    let reply: serde_json::Value = serde_json::from_slice(reply).expect("JSON");
    let message = base16ct::lower::decode_vec(reply["noise"]["msg"].as_str().expect("hex")).expect("hex");
    let mut payload = vec![0; message.len()];
    let length = state.read_message(&message, &mut payload).expect("the node's message fits");
    serde_json::from_slice::<serde_json::Value>(&payload[..length]).expect("the node's payload is JSON");
}

/// Both ends of a session that is up, the stranger's as bare Noise.
pub(crate) fn met() -> (snow::TransportState, hivemind_protocol::Session) {
    let (mut stranger, mut node) = (stranger(), responder());
    let first = payload(CHOICE, &write(&mut stranger, b""));
    node.select(RawJson::parse(&first).expect("JSON")).expect("offered");
    let Step::Reply(second) = node.read_first(&psk()).expect("it fits") else { panic!("one message too few") };
    read(&mut stranger, &second);
    let third = payload("", &write(&mut stranger, b""));
    let Step::Done { session, .. } = node.read_last(RawJson::parse(&third).expect("JSON")).expect("it fits") else {
        panic!("one message too many")
    };
    (stranger.into_transport_mode().expect("it is over"), session)
}
