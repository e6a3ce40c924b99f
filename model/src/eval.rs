//! The meaning of conditions and order: a normative table, and its reference evaluator.
//!
//! Every backend answers as this module does, whatever its engine would do by itself; the conformance kit compares them.
//!
//! | operator | field kinds | operands | matches when |
//! |---|---|---|---|
//! | `eq` | all | one | the value equals the operand |
//! | `ne` | all | one | the value is not nil and does not equal the operand |
//! | `lt` `le` `gt` `ge` | all but json | one | the value is not nil and stands in that relation to the operand |
//! | `in` | all | any number | the value equals one of them; with none, never |
//! | `like` | text | one text | the whole text matches the pattern |
//! | `contains` | json | one scalar | the JSON text is a list and one of its items equals the operand |
//! | `is_null` | all | none | the value is nil |
//! | `not_null` | all | none | the value is not nil |
//!
//! 1. **Nil** matches `is_null` only: not `ne`, not `in`. A nil operand is `invalid`.
//! 2. **Equality and order by kind.** bool: false before true. int and real: by value, exactly, also with each other. text: by its
//!    UTF-8 bytes, no folding or normalisation; NUL is a character like others. blob: by bytes. json: equal when the canonical values
//!    are (objects unordered, numbers by value, strings decoded, a lone surrogate equal to itself only); json has no order. The
//!    document `null` in a json field is stored as nil.
//! 3. **Operands** are of the field's kind; int and real stand for each other. Any other kind is `invalid`, as are a non-finite real
//!    and malformed JSON.
//! 4. **`like`** is case-sensitive. `%` stands for any number of characters, `_` for one, `\` takes the next character literally; a
//!    pattern that ends in a lone `\` matches nothing, and one of more than 64 KiB is `invalid`.
//! 5. **`contains`** takes a bool, int, real or text operand. Text equals a JSON string, numbers compare by value. A value that is
//!    nil or no list matches nothing.
//! 6. **A member** of a json field's object can be compared instead of the field: a string as text, a number as int if it is one
//!    within 64 bits, else as real, true and false as bool, lists and objects as json; null, an absent member and a value that is no
//!    object count as nil. As kinds are dynamic there, an operand of another kind is not an error: it does not match. A string with a
//!    lone surrogate, which no text can be, counts as json.
//! 7. **Order.** Nil before every value; descending turns everything round. Ties are broken by the key, ascending. Keys order as
//!    ints or by UTF-8 bytes.

mod like;

pub use like::{MAX_PATTERN, like};

use std::cmp::Ordering;

use crate::collection::Collection;
use crate::error::{Error, Result};
use crate::json::canonical::sized;
use crate::json::{self, Json};
use crate::number::compare_int_real;
use crate::query::{Condition, Continuation, Op, Order, Query};
use crate::row::RowView;
use crate::value::{Kind, Value, ValueRef, check};

/// Checks that a query fits its collection.
///
/// # Errors
/// `invalid`, naming the field.
pub fn check_query(collection: &Collection, query: &Query) -> Result<()> {
    check_conditions(collection, &query.all)?;
    for order in &query.order {
        let field = collection.at(order.field)?;
        if field.kind == Kind::Json {
            return Err(Error::invalid(format!("field {} is json and has no order", field.name)).field(&field.name));
        }
    }
    if let Some(after) = &query.after {
        if after.values.len() != query.order.len() {
            let (found, expected) = (after.values.len(), query.order.len());
            return Err(Error::invalid(format!("a continuation of {found} values for an order of {expected}")));
        }
        for (value, order) in after.values.iter().zip(&query.order) {
            let field = collection.at(order.field)?;
            check(value.as_ref(), field.kind, &field.name)?;
        }
        check(after.key.as_ref().as_value(), collection.key_kind(), collection.key_name())?;
    }
    Ok(())
}

/// Checks that conditions fit their collection (rules 1, 3 and 5).
///
/// # Errors
/// `invalid`, naming the field.
pub fn check_conditions(collection: &Collection, conditions: &[Condition]) -> Result<()> {
    for condition in conditions {
        let field = collection.at(condition.field)?;
        check_condition(condition, field.kind, &field.name).map_err(|e| e.field(&field.name))?;
    }
    Ok(())
}

