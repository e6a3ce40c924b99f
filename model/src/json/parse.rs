//! The parser. Input is hostile: depth is bounded, nothing is indexed unchecked.
//!
//! What is made of a document is a parameter, because most documents only have to be known to be one before they are passed on as
//! text: [`check`] and [`parse`] read by the same rules, and only one of them builds anything.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;

use super::names::FEW;
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

/// What a checked document is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// `null`.
    Null,
    /// An object.
    Object,
    /// Anything else.
    Other,
}

/// Checks that a text is one document, as [`parse`] does, and makes nothing of it. `member` is told the names in the outermost
/// object, repeated ones again.
///
/// # Errors
/// The first thing that is wrong.
pub fn check<'a>(source: &'a str, mut member: impl FnMut(Text<'a>)) -> Result<Shape, ParseError> {
    outline(source, |part| {
        if let Part::Member(name, _) = part {
            member(name);
        }
    })
}

/// What directly belongs to a document.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Part<'a> {
    /// A name in the outermost object, and its value as it was written.
    Member(Text<'a>, &'a str),
    /// An item of the outermost list as it was written.
    Item(&'a str),
}

/// Checks a text as [`check`] does. `part` is told what lies directly in the document, repeated names again.
///
/// # Errors
/// The first thing that is wrong; what stands before it was told.
pub fn outline<'a>(source: &'a str, part: impl FnMut(Part<'a>)) -> Result<Shape, ParseError> {
    document(source, Nothing(part))
}

