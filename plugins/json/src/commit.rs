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

/// What one who was carried along gets: a result, or the panic that its batch caused.
pub(crate) type Answer = Result<Result<Applied>, Box<dyn Any + Send>>;

/// Carries a batch out.
///
/// # Errors
/// See [`hivemind_abi::Backend::apply`].
pub(crate) fn apply(store: &JsonStore, cx: &Context<'_>, mutations: &[Mutation]) -> Result<Applied> {
    store.check(cx)?;
    let since = Instant::now();
    let turn = store.line.enter(|| Some(mutations.to_vec()), || store.may_wait(cx, since))?;
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
        return alone(store, cx, mutations, &Course::new()).unwrap_or_else(|panic| resume_unwind(panic));
    }
    let batches: Vec<&[Mutation]> = std::iter::once(mutations).chain(others.iter().map(Vec::as_slice)).collect();
    let mut answers = together(store, &batches, &Course::new()).into_iter();
    let own = answers.next();
    lead.answer(answers);
    own.map_or_else(|| Err(Error::outcome_unknown("no answer")), |own| own.unwrap_or_else(|panic| resume_unwind(panic)))
}

fn alone(store: &JsonStore, cx: &Context<'_>, batch: &[Mutation], course: &Course<'_>) -> Answer {
    let done = guarded(store, || run(store, cx, &[batch], course))?;
    Ok(done.and_then(|mut results| results.pop().unwrap_or_else(|| Err(Error::outcome_unknown("no answer")))))
}

/// Carries batches out as one group, or else one by one. Those in it have waited long enough to be carried whatever their deadlines.
fn together(store: &JsonStore, batches: &[&[Mutation]], course: &Course<'_>) -> Vec<Answer> {
    match guarded(store, || run(store, &Context::unbounded(), batches, course)) {
        Ok(Ok(results)) => results.into_iter().map(Ok).collect(),
        // What may be in place must not be done again.
        Ok(Err(error)) if course.begun.get() => batches.iter().map(|_| Ok(Err(error.clone()))).collect(),
        Err(panic) if course.begun.get() => {
            let lost =
                || Ok(Err(Error::outcome_unknown("the commit of this batch and others was cut; read back what is stored")));
            std::iter::once(Err(panic)).chain(batches.iter().skip(1).map(|_| lost())).collect()
        }
        _ => batches.iter().map(|batch| alone(store, &Context::unbounded(), batch, course)).collect(),
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
mod tests {
    use hivemind_abi::model::{Backend as _, Change, Changes, Collection, Key, Kind, Row};
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
    fn who_waited_too_long_for_writes_through_the_same_handle_is_told_so() {
        let folder = tempfile::tempdir().expect("a folder");
        let config = r#"{"name": "hivemind-test-line", "lock_timeout_ms": 50}"#;
        let store = open(config, Host::detached(folder.path())).expect("a handle");
        let ids = store.prepare(&Context::unbounded(), &collections()).expect("prepared");
        let first = store.line.enter(|| None, || Ok(())).expect("free");
        let put = [Mutation::Put { collection: ids[0], row: row(&collections()[0], 1, 1) }];
        for error in [
            store.apply(&Context::unbounded(), &put).expect_err("behind it"),
            store.sync(&Context::unbounded()).expect_err("behind it"),
        ] {
            assert_eq!((error.code(), error.retryable()), (Code::Busy, true));
            assert!(error.message().contains("through the same handle") && error.message().contains("50 ms"), "{error}");
        }
        drop(first);
        store.apply(&Context::unbounded(), &put).expect("its turn");
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

    /// A store of two collections with `n` 0 under the id 1 in each, and three batches: one that is fine, one that is refused, one
    /// that adds 1 to what the first made of it.
    fn group(folder: &Path) -> (JsonStore, Vec<CollectionId>, Vec<Vec<Mutation>>) {
        let [one, two] = collections();
        let (store, ids) = handle(folder);
        let put = |at: usize, id, n| Mutation::Put { collection: ids[at], row: row([&one, &two][at], id, n) };
        store.apply(&Context::unbounded(), &[put(0, 1, 0), put(1, 1, 0)]).expect("stored");
        let refused = Mutation::Insert { collection: ids[0], row: row(&one, 1, 9) };
        let add = vec![Change::Increment { field: one.position("n").expect("a field"), by: 1.into() }];
        let added = Mutation::Update { collection: ids[0], key: Key::Int(1), when: vec![], changes: add };
        (store, ids.clone(), vec![vec![put(0, 2, 2)], vec![refused], vec![added]])
    }

    #[test]
    fn who_is_refused_is_not_told_that_its_change_is_in_place() {
        let cx = Context::unbounded();
        let folder = tempfile::tempdir().expect("a folder");
        let (store, ids, batches) = group(folder.path());
        let batches: Vec<&[Mutation]> = batches.iter().map(Vec::as_slice).collect();
        let held = store.lock.take(&cx, Instant::now()).expect("free");
        let course = Course { sync: &|_| Err(Error::io("planted")), ..Course::new() };
        let answers = together(&store, &batches, &course).into_iter().map(|answer| answer.expect("no panic"));
        let errors: Vec<Error> = answers.map(|answer| answer.expect_err("it does not last")).collect();
        drop(held);
        assert_eq!(
            errors.iter().map(Error::code).collect::<Vec<_>>(),
            [Code::OutcomeUnknown, Code::Conflict, Code::OutcomeUnknown]
        );
        let durability = errors.iter().map(|e| e.detail().field.as_deref() == Some(Detail::DURABILITY)).collect::<Vec<_>>();
        assert_eq!(durability, [true, false, true], "{errors:?}");
        let [one, _] = collections();
        assert_eq!(store.get(&cx, ids[0], Key::Int(1).as_ref()), Ok(Some(row(&one, 1, 1))), "once");
    }

    #[test]
    fn after_a_panic_behind_the_journal_or_a_rename_no_batch_of_the_group_is_done_again() {
        let cx = Context::unbounded();
        let [one, two] = collections();
        for (files, at) in [(1, 1), (2, 1), (2, 2), (2, 3)] {
            let folder = tempfile::tempdir().expect("a folder");
            let (store, ids, mut batches) = group(folder.path());
            if files == 2 {
                batches.push(vec![Mutation::Put { collection: ids[1], row: row(&two, 1, 5) }]);
            }
            let batches: Vec<&[Mutation]> = batches.iter().map(Vec::as_slice).collect();
            let held = store.lock.take(&cx, Instant::now()).expect("free");
            let times = Cell::new(0);
            let placed = || {
                times.set(times.get() + 1);
                assert_ne!(times.get(), at, "planted");
            };
            let course = Course { placed: &placed, ..Course::new() };
            let mut answers = together(&store, &batches, &course).into_iter();
            assert!(answers.next().expect("its own").is_err(), "the panic is the leader's");
            for answer in answers {
                assert_eq!(answer.expect("no panic").expect_err("cut").code(), Code::OutcomeUnknown);
            }
            drop(held);
            assert_eq!(times.get(), at);
            store.sync(&cx).expect("read anew");
            assert_eq!(store.get(&cx, ids[0], Key::Int(1).as_ref()), Ok(Some(row(&one, 1, 1))), "once");
            assert_eq!(store.get(&cx, ids[0], Key::Int(2).as_ref()), Ok(Some(row(&one, 2, 2))));
            let n = if files == 2 { 5 } else { 0 };
            assert_eq!(store.get(&cx, ids[1], Key::Int(1).as_ref()), Ok(Some(row(&two, 1, n))), "finished from the journal");
        }
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
                    store.to_change().switch(one, || {}).expect("in place");
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
