//! Requests and replies as bytes: MessagePack maps with integer tags.
//!
//! The one encoding for every boundary: a loaded library, a pipe, another language. The rule that lets it grow: **a tag that the
//! reader does not know is `unsupported`, never ignored**, because an ignored condition or limit would change the meaning of a request.
//! Tags are written beside each type below and never reused. A part that has its empty or default value is left out.

mod description;
mod reply;
mod request;

use crate::error::{Error, Result};
use crate::msgpack::{Reader, Token, Writer};
use crate::row::write_value;
use crate::value::{Key, Kind, Value, ValueRef};

/// A type that crosses boundaries.
pub trait Wire: Sized {
    /// Appends this.
    fn encode(&self, w: &mut Writer);

    /// Reads one.
    ///
    /// # Errors
    /// `invalid` if it is malformed, `unsupported` if it has an unknown tag.
    fn decode(r: &mut Reader<'_>) -> Result<Self>;

    /// This alone as bytes.
    fn to_bytes(&self) -> Vec<u8> {
        let mut w = Writer::with_capacity(64);
        self.encode(&mut w);
        w.into_bytes()
    }

    /// Reads bytes that hold one of these and nothing else.
    ///
    /// # Errors
    /// See [`Wire::decode`].
    fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let mut r = Reader::new(bytes);
        let value = Self::decode(&mut r)?;
        r.end()?;
        Ok(value)
    }
}

/// Collects the parts of a map that are not left out, so that their number can be written first.
#[derive(Debug, Default)]
struct Map {
    count: usize,
    parts: Writer,
}

impl Map {
    fn put(&mut self, tag: u32, write: impl FnOnce(&mut Writer)) {
        self.count += 1;
        self.parts.uint(tag.into());
        write(&mut self.parts);
    }

    fn put_if(&mut self, condition: bool, tag: u32, write: impl FnOnce(&mut Writer)) {
        if condition {
            self.put(tag, write);
        }
    }

    fn finish(self, w: &mut Writer) {
        w.map(self.count);
        w.raw(&self.parts.into_bytes());
    }
}

/// Reads a map, handing each tag to `part`, which says whether it knew it.
fn read_map(r: &mut Reader<'_>, of: &str, mut part: impl FnMut(u32, &mut Reader<'_>) -> Result<bool>) -> Result<()> {
    let mut seen = 0_u64;
    for _ in 0..r.map()? {
        let tag = r.u32()?;
        let bit = 1_u64.checked_shl(tag).unwrap_or(0);
        if seen & bit != 0 {
            return Err(Error::invalid(format!("tag {tag} of {of} appears twice")));
        }
        seen |= bit;
        if !part(tag, r)? {
            return Err(Error::unsupported(format!("tag {tag} of {of} is not known to this build; update this side")));
        }
    }
    Ok(())
}

fn unknown<T>(what: &str, number: impl std::fmt::Display) -> Result<T> {
    Err(Error::unsupported(format!("{what} number {number} is not known to this build; update this side")))
}

fn missing<T>(part: Option<T>, of: &str, name: &str) -> Result<T> {
    part.ok_or_else(|| Error::invalid(format!("{of} without its {name}")))
}

fn usize_from(number: u64) -> Result<usize> {
    usize::try_from(number).map_err(|_| Error::invalid(format!("{number} is too large")))
}

impl<T: Wire> Wire for Vec<T> {
    fn encode(&self, w: &mut Writer) {
        w.array(self.len());
        self.iter().for_each(|item| item.encode(w));
    }

    fn decode(r: &mut Reader<'_>) -> Result<Self> {
        let count = r.array()?;
        (0..count).map(|_| T::decode(r)).collect()
    }
}

impl<T: Wire> Wire for Option<T> {
    fn encode(&self, w: &mut Writer) {
        match self {
            None => w.nil(),
            Some(value) => value.encode(w),
        }
    }

    fn decode(r: &mut Reader<'_>) -> Result<Self> {
        if r.nil()? { Ok(None) } else { T::decode(r).map(Some) }
    }
}

impl Wire for String {
    fn encode(&self, w: &mut Writer) {
        w.str(self);
    }

    fn decode(r: &mut Reader<'_>) -> Result<Self> {
        r.str().map(str::to_owned)
    }
}

impl Wire for u32 {
    fn encode(&self, w: &mut Writer) {
        w.uint(u64::from(*self));
    }

    fn decode(r: &mut Reader<'_>) -> Result<Self> {
        r.u32()
    }
}

/// As the value itself, but json as a map `{5: text}`, because in MessagePack it looks like text.
impl Wire for Value {
    fn encode(&self, w: &mut Writer) {
        encode_value(self.as_ref(), w);
    }

    fn decode(r: &mut Reader<'_>) -> Result<Self> {
        decode_value(r).map(ValueRef::to_value)
    }
}

/// Reads a value as [`Value`] is read, without copying it.
///
/// # Errors
/// `invalid`.
pub fn decode_value<'a>(r: &mut Reader<'a>) -> Result<ValueRef<'a>> {
    Ok(match r.read()? {
        Token::Nil => ValueRef::Nil,
        Token::Bool(v) => ValueRef::Bool(v),
        Token::Int(v) => ValueRef::Int(v),
        Token::Real(v) => ValueRef::Real(v),
        Token::Str(v) => ValueRef::Text(v),
        Token::Bin(v) => ValueRef::Blob(v),
        Token::Map(1) => {
            let number = r.u32()?;
            if Kind::from_number(number) != Some(Kind::Json) {
                return unknown("value kind", number);
            }
            ValueRef::Json(r.str()?)
        }
        other => return Err(Error::invalid(format!("expected a value, found {}", other.name()))),
    })
}

/// Writes a borrowed value as [`Value`] is written.
pub fn encode_value(value: ValueRef<'_>, w: &mut Writer) {
    if let ValueRef::Json(_) = value {
        w.map(1);
        w.uint(Kind::Json.number().into());
    }
    write_value(w, value);
}

impl Wire for Key {
    fn encode(&self, w: &mut Writer) {
        write_value(w, self.as_ref().as_value());
    }

    fn decode(r: &mut Reader<'_>) -> Result<Self> {
        match r.read()? {
            Token::Int(v) => Ok(Self::Int(v)),
            Token::Str(v) => Ok(Self::Text(v.to_owned())),
            other => Err(Error::invalid(format!("expected a key, found {}", other.name()))),
        }
    }
}

#[cfg(test)]
mod tests;
