//! What a batch comes down to: what must still be as it was read, and what is written then.
//!
//! The decision behind it: **records are computed here, Redis only compares and writes.** A script that understood JSON would turn `[]`
//! into `{}` and round integers; one that compares bytes cannot. So the same plan is carried out by a script, or by `WATCH` and `EXEC`
//! where scripts are forbidden, and both mean the same.

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

    /// The keys and arguments of `commit.lua`. Growing writes come first, because they are what a full memory refuses.
    pub(crate) fn into_script(mut self) -> (Vec<Vec<u8>>, Vec<Vec<u8>>) {
        self.writes.sort_by_key(|(_, write)| !matches!(write, Write::Set(_)));
        let mut keys = Vec::with_capacity(self.checks.len() + self.writes.len());
        let mut args = Vec::with_capacity(1 + 2 * (self.checks.len() + self.writes.len()));
        let number = |n: &dyn std::fmt::Display| n.to_string().into_bytes();
        args.push(number(&self.checks.len()));
        for (key, check) in self.checks {
            let (op, arg) = match check {
                Check::Is(value) => (b'=', value),
                Check::Absent => (b'0', Vec::new()),
                Check::Size(members) => (b'n', number(&members)),
                Check::Member(member) => (b'm', member),
                Check::Below(limit) => (b'<', number(&limit)),
            };
            keys.push(key);
            args.extend([vec![op], arg]);
        }
        for (key, write) in self.writes {
            let (op, arg) = match write {
                Write::Set(value) => (b'S', value),
                Write::Note(value) => (b'E', value),
                Write::Add(member) => (b'A', member),
                Write::Remove(member) => (b'R', member),
                Write::Document(name, api_key) => (b'H', format!("{}:{name}{api_key}", name.len()).into_bytes()),
                Write::Delete => (b'D', Vec::new()),
                Write::Grow(by) => (b'I', number(&by)),
                Write::Raise(to) => (b'M', number(&to)),
            };
            keys.push(key);
            args.extend([vec![op], arg]);
        }
        (keys, args)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_is_flat_for_the_script() {
        let mut plan = Plan::default();
        plan.check(b"a".to_vec(), Check::Absent);
        plan.write(b"b".to_vec(), Write::Delete);
        plan.write(b"c".to_vec(), Write::Document("né".to_owned(), "k".to_owned()));
        assert_eq!(plan.size(), (3, 7));
        let (keys, args) = plan.into_script();
        assert_eq!(keys, [b"a", b"b", b"c"]);
        assert_eq!(args, ["1", "0", "", "D", "", "H", "3:nék"].map(|text| text.as_bytes().to_vec()));
    }
}
