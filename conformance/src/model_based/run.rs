//! One sequence, on the subject and on the reference model.

use std::sync::Arc;

use hivemind_model::reference::Reference;
use hivemind_model::{
    Applied, Capability, Changes, CollectionId, Error, Key, KeyRef, Mutation, Outcome, Query, Result, Row, Token, Value, engine,
    row,
};

use super::steps::{Act, Ask, Expected, Step, Which};
use crate::case::{Checked, Failure};
use crate::cases::changes::{now, patience, reports};
use crate::check::{equal, same_lookup, same_row};
use crate::fixture::{Handle, Store, all_pages, check_page, cx, field};
use crate::subject::Subject;
use crate::threads::{eventually, patiently};

/// The rows of both collections.
type Contents = [Vec<Row>; 2];

pub(super) struct Run {
    store: Store,
    reference: Handle,
}

impl Run {
    pub(super) fn fresh(subject: &dyn Subject) -> Checked<Self> {
        let store = Store::fresh(subject)?;
        let reference = reference(&store)?;
        Ok(Self { store, reference })
    }

    /// With a store that has served before: it is emptied.
    pub(super) fn again(store: Store) -> Checked<Self> {
        for collection in [store.things, store.notes] {
            let all = Mutation::DeleteWhere { query: Query::all(collection) };
            patiently(|| store.apply(std::slice::from_ref(&all)))?;
        }
        let reference = reference(&store)?;
        Ok(Self { store, reference })
    }

    /// Takes every step and gives the store back.
    pub(super) fn all(mut self, steps: &[Step]) -> Checked<Store> {
        for (i, step) in steps.iter().enumerate() {
            self = self.step(step).map_err(|failure| failure.context(format!("step {}", i + 1)))?;
        }
        Ok(self.store)
    }

    fn step(mut self, step: &Step) -> Checked<Self> {
        match step {
            Step::Apply(acts) if self.store.has(Capability::AtomicBatch) => self.batch(acts)?,
            Step::Apply(acts) => acts.chunks(1).try_for_each(|act| self.batch(act))?,
            Step::Get(which, key) => self.get(*which, key)?,
            Step::GetMany(which, keys) => self.get_many(*which, keys)?,
            Step::GetBy(value) => self.get_by(value)?,
            Step::Find(ask, bytes) => self.find(ask, *bytes)?,
            Step::Count(ask) => {
                // Order does not matter here, so that a wrong one may be refused or not.
                let ask = Ask { order: Vec::new(), ..ask.clone() };
                let counts = [&self.reference, &*self.store].map(|handle| handle.count(&query(handle, &ask)));
                agree("count", counts, |expected, found| equal("count", &expected, &found))?;
            }
            Step::Reopen if self.store.has(Capability::Durable) => {
                self.store = self.store.reopen()?;
                self.same_contents()?;
            }
            Step::Reopen => {}
        }
        Ok(self)
    }

    fn get(&self, which: Which, key: &Key) -> Checked {
        let answers = [&self.reference, &*self.store].map(|h| h.backend.get(&cx(), id(h, which), key.as_ref()));
        let collection = collection(&self.reference, which);
        agree("get", answers, |expected, found| same_lookup("get", collection, expected.as_ref(), found.as_ref()))
    }

    fn get_many(&self, which: Which, keys: &[Key]) -> Checked {
        let answers = [&self.reference, &*self.store].map(|h| h.backend.get_many(&cx(), id(h, which), keys));
        let collection = collection(&self.reference, which);
        agree("get_many", answers, |expected, found| {
            equal("how many answers of get_many", &expected.len(), &found.len())?;
            expected.into_iter().zip(found).try_for_each(|(expected, found)| {
                let same = |expected: Option<Row>, found: Option<Row>| {
                    same_lookup("an answer of get_many", collection, expected.as_ref(), found.as_ref())
                };
                agree("an answer of get_many", [expected, found], same)
            })
        })
    }

    fn get_by(&self, value: &Value) -> Checked {
        // Of an excepted value several records may be found; and without uniqueness there is no such call.
        if *value == Value::from(crate::fixture::EXCEPTED) || !self.store.has(Capability::Unique) {
            return Ok(());
        }
        let answers = [&self.reference, &*self.store].map(|h| h.backend.get_by(&cx(), h.things, field::CODE, value.as_ref()));
        let collection = &self.reference.thing;
        agree("get_by", answers, |expected, found| same_lookup("get_by", collection, expected.as_ref(), found.as_ref()))
    }

