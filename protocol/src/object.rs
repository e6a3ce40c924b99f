//! JSON taken apart one level deep: what is not looked at is passed on as it was written.
//!
//! The dialect is that of Python's `json`, as there is a Python program at either end of a node: `NaN` and `Infinity` are numbers,
//! half a surrogate pair may stand in a string. Repeated names are refused, because two programs may read them differently, and so are
//! objects and lists of more than [`MAX_PARTS`], because each part costs more memory than it has bytes.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;

use hivemind_model::json::{ParseError, Part, Text, outline, quote};

/// A JSON value as it was written, known to be one and nested at most
/// [`MAX_DEPTH`](hivemind_model::json::MAX_DEPTH) levels deep.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RawJson<'a> {
    text: &'a str,
}

/// The most members or items of what is taken apart. What is only passed on may have more.
pub const MAX_PARTS: usize = 1 << 16;

/// The text is not what it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Malformed {
    /// It is not JSON; where and why.
    NotJson(ParseError),
    /// It is not an object, or not a list.
    WrongKind,
    /// A name stands in it twice.
    Repeated,
    /// It has more than [`MAX_PARTS`] members or items.
    TooMany,
    /// A string in it is not Unicode: half a surrogate pair.
    Surrogate,
    /// What has to be there is not, or is of another kind.
    Member(&'static str),
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotJson(e) => write!(f, "not JSON: {e}"),
            Self::WrongKind => f.write_str("JSON of another kind than expected"),
            Self::Repeated => f.write_str("an object with a name in it twice"),
            Self::TooMany => write!(f, "an object or a list of more than {MAX_PARTS}"),
            Self::Surrogate => f.write_str("a string with half a surrogate pair"),
            Self::Member(name) => write!(f, "its '{name}' is missing or of another kind"),
        }
    }
}

impl std::error::Error for Malformed {}

impl From<ParseError> for Malformed {
    fn from(e: ParseError) -> Self {
        Self::NotJson(e)
    }
}

impl<'a> RawJson<'a> {
    /// `{}`.
    pub const EMPTY_OBJECT: RawJson<'static> = RawJson { text: "{}" };

    /// Checks a text.
    ///
    /// # Errors
    /// If it is not one JSON value.
    pub fn parse(text: &'a str) -> Result<Self, Malformed> {
        outline(text, |_| ())?;
        Ok(Self { text: trimmed(text) })
    }

    /// What was checked as part of a larger text.
    pub(crate) const fn checked(text: &'a str) -> Self {
        Self { text }
    }

    /// Its text, without white space around it.
    #[must_use]
    pub const fn get(self) -> &'a str {
        self.text
    }

    /// Whether it is an object.
    #[must_use]
    pub fn is_object(self) -> bool {
        self.text.starts_with('{')
    }

    /// Whether it is a list.
    #[must_use]
    pub fn is_list(self) -> bool {
        self.text.starts_with('[')
    }

    /// Whether it is `null`.
    #[must_use]
    pub fn is_null(self) -> bool {
        self.text == "null"
    }

    /// What it says, if it is a string that has no lone surrogate in it.
    #[must_use]
    pub fn as_str(self) -> Option<Cow<'a, str>> {
        let raw = self.text.strip_prefix('"')?.strip_suffix('"')?;
        if raw.contains('\\') { Text { raw }.to_str() } else { Some(Cow::Borrowed(raw)) }
    }

    /// Its members.
    ///
    /// # Errors
    /// If it is not an object, a name is repeated, or there are more than [`MAX_PARTS`].
    pub fn object(self) -> Result<Object<'a>, Malformed> {
        Object::parse(self.text)
    }

    /// Its items.
    ///
    /// # Errors
    /// If it is not a list, or one of more than [`MAX_PARTS`].
    pub fn items(self) -> Result<Vec<RawJson<'a>>, Malformed> {
        let mut items = Vec::new();
        if !self.is_list() {
            return Err(Malformed::WrongKind);
        }
        outline(self.text, |part| {
            if let Part::Item(text) = part
                && items.len() <= MAX_PARTS
            {
                items.push(Self { text });
            }
        })?;
        if items.len() > MAX_PARTS { Err(Malformed::TooMany) } else { Ok(items) }
    }
}

/// The members of a JSON object in their order, each value as text.
#[derive(Clone, Default)]
pub struct Object<'a> {
    members: Vec<(Cow<'a, str>, Cow<'a, str>)>,
}

