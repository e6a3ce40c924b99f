//! A satellite that has its keys, and says with them what no satellite would: Noise by its own hand, frame by frame.

use openssl::hash::{MessageDigest, hash};
use serde_json::{Value, json};
use snow::{Builder, HandshakeState, TransportState};

use super::raw::{Frame, Raw, node_id, psk};
use super::site::Client;

const SUITE: &str = "25519_ChaChaPoly_SHA256";
const NAME: &str = "Noise_XXpsk2_25519_ChaChaPoly_SHA256";

/// The first byte of a frame's plaintext: the beginning of a message of several frames, JSON.
pub const FIRST: u8 = 2;
/// The same: a message goes on, and not for the last time.
pub const MORE: u8 = 4;

/// A device whose session is up.
pub struct Forger {
    /// The connection below it.
    pub raw: Raw,
    noise: TransportState,
}

impl Forger {
    /// Connects a client.
    ///
    /// # Panics
    /// If it is not let in.
    #[must_use]
    pub fn up(port: u16, device: &str, client: &Client) -> Self {
        let mut raw = Raw::of(port, device, &client.key);
        let (hello, offer) = raw.opening().expect("it is known");
        let mut prologue = Vec::new();
        for part in [&hello, &offer] {
            prologue.extend(hivemind_protocol::canonical(part.as_bytes()).expect("JSON"));
        }
        prologue.extend_from_slice(NAME.as_bytes());
        let key = hash(MessageDigest::sha256(), client.key.as_bytes()).expect("a digest");
        let psk = bytes(&psk(&client.password, &node_id(&hello)).to_hex()).try_into().expect("32 bytes");
        let builder = Builder::new(NAME.parse().expect("a name")).local_private_key(&key).expect("a key");
        let builder = builder.psk(2, &psk).expect("a key").prologue(&prologue).expect("a prologue");
        let mut noise = builder.build_initiator().expect("all is there");
        let choice = json!({"pattern": "XXpsk2", "suite": SUITE});
        say(&mut raw, &mut noise, b"{}", choice);
        let answer = raw.clear("shake").unwrap_or_else(|end: Frame| panic!("{device} is not let in: {end:?}"));
        let answer = bytes(answer["noise"]["msg"].as_str().expect("a message"));
        noise.read_message(&answer, &mut vec![0; answer.len()]).expect("the password is right");
        say(&mut raw, &mut noise, b"", json!({}));
        Self { raw, noise: noise.into_transport_mode().expect("it is over") }
    }

    /// Sends a frame with this first byte and what follows it.
    ///
    /// # Errors
    /// If the connection is gone.
    ///
    /// # Panics
    /// If it is too long for a frame.
    pub fn send(&mut self, marker: u8, chunk: &[u8]) -> tungstenite::Result<()> {
        let plain = [&[marker], chunk].concat();
        let mut frame = vec![0; plain.len() + 16];
        let length = self.noise.write_message(&plain, &mut frame).expect("it fits");
        frame.truncate(length);
        self.raw.binary(frame)
    }
}

fn say(raw: &mut Raw, noise: &mut HandshakeState, payload: &[u8], mut choice: Value) {
    let mut message = vec![0; payload.len() + 200];
    let length = noise.write_message(payload, &mut message).expect("it fits");
    choice["msg"] = message[..length].iter().map(|byte| format!("{byte:02x}")).collect::<String>().into();
    raw.say("shake", &json!({"noise": choice})).expect("the node is there");
}

fn bytes(hex: &str) -> Vec<u8> {
    let digits = |at| u8::from_str_radix(&hex[at..at + 2], 16).expect("hex");
    (0..hex.len()).step_by(2).map(digits).collect()
}
