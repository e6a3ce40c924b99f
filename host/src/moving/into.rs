//! A whole move: look, refuse what cannot go well, mark, copy, check, unmark.

use hivemind_model::{Capability, Query};

use super::conflicts;
use super::copy::{Copy, Moved, Prefer};
use super::digest::Digest;
use super::marker::{self, Marker, Mode};
use super::progress::Progress;
use super::source::Source;
use super::store::Store;
use super::survey::Survey;
use crate::failure::{Exit, Failure};
use crate::open::Opened;

/// What the operator wants.
#[derive(Debug, Clone, Copy)]
pub struct Wishes {
    /// What becomes of what the target holds; `None`: it must hold nothing.
    pub mode: Option<Mode>,
    /// What a merge does about conflicts; `None`: it refuses.
    pub prefer: Option<Prefer>,
    /// Go without what cannot be carried.
    pub leave_behind: bool,
    /// Only look.
    pub dry_run: bool,
    /// How many rounds a source that changes is followed for.
    pub rounds: u32,
    /// Bytes of records in one commit; `None`: what suits the target.
    pub batch: Option<usize>,
}

/// What came of it.
#[derive(Debug)]
pub struct Outcome {
    /// What is in the source.
    pub survey: Survey,
    /// What a merge finds on both sides, one line each.
    pub conflicts: Vec<String>,
    /// What was done.
    pub done: Done,
}

/// See [`Outcome`].
#[derive(Debug)]
pub enum Done {
    /// Nothing, as it was only to look; and what would keep a real run from being done.
    Looked(Option<Failure>),
    /// Nothing: the target holds these records already.
    Nothing(Digest),
    /// Records were moved.
    Moved(Moved),
}

/// Refuses a store that forgets what it is given.
///
/// # Errors
/// `not-durable`.
pub fn durable(opened: &Opened, side: &str) -> Result<(), Failure> {
    if opened.storage.capabilities().has(Capability::Durable) {
        return Ok(());
    }
    let message = format!("{} keeps nothing when the process ends, so it cannot be the {side} of a move", opened.module);
    Err(Failure::new(Exit::Usage, "not-durable", message)
        .help("choose a durable backend: `hivemind-host plugins list` shows what each promises"))
}

/// Whether nothing is where a store would be, so that opening it would create it.
#[must_use]
pub fn is_missing(opened: &Opened) -> bool {
    let resources = opened.storage.backend().resources();
    !resources.is_empty() && resources.iter().all(|r| r.kind == "file" && !std::path::Path::new(&r.name).exists())
}

/// Moves all records of `source` into `target`.
///
/// # Errors
/// Whatever kept it from being done. Once the target is marked it stays so until a later run is done.
pub fn run(source: &dyn Source, target: Opened, wishes: &Wishes, progress: &mut dyn Progress) -> Result<Outcome, Failure> {
    durable(&target, "target")?;
    let collections = super::collections();
    progress.begin("reading", None);
    let survey = Survey::take(source, collections.len(), progress)?;
    progress.end();
    let refusal = (!survey.problems.is_empty() && !wishes.leave_behind).then(|| survey.failure());
    if wishes.dry_run && is_missing(&target) {
        return Ok(Outcome { survey, conflicts: Vec::new(), done: Done::Looked(refusal) });
    }
    if let (Some(refusal), false) = (&refusal, wishes.dry_run) {
        return Err(refusal.clone());
    }
    let target = match Store::prepare(&target, collections) {
        Ok(store) => store,
        Err(error) => return Err(target.while_opening(error.into())),
    };
    let done = into(source, &target, wishes, &survey, refusal, progress);
    let (done, conflicts) = match (done, target.close()) {
        (Ok(_), Err(error)) => return Err(error.into()),
        (done, _) => done?,
    };
    Ok(Outcome { survey, conflicts, done })
}

fn into(
    source: &dyn Source,
    target: &Store,
    wishes: &Wishes,
    survey: &Survey,
    refusal: Option<Failure>,
    progress: &mut dyn Progress,
) -> Result<(Done, Vec<String>), Failure> {
    let from = source.place();
    let under_way = marker::find(target)?;
    let mode = match &under_way {
        _ if wishes.mode == Some(Mode::Replace) => Mode::Replace,
        Some(marker) if marker.from == from && wishes.mode.is_none_or(|mode| mode == marker.mode) => marker.mode,
        Some(marker) => return Err(marker::refusal(marker)),
        None => wishes.mode.unwrap_or(Mode::Copy),
    };
    let copy = Copy {
        source,
        target,
        mode,
        prefer: wishes.prefer,
        left: &survey.left,
        rounds: wishes.rounds,
        batch: wishes.batch.unwrap_or_else(|| target.batch_bytes()),
    };
    let expected = survey.records + survey.gaps;
    let mut refusal = refusal;
    if under_way.is_none() && wishes.mode.is_none() && !is_empty(target)? {
        progress.begin("comparing", Some(expected));
        let same = copy.is_done(progress)?;
        progress.end();
        match same {
            Some(digest) => return Ok((Done::Nothing(digest), Vec::new())),
            None => refusal = refusal.or_else(|| Some(not_empty(target))),
        }
    }
    let conflicts = if mode == Mode::Merge { conflicts::list(&copy, progress)? } else { Vec::new() };
    if !conflicts.is_empty() && wishes.prefer.is_none() {
        refusal = refusal.or_else(|| Some(conflicts::refusal(&conflicts, target)));
    }
    match refusal {
        refusal if wishes.dry_run => return Ok((Done::Looked(refusal), conflicts)),
        Some(refusal) => return Err(refusal),
        None => {}
    }
    marker::set(target, &Marker { from, mode })?;
    let moved = copy.run(expected, progress)?;
    if mode == Mode::Replace {
        // Counters that went by the records that were replaced would leave a gap before the next client's id.
        target.sync()?;
    }
    marker::clear(target)?;
    Ok((Done::Moved(moved), conflicts))
}

fn is_empty(store: &Store) -> Result<bool, Failure> {
    for at in 0..store.len() {
        let page = store.find(&Query::all(store.collection(at).0).limit(1))?;
        if !page.rows.is_empty() || !page.unreadable.is_empty() {
            return Ok(false);
        }
    }
    Ok(true)
}

fn not_empty(target: &Store) -> Failure {
    let message = format!("{} holds records already, and others than the source", target.place());
    Failure::new(Exit::Conflict, "target-not-empty", message)
        .help("nothing was changed; --merge adds the source's records to them, --replace puts them in their place, --dry-run shows what would be done")
}