fn check_condition(condition: &Condition, kind: Kind, name: &str) -> Result<()> {
    let op = condition.op;
    let invalid = |what: String| Err(Error::invalid(format!("field {name}: {} {what}", op.name())));
    let expected = match op {
        Op::IsNull | Op::NotNull => Some(0),
        Op::In => None,
        _ => Some(1),
    };
    let found = condition.operands.len();
    if expected.is_some_and(|n| n != found) {
        return invalid(format!("takes {} operand, found {found}", expected.unwrap_or(0)));
    }
    if condition.operands.contains(&Value::Nil) {
        return invalid("takes no nil operand; ask is_null".to_owned());
    }
    if let (Op::Like, [Value::Text(pattern)]) = (op, &condition.operands[..])
        && pattern.len() > MAX_PATTERN
    {
        return invalid(format!("takes a pattern of at most {MAX_PATTERN} bytes, found {}", pattern.len()));
    }
    if condition.member.is_some() {
        if kind != Kind::Json {
            return invalid(format!("of a member needs a json field, found {kind}"));
        }
        return condition.operands.iter().try_for_each(|v| match v.as_ref().kind() {
            Some(operand) => check(v.as_ref(), operand, name),
            None => Ok(()),
        });
    }
    match op {
        Op::Like if kind != Kind::Text => invalid(format!("needs a text field, found {kind}")),
        Op::Lt | Op::Le | Op::Gt | Op::Ge if kind == Kind::Json => invalid("does not apply to json".to_owned()),
        Op::Contains if kind != Kind::Json => invalid(format!("needs a json field, found {kind}")),
        Op::Contains => match &condition.operands[0] {
            Value::Bool(_) | Value::Int(_) | Value::Text(_) => Ok(()),
            Value::Real(v) if v.is_finite() => Ok(()),
            _ => invalid("takes a bool, int, finite real or text".to_owned()),
        },
        _ => condition.operands.iter().try_for_each(|v| match (v, kind) {
            (Value::Int(_), Kind::Real) => Ok(()),
            (Value::Real(r), Kind::Int) if r.is_finite() => Ok(()),
            _ => check(v.as_ref(), kind, name),
        }),
    }
}

/// Whether all conditions, already checked, hold for a record.
#[must_use]
pub fn matches(row: &RowView<'_>, conditions: &[Condition]) -> bool {
    conditions.iter().all(|condition| {
        let value = row.at(condition.field);
        match &condition.member {
            None => holds(value, condition),
            Some(name) => with_member(value, name, |value| holds(value, condition)),
        }
    })
}

/// Hands a json object's member to `use_it` as a value (rule 6).
fn with_member<T>(value: ValueRef<'_>, name: &str, use_it: impl FnOnce(ValueRef<'_>) -> T) -> T {
    let ValueRef::Json(text) = value else { return use_it(ValueRef::Nil) };
    let Ok(object) = json::parse(text) else { return use_it(ValueRef::Nil) };
    match object.member(name) {
        None => use_it(ValueRef::Nil),
        Some(member) => match &member.value {
            Json::Null => use_it(ValueRef::Nil),
            Json::Bool(v) => use_it(ValueRef::Bool(*v)),
            Json::String(v) => match v.to_str() {
                Some(v) => use_it(ValueRef::Text(&v)),
                None => use_it(ValueRef::Json(member.raw)),
            },
            Json::Number(raw) => use_it(number(raw)),
            Json::Array(_) | Json::Object(_) => use_it(ValueRef::Json(member.raw)),
        },
    }
}

/// A JSON number as an int if it is one within 64 bits, else as a real.
fn number(raw: &str) -> ValueRef<'static> {
    match raw.parse::<i64>() {
        Ok(v) => ValueRef::Int(v),
        Err(_) => raw.parse::<f64>().map_or(ValueRef::Nil, ValueRef::Real),
    }
}

fn holds(value: ValueRef<'_>, condition: &Condition) -> bool {
    if value.is_nil() {
        return condition.op == Op::IsNull;
    }
    let any =
        |test: fn(Ordering) -> bool| condition.operands.iter().any(|operand| compare(value, operand.as_ref()).is_some_and(test));
    match condition.op {
        Op::IsNull => false,
        Op::NotNull => true,
        Op::Eq | Op::In => condition.operands.iter().any(|operand| same(value, operand.as_ref())),
        Op::Ne => condition.operands.iter().all(|operand| comparable(value, operand.as_ref()) && !same(value, operand.as_ref())),
        Op::Lt => any(Ordering::is_lt),
        Op::Le => any(Ordering::is_le),
        Op::Gt => any(Ordering::is_gt),
        Op::Ge => any(Ordering::is_ge),
        Op::Like => {
            matches!((value, &condition.operands[..]), (ValueRef::Text(text), [Value::Text(pattern)]) if like(text, pattern))
        }
        Op::Contains => match value {
            ValueRef::Json(text) => condition.operands.iter().any(|item| list_contains(text, item.as_ref())),
            _ => false,
        },
    }
}

