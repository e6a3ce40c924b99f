//! Answers on the wire.

use std::time::Duration;

use super::{Map, Wire, missing, read_map};
use crate::backend::{Applied, Changes, Lookup, Resource, Token};
use crate::capability::Capabilities;
use crate::error::{Code, Detail, Error, Result};
use crate::msgpack::{Reader, Writer};
use crate::mutation::Outcome;
use crate::query::{Continuation, Page, Unreadable};
use crate::report::{Problem, Report};
use crate::row::Row;
use crate::value::{Key, Value};

/// Bytes.
impl Wire for Row {
    fn encode(&self, w: &mut Writer) {
        w.bin(self.as_bytes());
    }

    fn decode(r: &mut Reader<'_>) -> Result<Self> {
        Ok(Self::from_bytes(r.bin()?.to_vec()))
    }
}

/// 0 code · 1 retryable · 2 message · 3 mutation · 4 collection · 5 key · 6 field · 7 place. The one map whose unknown tags are
/// passed over: they describe a failure that is already certain.
impl Wire for Error {
    fn encode(&self, w: &mut Writer) {
        let mut map = Map::default();
        let detail = self.detail();
        map.put(0, |w| w.uint(self.code().number().into()));
        map.put_if(self.retryable(), 1, |w| w.bool(true));
        map.put(2, |w| w.str(self.message()));
        if let Some(mutation) = detail.mutation {
            map.put(3, |w| w.uint(mutation.into()));
        }
        if let Some(collection) = &detail.collection {
            map.put(4, |w| w.str(collection));
        }
        if let Some(key) = &detail.key {
            map.put(5, |w| key.encode(w));
        }
        if let Some(field) = &detail.field {
            map.put(6, |w| w.str(field));
        }
        if let Some(place) = &detail.place {
            map.put(7, |w| w.str(place));
        }
        map.finish(w);
    }

    fn decode(r: &mut Reader<'_>) -> Result<Self> {
        let (mut code, mut retryable, mut message, mut detail) = (None, false, String::new(), Detail::default());
        read_map(r, "an error", |tag, r| {
            match tag {
                0 => code = Some(Code::from_number(r.u32()?)),
                1 => retryable = r.bool()?,
                2 => message = String::decode(r)?,
                3 => detail.mutation = Some(r.u32()?),
                4 => detail.collection = Some(String::decode(r)?),
                5 => detail.key = Some(Key::decode(r)?),
                6 => detail.field = Some(String::decode(r)?),
                7 => detail.place = Some(String::decode(r)?),
                _ => drop(r.skip()?),
            }
            Ok(true)
        })?;
        Ok(Self::new(missing(code, "an error", "code")?, retryable, message).with_detail(detail))
    }
}

/// The row, nil, or the error's map.
impl Wire for Lookup {
    fn encode(&self, w: &mut Writer) {
        match self {
            Ok(row) => row.encode(w),
            Err(error) => error.encode(w),
        }
    }

    fn decode(r: &mut Reader<'_>) -> Result<Self> {
        let mut ahead = r.clone();
        if ahead.map().is_ok() {
            return Ok(Err(Error::decode(r)?));
        }
        Ok(Ok(Option::decode(r)?))
    }
}

/// 0 key · 1 message
impl Wire for Unreadable {
    fn encode(&self, w: &mut Writer) {
        let mut map = Map::default();
        map.put(0, |w| self.key.encode(w));
        map.put(1, |w| w.str(&self.message));
        map.finish(w);
    }

    fn decode(r: &mut Reader<'_>) -> Result<Self> {
        let (mut key, mut message) = (None, String::new());
        read_map(r, "an unreadable record", |tag, r| {
            match tag {
                0 => key = Some(Key::decode(r)?),
                1 => message = String::decode(r)?,
                _ => return Ok(false),
            }
            Ok(true)
        })?;
        Ok(Self { key: missing(key, "an unreadable record", "key")?, message })
    }
}

