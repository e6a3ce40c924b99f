//! Work on a store while something happens to its server, and what must be there when it is over.
//!
//! The decision behind it: **every call says which of three things it was**: done, not done, or unknown. Each thread keeps a book of that,
//! and the check holds the store to it: what was done is there once, what was not is not there, what is unknown is there once or
//! not at all, and what was done in one call is there together.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use hivemind_model::{
    Backend, Change, Code, Collection, CollectionId, Context, Error, Key, Mutation, Outcome, Query, Result, Row, Task, Value,
};

use crate::faults::op::notes;

/// What one thread was told.
#[derive(Debug, Default)]
pub struct Book {
    /// Clients that were added: access key and id.
    pub added: BTreeMap<String, i64>,
    /// Access keys of clients of which nobody knows.
    pub maybe_added: BTreeSet<String>,
    /// Access keys of clients that were not added.
    pub not_added: BTreeSet<String>,
    /// The name that each of its clients got last, and those that it may have got since.
    pub names: BTreeMap<String, Vec<String>>,
    /// Increments that were done, and those of which nobody knows.
    pub counted: [u64; 2],
    /// Errors by code.
    pub errors: BTreeMap<String, u64>,
    /// One message of each code.
    pub messages: BTreeMap<String, String>,
    /// The longest call.
    pub longest: Duration,
}

/// The collections of a store that is worked on: clients and notes.
#[derive(Debug, Clone)]
pub struct Collections {
    clients: (Collection, CollectionId),
    notes: (Collection, CollectionId),
}

impl Collections {
    /// Prepares them.
    ///
    /// # Errors
    /// The backend's.
    pub fn prepare(backend: &dyn Backend) -> Result<Self> {
        let (clients, notes) = (hivemind_store::clients::collection(), notes());
        let ids = backend.prepare(&Context::within(Duration::from_secs(60)), &[clients.clone(), notes.clone()])?;
        Ok(Self { clients: (clients, ids[0]), notes: (notes, ids[1]) })
    }

    /// A client under the next id.
    ///
    /// # Panics
    /// Never: the collection has these fields.
    #[must_use]
    pub fn new_client(&self, key: &str) -> Mutation {
        let row = Row::builder(&self.clients.0).set("api_key", key).and_then(|row| row.set("name", key)).expect("fields").build();
        Mutation::InsertNext { collection: self.clients.1, row }
    }

    /// Another name for a client.
    ///
    /// # Panics
    /// Never: the collection has this field.
    #[must_use]
    pub fn rename(&self, id: i64, name: &str) -> Mutation {
        self.set(id, "name", name)
    }

    /// Another text in a field of a client.
    ///
    /// # Panics
    /// If there is no such field.
    #[must_use]
    pub fn set(&self, id: i64, field: &str, text: &str) -> Mutation {
        let field = self.clients.0.position(field).expect("a field");
        let changes = vec![Change::set(field, text)];
        Mutation::Update { collection: self.clients.1, key: Key::Int(id), changes, when: Vec::new() }
    }

    /// A note that is there already counts one more.
    ///
    /// # Panics
    /// Never: the collection has this field.
    #[must_use]
    pub fn count(&self, slug: &str) -> Mutation {
        let changes = vec![Change::Increment { field: self.notes.0.position("n").expect("a field"), by: Value::Int(1) }];
        Mutation::Update { collection: self.notes.1, key: Key::from(slug), changes, when: Vec::new() }
    }

    /// A note with nothing in it.
    ///
    /// # Panics
    /// Never: the collection has this field.
    #[must_use]
    pub fn note(&self, slug: &str) -> Mutation {
        let row = Row::builder(&self.notes.0).set("slug", slug).expect("a field").build();
        Mutation::Put { collection: self.notes.1, row }
    }

    /// The client with this access key, its id and name.
    ///
    /// # Errors
    /// The backend's.
    pub fn look_up(&self, backend: &dyn Backend, cx: &Context<'_>, key: &str) -> Result<Option<(i64, String)>> {
        let field = self.clients.0.require("api_key")?;
        let found = backend.get_by(cx, self.clients.1, field, Value::from(key).as_ref())?;
        found.map(|row| self.id_and_name(&row)).transpose()
    }

