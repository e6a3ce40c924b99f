//! A batch, computed here: what it reads, what it makes of that, and the plan that comes of it.
//!
//! Everything that is read is remembered as it stood in Redis. The plan compares all of it, so a batch that is carried out has seen one
//! state of the store, the one it was carried out on, whoever else writes: other handles, the Python node, an operator by hand. What a
//! batch surely needs is read in one trip before its first mutation.

mod changed;
mod planned;

use std::collections::{BTreeMap, BTreeSet};

use foldhash::{HashMap, HashMapExt, HashSet, HashSetExt};
use hivemind_abi::model::engine::Transaction;
use hivemind_abi::model::{Catalog, Change, CollectionId, Context, Error, Key, Mutation, Query, Result, Row, ValueRef};

use crate::find;
use crate::keys::{parse_member, shown};
use crate::link::Link;
use crate::read::{self, Asked, Members};
use crate::record::{Raw, Stored, corrupt};
use crate::space::{Space, Spaces};

pub(crate) use self::changed::{Record, follow};
use self::changed::{is_taken, unique_sets};

/// Sets that are asked for in any case: with so few a trip takes no longer.
const FEW: usize = 8;

/// What a batch works on.
pub(crate) struct Batch<'b> {
    cx: &'b Context<'b>,
    link: &'b Link,
    spaces: &'b Spaces,
    /// The key that changed under the batch when it was last computed: it is looked at more closely.
    suspect: Option<&'b [u8]>,
    /// Strings and sets as they were read, by their keys in Redis.
    strings: HashMap<Vec<u8>, Raw>,
    sets: HashMap<Vec<u8>, Members>,
    records: HashMap<(CollectionId, Key), Entry>,
    /// The records of this batch that have a unique value, by the key of its set.
    taken: HashMap<Vec<u8>, Vec<Key>>,
    /// In the order in which they were first written.
    written: Vec<(CollectionId, Key)>,
    /// The greatest ids that the batch has met or made.
    greatest: BTreeMap<CollectionId, i64>,
    /// The first id that was assigned in a collection: no counter may have reached it meanwhile.
    assigned: BTreeMap<CollectionId, i64>,
    /// The collections that were read as a whole.
    scanned: BTreeSet<CollectionId>,
    /// Sets of unique values were taken for empty, which nobody has seen yet.
    has_assumed: bool,
    creating: Option<Key>,
}

/// A record of a batch.
struct Entry {
    /// If not, it was taken for absent.
    was_read: bool,
    stored: Stored,
    /// What the batch has made of it.
    now: Option<Option<Row>>,
}

impl Entry {
    fn row(&self) -> Option<&Row> {
        match (&self.now, &self.stored) {
            (Some(now), _) => now.as_ref(),
            (None, Stored::Row(row)) => Some(row),
            _ => None,
        }
    }
}

impl<'b> Batch<'b> {
    pub(crate) fn new(cx: &'b Context<'b>, link: &'b Link, spaces: &'b Spaces, suspect: Option<&'b [u8]>) -> Self {
        Self {
            cx,
            link,
            spaces,
            suspect,
            strings: HashMap::new(),
            sets: HashMap::new(),
            records: HashMap::new(),
            taken: HashMap::new(),
            written: Vec::new(),
            greatest: BTreeMap::new(),
            assigned: BTreeMap::new(),
            scanned: BTreeSet::new(),
            has_assumed: false,
            creating: None,
        }
    }

    /// The record that another node is just making, if that is why the batch failed.
    pub(crate) fn waits_for(&self) -> Option<&Key> {
        self.creating.as_ref()
    }

    /// The records that were written or removed.
    pub(crate) fn touched(&self) -> &[(CollectionId, Key)] {
        &self.written
    }

    /// Whether what was read could be of several moments.
    pub(crate) fn read_several(&self) -> bool {
        self.strings.len() + self.sets.len() > 1 || !self.scanned.is_empty() || self.has_assumed
    }

    /// Reads what the mutations surely need, in one go. A first attempt at many new records takes their unique values for free, as they
    /// mostly are; like everything that was read, the plan compares it.
    ///
    /// # Errors
    /// The link's.
    pub(crate) fn prefetch(&mut self, catalog: &Catalog, mutations: &[Mutation]) -> Result<()> {
        let (mut strings, mut sets) = (HashSet::new(), HashSet::new());
        let mut free = HashSet::new();
        for mutation in mutations {
            let Ok(space) = self.spaces.get(mutation.collection()) else { continue };
            let Ok(collection) = catalog.get(mutation.collection()) else { continue };
            match mutation {
                Mutation::Insert { row, .. } | Mutation::Put { row, .. } => {
                    let Some(key) = row.at(collection, collection.key).ok().and_then(|key| key.as_key()) else { continue };
                    strings.insert(space.keys.record(&key.to_key()));
                    free.extend(unique_sets(space, row));
                }
                Mutation::InsertNext { row, .. } => {
                    strings.extend(space.keys.count.iter().chain(&space.keys.id_seq).cloned());
                    free.extend(unique_sets(space, row));
                }
                Mutation::Update { key, changes, .. } => {
                    strings.insert(space.keys.record(key));
                    for change in changes {
                        if let Change::Set { field, value } = change
                            && is_taken(collection, *field, value.as_ref())
                        {
                            sets.extend(space.keys.set(*field, value.as_ref()));
                        }
                    }
                }
                Mutation::Delete { key, .. } | Mutation::Expect { key, .. } => {
                    strings.insert(space.keys.record(key));
                }
                // What it reads is what it finds.
                _ => {}
            }
        }
        if free.len() > FEW && self.suspect.is_none() {
            self.has_assumed = true;
            self.sets.extend(free.into_iter().map(|set| (set, Members::Ids(Vec::new()))));
        } else {
            sets.extend(free);
        }
        self.ask(strings.into_iter().collect(), sets.into_iter().collect())
    }

