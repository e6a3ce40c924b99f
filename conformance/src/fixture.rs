//! The collections that the cases use, and a store of them with short names for its calls.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hivemind_model::{
    Applied, Backend, Capabilities, Capability, Change, Collection, CollectionId, Condition, Context, Index, Key, Kind, Mutation,
    Outcome, Page, Query, Result, Row, Value,
};

use crate::case::{Checked, Failure};
use crate::check::{ensure, values};
use crate::subject::{Instance, Subject};

/// Positions of the fields of `things`.
pub(crate) mod field {
    pub(crate) const ID: usize = 0;
    pub(crate) const FLAG: usize = 1;
    pub(crate) const N: usize = 2;
    pub(crate) const R: usize = 3;
    pub(crate) const T: usize = 4;
    pub(crate) const B: usize = 5;
    pub(crate) const J: usize = 6;
    pub(crate) const CODE: usize = 7;
    pub(crate) const GRP: usize = 8;
}

/// The value of `code` that any number of things may have.
pub(crate) const EXCEPTED: &str = "none";

/// Int keys, one field of every kind, a unique and an indexed field.
pub(crate) fn things(capabilities: Capabilities) -> Collection {
    let code =
        if capabilities.has(Capability::Unique) { Index::Unique { except: vec![Value::from(EXCEPTED)] } } else { Index::Plain };
    Collection::new("things", 1, "id", Kind::Int)
        .field("flag", Kind::Bool)
        .field("n", Kind::Int)
        .field("r", Kind::Real)
        .field("t", Kind::Text)
        .field("b", Kind::Blob)
        .field("j", Kind::Json)
        .field_with("code", Kind::Text, Value::Nil, code)
        .field_with("grp", Kind::Text, Value::Nil, Index::Plain)
}

/// Text keys, a default, and a field that unknown stored names are folded into.
pub(crate) fn notes() -> Collection {
    let mut notes = Collection::new("notes", 1, "slug", Kind::Text)
        .field("body", Kind::Text)
        .field_with("n", Kind::Int, 7, Index::None)
        .field_with("meta", Kind::Json, Value::Json("{}".to_owned()), Index::None);
    notes.extras = Some(3);
    notes
}

/// Long enough for any engine, short enough that a call that hangs ends.
pub(crate) fn cx() -> Context<'static> {
    Context::within(Duration::from_secs(120))
}

pub(crate) fn json(text: &str) -> Value {
    Value::Json(text.to_owned())
}

/// A row of a collection with these fields set.
pub(crate) fn row(collection: &Collection, set: &[(&str, Value)]) -> Result<Row> {
    let mut builder = Row::builder(collection);
    for (name, value) in set {
        builder = builder.set(name, value.clone())?;
    }
    Ok(builder.build())
}

/// An open handle with `things` and `notes` prepared. It closes itself.
pub(crate) struct Handle {
    pub(crate) backend: Arc<dyn Backend>,
    pub(crate) thing: Collection,
    pub(crate) note: Collection,
    pub(crate) things: CollectionId,
    pub(crate) notes: CollectionId,
    closed: AtomicBool,
}

impl Handle {
    pub(crate) fn over(backend: Arc<dyn Backend>) -> Checked<Self> {
        let capabilities = backend.capabilities();
        Self::with(backend, capabilities)
    }

    /// With the collections that suit these capabilities.
    pub(crate) fn with(backend: Arc<dyn Backend>, capabilities: Capabilities) -> Checked<Self> {
        let (thing, note) = (things(capabilities), notes());
        let ids = backend.prepare(&cx(), &[thing.clone(), note.clone()])?;
        match ids[..] {
            [things, notes] => Ok(Self { backend, thing, note, things, notes, closed: AtomicBool::new(false) }),
            _ => Err(Failure::wrong(format!("prepare of 2 collections: expected 2 ids, found {}", ids.len()))),
        }
    }

    pub(crate) fn close(&self) -> Result<()> {
        if self.closed.swap(true, Ordering::SeqCst) { Ok(()) } else { self.backend.close(&cx()) }
    }

    pub(crate) fn has(&self, capability: Capability) -> bool {
        self.backend.capabilities().has(capability)
    }

