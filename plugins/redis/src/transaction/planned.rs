//! The plan of a batch: everything that was read is compared, everything that was made of it is written.

use std::collections::BTreeMap;

use foldhash::HashSet;
use hivemind_abi::model::{CollectionId, Key, Result, Row};

use super::{Batch, Record};
use crate::plan::{Check, Plan, Write};
use crate::read::Members;
use crate::record::{Raw, Stored};

impl Batch<'_> {
    /// The plan: checks of all that was read, and what is written.
    ///
    /// # Errors
    /// `invalid` for a record that the Python node could not work with.
    pub(crate) fn plan(&self) -> Result<Plan> {
        let mut plan = self.checks();
        let mut counts: BTreeMap<CollectionId, (i64, Option<i64>)> = BTreeMap::new();
        for at in &self.written {
            let (space, entry) = (self.spaces.get(at.0)?, &self.records[at]);
            let change = Record { space, key: &at.1, before: stored_row(&entry.stored), after: entry.row() };
            let (grown, greatest) = counts.entry(at.0).or_default();
            *grown += i64::from(change.after.is_some()) - i64::from(change.before.is_some());
            if let (None, Some(_), Key::Int(id)) = (change.before, change.after, &at.1) {
                *greatest = (*greatest).max(Some(*id));
            }
            change.plan(&mut plan)?;
        }
        for (id, (grown, greatest)) in counts {
            let keys = &self.spaces.get(id)?.keys;
            if let (Some(count), true) = (&keys.count, grown != 0) {
                plan.write(count.clone(), Write::Grow(grown));
            }
            if let (Some(id_seq), Some(greatest)) = (&keys.id_seq, greatest.filter(|greatest| *greatest > 0)) {
                plan.write(id_seq.clone(), Write::Raise(greatest));
            }
            keys.writes.iter().for_each(|key| plan.write(key.clone(), Write::Grow(1)));
        }
        Ok(plan)
    }

    /// Checks of all that was read.
    pub(crate) fn checks(&self) -> Plan {
        let mut plan = Plan::default();
        let counters: HashSet<&[u8]> = self
            .assigned
            .keys()
            .filter_map(|id| self.spaces.get(*id).ok())
            .flat_map(|space| space.keys.count.iter().chain(&space.keys.id_seq).map(Vec::as_slice))
            .collect();
        for (key, raw) in &self.strings {
            if counters.contains(key.as_slice()) {
                continue;
            }
            match raw {
                Raw::Absent => plan.check(key.clone(), Check::Absent),
                Raw::Text(text) => plan.check(key.clone(), Check::Is(text.clone())),
                // Nobody writes over it, and nothing was read of it.
                Raw::OtherType => {}
            }
        }
        for (id, first) in &self.assigned {
            let Ok(space) = self.spaces.get(*id) else { continue };
            for key in space.keys.count.iter().chain(&space.keys.id_seq) {
                plan.check(key.clone(), Check::Below(*first));
            }
        }
        for ((id, key), entry) in &self.records {
            if let (false, Ok(space)) = (entry.was_read, self.spaces.get(*id)) {
                plan.check(space.keys.record(key), Check::Absent);
            }
        }
        for (key, members) in &self.sets {
            if let Members::Ids(ids) = members {
                plan.check(key.clone(), Check::Size(ids.len()));
                ids.iter().for_each(|id| plan.check(key.clone(), Check::Member(id.clone())));
            }
        }
        plan
    }
}

fn stored_row(stored: &Stored) -> Option<&Row> {
    match stored {
        Stored::Row(row) => Some(row),
        _ => None,
    }
}
