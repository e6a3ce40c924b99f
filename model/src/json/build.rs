//! What is made of JSON text while it is read: a tree, or nothing but word of what lies near the surface.
//!
//! The parser is one, so that both are strict in the same way.

use std::collections::HashSet;

use super::names::FEW;
use super::{Json, Member, Text};

/// A value of which nothing is made.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Flat<'a> {
    /// `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A number as it was written.
    Number(&'a str),
    /// A text.
    String(Text<'a>),
    /// A list.
    Array,
    /// An object.
    Object,
}

impl<'a> From<&Json<'a>> for Flat<'a> {
    fn from(json: &Json<'a>) -> Self {
        match json {
            Json::Null => Self::Null,
            Json::Bool(value) => Self::Bool(*value),
            Json::Number(raw) => Self::Number(raw),
            Json::String(text) => Self::String(*text),
            Json::Array(_) => Self::Array,
            Json::Object(_) => Self::Object,
        }
    }
}

/// What lies near the surface of a document.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Part<'a> {
    /// A member of the outermost object: name, value, and the value as it was written.
    Member(Text<'a>, Flat<'a>, &'a str),
    /// A name in an object that is told next, as a member or an item.
    Inner(Text<'a>),
    /// An item of the outermost list as it was written.
    Item(&'a str),
}

/// What is made of what was read.
pub(super) trait Build<'a> {
    type Value;
    type Items: Default;
    type Members: Default;

    /// A value that is neither list nor object.
    fn leaf(&mut self, leaf: Flat<'a>) -> Self::Value;
    /// An item of a list that lies so deep.
    fn item(&mut self, depth: usize, items: &mut Self::Items, item: (Self::Value, &'a str));
    fn array(&mut self, items: Self::Items) -> Self::Value;
    /// A member of an object that lies so deep.
    fn member(&mut self, depth: usize, members: &mut Self::Members, member: (Text<'a>, Self::Value, &'a str));
    fn object(&mut self, members: Self::Members) -> Self::Value;
}

/// Makes the document, of the members of the outermost object with what is left of each.
pub(super) struct Tree<F>(pub(super) F);

impl<'a, F: FnMut(Member<'a>) -> Option<Member<'a>>> Build<'a> for Tree<F> {
    type Value = Json<'a>;
    type Items = Vec<Json<'a>>;
    type Members = Vec<Member<'a>>;

    fn leaf(&mut self, leaf: Flat<'a>) -> Json<'a> {
        match leaf {
            Flat::Null => Json::Null,
            Flat::Bool(value) => Json::Bool(value),
            Flat::Number(raw) => Json::Number(raw),
            Flat::String(text) => Json::String(text),
            Flat::Array => Json::Array(Vec::new()),
            Flat::Object => Json::Object(Vec::new()),
        }
    }

    fn item(&mut self, _depth: usize, items: &mut Self::Items, (value, _): (Json<'a>, &'a str)) {
        items.push(value);
    }

    fn array(&mut self, items: Self::Items) -> Json<'a> {
        Json::Array(items)
    }

    fn member(&mut self, depth: usize, members: &mut Self::Members, (name, value, raw): (Text<'a>, Json<'a>, &'a str)) {
        let member = Member { name, value, raw };
        members.extend(if depth == 0 { (self.0)(member) } else { Some(member) });
    }

    fn object(&mut self, members: Self::Members) -> Json<'a> {
        Json::Object(last_of_each(members))
    }
}

/// Makes nothing, and tells the outermost parts.
pub(super) struct Outline<F>(pub(super) F);

impl<'a, F: FnMut(Part<'a>)> Build<'a> for Outline<F> {
    type Value = Flat<'a>;
    type Items = ();
    type Members = ();

    #[inline]
    fn leaf(&mut self, leaf: Flat<'a>) -> Flat<'a> {
        leaf
    }

    #[inline]
    fn item(&mut self, depth: usize, (): &mut (), (_, raw): (Flat<'a>, &'a str)) {
        if depth == 0 {
            (self.0)(Part::Item(raw));
        }
    }

    fn array(&mut self, (): ()) -> Flat<'a> {
        Flat::Array
    }

    #[inline]
    fn member(&mut self, depth: usize, (): &mut (), (name, value, raw): (Text<'a>, Flat<'a>, &'a str)) {
        match depth {
            0 => (self.0)(Part::Member(name, value, raw)),
            1 => (self.0)(Part::Inner(name)),
            _ => {}
        }
    }

    fn object(&mut self, (): ()) -> Flat<'a> {
        Flat::Object
    }
}

/// Of repeated names the last counts, and stands where it stood.
fn last_of_each(members: Vec<Member<'_>>) -> Vec<Member<'_>> {
    // Without escapes, names are the same if their texts are; to compare a few of these is cheaper than to hash them.
    let raw: &[_] = if members.len() <= FEW { &members } else { &[] };
    let is_new = |(at, m): (usize, &Member<'_>)| raw[..at].iter().all(|before| before.name.raw != m.name.raw);
    if raw.len() == members.len() && raw.iter().all(|m| !m.name.raw.contains('\\')) && raw.iter().enumerate().all(is_new) {
        return members;
    }
    let mut seen = HashSet::with_capacity(members.len());
    if members.iter().all(|m| seen.insert(m.name.name())) {
        return members;
    }
    seen.clear();
    let mut kept: Vec<_> = members.into_iter().rev().filter(|m| seen.insert(m.name.name())).collect();
    kept.reverse();
    kept
}
