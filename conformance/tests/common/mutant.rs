//! Broken backends: a sound one behind a wrapper that breaks one thing.

mod fault;
mod query;
mod write;

use std::collections::HashMap;
use std::fs;
use std::sync::{Arc, Mutex};

use hivemind_conformance::{Instance, Plant, Subject};
use hivemind_model::{
    Applied, Backend, Capabilities, Capability, Changes, Code, Collection, CollectionId, Context, Error, Index, Key, KeyRef,
    Kind, Lookup, Mutation, Page, Query, Report, Result, Row, Task, Token, Value, ValueRef,
};

use super::shelf::{Faults, Shelf};
pub(crate) use fault::Fault;

/// Subjects whose every store is broken in one way, or, without a fault, sound.
pub(crate) struct Broken {
    pub(crate) fault: Option<Fault>,
    shelf: Shelf,
}

impl Broken {
    pub(crate) fn by(fault: Option<Fault>) -> Self {
        let faults = Faults {
            accepts_newer: fault == Some(Fault::NewerAccepted),
            unreadable_is_absent: fault == Some(Fault::UnreadableIsAbsent),
            unreadable_forgets: fault == Some(Fault::UnreadableForgetsItsValues),
        };
        Self { fault, shelf: Shelf { disk: Arc::default(), faults } }
    }
}

impl Subject for Broken {
    fn name(&self) -> String {
        self.fault.map_or_else(|| "sound".to_owned(), |fault| format!("{fault:?}"))
    }

    fn fresh(&self) -> Result<Box<dyn Instance>> {
        let disk = if self.fault == Some(Fault::StoresShared) { Arc::clone(&self.shelf.disk) } else { Arc::default() };
        Ok(Box::new(Self { fault: self.fault, shelf: Shelf { disk, faults: self.shelf.faults } }))
    }
}

impl Instance for Broken {
    fn open(&self) -> Result<Arc<dyn Backend>> {
        if self.fault == Some(Fault::ForgetsWhenClosed) {
            *self.shelf.disk.lock().unwrap() = Default::default();
        }
        self.beside().map(|handle| handle.expect("a handle"))
    }

    fn beside(&self) -> Result<Option<Arc<dyn Backend>>> {
        let inner = self.shelf.open()?;
        let state = Mutex::default();
        Ok(Some(Arc::new(Mutant { inner, fault: self.fault, state })))
    }

    fn peer(&self) -> Result<Option<Arc<dyn Backend>>> {
        self.beside()
    }

    fn plant(&self, collection: &Collection, plant: &Plant) -> Result<bool> {
        self.shelf.plant(collection, plant)
    }
}

/// What a broken handle remembers.
#[derive(Default)]
struct State {
    /// The collections as they were described, by id.
    collections: Vec<(CollectionId, Collection)>,
    /// The keys that this handle wrote.
    own: Vec<Key>,
    /// What was read, for stale reads.
    read: HashMap<(CollectionId, Key), Option<Row>>,
    /// How many rows were given up to a key, for pages by position.
    given: HashMap<Key, usize>,
    /// How many keys were burnt.
    burnt: i64,
}

pub(crate) struct Mutant {
    inner: Arc<dyn Backend>,
    fault: Option<Fault>,
    state: Mutex<State>,
}

impl Mutant {
    fn has(&self, fault: Fault) -> bool {
        self.fault == Some(fault)
    }

    fn collection(&self, id: CollectionId) -> Result<Collection> {
        let state = self.state.lock().unwrap();
        let found = state.collections.iter().find(|(known, _)| *known == id);
        found.map(|(_, c)| c.clone()).ok_or_else(|| Error::invalid("no such collection"))
    }

    /// The context that the fault leaves.
    fn context<'a>(&self, cx: &Context<'a>) -> Context<'a> {
        match self.fault {
            Some(Fault::DeadlineIgnored) => Context::unbounded(),
            Some(Fault::CancelIgnored) => cx.remaining().map_or(Context::unbounded(), Context::within),
            _ => cx.clone(),
        }
    }

    /// The description that the fault leaves.
    fn described(&self, collection: &Collection) -> Collection {
        let mut collection = collection.clone();
        for field in &mut collection.fields {
            match (self.fault, &mut field.index) {
                (Some(Fault::UniqueNotEnforced), index @ Index::Unique { .. }) => *index = Index::Plain,
                (Some(Fault::ExceptionIgnored), Index::Unique { except }) => except.clear(),
                (Some(Fault::DefaultsForgotten), _) => field.default = Value::Nil,
                _ => {}
            }
        }
        if self.has(Fault::UnknownNamesDropped) {
            collection.extras = None;
        }
        collection.primary &= !self.has(Fault::SecondPrimaryAccepted);
        collection
    }
}

