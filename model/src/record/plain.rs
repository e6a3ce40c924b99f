//! Records in which there is nothing to fold and nothing wrong, as most are: read without a copy of each value in between.
//!
//! The decision behind it: **this way never says no, it steps aside.** Whatever is out of the ordinary, it gives nothing, and the rules of
//! [`super`] decide. So there is one place that says what a record means, and the property tests that both give the same row.

use std::borrow::Cow;

use super::is_dropped;
use crate::collection::Collection;
use crate::json::{self, Flat, Json, Member, Part, Text};
use crate::row::{Row, encode};
use crate::value::{Kind, ValueRef};

/// The row of a record's text, read without making a tree of it.
pub(super) fn from_text(collection: &Collection, text: &str) -> Option<Row> {
    let mut plain = Plain::new(collection);
    // What comes after something odd is read on, because a text that is no JSON is no record either way.
    let shape = json::outline(text, |part| match part {
        Part::Inner(name) => plain.meet(name),
        Part::Member(name, value, raw) => plain.take(name, value, raw),
        Part::Item(_) => {}
    });
    if shape == Ok(Flat::Object) { plain.finish() } else { None }
}

/// The row of a record that is parsed already.
pub(super) fn from_members(collection: &Collection, members: &[Member<'_>]) -> Option<Row> {
    let mut plain = Plain::new(collection);
    for member in members {
        if let Json::Object(inner) = &member.value {
            inner.iter().for_each(|inner| plain.meet(inner.name));
        }
        plain.take(member.name, Flat::from(&member.value), member.raw);
    }
    plain.finish()
}

/// A member's value as its field holds it, if it is that word for word.
pub(super) fn value_of<'t>(kind: Kind, value: Flat<'t>, raw: &'t str) -> Option<ValueRef<'t>> {
    Some(match (kind, value) {
        (_, Flat::Null) => ValueRef::Nil,
        (Kind::Json, _) => ValueRef::Json(raw),
        (Kind::Bool, Flat::Bool(value)) => ValueRef::Bool(value),
        (Kind::Int, Flat::Number(raw)) => ValueRef::Int(raw.parse().ok()?),
        (Kind::Real, Flat::Number(raw)) => ValueRef::Real(raw.parse().ok().filter(|value: &f64| value.is_finite())?),
        (Kind::Text, Flat::String(text)) if !text.raw.contains('\\') => ValueRef::Text(text.raw),
        _ => return None,
    })
}

/// A record under construction.
struct Plain<'c, 't> {
    collection: &'c Collection,
    values: Vec<ValueRef<'t>>,
    /// Texts with escapes, by the positions of their fields.
    decoded: Vec<(usize, Cow<'t, str>)>,
    /// The last object has a member that no extras may have.
    has_dropped: bool,
    extras_are_right: bool,
    is_plain: bool,
}

impl<'c: 't, 't> Plain<'c, 't> {
    fn new(collection: &'c Collection) -> Self {
        let values: Vec<_> = collection.fields.iter().map(|field| field.default.as_ref()).collect();
        let extras_are_right = collection.extras.is_none_or(|at| values[at] == ValueRef::Json("{}"));
        Self { collection, values, decoded: Vec::new(), has_dropped: false, extras_are_right, is_plain: true }
    }

    /// A name in an object that is about to be taken as a member.
    fn meet(&mut self, name: Text<'_>) {
        self.has_dropped |= is_dropped(self.collection, name);
    }

    fn take(&mut self, name: Text<'t>, value: Flat<'t>, raw: &'t str) {
        let has_dropped = std::mem::take(&mut self.has_dropped);
        if self.is_plain {
            self.is_plain = self.put(name, value, raw, has_dropped).is_some();
        }
    }

    /// `None` for what is out of the ordinary.
    fn put(&mut self, name: Text<'t>, value: Flat<'t>, raw: &'t str, has_dropped: bool) -> Option<()> {
        let fields = &self.collection.fields;
        let at = fields.iter().position(|field| field.name == name.raw)?;
        // Of repeated names the last counts.
        self.decoded.retain(|(decoded, _)| *decoded != at);
        self.values[at] = match (fields[at].kind, value) {
            (Kind::Text, Flat::String(text)) if text.raw.contains('\\') => {
                self.decoded.push((at, text.to_str()?));
                ValueRef::Nil
            }
            (kind, value) => value_of(kind, value, raw)?,
        };
        if self.collection.extras == Some(at) {
            self.extras_are_right = value == Flat::Object && !has_dropped;
        }
        Some(())
    }

    fn finish(self) -> Option<Row> {
        if !self.is_plain || !self.extras_are_right {
            return None;
        }
        if self.decoded.is_empty() {
            return Some(encode(self.values.iter().copied()));
        }
        let decoded = |at: usize| self.decoded.iter().find(|(decoded, _)| *decoded == at);
        let text = |(at, value): (usize, &ValueRef<'t>)| decoded(at).map_or(*value, |(_, text)| ValueRef::Text(text));
        let values: Vec<ValueRef<'_>> = self.values.iter().enumerate().map(text).collect();
        Some(encode(values.iter().copied()))
    }
}
