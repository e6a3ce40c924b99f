//! Creating and migrating: first every version is looked at, and only then anything is written.
//!
//! A migration rewrites record by record, each only if it is still what was read, and sets the version last. So it can be cut anywhere, done
//! by two nodes at once, and disturbed by an older one: what is left is done again, and readers fold what they meet in the meantime.

use hivemind_abi::Host;
use hivemind_abi::model::{Collection, Error, Key, Result, json};

use crate::commit::{Committed, Committer};
use crate::find;
use crate::keys::shown;
use crate::plan::{Check, Plan, Write};
use crate::read;
use crate::record::{Raw, Stored, render};
use crate::space::Space;
use crate::transaction::Record;

/// Records that are rewritten together.
const PORTION: usize = 200;

/// What preparing needs.
pub(crate) struct Preparing<'p> {
    pub(crate) committer: Committer<'p>,
    pub(crate) host: &'p Host,
}

impl Preparing<'_> {
    /// Creates or migrates what is not there in its present form.
    ///
    /// # Errors
    /// `too new` if any of them is stored in a newer version: nothing was touched then.
    pub(crate) fn run(&self, spaces: &[Space]) -> Result<()> {
        let (cx, link) = (self.committer.cx, self.committer.link);
        let versions: Vec<Vec<u8>> = spaces.iter().map(|space| space.keys.version.clone()).collect();
        let stored = read::ask(cx, link, &versions, &[])?.strings;
        let stored = spaces.iter().zip(stored).map(|(space, raw)| version(space, raw)).collect::<Result<Vec<_>>>()?;
        for (space, stored) in spaces.iter().zip(&stored) {
            check(&space.collection, stored.0)?;
        }
        for (space, (version, raw)) in spaces.iter().zip(stored) {
            if version != Some(space.collection.version) {
                self.bring_up(space, version, raw)?;
            }
            self.count(space)?;
        }
        Ok(())
    }

    /// Brings a collection to its present form.
    fn bring_up(&self, space: &Space, version: Option<u32>, raw: Raw) -> Result<()> {
        let (cx, link) = (self.committer.cx, self.committer.link);
        let keys = find::keys(cx, link, space)?;
        if !keys.is_empty() {
            let rewritten = self.rewrite(space, &keys)?;
            let (name, to) = (&space.collection.name, space.collection.version);
            // The Python node counts a store without a version as its first.
            let from = version.unwrap_or(1);
            self.host
                .info(&format!("{name}: migrated from version {from} to {to}; {rewritten} of {} records rewritten", keys.len()));
        }
        let mut plan = Plan::default();
        let was = match raw {
            Raw::Text(text) => Check::Is(text),
            _ => Check::Absent,
        };
        plan.check(space.keys.version.clone(), was);
        plan.write(space.keys.version.clone(), Write::Set(space.collection.version.to_string().into_bytes()));
        match self.committer.carry_out(plan)? {
            Committed::Done => Ok(()),
            // Another node has just done the same, or is newer.
            Committed::Changed(_) => {
                let raw =
                    read::ask(cx, link, std::slice::from_ref(&space.keys.version), &[])?.strings.pop().unwrap_or(Raw::Absent);
                match check(&space.collection, version_of(space, &raw)?) {
                    Ok(()) if version_of(space, &raw)? == Some(space.collection.version) => Ok(()),
                    Ok(()) => Err(Error::busy(format!("another node is migrating {}", space.collection.name))),
                    Err(error) => Err(error),
                }
            }
        }
    }

    /// Rewrites what is not in its present form, and files all records in their sets.
    fn rewrite(&self, space: &Space, keys: &[Key]) -> Result<usize> {
        let (cx, link) = (self.committer.cx, self.committer.link);
        let mut rewritten = 0;
        for portion in keys.chunks(PORTION) {
            let mut todo = portion.to_vec();
            while !todo.is_empty() {
                cx.check()?;
                let mut plan = Plan::default();
                let mut count = 0;
                for (key, raw) in todo.iter().zip(read::records(cx, link, space, &todo)?) {
                    count += usize::from(self.plan_rewrite(&mut plan, space, key, &raw)?);
                }
                // Where nothing but records may be written they are written one by one.
                if plan.writes.is_empty() {
                    break;
                }
                if self.committer.receipts.is_none() && todo.len() > 1 {
                    for key in &todo {
                        rewritten += self.rewrite(space, std::slice::from_ref(key))?;
                    }
                    break;
                }
                match self.committer.carry_out(plan)? {
                    Committed::Done => {
                        rewritten += count;
                        todo.clear();
                    }
                    Committed::Changed(_) => {}
                }
            }
        }
        Ok(rewritten)
    }

    fn plan_rewrite(&self, plan: &mut Plan, space: &Space, key: &Key, raw: &Raw) -> Result<bool> {
        let (row, text) = match (raw.read(&space.form, key), raw) {
            (Stored::Row(row), Raw::Text(text)) => (row, text),
            (Stored::Unreadable { why, .. }, _) => {
                self.host.warn(&format!("{} {key} cannot be read and is left as it is: {why}", space.collection.name));
                return Ok(false);
            }
            _ => return Ok(false),
        };
        let view = row.view(&space.collection)?;
        let is_present = is_same(text, &render(&space.form, &view));
        if is_present && space.collection.primary {
            return Ok(false);
        }
        let record = Record { space, key, before: None, after: Some(&row) };
        plan.check(space.keys.record(key), Check::Is(text.clone()));
        record.plan(plan)?;
        Ok(!is_present)
    }

    /// The counter of the primary collection, as the Python node begins one; of records that are there already, if there is none.
    fn count(&self, space: &Space) -> Result<()> {
        let (cx, link) = (self.committer.cx, self.committer.link);
        let Some(count) = &space.keys.count else { return Ok(()) };
        let asked = read::ask(cx, link, std::slice::from_ref(count), &[])?;
        if asked.strings.first() != Some(&Raw::Absent) {
            return Ok(());
        }
        let mut records: i64 = 0;
        find::walk(cx, link, space, &find::keys(cx, link, space)?, |key, raw| {
            records += i64::from(matches!(raw.read(&space.form, key), Stored::Row(_)));
            Ok(true)
        })?;
        let mut plan = Plan::default();
        plan.check(count.clone(), Check::Absent);
        plan.write(count.clone(), Write::Set(records.to_string().into_bytes()));
        self.committer.carry_out(plan).map(drop)
    }
}

