//! Interactive transactions over a backend that knows only conditional batches.
//!
//! A transaction remembers every record it read and buffers what it writes. Committing is one `apply`: first that every record read is
//! still what it was, then the writes. If one is not, nothing was applied, and the whole closure runs again on what is stored then.
//! So no backend holds a transaction open, and the same closure means the same on a file, a server and a browser's database.
//!
//! What a transaction saw is isolated record by record: that a lookup by value found *nothing* is not remembered, as no record
//! stands for it. Uniqueness is enforced all the same, when the batch inserts that value.

use std::collections::BTreeMap;

use hivemind_model::eval::same;
use hivemind_model::{
    Backend, Change, Code, Collection, CollectionId, Condition, Context, Error, Key, KeyRef, Mutation, Outcome, Row, ValueRef,
    change, engine,
};

use crate::Storage;

type Place = (CollectionId, Key);

/// What a transaction's closure works with.
pub struct Transaction<'t> {
    storage: &'t Storage,
    cx: Context<'t>,
    read: BTreeMap<Place, Option<Row>>,
    written: BTreeMap<Place, Option<Row>>,
    mutations: Vec<Mutation>,
}

/// A committed transaction.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Committed<T> {
    /// What the closure returned.
    pub value: T,
    /// One outcome for each of its writes, in their order.
    pub outcomes: Vec<Outcome>,
}