/// Whether two values can be equal at all: of one kind, or both numbers.
fn comparable(a: ValueRef<'_>, b: ValueRef<'_>) -> bool {
    let group = |v: ValueRef<'_>| v.kind().map(|k| if k == Kind::Int { Kind::Real } else { k });
    group(a) == group(b)
}

/// Whether two values are equal by canonical value (rule 2). Nil equals nil here, as `Expect` needs.
#[must_use]
pub fn same(a: ValueRef<'_>, b: ValueRef<'_>) -> bool {
    match (a, b) {
        (ValueRef::Nil, ValueRef::Nil) => true,
        (ValueRef::Json(a), ValueRef::Json(b)) => {
            a == b
                || match (json::parse(a), json::parse(b)) {
                    (Ok(a), Ok(b)) => a.same(&b),
                    _ => false,
                }
        }
        _ => compare(a, b) == Some(Ordering::Equal),
    }
}

/// Whether two records are equal field by field (rule 2).
#[must_use]
pub fn same_rows(a: &RowView<'_>, b: &RowView<'_>) -> bool {
    a.iter().zip(b.iter()).all(|((_, a), (_, b))| same(a, b))
}

/// Appends the same bytes for every record that is the [same](same_rows), and others for every other one of the collection: what a
/// hash of a record is made of. JSON text that is none counts as it stands.
pub fn write_canonical(row: &RowView<'_>, out: &mut Vec<u8>) {
    for (_, value) in row.iter() {
        match value {
            ValueRef::Nil => out.push(0),
            ValueRef::Bool(v) => out.extend_from_slice(&[1, u8::from(v)]),
            ValueRef::Int(v) => sized(2, &v.to_le_bytes(), out),
            // Zero has two forms of one value.
            ValueRef::Real(v) => sized(3, &(v + 0.0).to_bits().to_le_bytes(), out),
            ValueRef::Text(v) => sized(4, v.as_bytes(), out),
            ValueRef::Blob(v) => sized(5, v, out),
            ValueRef::Json(v) => match json::parse(v) {
                Ok(document) => document.write_canonical(out),
                Err(_) => sized(6, v.as_bytes(), out),
            },
        }
    }
}

/// The order of two values (rule 2); `None` for json, nil and values of different kinds.
#[must_use]
pub fn compare(a: ValueRef<'_>, b: ValueRef<'_>) -> Option<Ordering> {
    match (a, b) {
        (ValueRef::Bool(a), ValueRef::Bool(b)) => Some(a.cmp(&b)),
        (ValueRef::Int(a), ValueRef::Int(b)) => Some(a.cmp(&b)),
        (ValueRef::Real(a), ValueRef::Real(b)) => a.partial_cmp(&b),
        (ValueRef::Int(a), ValueRef::Real(b)) => compare_int_real(a, b),
        (ValueRef::Real(a), ValueRef::Int(b)) => compare_int_real(b, a).map(Ordering::reverse),
        (ValueRef::Text(a), ValueRef::Text(b)) => Some(a.cmp(b)),
        (ValueRef::Blob(a), ValueRef::Blob(b)) => Some(a.cmp(b)),
        _ => None,
    }
}

/// Whether JSON text is a list that holds this scalar (rule 5).
#[must_use]
pub fn list_contains(text: &str, item: ValueRef<'_>) -> bool {
    match json::parse(text) {
        Ok(Json::Array(items)) => items.iter().any(|found| scalar_is(found, item)),
        _ => false,
    }
}

/// Whether a JSON value is this scalar.
#[must_use]
pub fn scalar_is(found: &Json<'_>, item: ValueRef<'_>) -> bool {
    match (found, item) {
        (Json::Bool(a), ValueRef::Bool(b)) => *a == b,
        (Json::String(a), ValueRef::Text(b)) => a.name() == *b,
        (Json::Number(a), ValueRef::Int(b)) => crate::number::same_number(a, &b.to_string()),
        (Json::Number(a), ValueRef::Real(b)) => a.parse::<f64>().is_ok_and(|a| a == b),
        _ => false,
    }
}

/// The order of two records in a query (rule 7).
#[must_use]
pub fn compare_rows(order: &[Order], a: &RowView<'_>, b: &RowView<'_>) -> Ordering {
    let by_fields = order.iter().map(|o| ordered(o, a.at(o.field), b.at(o.field)));
    by_fields.fold(Ordering::Equal, Ordering::then).then_with(|| a.key().cmp(&b.key()))
}

