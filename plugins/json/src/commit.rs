//! Carrying batches out: lock, look, try, write, switch, for one caller or for all who came meanwhile.
//!
//! What is dear about a commit is the same for one batch and for many: reading what others wrote, one new file, two syncs. So the
//! first caller takes those along who stand in line behind it. Each batch is all or nothing by itself and sees those before it; no
//! one is answered, with a conflict neither, before the files of all have their names and last. If that fails, each is done alone, by its
//! own caller and in that caller's time.

use std::any::Any;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};
use std::time::Instant;

use hivemind_abi::model::{Applied, Code, Context, Detail, Error, Mutation, Result, Token};

use crate::backend::JsonStore;
use crate::line::Turn;
use crate::state::{Part, Plan, Written};
use crate::{journal, replace};

/// How often a batch starts over because someone without the lock keeps changing a file.
const ATTEMPTS: usize = 8;
/// Batches in a group: with more, those who wait would wait for too much.
const GROUP: usize = 256;

/// A commit's way from the plan to the disk.
struct Course<'c> {
    /// Makes the names in a folder last.
    sync: &'c dyn Fn(&Path) -> Result<()>,
    /// Called as soon as the journal or a file is in place.
    placed: &'c dyn Fn(),
    /// Whether a file may have been replaced, or may be from a journal: then nothing is to be done again.
    begun: Cell<bool>,
}

impl Course<'_> {
    fn new() -> Self {
        Self { sync: &replace::sync_folder, placed: &|| {}, begun: Cell::new(false) }
    }
}

/// What a batch gave: a result, or the panic that it caused.
type Outcome = Result<Result<Applied>, Box<dyn Any + Send>>;

/// What one who was carried along gets.
pub(crate) enum Answer {
    /// What its batch gave.
    Done(Outcome),
    /// Nothing was done: it is to be done alone.
    Alone,
}

/// Carries a batch out.
///
/// # Errors
/// See [`hivemind_abi::Backend::apply`].
pub(crate) fn apply(store: &JsonStore, cx: &Context<'_>, mutations: &[Mutation]) -> Result<Applied> {
    store.check(cx)?;
    let since = Instant::now();
    let wait = || store.may_wait(cx, since);
    let (turn, in_a_group) = match store.line.enter(|| Some(mutations.to_vec()), wait)? {
        Turn::Carried(Some(Answer::Alone)) => (store.line.enter(|| None, wait)?, false),
        turn => (turn, true),
    };
    let mut lead = match turn {
        Turn::Lead(lead) => lead,
        Turn::Carried(Some(Answer::Done(outcome))) => return outcome.unwrap_or_else(|panic| resume_unwind(panic)),
        Turn::Carried(_) => {
            let message = "the call that carried this batch out for another one was lost; read back what is stored";
            return Err(Error::outcome_unknown(message));
        }
    };
    store.check(cx)?;
    // Let go before the lead is, so that the next one finds it free.
    let _held = store.lock.take(cx, since)?;
    store.check(cx)?;
    let others = if in_a_group { lead.take(GROUP) } else { Vec::new() };
    if !others.is_empty() {
        let batches: Vec<&[Mutation]> = std::iter::once(mutations).chain(others.iter().map(Vec::as_slice)).collect();
        if let Some(outcomes) = together(store, &batches, &Course::new()) {
            let mut outcomes = outcomes.into_iter();
            let own = outcomes.next();
            lead.answer(outcomes.map(Answer::Done));
            let own = own.unwrap_or_else(|| Ok(Err(Error::outcome_unknown("no answer"))));
            return own.unwrap_or_else(|panic| resume_unwind(panic));
        }
        lead.answer(others.iter().map(|_| Answer::Alone));
        store.check(cx)?;
    }
    alone(store, cx, mutations, &Course::new()).unwrap_or_else(|panic| resume_unwind(panic))
}

fn alone(store: &JsonStore, cx: &Context<'_>, batch: &[Mutation], course: &Course<'_>) -> Outcome {
    let done = guarded(store, || run(store, cx, &[batch], course))?;
    Ok(done.and_then(|mut results| results.pop().unwrap_or_else(|| Err(Error::outcome_unknown("no answer")))))
}

/// Carries batches out as one group; nothing if nothing was done and each is to be done alone. Those in it have waited long enough to be
/// carried whatever their deadlines.
fn together(store: &JsonStore, batches: &[&[Mutation]], course: &Course<'_>) -> Option<Vec<Outcome>> {
    match guarded(store, || run(store, &Context::unbounded(), batches, course)) {
        Ok(Ok(results)) => Some(results.into_iter().map(Ok).collect()),
        // What may be in place must not be done again.
        Ok(Err(error)) if course.begun.get() => Some(batches.iter().map(|_| Ok(Err(error.clone()))).collect()),
        Err(panic) if course.begun.get() => {
            let lost =
                || Ok(Err(Error::outcome_unknown("the commit of this batch and others was cut; read back what is stored")));
            Some(std::iter::once(Err(panic)).chain(batches.iter().skip(1).map(|_| lost())).collect())
        }
        _ => None,
    }
}

/// Runs a commit; if it panics, what is in memory is read again before anybody else sees it.
fn guarded<T>(store: &JsonStore, commit: impl FnOnce() -> T) -> Result<T, Box<dyn Any + Send>> {
    catch_unwind(AssertUnwindSafe(commit)).inspect_err(|_| store.to_change().forget(&store.catalog))
}

