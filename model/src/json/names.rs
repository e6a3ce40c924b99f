//! Names and strings compared by what they stand for, and objects looked into by name.
//!
//! A string is compared as WTF-8, because that is the only form in which each string Python can write has one value and no two share
//! one: a Rust string cannot hold half a surrogate pair, and the source text has many spellings. Beyond a few members a look-up goes
//! through a map, because documents are hostile: two objects of a hundred thousand names must not cost their product.

use std::borrow::Cow;
use std::collections::HashMap;
use std::hash::{Hash, Hasher};

use super::Member;

/// Up to so many members are looked through one by one.
pub(super) const FEW: usize = 16;

/// What a JSON string stands for, to be compared and hashed.
#[derive(Debug, Clone)]
pub struct Name<'a>(Cow<'a, [u8]>);

impl<'a> Name<'a> {
    pub(super) const fn new(bytes: Cow<'a, [u8]>) -> Self {
        Self(bytes)
    }

    /// Its characters; `None` if a lone surrogate is among them, which no Rust string can hold.
    #[must_use]
    pub fn into_str(self) -> Option<Cow<'a, str>> {
        match self.0 {
            Cow::Borrowed(bytes) => std::str::from_utf8(bytes).ok().map(Cow::Borrowed),
            Cow::Owned(bytes) => String::from_utf8(bytes).ok().map(Cow::Owned),
        }
    }

    pub(super) fn into_bytes(self) -> Cow<'a, [u8]> {
        self.0
    }
}

impl PartialEq for Name<'_> {
    fn eq(&self, other: &Self) -> bool {
        #[cfg(test)]
        compared::once();
        self.0 == other.0
    }
}

impl Eq for Name<'_> {}

impl Hash for Name<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

impl PartialEq<str> for Name<'_> {
    fn eq(&self, other: &str) -> bool {
        *self.0 == *other.as_bytes()
    }
}

impl PartialOrd for Name<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Name<'_> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.cmp(&other.0)
    }
}

/// An object's members by their names.
pub(super) enum ByName<'j, 'a> {
    Few(Vec<(Name<'a>, &'j Member<'a>)>),
    Many(HashMap<Name<'a>, &'j Member<'a>>),
}

impl<'j, 'a> ByName<'j, 'a> {
    pub(super) fn of(members: &'j [Member<'a>]) -> Self {
        let named = members.iter().map(|m| (m.name.name(), m));
        if members.len() <= FEW { Self::Few(named.collect()) } else { Self::Many(named.collect()) }
    }

    pub(super) fn get(&self, name: &Name<'_>) -> Option<&'j Member<'a>> {
        match self {
            Self::Few(members) => members.iter().find(|(known, _)| known == name).map(|(_, member)| *member),
            Self::Many(members) => members.get(name).copied(),
        }
    }
}

/// How many names were compared in this thread, for tests to bound.
#[cfg(test)]
pub(crate) mod compared {
    use std::cell::Cell;

    thread_local!(static COUNT: Cell<usize> = const { Cell::new(0) });

    pub(super) fn once() {
        COUNT.set(COUNT.get() + 1);
    }

    pub(crate) fn during(work: impl FnOnce()) -> usize {
        COUNT.set(0);
        work();
        COUNT.get()
    }
}
