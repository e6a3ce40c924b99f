//! How the node ends a connection: the close codes and reasons that satellites know.

use std::borrow::Cow;

/// A close frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Close {
    /// RFC 6455, or 4003 for what a client is not allowed.
    pub code: u16,
    /// At most 123 bytes.
    pub reason: Cow<'static, str>,
}

impl Close {
    /// Nothing is wrong.
    pub const NORMAL: u16 = 1000;
    /// What was sent is not a WebSocket's.
    pub const PROTOCOL: u16 = 1002;
    /// A text is not UTF-8.
    pub const INVALID_TEXT: u16 = 1007;
    /// A message is too long.
    pub const TOO_BIG: u16 = 1009;
    /// Later it may work.
    pub const TRY_AGAIN: u16 = 1013;
    /// A client refused for good: before its session is up it does not come back.
    pub const POLICY: u16 = 1008;
    /// It may come back.
    pub const INTERNAL: u16 = 1011;
    /// The node stops.
    pub const GOING_AWAY: u16 = 1001;
    /// What the client sent is not allowed to it.
    pub const FORBIDDEN: u16 = 4003;

    /// A close frame with this code and reason.
    #[must_use]
    pub fn new(code: u16, reason: impl Into<Cow<'static, str>>) -> Self {
        Self { code, reason: reason.into() }
    }

    /// The node stops.
    #[must_use]
    pub const fn stopping() -> Self {
        Self { code: Self::GOING_AWAY, reason: Cow::Borrowed("the node is stopping") }
    }
}