/// One commit of all these batches. A result is `outcome unknown` only for a batch that was not refused.
///
/// # Errors
/// What concerns all of them; nothing was applied then.
fn run(store: &JsonStore, cx: &Context<'_>, batches: &[&[Mutation]], course: &Course<'_>) -> Result<Vec<Result<Applied>>> {
    store.finish_cut_batch()?;
    let applied = |results: Vec<Result<_>>, done: Result<Token>| {
        let one = |outcomes| done.clone().map(|token| Applied { outcomes, token });
        results.into_iter().map(|result| result.and_then(one)).collect()
    };
    for _ in 0..ATTEMPTS {
        let mut state = store.to_change();
        let Plan { results, parts } = state.plan(&store.catalog, cx, batches)?;
        let token = state.history.token();
        drop(state);
        if parts.is_empty() {
            return Ok(applied(results, Ok(token)));
        }
        match carry_out(store, cx, parts, course) {
            Ok(Some(token)) => return Ok(applied(results, Ok(token))),
            Ok(None) => {}
            // It says so of what was changed; who was refused changed nothing.
            Err(error) if error.code() == Code::OutcomeUnknown => return Ok(applied(results, Err(error))),
            Err(error) => return Err(error),
        }
    }
    let message = format!("a program that ignores the lock {} keeps changing the files", store.lock.path().display());
    Err(Error::busy(message))
}

/// Writes what was planned and puts it in place; `None` if a file was changed meanwhile by someone without the lock.
///
/// # Errors
/// `outcome unknown` if it may have been applied; nothing was with every other.
fn carry_out(store: &JsonStore, cx: &Context<'_>, parts: Vec<Part>, course: &Course<'_>) -> Result<Option<Token>> {
    let (written, changes): (Vec<_>, Vec<_>) =
        parts.into_iter().map(|part| part.write()).collect::<Result<Vec<_>>>()?.into_iter().unzip();
    cx.check()?;
    let journal = written.len() > 1;
    // Whoever finds the journal carries it out.
    course.begun.set(journal);
    if journal && let Err(error) = journal::write(&store.place, &changes) {
        return Err(withdraw(store, error, course));
    }
    if journal {
        (course.placed)();
    }
    let done = switch(store, written, journal, course)?;
    if done.is_none() && journal {
        journal::remove(&store.place.journal).map_err(|e| journal::unfinished(&e, &store.place.journal))?;
        course.begun.set(false);
    }
    Ok(done)
}

/// Gives the new files their names; `None` if a file was changed meanwhile by someone without the lock.
fn switch(store: &JsonStore, written: Vec<Written>, journal: bool, course: &Course<'_>) -> Result<Option<Token>> {
    let mut folders: Vec<PathBuf> = written.iter().map(Written::folder).collect();
    folders.sort_unstable();
    folders.dedup();
    let mut state = store.to_change();
    match state.still_fits(&written) {
        Ok(true) => {}
        Ok(false) => return Ok(None),
        Err(error) if journal => return Err(withdraw(store, error, course)),
        Err(error) => return Err(error),
    }
    let mut replaced = Vec::new();
    for (done, one) in written.into_iter().enumerate() {
        let renamed = || {
            course.begun.set(true);
            (course.placed)();
        };
        match state.switch(one, renamed) {
            Ok(old) => replaced.push(old),
            // Finished from the journal at once: a passing error must not leave half of a batch to be read.
            Err(error) if done > 0 => {
                store.finish_cut_batch().map_err(|_| journal::unfinished(&error, &store.place.journal))?;
                return Ok(Some(state.history.token()));
            }
            Err(error) if journal => return Err(withdraw(store, error, course)),
            Err(error) => return Err(error),
        }
    }
    let token = state.history.token();
    drop(state);
    // Only now, when no reader waits.
    drop(replaced);
    for folder in folders {
        make_last(&folder, course.sync)?;
    }
    if journal && let Err(error) = journal::remove(&store.place.journal) {
        // It says what is true already; the next write tries again.
        store.warn(error.message());
    }
    Ok(Some(token))
}

/// Makes the new names in a folder last. One failure may be a passing one.
///
/// # Errors
/// `outcome unknown` with the field [`Detail::DURABILITY`], by which the caller knows that the change is in place and that reading it
/// back would say nothing of the disk.
fn make_last(folder: &Path, sync: impl Fn(&Path) -> Result<()>) -> Result<()> {
    sync(folder).or_else(|_| sync(folder)).map_err(|e| {
        let message = format!(
            "the change is in place and every program sees it, but it may not survive a loss of power: {}; check the disk, and do \
             not repeat the change",
            e.message()
        );
        Error::outcome_unknown(message).field(Detail::DURABILITY).place(folder.display().to_string())
    })
}

/// The error of a batch of which nothing was done, its journal being taken back.
fn withdraw(store: &JsonStore, error: Error, course: &Course<'_>) -> Error {
    match journal::remove(&store.place.journal) {
        Ok(()) => {
            course.begun.set(false);
            error
        }
        Err(_) => journal::unfinished(&error, &store.place.journal),
    }
}

#[cfg(test)]
mod tests;
