//! What a batch comes down to: what must still be as it was read, and what is written then.
//!
//! The decision behind it: **records are computed here, Redis only compares and writes.** A script that understood JSON would turn `[]`
//! into `{}` and round integers; one that compares bytes cannot. So the same plan is carried out by a script, or by `WATCH` and `EXEC`
//! where scripts are forbidden, and both mean the same.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};

/// What must hold before anything is written. The key is the entry's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Check {
    /// The key holds this string.
    Is(Vec<u8>),
    /// There is no such key.
    Absent,
    /// The set has so many members; none if there is no such key.
    Size(usize),
    /// The set has this member.
    Member(Vec<u8>),
    /// The counter, zero if there is none, is less than this number.
    Below(i64),
}

/// What is done to the entry's key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Write {
    /// It becomes this string, whatever it was.
    Set(Vec<u8>),
    /// The same, for a day: what is of use to a running program only.
    Note(Vec<u8>),
    /// The set gets this member.
    Add(Vec<u8>),
    /// The set loses this member.
    Remove(Vec<u8>),
    /// The hash has these values in `name` and `api_key`.
    Document(String, String),
    /// It goes.
    Delete,
    /// The counter grows by this.
    Grow(i64),
    /// The counter becomes this number, unless it is greater.
    Raise(i64),
}

/// Checks and writes, in the order in which they are carried out.
#[derive(Debug, Default, Clone)]
pub(crate) struct Plan {
    pub(crate) checks: Vec<(Vec<u8>, Check)>,
    pub(crate) writes: Vec<(Vec<u8>, Write)>,
}

impl Plan {
    pub(crate) fn check(&mut self, key: Vec<u8>, check: Check) {
        self.checks.push((key, check));
    }

    pub(crate) fn write(&mut self, key: Vec<u8>, write: Write) {
        self.writes.push((key, write));
    }

    /// How many entries it has, and how many bytes its keys and values are together.
    pub(crate) fn size(&self) -> (usize, usize) {
        let checks = self
            .checks
            .iter()
            .map(|(key, check)| key.len() + if let Check::Is(value) | Check::Member(value) = check { value.len() } else { 0 });
        let writes = self.writes.iter().map(|(key, write)| {
            key.len()
                + match write {
                    Write::Set(value) | Write::Note(value) | Write::Add(value) | Write::Remove(value) => value.len(),
                    Write::Document(name, api_key) => name.len() + api_key.len(),
                    Write::Delete | Write::Grow(_) | Write::Raise(_) => 0,
                }
        });
        (self.checks.len() + self.writes.len(), checks.chain(writes).sum())
    }

    /// The keys and arguments of `commit.lua`. A check and a write of one key become one entry where there is one for both. Growing writes
    /// come first, because they are what a full memory refuses.
    pub(crate) fn into_script(self) -> (Vec<Vec<u8>>, Vec<Vec<u8>>) {
        let Self { checks, mut writes } = self;
        writes.sort_by_key(|(_, write)| !matches!(write, Write::Set(_)));
        // Of keys with several checks, sets with their members, none can be joined with a write.
        let mut checked: HashMap<Vec<u8>, Option<Check>> = HashMap::with_capacity(checks.len());
        let mut script = Script::with_capacity(checks.len() + writes.len());
        for (key, check) in checks {
            match (checked.entry(key), check) {
                (Entry::Vacant(free), check @ (Check::Is(_) | Check::Absent | Check::Size(0))) => drop(free.insert(Some(check))),
                (entry, check) => {
                    script.check(entry.key(), check);
                    if let Entry::Vacant(free) = entry {
                        free.insert(None);
                    }
                }
            }
        }
        let mut joined = Vec::with_capacity(writes.len());
        for (key, write) in writes {
            let check = match (checked.get_mut(&key), &write) {
                (Some(check), Write::Set(_)) if matches!(check, Some(Check::Is(_) | Check::Absent)) => check.take(),
                (Some(check), Write::Delete) if matches!(check, Some(Check::Is(_))) => check.take(),
                (Some(check), Write::Add(_)) if matches!(check, Some(Check::Size(_))) => check.take(),
                _ => None,
            };
            joined.push((key, check, write));
        }
        for (key, check) in checked {
            if let Some(check) = check {
                script.check(&key, check);
            }
        }
        joined.into_iter().for_each(|(key, check, write)| script.write(key, check, write));
        script.finish()
    }
}

/// What `commit.lua` is called with.
struct Script {
    keys: Vec<Vec<u8>>,
    ops: Vec<u8>,
    args: Vec<Vec<u8>>,
}

impl Script {
    fn with_capacity(entries: usize) -> Self {
        Self { keys: Vec::with_capacity(entries), ops: Vec::with_capacity(entries), args: Vec::with_capacity(entries + 2) }
    }

