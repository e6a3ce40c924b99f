//! The backend: what each call does with the files.

use std::os::unix::fs::MetadataExt as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Instant;

use hivemind_abi::Host;
use hivemind_abi::model::{
    Applied, Backend, Capabilities, Capability, Catalog, Changes, Code, Collection, CollectionId, Context, Error, Key, KeyRef,
    Lookup, Mutation, Page, Query, Report, Resource, Result, Row, Task, Token, ValueRef,
};

use crate::commit::Answer;
use crate::config::Config;
use crate::line::{Lead, Line, Turn};
use crate::lock::{Held, Lock};
use crate::place::Place;
use crate::replace::{create_folder, failed, resolve};
use crate::state::State;
use crate::{backup, inspect, journal, prepare, rekey};

/// Records between two looks at the caller's deadline.
const CHECK_EVERY: usize = 256;

/// Opens a handle; the entry of the plugin. Only the folder is made.
///
/// # Errors
/// `invalid` if the settings are wrong, a password among them that is no key, `denied` and `io` if the folder cannot be made.
pub fn open(config: &str, host: Host) -> Result<JsonStore> {
    let config = Config::parse(config)?;
    let place = Place::new(&config, host.data_dir())?;
    create_folder(&place.folder)?;
    Ok(JsonStore {
        resource: resource(&place)?,
        lock: Lock::new(place.lock.clone(), config.lock_timeout()),
        line: Line::new(),
        catalog: Catalog::new(),
        state: RwLock::new(State::new()?),
        closed: AtomicBool::new(false),
        host,
        place,
    })
}

/// The folder and the name in it: the file itself is another one after each write.
fn resource(place: &Place) -> Result<Resource> {
    let unknown = failed("look at", &place.primary);
    let real = resolve(&place.primary).map_err(&unknown)?;
    let folder = real.parent().map_or_else(|| place.folder.metadata(), std::path::Path::metadata).map_err(&unknown)?;
    let file = real.file_name().unwrap_or_default().to_string_lossy();
    let id = format!("{}:{}:{file}", folder.dev(), folder.ino());
    Ok(Resource { kind: "file".to_owned(), id, name: place.primary.display().to_string() })
}

/// A store in JSON files.
pub struct JsonStore {
    pub(crate) place: Place,
    pub(crate) lock: Lock,
    pub(crate) line: Line<Vec<Mutation>, Answer>,
    pub(crate) catalog: Catalog,
    host: Host,
    resource: Resource,
    // Lock before state, always.
    state: RwLock<State>,
    closed: AtomicBool,
}

impl std::fmt::Debug for JsonStore {
    /// Where it is, and nothing of what is in it or waits to be stored.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("JsonStore").field("place", &self.place).field("lock", &self.lock).finish_non_exhaustive()
    }
}

/// Nobody else writes while this lives. The lock is let go first, so that the next in line finds it free.
struct Alone<'s> {
    _held: Held<'s>,
    _lead: Lead<'s, Vec<Mutation>, Answer>,
}

