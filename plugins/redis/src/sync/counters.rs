//! The counters, compared with the records that they count.

use hivemind_abi::model::{Error, Key, Result};

use super::{TRIES, Walk};
use crate::find;
use crate::keys::shown;
use crate::plan::{Check, Plan, Write};
use crate::read;
use crate::record::{Raw, Stored};

impl Walk<'_> {
    /// The counters, as the Python node's `sync` sets them.
    pub(super) fn counters(&mut self, mut keys: Vec<Key>) -> Result<()> {
        let (cx, link) = (self.committer.cx, self.committer.link);
        let Some(id_seq) = self.space.keys.id_seq.clone() else { return Ok(()) };
        let count = self.space.keys.count.clone();
        for attempt in 1.. {
            let counters: Vec<Vec<u8>> = count.iter().chain([&id_seq]).chain(&self.space.keys.writes).cloned().collect();
            let before = read::ask(cx, link, &counters, &[])?.strings;
            // Once more, because they were read before the counters.
            if attempt > 1 || self.repair {
                keys = find::keys(cx, link, self.space)?;
            }
            let (mut readable, mut greatest) = (0_i64, 0_i64);
            find::walk(cx, link, self.space, &keys, |key, raw| {
                if let (Stored::Row(_), Key::Int(id)) = (raw.read(&self.space.form, key), key) {
                    readable += 1;
                    greatest = greatest.max(*id);
                }
                Ok(true)
            })?;
            let stored = |at: usize| before.get(at).and_then(|raw| read::counter(&counters[at], raw).ok());
            let at_seq = usize::from(count.is_some());
            let mut plan = Plan::default();
            let mut wrong = Vec::new();
            if let Some(count) = &count
                && stored(0) != Some(readable)
            {
                plan.write(count.clone(), Write::Set(readable.to_string().into_bytes()));
                wrong.push(format!("{} is not the number of records, {readable}; sync corrects it", shown(count)));
            }
            // Of other collections the greatest id that ever was is remembered.
            let exact = count.is_some();
            if stored(at_seq).is_none_or(|seq| if exact { seq != greatest } else { seq < greatest }) {
                plan.write(id_seq.clone(), Write::Set(greatest.to_string().into_bytes()));
                wrong.push(format!("{} is not the greatest id, {greatest}; sync corrects it", shown(&id_seq)));
            }
            if wrong.is_empty() {
                return Ok(());
            }
            if !self.repair {
                // The Python node leaves this behind whenever it adds a client by a number of its own.
                wrong.retain(|_| !exact || stored(at_seq).is_some_and(|seq| seq > greatest) || stored(0) != Some(readable));
                wrong.into_iter().for_each(|message| self.problem_beside(None, message));
                return Ok(());
            }
            let corrected = wrong.len() as u64;
            for (key, raw) in counters.iter().zip(before) {
                match raw {
                    Raw::Absent => plan.check(key.clone(), Check::Absent),
                    Raw::Text(text) => plan.check(key.clone(), Check::Is(text)),
                    Raw::OtherType => {}
                }
            }
            if self.carry_out(plan)? {
                self.found.counters += corrected;
                return Ok(());
            }
            if attempt == TRIES {
                return Err(Error::busy("others add records so often that the counters cannot be corrected; try again"));
            }
        }
        Ok(())
    }
}
