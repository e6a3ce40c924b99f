//! One behaviour and what came of testing it.

use std::fmt;
use std::panic::{AssertUnwindSafe, Location, catch_unwind};

use hivemind_model::{Capabilities, Capability, Error};

use crate::subject::Subject;

/// Why a case did not pass.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// The backend did something else than it must: what was expected, what was found.
    Wrong(String),
    /// The subject lacks a hook that the case needs.
    Skipped(String),
}

impl Failure {
    /// A wrong answer.
    pub fn wrong(message: impl Into<String>) -> Self {
        Self::Wrong(message.into())
    }

    /// The same failure with words in front that say what was being done.
    #[must_use]
    pub fn context(self, doing: impl fmt::Display) -> Self {
        match self {
            Self::Wrong(message) => Self::Wrong(format!("{doing}: {message}")),
            skipped @ Self::Skipped(_) => skipped,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Wrong(message) => f.write_str(message),
            Self::Skipped(why) => write!(f, "skipped: {why}"),
        }
    }
}

impl std::error::Error for Failure {}

impl From<Error> for Failure {
    #[track_caller]
    fn from(error: Error) -> Self {
        let at = Location::caller();
        Self::Wrong(format!("expected success, found {error} (asked at {}:{})", at.file(), at.line()))
    }
}

/// The result of a case and of each step in it.
pub type Checked<T = ()> = Result<T, Failure>;

/// One behaviour that a backend must show.
#[derive(Debug, Clone, Copy)]
pub struct Case {
    /// Theme and behaviour, as in `paging::a_page_is_never_empty`.
    pub name: &'static str,
    /// The behaviour as a sentence.
    pub sentence: &'static str,
    /// It applies to backends that declare all of these.
    pub requires: &'static [Capability],
    /// It applies to backends that declare none of these.
    pub forbids: &'static [Capability],
    run: fn(&dyn Subject) -> Checked,
}

impl Case {
    pub(crate) const fn new(name: &'static str, sentence: &'static str, run: fn(&dyn Subject) -> Checked) -> Self {
        Self { name, sentence, requires: &[], forbids: &[], run }
    }

    pub(crate) const fn requires(self, requires: &'static [Capability]) -> Self {
        Self { requires, ..self }
    }

    pub(crate) const fn forbids(self, forbids: &'static [Capability]) -> Self {
        Self { forbids, ..self }
    }

    /// Whether a backend with these capabilities must show it.
    #[must_use]
    pub fn applies_to(&self, capabilities: Capabilities) -> bool {
        self.requires.iter().all(|c| capabilities.has(*c)) && !self.forbids.iter().any(|c| capabilities.has(*c))
    }

    /// Tests it on an empty store of the subject. A panic, which no request may cause, is a failure.
    ///
    /// # Errors
    /// What was expected and what was found.
    pub fn run(&self, subject: &dyn Subject) -> Checked {
        match catch_unwind(AssertUnwindSafe(|| (self.run)(subject))) {
            Ok(result) => result,
            Err(panic) => Err(Failure::wrong(format!("expected an answer, found a panic: {}", panic_text(&*panic)))),
        }
    }
}

/// What a panic said.
pub(crate) fn panic_text(panic: &(dyn std::any::Any + Send)) -> &str {
    let owned = panic.downcast_ref::<String>().map(String::as_str);
    owned.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("a panic without words")
}