fn version(space: &Space, raw: Raw) -> Result<(Option<u32>, Raw)> {
    Ok((version_of(space, &raw)?, raw))
}

/// The version that is stored, if one is.
fn version_of(space: &Space, raw: &Raw) -> Result<Option<u32>> {
    let text = match raw {
        Raw::Absent => return Ok(None),
        Raw::Text(text) => std::str::from_utf8(text).ok(),
        Raw::OtherType => None,
    };
    text.and_then(|text| text.trim().parse().ok()).map(Some).ok_or_else(|| {
        let key = shown(&space.keys.version);
        Error::corrupt(format!("{key}: expected the number of a schema version, found something else; correct it")).place(key)
    })
}

fn check(collection: &Collection, stored: Option<u32>) -> Result<()> {
    let (name, known) = (&collection.name, collection.version);
    match stored {
        Some(stored) if stored > known => {
            let message =
                format!("{name} is stored in version {stored}, this program knows {known}; nothing was touched. Use a newer one");
            Err(Error::too_new(message).collection(name))
        }
        _ => Ok(()),
    }
}

fn is_same(stored: &[u8], present: &str) -> bool {
    let stored = std::str::from_utf8(stored).ok().and_then(|text| json::parse(text).ok());
    match (stored, json::parse(present)) {
        (Some(stored), Ok(present)) => stored.same(&present),
        _ => false,
    }
}