impl Backend for Mutant {
    fn capabilities(&self) -> Capabilities {
        let sound = self.inner.capabilities();
        match self.fault {
            Some(Fault::DeclaresNothingButTracks) => sound.without(Capability::ChangeTracking),
            _ => sound,
        }
    }

    fn prepare(&self, cx: &Context<'_>, collections: &[Collection]) -> Result<Vec<CollectionId>> {
        let described: Vec<_> = collections.iter().map(|c| self.described(c)).collect();
        let ids = self.inner.prepare(&self.context(cx), &described)?;
        let mut state = self.state.lock().unwrap();
        state.collections.extend(ids.iter().copied().zip(collections.iter().cloned()));
        Ok(ids)
    }

    fn get(&self, cx: &Context<'_>, collection: CollectionId, key: KeyRef<'_>) -> Result<Option<Row>> {
        let cx = &self.context(cx);
        match (self.fault, key) {
            (Some(Fault::KeysFoldCase), KeyRef::Text(text)) => {
                let rows = self.inner.find(cx, &Query::all(collection), usize::MAX)?.rows;
                let described = self.collection(collection)?;
                let same = |row: &Row| {
                    let found = row.view(&described).map(|view| view.key().to_key());
                    matches!(found, Ok(Key::Text(found)) if found.eq_ignore_ascii_case(text))
                };
                Ok(rows.into_iter().find(same))
            }
            (Some(Fault::TextFindsIntKeys), KeyRef::Text(text)) => match text.parse() {
                Ok(int) if self.collection(collection)?.key_kind() == Kind::Int => {
                    self.inner.get(cx, collection, KeyRef::Int(int))
                }
                _ => self.inner.get(cx, collection, key),
            },
            (Some(Fault::UnknownCollectionIsEmpty), _) => Ok(self.inner.get(cx, collection, key).unwrap_or(None)),
            (Some(Fault::StaleReads), _) => {
                let mut state = self.state.lock().unwrap();
                if let Some(read) = state.read.get(&(collection, key.to_key())) {
                    return Ok(read.clone());
                }
                let row = self.inner.get(cx, collection, key)?;
                state.read.insert((collection, key.to_key()), row.clone());
                Ok(row)
            }
            (Some(Fault::OtherKeysAreAbsent), _) => absent_if(self.inner.get(cx, collection, key), Code::Invalid),
            (Some(Fault::ClosedIsRetryable), _) => self.inner.get(cx, collection, key).map_err(|e| match e.code() {
                Code::Unavailable => e.known_not_applied(),
                _ => e,
            }),
            _ => self.inner.get(cx, collection, key),
        }
    }

    fn get_by(&self, cx: &Context<'_>, collection: CollectionId, field: usize, value: ValueRef<'_>) -> Result<Option<Row>> {
        let found = self.inner.get_by(&self.context(cx), collection, field, value);
        if self.has(Fault::UnreadableNotGotBy) { absent_if(found, Code::Corrupt) } else { found }
    }

    fn get_many(&self, cx: &Context<'_>, collection: CollectionId, keys: &[Key]) -> Result<Vec<Lookup>> {
        let mut keys = keys.to_vec();
        if self.has(Fault::GetManySorted) {
            keys.sort();
        }
        self.inner.get_many(&self.context(cx), collection, &keys)
    }

    fn find(&self, cx: &Context<'_>, query: &Query, max_bytes: usize) -> Result<Page> {
        let cx = &self.context(cx);
        if self.has(Fault::UnknownFieldPanics) {
            let described = self.collection(query.collection)?;
            for condition in &query.all {
                assert!(condition.field < described.fields.len(), "no such field");
            }
        }
        if self.has(Fault::UnknownCollectionIsEmpty) && self.collection(query.collection).is_err() {
            return Ok(Page::default());
        }
        if self.has(Fault::LongPatternFindsNothing) && query::has_long_pattern(query) {
            return Ok(Page::default());
        }
        let page = self.inner.find(cx, query, max_bytes);
        if query::concerns(self.fault) {
            // What the sound backend refuses is refused here too.
            page?;
            return self.broken_find(cx, query, max_bytes);
        }
        let mut page = page?;
        match self.fault {
            Some(Fault::UnreadableFailsFind) if !page.unreadable.is_empty() => return Err(Error::corrupt("a record")),
            Some(Fault::UnreadableNotReported) => page.unreadable.clear(),
            _ => {}
        }
        Ok(page)
    }

    fn count(&self, cx: &Context<'_>, query: &Query) -> Result<u64> {
        let cx = &self.context(cx);
        match self.fault {
            Some(Fault::CountIgnoresOffset) => self.inner.count(cx, &query.clone().offset(0)),
            Some(Fault::CountIgnoresLimit) => self.inner.count(cx, &Query { limit: None, ..query.clone() }),
            Some(Fault::UnreadableCounted) => {
                let unreadable = self.inner.find(cx, query, 0)?.unreadable.len() as u64;
                Ok(self.inner.count(cx, query)? + unreadable)
            }
            _ => self.inner.count(cx, query),
        }
    }