/// What [`parts`] hands out.
pub(crate) enum Piece<'a> {
    /// A member of the outermost object, and its source text.
    Member(Text<'a>, Flat<'a>, &'a str),
    /// A name in an object whose member follows.
    Inner(Text<'a>),
}

/// A value of which nothing is made.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Flat<'a> {
    Null,
    Bool(bool),
    Number(&'a str),
    String(Text<'a>),
    Array,
    Object,
}

impl<'a> From<&Json<'a>> for Flat<'a> {
    fn from(json: &Json<'a>) -> Self {
        match json {
            Json::Null => Self::Null,
            Json::Bool(value) => Self::Bool(*value),
            Json::Number(raw) => Self::Number(raw),
            Json::String(text) => Self::String(*text),
            Json::Array(_) => Self::Array,
            Json::Object(_) => Self::Object,
        }
    }
}

/// Reads one document as [`parse`] does, and hands out the members of the outermost object and the names one level below, without making
/// anything of them. Repeated names are handed out again.
///
/// # Errors
/// The first thing that is wrong; what stands before it was handed out.
pub(crate) fn parts<'a>(source: &'a str, part: impl FnMut(Piece<'a>)) -> Result<Flat<'a>, ParseError> {
    document(source, Parts(part))
}

fn document<'a, B: Build<'a>>(source: &'a str, build: B) -> Result<B::Value, ParseError> {
    let mut parser = Parser { source, at: 0, build };
    parser.space();
    let value = parser.value(0)?;
    parser.space();
    if parser.at < source.len() { Err(parser.error("unexpected text after the document")) } else { Ok(value) }
}

/// What is made of what was read.
trait Build<'a> {
    type Value;
    type Items: Default;
    type Members: Default;

    /// A value that is neither list nor object.
    fn leaf(&mut self, leaf: Json<'a>) -> Self::Value;
    /// An item of a list that lies so deep.
    fn item(&mut self, depth: usize, items: &mut Self::Items, item: (Self::Value, &'a str));
    fn array(&mut self, items: Self::Items) -> Self::Value;
    /// A member of an object that lies so deep.
    fn member(&mut self, depth: usize, members: &mut Self::Members, member: (Text<'a>, Self::Value, &'a str));
    fn object(&mut self, members: Self::Members) -> Self::Value;
}

/// Makes the document, of the members of the outermost object with what is left of each.
struct Tree<F>(F);

impl<'a, F: FnMut(Member<'a>) -> Option<Member<'a>>> Build<'a> for Tree<F> {
    type Value = Json<'a>;
    type Items = Vec<Json<'a>>;
    type Members = Vec<Member<'a>>;

    fn leaf(&mut self, leaf: Json<'a>) -> Json<'a> {
        leaf
    }

    fn item(&mut self, _depth: usize, items: &mut Self::Items, (value, _): (Json<'a>, &'a str)) {
        items.push(value);
    }

    fn array(&mut self, items: Self::Items) -> Json<'a> {
        Json::Array(items)
    }

    fn member(&mut self, depth: usize, members: &mut Self::Members, (name, value, raw): (Text<'a>, Json<'a>, &'a str)) {
        let member = Member { name, value, raw };
        members.extend(if depth == 0 { (self.0)(member) } else { Some(member) });
    }

    fn object(&mut self, members: Self::Members) -> Json<'a> {
        Json::Object(last_of_each(members))
    }
}

/// Makes nothing, and tells the outermost parts.
struct Nothing<F>(F);

impl<'a, F: FnMut(Part<'a>)> Build<'a> for Nothing<F> {
    type Value = Shape;
    type Items = ();
    type Members = ();

    fn leaf(&mut self, leaf: Json<'a>) -> Shape {
        if leaf == Json::Null { Shape::Null } else { Shape::Other }
    }

    fn item(&mut self, depth: usize, (): &mut (), (_, raw): (Shape, &'a str)) {
        if depth == 0 {
            (self.0)(Part::Item(raw));
        }
    }

    fn array(&mut self, (): ()) -> Shape {
        Shape::Other
    }

    fn member(&mut self, depth: usize, (): &mut (), (name, _, raw): (Text<'a>, Shape, &'a str)) {
        if depth == 0 {
            (self.0)(Part::Member(name, raw));
        }
    }

    fn object(&mut self, (): ()) -> Shape {
        Shape::Object
    }
}

/// Makes nothing, and tells what is in the outermost object.
struct Parts<F>(F);

impl<'a, F: FnMut(Piece<'a>)> Build<'a> for Parts<F> {
    type Value = Flat<'a>;
    type Items = ();
    type Members = ();

    #[inline]
    fn leaf(&mut self, leaf: Json<'a>) -> Flat<'a> {
        Flat::from(&leaf)
    }

    fn item(&mut self, _depth: usize, (): &mut (), _item: (Flat<'a>, &'a str)) {}

    fn array(&mut self, (): ()) -> Flat<'a> {
        Flat::Array
    }

    #[inline]
    fn member(&mut self, depth: usize, (): &mut (), (name, value, raw): (Text<'a>, Flat<'a>, &'a str)) {
        match depth {
            0 => (self.0)(Piece::Member(name, value, raw)),
            1 => (self.0)(Piece::Inner(name)),
            _ => {}
        }
    }

    fn object(&mut self, (): ()) -> Flat<'a> {
        Flat::Object
    }
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
            Some(b'"') => Json::String(self.string()?),
            Some(b'-' | b'0'..=b'9' | b'N' | b'I') => Json::Number(self.number()?),
            Some(b't') if self.word("true") => Json::Bool(true),
            Some(b'f') if self.word("false") => Json::Bool(false),
            Some(b'n') if self.word("null") => Json::Null,
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

/// How many bytes from the first on end no string and begin no escape: eight at a time, as most of a document is such text. A byte
/// short of that is no mistake, the caller looks at each.
#[inline]
fn plain(bytes: &[u8]) -> usize {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = 0x8080_8080_8080_8080;
    // The lowest bit that is set marks the first byte that is zero, or below 0x20; those above it may be wrong.
    let zero = |v: u64| v.wrapping_sub(ONES) & !v & HIGH;
    let control = |v: u64| v.wrapping_sub(ONES * 0x20) & !v & HIGH;
    let (words, _) = bytes.as_chunks::<8>();
    for (at, word) in words.iter().enumerate() {
        let v = u64::from_le_bytes(*word);
        let found = zero(v ^ (ONES * u64::from(b'"'))) | zero(v ^ (ONES * u64::from(b'\\'))) | control(v);
        if found != 0 {
            return at * 8 + found.trailing_zeros() as usize / 8;
        }
    }
    words.len() * 8
}

/// Of repeated names the last counts, and stands where it stood.
fn last_of_each(members: Vec<Member<'_>>) -> Vec<Member<'_>> {
    // Without escapes, names are the same if their texts are; to compare a few of these is cheaper than to hash them.
    let raw: &[_] = if members.len() <= FEW { &members } else { &[] };
    let is_new = |(at, m): (usize, &Member<'_>)| raw[..at].iter().all(|before| before.name.raw != m.name.raw);
    if raw.len() == members.len() && raw.iter().all(|m| !m.name.raw.contains('\\')) && raw.iter().enumerate().all(is_new) {
        return members;
    }
    let mut seen = HashSet::with_capacity(members.len());
    if members.iter().all(|m| seen.insert(m.name.name())) {
        return members;
    }
    seen.clear();
    let mut kept: Vec<_> = members.into_iter().rev().filter(|m| seen.insert(m.name.name())).collect();
    kept.reverse();
    kept
}
