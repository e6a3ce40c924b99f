//! What a batch comes down to: what must still be as it was read, and what is written then.
//!
//! The decision behind it: **records are computed here, Redis only compares and writes.** A script that understood JSON would turn `[]`
//! into `{}` and round integers; one that compares bytes cannot. So the same plan is carried out by a script, or by `WATCH` and `EXEC`
//! where scripts are forbidden, and both mean the same.

use std::borrow::Cow;
use std::collections::hash_map::Entry;

use foldhash::{HashMap, HashMapExt, HashSet, HashSetExt};

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

    /// The keys and arguments of `commit.lua`. A check and a write of one key become one entry where there is one for both. Entries of one
    /// operation stand together; growing writes come first, because they are what a full memory refuses.
    pub(crate) fn script(&self) -> (Vec<&[u8]>, Vec<Cow<'_, [u8]>>) {
        let mut script = Script { entries: Vec::with_capacity(self.checks.len() + self.writes.len()) };
        // Of keys with several checks, sets with their members, none can be joined with a write.
        let mut checked: HashMap<&[u8], Option<&Check>> = HashMap::with_capacity(self.checks.len());
        for (key, check) in &self.checks {
            match (checked.entry(key), check) {
                (Entry::Vacant(free), Check::Is(_) | Check::Absent | Check::Size(0)) => drop(free.insert(Some(check))),
                (entry, check) => {
                    script.check(key, check);
                    if let Entry::Vacant(free) = entry {
                        free.insert(None);
                    }
                }
            }
        }
        let is_hash = |(_, write): &(Vec<u8>, Write)| matches!(write, Write::Document(..));
        let removed = self.writes.iter().filter(|(_, write)| *write == Write::Delete).map(|(key, _)| key.as_slice());
        let removed: HashSet<&[u8]> = if self.writes.iter().any(is_hash) { removed.collect() } else { HashSet::new() };
        for (key, write) in &self.writes {
            let check = match (checked.get_mut(key.as_slice()), write) {
                (Some(check), Write::Set(_)) if matches!(check, Some(Check::Is(_) | Check::Absent)) => check.take(),
                (Some(check), Write::Delete) if matches!(check, Some(Check::Is(_))) => check.take(),
                (Some(check), Write::Add(_)) if matches!(check, Some(Check::Size(_))) => check.take(),
                _ => None,
            };
            script.write(key, check, write, removed.contains(key.as_slice()));
        }
        for (key, check) in checked {
            if let Some(check) = check {
                script.check(key, check);
            }
        }
        script.finish()
    }
}

/// What `commit.lua` is called with.
struct Script<'p> {
    entries: Vec<(u8, &'p [u8], Args<'p>)>,
}

/// The place of each operation: checks first, then strings, then what is removed before what may take its place.
const RANKS: [u8; 256] = {
    let (order, mut ranks, mut at) = (b"=0nm<NUSFARXDHGIME", [0; 256], 0);
    while at < order.len() {
        ranks[order[at] as usize] = at as u8;
        at += 1;
    }
    ranks
};

enum Args<'p> {
    None,
    One(Cow<'p, [u8]>),
    Two(&'p [u8], &'p [u8]),
}

impl<'p> Script<'p> {
    fn check(&mut self, key: &'p [u8], check: &'p Check) {
        self.entries.push(match check {
            Check::Is(value) => (b'=', key, Args::One(value.into())),
            Check::Absent => (b'0', key, Args::None),
            Check::Size(members) => (b'n', key, Args::One(number(members))),
            Check::Member(member) => (b'm', key, Args::One(member.into())),
            Check::Below(limit) => (b'<', key, Args::One(number(limit))),
        });
    }

    fn write(&mut self, key: &'p [u8], check: Option<&'p Check>, write: &'p Write, is_removed: bool) {
        let (op, args) = match (check, write) {
            (Some(Check::Absent), Write::Set(value)) => (b'N', Args::One(value.into())),
            (Some(Check::Is(old)), Write::Set(value)) => (b'U', Args::Two(old, value)),
            (Some(Check::Is(old)), Write::Delete) => (b'X', Args::One(old.into())),
            (Some(_), Write::Add(member)) => (b'F', Args::One(member.into())),
            (_, Write::Set(value)) => (b'S', Args::One(value.into())),
            (_, Write::Note(value)) => (b'E', Args::One(value.into())),
            (_, Write::Add(member)) => (b'A', Args::One(member.into())),
            (_, Write::Remove(member)) => (b'R', Args::One(member.into())),
            (_, Write::Document(name, api_key)) => {
                (if is_removed { b'G' } else { b'H' }, Args::Two(name.as_bytes(), api_key.as_bytes()))
            }
            (_, Write::Delete) => (b'D', Args::None),
            (_, Write::Grow(by)) => (b'I', Args::One(number(by))),
            (_, Write::Raise(to)) => (b'M', Args::One(number(to))),
        };
        self.entries.push((op, key, args));
    }

    /// The entries whose rights are looked at: all of a few; of many the first of each kind of write to each kind of key, because what an
    /// ACL allows goes by how keys begin.
    fn probed(&self) -> String {
        const FEW: usize = 64;
        let mut seen = HashSet::new();
        let mut probed = String::new();
        for (at, (op, key, _)) in self.entries.iter().enumerate() {
            let is_write = op.is_ascii_uppercase();
            let kind = key.iter().rposition(|byte| *byte == b':').map_or(*key, |at| &key[..at]);
            if is_write && (self.entries.len() <= FEW || seen.insert((*op, kind))) {
                probed.push_str(&(at + 1).to_string());
                probed.push(' ');
            }
        }
        probed
    }

    fn finish(mut self) -> (Vec<&'p [u8]>, Vec<Cow<'p, [u8]>>) {
        self.entries.sort_by_key(|(op, ..)| RANKS[usize::from(*op)]);
        let ops: Vec<u8> = self.entries.iter().map(|(op, ..)| *op).collect();
        let mut args: Vec<Cow<'p, [u8]>> = Vec::with_capacity(2 + 2 * self.entries.len());
        args.extend([Cow::Owned(ops), Cow::Owned(self.probed().into_bytes())]);
        let mut keys = Vec::with_capacity(self.entries.len());
        for (_, key, more) in self.entries {
            keys.push(key);
            match more {
                Args::None => {}
                Args::One(one) => args.push(one),
                Args::Two(one, two) => args.extend([Cow::Borrowed(one), Cow::Borrowed(two)]),
            }
        }
        (keys, args)
    }
}

fn number(number: impl std::fmt::Display) -> Cow<'static, [u8]> {
    Cow::Owned(number.to_string().into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts<P: AsRef<[u8]>>(parts: &[P]) -> Vec<&str> {
        parts.iter().map(|part| std::str::from_utf8(part.as_ref()).expect("text")).collect()
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
        let (keys, args) = plan.script();
        assert_eq!(texts(&keys), ["s:2", "s:2", "r:1", "s:1", "s:2", "r:2", "d:1"]);
        assert_eq!(texts(&args), ["nmNFAXH", "3 4 5 6 7 ", "1", "7", "new", "1", "1", "old", "né", "k"]);
    }

    #[test]
    fn of_many_writes_one_of_each_kind_is_looked_at() {
        let mut plan = Plan::default();
        for n in 0..100 {
            plan.write(format!("r:{n}").into_bytes(), Write::Set(Vec::new()));
            plan.write(format!("s:{n}").into_bytes(), Write::Add(Vec::new()));
        }
        assert_eq!(texts(&plan.script().1)[1], "1 101 ");
    }
}