impl JsonStore {
    fn known(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn to_change(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn check(&self, cx: &Context<'_>) -> Result<()> {
        if self.closed.load(Ordering::Relaxed) {
            return Err(Error::unavailable("this store was closed"));
        }
        cx.check()
    }

    /// Answers from memory, after making sure that it is what the file says.
    fn read<T>(&self, cx: &Context<'_>, id: CollectionId, ask: impl FnOnce(&State) -> Result<T>) -> Result<T> {
        self.check(cx)?;
        {
            let known = self.known();
            if known.file(id)?.is_current()? {
                return ask(&known);
            }
        }
        let mut state = self.to_change();
        state.refresh(id)?;
        ask(&state)
    }

    /// Whether there is time left to wait for those who write through this handle; `since` is when waiting began.
    ///
    /// # Errors
    /// `deadline`, `busy`, and `unavailable` if the store was closed meanwhile.
    pub(crate) fn may_wait(&self, cx: &Context<'_>, since: Instant) -> Result<()> {
        self.check(cx)?;
        self.lock.check(cx, since).map_err(|error| match error.code() {
            Code::Busy => {
                let (waited, lock) = (self.lock.timeout().as_millis(), self.lock.path().display().to_string());
                let message = format!(
                    "writes that came before through the same handle have not ended for {waited} ms; they may wait for a program that \
                     holds the lock {lock}"
                );
                Error::busy(message).place(lock)
            }
            _ => error,
        })
    }

    /// Waits until nobody writes through this handle, and keeps it so.
    fn lead(&self, cx: &Context<'_>, since: Instant) -> Result<Lead<'_, Vec<Mutation>, Answer>> {
        match self.line.enter(|| None, || self.may_wait(cx, since))? {
            Turn::Lead(lead) => Ok(lead),
            Turn::Carried(_) => Err(Error::io("nobody can carry this out for another one")),
        }
    }

    /// Waits until nobody writes at all, and keeps it so.
    fn alone(&self, cx: &Context<'_>) -> Result<Alone<'_>> {
        let since = Instant::now();
        let lead = self.lead(cx, since)?;
        self.check(cx)?;
        Ok(Alone { _held: self.lock.take(cx, since)?, _lead: lead })
    }

    /// Removes what crashes left, if nobody is writing just now: nothing depends on it.
    fn remove_leftovers(&self, collections: &[Collection]) {
        let is_there = |found: Result<Vec<_>>| found.is_ok_and(|found| !found.is_empty());
        if is_there(prepare::leftovers(&self.place, collections))
            && let Ok(Some(_held)) = self.lock.try_take()
        {
            for path in prepare::leftovers(&self.place, collections).unwrap_or_default() {
                let _ = std::fs::remove_file(path);
            }
        }
    }

    /// Finishes what a program that died left half done; only right under the lock.
    pub(crate) fn finish_cut_batch(&self) -> Result<()> {
        journal::replay(&self.place, |warning| self.host.warn(warning))
    }

    /// Puts a backup's content in the place of everything.
    fn restore(&self, cx: &Context<'_>, from: &std::path::Path, keep: Option<&std::path::Path>) -> Result<Report> {
        keep.map_or(Ok(()), backup::check_free)?;
        let collections: Vec<Collection> = self.catalog.iter().map(|(_, c)| c.as_ref().clone()).collect();
        let plan = backup::plan(cx, &self.place, from, &collections)?;
        let _alone = self.alone(cx)?;
        self.finish_cut_batch()?;
        if let Some(keep) = keep {
            let kept = backup::snapshot(&self.place).and_then(|files| backup::write(&self.place, &files, keep));
            kept.map_err(|e| e.context("the present state could not be kept, and nothing was changed"))?;
        }
        cx.check()?;
        // Nobody who asks this handle sees some files old and some new.
        let mut state = self.to_change();
        let done = plan.carry_out(&self.place);
        for id in state.files.keys().copied().collect::<Vec<_>>() {
            state.reload(id)?;
        }
        done
    }

    /// Finishes or clears away what crashes left, and reads everything anew.
    fn repair(&self, cx: &Context<'_>) -> Result<Report> {
        let _alone = self.alone(cx)?;
        let journal = self.place.journal.exists();
        self.finish_cut_batch()?;
        let collections: Vec<Collection> = self.catalog.iter().map(|(_, c)| c.as_ref().clone()).collect();
        let removed = self.clear_leftovers(&collections)?;
        prepare::bring_up_to_date(cx, (&self.host, &self.place), &collections)?;
        let mut state = self.to_change();
        for id in state.files.keys().copied().collect::<Vec<_>>() {
            cx.check()?;
            state.reload(id)?;
        }
        Ok(Report::new().with("journal_finished", journal).with("leftovers_removed", i64::try_from(removed).unwrap_or(i64::MAX)))
    }

    /// Removes all that was left half written, whatever it was to be; only right under the lock. Gives how many files that was.
    fn clear_leftovers(&self, collections: &[Collection]) -> Result<usize> {
        let mut leftovers = prepare::leftovers(&self.place, collections)?;
        leftovers.extend(backup::leftovers(&self.place)?);
        leftovers.sort_unstable();
        leftovers.dedup();
        Ok(leftovers.iter().filter(|path| std::fs::remove_file(path).is_ok()).count())
    }

    pub(crate) fn warn(&self, message: &str) {
        self.host.warn(message);
    }
}

impl Backend for JsonStore {
    fn capabilities(&self) -> Capabilities {
        use Capability::{AtomicBatch, ChangeTracking, Durable, Encryption, InlineReads, MultiProcess, OnlineBackup, Unique};
        let all = [Durable, AtomicBatch, Unique, MultiProcess, OnlineBackup, ChangeTracking, InlineReads, Encryption];
        Capabilities::of(if self.place.coding.is_encrypted() { &all } else { &all[..all.len() - 1] })
    }

    fn prepare(&self, cx: &Context<'_>, collections: &[Collection]) -> Result<Vec<CollectionId>> {
        self.check(cx)?;
        prepare::check(&self.place, &self.known(), collections)?;
        if collections.iter().all(|c| self.catalog.iter().any(|(_, known)| **known == *c)) {
            return self.catalog.register(collections);
        }
        create_folder(&self.place.folder)?;
        let since = Instant::now();
        let _lead = self.lead(cx, since)?;
        self.check(cx)?;
        // A lock that another program holds keeps nobody from reading.
        let held = if prepare::is_up_to_date(&self.place, collections)? {
            self.remove_leftovers(collections);
            None
        } else {
            let held = self.lock.take(cx, since)?;
            prepare::bring_up_to_date(cx, (&self.host, &self.place), collections)?;
            Some(held)
        };
        // What is in the catalog is loaded, always: so the ids are tried out on a copy, and given when nothing can fail any more.
        let trial = Catalog::new();
        let known: Vec<Collection> = self.catalog.iter().map(|(_, known)| known.as_ref().clone()).collect();
        trial.register(&known)?;
        trial.register(collections)?;
        let mut state = self.to_change();
        let (files, mut tables) = prepare::load(cx, &self.place, &trial, known.len())?;
        let ids = self.catalog.register(collections)?;
        state.tables.extend(&self.catalog);
        for file in files {
            std::mem::swap(state.tables.get_mut(file.id)?, tables.get_mut(file.id)?);
            state.files.insert(file.id, file);
        }
        drop(held);
        Ok(ids)
    }

    fn get(&self, cx: &Context<'_>, collection: CollectionId, key: KeyRef<'_>) -> Result<Option<Row>> {
        self.read(cx, collection, |state| state.tables.get(collection)?.get(&key.to_key()).map(Option::<&Row>::cloned))
    }

    fn get_by(&self, cx: &Context<'_>, collection: CollectionId, field: usize, value: ValueRef<'_>) -> Result<Option<Row>> {
        self.read(cx, collection, |state| state.tables.get(collection)?.get_by(field, value).map(Option::<&Row>::cloned))
    }

    fn get_many(&self, cx: &Context<'_>, collection: CollectionId, keys: &[Key]) -> Result<Vec<Lookup>> {
        self.read(cx, collection, |state| {
            let table = state.tables.get(collection)?;
            let get = |(at, key): (usize, &Key)| {
                if at % CHECK_EVERY == CHECK_EVERY - 1 {
                    cx.check()?;
                }
                Ok(table.get(key).map(Option::<&Row>::cloned))
            };
            keys.iter().enumerate().map(get).collect()
        })
    }

    fn find(&self, cx: &Context<'_>, query: &Query, max_bytes: usize) -> Result<Page> {
        self.read(cx, query.collection, |state| state.tables.get(query.collection)?.find(cx, query, max_bytes))
    }

    fn count(&self, cx: &Context<'_>, query: &Query) -> Result<u64> {
        self.read(cx, query.collection, |state| state.tables.get(query.collection)?.count(cx, query))
    }

    fn apply(&self, cx: &Context<'_>, mutations: &[Mutation]) -> Result<Applied> {
        crate::commit::apply(self, cx, mutations)
    }

    fn changes_since(&self, cx: &Context<'_>, collection: CollectionId, token: Token) -> Result<(Token, Changes)> {
        self.read(cx, collection, |state| Ok((state.history.token(), state.history.since(collection, token))))
    }

    fn sync(&self, cx: &Context<'_>) -> Result<Report> {
        self.check(cx)?;
        let _alone = self.alone(cx)?;
        self.finish_cut_batch()?;
        let mut state = self.to_change();
        for id in state.files.keys().copied().collect::<Vec<_>>() {
            cx.check()?;
            state.reload(id)?;
        }
        Ok(inspect::counted(&state))
    }

    fn maintain(&self, cx: &Context<'_>, task: &Task) -> Result<Report> {
        self.check(cx)?;
        match task {
            Task::Verify => Ok(inspect::verify(&self.place, &mut self.to_change())),
            Task::VerifyBackup { from, collections } => backup::verify(cx, &self.place, from.as_ref(), collections),
            Task::Backup { to } => {
                backup::check_free(to.as_ref())?;
                let files = {
                    let _alone = self.alone(cx)?;
                    self.finish_cut_batch()?;
                    backup::snapshot(&self.place)?
                };
                backup::write(&self.place, &files, to.as_ref())
            }
            Task::Restore { from, keep } => self.restore(cx, from.as_ref(), keep.as_ref().map(std::path::Path::new)),
            Task::Repair => self.repair(cx),
            Task::Rekey { password } => {
                let new = rekey::NewForm::new(&self.place, password.as_deref())?;
                let _alone = self.alone(cx)?;
                self.finish_cut_batch()?;
                // One that was cut may have left everything in clear.
                self.clear_leftovers(&[])?;
                let done = new.put_in_place(cx, &self.place);
                if done.is_ok() {
                    self.closed.store(true, Ordering::Relaxed);
                    *self.to_change() = State::new()?;
                }
                done
            }
            other => {
                Err(Error::unsupported(format!("the JSON backend does not offer {other:?}: its files hold no unused space")))
            }
        }
    }

    fn stats(&self, cx: &Context<'_>) -> Result<Report> {
        self.check(cx)?;
        inspect::stats(&self.place, &mut self.to_change())
    }

    fn resources(&self) -> Vec<Resource> {
        vec![self.resource.clone()]
    }

    fn close(&self, cx: &Context<'_>) -> Result<()> {
        if self.closed.load(Ordering::Relaxed) {
            return self.check(cx);
        }
        // What is under way is finished first; those who stand in line find the store closed.
        let _lead = self.lead(cx, Instant::now())?;
        self.closed.store(true, Ordering::Relaxed);
        *self.to_change() = State::new()?;
        Ok(())
    }
}
