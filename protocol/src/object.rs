//! JSON objects taken apart one level deep: what is not looked at is passed on as it was written.
//!
//! The dialect is that of Python's `json`, as everything at both ends of a node is Python: `NaN` and `Infinity` are numbers, and half
//! a surrogate pair may stand in a string. Repeated names are refused, because two programs may read them differently.

use std::borrow::Cow;

/// A JSON value as it was written, known to be one and not nested deeper than 200 levels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RawJson<'a> {
    text: &'a str,
}

impl<'a> RawJson<'a> {
    /// `{}`.
    pub const EMPTY_OBJECT: RawJson<'static> = RawJson { text: "{}" };

    /// Checks a text.
    ///
    /// # Errors
    /// If it is not one JSON value.
    pub fn parse(_text: &'a str) -> Result<Self, Malformed> {
        todo!()
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

    /// Whether it is `null`.
    #[must_use]
    pub fn is_null(self) -> bool {
        self.text == "null"
    }

    /// What it says, if it is a string that has no lone surrogate in it.
    #[must_use]
    pub fn as_str(self) -> Option<Cow<'a, str>> {
        todo!()
    }

    /// Its members, if it is an object.
    ///
    /// # Errors
    /// If it is not, or a name is repeated.
    pub fn object(self) -> Result<Object<'a>, Malformed> {
        todo!()
    }

    /// Its items, if it is a list.
    ///
    /// # Errors
    /// If it is not.
    pub fn items(self) -> Result<Vec<RawJson<'a>>, Malformed> {
        todo!()
    }
}

/// The text is not what it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Malformed {
    /// It is not JSON; where and why.
    NotJson(hivemind_model::json::ParseError),
    /// It is not an object, or not a list.
    WrongKind,
    /// A name is repeated.
    Repeated,
}

/// The members of a JSON object in their order, each value as text.
#[derive(Debug, Clone, Default)]
pub struct Object<'a> {
    members: Vec<(Cow<'a, str>, Cow<'a, str>)>,
}

impl<'a> Object<'a> {
    /// Takes an object apart.
    ///
    /// # Errors
    /// If it is not one, or a name is repeated.
    pub fn parse(_text: &'a str) -> Result<Self, Malformed> {
        todo!()
    }

    /// The value of this name.
    #[must_use]
    pub fn get(&self, _name: &str) -> Option<RawJson<'_>> {
        todo!()
    }

    /// What a member says that is a string.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<Cow<'_, str>> {
        self.get(name)?.as_str()
    }

    /// The members in their order, names as they are written between their quotes.
    pub fn iter(&self) -> impl Iterator<Item = (&str, RawJson<'_>)> {
        self.members.iter().map(|(name, value)| (name.as_ref(), RawJson { text: value }))
    }

    /// Sets a member to a value that is JSON already.
    pub fn set(&mut self, _name: &'a str, _value: impl Into<Cow<'a, str>>) {
        todo!()
    }

    /// Sets a member to a string.
    pub fn set_text(&mut self, _name: &'a str, _value: &str) {
        todo!()
    }

    /// Removes a member.
    pub fn remove(&mut self, _name: &str) {
        todo!()
    }

    /// Appends the object as JSON.
    pub fn write(&self, _out: &mut Vec<u8>) {
        todo!()
    }
}