    fn id_and_name(&self, row: &Row) -> Result<(i64, String)> {
        let view = row.view(&self.clients.0)?;
        let text = |name: &str| view.get(name).and_then(|v| v.as_str().map(str::to_owned)).unwrap_or_default();
        match view.key().to_key() {
            Key::Int(id) => Ok((id, text("name"))),
            Key::Text(key) => Err(Error::corrupt(format!("a client with the key {key}"))),
        }
    }

    /// The clients by access key, each with its id and name. One access key with two clients is an error.
    ///
    /// # Errors
    /// The backend's.
    pub fn clients(&self, backend: &dyn Backend) -> Result<BTreeMap<String, (i64, String)>> {
        let page = backend.find(&patient(), &Query::all(self.clients.1), usize::MAX)?;
        let mut all = BTreeMap::new();
        for row in &page.rows {
            let view = row.view(&self.clients.0)?;
            let key = view.get("api_key").and_then(|v| v.as_str().map(str::to_owned)).unwrap_or_default();
            if all.insert(key.clone(), self.id_and_name(row)?).is_some() {
                return Err(Error::corrupt(format!("two clients have the access key {key}")));
            }
        }
        Ok(all)
    }

    /// What a note has counted; `None`: it is not there.
    ///
    /// # Errors
    /// The backend's.
    pub fn counted(&self, backend: &dyn Backend, slug: &str) -> Result<Option<u64>> {
        let Some(row) = backend.get(&patient(), self.notes.1, Key::from(slug).as_ref())? else { return Ok(None) };
        let view = row.view(&self.notes.0)?;
        match view.get("n").map(hivemind_model::ValueRef::to_value) {
            Some(Value::Int(count)) => Ok(Some(u64::try_from(count).unwrap_or_default())),
            other => Err(Error::corrupt(format!("note {slug} counts {other:?}"))),
        }
    }
}

fn patient() -> Context<'static> {
    Context::within(Duration::from_secs(60))
}

/// Whether nobody knows what became of a call that failed so.
#[must_use]
pub fn is_unknown(error: &Error) -> bool {
    matches!(error.code(), Code::OutcomeUnknown | Code::Panicked | Code::Unrecognized)
}

/// Makes the notes that threads count on.
///
/// # Errors
/// The backend's.
pub fn begin(backend: &dyn Backend, collections: &Collections, threads: usize) -> Result<()> {
    let notes: Vec<Mutation> = (0..threads).flat_map(|t| slugs(t).map(|slug| collections.note(&slug))).collect();
    backend.apply(&patient(), &notes).map(drop)
}

/// Two notes that a thread always counts on together.
fn slugs(thread: usize) -> [String; 2] {
    [format!("left-{thread}"), format!("right-{thread}")]
}

/// Works with so many threads until told to stop; every call has this long.
///
/// # Panics
/// If a thread does.
pub fn work(
    backend: &dyn Backend,
    collections: &Collections,
    (run, threads): (&str, usize),
    deadline: Duration,
    stop: &AtomicBool,
) -> Vec<Book> {
    std::thread::scope(|scope| {
        let work = |thread| move || Hand { backend, collections, deadline, book: Book::default() }.work(run, thread, stop);
        let working: Vec<_> = (0..threads).map(|thread| scope.spawn(work(thread))).collect();
        working.into_iter().map(|one| one.join().expect("a thread ends")).collect()
    })
}

struct Hand<'w> {
    backend: &'w dyn Backend,
    collections: &'w Collections,
    deadline: Duration,
    book: Book,
}

