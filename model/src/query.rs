//! What can be asked of a collection. The meaning of each operator is the table in [`crate::eval`].

use crate::collection::CollectionId;
use crate::error::{Error, Result};
use crate::row::Row;
use crate::value::{Key, Value};

/// How a value is compared with a condition's operands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[repr(u32)]
pub enum Op {
    /// Equal.
    Eq = 0,
    /// Not nil and not equal.
    Ne = 1,
    /// Less.
    Lt = 2,
    /// Less or equal.
    Le = 3,
    /// Greater.
    Gt = 4,
    /// Greater or equal.
    Ge = 5,
    /// Equal to any of the operands.
    In = 6,
    /// Text matches a pattern.
    Like = 7,
    /// A JSON list holds this scalar.
    Contains = 8,
    /// Nil.
    IsNull = 9,
    /// Not nil.
    NotNull = 10,
}

impl Op {
    /// Every operator, in the order of their wire numbers.
    pub const ALL: [Self; 11] = [
        Self::Eq,
        Self::Ne,
        Self::Lt,
        Self::Le,
        Self::Gt,
        Self::Ge,
        Self::In,
        Self::Like,
        Self::Contains,
        Self::IsNull,
        Self::NotNull,
    ];

    /// The number used on the wire.
    #[must_use]
    pub const fn number(self) -> u32 {
        self as u32
    }

    /// The operator with this wire number.
    #[must_use]
    pub fn from_number(number: u32) -> Option<Self> {
        Self::ALL.get(number as usize).copied()
    }

    /// The name used in documents and messages.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Eq => "eq",
            Self::Ne => "ne",
            Self::Lt => "lt",
            Self::Le => "le",
            Self::Gt => "gt",
            Self::Ge => "ge",
            Self::In => "in",
            Self::Like => "like",
            Self::Contains => "contains",
            Self::IsNull => "is_null",
            Self::NotNull => "not_null",
        }
    }
}

/// One condition on a record.
#[derive(Debug, Clone, PartialEq)]
pub struct Condition {
    /// Position of the field.
    pub field: usize,
    /// For a json field: the member of its object that is compared instead, absent counting as nil.
    pub member: Option<String>,
    /// The comparison.
    pub op: Op,
    /// None for `is_null` and `not_null`, any number for `in`, else one. Never nil.
    pub operands: Vec<Value>,
}

impl Condition {
    /// A condition with one operand.
    #[must_use]
    pub fn new(field: usize, op: Op, operand: impl Into<Value>) -> Self {
        Self { field, member: None, op, operands: vec![operand.into()] }
    }

    /// A condition with any number of operands.
    #[must_use]
    pub const fn with_operands(field: usize, op: Op, operands: Vec<Value>) -> Self {
        Self { field, member: None, op, operands }
    }

    /// `is_null`.
    #[must_use]
    pub const fn is_null(field: usize) -> Self {
        Self::with_operands(field, Op::IsNull, Vec::new())
    }

    /// The same condition on one member of a json field's object.
    #[must_use]
    pub fn on_member(mut self, name: &str) -> Self {
        self.member = Some(name.to_owned());
        self
    }
}

/// A field to order by. Nil sorts before every value; json fields cannot be ordered by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Order {
    /// Position of the field.
    pub field: usize,
    /// Greatest first, nil last.
    pub descending: bool,
}

/// The place in a query's order where a page ended.
#[derive(Debug, Clone, PartialEq)]
pub struct Continuation {
    /// The last row's values of the fields ordered by, in that order.
    pub values: Vec<Value>,
    /// The last row's key.
    pub key: Key,
}

/// A question: which records, in which order, how many.
#[derive(Debug, Clone, PartialEq)]
pub struct Query {
    /// The collection asked.
    pub collection: CollectionId,
    /// All of these hold.
    pub all: Vec<Condition>,
    /// The order; the key, ascending, always breaks ties and is the order when this is empty.
    pub order: Vec<Order>,
    /// At most so many rows in this call.
    pub limit: Option<u64>,
    /// Matches passed over first. Applies where `after` is absent: a continuation is already behind them.
    pub offset: u64,
    /// Only what comes behind this place.
    pub after: Option<Continuation>,
}

impl Query {
    /// Every record of a collection in the order of its keys.
    #[must_use]
    pub const fn all(collection: CollectionId) -> Self {
        Self { collection, all: Vec::new(), order: Vec::new(), limit: None, offset: 0, after: None }
    }

    /// Adds a condition.
    #[must_use]
    pub fn filter(mut self, condition: Condition) -> Self {
        self.all.push(condition);
        self
    }

    /// Adds a field to order by.
    #[must_use]
    pub fn order_by(mut self, field: usize, descending: bool) -> Self {
        self.order.push(Order { field, descending });
        self
    }

    /// Sets the limit.
    #[must_use]
    pub const fn limit(mut self, rows: u64) -> Self {
        self.limit = Some(rows);
        self
    }

    /// Sets the offset.
    #[must_use]
    pub const fn offset(mut self, rows: u64) -> Self {
        self.offset = rows;
        self
    }

    /// Continues where a page ended.
    #[must_use]
    pub fn after(mut self, place: Continuation) -> Self {
        self.after = Some(place);
        self
    }
}

/// A record that is stored but cannot be read. It is left as it is, and hides nothing else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unreadable {
    /// Its key.
    pub key: Key,
    /// Why.
    pub message: String,
}

/// Some of a query's answer.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Page {
    /// The rows, in the query's order.
    pub rows: Vec<Row>,
    /// Where to continue; `None` when nothing is left behind it. Nothing is held by the backend meanwhile.
    pub next: Option<Continuation>,
    /// Records of the collection that could not be compared because they cannot be read. Reported on a query's first page
    /// (`after` absent).
    pub unreadable: Vec<Unreadable>,
}

impl Page {
    /// The first row.
    ///
    /// # Errors
    /// `corrupt` if there is none, but records that cannot be read: what was asked for may be one of them, and a failure is never
    /// reported as absence.
    pub fn into_first(self) -> Result<Option<Row>> {
        match (self.rows.into_iter().next(), &self.unreadable[..]) {
            (Some(row), _) => Ok(Some(row)),
            (None, []) => Ok(None),
            (None, [first, ..]) => {
                let count = self.unreadable.len();
                let message = format!("nothing readable was found, but {count} records cannot be read; repair or remove them");
                Err(Error::corrupt(message).key(first.key.clone()))
            }
        }
    }
}