    /// Reads what was not read yet.
    fn ask(&mut self, mut strings: Vec<Vec<u8>>, mut sets: Vec<Vec<u8>>) -> Result<()> {
        strings.retain(|key| !self.strings.contains_key(key));
        sets.retain(|key| !self.sets.contains_key(key));
        if strings.is_empty() && sets.is_empty() {
            return Ok(());
        }
        let Asked { strings: raws, sets: members } = read::ask(self.cx, self.link, &strings, &sets)?;
        self.strings.extend(strings.into_iter().zip(raws));
        self.sets.extend(sets.into_iter().zip(members));
        Ok(())
    }

    fn string(&mut self, key: Vec<u8>) -> Result<&Raw> {
        if !self.strings.contains_key(&key) {
            self.ask(vec![key.clone()], Vec::new())?;
        }
        Ok(&self.strings[&key])
    }

    /// What is known of a record, read if it was not.
    fn entry(&mut self, id: CollectionId, key: &Key) -> Result<&mut Entry> {
        let at = (id, key.clone());
        let entry = match self.records.remove(&at) {
            Some(entry) => entry,
            None => {
                let space = self.spaces.get(id)?;
                let stored = self.string(space.keys.record(key))?.read(&space.form, key);
                if !matches!(stored, Stored::Absent | Stored::Creating) {
                    self.is_in_use(id, key);
                }
                Entry { was_read: true, stored, now: None }
            }
        };
        Ok(self.records.entry(at).or_insert(entry))
    }

    fn is_in_use(&mut self, id: CollectionId, key: &Key) {
        if let Key::Int(key) = key {
            let greatest = self.greatest.entry(id).or_insert(0);
            *greatest = (*greatest).max(*key);
        }
    }

    fn put(&mut self, id: CollectionId, key: &Key, now: Option<Row>) -> Result<()> {
        let space = self.spaces.get(id)?;
        let at = (id, key.clone());
        let assumed = self.assigned.get(&id).is_some_and(|first| matches!(key, Key::Int(key) if key >= first));
        if assumed && !self.strings.contains_key(&space.keys.record(key)) && !self.records.contains_key(&at) {
            // Behind every id that is known of, so there is nothing; the plan makes sure.
            self.records.insert(at.clone(), Entry { was_read: false, stored: Stored::Absent, now: None });
        }
        let entry = self.entry(id, key)?;
        if entry.stored == Stored::Creating {
            self.creating = Some(key.clone());
            return Err(
                Error::busy(format!("{} {key} is just being made by another node", space.collection.name)).key(key.clone())
            );
        }
        let before = entry.row().map(|row| unique_sets(space, row)).unwrap_or_default();
        let after = now.as_ref().map(|row| unique_sets(space, row)).unwrap_or_default();
        let is_first = entry.now.is_none();
        entry.now = Some(now);
        for set in before {
            if let Some(keys) = self.taken.get_mut(&set) {
                keys.retain(|other| other != key);
            }
        }
        for set in after {
            self.taken.entry(set).or_default().push(key.clone());
        }
        if is_first {
            self.written.push(at);
        }
        self.is_in_use(id, key);
        Ok(())
    }

    /// The greatest id that anything says: counters, records of this batch, what was found when somebody looked.
    fn greatest(&mut self, space: &Space) -> Result<i64> {
        let mut greatest = self.greatest.get(&space.id).copied().unwrap_or(0);
        for key in space.keys.count.iter().chain(&space.keys.id_seq) {
            let raw = self.string(key.clone())?;
            greatest = greatest.max(read::counter(key, raw)?);
        }
        if space.keys.id_seq.is_none() {
            // There are no counters.
            return Ok(greatest.max(self.find_greatest(space)?));
        }
        match space.greatest() {
            Some(known) => Ok(greatest.max(known)),
            None => self.look_for_greatest(space, greatest),
        }
    }