/// 0 rows · 1 next · 2 unreadable
impl Wire for Page {
    fn encode(&self, w: &mut Writer) {
        let mut map = Map::default();
        map.put(0, |w| self.rows.encode(w));
        if let Some(next) = &self.next {
            map.put(1, |w| next.encode(w));
        }
        map.put_if(!self.unreadable.is_empty(), 2, |w| self.unreadable.encode(w));
        map.finish(w);
    }

    fn decode(r: &mut Reader<'_>) -> Result<Self> {
        let mut page = Self::default();
        read_map(r, "a page", |tag, r| {
            match tag {
                0 => page.rows = Vec::decode(r)?,
                1 => page.next = Some(Continuation::decode(r)?),
                2 => page.unreadable = Vec::decode(r)?,
                _ => return Ok(false),
            }
            Ok(true)
        })?;
        Ok(page)
    }
}

/// 0 inserted (key) · 1 put (replaced) · 2 updated (row) · 3 deleted (count) · 4 expected
impl Wire for Outcome {
    fn encode(&self, w: &mut Writer) {
        let mut map = Map::default();
        match self {
            Self::Inserted(key) => map.put(0, |w| key.encode(w)),
            Self::Put { replaced } => map.put(1, |w| w.bool(*replaced)),
            Self::Updated(row) => map.put(2, |w| row.encode(w)),
            Self::Deleted(count) => map.put(3, |w| w.uint(*count)),
            Self::Expected => map.put(4, Writer::nil),
        }
        map.finish(w);
    }

    fn decode(r: &mut Reader<'_>) -> Result<Self> {
        let mut outcome = None;
        read_map(r, "an outcome", |tag, r| {
            if outcome.is_some() {
                return Err(Error::invalid("an outcome of two kinds"));
            }
            outcome = Some(match tag {
                0 => Self::Inserted(Key::decode(r)?),
                1 => Self::Put { replaced: r.bool()? },
                2 => Self::Updated(Row::decode(r)?),
                3 => Self::Deleted(r.uint()?),
                4 if r.nil()? => Self::Expected,
                _ => return Ok(false),
            });
            Ok(true)
        })?;
        missing(outcome, "an outcome", "content")
    }
}

/// An array of epoch and sequence.
impl Wire for Token {
    fn encode(&self, w: &mut Writer) {
        w.array(2);
        w.uint(self.epoch);
        w.uint(self.sequence);
    }

    fn decode(r: &mut Reader<'_>) -> Result<Self> {
        match r.array()? {
            2 => Ok(Self { epoch: r.uint()?, sequence: r.uint()? }),
            n => Err(Error::invalid(format!("a token of {n} values"))),
        }
    }
}

/// 0 outcomes · 1 token
impl Wire for Applied {
    fn encode(&self, w: &mut Writer) {
        let mut map = Map::default();
        map.put(0, |w| self.outcomes.encode(w));
        map.put(1, |w| self.token.encode(w));
        map.finish(w);
    }

    fn decode(r: &mut Reader<'_>) -> Result<Self> {
        let mut applied = Self { outcomes: Vec::new(), token: Token::default() };
        read_map(r, "an applied batch", |tag, r| {
            match tag {
                0 => applied.outcomes = Vec::decode(r)?,
                1 => applied.token = Token::decode(r)?,
                _ => return Ok(false),
            }
            Ok(true)
        })?;
        Ok(applied)
    }
}

/// Nil for nothing, true for everything, else the list of keys.
impl Wire for Changes {
    fn encode(&self, w: &mut Writer) {
        match self {
            Self::Nothing => w.nil(),
            Self::Keys(keys) => keys.encode(w),
            Self::Everything => w.bool(true),
        }
    }

    fn decode(r: &mut Reader<'_>) -> Result<Self> {
        if r.nil()? {
            return Ok(Self::Nothing);
        }
        let mut ahead = r.clone();
        if ahead.bool().is_ok() {
            *r = ahead;
            return Ok(Self::Everything);
        }
        Ok(Self::Keys(Vec::decode(r)?))
    }
}

