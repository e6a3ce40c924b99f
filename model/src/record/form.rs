//! Records in the one form that their main writer gives them: the fields in the order of their names, one space after `,` and `:`.
//!
//! The decision behind it: **a name that is expected is compared, not read.** Most of a record's text is the names of its fields, so a text
//! in this form is read in about half the steps. As in [`super::plain`], anything else is nothing here, and the rules of [`super`] decide.

use std::sync::Arc;

use super::{is_dropped, plain};
use crate::collection::Collection;
use crate::json::{self, Flat, Part};
use crate::row::{Row, encode};
use crate::value::ValueRef;

/// The form of a collection's records.
#[derive(Debug, Clone)]
pub struct Form {
    collection: Arc<Collection>,
    /// The position of each field in the order of names, and what stands before its value.
    fields: Vec<(usize, String)>,
}

impl Form {
    /// The form of this collection's records.
    #[must_use]
    pub fn new(collection: &Arc<Collection>) -> Self {
        let mut order: Vec<usize> = (0..collection.fields.len()).collect();
        order.sort_by_key(|at| &collection.fields[*at].name);
        let before = |(nth, at): (usize, usize)| {
            let separator = if nth == 0 { "{" } else { ", " };
            (at, format!("{separator}{}: ", json::quote(&collection.fields[at].name)))
        };
        let fields = order.into_iter().enumerate().map(before).collect();
        Self { collection: Arc::clone(collection), fields }
    }

    /// The collection.
    #[must_use]
    pub fn collection(&self) -> &Collection {
        &self.collection
    }

    /// The positions of the fields in the order in which they are written, and what stands before the value of each. A record ends
    /// with `}`.
    pub fn fields(&self) -> impl Iterator<Item = (usize, &str)> {
        self.fields.iter().map(|(at, before)| (*at, before.as_str()))
    }

    /// The row of a record's text in this form, the same that [`super::from_json`] gives; `None` for any other text, and for one that
    /// something has to be done to.
    #[must_use]
    pub fn row(&self, text: &str) -> Option<Row> {
        let mut values = vec![ValueRef::Nil; self.fields.len()];
        let mut rest = text;
        for (at, before) in self.fields() {
            rest = rest.strip_prefix(before)?;
            let is_extras = self.collection.extras == Some(at);
            let mut has_dropped = false;
            let meet = |part: Part<'_>| {
                if let (true, Part::Inner(name)) = (is_extras, part) {
                    has_dropped |= is_dropped(&self.collection, name);
                }
            };
            let (value, raw) = json::first(rest, meet).ok()?;
            if is_extras && (value != Flat::Object || has_dropped) {
                return None;
            }
            values[at] = plain::value_of(self.collection.fields[at].kind, value, raw)?;
            rest = &rest[raw.len()..];
        }
        (rest == "}").then(|| encode(values.iter().copied()))
    }
}
