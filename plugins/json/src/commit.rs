//! Carrying batches out: lock, look, try, write, switch, for one caller or for all who came meanwhile.
//!
//! What is dear about a commit is the same for one batch and for many: reading what others wrote, one new file, two syncs. So the
//! first caller takes those along who stand in line behind it. Each batch is all or nothing by itself and sees those before it; no
//! one is answered, with a conflict neither, before the files of all have their names and last. If that fails, each is done alone.

use std::any::Any;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};
use std::time::Instant;

use hivemind_abi::model::{Applied, Code, Context, Detail, Error, Mutation, Result, Token};

use crate::backend::JsonStore;
use crate::line::Turn;
use crate::state::{Plan, Written};
use crate::{journal, replace};

/// How often a batch starts over because someone without the lock keeps changing a file.
const ATTEMPTS: usize = 8;
/// Batches in a group: with more, those who wait would wait for too much.
const GROUP: usize = 256;

/// What one who was carried along gets: a result, or the panic that its batch caused.
pub(crate) type Answer = Result<Result<Applied>, Box<dyn Any + Send>>;

/// Carries a batch out.
///
/// # Errors
/// See [`hivemind_abi::Backend::apply`].
pub(crate) fn apply(store: &JsonStore, cx: &Context<'_>, mutations: &[Mutation]) -> Result<Applied> {
    store.check(cx)?;
    let since = Instant::now();
    let turn = store.line.enter(|| Some(mutations.to_vec()), || store.check(cx).and_then(|()| store.lock.check(cx, since)))?;
    let mut lead = match turn {
        Turn::Lead(lead) => lead,
        Turn::Carried(Some(answer)) => return answer.unwrap_or_else(|panic| resume_unwind(panic)),
        Turn::Carried(None) => {
            let message = "the call that carried this batch out for another one was lost; read back what is stored";
            return Err(Error::outcome_unknown(message));
        }
    };
    store.check(cx)?;
    // Let go before the lead is, so that the next one finds it free.
    let _held = store.lock.take(cx, since)?;
    store.check(cx)?;
    let others = lead.take(GROUP);
    if others.is_empty() {
        return alone(store, cx, mutations).unwrap_or_else(|panic| resume_unwind(panic));
    }
    let batches: Vec<&[Mutation]> = std::iter::once(mutations).chain(others.iter().map(Vec::as_slice)).collect();
    let mut answers = together(store, &batches).into_iter();
    let own = answers.next();
    lead.answer(answers);
    own.map_or_else(|| Err(Error::outcome_unknown("no answer")), |own| own.unwrap_or_else(|panic| resume_unwind(panic)))
}

fn alone(store: &JsonStore, cx: &Context<'_>, batch: &[Mutation]) -> Answer {
    let done = guarded(store, || run(store, cx, &[batch], &Cell::new(false)))?;
    Ok(done.and_then(|mut results| results.pop().unwrap_or_else(|| Err(Error::outcome_unknown("no answer")))))
}

/// Carries batches out as one group, or else one by one. Those in it have waited long enough to be carried whatever their deadlines.
fn together(store: &JsonStore, batches: &[&[Mutation]]) -> Vec<Answer> {
    let begun = Cell::new(false);
    match guarded(store, || run(store, &Context::unbounded(), batches, &begun)) {
        Ok(Ok(results)) => results.into_iter().map(Ok).collect(),
        // What may be in place must not be done again.
        Ok(Err(error)) if begun.get() || error.code() == Code::OutcomeUnknown => {
            batches.iter().map(|_| Ok(Err(error.clone()))).collect()
        }
        Err(panic) if begun.get() => {
            let lost =
                || Ok(Err(Error::outcome_unknown("the commit of this batch and others was cut; read back what is stored")));
            std::iter::once(Err(panic)).chain(batches.iter().skip(1).map(|_| lost())).collect()
        }
        _ => batches.iter().map(|batch| alone(store, &Context::unbounded(), batch)).collect(),
    }
}

/// Runs a commit; if it panics, what is in memory is read again before anybody else sees it.
fn guarded<T>(store: &JsonStore, commit: impl FnOnce() -> T) -> Result<T, Box<dyn Any + Send>> {
    catch_unwind(AssertUnwindSafe(commit)).inspect_err(|_| store.to_change().forget(&store.catalog))
}

