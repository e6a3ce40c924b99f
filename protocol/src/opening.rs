//! What a node says first, in clear text: who it is, and what it speaks.

use crate::handshake::{Pattern, Suite};
use crate::object::push_text;

/// The payload of a node's HELLO.
#[derive(Debug, Clone, Copy)]
pub struct Hello<'a> {
    /// Unique to the node and stable for life. Beyond 512 characters satellites do not keep what they derive from it.
    pub node_id: &'a str,
    /// The node's RSA key as PEM, for INTERCOM.
    pub pubkey: Option<&'a str>,
    /// What the satellite is called for now.
    pub peer: &'a str,
}

impl Hello<'_> {
    /// The payload as JSON.
    #[must_use]
    pub fn payload(&self) -> Vec<u8> {
        let mut out = b"{\"pubkey\":".to_vec();
        match self.pubkey {
            Some(pem) => push_text(pem, &mut out),
            None => out.extend_from_slice(b"null"),
        }
        out.extend_from_slice(b",\"peer\":");
        push_text(self.peer, &mut out);
        out.extend_from_slice(b",\"node_id\":");
        push_text(self.node_id, &mut out);
        out.push(b'}');
        out
    }
}

/// The payload of a node's offer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Offer {
    /// Whether the satellite's Noise key is known, so that it may choose `KKpsk0`.
    pub known_key: bool,
}

impl Offer {
    /// The encoding that is named to satellites. Sessions are sealed as bytes and need none.
    pub const ENCODING: &str = "JSON-B64";

    /// The payload as JSON.
    #[must_use]
    pub fn payload(&self) -> Vec<u8> {
        let list = |words: &[&str]| words.iter().map(|word| format!("\"{word}\"")).collect::<Vec<_>>().join(",");
        let patterns: &[&str] =
            if self.known_key { &[Pattern::KKpsk0.word(), Pattern::XXpsk2.word()] } else { &[Pattern::XXpsk2.word()] };
        let suites = [Suite::ChaChaPoly.word(), Suite::AesGcm.word()];
        format!(
            r#"{{"max_protocol_version":3,"binarize":false,"encodings":["{}"],"ciphers":[],"noise":{{"patterns":[{}],"suites":[{}]}}}}"#,
            Self::ENCODING,
            list(patterns),
            list(&suites)
        )
        .into_bytes()
    }
}
