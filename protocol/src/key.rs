//! The X25519 key by which a node, or a satellite, is known for life.

use std::fmt;

use zeroize::Zeroizing;

/// A private X25519 key. It is wiped, and `Debug` shows nothing of it.
#[derive(Clone)]
pub struct StaticKey {
    #[expect(dead_code)]
    private: Zeroizing<[u8; 32]>,
    public: [u8; 32],
}

impl StaticKey {
    /// A new one.
    ///
    /// # Errors
    /// If the system has no randomness.
    pub fn generate() -> Result<Self, getrandom::Error> {
        todo!()
    }

    /// Reads a key file: 64 hexadecimal digits, white space around them.
    #[must_use]
    pub fn from_hex(_text: &str) -> Option<Self> {
        todo!()
    }

    /// What is written to a key file.
    #[must_use]
    pub fn to_hex(&self) -> Zeroizing<String> {
        todo!()
    }

    /// The public key.
    #[must_use]
    pub const fn public(&self) -> [u8; 32] {
        self.public
    }
}

impl fmt::Debug for StaticKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StaticKey").field("public", &base16ct::lower::encode_string(&self.public)).finish_non_exhaustive()
    }
}