/// 0 kind · 1 id · 2 name
impl Wire for Resource {
    fn encode(&self, w: &mut Writer) {
        let mut map = Map::default();
        map.put(0, |w| w.str(&self.kind));
        map.put(1, |w| w.str(&self.id));
        map.put(2, |w| w.str(&self.name));
        map.finish(w);
    }

    fn decode(r: &mut Reader<'_>) -> Result<Self> {
        let mut resource = Self { kind: String::new(), id: String::new(), name: String::new() };
        read_map(r, "a resource", |tag, r| {
            match tag {
                0 => resource.kind = String::decode(r)?,
                1 => resource.id = String::decode(r)?,
                2 => resource.name = String::decode(r)?,
                _ => return Ok(false),
            }
            Ok(true)
        })?;
        Ok(resource)
    }
}

/// 0 bits · 1 staleness in microseconds. Unknown tags are passed over, as unknown bits are: a newer plugin may promise more than is
/// understood, and nothing here asked for it.
impl Wire for Capabilities {
    fn encode(&self, w: &mut Writer) {
        let mut map = Map::default();
        map.put(0, |w| w.uint(self.bits().into()));
        let staleness = u64::try_from(self.staleness().as_micros()).unwrap_or(u64::MAX);
        map.put_if(staleness > 0, 1, |w| w.uint(staleness));
        map.finish(w);
    }

    fn decode(r: &mut Reader<'_>) -> Result<Self> {
        let (mut bits, mut staleness) = (0, Duration::ZERO);
        read_map(r, "capabilities", |tag, r| {
            match tag {
                0 => bits = r.u32()?,
                1 => staleness = Duration::from_micros(r.uint()?),
                _ => drop(r.skip()?),
            }
            Ok(true)
        })?;
        Ok(Self::from_bits(bits).with_staleness(staleness))
    }
}

/// 0 collection · 1 key · 2 message
impl Wire for Problem {
    fn encode(&self, w: &mut Writer) {
        let mut map = Map::default();
        map.put(0, |w| w.str(&self.collection));
        if let Some(key) = &self.key {
            map.put(1, |w| key.encode(w));
        }
        map.put(2, |w| w.str(&self.message));
        map.finish(w);
    }

    fn decode(r: &mut Reader<'_>) -> Result<Self> {
        let mut problem = Self { collection: String::new(), key: None, message: String::new() };
        read_map(r, "a problem", |tag, r| {
            match tag {
                0 => problem.collection = String::decode(r)?,
                1 => problem.key = Some(Key::decode(r)?),
                2 => problem.message = String::decode(r)?,
                _ => return Ok(false),
            }
            Ok(true)
        })?;
        Ok(problem)
    }
}

/// 0 entries: an array of name, value, name, value … · 1 problems
impl Wire for Report {
    fn encode(&self, w: &mut Writer) {
        let mut map = Map::default();
        map.put(0, |w| {
            w.array(self.entries.len() * 2);
            for (name, value) in &self.entries {
                w.str(name);
                value.encode(w);
            }
        });
        map.put_if(!self.problems.is_empty(), 1, |w| self.problems.encode(w));
        map.finish(w);
    }

    fn decode(r: &mut Reader<'_>) -> Result<Self> {
        let mut report = Self::new();
        read_map(r, "a report", |tag, r| {
            match tag {
                0 => {
                    let count = r.array()?;
                    if count % 2 != 0 {
                        return Err(Error::invalid(format!("a report whose {count} names and values are no pairs")));
                    }
                    for _ in 0..count / 2 {
                        report.entries.push((String::decode(r)?, Value::decode(r)?));
                    }
                }
                1 => report.problems = Vec::decode(r)?,
                _ => return Ok(false),
            }
            Ok(true)
        })?;
        Ok(report)
    }
}
