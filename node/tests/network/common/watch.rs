//! What a node tells its observer, kept for tests to look at.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use hivemind_node::event::{Event, Observer, Refusal};

/// Something that happened.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Happened {
    Refused(Refusal),
    Admitted(i64, &'static str),
    Left(Option<u16>, String),
    TooSlow,
    NotRelayed,
    Called(&'static str, bool),
    Disconnected,
}

/// Remembers what it sees.
#[derive(Debug, Default)]
pub(crate) struct Watch(Mutex<Vec<Happened>>);

impl Observer for Watch {
    fn see(&self, event: &Event<'_>) {
        let happened = match event {
            Event::Refused { refusal, .. } => Happened::Refused(*refusal),
            Event::Admitted { party, pattern, .. } => Happened::Admitted(party.client.unwrap_or_default(), pattern),
            Event::Left { code, reason, .. } => Happened::Left(*code, (*reason).to_owned()),
            Event::TooSlow { .. } => Happened::TooSlow,
            Event::NotRelayed { .. } => Happened::NotRelayed,
            Event::Called { call, error, .. } => Happened::Called(call, error.is_some()),
            Event::Disconnected { .. } => Happened::Disconnected,
            _ => return,
        };
        self.all().push(happened);
    }
}

impl Watch {
    /// Everything so far.
    pub(crate) fn all(&self) -> MutexGuard<'_, Vec<Happened>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many of them are so.
    pub(crate) fn count(&self, is_so: impl Fn(&Happened) -> bool) -> usize {
        self.all().iter().filter(|h| is_so(h)).count()
    }

    /// How often this was refused.
    pub(crate) fn refused(&self, refusal: Refusal) -> usize {
        self.count(|h| *h == Happened::Refused(refusal))
    }

    /// How often the storage was called so.
    pub(crate) fn called(&self, call: &str) -> usize {
        self.count(|h| matches!(h, Happened::Called(c, _) if *c == call))
    }
}

/// Waits until it is so.
pub(crate) async fn eventually(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let end = Instant::now() + super::HANGS;
    while !is_so().await {
        assert!(Instant::now() < end, "not after {:?}: {what}", super::HANGS);
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
}
