//! The key that both ends derive from the password.

use std::fmt;

use argon2::{Algorithm, Argon2, Params, Version};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

/// The pre-shared key of a handshake. As good as the password, so it is wiped, and `Debug` shows nothing of it.
#[derive(Clone)]
pub struct Psk(Zeroizing<[u8; 32]>);

impl Psk {
    /// Derives it: argon2id over the password, salted with the node's id. Takes about 0.2 s and 64 MiB, in the caller's thread.
    ///
    /// # Panics
    /// If the password is longer than 4 GiB, which no record can hold.
    #[must_use]
    pub fn derive(password: &str, node_id: &str) -> Self {
        let salt = Sha256::digest(node_id.as_bytes());
        let params = Params::new(64 * 1024, 3, 1, Some(32)).expect("constants within argon2's bounds");
        let mut key = Zeroizing::new([0; 32]);
        Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
            .hash_password_into(password.as_bytes(), &salt, key.as_mut())
            .expect("a password below 4 GiB and a salt of 32 bytes");
        Self(key)
    }

    /// Reads `metadata.noise_psk`: 64 hexadecimal digits.
    #[must_use]
    pub fn from_hex(text: &str) -> Option<Self> {
        let mut key = Zeroizing::new([0; 32]);
        (text.len() == 64 && base16ct::mixed::decode(text, key.as_mut()).is_ok()).then_some(Self(key))
    }

    /// Its 64 lowercase hexadecimal digits.
    #[must_use]
    pub fn to_hex(&self) -> Zeroizing<String> {
        Zeroizing::new(base16ct::lower::encode_string(&*self.0))
    }

    pub(crate) fn bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

/// What a stored PSK belongs to, `metadata.noise_psk_for`: a PSK kept for another password or node is not used.
#[must_use]
pub fn psk_binding(node_id: &str, password: &str) -> String {
    let mut hash = Sha256::new();
    for part in ["hivemind-noise-psk-binding\0", node_id, "\0", password] {
        hash.update(part.as_bytes());
    }
    base16ct::lower::encode_string(&hash.finalize())
}

impl fmt::Debug for Psk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Psk(***)")
    }
}
