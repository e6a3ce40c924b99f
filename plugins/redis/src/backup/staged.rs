//! A restore that is too large for one script: put down beside the store, and then carried out by portions.
//!
//! ```text
//! P:handles:restore           all that is to be written stands below, and it counts
//! P:handles:restore:<key>     + and what this key is to hold, or - if it is to go
//! P:handles:restored:<name>   the sets of this collection were not made, because it was not known
//! ```
//!
//! Each portion moves strings from there to their places in one script, so it can be cut anywhere and gone on with by anybody.

use hivemind_abi::model::{Error, Result};

use super::restore::{Entry, Restoring};
use crate::commit::Committed;
use crate::keys::pattern;
use crate::plan::{Check, Plan, Write};
use crate::read;
use crate::record::Raw;
use crate::space::Space;
use crate::sync;

/// Strings that are moved together.
const PORTION: usize = 250;
/// How often a portion is tried while others write in it.
const TRIES: usize = 50;

const MARK: &[u8] = b"handles:restore";
const BELOW: &[u8] = b"handles:restore:";

/// See the module.
pub(crate) struct Staged<'s> {
    pub(super) restoring: &'s Restoring<'s>,
}

impl Restoring<'_> {
    /// Goes on with a restore that was cut. Gives the names of those collections among the `new` ones whose sets are still to be made.
    ///
    /// # Errors
    /// The link's and those of writing.
    pub(crate) fn go_on(&self, new: &[Space]) -> Result<Vec<String>> {
        let names = new.iter().map(|space| space.collection.name.clone());
        let marks: Vec<_> =
            std::iter::once(self.whole(MARK)).chain(names.clone().map(|name| self.namespace.restored(&name))).collect();
        let found = read::ask(self.committer.cx, self.committer.link, &marks, &[])?.strings;
        let mut is_there = found.into_iter().map(|raw| raw != Raw::Absent);
        if is_there.next() == Some(true) {
            self.staged().carry_out()?;
        }
        Ok(names.zip(is_there).filter(|(_, is_there)| *is_there).map(|(name, _)| name).collect())
    }

    /// Makes the sets of a collection that was restored by somebody who did not know it.
    ///
    /// # Errors
    /// The link's and those of writing.
    pub(crate) fn make_sets(&self, space: &Space) -> Result<()> {
        sync::repair(&self.committer, space)?;
        let mut plan = Plan::default();
        plan.write(self.namespace.restored(&space.collection.name), Write::Delete);
        self.surely(&plan)
    }

    /// Carries out a plan that compares nothing. It can only fail to find this handle's receipt, which the server may have lost.
    fn surely(&self, plan: &Plan) -> Result<()> {
        for _ in 0..TRIES {
            if self.committer.carry_out(plan.clone())? == Committed::Done {
                return Ok(());
            }
        }
        Err(Error::busy("the server forgets again and again what it was told a moment ago; look at its memory limit"))
    }

    /// Goes on with one that was cut, and removes what is left of one that never counted; gives how many strings these were.
    ///
    /// # Errors
    /// See [`Self::go_on`].
    pub(crate) fn clear_cut(&self) -> Result<u64> {
        self.go_on(&[])?;
        self.staged().clear()
    }
}

impl Staged<'_> {
    /// Removes what a restore left that was cut before it counted; gives how much that was.
    pub(super) fn clear(&self) -> Result<u64> {
        let mut removed = 0;
        self.each(|staged, keys| {
            let mut plan = Plan::default();
            keys.iter().for_each(|key| plan.write(key.clone(), Write::Delete));
            removed += keys.len() as u64;
            staged.restoring.surely(&plan)
        })?;
        Ok(removed)
    }

    /// Puts these down.
    pub(super) fn put(&self, entries: &[Entry]) -> Result<()> {
        let mut plan = Plan::default();
        for entry in entries {
            let value = entry.new.as_ref().map_or_else(|| b"-".to_vec(), |new| [b"+", &new[..]].concat());
            plan.write([self.restoring.whole(BELOW), entry.own.clone()].concat(), Write::Set(value));
        }
        if plan.writes.is_empty() { Ok(()) } else { self.restoring.surely(&plan) }
    }

    /// From now on it counts.
    pub(super) fn publish(&self) -> Result<()> {
        self.write(|plan, mark| plan.write(mark, Write::Set(b"1".to_vec())))
    }

    fn write(&self, what: impl Fn(&mut Plan, Vec<u8>)) -> Result<()> {
        let mut plan = Plan::default();
        what(&mut plan, self.restoring.whole(MARK));
        self.restoring.surely(&plan)
    }

    /// Puts everything in its place.
    pub(super) fn carry_out(&self) -> Result<()> {
        // Once more, because what is put down while others carry out could be passed over.
        while self.each(Self::portion)? > 0 {}
        self.write(|plan, mark| plan.write(mark, Write::Delete))
    }

    /// Hands all keys that are put down to `each`, in portions, and gives how many there were.
    fn each(&self, mut each: impl FnMut(&Self, &[Vec<u8>]) -> Result<()>) -> Result<u64> {
        let committer = &self.restoring.committer;
        let below = String::from_utf8(self.restoring.whole(BELOW)).map_err(|_| Error::invalid("the index_prefix is no text"))?;
        let mut found = 0;
        committer.link.scan(committer.cx, &pattern(&below), |keys| {
            found += keys.len() as u64;
            keys.chunks(PORTION).try_for_each(|keys| each(self, keys))
        })?;
        Ok(found)
    }

    fn portion(&self, staged: &[Vec<u8>]) -> Result<()> {
        let Restoring { committer, .. } = self.restoring;
        let own: Vec<Vec<u8>> = staged.iter().map(|key| key[self.restoring.whole(BELOW).len()..].to_vec()).collect();
        let keys: Vec<Vec<u8>> = staged.iter().cloned().chain(own.iter().map(|own| self.restoring.whole(own))).collect();
        for _ in 0..TRIES {
            committer.cx.check()?;
            let mut found = read::ask(committer.cx, committer.link, &keys, &[])?.strings;
            let old = found.split_off(staged.len());
            let mut plan = Plan::default();
            for (((key, own), staged), old) in staged.iter().zip(&own).zip(found).zip(old) {
                // Somebody else carried it out.
                let Raw::Text(staged) = staged else { continue };
                let new = staged.strip_prefix(b"+").map(<[u8]>::to_vec);
                plan.check(key.clone(), Check::Is(staged));
                plan.write(key.clone(), Write::Delete);
                self.restoring.plan(&Entry { own: own.clone(), old, new }, &mut plan)?;
            }
            if plan.writes.is_empty() || committer.carry_out(plan)? == Committed::Done {
                return Ok(());
            }
        }
        Err(Error::busy("others write again and again where a backup is being restored; stop them and open the store again"))
    }
}
