//! The way back from a backup: what differs from it is written, all at one blow where that is little enough.
//!
//! The decision behind it: **a restore is a commit.** What differs is found first, while others go on. If one script can carry it, that
//! compares what was read and writes everything, as every write of this backend does: the store is the old one or the new one. What is more is
//! put down in Redis first, beside the store, and counts from the moment at which a mark says that all of it is there; from then on it is
//! carried out by portions, and whoever opens the store next goes on with it if this process does not ([`super::staged`]).

use std::path::Path;
use std::sync::Arc;

use hivemind_abi::model::{Code, Collection, CollectionId, Context, Error, Key, Problem, Report, Result};

use super::file::Reader;
use super::parts::{self, Part, Seen};
use super::staged::Staged;
use crate::commit::{Committed, Committer};
use crate::keys::{CREATING, Keys, Namespace, member, pattern};
use crate::plan::{Check, Plan, Write};
use crate::read;
use crate::record::{Raw, Stored};
use crate::space::Space;
use crate::sync;
use crate::transaction::follow;

/// What one script may carry: records, and bytes of them.
const MOST: usize = 20_000;
const MOST_BYTES: usize = 32 << 20;
/// Records that are compared together.
const PORTION: usize = 500;
/// How often a restore at one blow is tried while others write.
const TRIES: usize = 8;

/// What a restore needs.
pub(crate) struct Restoring<'r> {
    pub(crate) committer: Committer<'r>,
    pub(crate) namespace: &'r Namespace,
    /// The collections that are known.
    pub(crate) spaces: &'r [Space],
}

/// A string that is to become another one, or to go.
pub(super) struct Entry {
    /// Its key, without the namespace's first part.
    pub(super) own: Vec<u8>,
    /// What was found there.
    pub(super) old: Raw,
    pub(super) new: Option<Vec<u8>>,
}

