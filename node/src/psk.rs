//! The keys that passwords are stretched into, and whether passwords are strong enough.
//!
//! Stretching takes 64 MiB and a fifth of a second by design, and whoever knows an access key can ask for it. So it is done away from
//! the network's threads, a few at once, once for a password however many wait for it, and what comes out is kept: in memory, and in
//! the client's record, where the Python node keeps it too. The record's counts as long as it was made of this password and node.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hivemind_protocol::{Psk, psk_binding};
use hivemind_store::clients::MetadataChange;
use hivemind_store::{Client, Error};
use sha2::{Digest as _, Sha256};
use tokio::sync::{Semaphore, watch};

use crate::directory::Directory;

/// The members of a client's metadata, as the Python node names them.
const PSK: &str = "noise_psk";
const PSK_FOR: &str = "noise_psk_for";

/// More passwords than this are not remembered.
const MOST: usize = 16_384;

/// The estimate is of so many characters, as the Python node's is.
const ESTIMATED: usize = 72;

/// What a password is known by here: its digest with a secret of this process.
type Known = [u8; 32];

type Derived = watch::Receiver<Option<Arc<Psk>>>;

/// How many bits of resistance a password has, as zxcvbn estimates it of the first 72 characters.
///
/// The estimate is not the Python node's to the last bit, and whom that one admits and this one refuses is refused for good. So of two
/// the better counts, of the password and of the same in lower case: this zxcvbn takes words in capitals with digits among them for
/// nothing at all, and never is a password weaker for its capitals.
#[must_use]
pub fn password_bits(password: &str) -> f64 {
    let start: String = password.chars().take(ESTIMATED).collect();
    let bits = |text: &str| zxcvbn::zxcvbn(text, &[]).guesses_log10() * std::f64::consts::LOG2_10;
    let plain = bits(&start);
    let lower = start.to_lowercase();
    if lower == start { plain } else { plain.max(bits(&lower)) }
}

/// Stretches passwords.
pub(crate) struct Stretching {
    node_id: String,
    directory: Arc<Directory>,
    secret: [u8; 32],
    at_once: Arc<Semaphore>,
    passwords: Mutex<HashMap<Known, Password>>,
}

#[derive(Default)]
struct Password {
    bits: Option<f64>,
    derived: Option<Derived>,
    /// In whose records the key was put.
    written: HashSet<i64>,
}

/// A key that is there, or will be.
pub(crate) enum Pending {
    Ready(Arc<Psk>),
    Derived(Derived),
}

impl Pending {
    /// The key; `None` if it could not be derived.
    pub(crate) async fn wait(self) -> Option<Arc<Psk>> {
        match self {
            Self::Ready(psk) => Some(psk),
            Self::Derived(mut derived) => derived.wait_for(Option::is_some).await.ok()?.clone(),
        }
    }
}

impl Stretching {
    /// For a node with this id, with so many derivations at once.
    ///
    /// # Errors
    /// If the system has no randomness.
    pub(crate) fn new(node_id: String, directory: Arc<Directory>, at_once: usize) -> Result<Arc<Self>, getrandom::Error> {
        let mut secret = [0; 32];
        getrandom::fill(&mut secret)?;
        let at_once = Arc::new(Semaphore::new(at_once.max(1)));
        Ok(Arc::new(Self { node_id, directory, secret, at_once, passwords: Mutex::default() }))
    }

    fn passwords(&self) -> MutexGuard<'_, HashMap<Known, Password>> {
        self.passwords.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn known(&self, password: &str) -> Known {
        Sha256::new().chain_update(self.secret).chain_update(password).finalize().into()
    }

    /// How many bits of resistance a password has, as zxcvbn estimates it.
    pub(crate) async fn bits(&self, password: &str) -> f64 {
        let known = self.known(password);
        if let Some(bits) = self.passwords().get(&known).and_then(|p| p.bits) {
            return bits;
        }
        let password = password.to_owned();
        let estimate = move || password_bits(&password);
        // Whoever's strength cannot be estimated is not let in.
        let bits = tokio::task::spawn_blocking(estimate).await.unwrap_or_default();
        entry(&mut self.passwords(), known).bits = Some(bits);
        bits
    }