    fn find(&self, ask: &Ask, bytes: usize) -> Checked {
        let collection = collection(&self.reference, ask.which);
        let pages = [&self.reference, &*self.store].map(|handle| handle.find(&query(handle, ask), usize::MAX));
        let readable = pages[0].is_ok();
        agree("find", pages, |expected, found| {
            check_page(&query(&self.store, ask), &found, usize::MAX)?;
            same_rows("the rows of find", collection, &expected.rows, &found.rows)?;
            equal("whether there is more", &expected.next.is_some(), &found.next.is_some())
        })?;
        if readable {
            // The same, page by page to the end.
            let query = |handle: &Handle| Query { limit: ask.limit.filter(|limit| *limit > 0), ..query(handle, ask) };
            let expected = all_pages(&*self.reference.backend, &query(&self.reference), usize::MAX)?;
            let found = all_pages(&*self.store.backend, &query(&self.store), bytes)?;
            same_rows("the rows of all pages", collection, &expected, &found)?;
        }
        Ok(())
    }

    fn batch(&mut self, acts: &[Act]) -> Checked {
        let before = contents(&self.reference)?;
        let tokens = [now(&self.store, self.store.things)?, now(&self.store, self.store.notes)?];
        let mutations = |handle: &Handle| acts.iter().map(|act| self.mutation(handle, act)).collect::<Checked<Vec<_>>>();
        let (ours, theirs) = (mutations(&self.reference)?, mutations(&self.store)?);
        let found = patiently(|| self.store.apply(&theirs));
        let expected = self.expected(&before, &ours, &found)?;
        match (expected, found) {
            (Err(expected), Err(found)) => {
                equal("the error's code", &expected.code(), &found.code())
                    .map_err(|e| e.context(format!("expected {expected}, found {found}")))?;
                equal("the mutation that the error names", &expected.detail().mutation, &found.detail().mutation)?;
            }
            (Ok(expected), Ok(found)) => self.outcomes(acts, &ours, &expected, &found)?,
            (Ok(expected), Err(found)) => {
                return Err(Failure::wrong(format!("apply: expected {:?}, found {found}", expected.outcomes)));
            }
            (Err(expected), Ok(found)) => {
                return Err(Failure::wrong(format!("apply: expected {expected}, found {:?}", found.outcomes)));
            }
        }
        self.same_contents()?;
        self.told(&before, tokens)
    }

    /// What a batch must come to. A store that remembers ids whose records are gone assigns greater ones than the reference, and the
    /// rest of the batch is judged with those.
    fn expected(&mut self, before: &Contents, ours: &[Mutation], found: &Result<Applied>) -> Checked<Result<Applied>> {
        /// How far behind the reference's first id a failed batch's is looked for.
        const REMEMBERED: i64 = 64;
        let expected = self.reference.apply(ours);
        if !ours.iter().any(|mutation| matches!(mutation, Mutation::InsertNext { .. })) {
            return Ok(expected);
        }
        let assigned = match (found, &expected) {
            (Ok(found), Ok(expected)) if found.outcomes == expected.outcomes => return Ok(Ok(expected.clone())),
            (Err(found), Err(expected)) if told_alike(expected, found) => return Ok(Err(expected.clone())),
            (Ok(found), _) => {
                let keys = found.outcomes.iter().zip(ours).filter_map(|(outcome, mutation)| match (outcome, mutation) {
                    (Outcome::Inserted(Key::Int(key)), Mutation::InsertNext { .. }) => Some(*key),
                    _ => None,
                });
                vec![keys.collect()]
            }
            (Err(_), _) => (1..=REMEMBERED).map(|further| self.assigned(before, ours, further)).collect::<Checked<Vec<_>>>()?,
        };
        let least = self.assigned(before, ours, 0)?;
        for keys in assigned {
            if keys.len() != least.len() || keys.iter().zip(&least).any(|(key, least)| key < least) {
                break;
            }
            let mut keys = keys.into_iter();
            let adopted = ours.iter().map(|mutation| match (mutation, mutation_key(mutation, &mut keys)) {
                (Mutation::InsertNext { collection, row }, Some(key)) => {
                    Ok(Mutation::Insert { collection: *collection, row: engine::with_key(&self.reference.thing, row, &key)? })
                }
                _ => Ok(mutation.clone()),
            });
            let adopted = adopted.collect::<Checked<Vec<_>>>()?;
            self.restore(before)?;
            let expected = self.reference.apply(&adopted);
            match (&expected, found) {
                (Err(expected), Err(found)) if !told_alike(expected, found) => {}
                (Ok(_), Err(_)) => {}
                _ => return Ok(expected),
            }
        }
        self.restore(before)?;
        Ok(self.reference.apply(ours))
    }

