//! One error type for everything a backend can say.
//!
//! An error answers three questions separately, because callers act on them separately: *what* happened ([`Code`]), *may the same
//! call be repeated as it is* ([`Error::retryable`]: it is known that nothing was applied), and *where* ([`Detail`]). The message is
//! one line for a person.

use std::fmt;

use crate::value::Key;

/// The result of every fallible call here.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong. The numbers are the wire's and never change meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[repr(u32)]
pub enum Code {
    /// The record that a mutation names does not exist.
    NotFound = 1,
    /// A key or unique value is taken, or a condition or expectation does not hold; nothing was applied.
    Conflict = 2,
    /// Somebody else holds the store; nothing was applied.
    Busy = 3,
    /// The deadline passed or the caller cancelled; nothing was applied.
    Deadline = 4,
    /// The store cannot be reached, or its handle is closed; nothing was applied.
    Unavailable = 5,
    /// The connection was cut after the commit was sent: it may or may not have been applied. With the field
    /// [`Detail::DURABILITY`] it was applied, and may not last.
    OutcomeUnknown = 6,
    /// Stored data could not be read; it is left as it is.
    Corrupt = 7,
    /// The backend does not offer this.
    Unsupported = 8,
    /// The request itself is wrong.
    Invalid = 9,
    /// Permission was refused by the system or the server.
    Denied = 10,
    /// The stored data has a newer schema than this program knows; it is left as it is.
    TooNew = 11,
    /// Reading or writing failed.
    Io = 12,
    /// The plugin panicked during this call: it may or may not have been applied.
    Panicked = 13,
    /// The plugin panicked earlier and its handle is not used any more.
    Poisoned = 14,
    /// A code from a newer plugin that this build has no name for: the call may or may not have been applied.
    Unrecognized = u32::MAX,
}

impl Code {
    const NAMED: [Self; 14] = [
        Self::NotFound,
        Self::Conflict,
        Self::Busy,
        Self::Deadline,
        Self::Unavailable,
        Self::OutcomeUnknown,
        Self::Corrupt,
        Self::Unsupported,
        Self::Invalid,
        Self::Denied,
        Self::TooNew,
        Self::Io,
        Self::Panicked,
        Self::Poisoned,
    ];

    /// The number used on the wire.
    #[must_use]
    pub const fn number(self) -> u32 {
        self as u32
    }

    /// The code with this wire number; [`Code::Unrecognized`] for one that this build does not know.
    #[must_use]
    pub fn from_number(number: u32) -> Self {
        Self::NAMED.into_iter().find(|c| c.number() == number).unwrap_or(Self::Unrecognized)
    }

    /// The words used in messages and documents.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::NotFound => "not found",
            Self::Conflict => "conflict",
            Self::Busy => "busy",
            Self::Deadline => "deadline",
            Self::Unavailable => "unavailable",
            Self::OutcomeUnknown => "outcome unknown",
            Self::Corrupt => "corrupt",
            Self::Unsupported => "unsupported",
            Self::Invalid => "invalid",
            Self::Denied => "denied",
            Self::TooNew => "too new",
            Self::Io => "io",
            Self::Panicked => "panicked",
            Self::Poisoned => "poisoned",
            Self::Unrecognized => "unrecognized",
        }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Where it happened, as far as the backend knows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Detail {
    /// Position of the failing mutation in its batch, from 0.
    pub mutation: Option<u32>,
    /// Name of the collection.
    pub collection: Option<String>,
    /// Key of the record.
    pub key: Option<Key>,
    /// Name of the field.
    pub field: Option<String>,
    /// File or address.
    pub place: Option<String>,
}

/// An error of a backend, of the codec, or of the machinery around them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    inner: Box<Inner>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Inner {
    code: Code,
    retryable: bool,
    message: String,
    detail: Detail,
}

impl Detail {
    /// The field of an `outcome unknown` whose change is in place but may not survive a loss of power. Reading it back tells nothing.
    pub const DURABILITY: &'static str = "durability";
}

macro_rules! constructors {
    ($($name:ident => $code:ident, $retryable:literal;)*) => {
        $(
            #[doc = concat!("An error with [`Code::", stringify!($code), "`], retryable: ", stringify!($retryable), ".")]
            #[must_use]
            pub fn $name(message: impl Into<String>) -> Self {
                Self::new(Code::$code, $retryable, message)
            }
        )*
    };
}

