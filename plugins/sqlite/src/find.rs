//! Queries: what SQLite can answer exactly becomes SQL, the rest is evaluated on the rows that are left.
//!
//! "Exactly" is the model's table of operators, not SQLite's habits. Conditions on json fields, their members, and `like` are never
//! translated; operands are, if they can be turned into the field's own kind without loss, so that no affinity of a column changes
//! them. A row whose columns are not of their kinds may be found or passed over by SQL, which does not matter: it cannot be read, so
//! it is never in an answer, and is reported by [`unreadable`].

use std::borrow::Cow;
use std::fmt::Write as _;

use hivemind_abi::model::engine::Pager;
use hivemind_abi::model::{
    Condition, Context, Continuation, Kind, Op, Order, Page, Query, Result, Row, RowView, Unreadable, Value, ValueRef, eval,
};
use rusqlite::{Connection, params_from_iter};

use crate::connection::Opener;
use crate::decode::{Decoded, decode};
use crate::statements::{Bound, Table, compared};

/// Rows between two looks at the caller's deadline.
const CHECK_EVERY: usize = 64;
/// Longer lists are compared here, to keep statements few and short.
const MOST_OPERANDS: usize = 64;
/// Greater integers are not all doubles.
const EXACT: i64 = 1 << 53;

/// A query as SQL, and what SQL could not say.
struct Plan<'q> {
    filter: String,
    order: String,
    bound: Vec<Cow<'q, Value>>,
    residual: Vec<Condition>,
}

/// A page of a checked query. `unreadable` are the collection's records that cannot be read.
pub(crate) fn page(
    cx: &Context<'_>,
    connection: &Connection,
    opener: &Opener,
    table: &Table,
    query: &Query,
    max_bytes: usize,
    unreadable: &[Unreadable],
) -> Result<Page> {
    let mut pager = Pager::new(query, max_bytes);
    for record in unreadable {
        pager.unreadable(record.key.clone(), record.message.clone());
    }
    if query.limit != Some(0) {
        scan(cx, connection, opener, table, query, |row, view| pager.offer(view, || row.clone()))?;
    }
    Ok(pager.finish())
}

/// How many records a checked query without order and place finds. `all_readable`: SQL alone may count.
pub(crate) fn count(
    cx: &Context<'_>,
    connection: &Connection,
    opener: &Opener,
    table: &Table,
    query: &Query,
    all_readable: bool,
) -> Result<u64> {
    let plan = Plan::of(table, query);
    let mut found: u64 = 0;
    if all_readable && plan.residual.is_empty() {
        let sql = format!("SELECT count(*) FROM {}{}", table.name(), plan.filter);
        let ask = || connection.prepare_cached(&sql)?.query_row(plan.parameters(), |row| row.get::<_, i64>(0));
        found = ask().map_err(|e| opener.failed(&e))?.unsigned_abs();
    } else {
        scan(cx, connection, opener, table, query, |_, _| {
            found += 1;
            true
        })?;
    }
    let found = found.saturating_sub(query.offset);
    Ok(query.limit.map_or(found, |limit| found.min(limit)))
}