    pub(crate) fn thing_row(&self, id: i64, set: &[(&str, Value)]) -> Result<Row> {
        let mut all = set.to_vec();
        all.push(("id", Value::Int(id)));
        row(&self.thing, &all)
    }

    pub(crate) fn note_row(&self, slug: &str, set: &[(&str, Value)]) -> Result<Row> {
        let mut all = set.to_vec();
        all.push(("slug", Value::from(slug)));
        row(&self.note, &all)
    }

    pub(crate) fn insert(&self, id: i64, set: &[(&str, Value)]) -> Result<Mutation> {
        Ok(Mutation::Insert { collection: self.things, row: self.thing_row(id, set)? })
    }

    pub(crate) fn put(&self, id: i64, set: &[(&str, Value)]) -> Result<Mutation> {
        Ok(Mutation::Put { collection: self.things, row: self.thing_row(id, set)? })
    }

    pub(crate) fn insert_next(&self, set: &[(&str, Value)]) -> Result<Mutation> {
        Ok(Mutation::InsertNext { collection: self.things, row: row(&self.thing, set)? })
    }

    pub(crate) fn update(&self, id: i64, changes: Vec<Change>, when: Vec<Condition>) -> Mutation {
        Mutation::Update { collection: self.things, key: Key::Int(id), changes, when }
    }

    pub(crate) fn delete(&self, id: i64) -> Mutation {
        Mutation::Delete { collection: self.things, key: Key::Int(id), when: Vec::new() }
    }

    pub(crate) fn expect(&self, id: i64, row: Option<Row>) -> Mutation {
        Mutation::Expect { collection: self.things, key: Key::Int(id), row }
    }

    pub(crate) fn apply(&self, mutations: &[Mutation]) -> Result<Applied> {
        self.backend.apply(&cx(), mutations)
    }

    /// One mutation and its outcome.
    pub(crate) fn one(&self, mutation: Mutation) -> Checked<Outcome> {
        let applied = self.apply(&[mutation])?;
        match applied.outcomes.into_iter().collect::<Vec<_>>() {
            outcomes if outcomes.len() == 1 => outcomes.into_iter().next().ok_or_else(|| Failure::wrong("no outcome")),
            outcomes => Err(Failure::wrong(format!("one mutation: expected one outcome, found {}", outcomes.len()))),
        }
    }

    /// Many mutations: in one batch where the backend has batches, else one by one.
    pub(crate) fn all(&self, mutations: Vec<Mutation>) -> Checked {
        if self.has(Capability::AtomicBatch) {
            self.apply(&mutations)?;
        } else {
            for mutation in mutations {
                self.one(mutation)?;
            }
        }
        Ok(())
    }

    /// Things with these ids and `n` the same as the id.
    pub(crate) fn fill(&self, ids: impl IntoIterator<Item = i64>) -> Checked {
        let inserts: Result<Vec<_>> = ids.into_iter().map(|id| self.insert(id, &[("n", id.into())])).collect();
        self.all(inserts?)
    }

    pub(crate) fn get(&self, id: i64) -> Result<Option<Row>> {
        self.backend.get(&cx(), self.things, Key::Int(id).as_ref())
    }

    pub(crate) fn get_note(&self, slug: &str) -> Result<Option<Row>> {
        self.backend.get(&cx(), self.notes, Key::from(slug).as_ref())
    }

    /// One field of a thing that must be there.
    pub(crate) fn value(&self, id: i64, at: usize) -> Checked<Value> {
        let row = self.get(id)?.ok_or_else(|| Failure::wrong(format!("thing {id}: expected a record, found none")))?;
        values(&self.thing, &row)?.into_iter().nth(at).ok_or_else(|| Failure::wrong("a value is missing"))
    }

    /// One field of a note that must be there.
    pub(crate) fn note_value(&self, slug: &str, at: usize) -> Checked<Value> {
        let row = self.get_note(slug)?.ok_or_else(|| Failure::wrong(format!("note {slug:?}: expected a record, found none")))?;
        values(&self.note, &row)?.into_iter().nth(at).ok_or_else(|| Failure::wrong("a value is missing"))
    }

    pub(crate) fn find(&self, query: &Query, max_bytes: usize) -> Result<Page> {
        self.backend.find(&cx(), query, max_bytes)
    }

    pub(crate) fn count(&self, query: &Query) -> Result<u64> {
        self.backend.count(&cx(), query)
    }

