//! Encrypted stores: one file is an envelope of hexadecimal texts around an AES-GCM ciphertext of zlib-compressed JSON, as the Python
//! node writes it.
//!
//! The decision here: the password is the key itself, because it is so there, and so nothing is derived from it. What can be opened
//! is what Python's library opens: keys of 16, 24 and 32 bytes, nonces of 12 bytes (other writers) and 16 (Python), a tag of its own
//! or the last 16 bytes of the ciphertext.

use std::borrow::Cow;
use std::fmt;
use std::io::Read as _;
use std::sync::Arc;

use aes_gcm::aead::array::ArraySize;
use aes_gcm::aead::consts::{U12, U16};
use aes_gcm::aead::inout::InOutBuf;
use aes_gcm::aes::{Aes128, Aes192, Aes256};
use aes_gcm::{AeadInOut, AesGcm, KeyInit as _, Nonce, Tag};
use flate2::Compression;
use flate2::read::ZlibDecoder;
use flate2::write::ZlibEncoder;
use hivemind_abi::model::json::{self, Json};
use hivemind_abi::model::{Code, Error, Result};

/// Characters of a password, neither more nor fewer: the Python node refuses all others.
const CHARACTERS: usize = 16;
const NONCE: usize = 16;
const TAG: usize = 16;

/// What a file may hold when it is decompressed.
#[derive(Debug, Clone, Copy)]
struct Limit {
    /// This many bytes, whatever they are compressed to …
    bytes: u64,
    /// … or so many times the compressed size.
    times: u64,
}

/// Clients with nothing but defaults shrink to a thirtieth, repeated text to a thousandth. So the first number is above every store that
/// can be thought of with content that shrinks so far, and still keeps a small file from taking the memory of the whole machine.
const LIMIT: Limit = Limit { bytes: 512 << 20, times: 200 };

impl Limit {
    /// The limit for this compressed size.
    fn at(self, compressed: usize) -> u64 {
        (compressed as u64).saturating_mul(self.times).max(self.bytes)
    }

    /// # Errors
    /// `unsupported` for a content beyond the limit.
    fn check(self, size: u64, compressed: usize) -> Result<()> {
        let Self { bytes, times } = self;
        if size <= self.at(compressed) {
            return Ok(());
        }
        Err(Error::unsupported(format!(
            "its content is beyond a limit of encrypted stores: {bytes} bytes, or {times} times its compressed size, which is {compressed} \
             bytes; it is not damaged; shorten texts that repeat themselves, or keep it without a password"
        )))
    }
}

/// How the texts of a store are kept in its files: as they are, or encrypted.
#[derive(Debug, Clone, Default)]
pub(crate) struct Coding(Option<Arc<Cipher>>);

impl Coding {
    /// The coding of a store with this password, if it has one.
    ///
    /// # Errors
    /// `invalid` for a password of a length that no key has.
    pub(crate) fn new(password: Option<&str>) -> Result<Self> {
        Ok(Self(password.map(Cipher::new).transpose()?.map(Arc::new)))
    }

    /// Whether files are encrypted.
    pub(crate) const fn is_encrypted(&self) -> bool {
        self.0.is_some()
    }

    /// What a file with this text, given in pieces, holds; `None`: just that.
    ///
    /// # Errors
    /// See [`Cipher::seal`].
    pub(crate) fn encode(&self, text: &[&str]) -> Result<Option<Vec<u8>>> {
        self.0.as_ref().map(|cipher| cipher.seal(text)).transpose()
    }

    /// The same as one.
    ///
    /// # Errors
    /// See [`Cipher::seal`].
    pub(crate) fn encoded<'t>(&self, text: &'t str) -> Result<Cow<'t, [u8]>> {
        Ok(self.encode(&[text])?.map_or(Cow::Borrowed(text.as_bytes()), Cow::Owned))
    }

    /// Whether a file was sealed with this password, for sure. An empty object, which stands for an empty store, says nothing of it.
    pub(crate) fn sealed(&self, content: &[u8]) -> bool {
        let Some(cipher) = &self.0 else { return false };
        let is_envelope = matches!(Envelope::parse(content), Ok(Some(_)));
        is_envelope && cipher.open(content).map_or_else(|e| e.code() == Code::Unsupported, |_| true)
    }

    /// The text of a file, not yet known to be one.
    ///
    /// # Errors
    /// See [`Cipher::open`].
    pub(crate) fn decode(&self, content: Vec<u8>) -> Result<Vec<u8>> {
        match &self.0 {
            None => Ok(content),
            Some(cipher) => cipher.open(&content),
        }
    }
}

