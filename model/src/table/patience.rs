//! Going over many records without outstaying the caller's deadline.

use std::cell::{Cell, RefCell};
use std::cmp::Ordering;

use crate::context::Context;
use crate::error::{Error, Result};
use crate::eval;
use crate::query::Order;
use crate::row::{Row, RowView};

/// Records between two looks at the deadline.
const LOOK_EVERY: u32 = 256;

/// Ends an iteration when the caller wants no more of it.
#[derive(Debug)]
pub(super) struct Patience<'c> {
    cx: &'c Context<'c>,
    steps: Cell<u32>,
    over: RefCell<Option<Error>>,
}

impl<'c> Patience<'c> {
    pub(super) const fn new(cx: &'c Context<'c>) -> Self {
        Self { cx, steps: Cell::new(0), over: RefCell::new(None) }
    }

    /// Whether there may be one more step.
    pub(super) fn lasts(&self) -> bool {
        let steps = self.steps.get().wrapping_add(1);
        self.steps.set(steps);
        if steps.is_multiple_of(LOOK_EVERY)
            && let Err(error) = self.cx.check()
        {
            *self.over.borrow_mut() = Some(error);
        }
        self.over.borrow().is_none()
    }

    /// To be called behind the last step.
    ///
    /// # Errors
    /// `deadline` if it was not the last by itself.
    pub(super) fn end(self) -> Result<()> {
        self.over.into_inner().map_or(Ok(()), Err)
    }
}

/// A found record; the greatest is the first in a query's order.
pub(super) struct Ranked<'t> {
    pub(super) order: &'t [Order],
    pub(super) row: &'t Row,
    pub(super) view: RowView<'t>,
}

impl Ord for Ranked<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        eval::compare_rows(self.order, &other.view, &self.view)
    }
}

impl PartialOrd for Ranked<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Ranked<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Ranked<'_> {}
