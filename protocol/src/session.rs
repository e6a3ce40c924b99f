//! What follows the handshake: every message sealed, in order, long ones in chunks.

/// What a message is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Body {
    /// An envelope as JSON text.
    Json,
    /// A WIRE-1 frame.
    Binary,
}

/// A whole message, borrowing from the [`Opener`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Message<'a> {
    /// An envelope as JSON text.
    Json(&'a str),
    /// A WIRE-1 frame.
    Binary(&'a [u8]),
}

/// Why a frame ends the session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum SessionError {
    /// It was not sealed by the other end, or not now.
    Foreign,
    /// A chunk without a beginning, or a beginning within a message.
    Sequence,
    /// A marker that there is not, or none.
    Marker,
    /// More than 32 MiB.
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

/// Both directions.
#[derive(Debug)]
pub struct Session {
    sealer: Sealer,
    opener: Opener,
}

/// Seals what goes out.
#[derive(Debug)]
pub struct Sealer {}

/// Opens what comes in.
#[derive(Debug)]
pub struct Opener {}

impl Session {
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

impl Sealer {
    /// Seals a message and hands over its frames, which must be sent in this order and before any other.
    ///
    /// # Errors
    /// [`SessionError::TooLarge`] if the other end would not take it; nothing is sealed then.
    pub fn seal(&mut self, _kind: Body, _body: &[u8], _out: &mut impl FnMut(Vec<u8>)) -> Result<(), SessionError> {
        todo!()
    }
}

impl Opener {
    /// Opens a frame: `None` if its message goes on. An error is the end of the session.
    ///
    /// # Errors
    /// If it is not the next frame of the other end.
    pub fn open(&mut self, _frame: &[u8]) -> Result<Option<Message<'_>>, SessionError> {
        todo!()
    }
}