impl Error {
    /// An error with the given parts and no detail.
    #[must_use]
    pub fn new(code: Code, retryable: bool, message: impl Into<String>) -> Self {
        Self { inner: Box::new(Inner { code, retryable, message: message.into(), detail: Detail::default() }) }
    }

    constructors! {
        not_found => NotFound, false;
        conflict => Conflict, false;
        busy => Busy, true;
        deadline => Deadline, true;
        unavailable => Unavailable, false;
        outcome_unknown => OutcomeUnknown, false;
        corrupt => Corrupt, false;
        unsupported => Unsupported, false;
        invalid => Invalid, false;
        denied => Denied, false;
        too_new => TooNew, false;
        io => Io, false;
        panicked => Panicked, false;
        poisoned => Poisoned, false;
    }

    /// The same error, retryable: for a place that knows that nothing was applied, and that it may pass later.
    #[must_use]
    pub fn known_not_applied(mut self) -> Self {
        self.inner.retryable = true;
        self
    }

    /// What happened.
    #[must_use]
    pub fn code(&self) -> Code {
        self.inner.code
    }

    /// Whether the same call may be repeated as it is: **known not to have been applied**, and likely to pass later.
    #[must_use]
    pub fn retryable(&self) -> bool {
        self.inner.retryable
    }

    /// One line for a person.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.inner.message
    }

    /// Where it happened.
    #[must_use]
    pub fn detail(&self) -> &Detail {
        &self.inner.detail
    }

    /// Replaces the detail as a whole.
    #[must_use]
    pub fn with_detail(mut self, detail: Detail) -> Self {
        self.inner.detail = detail;
        self
    }

    /// Names the failing mutation of a batch, from 0.
    #[must_use]
    pub fn mutation(mut self, index: usize) -> Self {
        self.inner.detail.mutation = u32::try_from(index).ok();
        self
    }

    /// Names the collection.
    #[must_use]
    pub fn collection(mut self, name: &str) -> Self {
        self.inner.detail.collection = Some(name.to_owned());
        self
    }

    /// Names the record.
    #[must_use]
    pub fn key(mut self, key: Key) -> Self {
        self.inner.detail.key = Some(key);
        self
    }

    /// Names the field.
    #[must_use]
    pub fn field(mut self, name: &str) -> Self {
        self.inner.detail.field = Some(name.to_owned());
        self
    }

    /// Names the file or address.
    #[must_use]
    pub fn place(mut self, place: impl Into<String>) -> Self {
        self.inner.detail.place = Some(place.into());
        self
    }

    /// Puts words in front of the message, to say what was being done.
    #[must_use]
    pub fn context(mut self, doing: impl fmt::Display) -> Self {
        self.inner.message = format!("{doing}: {}", self.inner.message);
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.inner.code, self.inner.message)
    }
}

impl std::error::Error for Error {}

impl From<std::io::Error> for Error {
    /// Permission problems become `denied`, all else `io`, a call that was interrupted or would block too: what was done by then is
    /// not known here. A caller that knows says `busy` itself.
    fn from(error: std::io::Error) -> Self {
        use std::io::ErrorKind;
        match error.kind() {
            ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => Self::denied(error.to_string()),
            _ => Self::io(error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;

    use super::*;

    #[test]
    fn only_what_is_known_not_to_have_been_applied_is_retryable() {
        for (error, retryable) in [
            (Error::busy("x"), true),
            (Error::deadline("x"), true),
            (Error::unavailable("x"), false),
            (Error::unavailable("x").known_not_applied(), true),
            (Error::outcome_unknown("x"), false),
            (Error::panicked("x"), false),
        ] {
            assert_eq!(error.retryable(), retryable, "{error}");
        }
        for (kind, code) in [
            (ErrorKind::Interrupted, Code::Io),
            (ErrorKind::WouldBlock, Code::Io),
            (ErrorKind::TimedOut, Code::Io),
            (ErrorKind::PermissionDenied, Code::Denied),
        ] {
            let error = Error::from(std::io::Error::from(kind));
            assert_eq!((error.code(), error.retryable()), (code, false), "{kind}");
        }
    }
}
