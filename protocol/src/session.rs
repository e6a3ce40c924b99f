//! What follows the handshake: every message sealed, in order, long ones in chunks.
//!
//! Both directions count their frames on their own and share nothing but keys, so that one task may send while another receives.

use std::fmt;
use std::sync::Arc;

use snow::StatelessTransportState;

/// The longest piece of a body in one frame, in bytes. A frame holds 500 more, but the reference cuts here.
const CHUNK: usize = 65000;
/// The longest body there is, in bytes.
pub const MAX_BODY: usize = 32 << 20;
/// What sealing adds.
const TAG: usize = 16;
/// What an opener holds on to between two frames, in bytes.
const KEPT: usize = 16 << 10;

/// The first byte of a frame's plaintext.
mod marker {
    pub(super) const JSON: u8 = 0;
    pub(super) const BINARY: u8 = 1;
    pub(super) const FIRST_JSON: u8 = 2;
    pub(super) const FIRST_BINARY: u8 = 3;
    pub(super) const MORE: u8 = 4;
    pub(super) const LAST: u8 = 5;
}

/// What a message is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Body {
    /// An envelope as JSON text.
    Json,
    /// A WIRE-1 frame.
    Binary,
}

/// A whole message, borrowing from the [`Opener`].
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Message<'a> {
    /// An envelope as JSON text.
    Json(&'a str),
    /// A WIRE-1 frame.
    Binary(&'a [u8]),
}

/// Its length alone: messages are private.
impl fmt::Debug for Message<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Json(text) => write!(f, "Json({} bytes)", text.len()),
            Self::Binary(bytes) => write!(f, "Binary({} bytes)", bytes.len()),
        }
    }
}

/// Why a session ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum SessionError {
    /// A frame was not sealed by the other end, or is not the next one.
    Foreign,
    /// A chunk without a beginning, or a beginning within a message.
    Sequence,
    /// A marker that there is not, or none.
    Marker,
    /// A body of more than [`MAX_BODY`].
    TooLarge,
    /// JSON that is not UTF-8.
    NotText,
}

impl SessionError {
    /// The reason a node closes with.
    #[must_use]
    pub const fn reason(self) -> &'static str {
        match self {
            Self::NotText => "invalid message",
            _ => "invalid Noise transport message (tampered, replayed or out-of-order)",
        }
    }
}

impl fmt::Display for SessionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Foreign => "a frame that is not the next one of this session: tampered with, replayed or out of order",
            Self::Sequence => "a chunk of a message where none was expected, or a message within another",
            Self::Marker => "a frame with an unknown marker",
            Self::TooLarge => "a message of more than 32 MiB",
            Self::NotText => "a message that is not UTF-8",
        })
    }
}

impl std::error::Error for SessionError {}

/// Both directions.
#[derive(Debug)]
pub struct Session {
    sealer: Sealer,
    opener: Opener,
}

impl Session {
    pub(crate) fn new(keys: StatelessTransportState) -> Self {
        let keys = Arc::new(keys);
        Self {
            sealer: Sealer { keys: Arc::clone(&keys), sent: 0 },
            opener: Opener { keys, received: 0, frame: Vec::new(), long: Long::None, ended: None },
        }
    }

    /// See [`Sealer::seal`].
    ///
    /// # Errors
    /// See there.
    pub fn seal(&mut self, kind: Body, body: &[u8], out: &mut impl FnMut(Vec<u8>)) -> Result<(), SessionError> {
        self.sealer.seal(kind, body, out)
    }

    /// See [`Opener::open`].
    ///
    /// # Errors
    /// See there.
    pub fn open(&mut self, frame: &[u8]) -> Result<Option<Message<'_>>, SessionError> {
        self.opener.open(frame)
    }

    /// Both directions apart, for two tasks.
    #[must_use]
    pub fn split(self) -> (Sealer, Opener) {
        (self.sealer, self.opener)
    }
}

/// Seals what goes out.
pub struct Sealer {
    keys: Arc<StatelessTransportState>,
    /// How many frames there were, which is the next one's nonce.
    sent: u64,
}

impl Sealer {
    /// Seals a message and hands over its frames. They must be sent in this order, with no other frame between them.
    ///
    /// # Errors
    /// [`SessionError::TooLarge`] if the other end would not take it; nothing is sealed then.
    pub fn seal(&mut self, kind: Body, body: &[u8], out: &mut impl FnMut(Vec<u8>)) -> Result<(), SessionError> {
        let mut next = Some(0);
        while let Some(from) = next {
            let (frame, rest) = self.seal_part(kind, body, from)?;
            out(frame);
            next = rest;
        }
        Ok(())
    }

    /// Seals the part of a message that begins there, for who has no room for all of it: its frame, and where the next part begins. They
    /// must be sent like those of [`Sealer::seal`].
    ///
    /// # Errors
    /// [`SessionError::TooLarge`] if the other end would not take the message; nothing is sealed then.
    pub fn seal_part(&mut self, kind: Body, body: &[u8], from: usize) -> Result<(Vec<u8>, Option<usize>), SessionError> {
        let (whole, first) = match kind {
            Body::Json => (marker::JSON, marker::FIRST_JSON),
            Body::Binary => (marker::BINARY, marker::FIRST_BINARY),
        };
        if body.len() > MAX_BODY {
            return Err(SessionError::TooLarge);
        }
        let rest = body.get(from..).unwrap_or_default();
        let (chunk, more) = rest.split_at(rest.len().min(CHUNK));
        let marker = match (from, more.is_empty()) {
            (0, true) => whole,
            (0, false) => first,
            (_, true) => marker::LAST,
            (_, false) => marker::MORE,
        };
        Ok((self.frame(marker, chunk)?, (!more.is_empty()).then_some(from + chunk.len())))
    }

