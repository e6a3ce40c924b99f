//! What a node says first, in clear text: who it is, and what it speaks.

/// The payload of a node's HELLO.
#[derive(Debug, Clone, Copy)]
pub struct Hello<'a> {
    /// Unique to the node and stable for life; at most 512 characters.
    pub node_id: &'a str,
    /// The node's RSA key as PEM, for INTERCOM.
    pub pubkey: Option<&'a str>,
    /// What the satellite is called for now.
    pub peer: &'a str,
}

impl Hello<'_> {
    /// The payload, as JSON.
    #[must_use]
    pub fn payload(&self) -> Vec<u8> {
        todo!()
    }
}

/// The payload of a node's offer.
#[derive(Debug, Clone, Copy)]
pub struct Offer {
    /// Whether `KKpsk0` is among the patterns: if the satellite's Noise key is known.
    pub known_key: bool,
}

impl Offer {
    /// The payload, as JSON.
    #[must_use]
    pub fn payload(&self) -> Vec<u8> {
        todo!()
    }
}
