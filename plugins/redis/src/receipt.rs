//! Whether a write whose answer never came was carried out.
//!
//! The decision behind it: **each write leaves a receipt, in the same script, at a place of its own**, and only over the receipt of the write
//! before it there. After a cut that place answers: it holds this write's receipt, or the one before. In the second case it is
//! replaced, so that the write, should it still be under way, no longer finds what it expects and does nothing. So neither another's write
//! of the same bytes nor a late arrival can be mistaken for anything.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{LazyLock, Mutex, PoisonError};

use hivemind_abi::model::{Code, Context, Error, Result};
use redis::{Value, cmd};

use crate::keys::Namespace;
use crate::link::{AfterLook, Link, Repeat, Script, Watched, integer};
use crate::recent::random;

static SETTLE: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("scripts/settle.lua")));

/// How long a receipt is kept, in seconds: far longer than anybody could still ask for it.
pub(crate) const KEPT: u32 = 86_400;

/// How often a place is looked at that changes meanwhile.
const TRIES: usize = 8;

/// The places of a handle. Each is one writer's at a time.
pub(crate) struct Receipts {
    namespace: Namespace,
    handle: u64,
    next: AtomicUsize,
    free: Mutex<Vec<Place>>,
}

/// One place.
pub(crate) struct Place {
    pub(crate) key: Vec<u8>,
    /// What is there.
    pub(crate) last: Vec<u8>,
    count: u64,
}

/// What became of a write.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Settled {
    /// It was carried out.
    Done,
    /// It was not, and never will be.
    NotDone,
}

impl Receipts {
    /// # Errors
    /// `io` if the system has no random numbers.
    pub(crate) fn new(namespace: Namespace) -> Result<Self> {
        Ok(Self { namespace, handle: random()?, next: AtomicUsize::new(0), free: Mutex::new(Vec::new()) })
    }

    /// A place that is free.
    ///
    /// # Errors
    /// The link's.
    pub(crate) fn take(&self, cx: &Context<'_>, link: &Link) -> Result<Place> {
        let free = self.free.lock().unwrap_or_else(PoisonError::into_inner).pop();
        if let Some(place) = free {
            return Ok(place);
        }
        let key = self.namespace.receipt(self.handle, self.next.fetch_add(1, Ordering::Relaxed));
        let mut place = Place { key, last: Vec::new(), count: 0 };
        place.begin(cx, link)?;
        Ok(place)
    }

    /// Gives a place back, which must hold what it says.
    pub(crate) fn give_back(&self, place: Place) {
        self.free.lock().unwrap_or_else(PoisonError::into_inner).push(place);
    }

    /// The keys of all places, to be removed at the end.
    pub(crate) fn all(&self) -> Vec<Vec<u8>> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner).drain(..).map(|place| place.key).collect()
    }
}

impl Place {
    /// Writes a first receipt.
    ///
    /// # Errors
    /// The link's.
    pub(crate) fn begin(&mut self, cx: &Context<'_>, link: &Link) -> Result<()> {
        let first = self.next();
        let mut set = cmd("SET");
        set.arg(&self.key).arg(&first).arg("EX").arg(KEPT);
        // Nobody else writes there, so nothing is at stake if it is not known whether it was done.
        link.query(cx, &set, Repeat::Idempotent).map_err(|error| match error.code() {
            Code::OutcomeUnknown => Error::unavailable(error.message()).known_not_applied(),
            _ => error,
        })?;
        self.last = first;
        Ok(())
    }

    /// A receipt that was never there.
    pub(crate) fn next(&mut self) -> Vec<u8> {
        self.count += 1;
        self.count.to_string().into_bytes()
    }

    /// Finds out whether the write that was to leave `receipt` here was carried out, and sees to it that it is not carried out later.
    ///
    /// # Errors
    /// `outcome unknown` if the receipts are gone; the link's.
    pub(crate) fn settle(&mut self, cx: &Context<'_>, link: &Link, receipt: &[u8]) -> Result<Settled> {
        let void = self.next();
        if !link.scripts_allowed() {
            return self.settle_watched(cx, link, receipt, void);
        }
        let args = [receipt.to_vec(), self.last.clone(), void.clone()];
        let answer = link.script(cx, &SETTLE, std::slice::from_ref(&self.key), &args, Repeat::Idempotent)?;
        match integer(&answer) {
            Some(1) => {
                self.last = receipt.to_vec();
                Ok(Settled::Done)
            }
            Some(0) => {
                self.last = void;
                Ok(Settled::NotDone)
            }
            _ => Err(gone()),
        }
    }

    /// The same without a script.
    fn settle_watched(&mut self, cx: &Context<'_>, link: &Link, receipt: &[u8], void: Vec<u8>) -> Result<Settled> {
        let question = [cmd("GET").arg(&self.key).to_owned()];
        let last = self.last.clone();
        for _ in 0..TRIES {
            let watched = link.watched(cx, std::slice::from_ref(&self.key), &question, |answers| match answers.first() {
                Some(Value::BulkString(found)) if found == receipt => Ok(AfterLook::Leave(Settled::Done)),
                Some(Value::BulkString(found)) if *found == void => Ok(AfterLook::Leave(Settled::NotDone)),
                Some(Value::BulkString(found)) if *found == last => {
                    let mut pipeline = redis::pipe();
                    pipeline.atomic().cmd("SET").arg(&self.key).arg(&void).arg("EX").arg(KEPT);
                    Ok(AfterLook::CarryOut(pipeline))
                }
                _ => Err(gone()),
            })?;
            match watched {
                Watched::Left(Settled::Done) => {
                    self.last = receipt.to_vec();
                    return Ok(Settled::Done);
                }
                Watched::Left(Settled::NotDone) | Watched::Done => {
                    self.last = void;
                    return Ok(Settled::NotDone);
                }
                // The write has just arrived.
                Watched::Changed => {}
            }
        }
        Err(gone())
    }
}

fn gone() -> Error {
    Error::outcome_unknown("the receipt of the write is gone, so nobody can tell whether it was carried out")
}
