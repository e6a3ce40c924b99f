//! The X25519 key by which a node, or a satellite, is known for life.

use std::fmt;

use snow::params::DHChoice;
use snow::resolvers::{CryptoResolver, DefaultResolver};
use zeroize::Zeroizing;

/// A private X25519 key. It is wiped, and `Debug` shows nothing of it.
#[derive(Clone)]
pub struct StaticKey {
    private: Zeroizing<[u8; 32]>,
    public: [u8; 32],
}

impl StaticKey {
    /// A new one.
    ///
    /// # Errors
    /// If the system has no randomness.
    pub fn generate() -> Result<Self, getrandom::Error> {
        let mut private = Zeroizing::new([0; 32]);
        getrandom::fill(private.as_mut())?;
        Ok(Self::new(private))
    }

    /// Reads a key file: 64 hexadecimal digits, with or without white space around them.
    #[must_use]
    pub fn from_hex(text: &str) -> Option<Self> {
        let digits = text.trim_ascii();
        let mut private = Zeroizing::new([0; 32]);
        (digits.len() == 64 && base16ct::mixed::decode(digits, private.as_mut()).is_ok()).then(|| Self::new(private))
    }

    /// What is written to a key file: 64 lowercase hexadecimal digits, and no line end, as the Python node does.
    #[must_use]
    pub fn to_hex(&self) -> Zeroizing<String> {
        Zeroizing::new(base16ct::lower::encode_string(&*self.private))
    }

    /// The public key.
    #[must_use]
    pub const fn public(&self) -> [u8; 32] {
        self.public
    }

    pub(crate) fn private(&self) -> &[u8; 32] {
        &self.private
    }

    fn new(private: Zeroizing<[u8; 32]>) -> Self {
        let mut dh = DefaultResolver.resolve_dh(&DHChoice::Curve25519).expect("snow is built with X25519");
        dh.set(&*private);
        let mut public = [0; 32];
        public.copy_from_slice(dh.pubkey());
        Self { private, public }
    }
}

impl fmt::Debug for StaticKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StaticKey").field("public", &base16ct::lower::encode_string(&self.public)).finish_non_exhaustive()
    }
}