/// One commit of all these batches. `begun` tells whether a file may have been replaced.
///
/// # Errors
/// What concerns all of them. Nothing was applied then, unless it is `outcome unknown`.
fn run(store: &JsonStore, cx: &Context<'_>, batches: &[&[Mutation]], begun: &Cell<bool>) -> Result<Vec<Result<Applied>>> {
    store.finish_cut_batch()?;
    let applied = |results: Vec<Result<_>>, token| {
        results.into_iter().map(|result| result.map(|outcomes| Applied { outcomes, token })).collect()
    };
    for _ in 0..ATTEMPTS {
        let mut state = store.to_change();
        let Plan { results, parts } = state.plan(&store.catalog, cx, batches)?;
        let token = state.history.token();
        drop(state);
        if parts.is_empty() {
            return Ok(applied(results, token));
        }
        let (written, changes): (Vec<_>, Vec<_>) =
            parts.into_iter().map(|part| part.write()).collect::<Result<Vec<_>>>()?.into_iter().unzip();
        cx.check()?;
        let journal = written.len() > 1;
        if journal && let Err(error) = journal::write(&store.place, &changes) {
            return Err(withdraw(store, error));
        }
        match switch(store, written, journal, begun)? {
            Some(token) => return Ok(applied(results, token)),
            None if journal => {
                journal::remove(&store.place.journal).map_err(|e| journal::unfinished(&e, &store.place.journal))?
            }
            None => {}
        }
    }
    let message = format!("a program that ignores the lock {} keeps changing the files", store.lock.path().display());
    Err(Error::busy(message))
}

