//! Carrying batches out, and computing them again when somebody was quicker.

use std::time::{Duration, Instant};

use hivemind_abi::model::engine;
use hivemind_abi::model::{Applied, Catalog, Code, Context, Error, Key, Mutation, Outcome, Query, Result, eval};

use crate::commit::{Committed, Committer};
use crate::find;
use crate::gate::Gate;
use crate::keys::shown;
use crate::link::Link;
use crate::plan::{Check, Plan, Write};
use crate::read;
use crate::receipt::Receipts;
use crate::recent::Recent;
use crate::record::{Raw, Stored};
use crate::space::{Space, Spaces};
use crate::transaction::Batch;

/// Defeats after which a batch is carried out alone among those of this handle.
const DEFEATS: usize = 2;
/// The longest that another node may take to make a record: its mark expires after 30 s.
const CREATING: Duration = Duration::from_secs(32);
/// How often to look whether it is done.
const LOOK: Duration = Duration::from_millis(20);
/// How long a batch is tried at most where its caller sets no limit.
const PATIENCE: Duration = Duration::from_secs(60);

/// What carrying out needs.
pub(crate) struct Applying<'a> {
    pub(crate) cx: &'a Context<'a>,
    pub(crate) link: &'a Link,
    pub(crate) catalog: &'a Catalog,
    pub(crate) spaces: &'a Spaces,
    pub(crate) recent: &'a Recent,
    /// `None` where nothing but records may be written.
    pub(crate) receipts: Option<&'a Receipts>,
    pub(crate) gate: &'a Gate,
    /// Batches that take ids from a counter go one after another: they would only defeat each other.
    pub(crate) counting: &'a Gate,
}

