//! How a command ends when it does not succeed.
//!
//! A script sees a number, a person a sentence and what to do next, and both can look up the code in `docs/errors.md`. The Python node
//! answers 0 to nearly everything, a mistyped id included; that it does not stop a script there is the one deliberate difference.

use std::borrow::Cow;
use std::fmt;
use std::io;

use hivemind_model::Code;

use crate::plain::plain;
use crate::plugins::{OpenError, Reason, Refusal};

/// The exit codes, as `docs/errors.md` lists them. They never change meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Done; also if there was nothing to do.
    Ok = 0,
    /// Something else failed.
    Failed = 1,
    /// The command line is wrong, or a value given on it is refused.
    Usage = 2,
    /// `server.json` cannot be read, or says something impossible.
    Config = 3,
    /// The plugin was not found, was refused, or crashed.
    Plugin = 4,
    /// The store cannot be reached or is held by somebody else; nothing was changed, and trying again later may help.
    Unavailable = 5,
    /// There is no such client.
    NoSuchClient = 6,
    /// Something else has that key, or the client was changed meanwhile; nothing was changed.
    Conflict = 7,
    /// Stored data is damaged, or newer than this program.
    Data = 8,
    /// The connection was cut while storing: the change may or may not have been made.
    OutcomeUnknown = 9,
    /// The operator said no.
    Aborted = 10,
}

/// Why a command failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// What the process answers.
    pub exit: Exit,
    /// The word to look up in `docs/errors.md`.
    pub code: Cow<'static, str>,
    /// What happened, in one sentence.
    pub message: String,
    /// What to do next.
    pub help: Option<String>,
}

impl Failure {
    /// A failure without advice.
    #[must_use]
    pub fn new(exit: Exit, code: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Self {
        Self { exit, code: code.into(), message: message.into(), help: None }
    }

    /// The command line is wrong.
    #[must_use]
    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(Exit::Usage, "usage", message)
    }

    /// The configuration is wrong.
    #[must_use]
    pub fn config(message: impl Into<String>) -> Self {
        Self::new(Exit::Config, "config", message)
    }

    /// Says what to do next.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Whether it is only that nobody reads the output any more, as behind `| head`.
    #[must_use]
    pub fn is_closed_pipe(&self) -> bool {
        self.code == CLOSED_PIPE
    }
}

const CLOSED_PIPE: &str = "closed-pipe";

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error[{}]: {}", self.code, self.message)?;
        match &self.help {
            Some(help) => write!(f, "\nhelp: {help}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Failure {}

impl From<hivemind_model::Error> for Failure {
    fn from(error: hivemind_model::Error) -> Self {
        let (exit, code, mut help) = describe(error.code());
        if error.code() == Code::Corrupt && error.detail().key.is_some() {
            help = "the record was left as it is; repair or restore it";
        }
        // The backend's words say which settings and file do not go together.
        if error.code() == Code::Denied && error.detail().field.as_deref() == Some("password") {
            help = "correct the password of the store in server.json";
        }
        // Most backends name it in their own words.
        let place = error.detail().place.as_ref().filter(|place| !error.message().contains(place.as_str()));
        let place = place.map_or_else(String::new, |place| format!(" ({place})"));
        // The words may be a plugin's.
        let failure = Self::new(exit, code, plain(&format!("{}{place}", error.message())));
        if help.is_empty() { failure } else { failure.help(help) }
    }
}

fn describe(code: Code) -> (Exit, &'static str, &'static str) {
    match code {
        Code::NotFound => (Exit::NoSuchClient, "not-found", ""),
        Code::Conflict => (Exit::Conflict, "conflict", "look at what is stored now, and run the command again"),
        Code::Busy => (Exit::Unavailable, "busy", "the store is in use by another write; try again in a moment"),
        Code::Deadline => (Exit::Unavailable, "deadline", "the store took too long, and nothing was changed; try again"),
        Code::Unavailable => (Exit::Unavailable, "unavailable", "check that the store can be reached, and try again"),
        Code::Denied => (Exit::Unavailable, "denied", "run this as the user that owns the store, or correct its permissions"),
        Code::Io => (Exit::Unavailable, "io", "check the disk: space, permissions, health"),
        Code::OutcomeUnknown => {
            (Exit::OutcomeUnknown, "outcome-unknown", "look with list-clients whether the change is there before repeating it")
        }
        Code::Corrupt => (Exit::Data, "corrupt", "what is stored was left as it is; repair it, or restore a copy"),
        Code::TooNew => (Exit::Data, "too-new", "a newer program wrote this store; use that version or a later one"),
        Code::Unsupported => (Exit::Failed, "unsupported", "this backend does not offer that"),
        Code::Invalid => (Exit::Failed, "invalid", ""),
        Code::Panicked => (Exit::Plugin, "panicked", "the plugin crashed; tell its vendor"),
        Code::Poisoned => (Exit::Plugin, "poisoned", "the plugin crashed before; tell its vendor"),
        _ => (Exit::Failed, "unrecognized", "the plugin is newer than this program"),
    }
}

impl From<hivemind_store::Error> for Failure {
    fn from(error: hivemind_store::Error) -> Self {
        use hivemind_store::Error;
        let message = error.to_string();
        match error {
            Error::Backend(error) => error.into(),
            Error::Unknown { .. } => Self::new(Exit::NoSuchClient, "unknown-client", message),
            Error::Revoked { .. } => {
                Self::new(Exit::Conflict, "revoked", message).help("it was revoked by somebody else; nothing was changed")
            }
            Error::Changed { .. } => Self::new(Exit::Conflict, "changed", message).help("run the command again"),
            Error::KeyTaken { .. } => Self::new(Exit::Conflict, "key-taken", message),
            Error::Refused(_) => Self::new(Exit::Usage, "refused", message),
            _ => Self::new(Exit::Failed, "unrecognized", message),
        }
    }
}

impl From<OpenError> for Failure {
    fn from(error: OpenError) -> Self {
        match error {
            OpenError::Refused(refusal) => refusal.into(),
            OpenError::Backend { module, error } => {
                let (wrong_settings, unsupported) = (error.code() == Code::Invalid, error.code() == Code::Unsupported);
                let mut failure = Self::from(error);
                failure.message = format!("{module} did not open its store: {}", failure.message);
                if wrong_settings {
                    failure.exit = Exit::Config;
                    failure.help = Some(format!("correct the {module} block of server.json"));
                }
                if unsupported {
                    failure.help = Some(format!("change the {module} block of server.json, or choose another backend"));
                }
                failure
            }
        }
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        let exit = if matches!(*refusal.reason, Reason::Settings(_)) { Exit::Config } else { Exit::Plugin };
        Self::new(exit, format!("plugin-{}", refusal.reason.code()), refusal.to_string())
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::new(Exit::Ok, CLOSED_PIPE, "nobody reads the output any more"),
            _ => Self::new(Exit::Failed, "output", format!("cannot write the output: {error}")),
        }
    }
}