impl Storage {
    /// Runs `work` in a transaction and commits what it wrote, again and again until nobody changed what it had read.
    ///
    /// The closure runs where blocking calls run, maybe several times, so it should do nothing but read and write through the
    /// transaction. If it returns an error, nothing is written.
    ///
    /// # Errors
    /// The closure's; the backend's; `conflict` if the records read were changed by others at every attempt.
    pub async fn transaction<T, E>(
        &self,
        mut work: impl FnMut(&mut Transaction<'_>) -> Result<T, E> + Send + 'static,
    ) -> Result<Committed<T>, E>
    where
        T: Send + 'static,
        E: From<Error> + Send + 'static,
    {
        let this = self.clone();
        self.run(move |_, cx| Ok(this.attempt(cx, &mut work))).await.unwrap_or_else(|e| Err(e.into()))
    }

    fn attempt<T, E: From<Error>>(
        &self,
        cx: &Context<'_>,
        work: &mut impl FnMut(&mut Transaction<'_>) -> Result<T, E>,
    ) -> Result<Committed<T>, E> {
        let attempts = self.options().attempts.max(1);
        for _ in 0..attempts {
            cx.check()?;
            let mut tx = Transaction::new(self, cx.clone());
            let value = work(&mut tx)?;
            match tx.commit()? {
                Some(outcomes) => return Ok(Committed { value, outcomes }),
                None => std::thread::yield_now(),
            }
        }
        let message = format!("others changed the records read at each of {attempts} attempts; nothing was written");
        Err(Error::conflict(message).into())
    }
}

impl<'t> Transaction<'t> {
    fn new(storage: &'t Storage, cx: Context<'t>) -> Self {
        Self { storage, cx, read: BTreeMap::new(), written: BTreeMap::new(), mutations: Vec::new() }
    }

    fn collection(&self, id: CollectionId) -> Result<std::sync::Arc<Collection>, Error> {
        let unknown = || Error::invalid(format!("no collection was prepared under the id {}", id.0));
        self.storage.collection(id).ok_or_else(unknown)
    }

    fn backend(&self) -> &'t dyn Backend {
        self.storage.backend()
    }

    /// The record with this key as this transaction sees it: as it wrote it, else as it was when first read.
    ///
    /// # Errors
    /// The backend's.
    pub fn get(&mut self, collection: CollectionId, key: KeyRef<'_>) -> Result<Option<Row>, Error> {
        let place = (collection, key.to_key());
        if let Some(row) = self.written.get(&place).or_else(|| self.read.get(&place)) {
            return Ok(row.clone());
        }
        let row = self.backend().get(&self.cx, collection, key)?;
        self.read.insert(place, row.clone());
        Ok(row)
    }

    /// The record with this value in a unique field, as this transaction sees it.
    ///
    /// # Errors
    /// The backend's.
    pub fn get_by(&mut self, collection: CollectionId, field: usize, value: ValueRef<'_>) -> Result<Option<Row>, Error> {
        let description = self.collection(collection)?;
        for ((id, _), row) in &self.written {
            if let Some(row) = row
                && *id == collection
                && same(row.view(&description)?.at(field), value)
            {
                return Ok(Some(row.clone()));
            }
        }
        let Some(row) = self.backend().get_by(&self.cx, collection, field, value)? else { return Ok(None) };
        let key = row.view(&description)?.key().to_key();
        let place = (collection, key);
        if self.written.contains_key(&place) {
            // It had the value, and this transaction took it away.
            return Ok(None);
        }
        Ok(Some(self.read.entry(place).or_insert(Some(row.clone())).clone().unwrap_or(row)))
    }

    /// Adds a record; its key must be free at commit.
    ///
    /// # Errors
    /// `invalid` if the row does not fit the collection.
    pub fn insert(&mut self, collection: CollectionId, row: Row) -> Result<(), Error> {
        let key = self.key_of(collection, &row)?;
        self.written.insert((collection, key), Some(row.clone()));
        self.mutations.push(Mutation::Insert { collection, row });
        Ok(())
    }

    /// Adds a record under a key that the backend assigns at commit; it is in [`Committed::outcomes`], and this transaction does not
    /// see the record.
    pub fn insert_next(&mut self, collection: CollectionId, row: Row) {
        self.mutations.push(Mutation::InsertNext { collection, row });
    }

    /// Adds or replaces a record.
    ///
    /// # Errors
    /// `invalid` if the row does not fit the collection.
    pub fn put(&mut self, collection: CollectionId, row: Row) -> Result<(), Error> {
        let key = self.key_of(collection, &row)?;
        self.written.insert((collection, key), Some(row.clone()));
        self.mutations.push(Mutation::Put { collection, row });
        Ok(())
    }

    /// Changes parts of a record and returns it as this transaction sees it then.
    ///
    /// # Errors
    /// `not found` if there is none, `conflict` if a condition does not hold, `invalid` if a change does not fit.
    pub fn update(
        &mut self,
        collection: CollectionId,
        key: KeyRef<'_>,
        changes: Vec<Change>,
        when: Vec<Condition>,
    ) -> Result<Row, Error> {
        let description = self.collection(collection)?;
        let Some(old) = self.get(collection, key)? else {
            return Err(Error::not_found(format!("there is no {} {key}", description.name)).key(key.to_key()));
        };
        let view = old.view(&description)?;
        engine::check_when(&description, &view, &when)?;
        let new = change::apply(&view, &changes)?;
        self.written.insert((collection, key.to_key()), Some(new.clone()));
        self.mutations.push(Mutation::Update { collection, key: key.to_key(), changes, when });
        Ok(new)
    }

    /// Removes a record, if it is there.
    pub fn delete(&mut self, collection: CollectionId, key: KeyRef<'_>) {
        self.written.insert((collection, key.to_key()), None);
        self.mutations.push(Mutation::Delete { collection, key: key.to_key(), when: Vec::new() });
    }

    fn key_of(&self, collection: CollectionId, row: &Row) -> Result<Key, Error> {
        let description = self.collection(collection)?;
        let view = row.view(&description)?;
        view.validate()?;
        Ok(view.key().to_key())
    }

    /// `None` if a record read is not what it was.
    fn commit(self) -> Result<Option<Vec<Outcome>>, Error> {
        if self.mutations.is_empty() && self.read.len() <= 1 {
            // One record, read once, is a snapshot by itself.
            return Ok(Some(Vec::new()));
        }
        let expectations = self.read.len();
        let expected = self.read.into_iter().map(|((collection, key), row)| Mutation::Expect { collection, key, row });
        let batch: Vec<Mutation> = expected.chain(self.mutations).collect();
        match self.storage.apply_in_place(&self.cx, &batch) {
            Ok(applied) => Ok(Some(applied.outcomes.into_iter().skip(expectations).collect())),
            Err(error) if error.code() == Code::Conflict && is_expectation(&error, expectations) => Ok(None),
            Err(error) => {
                // Positions are those of the caller's own writes.
                let mut detail = error.detail().clone();
                detail.mutation = detail.mutation.map(|at| at.saturating_sub(u32::try_from(expectations).unwrap_or(u32::MAX)));
                Err(error.with_detail(detail))
            }
        }
    }
}

fn is_expectation(error: &Error, expectations: usize) -> bool {
    error.detail().mutation.is_none_or(|at| (at as usize) < expectations)
}