/// Whether a record comes behind the place where a page ended.
#[must_use]
pub fn is_after(order: &[Order], row: &RowView<'_>, place: &Continuation) -> bool {
    let by_fields = order.iter().zip(&place.values).map(|(o, v)| ordered(o, row.at(o.field), v.as_ref()));
    by_fields.fold(Ordering::Equal, Ordering::then).then_with(|| row.key().cmp(&place.key.as_ref())).is_gt()
}

fn ordered(order: &Order, a: ValueRef<'_>, b: ValueRef<'_>) -> Ordering {
    let ascending = match (a.is_nil(), b.is_nil()) {
        (true, true) => Ordering::Equal,
        (true, false) => Ordering::Less,
        (false, true) => Ordering::Greater,
        (false, false) => compare(a, b).unwrap_or(Ordering::Equal),
    };
    if order.descending { ascending.reverse() } else { ascending }
}

/// The place of a record in a query's order.
#[must_use]
pub fn place_of(order: &[Order], row: &RowView<'_>) -> Continuation {
    Continuation { values: order.iter().map(|o| row.at(o.field).to_value()).collect(), key: row.key().to_key() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_beyond_the_bound_is_refused() {
        let collection = Collection::new("c", 1, "id", Kind::Int).field("t", Kind::Text).field("meta", Kind::Json);
        let check = |length| {
            let pattern = Value::Text("%".repeat(length));
            let on_field = Condition::new(1, Op::Like, pattern.clone());
            let on_member = Condition::new(2, Op::Like, pattern).on_member("m");
            [on_field, on_member].map(|c| check_conditions(&collection, &[c]).map_err(|e| e.code()))
        };
        assert_eq!(check(MAX_PATTERN), [Ok(()), Ok(())]);
        assert_eq!(check(MAX_PATTERN + 1), [Err(crate::Code::Invalid); 2]);
    }

    #[test]
    fn half_a_surrogate_pair_is_equal_to_itself_only() {
        let json = |text: &'static str| ValueRef::Json(text);
        assert!(!same(json(r#"{"\ud800": 1}"#), json(r#"{"\ud801": 1}"#)));
        assert!(!same(json(r#""\ud800""#), json(r#""\ufffd""#)));
        assert!(same(json(r#"["\uD83D\uDE00", "\ud800"]"#), json("[\"\u{1f600}\", \"\\uD800\"]")));
        assert!(!list_contains(r#"["\ud800"]"#, ValueRef::Text("\u{fffd}")));
        let collection = Collection::new("c", 1, "id", Kind::Int).field("meta", Kind::Json);
        let meta = Value::Json(r#"{"a": "\ud800", "\ud801": 1}"#.to_owned());
        let row = Row::builder(&collection).set("id", 1).and_then(|b| b.set("meta", meta)).expect("a row").build();
        let view = row.view(&collection).expect("a view");
        let on = |member: &str, op, operand: &str| matches(&view, &[Condition::new(1, op, operand).on_member(member)]);
        assert!(!on("a", Op::Eq, "\u{fffd}") && !on("a", Op::Like, "%"));
        assert!(matches(&view, &[Condition::is_null(1).on_member("\u{fffd}")]));
        assert!(!matches(&view, &[Condition::is_null(1).on_member("a")]));
    }

    #[test]
    fn members_have_dynamic_kinds_and_never_fail() {
        let collection = Collection::new("c", 1, "id", Kind::Int).field("meta", Kind::Json);
        let row = Row::builder(&collection)
            .set("id", 1)
            .and_then(|b| b.set("meta", Value::Json(r#"{"a": "x", "n": 2.0, "z": null, "l": [1]}"#.to_owned())))
            .map(|b| b.build())
            .expect("a row");
        let view = row.view(&collection).expect("a view");
        let on = |member: &str, op, operand: Value| matches(&view, &[Condition::new(1, op, operand).on_member(member)]);
        assert!(on("a", Op::Eq, "x".into()));
        assert!(!on("a", Op::Eq, 1.into()) && !on("a", Op::Ne, 1.into()));
        assert!(on("n", Op::Eq, 2.into()) && on("n", Op::Lt, 2.5.into()));
        assert!(on("l", Op::Contains, 1.into()));
        for member in ["z", "absent"] {
            assert!(matches(&view, &[Condition::is_null(1).on_member(member)]));
        }
    }

    use crate::row::Row;
}