    /// The ids that the batch's records without one get if the store remembers so many further ones.
    fn assigned(&self, before: &Contents, ours: &[Mutation], further: i64) -> Checked<Vec<i64>> {
        let thing = &self.reference.thing;
        let id = |row: &Row| Ok::<_, Failure>(if let KeyRef::Int(key) = row.view(thing)?.key() { key } else { 0 });
        let stored = before[0].iter().map(id).collect::<Checked<Vec<_>>>()?;
        let mut greatest = stored.into_iter().fold(0, i64::max).saturating_add(further);
        let mut assigned = Vec::new();
        for mutation in ours.iter().filter(|mutation| mutation.collection() == self.reference.things) {
            match mutation {
                Mutation::InsertNext { .. } => {
                    greatest = greatest.saturating_add(1);
                    assigned.push(greatest);
                }
                Mutation::Insert { row, .. } | Mutation::Put { row, .. } => greatest = greatest.max(id(row).unwrap_or(0)),
                _ => {}
            }
        }
        Ok(assigned)
    }

    /// Puts the reference back to what it held.
    fn restore(&mut self, before: &Contents) -> Checked {
        self.reference = reference(&self.store)?;
        for (collection, rows) in [self.reference.things, self.reference.notes].into_iter().zip(before) {
            let rows = rows.iter().map(|row| Mutation::Put { collection, row: row.clone() });
            self.reference.apply(&rows.collect::<Vec<_>>())?;
        }
        Ok(())
    }

    fn outcomes(&self, acts: &[Act], ours: &[Mutation], expected: &Applied, found: &Applied) -> Checked {
        let (expected, found) = (&expected.outcomes, &found.outcomes);
        equal("how many outcomes", &expected.len(), &found.len())?;
        for (i, (expected, found)) in expected.iter().zip(found).enumerate() {
            match (expected, found, ours.get(i)) {
                (Outcome::Updated(expected), Outcome::Updated(found), Some(mutation)) => {
                    let things = mutation.collection() == self.reference.things;
                    let collection = if things { &self.reference.thing } else { &self.reference.note };
                    same_row("the row of an update", collection, expected, found)?;
                }
                _ => equal(&format!("the outcome of {:?}", acts.get(i)), expected, found)?,
            }
        }
        Ok(())
    }

    fn same_contents(&self) -> Checked {
        let [things, notes] = contents(&self.reference)?;
        let [their_things, their_notes] = contents(&self.store)?;
        same_rows("the things that are stored", &self.reference.thing, &things, &their_things)?;
        same_rows("the notes that are stored", &self.reference.note, &notes, &their_notes)
    }

    /// Every record that the last batch changed must be told of.
    fn told(&self, before: &Contents, tokens: [Token; 2]) -> Checked {
        if !self.store.has(Capability::ChangeTracking) {
            return Ok(());
        }
        let after = contents(&self.reference)?;
        for (which, token) in [Which::Things, Which::Notes].into_iter().zip(tokens) {
            let [before, after] = [before, &after].map(|contents| match which {
                Which::Things => &contents[0],
                Which::Notes => &contents[1],
            });
            let collection = collection(&self.reference, which);
            let changed =
                before.iter().filter(|row| !after.contains(row)).chain(after.iter().filter(|row| !before.contains(row)));
            for row in changed {
                let key = row.view(collection)?.key().to_key();
                let mut last = Changes::Nothing;
                let told = eventually(patience(&self.store), || {
                    last = self.store.backend.changes_since(&cx(), id(&self.store, which), token)?.1;
                    Ok(reports(&last, &key))
                })?;
                if !told {
                    return Err(Failure::wrong(format!("changes_since: expected a change of {key}, found {last:?}")));
                }
            }
        }
        Ok(())
    }

