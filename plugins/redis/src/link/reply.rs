//! Answers: where one ends, and what it says.
//!
//! The decision behind it: **an answer is looked at where it lies, once all of it is there.** Where it ends is told by counts and lengths
//! alone, so that nothing is made of it before, a connection knows whether more came than was asked for, and a look-up reads its record
//! out of the connection's own buffer. The shapes that commands of ours are answered by are read here; all others, refusals too, by
//! the `redis` crate.

use redis::{PushKind, Value};

/// Deeper ones are left to the crate, which has a limit of its own.
const DEEPEST: usize = 4;

/// An answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reply<'a> {
    /// There is nothing.
    Nil,
    /// A number.
    Int(i64),
    /// A text, or any bytes.
    Text(&'a [u8]),
    /// Several answers.
    List(Replies<'a>),
    /// Anything else, refusals too, as it came.
    Other(&'a [u8]),
}

/// Answers, one after another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Replies<'a> {
    bytes: &'a [u8],
    left: usize,
}

impl<'a> Reply<'a> {
    /// Reads one whole answer.
    pub(crate) fn read(answer: &'a [u8]) -> Self {
        let other = Self::Other(answer);
        let Some((kind, line, rest)) = line(answer) else { return other };
        match (kind, number(line)) {
            (b':', Some(number)) => Self::Int(number),
            (b'$' | b'*', Some(-1)) => Self::Nil,
            (b'$', Some(length)) => match usize::try_from(length).ok().and_then(|length| rest.get(..length)) {
                Some(text) => Self::Text(text),
                None => other,
            },
            (b'*', Some(count)) => match usize::try_from(count) {
                Ok(left) => Self::List(Replies { bytes: rest, left }),
                Err(_) => other,
            },
            _ => other,
        }
    }

    /// As the crate has it.
    pub(crate) fn to_value(self) -> Result<Value, String> {
        self.value(0)
    }

    fn value(self, depth: usize) -> Result<Value, String> {
        Ok(match self {
            Self::Nil => Value::Nil,
            Self::Int(number) => Value::Int(number),
            Self::Text(text) => Value::BulkString(text.to_vec()),
            Self::List(replies) if depth < DEEPEST => Value::Array(replies.values(depth)?),
            Self::List(replies) => parse(&[format!("*{}\r\n", replies.left).as_bytes(), replies.bytes].concat())?,
            Self::Other(bytes) => match (line(bytes), pushed(bytes)) {
                (Some((b'+', b"OK", _)), _) => Value::Okay,
                (_, Some(replies)) => Value::Push { kind: PushKind::Invalidate, data: replies.values(depth)? },
                _ => parse(bytes)?,
            },
        })
    }
}

impl Replies<'_> {
    /// How many there are still.
    pub(crate) const fn len(&self) -> usize {
        self.left
    }

    fn values(self, depth: usize) -> Result<Vec<Value>, String> {
        self.map(|reply| reply.value(depth + 1)).collect()
    }
}

impl<'a> Iterator for Replies<'a> {
    type Item = Reply<'a>;

    fn next(&mut self) -> Option<Reply<'a>> {
        self.left = self.left.checked_sub(1)?;
        // All of it is there, because all of what it is a part of was.
        if let Some((text, rest)) = text(self.bytes) {
            self.bytes = rest;
            return Some(Reply::Text(text));
        }
        let length = Scan::default().end(self.bytes).ok().flatten()?;
        let (answer, rest) = self.bytes.split_at(length);
        self.bytes = rest;
        Some(Reply::read(answer))
    }
}

/// A text, and what comes after it: most answers within others are one.
fn text(answers: &[u8]) -> Option<(&[u8], &[u8])> {
    let (b'$', line, rest) = line(answers)? else { return None };
    let length = usize::try_from(number(line)?).ok()?;
    Some((rest.get(..length)?, rest.get(length + 2..)?))
}

/// What follows the first word of the push that tells of changes.
fn pushed(answer: &[u8]) -> Option<Replies<'_>> {
    let (b'>', line, rest) = line(answer)? else { return None };
    let left = usize::try_from(number(line)?).ok()?.checked_sub(1)?;
    Some(Replies { bytes: rest.strip_prefix(b"$10\r\ninvalidate\r\n")?, left })
}

fn parse(answer: &[u8]) -> Result<Value, String> {
    redis::parse_redis_value(answer).map_err(|error| error.to_string())
}

/// The kind of an answer, its first line, and what comes after that.
fn line(answer: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (kind, rest) = answer.split_first()?;
    let end = end_of_line(rest)?;
    Some((*kind, &rest[..end], &rest[end + 2..]))
}

/// Where the first line ends. Most are a few digits.
fn end_of_line(bytes: &[u8]) -> Option<usize> {
    let at = bytes.iter().position(|byte| *byte == b'\r')?;
    if bytes.get(at + 1) == Some(&b'\n') {
        return Some(at);
    }
    let from = at + 1;
    bytes[from..].windows(2).position(|two| two == b"\r\n").map(|at| from + at)
}

/// A number as Redis writes one.
fn number(digits: &[u8]) -> Option<i64> {
    let (is_negative, digits) = digits.strip_prefix(b"-").map_or((false, digits), |digits| (true, digits));
    if digits.is_empty() {
        return None;
    }
    let number = digits.iter().try_fold(0_i64, |number, digit| {
        let digit = i64::from(digit.checked_sub(b'0').filter(|digit| *digit <= 9)?);
        // Negated all along, because there is one negative number more.
        number.checked_mul(10)?.checked_sub(digit)
    })?;
    if is_negative { Some(number) } else { number.checked_neg() }
}

/// How far an answer was followed, while it is still coming.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scan {
    at: usize,
    /// Answers that are still to come, those within others too.
    pending: usize,
}

impl Default for Scan {
    fn default() -> Self {
        Self { at: 0, pending: 1 }
    }
}

impl Scan {
    /// The length of the first answer in these bytes, which may have grown since the last question; `None` if it is not all there.
    ///
    /// # Errors
    /// What is no answer, in the crate's words.
    pub(crate) fn end(&mut self, bytes: &[u8]) -> Result<Option<usize>, String> {
        while self.pending > 0 {
            let Some(rest) = bytes.get(self.at..).filter(|rest| !rest.is_empty()) else { return Ok(None) };
            if !b"+-:$*_,#!=(%|~>".contains(&rest[0]) {
                return parse(rest).and(Err("no answer".to_owned()));
            }
            let Some((kind, line, after)) = line(rest) else { return Ok(None) };
            let strange = || parse(rest).map_or_else(|error| error, |_| "an answer of a strange length".to_owned());
            let length = || number(line).map(|length| usize::try_from(length).unwrap_or(0)).ok_or_else(strange);
            let (text, parts) = match kind {
                b'$' | b'!' | b'=' if !line.starts_with(b"-") => (Some(length()?), 0),
                b'*' | b'~' | b'>' => (None, length()?),
                b'%' => (None, length()?.saturating_mul(2)),
                // It belongs to the answer that follows it.
                b'|' => (None, length()?.saturating_mul(2).saturating_add(1)),
                _ => (None, 0),
            };
            let mut end = self.at + (rest.len() - after.len());
            if let Some(text) = text {
                match after.get(text..text.saturating_add(2)) {
                    None => return Ok(None),
                    Some(b"\r\n") => end += text + 2,
                    Some(_) => return Err(strange()),
                }
            }
            self.at = end;
            self.pending = (self.pending - 1).saturating_add(parts);
        }
        Ok(Some(self.at))
    }
}

#[cfg(test)]
mod tests;
