//! Carrying a plan out: all of it, or nothing.

use std::sync::LazyLock;

use hivemind_abi::model::{Context, Error, Result};
use redis::Value;

use crate::keys::shown;
use crate::link::{Link, Repeat, Script, integer};
use crate::plan::{Check, Plan, Write};
use crate::receipt::{Receipts, Settled, is_open};

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
        let Some(receipts) = self.receipts else {
            let (keys, args) = plan.into_script();
            return self.answered(&keys, self.link.script(self.cx, &COMMIT, &keys, &args, Repeat::Never)?);
        };
        let mut place = receipts.take(self.cx, self.link)?;
        let receipt = place.next();
        plan.check(place.key.clone(), Check::Is(place.last.clone()));
        plan.write(place.key.clone(), Write::Note(receipt.clone()));
        let (keys, args) = plan.into_script();
        let answer = self.link.script(self.cx, &COMMIT, &keys, &args, Repeat::Never);
        if is_open(&answer) {
            let settled = place.settle(self.cx, self.link, &receipt);
            return match settled {
                Ok(Settled::Done) => {
                    receipts.give_back(place);
                    Ok(Committed::Done)
                }
                Ok(Settled::NotDone) => {
                    let key = place.key.clone();
                    receipts.give_back(place);
                    Ok(Committed::Changed(key))
                }
                // The place is given up: what is there is not known.
                Err(_) => answer.map(|_| Committed::Done),
            };
        }
        let committed = answer.and_then(|answer| self.answered(&keys, answer));
        match &committed {
            Ok(Committed::Done) => place.last = receipt,
            // It expired, was evicted, or the server lost its data.
            Ok(Committed::Changed(key)) if *key == place.key => place.begin(self.cx, self.link)?,
            _ => {}
        }
        receipts.give_back(place);
        committed
    }

    /// Whether everything is as a plan without writes says.
    ///
    /// # Errors
    /// The link's.
    pub(crate) fn still_holds(&self, plan: Plan) -> Result<bool> {
        let (keys, args) = plan.into_script();
        let answer = self.link.script(self.cx, &COMMIT, &keys, &args, Repeat::Safe)?;
        Ok(self.answered(&keys, answer)? == Committed::Done)
    }

    fn answered(&self, keys: &[Vec<u8>], answer: Value) -> Result<Committed> {
        let unexpected = || Error::io("the server's answer to a write is none of its script");
        let Value::Array(parts) = &answer else { return Err(unexpected()) };
        let mut numbers = parts.iter().map(integer);
        let (what, entry) = (numbers.next().flatten(), numbers.next().flatten());
        let key = entry.and_then(|entry| usize::try_from(entry).ok()?.checked_sub(1)).and_then(|at| keys.get(at));
        let shown = || key.map(|key| shown(key)).unwrap_or_default();
        match (what, key) {
            (Some(0), _) => Ok(Committed::Done),
            (Some(1), Some(key)) => Ok(Committed::Changed(key.clone())),
            (Some(2), Some(_)) => Err(Error::corrupt(format!(
                "{} belongs to something else, or holds no number where one must be; nothing was written. Remove it and run sync",
                shown()
            ))
            .place(shown())),
            (Some(3), Some(_)) => Err(Error::denied(format!(
                "the server's ACL does not let us write {}; nothing was written. Allow our keys and the commands SET, DEL, SADD, SREM, \
                 HSET and INCRBY",
                shown()
            ))
            .place(shown())),
            _ => Err(unexpected()),
        }
    }
}