impl Restoring<'_> {
    /// Puts a backup in the place of what is stored.
    ///
    /// # Errors
    /// `corrupt`, `too new` and `invalid` for the backup, the link's and those of writing; `outcome unknown` if whoever opens the store next
    /// has to finish it.
    pub(crate) fn run(&self, from: &Path) -> Result<Report> {
        let checked = self.check(from)?;
        for _ in 0..TRIES {
            let writes = self.writes()?;
            let Some(entries) = self.differing(from, None)? else { break };
            if entries.is_empty() || self.at_one_blow(&entries, writes)? == Committed::Done {
                return self.finished(checked);
            }
        }
        let staged = self.staged();
        staged.clear()?;
        self.differing(from, Some(&staged))?;
        staged.publish()?;
        let unfinished = |error: Error| {
            let message =
                format!("what is restored is written, but not all in its place yet: {}; open the store again", error.message());
            Error::outcome_unknown(message)
        };
        staged.carry_out().map_err(unfinished)?;
        self.finished(checked)
    }

    /// Whether this is a whole backup that can be restored, and how many records it has.
    ///
    /// # Errors
    /// `corrupt`, `too new`, `io` and `denied`.
    pub(crate) fn check(&self, from: &Path) -> Result<i64> {
        check(self.committer.cx, from, |name| self.space(name).map(|space| &*space.collection))
    }

    pub(super) fn staged(&self) -> Staged<'_> {
        Staged { restoring: self }
    }

    /// What is kept beside the records is made to agree with them.
    fn finished(&self, records: i64) -> Result<Report> {
        for space in self.spaces {
            space.forget();
            sync::repair(&self.committer, space)?;
        }
        Ok(Report::new().with("records", records))
    }

    /// The collection of this name, the primary one if there is none.
    pub(super) fn space(&self, name: Option<&str>) -> Option<&Space> {
        self.spaces.iter().find(|space| match name {
            None => space.collection.primary,
            Some(name) => !space.collection.primary && space.collection.name == name,
        })
    }

    pub(super) fn whole(&self, own: &[u8]) -> Vec<u8> {
        [self.namespace.base().as_bytes(), b":", own].concat()
    }

    /// What is stored otherwise than the backup has it. With `staged` all of it is put there; else it is given back, and `None` if it is
    /// more than one script carries.
    fn differing(&self, from: &Path, staged: Option<&Staged<'_>>) -> Result<Option<Vec<Entry>>> {
        let mut found = Found { entries: Vec::new(), bytes: 0, staged };
        let mut seen = Seen::default();
        let mut reader = Reader::open(from)?;
        let mut portion = Vec::new();
        loop {
            let next = reader.next()?;
            let is_over = next.is_none();
            if let Some((own, value)) = next {
                seen.insert(own.clone());
                portion.push((own, Some(value)));
            }
            if (is_over || portion.len() == PORTION) && !self.compare(std::mem::take(&mut portion), &mut found)? {
                return Ok(None);
            }
            if is_over {
                break;
            }
        }
        if self.superfluous(&seen, &mut found)? { found.finish().map(Some) } else { Ok(None) }
    }

    /// Adds those that are stored otherwise.
    fn compare(&self, wanted: Vec<(Vec<u8>, Option<Vec<u8>>)>, found: &mut Found<'_>) -> Result<bool> {
        let (cx, link) = (self.committer.cx, self.committer.link);
        cx.check()?;
        let keys: Vec<Vec<u8>> = wanted.iter().map(|(own, _)| self.whole(own)).collect();
        for ((own, new), old) in wanted.into_iter().zip(read::ask(cx, link, &keys, &[])?.strings) {
            let is_same = match (&old, &new) {
                (Raw::Text(old), Some(new)) => old == new,
                // What another node is just making is not there yet.
                (Raw::Text(old), None) => old == CREATING,
                (Raw::Absent, None) => true,
                _ => false,
            };
            if !is_same && !found.add(Entry { own, old, new })? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Adds what is stored and not in the backup.
    fn superfluous(&self, seen: &Seen, found: &mut Found<'_>) -> Result<bool> {
        let first = self.namespace.base().len() + 1;
        let (mut goes_on, mut names) = (true, seen.collections().clone());
        for prefix in self.namespace.records() {
            let prefix = String::from_utf8(prefix).map_err(|_| Error::invalid("the index_prefix is no text"))?;
            self.committer.link.scan(self.committer.cx, &pattern(&prefix), |keys| {
                let own = keys.iter().filter_map(|key| key.get(first..)).filter(|own| !seen.contains(own));
                let own: Vec<&[u8]> = own.filter(|own| parts::of(own).is_some()).collect();
                names.extend(own.iter().filter_map(|own| parts::of(own)?.collection().map(str::to_owned)));
                goes_on = goes_on && self.compare(own.iter().map(|own| (own.to_vec(), None)).collect(), found)?;
                Ok(())
            })?;
        }
        let beside = parts::beside(&names).into_iter().filter(|own| !seen.contains(own)).map(|own| (own, None)).collect();
        Ok(goes_on && self.compare(beside, found)?)
    }

    /// The counters of writes, and how they stand.
    fn writes(&self) -> Result<Vec<(Vec<u8>, Raw)>> {
        let keys: Vec<Vec<u8>> = self.spaces.iter().filter_map(|space| space.keys.writes.clone()).collect();
        let found = read::ask(self.committer.cx, self.committer.link, &keys, &[])?.strings;
        Ok(keys.into_iter().zip(found).collect())
    }

    /// Everything by one script, if it is all as it was read and no batch came between, of which a part would be lost.
    fn at_one_blow(&self, entries: &[Entry], writes: Vec<(Vec<u8>, Raw)>) -> Result<Committed> {
        let mut plan = Plan::default();
        entries.iter().try_for_each(|entry| self.plan(entry, &mut plan))?;
        for (key, raw) in writes {
            plan.check(key.clone(), if let Raw::Text(text) = raw { Check::Is(text) } else { Check::Absent });
            plan.write(key, Write::Grow(1));
        }
        self.committer.carry_out(plan)
    }

    /// What becomes of one string, and of what names it if it is a record.
    pub(super) fn plan(&self, entry: &Entry, plan: &mut Plan) -> Result<()> {
        let key = self.whole(&entry.own);
        match &entry.old {
            Raw::Text(text) => plan.check(key.clone(), Check::Is(text.clone())),
            Raw::Absent => plan.check(key.clone(), Check::Absent),
            // It is written over, whatever it is.
            Raw::OtherType => {}
        }
        plan.write(key.clone(), entry.new.clone().map_or(Write::Delete, Write::Set));
        let Some(part) = parts::of(&entry.own).filter(|part| part.is_record()) else { return Ok(()) };
        let Some(space) = self.space(part.collection()) else {
            // Which sets it belongs in is known to whoever prepares that collection.
            let name = part.collection().unwrap_or_default();
            plan.write(self.namespace.restored(name), Write::Set(b"1".to_vec()));
            return Ok(());
        };
        let Some(key) = space.keys.parse_record(&space.collection, &key) else { return Ok(()) };
        let new = entry.new.clone().map_or(Raw::Absent, Raw::Text);
        names(space, &key, &entry.old.read(&space.form, &key), &new.read(&space.form, &key), plan)
    }
}

/// What becomes of the sets and documents that name a record. Its text is kept as it was, so it is not written by these.
fn names<'r>(space: &'r Space, key: &Key, old: &'r Stored, new: &'r Stored, plan: &mut Plan) -> Result<()> {
    let row = |stored: &'r Stored| match stored {
        Stored::Row(row) => row.view(&space.collection).map(Some),
        _ => Ok(None),
    };
    let (keys, old, new) = (&space.keys, row(old)?, row(new)?);
    let id = member(key);
    follow(plan, keys, &id, old.as_ref(), new.as_ref());
    if let Some(document) = keys.document_key(&id) {
        let texts = new.as_ref().and_then(|view| keys.document_of(view));
        plan.write(document, texts.map_or(Write::Delete, |(name, api_key)| Write::Document(name.to_owned(), api_key.to_owned())));
    }
    Ok(())
}

