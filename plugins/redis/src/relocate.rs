//! Moving a namespace to a tag, so that on a cluster all of it is in one slot.
//!
//! The decision behind it: **copy, compare, and leave the old keys alone.** Records are copied byte for byte, those that cannot be read too, and
//! what is kept beside them is built anew from them. The version comes last, and the old namespace is read once more until nothing in it
//! differs. So it can be cut anywhere and begun again, and the way back is the old setting. No key is renamed: on a cluster none can be.

use hivemind_abi::model::{Error, Key, Problem, Report, Result};

use crate::commit::{Committed, Committer};
use crate::find;
use crate::keys::{CREATING, Keys, Namespace};
use crate::plan::{Check, Plan, Write};
use crate::read;
use crate::receipt::Receipts;
use crate::record::{Raw, Stored};
use crate::space::{Space, Spaces};
use crate::sync;

/// Records that are copied together.
const PORTION: usize = 500;
/// How often the old namespace is read again while somebody writes in it.
const PASSES: usize = 10;

/// What moving needs.
pub(crate) struct Relocating<'r> {
    pub(crate) committer: Committer<'r>,
    pub(crate) spaces: &'r Spaces,
    pub(crate) index_prefix: &'r str,
    /// What the namespace has now.
    pub(crate) base: &'r str,
}

/// What was found and done.
#[derive(Default)]
struct Tally {
    records: i64,
    copied: i64,
    markers: i64,
    problems: Vec<Problem>,
}

impl Relocating<'_> {
    /// Copies the namespace to that tag, or only looks whether that can be done.
    ///
    /// # Errors
    /// `invalid` for a tag that is none or the present one; `conflict` if something else is there; `busy` if somebody writes all the time.
    pub(crate) fn run(&self, tag: &str, dry_run: bool) -> Result<Report> {
        let tag = tag.trim();
        if tag.is_empty() || tag.contains(['{', '}']) {
            return Err(Error::invalid(format!("expected a tag without {{ and }}, and not empty, found {tag:?}")));
        }
        let target = Namespace::new(self.index_prefix, Some(tag));
        if target.base() == self.base {
            return Err(Error::invalid(format!("the namespace has the tag {tag:?} already")));
        }
        let receipts = Receipts::new(target.clone())?;
        let committer = Committer { receipts: Some(&receipts), ..self.committer };
        let mut tally = Tally::default();
        for space in self.spaces.iter() {
            let there = Space::new(space.id, std::sync::Arc::clone(&space.collection), Keys::new(&target, &space.collection));
            self.check_target(space, &there)?;
            self.copy_all(&committer, space, &there, dry_run, &mut tally)?;
        }
        if !dry_run {
            for key in receipts.all() {
                let _ = committer.link.query(committer.cx, redis::cmd("DEL").arg(key), crate::link::Repeat::Never);
            }
        }
        let mut report = Report::new()
            .with("from", self.base)
            .with("to", target.base())
            .with("dry_run", dry_run)
            .with("records", tally.records)
            .with("copied", tally.copied)
            .with("skipped_markers", tally.markers)
            .with("next", next(tag, dry_run));
        report.problems = tally.problems;
        Ok(report)
    }

    /// Only what is also here may be there.
    fn check_target(&self, here: &Space, there: &Space) -> Result<()> {
        let (cx, link) = (self.committer.cx, self.committer.link);
        find::walk(cx, link, there, &find::keys(cx, link, there)?, |key, raw| {
            let ours = read::records(cx, link, here, std::slice::from_ref(key))?.pop().unwrap_or(Raw::Absent);
            if raw == Raw::Absent || raw == ours {
                return Ok(true);
            }
            let (name, prefix) = (&here.collection.name, String::from_utf8_lossy(there.keys.record_prefix()).into_owned());
            Err(Error::conflict(format!(
                "{prefix}{key} exists and differs from {name} {key} here; nothing was changed. Take another tag, or remove what is there"
            ))
            .key(key.clone()))
        })
    }

    fn copy_all(&self, committer: &Committer<'_>, here: &Space, there: &Space, dry_run: bool, tally: &mut Tally) -> Result<()> {
        let (cx, link) = (committer.cx, committer.link);
        for pass in 1.. {
            let keys = find::keys(cx, link, here)?;
            let mut copied = 0;
            for portion in keys.chunks(PORTION) {
                cx.check()?;
                copied += self.copy(committer, here, there, portion, dry_run, pass == 1, tally)?;
            }
            tally.copied += copied;
            if pass == 1 {
                tally.records += i64::try_from(keys.len()).unwrap_or(i64::MAX);
            }
            if dry_run || copied == 0 {
                break;
            }
            if pass == PASSES {
                return Err(Error::busy(
                    "somebody writes in the old namespace all the time; stop the nodes that use it and try again",
                ));
            }
        }
        if dry_run {
            return Ok(());
        }
        sync::repair(committer, there)?;
        let stored = read::ask(cx, link, std::slice::from_ref(&here.keys.version), &[])?.strings.pop();
        if let Some(Raw::Text(version)) = stored {
            let mut plan = Plan::default();
            plan.write(there.keys.version.clone(), Write::Set(version));
            committer.carry_out(plan)?;
        }
        Ok(())
    }

    /// Copies those records that are not there as they are here, and gives how many that were.
    #[expect(clippy::too_many_arguments, reason = "one step of a walk with all that it carries")]
    fn copy(
        &self,
        committer: &Committer<'_>,
        here: &Space,
        there: &Space,
        keys: &[Key],
        dry_run: bool,
        is_first: bool,
        tally: &mut Tally,
    ) -> Result<i64> {
        let (cx, link) = (committer.cx, committer.link);
        let (ours, theirs) = (read::records(cx, link, here, keys)?, read::records(cx, link, there, keys)?);
        let mut plan = Plan::default();
        let mut copied = 0;
        for ((key, ours), theirs) in keys.iter().zip(ours).zip(theirs) {
            if is_first && let Stored::Unreadable { why, .. } = ours.read(&here.form, key) {
                let message = format!("cannot be read, and is copied as it is: {why}");
                tally.problems.push(Problem { collection: here.collection.name.clone(), key: Some(key.clone()), message });
            }
            match &ours {
                Raw::Text(text) if text == CREATING => tally.markers += i64::from(is_first),
                Raw::Text(text) if theirs != ours => {
                    let was = match theirs {
                        Raw::Text(text) => Check::Is(text),
                        _ => Check::Absent,
                    };
                    plan.check(there.keys.record(key), was);
                    plan.write(there.keys.record(key), Write::Set(text.clone()));
                    copied += 1;
                }
                _ => {}
            }
        }
        if !dry_run && !plan.writes.is_empty() && committer.carry_out(plan)? != Committed::Done {
            return Err(Error::conflict("somebody else writes in the new namespace; stop the nodes that use it and try again"));
        }
        Ok(copied)
    }
}

fn next(tag: &str, dry_run: bool) -> String {
    match dry_run {
        true => "nothing was changed; stop all nodes that use the namespace, then do it".to_owned(),
        false => format!(
            "set cluster_hash_tag to {tag:?} for all nodes and start them; the old keys are still there, for the way back"
        ),
    }
}