impl Hand<'_> {
    fn work(mut self, run: &str, thread: usize, stop: &AtomicBool) -> Book {
        let (mut number, [left, right]) = (0, slugs(thread));
        while !stop.load(Ordering::Relaxed) {
            number += 1;
            match number % 4 {
                0 | 1 => self.add(&format!("{run}-{thread}-{number}")),
                2 => self.rename(&format!("{run}-{thread} the {number}th")),
                _ => match self.apply(&[self.collections.count(&left), self.collections.count(&right)]) {
                    Ok(_) => self.book.counted[0] += 1,
                    Err(error) if is_unknown(&error) => self.book.counted[1] += 1,
                    Err(_) => {}
                },
            }
        }
        self.book
    }

    fn add(&mut self, key: &str) {
        match self.apply(&[self.collections.new_client(key)]) {
            Ok(outcomes) => {
                if let [Outcome::Inserted(Key::Int(id))] = outcomes[..] {
                    self.book.added.insert(key.to_owned(), id);
                    self.book.names.insert(key.to_owned(), vec![key.to_owned()]);
                }
            }
            Err(error) if is_unknown(&error) => drop(self.book.maybe_added.insert(key.to_owned())),
            Err(_) => drop(self.book.not_added.insert(key.to_owned())),
        }
    }

    fn rename(&mut self, name: &str) {
        let Some((key, id)) = self.book.added.iter().next_back().map(|(key, id)| (key.clone(), *id)) else { return };
        let done = self.apply(&[self.collections.rename(id, name)]);
        let names = self.book.names.entry(key).or_default();
        match done {
            Ok(_) => *names = vec![name.to_owned()],
            Err(error) if is_unknown(&error) => names.push(name.to_owned()),
            Err(_) => {}
        }
    }

    fn apply(&mut self, mutations: &[Mutation]) -> Result<Vec<Outcome>> {
        let start = Instant::now();
        let done = self.backend.apply(&Context::within(self.deadline), mutations);
        self.book.longest = self.book.longest.max(start.elapsed());
        done.map(|applied| applied.outcomes).inspect_err(|error| {
            *self.book.errors.entry(error.code().to_string()).or_default() += 1;
            self.book.messages.insert(error.code().to_string(), error.to_string());
        })
    }
}

/// What is not as the books say, each in a line. `kept`: whether what was done must be there; a failover may lose the last of it.
///
/// # Errors
/// The backend's.
pub fn problems(backend: &dyn Backend, collections: &Collections, books: &[Book], kept: bool) -> Result<Vec<String>> {
    let mut problems = Vec::new();
    let clients = collections.clients(backend)?;
    let ids: BTreeSet<i64> = clients.values().map(|(id, _)| *id).collect();
    if ids.len() != clients.len() || ids.iter().zip(1..).any(|(id, expected)| *id != expected) {
        problems.push(format!("the ids are not 1 to {}: {ids:?}", clients.len()));
    }
    let mut accounted = BTreeSet::new();
    for (thread, book) in books.iter().enumerate() {
        for (key, id) in &book.added {
            accounted.insert(key);
            let found = clients.get(key);
            if found.is_none_or(|(found, _)| found != id) && (kept || found.is_some()) {
                problems.push(format!("{key} was added as {id}, found {found:?}"));
            }
            if let (Some((_, name)), true) = (found, kept)
                && !book.names.get(key).is_some_and(|names| names.contains(name))
            {
                problems.push(format!("{key} was named {:?}, found {name:?}", book.names.get(key)));
            }
            if kept && collections.look_up(backend, &patient(), key)?.map(|(id, _)| id) != Some(*id) {
                problems.push(format!("{key} is not found by its access key"));
            }
        }
        accounted.extend(&book.maybe_added);
        problems.extend(
            book.not_added
                .iter()
                .filter(|key| clients.contains_key(*key))
                .map(|key| format!("{key} was not added, and is there")),
        );
        let [left, right] = slugs(thread);
        let counts = [collections.counted(backend, &left)?, collections.counted(backend, &right)?];
        let [done, unknown] = book.counted;
        let fits = counts[0].is_some_and(|n| (!kept || n >= done) && n <= done + unknown);
        if counts[0] != counts[1] || !fits {
            problems.push(format!("thread {thread} counted {done} times and maybe {unknown} more, found {counts:?}"));
        }
    }
    problems.extend(clients.keys().filter(|key| !accounted.contains(key)).map(|key| format!("nobody was told of {key}")));
    let report = backend.maintain(&patient(), &Task::Verify)?;
    problems.extend(report.problems.into_iter().map(|p| format!("verify: {} {:?}: {}", p.collection, p.key, p.message)));
    Ok(problems)
}