    /// The int keys that a query of any collection finds, page after page.
    pub(crate) fn ids_of(&self, collection: &Collection, query: &Query) -> Checked<Vec<i64>> {
        let rows = all_pages(&*self.backend, query, usize::MAX)?;
        rows.iter().map(|row| int_key(collection, row)).collect()
    }

    /// The keys of things that a query finds.
    pub(crate) fn ids(&self, query: &Query) -> Checked<Vec<i64>> {
        self.ids_of(&self.thing, query)
    }

    /// The keys of all things.
    pub(crate) fn every_id(&self) -> Checked<Vec<i64>> {
        self.ids(&Query::all(self.things))
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        let _ = self.close();
    }
}

/// A store of one case: an instance and a handle on it.
pub(crate) struct Store {
    // Declared first, so that it is closed before its store goes.
    handle: Handle,
    pub(crate) instance: Box<dyn Instance>,
}

impl std::ops::Deref for Store {
    type Target = Handle;

    fn deref(&self) -> &Handle {
        &self.handle
    }
}

impl Store {
    /// An empty store, opened and prepared.
    pub(crate) fn fresh(subject: &dyn Subject) -> Checked<Self> {
        let instance = subject.fresh()?;
        let handle = Handle::over(instance.open()?)?;
        Ok(Self { handle, instance })
    }

    /// Closes the handle and opens another.
    pub(crate) fn reopen(self) -> Checked<Self> {
        self.close()?;
        let Self { instance, handle } = self;
        drop(handle);
        let handle = Handle::over(instance.open()?)?;
        Ok(Self { handle, instance })
    }

    /// Closes the handle and leaves the store unopened.
    pub(crate) fn shut(self) -> Checked<Box<dyn Instance>> {
        self.close()?;
        Ok(self.instance)
    }

    /// Opens an instance that was shut.
    pub(crate) fn open(instance: Box<dyn Instance>) -> Checked<Self> {
        let handle = Handle::over(instance.open()?)?;
        Ok(Self { handle, instance })
    }

    /// Every further handle that the subject can give, prepared: one in this process, one in another.
    pub(crate) fn others(&self) -> Checked<Vec<(&'static str, Handle)>> {
        let mut others = Vec::new();
        if let Some(backend) = self.instance.beside()? {
            others.push(("a second handle", Handle::over(backend)?));
        }
        if let Some(backend) = self.instance.peer()? {
            others.push(("another process", Handle::over(backend)?));
        }
        if others.is_empty() {
            return Err(Failure::Skipped("the subject gives neither a second handle nor one in another process".to_owned()));
        }
        Ok(others)
    }
}

/// The rows of a query, page after page, each checked to be no larger than asked for.
pub(crate) fn all_pages(backend: &dyn Backend, query: &Query, max_bytes: usize) -> Checked<Vec<Row>> {
    let mut rows: Vec<Row> = Vec::new();
    let mut query = query.clone();
    loop {
        let page = backend.find(&cx(), &query, max_bytes)?;
        check_page(&query, &page, max_bytes)?;
        rows.extend(page.rows);
        match page.next {
            Some(next) => query = query.after(next),
            None => return Ok(rows),
        }
    }
}

/// What holds for every page, whatever was asked.
pub(crate) fn check_page(query: &Query, page: &Page, max_bytes: usize) -> Checked {
    let found = page.rows.len();
    let bytes = page.rows.iter().fold(0_usize, |sum, row| sum.saturating_add(row.as_bytes().len()));
    ensure(found <= 1 || bytes <= max_bytes, || {
        format!("a page of at most {max_bytes} bytes: found {found} rows of {bytes} bytes together")
    })?;
    ensure(query.limit.is_none_or(|limit| found as u64 <= limit), || {
        format!("a page with the limit {:?}: found {found} rows", query.limit)
    })?;
    ensure(found > 0 || page.next.is_none(), || "a page with a continuation: expected a row in it, found none".to_owned())
}

/// The int key of a row.
pub(crate) fn int_key(collection: &Collection, row: &Row) -> Checked<i64> {
    match row.view(collection)?.key().to_key() {
        Key::Int(id) => Ok(id),
        Key::Text(text) => Err(Failure::wrong(format!("expected an int key, found {text:?}"))),
    }
}
