//! Carrying a plan out: all of it, or nothing.

use std::sync::LazyLock;

use hivemind_abi::model::{Code, Context, Error, Result};
use redis::Value;

use crate::exec;
use crate::keys::shown;
use crate::link::{Link, Repeat, Script, integer, text};
use crate::plan::{Check, Plan, Write};
use crate::receipt::{Place, Receipts, Settled};

/// Entries and bytes of one script. A script holds up everybody else at the server, some microseconds for each entry; this many take about
/// half a second, and the server would say `BUSY` after five.
const MOST_ENTRIES: usize = 250_000;
const MOST_BYTES: usize = 128 << 20;

static COMMIT: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("scripts/commit.lua")));

/// What came of a plan.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Committed {
    /// It was carried out.
    Done,
    /// Nothing was done: what is under this key is not as it was.
    Changed(Vec<u8>),
}

/// Carries plans out.
pub(crate) struct Committer<'c> {
    pub(crate) cx: &'c Context<'c>,
    pub(crate) link: &'c Link,
    /// `None` where nothing but records may be written.
    pub(crate) receipts: Option<&'c Receipts>,
}

impl Committer<'_> {
    /// Carries out a plan that writes.
    ///
    /// # Errors
    /// `outcome unknown` if it was sent and nobody can tell whether it was done; nothing was done after every other error: `corrupt` for a
    /// key that belongs to something else, `denied`, `invalid` for a plan that is too large, and the link's.
    pub(crate) fn carry_out(&self, mut plan: Plan) -> Result<Committed> {
        let (entries, bytes) = plan.size();
        if entries > MOST_ENTRIES || bytes > MOST_BYTES {
            return Err(Error::invalid(format!(
                "a batch of {entries} changes to keys and {bytes} bytes would hold up the server; at most {MOST_ENTRIES} and {MOST_BYTES} \
                 are carried out at once: split it"
            )));
        }
        let Some(receipts) = self.receipts else { return self.send(plan, Repeat::Never) };
        let mut place = receipts.take(self.cx, self.link)?;
        let receipt = place.next();
        plan.check(place.key.clone(), Check::Is(place.last.clone()));
        plan.write(place.key.clone(), Write::Note(receipt.clone()));
        let committed = self.send(plan, Repeat::Never);
        match &committed {
            Err(error) if error.code() == Code::OutcomeUnknown => return self.settle(receipts, place, &receipt, committed),
            Ok(Committed::Done) => place.last = receipt,
            // It expired, was evicted, or the server lost its data.
            Ok(Committed::Changed(key)) if *key == place.key => place.begin(self.cx, self.link)?,
            _ => {}
        }
        receipts.give_back(place);
        committed
    }

    /// Asks for the receipt of a write whose answer never came.
    fn settle(&self, receipts: &Receipts, mut place: Place, receipt: &[u8], unknown: Result<Committed>) -> Result<Committed> {
        let settled = match place.settle(self.cx, self.link, receipt) {
            Ok(settled) => settled,
            // What is at the place is not known, so it is given up.
            Err(_) => return unknown,
        };
        let key = place.key.clone();
        receipts.give_back(place);
        Ok(if settled == Settled::Done { Committed::Done } else { Committed::Changed(key) })
    }

    /// By a script, or without where the server allows none.
    fn send(&self, plan: Plan, repeat: Repeat) -> Result<Committed> {
        if !self.link.scripts_allowed() {
            return exec::carry_out(self.cx, self.link, &plan);
        }
        let (keys, args) = plan.script();
        match self.link.script(self.cx, &COMMIT, &keys, &args, repeat) {
            // Refused as a whole, and known from now on.
            Err(error) if error.code() == Code::Denied && !self.link.scripts_allowed() => {
                exec::carry_out(self.cx, self.link, &plan)
            }
            answer => self.answered(&keys, answer?),
        }
    }

    /// Whether everything is as a plan without writes says.
    ///
    /// # Errors
    /// The link's.
    pub(crate) fn still_holds(&self, plan: Plan) -> Result<bool> {
        Ok(self.send(plan, Repeat::Safe)? == Committed::Done)
    }

    fn answered(&self, keys: &[&[u8]], answer: Value) -> Result<Committed> {
        let unexpected = || Error::io("the server's answer to a write is none of its script");
        let Value::Array(parts) = &answer else { return Err(unexpected()) };
        let mut numbers = parts.iter().map(integer);
        let (what, entry) = (numbers.next().flatten(), numbers.next().flatten());
        let key = entry.and_then(|entry| usize::try_from(entry).ok()?.checked_sub(1)).and_then(|at| keys.get(at));
        match (what, key) {
            (Some(0), _) => Ok(Committed::Done),
            (Some(1), Some(key)) => Ok(Committed::Changed(key.to_vec())),
            (Some(2), Some(key)) => Err(belongs_to_something_else(key)),
            (Some(3), Some(_)) => {
                Err(self.link.forbidden(parts.get(2).and_then(text).unwrap_or("set")).context("nothing was written"))
            }
            _ => Err(unexpected()),
        }
    }
}

/// The error for a key that cannot be written as what it must be.
pub(crate) fn belongs_to_something_else(key: &[u8]) -> Error {
    let key = shown(key);
    let message = format!(
        "{key} belongs to something else, or holds no number where one must be; nothing was written. Remove it and run sync"
    );
    Error::corrupt(message).place(key)
}
