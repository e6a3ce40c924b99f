//! A row: one record as one MessagePack array in one buffer, its values in the order of the collection's fields.
//!
//! A shorter array than the collection has fields means that the missing ones are nil, so that a field can be added at the end of
//! a collection without rewriting what is stored.

use crate::collection::{Collection, Field};
use crate::error::{Error, Result};
use crate::msgpack::{Reader, Token, Writer};
use crate::value::{Key, KeyRef, Kind, Value, ValueRef, check};

/// An encoded record.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Row(Vec<u8>);

/// Only the length: a client's row holds its password.
impl std::fmt::Debug for Row {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Row({} bytes)", self.0.len())
    }
}

impl Row {
    /// Takes bytes for a row, unchecked; [`RowView::new`] checks.
    #[must_use]
    pub const fn from_bytes(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    /// The encoded bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The encoded bytes.
    #[must_use]
    pub fn into_bytes(self) -> Vec<u8> {
        self.0
    }

    /// Reads the row as a record of `collection`.
    ///
    /// # Errors
    /// See [`RowView::new`].
    pub fn view<'a>(&'a self, collection: &'a Collection) -> Result<RowView<'a>> {
        RowView::new(collection, &self.0)
    }

    /// The value at a field's position, without a look at those behind it; nil beyond the end.
    ///
    /// # Errors
    /// `invalid`, naming the field, for one of another kind up to there.
    pub fn at<'a>(&'a self, collection: &Collection, position: usize) -> Result<ValueRef<'a>> {
        let mut reader = Reader::new(&self.0);
        let count = reader.array()?;
        if position >= count {
            return Ok(ValueRef::Nil);
        }
        let mut value = ValueRef::Nil;
        for field in collection.fields.iter().take(position + 1) {
            value = read_value(&mut reader, field)?;
        }
        Ok(value)
    }

    /// Starts a record of `collection` with every field at its default.
    #[must_use]
    pub fn builder(collection: &Collection) -> RowBuilder<'_> {
        RowBuilder::new(collection)
    }
}

/// A row read against its collection. Borrowing, so that reading copies nothing.
#[derive(Debug, Clone)]
pub struct RowView<'a> {
    collection: &'a Collection,
    values: Vec<ValueRef<'a>>,
}

impl<'a> RowView<'a> {
    /// Reads and checks `bytes`: an array no longer than the collection has fields, each value nil or of its field's kind, reals
    /// finite, and a key that is there. JSON text is not parsed here; [`RowView::validate`] does.
    ///
    /// # Errors
    /// `invalid`, naming the field.
    pub fn new(collection: &'a Collection, bytes: &'a [u8]) -> Result<Self> {
        let view = Self::keyless(collection, bytes)?;
        match view.values[collection.key].as_key() {
            Some(_) => Ok(view),
            None => {
                let name = collection.key_name();
                Err(Error::invalid(format!("a row of {} has no {name}", collection.name)).field(name))
            }
        }
    }

    /// The same for a row whose key the backend assigns: it may be nil.
    ///
    /// # Errors
    /// `invalid`, naming the field.
    pub fn keyless(collection: &'a Collection, bytes: &'a [u8]) -> Result<Self> {
        let mut reader = Reader::new(bytes);
        let mut values = Vec::with_capacity(collection.fields.len());
        Self::read(collection, &mut reader, &mut values).map_err(|e| e.collection(&collection.name))?;
        values.resize(collection.fields.len(), ValueRef::Nil);
        Ok(Self { collection, values })
    }

    fn read(collection: &Collection, reader: &mut Reader<'a>, values: &mut Vec<ValueRef<'a>>) -> Result<()> {
        let count = reader.array()?;
        if count > collection.fields.len() {
            let (name, fields) = (&collection.name, collection.fields.len());
            return Err(Error::invalid(format!("a row of {name} has {count} values for {fields} fields")));
        }
        for field in &collection.fields[..count] {
            values.push(read_value(reader, field)?);
        }
        reader.end()
    }

    /// Checks every value as for storing, JSON text included.
    ///
    /// # Errors
    /// `invalid`, naming the field.
    pub fn validate(&self) -> Result<()> {
        self.iter().try_for_each(|(field, value)| check(value, field.kind, &field.name))
    }

    /// The collection it was read against.
    #[must_use]
    pub const fn collection(&self) -> &'a Collection {
        self.collection
    }

    /// The value at a field's position; nil beyond the end.
    #[must_use]
    pub fn at(&self, position: usize) -> ValueRef<'a> {
        self.values.get(position).copied().unwrap_or(ValueRef::Nil)
    }

    /// The value of the field of this name; `None` if the collection has no such field.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<ValueRef<'a>> {
        self.collection.position(name).map(|at| self.at(at))
    }

    /// The key; zero for a keyless row that has none yet.
    #[must_use]
    pub fn key(&self) -> KeyRef<'a> {
        self.at(self.collection.key).as_key().unwrap_or(KeyRef::Int(0))
    }

    /// The fields and their values.
    pub fn iter(&self) -> impl Iterator<Item = (&'a Field, ValueRef<'a>)> + '_ {
        self.collection.fields.iter().zip(self.values.iter().copied())
    }

    /// The same record under this key.
    #[must_use]
    pub fn with_key(&self, key: &Key) -> Row {
        let values = self.values.iter().enumerate();
        encode(values.map(|(at, value)| if at == self.collection.key { key.as_ref().as_value() } else { *value }))
    }

    /// A builder that starts with these values.
    #[must_use]
    pub fn to_builder(&self) -> RowBuilder<'a> {
        RowBuilder { collection: self.collection, values: self.values.iter().map(|v| v.to_value()).collect() }
    }
}