    fn mutation(&self, handle: &Handle, act: &Act) -> Checked<Mutation> {
        let encode = |values: &[Value]| row::encode(values.iter().map(Value::as_ref));
        Ok(match act {
            Act::Insert(which, values) => Mutation::Insert { collection: id(handle, *which), row: encode(values) },
            Act::InsertNext(values) => Mutation::InsertNext { collection: handle.things, row: encode(values) },
            Act::Put(which, values) => Mutation::Put { collection: id(handle, *which), row: encode(values) },
            Act::Update { which, key, changes, when } => Mutation::Update {
                collection: id(handle, *which),
                key: key.clone(),
                changes: changes.clone(),
                when: when.clone(),
            },
            Act::Delete { which, key, when } => {
                Mutation::Delete { collection: id(handle, *which), key: key.clone(), when: when.clone() }
            }
            Act::DeleteWhere(ask) => Mutation::DeleteWhere { query: query(handle, ask) },
            Act::Expect { which, key, expected } => {
                let row = match expected {
                    Expected::AsItIs => self.reference.backend.get(&cx(), id(&self.reference, *which), key.as_ref())?,
                    Expected::Absent => None,
                    Expected::Values(values) => Some(encode(values)),
                };
                Mutation::Expect { collection: id(handle, *which), key: key.clone(), row }
            }
        })
    }
}

/// A reference model with the collections of the subject.
fn reference(store: &Handle) -> Checked<Handle> {
    Handle::with(Arc::new(Reference::new()), store.backend.capabilities())
}

fn id(handle: &Handle, which: Which) -> CollectionId {
    match which {
        Which::Things => handle.things,
        Which::Notes => handle.notes,
    }
}

fn collection(handle: &Handle, which: Which) -> &hivemind_model::Collection {
    match which {
        Which::Things => &handle.thing,
        Which::Notes => &handle.note,
    }
}

fn query(handle: &Handle, ask: &Ask) -> Query {
    let query = ask.order.iter().fold(Query::all(id(handle, ask.which)), |q, (at, descending)| q.order_by(*at, *descending));
    Query { all: ask.all.clone(), limit: ask.limit, offset: ask.offset, ..query }
}

fn contents(handle: &Handle) -> Checked<Contents> {
    let all = |collection: CollectionId| all_pages(&*handle.backend, &Query::all(collection), usize::MAX);
    Ok([all(handle.things)?, all(handle.notes)?])
}

fn same_rows(what: &str, collection: &hivemind_model::Collection, expected: &[Row], found: &[Row]) -> Checked {
    let keys = |rows: &[Row]| rows.iter().map(|row| Ok(row.view(collection)?.key().to_key())).collect::<Checked<Vec<Key>>>();
    equal(&format!("{what}, by their keys"), &keys(expected)?, &keys(found)?)?;
    expected.iter().zip(found).try_for_each(|(expected, found)| same_row(what, collection, expected, found))
}

/// Both succeed and `same` finds their answers equal, or both fail with one code.
fn agree<T>(what: &str, [expected, found]: [Result<T>; 2], same: impl FnOnce(T, T) -> Checked) -> Checked {
    match (expected, found) {
        (Ok(expected), Ok(found)) => same(expected, found),
        (Err(expected), Err(found)) => equal(&format!("{what}: the error's code"), &expected.code(), &found.code()),
        (Ok(_), Err(found)) => Err(Failure::wrong(format!("{what}: expected an answer, found {found}"))),
        (Err(expected), Ok(_)) => Err(Failure::wrong(format!("{what}: expected {expected}, found an answer"))),
    }
}

/// Whether two failures are one to a caller.
fn told_alike(expected: &Error, found: &Error) -> bool {
    expected.code() == found.code() && expected.detail().mutation == found.detail().mutation
}

/// The key that is assigned to this mutation's record, if it is one that gets one.
fn mutation_key(mutation: &Mutation, keys: &mut impl Iterator<Item = i64>) -> Option<Key> {
    matches!(mutation, Mutation::InsertNext { .. }).then(|| keys.next().map(Key::Int)).flatten()
}
