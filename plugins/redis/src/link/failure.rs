//! What went wrong with an exchange, and what may be done about it.
//!
//! The decision behind it: **two questions are answered apart.** *May it have been applied?* decides whether an error may be called
//! known-not-applied, and whether a write may be repeated. *What helps?* decides between waiting, looking for the master anew,
//! and giving up. Redis's error codes answer both, because every refusal here precedes execution.

use std::time::Duration;

use hivemind_abi::model::{Code, Error};
use redis::{ServerError, ServerErrorKind};

use super::address::Address;
use super::limit::Ended;
use super::permission;

/// May a call be sent again after a cut, and what is its end if it is not?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Repeat {
    /// It changes nothing. Repeated; after the last cut it is `unavailable` or `deadline`.
    Safe,
    /// It changes something, and doing it twice is doing it once. Repeated; after the last cut it is `outcome unknown`.
    Idempotent,
    /// Doing it twice is another thing than once. Not repeated unless known not to have been applied; a cut is `outcome unknown`.
    Never,
}

/// What ended an exchange on a connection, which is of no use any more then.
#[derive(Debug)]
pub(crate) struct Cut {
    /// Whether the server may have got something to carry out.
    pub(crate) sent: bool,
    pub(crate) why: Why,
}

#[derive(Debug)]
pub(crate) enum Why {
    /// The wait was over.
    Ended(Ended),
    /// The other side closed the connection.
    Closed,
    /// The system's word.
    Io(std::io::Error),
    /// What came is not Redis's protocol; the parser's word.
    Garbled(String),
}

/// What helps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Then {
    /// Nothing, for now.
    GiveUp,
    /// Trying again there after a pause.
    Wait,
    /// Looking again where the master is, then trying again.
    Look,
}

/// A failed attempt.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) error: Error,
    /// It is not known that nothing was applied.
    pub(crate) maybe_applied: bool,
    pub(crate) then: Then,
}

impl Failure {
    pub(crate) fn new(error: Error, then: Then) -> Self {
        Self { error, maybe_applied: false, then }
    }

    /// The error for the caller, when nobody tries again.
    pub(crate) fn into_error(self, repeat: Repeat) -> Error {
        if !self.maybe_applied || repeat == Repeat::Safe {
            return self.error;
        }
        let place = self.error.detail().place.clone().unwrap_or_default();
        let message = format!("{}; the command was sent, so it may or may not have been carried out", self.error.message());
        Error::outcome_unknown(message).place(place)
    }
}

impl Cut {
    /// Whether the connection was at its end, and not somebody's patience or what was said on it.
    pub(crate) const fn is_of_the_connection(&self) -> bool {
        matches!(self.why, Why::Closed | Why::Io(_))
    }

    /// As a failure of a call at this server. A cut is worth another attempt, unless the caller's time is over.
    pub(crate) fn at(self, address: &Address) -> Failure {
        let unavailable = |message: String| Error::unavailable(message).known_not_applied();
        let (error, then) = match self.why {
            Why::Ended(ended) => (ended.at(address, self.sent), Then::GiveUp),
            Why::Closed => (unavailable(format!("{address} closed the connection")), Then::Look),
            Why::Io(error) => (unavailable(format!("the connection to {address} broke: {error}")), Then::Look),
            Why::Garbled(what) => (not_redis(address, &what), Then::GiveUp),
        };
        Failure { error: error.place(address.to_string()), maybe_applied: self.sent, then }
    }
}

impl Ended {
    /// As an error of a call at this server.
    pub(crate) fn at(self, address: &Address, sent: bool) -> Error {
        match self {
            Self::Caller(error) if sent => error.context(format_args!("waiting for the answer of {address}")),
            Self::Caller(error) => error.context(format_args!("waiting for {address}")),
            Self::Silence(patience) => silent(address, patience),
        }
    }
}

fn silent(address: &Address, patience: Duration) -> Error {
    let message = format!(
        "{address} said nothing for {patience:?}; expected an answer of a Redis server. See whether it is busy, paused or no Redis at \
         all, and raise socket_timeout_ms if it is slow"
    );
    Error::unavailable(message).known_not_applied()
}

/// Something else answered.
pub(crate) fn not_redis(address: &Address, what: &str) -> Error {
    let what = printable(what);
    let message = format!(
        "{address} is no Redis server: expected its protocol, found {what}. Check host and port, and use_ssl if it is a TLS port"
    );
    Error::unavailable(message).place(address.to_string())
}

/// A server's words for a message: one line, not endless, without the arguments of commands that Redis repeats in some of them.
pub(crate) fn printable(text: &str) -> String {
    const LONGEST: usize = 200;
    let text = text.split(", with args").next().unwrap_or_default();
    let mut shown: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(LONGEST).collect();
    if text.chars().nth(LONGEST).is_some() {
        shown.push('…');
    }
    shown
}