    fn entry(&mut self, key: Vec<u8>, op: u8, args: impl IntoIterator<Item = Vec<u8>>) {
        self.keys.push(key);
        self.ops.push(op);
        self.args.extend(args);
    }

    fn check(&mut self, key: &[u8], check: Check) {
        let key = key.to_vec();
        match check {
            Check::Is(value) => self.entry(key, b'=', [value]),
            Check::Absent => self.entry(key, b'0', []),
            Check::Size(members) => self.entry(key, b'n', [number(members)]),
            Check::Member(member) => self.entry(key, b'm', [member]),
            Check::Below(limit) => self.entry(key, b'<', [number(limit)]),
        }
    }

    fn write(&mut self, key: Vec<u8>, check: Option<Check>, write: Write) {
        match (check, write) {
            (Some(Check::Absent), Write::Set(value)) => self.entry(key, b'N', [value]),
            (Some(Check::Is(old)), Write::Set(value)) => self.entry(key, b'U', [old, value]),
            (Some(Check::Is(old)), Write::Delete) => self.entry(key, b'X', [old]),
            (Some(_), Write::Add(member)) => self.entry(key, b'F', [member]),
            (_, Write::Set(value)) => self.entry(key, b'S', [value]),
            (_, Write::Note(value)) => self.entry(key, b'E', [value]),
            (_, Write::Add(member)) => self.entry(key, b'A', [member]),
            (_, Write::Remove(member)) => self.entry(key, b'R', [member]),
            (_, Write::Document(name, api_key)) => self.entry(key, b'H', [name.into_bytes(), api_key.into_bytes()]),
            (_, Write::Delete) => self.entry(key, b'D', []),
            (_, Write::Grow(by)) => self.entry(key, b'I', [number(by)]),
            (_, Write::Raise(to)) => self.entry(key, b'M', [number(to)]),
        }
    }

    /// The entries whose rights are looked at: all of a few; of many the first of each kind of write to each kind of key, because what an
    /// ACL allows goes by how keys begin.
    fn probed(&self) -> String {
        const FEW: usize = 64;
        let mut seen = HashSet::new();
        let mut probed = String::new();
        for (at, (key, op)) in self.keys.iter().zip(&self.ops).enumerate() {
            let is_write = op.is_ascii_uppercase();
            let kind = key.iter().rposition(|byte| *byte == b':').map_or(&key[..], |at| &key[..at]);
            if is_write && (self.keys.len() <= FEW || seen.insert((*op, kind))) {
                probed.push_str(&(at + 1).to_string());
                probed.push(' ');
            }
        }
        probed
    }

    fn finish(self) -> (Vec<Vec<u8>>, Vec<Vec<u8>>) {
        let probed = self.probed().into_bytes();
        let mut args = vec![self.ops, probed];
        args.extend(self.args);
        (self.keys, args)
    }
}

fn number(number: impl std::fmt::Display) -> Vec<u8> {
    number.to_string().into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(parts: Vec<Vec<u8>>) -> Vec<String> {
        parts.into_iter().map(|part| String::from_utf8(part).expect("text")).collect()
    }

    #[test]
    fn a_plan_is_flat_for_the_script_and_joined_where_it_can_be() {
        let mut plan = Plan::default();
        plan.check(b"r:1".to_vec(), Check::Absent);
        plan.check(b"s:1".to_vec(), Check::Size(0));
        plan.check(b"s:2".to_vec(), Check::Size(1));
        plan.check(b"s:2".to_vec(), Check::Member(b"7".to_vec()));
        plan.check(b"r:2".to_vec(), Check::Is(b"old".to_vec()));
        plan.write(b"s:1".to_vec(), Write::Add(b"1".to_vec()));
        plan.write(b"s:2".to_vec(), Write::Add(b"1".to_vec()));
        plan.write(b"d:1".to_vec(), Write::Document("né".to_owned(), "k".to_owned()));
        plan.write(b"r:2".to_vec(), Write::Delete);
        plan.write(b"r:1".to_vec(), Write::Set(b"new".to_vec()));
        assert_eq!(plan.size(), (10, 43));
        let (keys, args) = plan.into_script();
        assert_eq!(texts(keys), ["s:2", "s:2", "r:1", "s:1", "s:2", "d:1", "r:2"]);
        assert_eq!(texts(args), ["nmNFAHX", "3 4 5 6 7 ", "1", "7", "new", "1", "1", "né", "k", "old"]);
    }

    #[test]
    fn of_many_writes_one_of_each_kind_is_looked_at() {
        let mut plan = Plan::default();
        for n in 0..100 {
            plan.write(format!("r:{n}").into_bytes(), Write::Set(Vec::new()));
            plan.write(format!("s:{n}").into_bytes(), Write::Add(Vec::new()));
        }
        assert_eq!(texts(plan.into_script().1)[1], "1 101 ");
    }
}
