//! How a kind of record is described to a backend.
//!
//! A backend learns everything from this: where a record's key is, which values must be unique, what old writers called things.

use crate::error::{Error, Result};
use crate::value::{Kind, Value, check};

/// The number under which a backend knows a prepared collection, given by `prepare`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CollectionId(pub u32);

/// A kind of record.
#[derive(Debug, Clone, PartialEq)]
pub struct Collection {
    /// Its name: lower-case letters, digits and `_`, starting with a letter; names tables, files and key prefixes.
    pub name: String,
    /// The version of its stored form. A backend migrates older data and refuses newer.
    pub version: u32,
    /// Whether this is the collection whose place and version marker the Python node's stores define: `clients`.
    /// All others live beside it.
    pub primary: bool,
    /// Position of the key in `fields`.
    pub key: usize,
    /// The fields, in the order of the row's values.
    pub fields: Vec<Field>,
    /// Position of the json field that stored names which are no field are folded into. `None`: they are dropped.
    pub extras: Option<usize>,
    /// Names that older writers stored and what becomes of them; they win over the general rule of `extras`.
    pub legacy: Vec<Legacy>,
    /// Columns that older writers still name, so a table must have them; they stay empty.
    pub retired: Vec<Retired>,
}

/// One field of a record.
#[derive(Debug, Clone, PartialEq)]
pub struct Field {
    /// Its name: lower-case letters, digits and `_`, starting with a letter.
    pub name: String,
    /// What it holds; nil always may stand in it, except in the key.
    pub kind: Kind,
    /// What a stored record without this field has.
    pub default: Value,
    /// How it is looked up.
    pub index: Index,
}

/// How a field is looked up.
#[derive(Debug, Clone, PartialEq, Default)]
#[non_exhaustive]
pub enum Index {
    /// By reading all records.
    #[default]
    None,
    /// By an index; several records may have one value.
    Plain,
    /// By an index; no two records have one value, nil and the excepted values aside.
    Unique {
        /// Values that any number of records may have.
        except: Vec<Value>,
    },
}

/// A name that older writers stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Legacy {
    /// The stored name.
    pub name: String,
    /// What becomes of its value.
    pub rule: LegacyRule,
}

/// What becomes of a legacy value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum LegacyRule {
    /// It moves into the extras field, unless that has the name already.
    Fold,
    /// It is forgotten, and removed from the extras field too.
    Drop,
}

/// A column that older writers still name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retired {
    /// Its name.
    pub name: String,
    /// The field in front of which it stands; `None`: at the end.
    pub before: Option<usize>,
}

impl Collection {
    /// A collection with one field, its key.
    #[must_use]
    pub fn new(name: &str, version: u32, key: &str, kind: Kind) -> Self {
        Self {
            name: name.to_owned(),
            version,
            primary: false,
            key: 0,
            fields: vec![Field { name: key.to_owned(), kind, default: Value::Nil, index: Index::None }],
            extras: None,
            legacy: Vec::new(),
            retired: Vec::new(),
        }
    }

    /// Adds a field that is nil by default.
    #[must_use]
    pub fn field(self, name: &str, kind: Kind) -> Self {
        self.field_with(name, kind, Value::Nil, Index::None)
    }

    /// Adds a field.
    #[must_use]
    pub fn field_with(mut self, name: &str, kind: Kind, default: impl Into<Value>, index: Index) -> Self {
        self.fields.push(Field { name: name.to_owned(), kind, default: default.into(), index });
        self
    }

    /// The position of the field of this name.
    #[must_use]
    pub fn position(&self, name: &str) -> Option<usize> {
        self.fields.iter().position(|f| f.name == name)
    }

    /// The position of the field of this name, or why there is none.
    ///
    /// # Errors
    /// `invalid`, naming the field.
    pub fn require(&self, name: &str) -> Result<usize> {
        self.position(name).ok_or_else(|| {
            Error::invalid(format!("collection {} has no field {name}", self.name)).collection(&self.name).field(name)
        })
    }

    /// The field at this position, or why there is none.
    ///
    /// # Errors
    /// `invalid`.
    pub fn at(&self, position: usize) -> Result<&Field> {
        self.fields.get(position).ok_or_else(|| {
            let count = self.fields.len();
            Error::invalid(format!("collection {} has {count} fields, none at position {position}", self.name))
                .collection(&self.name)
        })
    }

    /// The kind of the key: int or text.
    #[must_use]
    pub fn key_kind(&self) -> Kind {
        self.fields.get(self.key).map_or(Kind::Int, |f| f.kind)
    }

    /// The name of the key field.
    #[must_use]
    pub fn key_name(&self) -> &str {
        self.fields.get(self.key).map_or("", |f| &f.name)
    }

    /// Checks the description itself.
    ///
    /// # Errors
    /// `invalid`, saying what is wrong with which part.
    pub fn validate(&self) -> Result<()> {
        let wrong = |what: String| Err(Error::invalid(format!("collection {}: {what}", self.name)));
        if !is_name(&self.name) {
            return wrong("its name must be lower-case letters, digits and '_', starting with a letter".to_owned());
        }
        let Some(key) = self.fields.get(self.key) else {
            return wrong(format!("its key is field {}, but it has {} fields", self.key, self.fields.len()));
        };
        if !matches!(key.kind, Kind::Int | Kind::Text) {
            return wrong(format!("its key must be int or text, not {}", key.kind));
        }
        if key.index != Index::None {
            return wrong(format!("its key {} is unique as it is and takes no index", key.name));
        }
        let names = self.fields.iter().map(|f| &f.name).chain(self.retired.iter().map(|r| &r.name));
        let mut seen = std::collections::HashSet::new();
        for name in names {
            if !is_name(name) {
                return wrong(format!("field name {name:?} must be lower-case letters, digits and '_'"));
            }
            if !seen.insert(name) {
                return wrong(format!("two fields are named {name}"));
            }
        }
        for field in &self.fields {
            check(field.default.as_ref(), field.kind, &field.name)?;
            if let Index::Unique { except } = &field.index {
                except.iter().try_for_each(|v| check(v.as_ref(), field.kind, &field.name))?;
            }
            if field.index != Index::None && field.kind == Kind::Json {
                return wrong(format!("field {} is json and takes no index", field.name));
            }
        }
        match self.extras.map(|at| self.at(at)) {
            None => Ok(()),
            Some(Ok(field)) if field.kind == Kind::Json => Ok(()),
            Some(Ok(field)) => wrong(format!("extras field {} must be json, not {}", field.name, field.kind)),
            Some(Err(e)) => Err(e),
        }
    }
}

fn is_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.len() <= 64
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
}