/// Gives the new files their names; `None` if a file was changed meanwhile by someone without the lock.
fn switch(store: &JsonStore, written: Vec<Written>, journal: bool, begun: &Cell<bool>) -> Result<Option<Token>> {
    let mut folders: Vec<PathBuf> = written.iter().map(Written::folder).collect();
    folders.sort_unstable();
    folders.dedup();
    let mut state = store.to_change();
    match state.still_fits(&written) {
        Ok(true) => {}
        Ok(false) => return Ok(None),
        Err(error) if journal => return Err(withdraw(store, error)),
        Err(error) => return Err(error),
    }
    let mut replaced = Vec::new();
    for (done, one) in written.into_iter().enumerate() {
        match state.switch(one) {
            Ok(old) => {
                begun.set(true);
                replaced.push(old);
            }
            // Finished from the journal at once: a passing error must not leave half of a batch to be read.
            Err(error) if done > 0 => {
                store.finish_cut_batch().map_err(|_| journal::unfinished(&error, &store.place.journal))?;
                return Ok(Some(state.history.token()));
            }
            Err(error) if journal => return Err(withdraw(store, error)),
            Err(error) => return Err(error),
        }
    }
    let token = state.history.token();
    drop(state);
    // Only now, when no reader waits.
    drop(replaced);
    for folder in folders {
        make_last(&folder, replace::sync_folder)?;
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
fn withdraw(store: &JsonStore, error: Error) -> Error {
    match journal::remove(&store.place.journal) {
        Ok(()) => error,
        Err(_) => journal::unfinished(&error, &store.place.journal),
    }
}

#[cfg(test)]
mod tests {
    use hivemind_abi::model::{Backend as _, Changes, Collection, Key, Kind, Row};
    use hivemind_abi::{Host, model::CollectionId};

    use super::*;
    use crate::backend::open;

    fn collections() -> [Collection; 2] {
        ["one", "two"].map(|name| Collection::new(name, 1, "id", Kind::Int).field("n", Kind::Int))
    }

    fn row(of: &Collection, id: i64, n: i64) -> Row {
        Row::builder(of).set("id", id).and_then(|b| b.set("n", n)).expect("a row").build()
    }

    fn handle(folder: &std::path::Path) -> (JsonStore, Vec<CollectionId>) {
        let store = open(r#"{"name": "hivemind-test-cut"}"#, Host::detached(folder)).expect("a handle");
        let ids = store.prepare(&Context::unbounded(), &collections()).expect("prepared");
        (store, ids)
    }

    #[test]
    fn a_folder_that_cannot_be_synced_is_tried_once_more_and_then_told_of() {
        let fails = |times: usize| {
            let left = std::cell::Cell::new(times);
            make_last(Path::new("folder"), |_| match left.get() {
                0 => Ok(()),
                n => {
                    left.set(n - 1);
                    Err(Error::io("the disk is gone"))
                }
            })
        };
        assert_eq!(fails(1), Ok(()));
        let error = fails(2).expect_err("gone");
        assert_eq!((error.code(), error.retryable()), (Code::OutcomeUnknown, false));
        assert_eq!(error.detail().field.as_deref(), Some("durability"), "by this nobody takes reading it back for an answer");
        assert!(error.message().contains("in place") && error.message().contains("the disk is gone"), "{error}");
        assert_eq!(error.detail().place.as_deref(), Some("folder"));
    }

    #[test]
    fn our_own_commit_leaves_nothing_to_look_at_and_nothing_to_read() {
        let cx = Context::unbounded();
        let [one, _] = collections();
        let folder = tempfile::tempdir().expect("a folder");
        let (store, ids) = handle(folder.path());
        for n in 0..5 {
            for _ in 0..50 {
                store.get(&cx, ids[0], Key::Int(1).as_ref()).expect("a look-up");
            }
            store.apply(&cx, &[Mutation::Put { collection: ids[0], row: row(&one, 1, n) }]).expect("stored");
            let generation = {
                let state = store.to_change();
                let file = state.file(ids[0]).expect("a file");
                // Watched, it is current only if no event is left.
                assert!(file.means() == "stat" || file.is_current().expect("a look"));
                file.generation
            };
            assert_eq!(store.get(&cx, ids[0], Key::Int(1).as_ref()), Ok(Some(row(&one, 1, n))));
            assert_eq!(store.to_change().file(ids[0]).expect("a file").generation, generation);
        }
    }

    #[test]
    fn after_a_panic_in_a_commit_memory_is_what_the_file_says() {
        let cx = Context::unbounded();
        let [one, _] = collections();
        let folder = tempfile::tempdir().expect("a folder");
        let (store, ids) = handle(folder.path());
        store.apply(&cx, &[Mutation::Put { collection: ids[0], row: row(&one, 1, 0) }]).expect("stored");
        let token = store.changes_since(&cx, ids[0], Token::default()).expect("a token").0;
        let lost = guarded(&store, || {
            let mut state = store.to_change();
            let half = [Mutation::Put { collection: ids[0], row: row(&one, 1, 5) }];
            state.tables.apply(&store.catalog, &cx, &half).expect("tried");
            panic!("planted");
        });
        assert!(lost.is_err());
        assert_eq!(store.get(&cx, ids[0], Key::Int(1).as_ref()), Ok(Some(row(&one, 1, 0))));
        assert_eq!(store.changes_since(&cx, ids[0], token).expect("changes").1, Changes::Everything);
        store.apply(&cx, &[Mutation::Put { collection: ids[0], row: row(&one, 1, 7) }]).expect("works");
        assert_eq!(store.get(&cx, ids[0], Key::Int(1).as_ref()), Ok(Some(row(&one, 1, 7))));
    }

    #[test]
    fn a_batch_cut_behind_its_journal_is_finished_by_the_next_to_open() {
        let cx = Context::unbounded();
        let [one, two] = collections();
        for replaced in 0..=2 {
            let folder = tempfile::tempdir().expect("a folder");
            let (store, ids) = handle(folder.path());
            let put = |at: usize, id, n| {
                let collection = [&one, &two][at];
                Mutation::Put { collection: ids[at], row: row(collection, id, n) }
            };
            store.apply(&cx, &[put(0, 1, 0), put(1, 1, 0)]).expect("stored");
            let gone = Mutation::Delete { collection: ids[1], key: Key::Int(1), when: vec![] };
            let batch = [put(0, 1, 5), put(0, 2, 6), put(1, 3, 7), gone];

            let held = store.lock.take(&cx, Instant::now()).expect("free");
            let Plan { parts, .. } = store.to_change().plan(&store.catalog, &cx, &[&batch]).expect("a plan");
            let staged: Vec<_> = parts.into_iter().map(|part| part.write().expect("written")).collect();
            let (written, changes): (Vec<_>, Vec<_>) = staged.into_iter().unzip();
            journal::write(&store.place, &changes).expect("a journal");
            for (at, one) in written.into_iter().enumerate() {
                if at < replaced {
                    store.to_change().switch(one).expect("in place");
                } else {
                    std::mem::forget(one);
                }
            }
            drop(held);

            let (next, ids) = handle(folder.path());
            let get = |at: usize, key| next.get(&cx, ids[at], Key::Int(key).as_ref()).expect("a look-up");
            assert_eq!([get(0, 1), get(0, 2)], [Some(row(&one, 1, 5)), Some(row(&one, 2, 6))], "{replaced} files were replaced");
            assert_eq!([get(1, 1), get(1, 3)], [None, Some(row(&two, 3, 7))], "{replaced} files were replaced");
            assert!(!next.place.journal.exists());
            let left = std::fs::read_dir(&next.place.folder).expect("a list");
            assert!(left.flatten().all(|entry| !entry.file_name().to_string_lossy().starts_with('.')));
        }
    }
}