/// Encrypts and decrypts with one password. The password is not kept; the keys made of it are never shown, and wiped when
/// this is dropped.
pub(crate) struct Cipher {
    key: Key,
    limit: Limit,
}

#[derive(Clone)]
enum Key {
    Aes128(Aes128),
    Aes192(Aes192),
    Aes256(Aes256),
}

impl fmt::Debug for Cipher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Cipher(secret)")
    }
}

impl Cipher {
    /// The cipher of a password.
    ///
    /// # Errors
    /// `invalid` for one of a length that no key has.
    pub(crate) fn new(password: &str) -> Result<Self> {
        let key = password.as_bytes();
        let fits = password.chars().count() == CHARACTERS;
        let made = match key.len() {
            16 if fits => Aes128::new_from_slice(key).map(Key::Aes128),
            24 if fits => Aes192::new_from_slice(key).map(Key::Aes192),
            32 if fits => Aes256::new_from_slice(key).map(Key::Aes256),
            bytes => {
                let characters = password.chars().count();
                return Err(Error::invalid(format!(
                    "password: expected {CHARACTERS} characters that are 16, 24 or 32 bytes in UTF-8, found {characters} characters of \
                     {bytes} bytes; the password is the key of the encryption, in the Python node too; nothing was touched"
                )));
            }
        };
        made.map(|key| Self { key, limit: LIMIT }).map_err(|_| Error::invalid("password: no key can be made of it"))
    }

    /// A file with the text of these pieces in it, laid out as Python does it.
    ///
    /// # Errors
    /// `io` if the system gives no random number, `unsupported` for a text that would not be read again.
    pub(crate) fn seal(&self, text: &[&str]) -> Result<Vec<u8>> {
        // The fastest level: it makes files a third larger than Python's and is five times as fast.
        let mut zlib = ZlibEncoder::new(
            Vec::with_capacity(text.iter().map(|piece| piece.len()).sum::<usize>() / 4 + 64),
            Compression::fast(),
        );
        text.iter().try_for_each(|piece| write_ascii(piece, &mut zlib))?;
        zlib.try_finish()?;
        let size = zlib.total_in();
        let mut data = zlib.finish()?;
        self.limit.check(size, data.len())?;
        let mut nonce = [0; NONCE];
        getrandom::fill(&mut nonce).map_err(|e| Error::io(format!("the system gave no random number: {e}")))?;
        let tag = match &self.key {
            Key::Aes128(key) => encrypt(key, nonce, &mut data),
            Key::Aes192(key) => encrypt(key, nonce, &mut data),
            Key::Aes256(key) => encrypt(key, nonce, &mut data),
        };
        let tag = tag.ok_or_else(|| Error::invalid("the store is too large to be encrypted"))?;
        let mut out = Vec::with_capacity(data.len() * 2 + 160);
        out.extend_from_slice(b"{\n    \"ciphertext\": \"");
        push_hex(&data, &mut out);
        out.extend_from_slice(b"\",\n    \"tag\": \"");
        push_hex(&tag, &mut out);
        out.extend_from_slice(b"\",\n    \"nonce\": \"");
        push_hex(&nonce, &mut out);
        out.extend_from_slice(b"\"\n}");
        Ok(out)
    }

    /// The text in a file. An empty object stands for an empty store, as it does for Python.
    ///
    /// # Errors
    /// `corrupt` for what is no such file, `denied` with the field `password` for one that this password does not open, `unsupported`
    /// for one beyond the limit.
    pub(crate) fn open(&self, content: &[u8]) -> Result<Vec<u8>> {
        let Some(Envelope { mut data, tag, nonce }) = Envelope::parse(content)? else { return Ok(b"{}".to_vec()) };
        let opened = match &self.key {
            Key::Aes128(key) => decrypt(key, &nonce, &mut data, &tag),
            Key::Aes192(key) => decrypt(key, &nonce, &mut data, &tag),
            Key::Aes256(key) => decrypt(key, &nonce, &mut data, &tag),
        };
        if !opened {
            return Err(Error::denied(
                "the password does not open it: it was written with another one, or changed since by someone without the password",
            )
            .field("password"));
        }
        decompressed(&data, self.limit)
    }
}

/// A file's parts.
struct Envelope {
    data: Vec<u8>,
    tag: Vec<u8>,
    nonce: Vec<u8>,
}

