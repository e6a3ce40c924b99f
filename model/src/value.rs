//! The values a field can hold.
//!
//! Six kinds, chosen so that every engine in sight (SQLite, Redis, a JSON file, IndexedDB) stores each without loss. `Json` is a
//! string of JSON text, kept verbatim, because re-encoding would round integers beyond 64 bits and reorder objects.

use std::fmt;

use crate::error::{Error, Result};

/// What a field holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Kind {
    /// True or false.
    Bool,
    /// A signed 64-bit integer.
    Int,
    /// A finite IEEE 754 double.
    Real,
    /// UTF-8 text; NUL is legal in it.
    Text,
    /// Arbitrary bytes.
    Blob,
    /// One JSON document as text, stored verbatim.
    Json,
}

impl Kind {
    /// Every kind, in the order of their wire numbers.
    pub const ALL: [Self; 6] = [Self::Bool, Self::Int, Self::Real, Self::Text, Self::Blob, Self::Json];

    /// The name used in documents and messages.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Bool => "bool",
            Self::Int => "int",
            Self::Real => "real",
            Self::Text => "text",
            Self::Blob => "blob",
            Self::Json => "json",
        }
    }

    /// The number used on the wire.
    #[must_use]
    pub const fn number(self) -> u32 {
        self as u32
    }

    /// The kind with this wire number.
    #[must_use]
    pub fn from_number(number: u32) -> Option<Self> {
        Self::ALL.get(number as usize).copied()
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A field's value, owned.
///
/// `PartialEq` compares kind and content exactly; [`crate::eval::same`] compares by canonical value.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// No value.
    Nil,
    /// See [`Kind::Bool`].
    Bool(bool),
    /// See [`Kind::Int`].
    Int(i64),
    /// See [`Kind::Real`].
    Real(f64),
    /// See [`Kind::Text`].
    Text(String),
    /// See [`Kind::Blob`].
    Blob(Vec<u8>),
    /// See [`Kind::Json`].
    Json(String),
}

impl Value {
    /// A borrowed view of this value.
    #[must_use]
    pub fn as_ref(&self) -> ValueRef<'_> {
        match self {
            Self::Nil => ValueRef::Nil,
            Self::Bool(v) => ValueRef::Bool(*v),
            Self::Int(v) => ValueRef::Int(*v),
            Self::Real(v) => ValueRef::Real(*v),
            Self::Text(v) => ValueRef::Text(v),
            Self::Blob(v) => ValueRef::Blob(v),
            Self::Json(v) => ValueRef::Json(v),
        }
    }
}

/// A field's value, borrowed from a row or a parameter.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum ValueRef<'a> {
    /// No value.
    Nil,
    /// See [`Kind::Bool`].
    Bool(bool),
    /// See [`Kind::Int`].
    Int(i64),
    /// See [`Kind::Real`].
    Real(f64),
    /// See [`Kind::Text`].
    Text(&'a str),
    /// See [`Kind::Blob`].
    Blob(&'a [u8]),
    /// See [`Kind::Json`].
    Json(&'a str),
}

impl<'a> ValueRef<'a> {
    /// The kind of this value; `None` for nil, which every kind of field may hold.
    #[must_use]
    pub const fn kind(self) -> Option<Kind> {
        match self {
            Self::Nil => None,
            Self::Bool(_) => Some(Kind::Bool),
            Self::Int(_) => Some(Kind::Int),
            Self::Real(_) => Some(Kind::Real),
            Self::Text(_) => Some(Kind::Text),
            Self::Blob(_) => Some(Kind::Blob),
            Self::Json(_) => Some(Kind::Json),
        }
    }

    /// Whether this is nil.
    #[must_use]
    pub const fn is_nil(self) -> bool {
        matches!(self, Self::Nil)
    }

    /// An owned copy.
    #[must_use]
    pub fn to_value(self) -> Value {
        match self {
            Self::Nil => Value::Nil,
            Self::Bool(v) => Value::Bool(v),
            Self::Int(v) => Value::Int(v),
            Self::Real(v) => Value::Real(v),
            Self::Text(v) => Value::Text(v.to_owned()),
            Self::Blob(v) => Value::Blob(v.to_vec()),
            Self::Json(v) => Value::Json(v.to_owned()),
        }
    }

    /// The key this value is, if a key can hold it (int or text).
    #[must_use]
    pub const fn as_key(self) -> Option<KeyRef<'a>> {
        match self {
            Self::Int(v) => Some(KeyRef::Int(v)),
            Self::Text(v) => Some(KeyRef::Text(v)),
            _ => None,
        }
    }

    /// The text of a text or json value.
    #[must_use]
    pub const fn as_str(self) -> Option<&'a str> {
        match self {
            Self::Text(v) | Self::Json(v) => Some(v),
            _ => None,
        }
    }
}