/// Hands the readable records that match a checked query to `each`, in order, until that says no. Offset and limit are the caller's.
pub(crate) fn scan(
    cx: &Context<'_>,
    connection: &Connection,
    opener: &Opener,
    table: &Table,
    query: &Query,
    mut each: impl FnMut(&Row, &RowView<'_>) -> bool,
) -> Result<()> {
    let plan = Plan::of(table, query);
    let sql = format!("{}{} ORDER BY {}", table.select, plan.filter, plan.order);
    let failed = |e: rusqlite::Error| opener.failed(&e);
    let mut statement = connection.prepare_cached(&sql).map_err(failed)?;
    let mut rows = statement.query(plan.parameters()).map_err(failed)?;
    let mut seen: usize = 0;
    while let Some(row) = rows.next().map_err(failed)? {
        seen += 1;
        if seen.is_multiple_of(CHECK_EVERY) {
            cx.check()?;
        }
        let (Decoded::AsStored(row) | Decoded::Folded(row)) = decode(table, row) else { continue };
        let view = row.view(&table.collection)?;
        if eval::matches(&view, &plan.residual) && !each(&row, &view) {
            break;
        }
    }
    Ok(())
}

/// The records of a table that cannot be read, in the order of their keys.
pub(crate) fn unreadable(cx: &Context<'_>, connection: &Connection, opener: &Opener, table: &Table) -> Result<Vec<Unreadable>> {
    let failed = |e: rusqlite::Error| opener.failed(&e);
    let mut statement = connection.prepare_cached(&format!("{} ORDER BY {}", table.select, table.key())).map_err(failed)?;
    let mut rows = statement.query([]).map_err(failed)?;
    let mut found = Vec::new();
    let mut seen: usize = 0;
    while let Some(row) = rows.next().map_err(failed)? {
        seen += 1;
        if seen.is_multiple_of(CHECK_EVERY) {
            cx.check()?;
        }
        if let Decoded::Unreadable(record) = decode(table, row) {
            found.push(record);
        }
    }
    Ok(found)
}

impl<'q> Plan<'q> {
    fn of(table: &Table, query: &'q Query) -> Self {
        let mut plan = Self { filter: String::new(), order: String::new(), bound: Vec::new(), residual: Vec::new() };
        let mut terms = Vec::new();
        for condition in &query.all {
            match plan.term(table, condition) {
                Some(term) => terms.push(term),
                None => plan.residual.push(condition.clone()),
            }
        }
        if let Some(after) = &query.after {
            terms.push(plan.after(table, &query.order, after));
        }
        if !terms.is_empty() {
            plan.filter = format!(" WHERE {}", terms.join(" AND "));
        }
        for order in &query.order {
            let direction = if order.descending { "DESC" } else { "ASC" };
            // SQLite, too, puts NULL before every value.
            let _ = write!(plan.order, "{} {direction}, ", compared(&table.collection, order.field));
        }
        plan.order.push_str(&table.key());
        plan
    }

    fn parameters(&self) -> impl rusqlite::Params + '_ {
        params_from_iter(self.bound.iter().map(|value| Bound(value.as_ref().as_ref())))
    }

    fn bind(&mut self, value: Cow<'q, Value>) -> String {
        self.bound.push(value);
        format!("?{}", self.bound.len())
    }

    /// A condition as SQL that is true, false or NULL exactly as the model says; `None` if there is none.
    fn term(&mut self, table: &Table, condition: &'q Condition) -> Option<String> {
        let kind = table.collection.fields.get(condition.field)?.kind;
        if kind == Kind::Json || condition.member.is_some() {
            return None;
        }
        let field = compared(&table.collection, condition.field);
        let operator = match condition.op {
            Op::IsNull => return Some(format!("{field} IS NULL")),
            Op::NotNull => return Some(format!("{field} IS NOT NULL")),
            Op::Eq => "=",
            Op::Ne => "<>",
            Op::Lt => "<",
            Op::Le => "<=",
            Op::Gt => ">",
            Op::Ge => ">=",
            Op::In => "IN",
            _ => return None,
        };
        if condition.operands.len() > MOST_OPERANDS {
            return None;
        }
        let operands: Vec<_> = condition.operands.iter().map(|v| exactly(kind, v)).collect::<Option<_>>()?;
        let places: Vec<String> = operands.into_iter().map(|v| self.bind(v)).collect();
        Some(match condition.op {
            Op::In => format!("{field} IN ({})", places.join(", ")),
            _ => format!("{field} {operator} {}", places.first()?),
        })
    }

    /// What lies behind the place where a page ended: in the first field that differs, or in the key.
    fn after(&mut self, table: &Table, order: &[Order], after: &'q Continuation) -> String {
        let key = Cow::Owned(after.key.as_ref().as_value().to_value());
        let place = self.bind(key);
        let mut behind = format!("{} > {place}", table.key());
        for (order, value) in order.iter().zip(&after.values).rev() {
            let field = compared(&table.collection, order.field);
            let place = self.bind(Cow::Borrowed(value));
            let further = match (value, order.descending) {
                (Value::Nil, false) => format!("{field} IS NOT NULL"),
                (Value::Nil, true) => "0".to_owned(),
                (_, false) => format!("{field} > {place}"),
                (_, true) => format!("({field} < {place} OR {field} IS NULL)"),
            };
            behind = format!("({further} OR ({field} IS {place} AND {behind}))");
        }
        behind
    }
}

/// An operand as a value of the field's kind, if there is an equal one.
#[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "the range was checked")]
fn exactly(kind: Kind, operand: &Value) -> Option<Cow<'_, Value>> {
    match (kind, operand) {
        (Kind::Real, Value::Int(v)) if (-EXACT..=EXACT).contains(v) => Some(Cow::Owned(Value::Real(*v as f64))),
        (Kind::Int, Value::Real(v)) if v.fract() == 0.0 && v.abs() <= EXACT as f64 => Some(Cow::Owned(Value::Int(*v as i64))),
        (_, operand) if operand.as_ref().kind() == Some(kind) => Some(Cow::Borrowed(operand)),
        _ => None,
    }
}

/// Whether `get_by` may ask SQL for this value of a field.
pub(crate) fn is_exact(kind: Kind, value: ValueRef<'_>) -> bool {
    kind != Kind::Json && value.kind() == Some(kind)
}
