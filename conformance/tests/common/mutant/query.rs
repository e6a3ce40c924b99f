//! Queries answered wrongly: by hand, over all rows of a sound backend.

use std::cmp::Ordering;

use hivemind_model::{Condition, Context, Op, Order, Page, Query, Result, Row, RowView, Value, ValueRef, eval, json};

use super::{Fault, Mutant};

/// Whether the fault is one of queries.
pub(super) fn concerns(fault: Option<Fault>) -> bool {
    use Fault::*;
    matches!(
        fault,
        Some(
            NeMatchesNil
                | InMatchesNil
                | EmptyInMatchesAll
                | LikeFoldsCase
                | LikeIgnoresEscape
                | ZeroHasASign
                | IntsComparedAsDoubles
                | JsonComparedAsText
                | ContainsFindsText
                | AbsentMemberIsNotNil
                | OrderByUtf16
                | TiesByChance
                | DescendingNilFirst
                | OffsetOnEveryPage
                | PageLosesARow
                | PageRepeatsARow
                | PagesByPosition
                | MaxBytesIgnored
                | LastPageHasNext
                | LimitIgnored
        )
    )
}

pub(super) fn has_long_pattern(query: &Query) -> bool {
    let long = |value: &Value| matches!(value, Value::Text(pattern) if pattern.len() > eval::MAX_PATTERN);
    query.all.iter().any(|condition| condition.op == Op::Like && condition.operands.iter().any(long))
}

impl Mutant {
    pub(super) fn broken_find(&self, cx: &Context<'_>, query: &Query, max_bytes: usize) -> Result<Page> {
        let collection = self.collection(query.collection)?;
        let all = self.inner.find(cx, &Query::all(query.collection), usize::MAX)?;
        let mut rows: Vec<(&Row, RowView<'_>)> =
            all.rows.iter().map(|row| Ok((row, row.view(&collection)?))).collect::<Result<_>>()?;
        rows.retain(|(_, view)| query.all.iter().all(|condition| self.holds(view, condition)));
        rows.sort_by(|(_, a), (_, b)| self.compare(&query.order, a, b));
        self.skip(&mut rows, query);
        let (mut page, mut bytes) = (Page::default(), 0);
        let mut rows = rows.into_iter().peekable();
        let limit = if self.has(Fault::LimitIgnored) { u64::MAX } else { query.limit.unwrap_or(u64::MAX) };
        let mut last = None;
        while let Some((row, view)) = rows.next_if(|(row, _)| {
            let fits = page.rows.is_empty() || bytes + row.as_bytes().len() <= max_bytes || self.has(Fault::MaxBytesIgnored);
            (page.rows.len() as u64) < limit && fits
        }) {
            bytes += row.as_bytes().len();
            page.rows.push(row.clone());
            last = Some(view);
        }
        if self.has(Fault::PageLosesARow) && page.rows.len() > 1 && rows.peek().is_some() {
            last = rows.next().map(|(_, view)| view);
        }
        let full = page.rows.len() as u64 == limit;
        if rows.peek().is_some() || (self.has(Fault::LastPageHasNext) && full) {
            page.next = last.as_ref().map(|view| eval::place_of(&query.order, view));
        }
        if self.has(Fault::PageRepeatsARow) && page.next.is_some() && page.rows.len() > 1 {
            let before_last = page.rows[page.rows.len() - 2].view(&collection)?;
            page.next = Some(eval::place_of(&query.order, &before_last));
        }
        if let (Some(next), true) = (&page.next, self.has(Fault::PagesByPosition)) {
            let mut state = self.state.lock().unwrap();
            let before = query.after.as_ref().and_then(|place| state.given.get(&place.key)).copied().unwrap_or(0);
            state.given.insert(next.key.clone(), before + page.rows.len());
        }
        page.unreadable = if query.after.is_none() { all.unreadable } else { Vec::new() };
        Ok(page)
    }

    /// Drops what lies in front of the page.
    fn skip(&self, rows: &mut Vec<(&Row, RowView<'_>)>, query: &Query) {
        let offset = usize::try_from(query.offset).unwrap_or(usize::MAX);
        if let Some(place) = &query.after {
            if self.has(Fault::PagesByPosition)
                && let Some(given) = self.state.lock().unwrap().given.get(&place.key)
            {
                rows.drain(..(*given).min(rows.len()));
                return;
            }
            rows.retain(|(_, view)| eval::is_after(&query.order, view, place));
        }
        if query.after.is_none() || self.has(Fault::OffsetOnEveryPage) {
            rows.drain(..offset.min(rows.len()));
        }
    }

    fn holds(&self, view: &RowView<'_>, condition: &Condition) -> bool {
        let sound = || eval::matches(view, std::slice::from_ref(condition));
        let (value, op) = (view.at(condition.field), condition.op);
        let operand = condition.operands.first();
        match (self.fault, value, operand) {
            (Some(Fault::NeMatchesNil), ValueRef::Nil, _) if op == Op::Ne => true,
            (Some(Fault::InMatchesNil), ValueRef::Nil, _) if op == Op::In => true,
            (Some(Fault::EmptyInMatchesAll), _, None) if op == Op::In => true,
            (Some(Fault::LikeFoldsCase), ValueRef::Text(text), Some(Value::Text(pattern))) if op == Op::Like => {
                eval::like(&text.to_lowercase(), &pattern.to_lowercase())
            }
            (Some(Fault::LikeIgnoresEscape), ValueRef::Text(text), Some(Value::Text(pattern))) if op == Op::Like => {
                eval::like(text, &pattern.replace('\\', "\\\\"))
            }
            (Some(Fault::ZeroHasASign), ValueRef::Real(a), Some(Value::Real(b))) if op == Op::Eq => a.to_bits() == b.to_bits(),
            (Some(Fault::IntsComparedAsDoubles), ValueRef::Int(a), Some(Value::Real(b))) if op == Op::Eq => a as f64 == *b,
            (Some(Fault::JsonComparedAsText), ValueRef::Json(a), Some(Value::Json(b))) if op == Op::Eq => a == b,
            (Some(Fault::ContainsFindsText), ValueRef::Json(a), Some(Value::Text(b))) if op == Op::Contains => {
                a.contains(&json::quote(b))
            }
            (Some(Fault::AbsentMemberIsNotNil), ValueRef::Json(text), _) if op == Op::IsNull && condition.member.is_some() => {
                json::parse(text).is_ok_and(|object| {
                    object.member(condition.member.as_deref().unwrap_or("")).is_some_and(|m| m.value == json::Json::Null)
                })
            }
            _ => sound(),
        }
    }

    fn compare(&self, order: &[Order], a: &RowView<'_>, b: &RowView<'_>) -> Ordering {
        let by_fields = order.iter().map(|o| {
            let (a, b) = (a.at(o.field), b.at(o.field));
            let ascending = match (self.fault, a, b) {
                (Some(Fault::OrderByUtf16), ValueRef::Text(a), ValueRef::Text(b)) => a.encode_utf16().cmp(b.encode_utf16()),
                _ => eval::compare(a, b).unwrap_or_else(|| (!a.is_nil()).cmp(&!b.is_nil())),
            };
            let nil_first = self.has(Fault::DescendingNilFirst) && (a.is_nil() || b.is_nil());
            if o.descending && !nil_first { ascending.reverse() } else { ascending }
        });
        let by_fields = by_fields.fold(Ordering::Equal, Ordering::then);
        let by_key = a.key().cmp(&b.key());
        by_fields.then(if self.has(Fault::TiesByChance) && !order.is_empty() { by_key.reverse() } else { by_key })
    }
}