macro_rules! value_from {
    ($($from:ty => |$v:ident| $to:expr),* $(,)?) => {
        $(impl From<$from> for Value {
            fn from($v: $from) -> Self {
                $to
            }
        })*
    };
}

value_from! {
    bool => |v| Self::Bool(v),
    i64 => |v| Self::Int(v),
    i32 => |v| Self::Int(v.into()),
    f64 => |v| Self::Real(v),
    &str => |v| Self::Text(v.to_owned()),
    String => |v| Self::Text(v),
    Vec<u8> => |v| Self::Blob(v),
    Key => |v| match v { Key::Int(i) => Self::Int(i), Key::Text(t) => Self::Text(t) },
}

impl<T: Into<Self>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Nil, Into::into)
    }
}

/// A record's key. Ints sort before texts; within a collection all keys are of one kind.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Key {
    /// The key of a collection whose key field is an int.
    Int(i64),
    /// The key of a collection whose key field is text; ordered by UTF-8 bytes.
    Text(String),
}

impl Key {
    /// A borrowed view of this key.
    #[must_use]
    pub fn as_ref(&self) -> KeyRef<'_> {
        match self {
            Self::Int(v) => KeyRef::Int(*v),
            Self::Text(v) => KeyRef::Text(v),
        }
    }
}

impl From<i64> for Key {
    fn from(v: i64) -> Self {
        Self::Int(v)
    }
}

impl From<&str> for Key {
    fn from(v: &str) -> Self {
        Self::Text(v.to_owned())
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_ref().fmt(f)
    }
}

/// A borrowed [`Key`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum KeyRef<'a> {
    /// See [`Key::Int`].
    Int(i64),
    /// See [`Key::Text`].
    Text(&'a str),
}

impl<'a> KeyRef<'a> {
    /// An owned copy.
    #[must_use]
    pub fn to_key(self) -> Key {
        match self {
            Self::Int(v) => Key::Int(v),
            Self::Text(v) => Key::Text(v.to_owned()),
        }
    }

    /// This key as a field's value.
    #[must_use]
    pub const fn as_value(self) -> ValueRef<'a> {
        match self {
            Self::Int(v) => ValueRef::Int(v),
            Self::Text(v) => ValueRef::Text(v),
        }
    }
}

impl fmt::Display for KeyRef<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Int(v) => v.fmt(f),
            Self::Text(v) => fmt::Debug::fmt(v, f),
        }
    }
}

/// Checks that `value` may stand in a field of `kind`: nil or the same kind, reals finite, JSON well formed.
///
/// # Errors
/// `invalid`, naming `field`.
pub fn check(value: ValueRef<'_>, kind: Kind, field: &str) -> Result<()> {
    match value {
        ValueRef::Nil => Ok(()),
        ValueRef::Real(v) if kind == Kind::Real && !v.is_finite() => {
            Err(Error::invalid(format!("field {field}: expected a finite number, found {v}")).field(field))
        }
        ValueRef::Json(text) if kind == Kind::Json => match crate::json::check(text, |_| ()) {
            Ok(_) => Ok(()),
            Err(e) => Err(Error::invalid(format!("field {field}: expected JSON text: {e}")).field(field)),
        },
        other if other.kind() == Some(kind) => Ok(()),
        other => {
            let found = other.kind().map_or("nil", Kind::name);
            Err(Error::invalid(format!("field {field}: expected {kind}, found {found}")).field(field))
        }
    }
}