impl Applying<'_> {
    /// Carries a batch out.
    ///
    /// # Errors
    /// See [`hivemind_abi::model::Backend::apply`].
    pub(crate) fn run(&self, mutations: &[Mutation]) -> Result<Applied> {
        let _counting = match mutations.iter().any(|mutation| matches!(mutation, Mutation::InsertNext { .. })) {
            true => Some(self.counting.enter_alone(self.cx)?),
            false => None,
        };
        let since = Instant::now();
        let mut suspect: Option<Vec<u8>> = None;
        let mut defeats = 0;
        loop {
            self.cx.check()?;
            let inside = if defeats < DEFEATS { self.gate.enter(self.cx)? } else { self.gate.enter_alone(self.cx)? };
            match self.attempt(mutations, suspect.as_deref())? {
                Attempt::Done(applied) => return Ok(applied),
                Attempt::Changed(key) => {
                    defeats += 1;
                    if since.elapsed() > PATIENCE {
                        let message = format!("{} changed each of the {defeats} times that this was tried", shown(&key));
                        return Err(Error::busy(message));
                    }
                    suspect = Some(key);
                    drop(inside);
                    self.pause(Duration::from_micros(fastrand::u64(..50 << defeats.min(8))));
                }
                Attempt::Creating(error) => {
                    if since.elapsed() > CREATING {
                        return Err(error);
                    }
                    drop(inside);
                    self.pause(LOOK);
                }
            }
        }
    }

    /// Removes what a query finds where only one record can be written at a time: each if it is still found then.
    ///
    /// # Errors
    /// `outcome unknown` if some are removed already.
    pub(crate) fn delete_one_by_one(&self, query: &Query) -> Result<Applied> {
        let space = self.spaces.get(query.collection)?;
        eval::check_query(&space.collection, query)?;
        let token = self.recent.now();
        let found = find::matching(self.cx, self.link, space, query, std::iter::empty(), |_| None)?;
        let mut deleted = 0;
        for (key, raw) in found {
            match self.delete_if_found(space, query, &key, raw) {
                Ok(is_deleted) => deleted += u64::from(is_deleted),
                Err(error) if deleted == 0 => return Err(error),
                Err(error) => {
                    let message = format!("{deleted} records are removed, others are not: {}", error.message());
                    return Err(Error::outcome_unknown(message).collection(&space.collection.name));
                }
            }
        }
        Ok(Applied { outcomes: vec![Outcome::Deleted(deleted)], token })
    }

    fn delete_if_found(&self, space: &Space, query: &Query, key: &Key, mut raw: Option<Raw>) -> Result<bool> {
        let committer = Committer { cx: self.cx, link: self.link, receipts: self.receipts };
        loop {
            self.cx.check()?;
            let Some(Raw::Text(text)) = &raw else { return Ok(false) };
            let mut plan = Plan::default();
            plan.check(space.keys.record(key), Check::Is(text.clone()));
            plan.write(space.keys.record(key), Write::Delete);
            let told = Some(self.link.tracking().heard());
            if committer.carry_out(plan)? == Committed::Done {
                self.recent.wrote(self.link, self.spaces, &[(space.id, key.clone())], told);
                return Ok(true);
            }
            raw = read::records(self.cx, self.link, space, std::slice::from_ref(key))?.pop();
            let stored = raw.as_ref().map(|raw| raw.read(&space.form, key));
            let Some(Stored::Row(row)) = stored else { return Ok(false) };
            if !eval::matches(&row.view(&space.collection)?, &query.all) {
                return Ok(false);
            }
        }
    }

    fn pause(&self, pause: Duration) {
        std::thread::sleep(self.cx.remaining_or(pause).min(pause));
    }

    fn attempt(&self, mutations: &[Mutation], suspect: Option<&[u8]>) -> Result<Attempt> {
        let committer = Committer { cx: self.cx, link: self.link, receipts: self.receipts };
        let mut batch = Batch::new(self.cx, self.link, self.spaces, suspect);
        batch.prefetch(self.catalog, mutations)?;
        // What is known from here on may be older than what another node writes now, but never newer.
        let token = self.recent.now();
        let computed = engine::apply(&mut batch, self.catalog, self.cx, mutations).and_then(|outcomes| {
            let plan = if batch.touched().is_empty() { None } else { Some(batch.plan()?) };
            Ok((outcomes, plan))
        });
        let (outcomes, plan) = match computed {
            Ok(computed) => computed,
            Err(error) if batch.waits_for().is_some() => return Ok(Attempt::Creating(error)),
            Err(error) if rests_on_what_was_read(&error) => {
                // What was read could be of two moments, and never true at once.
                let holds = !batch.read_several() || committer.still_holds(batch.checks())?;
                return if holds { Err(error) } else { Ok(Attempt::Changed(Vec::new())) };
            }
            Err(error) => return Err(error),
        };
        let Some(plan) = plan else {
            let holds = !batch.read_several() || committer.still_holds(batch.checks())?;
            return Ok(if holds { Attempt::Done(Applied { outcomes, token }) } else { Attempt::Changed(Vec::new()) });
        };
        self.cx.check()?;
        let told = Some(self.link.tracking().heard());
        match committer.carry_out(plan) {
            Ok(Committed::Done) => {
                self.recent.wrote(self.link, self.spaces, batch.touched(), told);
                Ok(Attempt::Done(Applied { outcomes, token }))
            }
            Ok(Committed::Changed(key)) => Ok(Attempt::Changed(key)),
            Err(error) => {
                if error.code() == Code::OutcomeUnknown {
                    // It may be there now, or later.
                    self.recent.wrote(self.link, self.spaces, batch.touched(), None);
                }
                Err(error)
            }
        }
    }
}

/// What came of computing a batch and carrying it out.
enum Attempt {
    Done(Applied),
    /// Somebody was quicker; what is under this key is not as it was read.
    Changed(Vec<u8>),
    /// Another node is making the record.
    Creating(Error),
}

/// Whether a failure is about the stored records, and not about reaching them.
fn rests_on_what_was_read(error: &Error) -> bool {
    matches!(error.code(), Code::Conflict | Code::NotFound | Code::Invalid | Code::Corrupt)
}