/// What a server refused to do, `name` being the command. All of these come before anything was carried out, but for what a script of
/// several commands did before the refused one.
pub(crate) fn refused(error: &ServerError, name: &str, user: &str, address: &Address) -> Failure {
    if let Some(cause) = cause(error) {
        return refused(&cause, name, user, address);
    }
    let code = error.code().to_owned();
    let detail = printable(error.details().unwrap_or_default());
    let said = format!("{address} refused {name}: {code} {detail}");
    let retryable = |code: Code, advice: &str| Error::new(code, true, format!("{said}; {advice}"));
    let (error, then) = match code.as_str() {
        "LOADING" => (retryable(Code::Unavailable, "it is reading its data and answers when it is done"), Then::Wait),
        "BUSY" => (
            retryable(Code::Busy, "a script of somebody runs for long; SCRIPT KILL ends one that has written nothing"),
            Then::Wait,
        ),
        "TRYAGAIN" => (retryable(Code::Unavailable, "its keys are being moved to another node"), Then::Wait),
        // Where a redirection could not be followed, because more than one call hangs on it.
        "MOVED" => (retryable(Code::Unavailable, "the slot has another master now"), Then::Look),
        "ASK" => (retryable(Code::Unavailable, "the slot is on its way to another master"), Then::Wait),
        "CLUSTERDOWN" => (retryable(Code::Unavailable, "the cluster has no master for some slots; see CLUSTER INFO"), Then::Look),
        "MASTERDOWN" => (retryable(Code::Unavailable, "it is a replica that has lost its master"), Then::Look),
        "READONLY" => {
            (retryable(Code::Unavailable, "it is a replica; connect to the master, or configure sentinels"), Then::Look)
        }
        "NOREPLICAS" => (retryable(Code::Unavailable, "see min-replicas-to-write there"), Then::Wait),
        "OOM" => (
            retryable(
                Code::Io,
                "nothing was written: its memory is full; raise maxmemory or remove data (never by evicting clients)",
            ),
            Then::GiveUp,
        ),
        "MISCONF" => (
            retryable(
                Code::Io,
                "nothing was written: its last snapshot failed; see its log and its disk, or CONFIG SET dir there",
            ),
            Then::GiveUp,
        ),
        "NOAUTH" | "WRONGPASS" | "NOPERM" | "DENIED" => (permission::denied(&code, &detail, name, user, address), Then::GiveUp),
        "NOPROTO" | "NOSCRIPT" => (Error::unsupported(said), Then::GiveUp),
        "CROSSSLOT" => (
            Error::unsupported(format!("{said}; one command's keys must be in one slot of a cluster: set cluster_hash_tag")),
            Then::GiveUp,
        ),
        "WRONGTYPE" => (Error::corrupt(format!("{said}; the key belongs to something else")), Then::GiveUp),
        _ => (plain(error, &said, name, user, address, &detail), Then::GiveUp),
    };
    // Some are one's own trouble and not the place's: the connection limit is asked anew after a while.
    let then = if error.retryable() && then == Then::GiveUp && error.code() == Code::Unavailable { Then::Wait } else { then };
    Failure::new(error.place(address.to_string()), then)
}

/// Why a transaction was discarded, where `EXEC` says it.
fn cause(error: &ServerError) -> Option<ServerError> {
    if error.kind() != Some(ServerErrorKind::ExecAbort) {
        return None;
    }
    let (_, cause) = error.details()?.split_once("because of: ")?;
    match redis::parse_redis_value(format!("-{cause}\r\n").as_bytes()).ok()? {
        redis::Value::ServerError(cause) if cause.kind() != Some(ServerErrorKind::ExecAbort) => Some(cause),
        _ => None,
    }
}

/// What has no code of its own.
fn plain(error: &ServerError, said: &str, name: &str, user: &str, address: &Address, detail: &str) -> Error {
    let has = |words: &str| detail.contains(words);
    if error.kind() != Some(ServerErrorKind::ResponseError) {
        return Error::io(said.to_owned());
    }
    if has("max number of clients") {
        return Error::unavailable(format!("{said}; raise maxclients there, or lower max_connections here")).known_not_applied();
    }
    if has("can't run this command") || has("ACL failure in script") {
        return permission::denied("NOPERM", detail, name, user, address);
    }
    if has("unknown command") || has("nknown subcommand") || has("unknown or disabled command") {
        return Error::unsupported(format!("{said}; the server is too old for it, or has it renamed or disabled"));
    }
    if has("DB index is out of range") || has("SELECT is not allowed in cluster mode") {
        return Error::invalid(format!("{said}; check the setting db"));
    }
    if has("without any password configured") {
        return Error::denied(format!(
            "{said}; the server has no password: remove the setting password, or set requirepass there"
        ));
    }
    Error::io(said.to_owned())
}