impl Envelope {
    /// `None` for an empty object.
    fn parse(content: &[u8]) -> Result<Option<Self>> {
        const EXPECTED: &str = "expected an encrypted store, an object of the texts \"ciphertext\", \"tag\" and \"nonce\"";
        let wrong = |what: String| Error::corrupt(format!("{EXPECTED}; {what}"));
        let text = std::str::from_utf8(content).map_err(|_| wrong("found bytes that are no text".to_owned()))?;
        let parsed = json::parse(text).map_err(|e| wrong(e.to_string()))?;
        let Json::Object(members) = &parsed else { return Err(wrong(format!("found {}", parsed.kind()))) };
        if members.is_empty() {
            return Ok(None);
        }
        let bytes = |name: &str| {
            let Some(member) = parsed.member(name) else {
                let plain = members.iter().all(|m| matches!(m.value, Json::Object(_)));
                let hint = if plain { ": it looks like a store that is not encrypted" } else { "" };
                return Err(wrong(format!("found no {name:?}{hint}")));
            };
            let Json::String(text) = &member.value else {
                return Err(wrong(format!("found {} as {name:?}", member.value.kind())));
            };
            base16ct::mixed::decode_vec(text.decode().as_bytes()).map_err(|_| wrong(format!("{name:?} is not hexadecimal")))
        };
        let (mut data, nonce) = (bytes("ciphertext")?, bytes("nonce")?);
        let tag = match parsed.member("tag").map(|m| &m.value) {
            // What browsers make.
            None | Some(Json::Null) => data.split_off(data.len().saturating_sub(TAG)),
            Some(_) => bytes("tag")?,
        };
        if tag.len() != TAG {
            return Err(wrong(format!("expected a tag of {TAG} bytes, found {}", tag.len())));
        }
        if !matches!(nonce.len(), 12 | NONCE) {
            return Err(wrong(format!("expected a nonce of {NONCE} or 12 bytes, found {}", nonce.len())));
        }
        Ok(Some(Self { data, tag, nonce }))
    }
}

fn encrypt<A>(key: &A, nonce: [u8; NONCE], data: &mut [u8]) -> Option<Tag>
where
    A: Clone,
    AesGcm<A, U16>: AeadInOut<NonceSize = U16, TagSize = U16> + From<A>,
{
    AesGcm::<A, U16>::from(key.clone()).encrypt_inout_detached(&Nonce::from(nonce), &[], InOutBuf::from(data)).ok()
}

fn decrypt<A>(key: &A, nonce: &[u8], data: &mut [u8], tag: &[u8]) -> bool
where
    A: Clone,
    AesGcm<A, U16>: AeadInOut<NonceSize = U16, TagSize = U16> + From<A>,
    AesGcm<A, U12>: AeadInOut<NonceSize = U12, TagSize = U16> + From<A>,
{
    fn with<C: AeadInOut<NonceSize = N, TagSize = U16>, N: ArraySize>(
        cipher: &C,
        nonce: &[u8],
        data: &mut [u8],
        tag: &[u8],
    ) -> bool {
        match (Nonce::<N>::try_from(nonce), Tag::try_from(tag)) {
            (Ok(nonce), Ok(tag)) => cipher.decrypt_inout_detached(&nonce, &[], InOutBuf::from(data), &tag).is_ok(),
            _ => false,
        }
    }
    if nonce.len() == NONCE {
        with(&AesGcm::<A, U16>::from(key.clone()), nonce, data, tag)
    } else {
        with(&AesGcm::<A, U12>::from(key.clone()), nonce, data, tag)
    }
}

fn decompressed(data: &[u8], limit: Limit) -> Result<Vec<u8>> {
    let most = limit.at(data.len());
    let mut text = Vec::with_capacity(data.len().saturating_mul(8).min(1 << 26));
    ZlibDecoder::new(data)
        .take(most + 1)
        .read_to_end(&mut text)
        .map_err(|e| Error::corrupt(format!("what is encrypted in it cannot be decompressed: {e}")))?;
    limit.check(text.len() as u64, data.len())?;
    Ok(text)
}

fn push_hex(bytes: &[u8], out: &mut Vec<u8>) {
    let start = out.len();
    out.resize(start + bytes.len() * 2, 0);
    // The room is exactly what it takes.
    let _ = base16ct::lower::encode(bytes, &mut out[start..]);
}

/// Writes JSON text with everything outside of ASCII escaped, as Python does it inside of the envelope. In JSON that stands in strings
/// only.
fn write_ascii(text: &str, out: &mut impl std::io::Write) -> std::io::Result<()> {
    let mut rest = text;
    while let Some(at) = rest.bytes().position(|b| !b.is_ascii()) {
        out.write_all(&rest.as_bytes()[..at])?;
        let Some(character) = rest[at..].chars().next() else { break };
        for unit in character.encode_utf16(&mut [0; 2]) {
            write!(out, "\\u{unit:04x}")?;
        }
        rest = &rest[at + character.len_utf8()..];
    }
    out.write_all(rest.as_bytes())
}

#[cfg(test)]
mod tests;
