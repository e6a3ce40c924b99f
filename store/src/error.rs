//! What a typed call can say besides the backend's own errors.
//!
//! Kept apart from [`hivemind_model::Error`], because "there is no such client" and "the database cannot be read" must never look
//! alike: a satellite that is told the first gives up for ever.

use std::fmt;

use hivemind_model as model;

/// The result of every fallible typed call.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a typed call failed.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// There is no client with this id.
    Unknown {
        /// The id asked for.
        id: i64,
    },
    /// The client was revoked, before or while this was asked. Nothing was changed.
    Revoked {
        /// Its id.
        id: i64,
    },
    /// The client got another access key since it was read. Nothing was changed.
    Changed {
        /// Its id.
        id: i64,
    },
    /// Another client has this access key. Nothing was added.
    KeyTaken {
        /// That client's id, as far as the backend names it.
        holder: Option<i64>,
    },
    /// The request itself cannot be accepted; the text says what is wrong with it.
    Refused(String),
    /// The backend failed; whether the call may be repeated is for [`model::Error::retryable`] to say.
    Backend(model::Error),
}

impl Error {
    pub(crate) fn refused(what: impl Into<String>) -> Self {
        Self::Refused(what.into())
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown { id } => write!(f, "there is no client {id}"),
            Self::Revoked { id } => write!(f, "client {id} is revoked"),
            Self::Changed { id } => write!(f, "client {id} got another access key meanwhile; nothing was changed"),
            Self::KeyTaken { holder: Some(id) } => write!(f, "client {id} has this access key already"),
            Self::KeyTaken { holder: None } => f.write_str("another client has this access key already"),
            Self::Refused(what) => f.write_str(what),
            Self::Backend(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Backend(error) => Some(error),
            _ => None,
        }
    }
}

impl From<model::Error> for Error {
    fn from(error: model::Error) -> Self {
        Self::Backend(error)
    }
}