    /// Begins to get the key of a client with this password.
    pub(crate) fn begin(self: &Arc<Self>, client: &Arc<Client>, password: &str) -> Pending {
        let binding = psk_binding(&self.node_id, password);
        let stored = || client.metadata.text(PSK).as_deref().and_then(Psk::from_hex);
        if client.metadata.text(PSK_FOR).is_some_and(|of| of == binding)
            && let Some(psk) = stored()
        {
            return Pending::Ready(Arc::new(psk));
        }
        let known = self.known(password);
        let mut passwords = self.passwords();
        let entry = entry(&mut passwords, known);
        // One that ended without a key is begun again.
        let running = entry.derived.clone().filter(|derived| derived.borrow().is_some() || derived.has_changed().is_ok());
        let derived = running.unwrap_or_else(|| {
            let derived = self.derive(password.to_owned());
            entry.derived = Some(derived.clone());
            derived
        });
        let is_new = entry.written.insert(client.id);
        drop(passwords);
        if is_new {
            tokio::spawn(Arc::clone(self).write(Arc::clone(client), known, binding, derived.clone()));
        }
        Pending::Derived(derived)
    }

    /// Goes on although nobody waits any more: who comes again finds it done.
    fn derive(&self, password: String) -> Derived {
        let (sender, receiver) = watch::channel(None);
        let (at_once, node_id) = (Arc::clone(&self.at_once), self.node_id.clone());
        tokio::spawn(async move {
            let Ok(permit) = at_once.acquire_owned().await else { return };
            let derive = move || {
                let psk = Psk::derive(&password, &node_id);
                drop(permit);
                psk
            };
            match tokio::task::spawn_blocking(derive).await {
                Ok(psk) => _ = sender.send(Some(Arc::new(psk))),
                Err(_) => tracing::error!("a password could not be stretched into a key"),
            }
        });
        receiver
    }

    /// Puts a key into a client's record. A client that was revoked meanwhile stays revoked.
    async fn write(self: Arc<Self>, client: Arc<Client>, known: Known, binding: String, derived: Derived) {
        let Some(psk) = Pending::Derived(derived).wait().await else { return };
        let quoted = |text: &str| format!("\"{text}\"");
        let set = vec![(PSK.to_owned(), quoted(psk.to_hex().as_str())), (PSK_FOR.to_owned(), quoted(&binding))];
        match self.directory.set_metadata(&client, &MetadataChange { set, unset: Vec::new() }).await {
            Ok(_) | Err(Error::Revoked { .. } | Error::Unknown { .. } | Error::Changed { .. }) => {}
            Err(error) => {
                tracing::warn!(client = client.id, %error, "the key of a client's password could not be kept");
                // It is tried again when the client comes again.
                if let Some(password) = self.passwords().get_mut(&known) {
                    password.written.remove(&client.id);
                }
            }
        }
    }
}

fn entry(passwords: &mut HashMap<Known, Password>, known: Known) -> &mut Password {
    if passwords.len() >= MOST && !passwords.contains_key(&known) {
        passwords.retain(|_, password| password.derived.as_ref().is_some_and(|derived| derived.borrow().is_none()));
    }
    passwords.entry(known).or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Admitted or refused as by `poorman_handshake.symmetric.strength` 2.0.3a1, whose bits these are, at the 40 bits of both nodes.
    #[test]
    fn capitals_with_digits_among_them_are_not_weaker_than_the_python_node_takes_them_for() {
        for (password, python) in [
            ("Z4N9CWfRqFHpS", 43.19),
            ("1QAZ2WS ??? ! lF", 43.11),
            ("8652stilettosSF49ERS", 42.71),
            ("STUFF1IKARUS4-13-2021", 46.51),
            ("U1t 5771 ANGELO1", 45.13),
            ("2013/7/24NNNN\u{e9}1QAZ2WS", 41.67),
        ] {
            let bits = password_bits(password);
            assert!(bits >= 40.0 && python >= 40.0, "{password}: {bits}, {python}");
        }
        for weak in ["password1", "PASSWORD1", "1QAZ2WSX", "Tr0ub4dour", "qwertyuiop1987"] {
            assert!(password_bits(weak) < 40.0, "{weak}");
        }
    }
}