/// Up to so many names are compared one with another.
const FEW: usize = 16;

impl<'a> Object<'a> {
    /// Takes an object apart.
    ///
    /// # Errors
    /// If it is not one, a name is repeated, or there are more than [`MAX_PARTS`].
    pub fn parse(text: &'a str) -> Result<Self, Malformed> {
        let mut members = Vec::new();
        outline(text, |part| {
            if let Part::Member(name, _, value) = part
                && members.len() <= MAX_PARTS
            {
                members.push((Cow::Borrowed(name.raw), Cow::Borrowed(value)));
            }
        })?;
        if !trimmed(text).starts_with('{') {
            return Err(Malformed::WrongKind);
        }
        if members.len() > MAX_PARTS {
            return Err(Malformed::TooMany);
        }
        if repeats(&members) { Err(Malformed::Repeated) } else { Ok(Self { members }) }
    }

    /// The value of this name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<RawJson<'_>> {
        self.at(name).map(|at| RawJson { text: &self.members[at].1 })
    }

    /// What the member of this name says, if it is a string.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<Cow<'_, str>> {
        self.get(name)?.as_str()
    }

    /// Names as they are written between their quotes, and values.
    pub fn iter(&self) -> impl Iterator<Item = (&str, RawJson<'_>)> {
        self.members.iter().map(|(name, text)| (name.as_ref(), RawJson { text }))
    }

    /// Whether it has no members.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// Sets a member to a value that is JSON already. A new one is the last.
    pub fn set(&mut self, name: &'a str, value: impl Into<Cow<'a, str>>) {
        let value = value.into();
        debug_assert!(outline(&value, |_| ()).is_ok(), "not JSON");
        match self.at(name) {
            Some(at) => self.members[at].1 = value,
            None => self.members.push((escaped(name), value)),
        }
    }

    /// Sets a member to a string.
    pub fn set_text(&mut self, name: &'a str, value: &str) {
        self.set(name, quote(value));
    }

    /// Removes a member.
    pub fn remove(&mut self, name: &str) {
        if let Some(at) = self.at(name) {
            self.members.remove(at);
        }
    }

    /// Appends the object as JSON.
    pub fn write(&self, out: &mut Vec<u8>) {
        out.push(b'{');
        for (at, (name, value)) in self.members.iter().enumerate() {
            out.extend_from_slice(if at == 0 { b"\"" } else { b",\"" });
            out.extend_from_slice(name.as_bytes());
            out.extend_from_slice(b"\":");
            out.extend_from_slice(value.as_bytes());
        }
        out.push(b'}');
    }

    fn at(&self, name: &str) -> Option<usize> {
        let plain = !name.bytes().any(must_be_escaped);
        self.members.iter().position(|(raw, _)| match raw.contains('\\') {
            false => plain && raw == name,
            true => Text { raw }.name() == *name,
        })
    }
}

/// Names alone: values may be anybody's.
impl fmt::Debug for Object<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.members.iter().map(|(name, _)| name)).finish()
    }
}

fn repeats(members: &[(Cow<'_, str>, Cow<'_, str>)]) -> bool {
    if members.len() <= FEW && members.iter().all(|(name, _)| !name.contains('\\')) {
        return members.iter().enumerate().any(|(at, (name, _))| members[..at].iter().any(|(before, _)| before == name));
    }
    // An escaped name may be that of another in disguise; and many are not compared one with another.
    let mut seen = HashSet::with_capacity(members.len());
    !members.iter().all(|(raw, _)| seen.insert(Text { raw }.name()))
}

fn trimmed(text: &str) -> &str {
    text.trim_matches([' ', '\t', '\n', '\r'])
}

const fn must_be_escaped(byte: u8) -> bool {
    byte < 0x20 || byte == b'"' || byte == b'\\'
}

fn escaped(text: &str) -> Cow<'_, str> {
    if !text.bytes().any(must_be_escaped) {
        return Cow::Borrowed(text);
    }
    let quoted = quote(text);
    Cow::Owned(quoted[1..quoted.len() - 1].to_owned())
}

/// Appends a string as JSON, quotes included.
pub(crate) fn push_text(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    out.extend_from_slice(escaped(text).as_bytes());
    out.push(b'"');
}

#[cfg(test)]
mod tests;
