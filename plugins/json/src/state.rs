//! The store in memory, and how a batch becomes new files.
//!
//! A batch is tried on the tables and taken back at once; only when its files are written and synced, beside the old ones, are they
//! renamed and the tables changed, both under one short lock. So readers wait for no disk and never see what did not last.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hivemind_abi::model::table::{Record, Tables, Undo};
use hivemind_abi::model::{Catalog, Collection, CollectionId, Context, Error, Key, Mutation, Outcome, Result, Row};

use crate::cipher::Coding;
use crate::document::{Document, Edits};
use crate::entry;
use crate::journal;
use crate::loaded::{Loaded, New, NewText};
use crate::replace::{self, Staged, random};
use crate::sentinel;
use hivemind_abi::model::history::History;

/// What a handle knows.
pub(crate) struct State {
    /// The records.
    pub(crate) tables: Tables,
    /// The files, by collection id.
    pub(crate) files: BTreeMap<CollectionId, Loaded>,
    /// What changed when.
    pub(crate) history: History,
}

impl State {
    /// Nothing.
    pub(crate) fn new() -> Result<Self> {
        Ok(Self { tables: Tables::default(), files: BTreeMap::new(), history: History::new(random()?) })
    }

    /// The file of a collection.
    ///
    /// # Errors
    /// `invalid` if it was not prepared.
    pub(crate) fn file(&self, id: CollectionId) -> Result<&Loaded> {
        self.files.get(&id).ok_or_else(|| Error::invalid(format!("no collection was prepared under the id {}", id.0)))
    }

    /// Makes sure that a collection is what its file says.
    ///
    /// # Errors
    /// `corrupt` if the file cannot be read.
    pub(crate) fn refresh(&mut self, id: CollectionId) -> Result<()> {
        self.file(id)?;
        let current = self.files.get_mut(&id).map_or(Ok(false), Loaded::is_still_current)?;
        if current { Ok(()) } else { self.reload(id) }
    }

    /// Reads a collection's file again, come what may.
    ///
    /// # Errors
    /// `corrupt` if the file cannot be read.
    pub(crate) fn reload(&mut self, id: CollectionId) -> Result<()> {
        self.file(id)?;
        let table = self.tables.get_mut(id)?;
        let Some(file) = self.files.get_mut(&id) else { return Ok(()) };
        let changed = file.reload(table)?;
        if !changed.is_empty() {
            self.history.record(changed.into_iter().map(|key| (id, key)));
        }
        Ok(())
    }

    /// Tries batches one after another and takes them back: what came of each, and what all of them together change.
    ///
    /// # Errors
    /// What concerns all of them. What concerns one is its result.
    pub(crate) fn plan(&mut self, catalog: &Catalog, cx: &Context<'_>, batches: &[&[Mutation]]) -> Result<Plan> {
        // All files first: one that is read again brings its table to what the file says, without what was tried before.
        let current: Vec<Result<()>> = batches.iter().map(|batch| self.refresh_for(batch)).collect();
        let mut undos = Vec::new();
        let mut results = Vec::with_capacity(batches.len());
        for (batch, current) in batches.iter().zip(current) {
            let tried = current.and_then(|()| self.tables.apply(catalog, cx, batch));
            results.push(tried.map(|(outcomes, undo)| {
                undos.push(undo);
                outcomes
            }));
        }
        let mut touched: BTreeMap<(CollectionId, Key), Option<Row>> = BTreeMap::new();
        // In the order of the batches, which is the order in which new records go into the file.
        let mut order = Vec::new();
        for (id, key) in undos.iter().flat_map(Undo::touched) {
            if let std::collections::btree_map::Entry::Vacant(slot) = touched.entry((id, key.clone())) {
                let now = self.tables.get(id).ok().and_then(|table| table.get(key).ok().flatten()).cloned();
                slot.insert(now);
                order.push((id, key.clone()));
            }
        }
        undos.into_iter().rev().for_each(|undo| self.tables.undo(undo));
        let mut parts: BTreeMap<CollectionId, Part> = BTreeMap::new();
        for (id, key) in order {
            let new = touched.remove(&(id, key.clone())).flatten();
            let old = self.tables.get(id)?.get(&key)?.cloned();
            if old != new {
                let file = self.file(id)?;
                let at = file.position(&key);
                parts.entry(id).or_insert_with(|| Part::new(file)).touched.push(Touched { key, at, old, new });
            }
        }
        Ok(Plan { results, parts: parts.into_values().collect() })
    }

    /// Makes sure that the collections of a batch are what their files say.
    fn refresh_for(&mut self, batch: &[Mutation]) -> Result<()> {
        let mut seen: Vec<CollectionId> = Vec::new();
        for (index, mutation) in batch.iter().enumerate() {
            let id = mutation.collection();
            if !seen.contains(&id) {
                seen.push(id);
                self.refresh(id).map_err(|e| e.mutation(index))?;
                let file = self.file(id)?;
                // Another program may have brought the store to a newer version since.
                sentinel::check(&file.files.sentinel, &file.collection).map_err(|e| e.mutation(index))?;
            }
        }
        Ok(())
    }

