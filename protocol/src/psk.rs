//! The key that both ends derive from the password.

use std::fmt;

use zeroize::Zeroizing;

/// The pre-shared key of a handshake. As good as the password, so it is wiped, and `Debug` shows nothing of it.
#[derive(Clone)]
pub struct Psk(Zeroizing<[u8; 32]>);

impl Psk {
    /// Derives it: argon2id over the password, salted with the node's id. Takes about 0.2 s and 64 MiB, in the caller's thread.
    #[must_use]
    pub fn derive(_password: &str, _node_id: &str) -> Self {
        todo!()
    }

    /// Reads `metadata.noise_psk`: 64 hexadecimal digits.
    #[must_use]
    pub fn from_hex(_text: &str) -> Option<Self> {
        todo!()
    }

    /// Its 64 lowercase hexadecimal digits.
    #[must_use]
    pub fn to_hex(&self) -> Zeroizing<String> {
        todo!()
    }

    #[expect(dead_code)]
    pub(crate) fn bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

/// What a stored PSK belongs to: `metadata.noise_psk_for`.
#[must_use]
pub fn psk_binding(_node_id: &str, _password: &str) -> String {
    todo!()
}

impl fmt::Debug for Psk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Psk(***)")
    }
}