    fn frame(&mut self, marker: u8, chunk: &[u8]) -> Result<Vec<u8>, SessionError> {
        let mut plain = Vec::with_capacity(1 + chunk.len());
        plain.push(marker);
        plain.extend_from_slice(chunk);
        let mut frame = vec![0; plain.len() + TAG];
        let length = self.keys.write_message(self.sent, &plain, &mut frame).map_err(|_| SessionError::Foreign)?;
        self.sent += 1;
        frame.truncate(length);
        Ok(frame)
    }
}

/// Opens what comes in.
pub struct Opener {
    keys: Arc<StatelessTransportState>,
    /// How many frames there were, which is the next one's nonce.
    received: u64,
    /// The last frame's plaintext, and room for the next one's.
    frame: Vec<u8>,
    long: Long,
    ended: Option<SessionError>,
}

/// A message of several frames.
enum Long {
    None,
    /// Its chunks so far.
    Open(Body, Vec<u8>),
    /// It was handed out; the next frame lets go of it.
    Whole(Vec<u8>),
}

impl Opener {
    /// Opens a frame: `None` if its message goes on in the next one. After an error there are only errors.
    ///
    /// # Errors
    /// If it is not the next frame of the other end, or makes no message.
    pub fn open(&mut self, frame: &[u8]) -> Result<Option<Message<'_>>, SessionError> {
        if let Some(error) = self.ended {
            return Err(error);
        }
        match self.take(frame) {
            Ok(None) => Ok(None),
            Ok(Some((body, length))) => {
                let bytes = match &self.long {
                    Long::Whole(bytes) => bytes.as_slice(),
                    _ => &self.frame[1..length],
                };
                match body {
                    Body::Binary => Ok(Some(Message::Binary(bytes))),
                    Body::Json => match std::str::from_utf8(bytes) {
                        Ok(text) => Ok(Some(Message::Json(text))),
                        Err(_) => Err(*self.ended.insert(SessionError::NotText)),
                    },
                }
            }
            Err(error) => Err(*self.ended.insert(error)),
        }
    }

    /// How many bytes are held of a message of several frames: one that is not whole, or that was handed out and not
    /// [let go](Self::let_go). `None` if there is none.
    #[must_use]
    pub fn held(&self) -> Option<usize> {
        match &self.long {
            Long::None => None,
            Long::Open(_, bytes) | Long::Whole(bytes) => Some(bytes.len()),
        }
    }

    /// Lets go of a message that was handed out. Otherwise the next frame does, however late it comes.
    pub fn let_go(&mut self) {
        if let Long::Whole(_) = self.long {
            self.long = Long::None;
        }
    }

    /// Opens a frame. `Some` if a message is whole: in `long`, or from the second byte up to this length in `frame`.
    fn take(&mut self, sealed: &[u8]) -> Result<Option<(Body, usize)>, SessionError> {
        self.make_room(sealed.len());
        let length = self.keys.read_message(self.received, sealed, &mut self.frame).map_err(|_| SessionError::Foreign)?;
        self.received += 1;
        let (marker, chunk) = self.frame[..length].split_first().ok_or(SessionError::Marker)?;
        let whole = match (*marker, &mut self.long) {
            (marker::JSON, Long::None) => Some(Body::Json),
            (marker::BINARY, Long::None) => Some(Body::Binary),
            (marker::FIRST_JSON, Long::None) => {
                self.long = Long::Open(Body::Json, chunk.to_vec());
                None
            }
            (marker::FIRST_BINARY, Long::None) => {
                self.long = Long::Open(Body::Binary, chunk.to_vec());
                None
            }
            (marker @ (marker::MORE | marker::LAST), Long::Open(body, bytes)) => {
                append(bytes, chunk)?;
                let body = *body;
                if marker == marker::LAST {
                    self.long = Long::Whole(std::mem::take(bytes));
                    Some(body)
                } else {
                    None
                }
            }
            (marker::JSON..=marker::LAST, _) => return Err(SessionError::Sequence),
            _ => return Err(SessionError::Marker),
        };
        Ok(whole.map(|body| (body, length)))
    }

    /// Lets go of what was handed out. What one long message needed is not kept for as long as the satellite stays.
    fn make_room(&mut self, length: usize) {
        self.let_go();
        if self.frame.len() < length {
            self.frame.resize(length, 0);
        } else if self.frame.len() > KEPT && length <= KEPT {
            self.frame = vec![0; length];
        }
    }
}

/// Grows by at least a quarter, but not beyond the bound as doubling would.
fn append(bytes: &mut Vec<u8>, chunk: &[u8]) -> Result<(), SessionError> {
    let length = bytes.len() + chunk.len();
    if length > MAX_BODY {
        return Err(SessionError::TooLarge);
    }
    if length > bytes.capacity() {
        let wanted = (length + length / 4).clamp(4 * CHUNK, MAX_BODY).max(length);
        bytes.reserve_exact(wanted - bytes.len());
    }
    bytes.extend_from_slice(chunk);
    Ok(())
}

impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sealer").field("sent", &self.sent).finish_non_exhaustive()
    }
}

impl fmt::Debug for Opener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Opener").field("received", &self.received).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
