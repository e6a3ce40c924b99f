//! Bytes into values: hostile ones.

use super::MAX_DEPTH;
use crate::error::{Error, Result};

/// What stands next in the input.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Token<'a> {
    /// Nil.
    Nil,
    /// A boolean.
    Bool(bool),
    /// An integer that fits 64 signed bits.
    Int(i64),
    /// An integer above `i64::MAX`.
    Big(u64),
    /// A float, widened to a double.
    Real(f64),
    /// A string.
    Str(&'a str),
    /// Bytes.
    Bin(&'a [u8]),
    /// An array of so many values follows.
    Array(usize),
    /// A map of so many pairs follows.
    Map(usize),
}

impl Token<'_> {
    /// What it is, in words for a message.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Nil => "nil",
            Self::Bool(_) => "a boolean",
            Self::Int(_) | Self::Big(_) => "an integer",
            Self::Real(_) => "a float",
            Self::Str(_) => "a string",
            Self::Bin(_) => "bytes",
            Self::Array(_) => "an array",
            Self::Map(_) => "a map",
        }
    }
}

/// Reads values one after another; every error is `invalid` and names the byte offset.
#[derive(Debug, Clone)]
pub struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    /// Reads `bytes` from the start.
    #[must_use]
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// The offset of the next byte.
    #[must_use]
    pub const fn position(&self) -> usize {
        self.at
    }

    /// Whether everything was read.
    #[must_use]
    pub const fn is_at_end(&self) -> bool {
        self.at >= self.bytes.len()
    }

    /// Fails unless everything was read.
    ///
    /// # Errors
    /// `invalid`.
    pub fn end(&self) -> Result<()> {
        if self.is_at_end() {
            return Ok(());
        }
        Err(self.error(format!("expected the end, found {} more bytes", self.bytes.len() - self.at)))
    }

    // Out of the way of what is read without one.
    #[cold]
    #[inline(never)]
    fn error(&self, what: impl std::fmt::Display) -> Error {
        Error::invalid(format!("MessagePack at byte {}: {what}", self.at))
    }

    #[cold]
    #[inline(never)]
    fn short(&self, n: usize) -> Error {
        self.error(format!("expected {n} more bytes, found {}", self.bytes.len().saturating_sub(self.at)))
    }

    #[inline]
    fn take(&mut self, n: usize) -> Result<&'a [u8]> {
        match self.bytes.get(self.at..).and_then(|rest| rest.get(..n)) {
            Some(taken) => {
                self.at += n;
                Ok(taken)
            }
            None => Err(self.short(n)),
        }
    }

    #[inline]
    fn be<const N: usize>(&mut self) -> Result<[u8; N]> {
        match self.bytes.get(self.at..).and_then(<[u8]>::first_chunk::<N>) {
            Some(chunk) => {
                self.at += N;
                Ok(*chunk)
            }
            None => Err(self.short(N)),
        }
    }

    #[inline]
    fn len(&mut self, bytes: u8) -> Result<usize> {
        Ok(match bytes {
            1 => usize::from(u8::from_be_bytes(self.be()?)),
            2 => usize::from(u16::from_be_bytes(self.be()?)),
            _ => u32::from_be_bytes(self.be()?) as usize,
        })
    }

    #[inline]
    fn text(&mut self, len: usize) -> Result<Token<'a>> {
        let start = self.at;
        let bytes = self.take(len)?;
        match std::str::from_utf8(bytes) {
            Ok(text) => Ok(Token::Str(text)),
            Err(e) => {
                self.at = start + e.valid_up_to();
                Err(self.error("expected UTF-8"))
            }
        }
    }

    /// A count of elements; each takes at least one byte, so a larger count than bytes left is a lie.
    fn count(&self, count: usize) -> Result<usize> {
        if count > self.bytes.len() - self.at {
            return Err(self.error(format!("expected {count} elements, found {} bytes", self.bytes.len() - self.at)));
        }
        Ok(count)
    }

    /// Reads the next value, or the head of an array or map.
    ///
    /// # Errors
    /// `invalid` on a truncated value, bad UTF-8, or an extension type.
    #[inline]
    pub fn read(&mut self) -> Result<Token<'a>> {
        let tag = self.be::<1>()?[0];
        let unsigned = |v: u64| i64::try_from(v).map_or(Token::Big(v), Token::Int);
        Ok(match tag {
            0x00..=0x7f => Token::Int(i64::from(tag)),
            0x80..=0x8f => Token::Map(self.count(usize::from(tag & 0x0f))?),
            0x90..=0x9f => Token::Array(self.count(usize::from(tag & 0x0f))?),
            0xa0..=0xbf => self.text(usize::from(tag & 0x1f))?,
            0xc0 => Token::Nil,
            0xc2 => Token::Bool(false),
            0xc3 => Token::Bool(true),
            0xc4..=0xc6 => {
                let len = self.len(1 << (tag - 0xc4))?;
                Token::Bin(self.take(len)?)
            }
            0xca => Token::Real(f64::from(f32::from_be_bytes(self.be()?))),
            0xcb => Token::Real(f64::from_be_bytes(self.be()?)),
            0xcc => Token::Int(i64::from(u8::from_be_bytes(self.be()?))),
            0xcd => Token::Int(i64::from(u16::from_be_bytes(self.be()?))),
            0xce => Token::Int(i64::from(u32::from_be_bytes(self.be()?))),
            0xcf => unsigned(u64::from_be_bytes(self.be()?)),
            0xd0 => Token::Int(i64::from(i8::from_be_bytes(self.be()?))),
            0xd1 => Token::Int(i64::from(i16::from_be_bytes(self.be()?))),
            0xd2 => Token::Int(i64::from(i32::from_be_bytes(self.be()?))),
            0xd3 => Token::Int(i64::from_be_bytes(self.be()?)),
            0xd9..=0xdb => {
                let len = self.len(1 << (tag - 0xd9))?;
                self.text(len)?
            }
            0xdc | 0xdd => {
                let len = self.len(2 << (tag - 0xdc))?;
                Token::Array(self.count(len)?)
            }
            0xde | 0xdf => {
                let len = self.len(2 << (tag - 0xde))?;
                Token::Map(self.count(len)?)
            }
            0xe0..=0xff => Token::Int(i64::from(i8::from_be_bytes([tag]))),
            0xc1 | 0xc7..=0xc9 | 0xd4..=0xd8 => {
                self.at -= 1;
                return Err(self.error(format!("type 0x{tag:02x} is not used here")));
            }
        })
    }

    fn expected<T>(&self, what: &str, found: Token<'_>) -> Result<T> {
        Err(self.error(format!("expected {what}, found {}", found.name())))
    }

    /// Reads a boolean.
    ///
    /// # Errors
    /// `invalid` if something else follows; likewise for the other readers below.
    pub fn bool(&mut self) -> Result<bool> {
        match self.read()? {
            Token::Bool(v) => Ok(v),
            other => self.expected("a boolean", other),
        }
    }

    /// Reads a signed integer.
    #[allow(clippy::missing_errors_doc, reason = "see `bool`; likewise below")]
    pub fn int(&mut self) -> Result<i64> {
        match self.read()? {
            Token::Int(v) => Ok(v),
            other => self.expected("an integer of 64 bits", other),
        }
    }

    /// Reads an unsigned integer.
    #[allow(clippy::missing_errors_doc)]
    pub fn uint(&mut self) -> Result<u64> {
        match self.read()? {
            Token::Int(v) if v >= 0 => Ok(v.unsigned_abs()),
            Token::Big(v) => Ok(v),
            other => self.expected("an unsigned integer", other),
        }
    }

    /// Reads a small unsigned integer, as tags and positions are.
    #[allow(clippy::missing_errors_doc)]
    pub fn u32(&mut self) -> Result<u32> {
        let v = self.uint()?;
        u32::try_from(v).map_err(|_| self.error(format!("expected a number below 2^32, found {v}")))
    }

    /// Reads a string.
    #[allow(clippy::missing_errors_doc)]
    pub fn str(&mut self) -> Result<&'a str> {
        match self.read()? {
            Token::Str(v) => Ok(v),
            other => self.expected("a string", other),
        }
    }

    /// Reads bytes.
    #[allow(clippy::missing_errors_doc)]
    pub fn bin(&mut self) -> Result<&'a [u8]> {
        match self.read()? {
            Token::Bin(v) => Ok(v),
            other => self.expected("bytes", other),
        }
    }

    /// Reads the head of an array.
    #[allow(clippy::missing_errors_doc)]
    pub fn array(&mut self) -> Result<usize> {
        match self.read()? {
            Token::Array(n) => Ok(n),
            other => self.expected("an array", other),
        }
    }

    /// Reads the head of a map.
    #[allow(clippy::missing_errors_doc)]
    pub fn map(&mut self) -> Result<usize> {
        match self.read()? {
            Token::Map(n) => Ok(n),
            other => self.expected("a map", other),
        }
    }

    /// Whether nil follows; reads it if so.
    #[allow(clippy::missing_errors_doc)]
    pub fn nil(&mut self) -> Result<bool> {
        if self.bytes.get(self.at) == Some(&0xc0) {
            self.at += 1;
            return Ok(true);
        }
        if self.is_at_end() { Err(self.error("expected a value, found the end")) } else { Ok(false) }
    }

    /// Passes over one whole value and returns its bytes.
    ///
    /// # Errors
    /// `invalid` on malformed input or nesting beyond [`MAX_DEPTH`].
    pub fn skip(&mut self) -> Result<&'a [u8]> {
        let start = self.at;
        self.skip_at(0)?;
        Ok(&self.bytes[start..self.at])
    }

    fn skip_at(&mut self, depth: usize) -> Result<()> {
        if depth > MAX_DEPTH {
            return Err(self.error(format!("nested deeper than {MAX_DEPTH}")));
        }
        let inner = match self.read()? {
            Token::Array(n) => n,
            Token::Map(n) => n * 2,
            _ => 0,
        };
        (0..inner).try_for_each(|_| self.skip_at(depth + 1))
    }
}
