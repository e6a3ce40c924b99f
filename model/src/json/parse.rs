//! The parser. Input is hostile: depth is bounded, nothing is indexed unchecked.
//!
//! What is made of a document is a parameter, because most documents only have to be known to be one before they are passed on as
//! text: [`check`] and [`parse`] read by the same rules, and only one of them builds anything.

use std::borrow::Cow;
use std::fmt;

use super::build::{Build, Flat, Outline, Part, Tree};
use super::text::plain;
use super::{Json, Member, Text};

/// The deepest nesting that is read; deeper documents are refused.
pub const MAX_DEPTH: usize = 200;

/// Why a text is not JSON, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParseError {
    /// What was expected or wrong.
    pub what: &'static str,
    /// Line of the place, from 1.
    pub line: usize,
    /// Column of the place in characters, from 1.
    pub column: usize,
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at line {} column {}", self.what, self.line, self.column)
    }
}

impl std::error::Error for ParseError {}

/// Parses one document; white space may surround it.
///
/// # Errors
/// The first thing that is wrong.
pub fn parse(source: &str) -> Result<Json<'_>, ParseError> {
    document(source, Tree(Some))
}

/// Parses one document as [`parse`] does, and hands each member of the outermost object to `member` as soon as it is read, repeated
/// names again: a document of a million records never is a tree of a million. What is returned lacks these members.
///
/// # Errors
/// The first thing that is wrong; what stands before it was handed out.
pub fn members<'a>(source: &'a str, mut member: impl FnMut(Member<'a>)) -> Result<Json<'a>, ParseError> {
    let take = |found| {
        member(found);
        None
    };
    document(source, Tree(take))
}

/// Checks that a text is one document, as [`parse`] does, and makes nothing of it. `member` is told the names in the outermost
/// object, repeated ones again.
///
/// # Errors
/// The first thing that is wrong.
pub fn check<'a>(source: &'a str, mut member: impl FnMut(Text<'a>)) -> Result<Flat<'a>, ParseError> {
    outline(source, |part| {
        if let Part::Member(name, ..) = part {
            member(name);
        }
    })
}

/// Checks a text as [`check`] does. `part` is told what lies directly in the document and the names one level below, repeated ones again.
///
/// # Errors
/// The first thing that is wrong; what stands before it was told.
pub fn outline<'a>(source: &'a str, part: impl FnMut(Part<'a>)) -> Result<Flat<'a>, ParseError> {
    document(source, Outline(part))
}

/// Checks the value that a text begins with as the value of a member of the outermost object, and tells the names in it as [`outline`]
/// does. Given is the value, and as it was written; what follows it was not looked at.
///
/// # Errors
/// The first thing that is wrong; what stands before it was told.
pub fn first<'a>(source: &'a str, part: impl FnMut(Part<'a>)) -> Result<(Flat<'a>, &'a str), ParseError> {
    let mut parser = Parser { source, at: 0, build: Outline(part) };
    let value = parser.value(1)?;
    Ok((value, &source[..parser.at]))
}

fn document<'a, B: Build<'a>>(source: &'a str, build: B) -> Result<B::Value, ParseError> {
    let mut parser = Parser { source, at: 0, build };
    parser.space();
    let value = parser.value(0)?;
    parser.space();
    if parser.at < source.len() { Err(parser.error("unexpected text after the document")) } else { Ok(value) }
}

/// The same text with `//` and `#` comments outside of strings turned into spaces, so that every offset stays what it was.
#[must_use]
pub fn without_comments(source: &str) -> Cow<'_, str> {
    if !source.contains('#') && !source.contains("//") {
        return Cow::Borrowed(source);
    }
    let mut out = String::with_capacity(source.len());
    let mut chars = source.chars().peekable();
    let mut in_string = false;
    while let Some(c) = chars.next() {
        let comment = !in_string && (c == '#' || (c == '/' && chars.peek() == Some(&'/')));
        if comment {
            out.push(' ');
            while let Some(c) = chars.next_if(|c| *c != '\n') {
                out.extend(std::iter::repeat_n(' ', c.len_utf8()));
            }
            continue;
        }
        out.push(c);
        match c {
            '"' => in_string = !in_string,
            // A line break ends a broken string too: one missing quote must not hide what follows.
            '\n' => in_string = false,
            '\\' if in_string => out.extend(chars.next_if(|c| *c != '\n')),
            _ => {}
        }
    }
    Cow::Owned(out)
}

struct Parser<'a, B> {
    source: &'a str,
    at: usize,
    build: B,
}

impl<'a, B: Build<'a>> Parser<'a, B> {
    // Out of the way of what is read without one.
    #[cold]
    #[inline(never)]
    fn error(&self, what: &'static str) -> ParseError {
        let before = self.source.get(..self.at).unwrap_or(self.source);
        let line_start = before.rfind('\n').map_or(0, |n| n + 1);
        ParseError { what, line: before.matches('\n').count() + 1, column: before[line_start..].chars().count() + 1 }
    }

    fn peek(&self) -> Option<u8> {
        self.source.as_bytes().get(self.at).copied()
    }

    #[inline]
    fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    #[inline]
    fn byte(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    fn word(&mut self, word: &str) -> bool {
        let found = self.source.as_bytes()[self.at..].starts_with(word.as_bytes());
        if found {
            self.at += word.len();
        }
        found
    }

    fn value(&mut self, depth: usize) -> Result<B::Value, ParseError> {
        if depth > MAX_DEPTH {
            return Err(self.error("nested too deep"));
        }
        let leaf = match self.peek() {
            Some(b'{') => return self.object(depth),
            Some(b'[') => return self.array(depth),
            Some(b'"') => Flat::String(self.string()?),
            Some(b'-' | b'0'..=b'9' | b'N' | b'I') => Flat::Number(self.number()?),
            Some(b't') if self.word("true") => Flat::Bool(true),
            Some(b'f') if self.word("false") => Flat::Bool(false),
            Some(b'n') if self.word("null") => Flat::Null,
            Some(_) => return Err(self.error("expected a value")),
            None => return Err(self.error("expected a value, found the end")),
        };
        Ok(self.build.leaf(leaf))
    }

    fn array(&mut self, depth: usize) -> Result<B::Value, ParseError> {
        let mut items = B::Items::default();
        self.at += 1;
        self.space();
        if self.byte(b']') {
            return Ok(self.build.array(items));
        }
        loop {
            self.space();
            let start = self.at;
            let value = self.value(depth + 1)?;
            let raw = &self.source[start..self.at];
            self.build.item(depth, &mut items, (value, raw));
            self.space();
            if self.byte(b']') {
                return Ok(self.build.array(items));
            }
            if !self.byte(b',') {
                return Err(self.error("expected ',' or ']'"));
            }
        }
    }

    fn object(&mut self, depth: usize) -> Result<B::Value, ParseError> {
        let mut members = B::Members::default();
        self.at += 1;
        self.space();
        if self.byte(b'}') {
            return Ok(self.build.object(members));
        }
        loop {
            self.space();
            let name = self.string()?;
            self.space();
            if !self.byte(b':') {
                return Err(self.error("expected ':'"));
            }
            self.space();
            let start = self.at;
            let value = self.value(depth + 1)?;
            let raw = &self.source[start..self.at];
            self.build.member(depth, &mut members, (name, value, raw));
            self.space();
            if self.byte(b'}') {
                return Ok(self.build.object(members));
            }
            if !self.byte(b',') {
                return Err(self.error("expected ',' or '}'"));
            }
        }
    }

    fn string(&mut self) -> Result<Text<'a>, ParseError> {
        if !self.byte(b'"') {
            return Err(self.error("expected a string"));
        }
        let start = self.at;
        loop {
            self.at += plain(&self.source.as_bytes()[self.at..]);
            match self.peek() {
                Some(b'"') => {
                    let raw = &self.source[start..self.at];
                    self.at += 1;
                    return Ok(Text { raw });
                }
                Some(b'\\') => self.escape()?,
                Some(0..=0x1f) => return Err(self.error("control character in a string")),
                Some(_) => self.at += 1,
                None => return Err(self.error("string without end")),
            }
        }
    }

    fn escape(&mut self) -> Result<(), ParseError> {
        let bytes = self.source.as_bytes();
        let length = match bytes.get(self.at + 1) {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => 2,
            Some(b'u') if bytes.get(self.at + 2..self.at + 6).is_some_and(|h| h.iter().all(u8::is_ascii_hexdigit)) => 6,
            _ => return Err(self.error("unknown escape")),
        };
        self.at += length;
        Ok(())
    }

    fn digits(&mut self) -> usize {
        let start = self.at;
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
        self.at - start
    }

    fn number(&mut self) -> Result<&'a str, ParseError> {
        let start = self.at;
        if self.word("NaN") || self.word("Infinity") || self.word("-Infinity") {
            return Ok(&self.source[start..self.at]);
        }
        self.byte(b'-');
        let leading_zero = self.peek() == Some(b'0');
        let whole = self.digits();
        if whole == 0 || (leading_zero && whole > 1) {
            return Err(self.error("malformed number"));
        }
        if self.byte(b'.') && self.digits() == 0 {
            return Err(self.error("malformed number"));
        }
        if self.byte(b'e') || self.byte(b'E') {
            let _ = self.byte(b'+') || self.byte(b'-');
            if self.digits() == 0 {
                return Err(self.error("malformed number"));
            }
        }
        Ok(&self.source[start..self.at])
    }
}