    /// Whether the counters can be right, once for a handle: the record at the greatest id is there, and none behind it. Ids that a
    /// Python node was told to use do not move its counters.
    fn look_for_greatest(&mut self, space: &Space, counted: i64) -> Result<i64> {
        let of = |id: i64| space.keys.record(&Key::Int(id));
        let asked = read::ask(self.cx, self.link, &[of(counted), of(counted.saturating_add(1))], &[])?;
        let is_there = |at: usize| asked.strings.get(at).is_some_and(|raw| *raw != Raw::Absent);
        let is_plausible = (counted == 0 || is_there(0)) && !is_there(1);
        if is_plausible {
            space.found_greatest(0);
            return Ok(counted);
        }
        Ok(counted.max(self.find_greatest(space)?))
    }

    /// The greatest id of all records, by looking at every key.
    fn find_greatest(&self, space: &Space) -> Result<i64> {
        let ids = find::keys(self.cx, self.link, space)?;
        let greatest = match ids.last() {
            Some(Key::Int(id)) => (*id).max(0),
            _ => 0,
        };
        space.found_greatest(greatest);
        Ok(greatest)
    }
}

impl Transaction for Batch<'_> {
    fn read(&mut self, id: CollectionId, key: &Key) -> Result<Option<Row>> {
        let collection = &self.spaces.get(id)?.collection;
        let entry = self.entry(id, key)?;
        if let Some(now) = &entry.now {
            return Ok(now.clone());
        }
        match &entry.stored {
            Stored::Row(row) => Ok(Some(row.clone())),
            Stored::Absent | Stored::Creating => Ok(None),
            Stored::Unreadable { why, .. } => Err(corrupt(collection, key, why)),
        }
    }

    fn write(&mut self, id: CollectionId, key: &Key, row: &Row, _old: Option<&Row>) -> Result<()> {
        self.put(id, key, Some(row.clone()))
    }

    fn remove(&mut self, id: CollectionId, key: &Key, _old: &Row) -> Result<()> {
        self.put(id, key, None)
    }

    fn greatest_key(&mut self, id: CollectionId) -> Result<i64> {
        let space = self.spaces.get(id)?;
        let mut greatest = self.greatest(space)?;
        let suspect =
            self.suspect.filter(|_| space.keys.id_seq.is_some()).and_then(|key| space.keys.parse_record(&space.collection, key));
        if let Some(Key::Int(suspect)) = suspect
            && suspect > greatest
            && !self.assigned.contains_key(&id)
            && !matches!(self.entry(id, &Key::Int(suspect))?.stored, Stored::Absent | Stored::Creating)
        {
            // A record that no counter knows of stands in the way.
            greatest = greatest.max(self.find_greatest(space)?);
        }
        if let Some(next) = greatest.checked_add(1) {
            self.assigned.entry(id).or_insert(next);
        }
        Ok(greatest)
    }

    fn holder(&mut self, id: CollectionId, field: usize, value: ValueRef<'_>, except: &Key) -> Result<Option<Key>> {
        let space = self.spaces.get(id)?;
        let Some(set) = space.keys.set(field, value) else {
            // Nothing keeps it so: somebody else can take it in the same moment.
            return find::holder(self.cx, self.link, space, field, value, except);
        };
        if !self.sets.contains_key(&set) {
            self.ask(Vec::new(), vec![set.clone()])?;
        }
        let candidates: Vec<Key> = match &self.sets[&set] {
            Members::Ids(ids) => ids.iter().filter_map(|id| parse_member(&space.collection, id)).collect(),
            Members::OtherType => {
                let (name, key) = (&space.collection.at(field)?.name, shown(&set));
                return Err(
                    Error::corrupt(format!("{key}: expected a set of ids with this {name}, found another type")).place(key)
                );
            }
        };
        let missing: Vec<Vec<u8>> = candidates.iter().map(|key| space.keys.record(key)).collect();
        self.ask(missing, Vec::new())?;
        let of_batch = self.taken.get(&set).into_iter().flatten().cloned();
        let mut holders: BTreeSet<Key> = of_batch.collect();
        for key in candidates {
            let entry = self.entry(id, &key)?;
            if entry.now.is_none() && entry.stored.has(&space.collection, field, value) {
                holders.insert(key);
            }
        }
        Ok(holders.into_iter().find(|key| key != except))
    }

    fn matching(&mut self, query: &Query) -> Result<Vec<Key>> {
        let space = self.spaces.get(query.collection)?;
        // Compared at the end: it moves with every batch of ours, so none can have come between.
        if let Some(writes) = &space.keys.writes {
            self.string(writes.clone())?;
        }
        self.scanned.insert(query.collection);
        let made = |key: &Key| self.records.get(&(query.collection, key.clone())).and_then(|entry| entry.now.as_ref());
        let of_batch = self.written.iter().filter(|(id, _)| *id == query.collection).map(|(_, key)| key.clone());
        let found = find::matching(self.cx, self.link, space, query, of_batch, made)?;
        let mut keys = Vec::with_capacity(found.len());
        for (key, raw) in found {
            if let Some(raw) = raw {
                self.strings.entry(space.keys.record(&key)).or_insert(raw);
            }
            keys.push(key);
        }
        Ok(keys)
    }
}