/// What differs, as it is found.
struct Found<'f> {
    entries: Vec<Entry>,
    bytes: usize,
    staged: Option<&'f Staged<'f>>,
}

impl Found<'_> {
    /// Adds one; `false` if it is too much.
    fn add(&mut self, entry: Entry) -> Result<bool> {
        let old = if let Raw::Text(old) = &entry.old { old.len() } else { 0 };
        self.bytes += entry.own.len() + old + entry.new.as_ref().map_or(0, Vec::len);
        self.entries.push(entry);
        match self.staged {
            Some(staged) if self.entries.len() >= PORTION => {
                staged.put(&std::mem::take(&mut self.entries))?;
                Ok(true)
            }
            Some(_) => Ok(true),
            None => Ok(self.entries.len() <= MOST && self.bytes <= MOST_BYTES),
        }
    }

    fn finish(self) -> Result<Vec<Entry>> {
        match self.staged {
            Some(staged) => staged.put(&self.entries).map(|()| Vec::new()),
            None => Ok(self.entries),
        }
    }
}

/// Reads a backup to its end, and gives the number of its records.
///
/// # Errors
/// `corrupt`, `too new` for a collection in a newer version than is known, `io` and `denied`.
fn check<'c>(cx: &Context<'_>, from: &Path, known: impl Fn(Option<&str>) -> Option<&'c Collection>) -> Result<i64> {
    let mut reader = Reader::open(from)?;
    let (mut records, mut newer) = (0, None);
    while let Some((own, value)) = reader.next()? {
        cx.check()?;
        let Some(part) = parts::of(&own) else { return Err(reader.damaged("it holds what is none of a store's keys")) };
        records += i64::from(part.is_record());
        if let (Part::Version(_), Some(collection)) = (part, known(part.collection())) {
            let version: Option<u32> = std::str::from_utf8(&value).ok().and_then(|text| text.trim().parse().ok());
            if version.is_none_or(|version| version > collection.version) {
                newer = Some((collection, String::from_utf8_lossy(&value).into_owned()));
            }
        }
    }
    // Only now it is known that nothing of this is a damage.
    match newer {
        Some((collection, version)) => {
            let (shown, name, known) = (from.display().to_string(), &collection.name, collection.version);
            let message = format!(
                "{shown} holds {name} in version {version}, this program knows version {known}; update it; nothing was changed"
            );
            Err(Error::too_new(message).collection(name).place(shown))
        }
        None => Ok(records),
    }
}

/// Reads a backup and says what is wrong with it, record by record in these collections.
///
/// # Errors
/// `too new`; `io` and `denied` if it cannot be read. What is damaged is in the report.
pub(crate) fn verify(cx: &Context<'_>, from: &Path, collections: &[Collection]) -> Result<Report> {
    let known = |name: Option<&str>| collections.iter().find(|c| name.map_or(c.primary, |name| !c.primary && c.name == name));
    let mut report = Report::new();
    match check(cx, from, known) {
        Err(error) if error.code() == Code::Corrupt => {
            report.problems.push(Problem { collection: String::new(), key: None, message: error.message().to_owned() });
            return Ok(report);
        }
        other => other?,
    };
    let mut records = 0;
    let namespace = Namespace::new("", None);
    let spaces: Vec<Space> =
        collections.iter().map(|c| Space::new(CollectionId(0), Arc::new(c.clone()), Keys::new(&namespace, c))).collect();
    let mut reader = Reader::open(from)?;
    while let Some((own, value)) = reader.next()? {
        cx.check()?;
        let Some(part) = parts::of(&own).filter(|part| part.is_record()) else { continue };
        records += 1;
        let space = spaces
            .iter()
            .find(|s| part.collection().map_or(s.collection.primary, |name| !s.collection.primary && s.collection.name == name));
        let Some(space) = space else { continue };
        let collection = &space.collection;
        let stored = [&b":"[..], &own].concat();
        let problem = |key, message| Problem { collection: collection.name.clone(), key, message };
        match space.keys.parse_record(collection, &stored) {
            None => {
                let key = String::from_utf8_lossy(&own).into_owned();
                report.problems.push(problem(None, format!("{key} stands where records are, and is the key of none")));
            }
            Some(key) => {
                if let Stored::Unreadable { why, .. } = Raw::Text(value).read(&space.form, &key) {
                    report.problems.push(problem(Some(key), format!("unreadable: {why}")));
                }
            }
        }
    }
    Ok(report.with("records", records).with("sealed", true))
}
