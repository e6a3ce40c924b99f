//! The parser. Input is hostile: depth is bounded, nothing is indexed unchecked.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;

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
    let mut parser = Parser { source, at: 0 };
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

struct Parser<'a> {
    source: &'a str,
    at: usize,
}

impl<'a> Parser<'a> {
    fn error(&self, what: &'static str) -> ParseError {
        let before = self.source.get(..self.at).unwrap_or(self.source);
        let line_start = before.rfind('\n').map_or(0, |n| n + 1);
        ParseError { what, line: before.matches('\n').count() + 1, column: before[line_start..].chars().count() + 1 }
    }

    fn peek(&self) -> Option<u8> {
        self.source.as_bytes().get(self.at).copied()
    }

    fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn word(&mut self, word: &str) -> bool {
        let found = self.source.as_bytes()[self.at..].starts_with(word.as_bytes());
        if found {
            self.at += word.len();
        }
        found
    }

    fn value(&mut self, depth: usize) -> Result<Json<'a>, ParseError> {
        if depth > MAX_DEPTH {
            return Err(self.error("nested too deep"));
        }
        match self.peek() {
            Some(b'{') => self.object(depth),
            Some(b'[') => self.array(depth),
            Some(b'"') => self.string().map(Json::String),
            Some(b'-' | b'0'..=b'9' | b'N' | b'I') => self.number().map(Json::Number),
            Some(b't') if self.word("true") => Ok(Json::Bool(true)),
            Some(b'f') if self.word("false") => Ok(Json::Bool(false)),
            Some(b'n') if self.word("null") => Ok(Json::Null),
            Some(_) => Err(self.error("expected a value")),
            None => Err(self.error("expected a value, found the end")),
        }
    }

    fn array(&mut self, depth: usize) -> Result<Json<'a>, ParseError> {
        let mut items = Vec::new();
        self.at += 1;
        self.space();
        if self.word("]") {
            return Ok(Json::Array(items));
        }
        loop {
            self.space();
            items.push(self.value(depth + 1)?);
            self.space();
            if self.word("]") {
                return Ok(Json::Array(items));
            }
            if !self.word(",") {
                return Err(self.error("expected ',' or ']'"));
            }
        }
    }

    fn object(&mut self, depth: usize) -> Result<Json<'a>, ParseError> {
        let mut members: Vec<Member<'a>> = Vec::new();
        self.at += 1;
        self.space();
        if self.word("}") {
            return Ok(Json::Object(members));
        }
        loop {
            self.space();
            let name = self.string()?;
            self.space();
            if !self.word(":") {
                return Err(self.error("expected ':'"));
            }
            self.space();
            let start = self.at;
            let value = self.value(depth + 1)?;
            members.push(Member { name, value, raw: &self.source[start..self.at] });
            self.space();
            if self.word("}") {
                return Ok(Json::Object(last_of_each(members)));
            }
            if !self.word(",") {
                return Err(self.error("expected ',' or '}'"));
            }
        }
    }

    fn string(&mut self) -> Result<Text<'a>, ParseError> {
        if !self.word("\"") {
            return Err(self.error("expected a string"));
        }
        let start = self.at;
        loop {
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
        self.word("-");
        let leading_zero = self.peek() == Some(b'0');
        let whole = self.digits();
        if whole == 0 || (leading_zero && whole > 1) {
            return Err(self.error("malformed number"));
        }
        if self.word(".") && self.digits() == 0 {
            return Err(self.error("malformed number"));
        }
        if self.word("e") || self.word("E") {
            let _ = self.word("+") || self.word("-");
            if self.digits() == 0 {
                return Err(self.error("malformed number"));
            }
        }
        Ok(&self.source[start..self.at])
    }
}

/// Of repeated names the last counts, and stands where it stood.
fn last_of_each(members: Vec<Member<'_>>) -> Vec<Member<'_>> {
    let mut seen = HashSet::with_capacity(members.len());
    if members.iter().all(|m| seen.insert(m.name.name())) {
        return members;
    }
    seen.clear();
    let mut kept: Vec<_> = members.into_iter().rev().filter(|m| seen.insert(m.name.name())).collect();
    kept.reverse();
    kept
}