    /// Forgets what the files hold, so that each is read anew when it is asked for.
    pub(crate) fn forget(&mut self, catalog: &Catalog) {
        self.tables = Tables::default();
        self.tables.extend(catalog);
        self.files.values_mut().for_each(Loaded::forget);
        self.history.record_unknown();
    }

    /// Whether nobody touched the files of these changes since they were planned.
    ///
    /// # Errors
    /// `io` if that cannot be told.
    pub(crate) fn still_fits(&mut self, written: &[Written]) -> Result<bool> {
        for one in written {
            let Some(file) = self.files.get_mut(&one.id) else { return Ok(false) };
            if file.generation != one.generation || !file.is_still_current()? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Puts a written file in place and takes it over; returns the one that was replaced, if it was open. `renamed` is called as soon
    /// as it is in place: whatever goes wrong from then on, it was done.
    ///
    /// # Errors
    /// `io` and `denied`: then nothing happened.
    pub(crate) fn switch(&mut self, written: Written, renamed: impl FnOnce()) -> Result<Option<File>> {
        let Written { id, staged, new, rows, removed, added, .. } = written;
        let table = self.tables.get_mut(id)?;
        let file = self.files.get_mut(&id);
        if let (Some(file), Some(new)) = (file, staged.file()) {
            file.expect(new);
        }
        let current = staged.commit()?;
        renamed();
        let keys: Vec<_> = rows.iter().map(|(key, _)| (id, key.clone())).collect();
        for (key, row) in rows {
            table.replace(&key, row.map(Record::Row));
        }
        let old = self.files.get_mut(&id).and_then(|file| file.adopt(new, current, &removed, added));
        self.history.record(keys);
        Ok(old)
    }
}

/// What came of trying batches.
pub(crate) struct Plan {
    /// One for each batch.
    pub(crate) results: Vec<Result<Vec<Outcome>>>,
    /// What they change, by file.
    pub(crate) parts: Vec<Part>,
}

/// What a batch changes in one file.
pub(crate) struct Part {
    id: CollectionId,
    collection: Arc<Collection>,
    path: PathBuf,
    generation: u64,
    document: Arc<Document>,
    coding: Coding,
    touched: Vec<Touched>,
}

struct Touched {
    key: Key,
    at: Option<usize>,
    old: Option<Row>,
    new: Option<Row>,
}

/// A part whose new file is written and synced, and only needs its name.
pub(crate) struct Written {
    id: CollectionId,
    generation: u64,
    staged: Staged,
    new: New,
    rows: Vec<(Key, Option<Row>)>,
    removed: Vec<usize>,
    added: Vec<Key>,
}

impl Part {
    fn new(file: &Loaded) -> Self {
        Self {
            id: file.id,
            collection: Arc::clone(&file.collection),
            path: file.files.data.clone(),
            generation: file.generation,
            document: Arc::clone(&file.document),
            coding: file.coding().clone(),
            touched: Vec::new(),
        }
    }

    /// Writes the new file beside the old one; also tells what a journal has to say of it.
    ///
    /// # Errors
    /// `io` and `denied`, naming the file; `invalid` for a record that no file can hold.
    pub(crate) fn write(self) -> Result<(Written, journal::Changes)> {
        let mut edits = Edits::default();
        let (mut rows, mut removed, mut added, mut records) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for Touched { key, at, old, new } in self.touched {
            let before = at.map(|at| self.document.value(at));
            let (text, row) = match new {
                Some(row) => {
                    let previous = old.as_ref().zip(before);
                    let (text, row) =
                        entry::render(&self.collection, &row, previous).map_err(|e| e.collection(&self.collection.name))?;
                    (Some(text), Some(row))
                }
                None => (None, None),
            };
            let name = entry::quoted_name(&key);
            records.push(journal::Change { name: name.clone(), before: before.map(str::to_owned), after: text.clone() });
            match (at, text) {
                (Some(at), text) => {
                    if text.is_none() {
                        removed.push(at);
                    }
                    edits.changed.insert(at, text);
                }
                (None, Some(text)) => {
                    edits.added.push((name, text));
                    added.push(key.clone());
                }
                (None, None) => {}
            }
            rows.push((key, row));
        }
        removed.sort_unstable();
        let text = match self.document.pieces(&edits) {
            Some(_) => NewText::Edits(edits),
            None => NewText::Whole(self.document.edited(&edits)),
        };
        let pieces = match &text {
            NewText::Edits(edits) => self.document.pieces(edits).unwrap_or_default(),
            NewText::Whole(document) => vec![document.source()],
        };
        let shown = self.path.display();
        let refused = |e: Error| e.context(format!("{shown} cannot be written")).place(shown.to_string());
        let stored = self.coding.encode(&pieces).map_err(refused)?;
        let staged = match &stored {
            None => replace::stage(&self.path, &pieces)?,
            Some(content) => replace::stage(&self.path, &[content])?,
        };
        let new = New { text, stored: stored.unwrap_or_default() };
        let written = Written { id: self.id, generation: self.generation, staged, new, rows, removed, added };
        Ok((written, journal::Changes { file: file_name(&self.path), records }))
    }
}

impl Written {
    /// The folder to sync once it is in place.
    pub(crate) fn folder(&self) -> PathBuf {
        self.staged.folder()
    }
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}
