//! Collections on the wire.

use super::{Map, Wire, missing, read_map, unknown, usize_from};
use crate::collection::{Collection, Field, Index, Legacy, LegacyRule, Retired};
use crate::error::Result;
use crate::msgpack::{Reader, Writer};
use crate::value::{Kind, Value};

/// 0 name · 1 version · 2 primary · 3 key · 4 fields · 5 extras · 6 legacy · 7 retired
impl Wire for Collection {
    fn encode(&self, w: &mut Writer) {
        let mut map = Map::default();
        map.put(0, |w| w.str(&self.name));
        map.put(1, |w| w.uint(self.version.into()));
        map.put_if(self.primary, 2, |w| w.bool(true));
        map.put(3, |w| w.uint(self.key as u64));
        map.put(4, |w| self.fields.encode(w));
        map.put_if(self.extras.is_some(), 5, |w| w.uint(self.extras.unwrap_or(0) as u64));
        map.put_if(!self.legacy.is_empty(), 6, |w| self.legacy.encode(w));
        map.put_if(!self.retired.is_empty(), 7, |w| self.retired.encode(w));
        map.finish(w);
    }

    fn decode(r: &mut Reader<'_>) -> Result<Self> {
        let mut c = Self::new("", 0, "", Kind::Int);
        c.fields.clear();
        read_map(r, "a collection", |tag, r| {
            match tag {
                0 => c.name = String::decode(r)?,
                1 => c.version = r.u32()?,
                2 => c.primary = r.bool()?,
                3 => c.key = usize_from(r.uint()?)?,
                4 => c.fields = Vec::decode(r)?,
                5 => c.extras = Some(usize_from(r.uint()?)?),
                6 => c.legacy = Vec::decode(r)?,
                7 => c.retired = Vec::decode(r)?,
                _ => return Ok(false),
            }
            Ok(true)
        })?;
        Ok(c)
    }
}

/// 0 name · 1 kind · 2 default · 3 index: nil, true for plain, else the list of excepted values
impl Wire for Field {
    fn encode(&self, w: &mut Writer) {
        let mut map = Map::default();
        map.put(0, |w| w.str(&self.name));
        map.put(1, |w| w.uint(self.kind.number().into()));
        map.put_if(self.default != Value::Nil, 2, |w| self.default.encode(w));
        map.put_if(self.index != Index::None, 3, |w| match &self.index {
            Index::Unique { except } => except.encode(w),
            _ => w.bool(true),
        });
        map.finish(w);
    }

    fn decode(r: &mut Reader<'_>) -> Result<Self> {
        let (mut name, mut kind, mut default, mut index) = (None, None, Value::Nil, Index::None);
        read_map(r, "a field", |tag, r| {
            match tag {
                0 => name = Some(String::decode(r)?),
                1 => {
                    let number = r.u32()?;
                    kind = Some(Kind::from_number(number).map_or_else(|| unknown("field kind", number), Ok)?);
                }
                2 => default = Value::decode(r)?,
                3 => {
                    let mut ahead = r.clone();
                    index = if ahead.bool().is_ok() {
                        *r = ahead;
                        Index::Plain
                    } else {
                        Index::Unique { except: Vec::decode(r)? }
                    };
                }
                _ => return Ok(false),
            }
            Ok(true)
        })?;
        Ok(Self { name: missing(name, "a field", "name")?, kind: missing(kind, "a field", "kind")?, default, index })
    }
}

/// 0 name · 1 true if folded, false if dropped
impl Wire for Legacy {
    fn encode(&self, w: &mut Writer) {
        let mut map = Map::default();
        map.put(0, |w| w.str(&self.name));
        map.put(1, |w| w.bool(self.rule == LegacyRule::Fold));
        map.finish(w);
    }

    fn decode(r: &mut Reader<'_>) -> Result<Self> {
        let (mut name, mut rule) = (None, None);
        read_map(r, "a legacy name", |tag, r| {
            match tag {
                0 => name = Some(String::decode(r)?),
                1 => rule = Some(if r.bool()? { LegacyRule::Fold } else { LegacyRule::Drop }),
                _ => return Ok(false),
            }
            Ok(true)
        })?;
        Ok(Self { name: missing(name, "a legacy name", "name")?, rule: missing(rule, "a legacy name", "rule")? })
    }
}

/// 0 name · 1 before
impl Wire for Retired {
    fn encode(&self, w: &mut Writer) {
        let mut map = Map::default();
        map.put(0, |w| w.str(&self.name));
        map.put_if(self.before.is_some(), 1, |w| w.uint(self.before.unwrap_or(0) as u64));
        map.finish(w);
    }

    fn decode(r: &mut Reader<'_>) -> Result<Self> {
        let (mut name, mut before) = (None, None);
        read_map(r, "a retired column", |tag, r| {
            match tag {
                0 => name = Some(String::decode(r)?),
                1 => before = Some(usize_from(r.uint()?)?),
                _ => return Ok(false),
            }
            Ok(true)
        })?;
        Ok(Self { name: missing(name, "a retired column", "name")?, before })
    }
}
