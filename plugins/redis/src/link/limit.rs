//! How long one piece of waiting may take.
//!
//! The decision behind it: **nobody waits for longer than a slice without looking.** Sockets wait with a short timeout of the system that is
//! set once and stays; after each slice the caller's deadline and cancel flag are looked at, and for how long the server was
//! silent. So a call that is answered at once pays for no timer, and one that is not ends when it should, whatever the server sends
//! byte by byte.

use std::sync::atomic::Ordering;
use std::time::Duration;

use hivemind_abi::model::{Context, Error};

/// The longest time without a look at the caller's flag.
pub(crate) const SLICE: Duration = Duration::from_millis(10);
/// Shorter ones the system rounds anyway.
const SHORTEST: Duration = Duration::from_millis(1);

/// Why waiting ended without what was waited for.
#[derive(Debug, Clone)]
pub(crate) enum Ended {
    /// The caller's deadline or flag.
    Caller(Error),
    /// Nothing moved for so long.
    Silence(Duration),
}

/// What is left of a caller's time, and of the patience with a silent server.
#[derive(Debug)]
pub(crate) struct Limit<'a> {
    cx: &'a Context<'a>,
    patience: Duration,
    silent: Duration,
    longest: Duration,
    looked: Option<Duration>,
}

impl<'a> Limit<'a> {
    pub(crate) const fn new(cx: &'a Context<'a>, patience: Duration) -> Self {
        Self { cx, patience, silent: Duration::ZERO, longest: SLICE, looked: None }
    }

    /// One wait, without a look at the flag meanwhile.
    pub(crate) const fn in_one(cx: &'a Context<'a>, patience: Duration) -> Self {
        Self { cx, patience, silent: Duration::ZERO, longest: patience, looked: None }
    }

    pub(crate) const fn cx(&self) -> &'a Context<'a> {
        self.cx
    }

    /// How long to wait before asking again.
    pub(crate) fn slice(&mut self) -> Result<Duration, Ended> {
        let is_cancelled = self.cx.cancel_flag().is_some_and(|flag| flag.load(Ordering::Relaxed));
        if !is_cancelled && let Some(slice) = self.looked.take() {
            return Ok(slice);
        }
        let remaining = self.cx.remaining();
        if is_cancelled || remaining == Some(Duration::ZERO) {
            self.cx.check().map_err(Ended::Caller)?;
        }
        let left = self.patience.saturating_sub(self.silent);
        if left.is_zero() {
            return Err(Ended::Silence(self.patience));
        }
        Ok(remaining.unwrap_or(self.longest).min(self.longest).min(left).max(SHORTEST))
    }

    /// Nothing was waited for since this slice was given: it is as good as new, and the clock need not be read again.
    pub(crate) const fn still(&mut self, slice: Duration) {
        self.looked = Some(slice);
    }

    /// So long was waited for nothing.
    pub(crate) const fn waited(&mut self, slice: Duration) {
        self.silent = self.silent.saturating_add(slice);
    }

    /// Something came, or went.
    pub(crate) const fn moved(&mut self) {
        self.silent = Duration::ZERO;
    }

    /// Sleeps, if that is within the limit; `false` at once if it is not, or as soon as the caller gives up.
    pub(crate) fn sleep(&self, pause: Duration) -> bool {
        if self.cx.remaining().is_some_and(|left| left <= pause) {
            return false;
        }
        let mut left = pause;
        while !left.is_zero() {
            if self.cx.check().is_err() {
                return false;
            }
            let slice = left.min(SLICE);
            std::thread::sleep(slice);
            left = left.saturating_sub(slice);
        }
        true
    }
}