    fn apply(&self, cx: &Context<'_>, mutations: &[Mutation]) -> Result<Applied> {
        if self.has(Fault::DeadlineAfterCommit) {
            let applied = self.inner.apply(&Context::unbounded(), mutations)?;
            return cx.check().map(|()| applied);
        }
        let cx = &self.context(cx);
        let applied = self.broken_apply(cx, mutations);
        let mut state = self.state.lock().unwrap();
        state.read.clear();
        if applied.is_ok() {
            state.own.extend(mutations.iter().filter_map(write::key_of));
        }
        match (self.fault, applied) {
            (Some(Fault::ErrorNamesNoMutation), Err(e)) => Err(e.with_detail(Default::default())),
            (Some(Fault::ConflictIsRetryable), Err(e)) if e.code() == Code::Conflict => {
                Err(Error::new(Code::Conflict, true, e.message()).with_detail(e.detail().clone()))
            }
            (_, applied) => applied,
        }
    }

    fn changes_since(&self, cx: &Context<'_>, collection: CollectionId, token: Token) -> Result<(Token, Changes)> {
        let (now, changes) = self.inner.changes_since(&self.context(cx), collection, token)?;
        let own = |key: &Key| self.state.lock().unwrap().own.contains(key);
        let changes = match (self.fault, changes) {
            (Some(Fault::MissesOwnWrites), Changes::Keys(keys)) => {
                Changes::Keys(keys.into_iter().filter(|key| !own(key)).collect())
            }
            (Some(Fault::MissesForeignWrites), Changes::Keys(keys)) => Changes::Keys(keys.into_iter().filter(own).collect()),
            (Some(Fault::UnknownTokenIsNothing), Changes::Everything) => Changes::Nothing,
            (Some(Fault::EverythingAlways), _) => Changes::Everything,
            (_, changes) => changes,
        };
        Ok((now, changes))
    }

    fn sync(&self, cx: &Context<'_>) -> Result<Report> {
        self.inner.sync(cx)
    }

    fn maintain(&self, cx: &Context<'_>, task: &Task) -> Result<Report> {
        match (self.fault, task) {
            (Some(Fault::DeclaresBackup), Task::Backup { .. }) => Err(Error::unsupported("no backup after all")),
            (Some(Fault::BackupOverwrites), Task::Backup { to }) => {
                let _ = fs::remove_file(to);
                self.inner.maintain(cx, task)
            }
            (Some(Fault::RestoreForgetsNotes), Task::Restore { from, keep }) => {
                if let Some(keep) = keep {
                    self.inner.maintain(cx, &Task::Backup { to: keep.clone() })?;
                }
                let text = fs::read_to_string(from)?;
                let things: Vec<&str> = text.lines().filter(|line| !line.contains("\"notes\"")).collect();
                fs::write(from, things.join("\n"))?;
                self.inner.maintain(cx, &Task::Restore { from: from.clone(), keep: None })
            }
            (Some(Fault::RestoreKeepsNothing), Task::Restore { from, keep: Some(keep) }) => {
                let done = self.inner.maintain(cx, &Task::Restore { from: from.clone(), keep: None })?;
                self.inner.maintain(cx, &Task::Backup { to: keep.clone() })?;
                Ok(done)
            }
            (Some(Fault::RestoreTakesAnything), Task::Restore { .. }) => {
                self.inner.maintain(cx, task).or_else(|_| Ok(Report::new()))
            }
            (Some(Fault::VerifyBackupLooksAway), Task::VerifyBackup { .. }) => Ok(Report::new()),
            (Some(Fault::RepairLosesRecords), Task::Repair) => {
                self.inner.apply(cx, &[Mutation::DeleteWhere { query: Query::all(CollectionId(0)).limit(1) }])?;
                Ok(Report::new())
            }
            (Some(Fault::RekeyForgotten), Task::Rekey { .. }) => Ok(Report::new()),
            _ => self.inner.maintain(cx, task),
        }
    }

    fn stats(&self, cx: &Context<'_>) -> Result<Report> {
        match self.inner.stats(cx) {
            Err(_) if self.has(Fault::StatsAfterClose) => Ok(Report::new().with("engine", "tables")),
            stats => stats,
        }
    }

    fn close(&self, cx: &Context<'_>) -> Result<()> {
        if self.has(Fault::CloseDoesNothing) { Ok(()) } else { self.inner.close(cx) }
    }
}

fn absent_if(found: Result<Option<Row>>, code: Code) -> Result<Option<Row>> {
    match found {
        Err(e) if e.code() == code => Ok(None),
        found => found,
    }
}