/// Reads a value as it stands in a row.
fn read_value<'a>(reader: &mut Reader<'a>, field: &Field) -> Result<ValueRef<'a>> {
    Ok(match (reader.read()?, field.kind) {
        (Token::Nil, _) => ValueRef::Nil,
        (Token::Bool(v), Kind::Bool) => ValueRef::Bool(v),
        (Token::Int(v), Kind::Int) => ValueRef::Int(v),
        (Token::Real(v), Kind::Real) if v.is_finite() => ValueRef::Real(v),
        (Token::Str(v), Kind::Text) => ValueRef::Text(v),
        (Token::Str(v), Kind::Json) => ValueRef::Json(v),
        (Token::Bin(v), Kind::Blob) => ValueRef::Blob(v),
        (_, kind) => {
            let message = format!("field {}: expected a value of kind {kind}, found another", field.name);
            return Err(Error::invalid(message).field(&field.name));
        }
    })
}

/// Makes a row field by field.
#[derive(Debug, Clone)]
pub struct RowBuilder<'a> {
    collection: &'a Collection,
    values: Vec<Value>,
}

impl<'a> RowBuilder<'a> {
    /// A record with every field at its default.
    #[must_use]
    pub fn new(collection: &'a Collection) -> Self {
        Self { collection, values: collection.fields.iter().map(|f| f.default.clone()).collect() }
    }

    /// Sets a field by name.
    ///
    /// # Errors
    /// `invalid` if the collection has no such field or the value is not of its kind.
    pub fn set(mut self, name: &str, value: impl Into<Value>) -> Result<Self> {
        let at = self.collection.require(name)?;
        self.put(at, value.into())?;
        Ok(self)
    }

    /// Sets a field by position.
    ///
    /// # Errors
    /// `invalid` if the collection has no such field or the value is not of its kind.
    pub fn put(&mut self, position: usize, value: Value) -> Result<()> {
        let field = self.collection.at(position)?;
        check(value.as_ref(), field.kind, &field.name)?;
        self.values[position] = value;
        Ok(())
    }

    /// The value set so far.
    #[must_use]
    pub fn at(&self, position: usize) -> ValueRef<'_> {
        self.values.get(position).map_or(ValueRef::Nil, Value::as_ref)
    }

    /// Encodes the record.
    #[must_use]
    pub fn build(&self) -> Row {
        encode(self.values.iter().map(Value::as_ref))
    }

    /// Encodes the record under this key.
    #[must_use]
    pub fn build_with_key(&self, key: &Key) -> Row {
        encode(self.values.iter().enumerate().map(
            |(i, v)| {
                if i == self.collection.key { key.as_ref().as_value() } else { v.as_ref() }
            },
        ))
    }
}

/// Encodes values as one row.
pub fn encode<'a>(values: impl ExactSizeIterator<Item = ValueRef<'a>> + Clone) -> Row {
    // Tables keep it, so it has no more room than it needs.
    let room = Writer::array_len(values.len()) + values.clone().map(encoded_len).sum::<usize>();
    let mut writer = Writer::with_capacity(room);
    writer.array(values.len());
    for value in values {
        write_value(&mut writer, value);
    }
    debug_assert_eq!(writer.len(), room, "a value is as long as it was said to be");
    Row(writer.into_bytes())
}

/// How many bytes a value takes.
fn encoded_len(value: ValueRef<'_>) -> usize {
    match value {
        ValueRef::Nil | ValueRef::Bool(_) => 1,
        ValueRef::Int(v) => Writer::int_len(v),
        ValueRef::Real(_) => 9,
        ValueRef::Text(text) | ValueRef::Json(text) => Writer::str_len(text.len()),
        ValueRef::Blob(bytes) => Writer::bin_len(bytes.len()),
    }
}

/// Writes one value as it stands in a row.
pub(crate) fn write_value(writer: &mut Writer, value: ValueRef<'_>) {
    match value {
        ValueRef::Nil => writer.nil(),
        ValueRef::Bool(v) => writer.bool(v),
        ValueRef::Int(v) => writer.int(v),
        ValueRef::Real(v) => writer.real(v),
        ValueRef::Text(v) | ValueRef::Json(v) => writer.str(v),
        ValueRef::Blob(v) => writer.bin(v),
    }
}
