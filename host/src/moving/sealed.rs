//! Exports that only some can read, in the format of <https://age-encryption.org/v1>.

use std::fmt;
use std::io::{self, BufRead, Read, Write};

use age::secrecy::SecretString;
use age::{DecryptError, Decryptor, Encryptor, Identity, IdentityFile, Recipient, scrypt, x25519};

/// What a sealed file begins with.
const BEGINNING: &[u8] = b"age-encryption.org/v1\n";
/// What follows in one that is for a passphrase, which is for nobody else.
const PASSPHRASE: &[u8] = b"-> scrypt ";
/// What one in letters begins with, which is not read here.
const ARMORED: &[u8] = b"-----BEGIN AGE";
/// The dearest passphrase that is tried, as the power of two of scrypt's cost: 1 GiB of memory.
const DEAREST: u8 = 20;

/// For whom an export is.
#[derive(Clone, Default)]
pub enum Seal {
    /// Whoever has the file.
    #[default]
    Open,
    /// Whoever knows this passphrase.
    Passphrase(SecretString),
    /// Whoever has the key of one of these.
    Recipients(Vec<x25519::Recipient>),
}

/// What opens a sealed export.
#[derive(Default)]
pub struct Keys {
    /// Passphrases and secret keys.
    identities: Vec<Box<dyn Identity + Send + Sync>>,
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Keys({})", self.identities.len())
    }
}

impl Keys {
    /// Adds a passphrase.
    pub fn passphrase(&mut self, passphrase: SecretString) {
        let mut identity = scrypt::Identity::new(passphrase);
        identity.set_max_work_factor(DEAREST);
        self.identities.push(Box::new(identity));
    }

    /// Adds the secret keys of a file, as `age-keygen` writes it.
    ///
    /// # Errors
    /// If it has none, without a word of what it has.
    pub fn file(&mut self, text: &str) -> Result<(), String> {
        // What is wrong with a line is not repeated: it may be a key but for a letter.
        let wrong = || "expected lines that begin with AGE-SECRET-KEY-1, found something else".to_owned();
        let identities =
            IdentityFile::from_buffer(text.as_bytes()).map_err(|_| wrong())?.into_identities().map_err(|_| wrong())?;
        if identities.is_empty() {
            return Err(wrong());
        }
        self.identities.extend(identities);
        Ok(())
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.identities.is_empty()
    }
}

/// Whether a file that begins so is opened by a passphrase.
#[must_use]
pub fn wants_passphrase(beginning: &[u8]) -> bool {
    beginning.strip_prefix(BEGINNING).is_some_and(|recipients| recipients.starts_with(PASSPHRASE))
}

/// Lets `write` write through the seal.
///
/// # Errors
/// Those of `write` and of the output.
pub fn seal<E: From<io::Error>>(
    seal: &Seal,
    out: &mut dyn Write,
    write: impl FnOnce(&mut dyn Write) -> Result<(), E>,
) -> Result<(), E> {
    let encryptor = match seal {
        Seal::Open => return write(out),
        Seal::Passphrase(passphrase) => Encryptor::with_user_passphrase(passphrase.clone()),
        Seal::Recipients(all) => Encryptor::with_recipients(all.iter().map(|r| r as &dyn Recipient)).map_err(io::Error::other)?,
    };
    let mut stream = encryptor.wrap_output(out)?;
    write(&mut stream)?;
    stream.finish()?;
    Ok(())
}

/// The content of an export, opened if it is sealed.
///
/// # Errors
/// What kept it from being read or opened.
pub fn open<'r>(mut input: impl BufRead + 'r, keys: &Keys) -> io::Result<Box<dyn Read + 'r>> {
    let beginning = input.fill_buf()?;
    if beginning.starts_with(ARMORED) {
        return Err(io::Error::other("it is an age file in letters (armor), which is not read here; decode it first"));
    }
    if !beginning.starts_with(BEGINNING) {
        return Ok(Box::new(input));
    }
    if keys.is_empty() {
        return Err(io::Error::other("it is encrypted; add --passphrase-file or --identity"));
    }
    let decryptor = Decryptor::new_buffered(input).map_err(|e| explained(&e))?;
    let identities = keys.identities.iter().map(|i| &**i as &dyn Identity);
    Ok(Box::new(decryptor.decrypt(identities).map_err(|e| explained(&e))?))
}

fn explained(error: &DecryptError) -> io::Error {
    io::Error::other(match error {
        DecryptError::NoMatchingKeys | DecryptError::DecryptionFailed | DecryptError::KeyDecryptionFailed => {
            "it cannot be decrypted: the passphrase or key is another one, or the file is damaged".to_owned()
        }
        DecryptError::Io(e) => e.to_string(),
        DecryptError::ExcessiveWork { required, .. } => {
            format!("its passphrase costs 2^{required} to try, at most 2^{DEAREST} is spent")
        }
        _ => "its age header is damaged or of a newer form".to_owned(),
    })
}
