//! Carrying a batch out: lock, look, try, write, switch.

use std::path::{Path, PathBuf};

use hivemind_abi::model::{Applied, CollectionId, Context, Detail, Error, Mutation, Result, Token};

use crate::backend::JsonStore;
use crate::state::{State, Written};
use crate::{journal, replace, sentinel};

/// How often a batch starts over because someone without the lock keeps changing a file.
const ATTEMPTS: usize = 8;

/// Carries a batch out.
///
/// # Errors
/// See [`hivemind_abi::Backend::apply`].
pub(crate) fn apply(store: &JsonStore, cx: &Context<'_>, mutations: &[Mutation]) -> Result<Applied> {
    store.check(cx)?;
    let _held = store.lock.take(cx)?;
    store.check(cx)?;
    store.finish_cut_batch()?;
    for _ in 0..ATTEMPTS {
        let mut state = store.to_change();
        refresh(&mut state, mutations)?;
        let (outcomes, parts) = state.plan(&store.catalog, cx, mutations)?;
        let token = state.history.token();
        drop(state);
        if parts.is_empty() {
            return Ok(Applied { outcomes, token });
        }
        let (written, changes): (Vec<_>, Vec<_>) =
            parts.into_iter().map(|part| part.write()).collect::<Result<Vec<_>>>()?.into_iter().unzip();
        cx.check()?;
        let journal = written.len() > 1;
        if journal && let Err(error) = journal::write(&store.place.journal, &changes) {
            return Err(withdraw(store, error));
        }
        match switch(store, written, journal)? {
            Some(token) => return Ok(Applied { outcomes, token }),
            None if journal => {
                journal::remove(&store.place.journal).map_err(|e| journal::unfinished(&e, &store.place.journal))?
            }
            None => {}
        }
    }
    let message = format!("a program that ignores the lock {} keeps changing the files", store.lock.path().display());
    Err(Error::busy(message))
}

fn refresh(state: &mut State, mutations: &[Mutation]) -> Result<()> {
    let mut seen: Vec<CollectionId> = Vec::new();
    for (index, mutation) in mutations.iter().enumerate() {
        let id = mutation.collection();
        if !seen.contains(&id) {
            seen.push(id);
            state.refresh(id).map_err(|e| e.mutation(index))?;
            let file = state.file(id)?;
            // Another program may have brought the store to a newer version since.
            sentinel::check(&file.files.sentinel, &file.collection).map_err(|e| e.mutation(index))?;
        }
    }
    Ok(())
}

/// Gives the new files their names; `None` if a file was changed meanwhile by someone without the lock.
fn switch(store: &JsonStore, written: Vec<Written>, journal: bool) -> Result<Option<Token>> {
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
    for (done, one) in written.into_iter().enumerate() {
        match state.switch(one) {
            Ok(()) => {}
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
    use hivemind_abi::model::{Backend as _, Code, Collection, Key, Kind, Row};
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

            let held = store.lock.take(&cx).expect("free");
            let (_, parts) = store.to_change().plan(&store.catalog, &cx, &batch).expect("a plan");
            let staged: Vec<_> = parts.into_iter().map(|part| part.write().expect("written")).collect();
            let (written, changes): (Vec<_>, Vec<_>) = staged.into_iter().unzip();
            journal::write(&store.place.journal, &changes).expect("a journal");
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
