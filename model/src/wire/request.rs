//! Queries, mutations and tasks on the wire. A variant is an array of its number and its parts' map.

use super::{Map, Wire, missing, read_map, unknown, usize_from};
use crate::collection::CollectionId;
use crate::error::{Error, Result};
use crate::msgpack::{Reader, Writer};
use crate::mutation::{Change, Mutation};
use crate::query::{Condition, Continuation, Op, Order, Query};
use crate::report::Task;
use crate::row::Row;
use crate::value::{Key, Value};

fn variant(w: &mut Writer, number: u32, map: Map) {
    w.array(2);
    w.uint(number.into());
    map.finish(w);
}

fn variant_number(r: &mut Reader<'_>) -> Result<u32> {
    match r.array()? {
        2 => r.u32(),
        n => Err(Error::invalid(format!("expected a number and its parts, found {n} values"))),
    }
}

/// 0 field · 1 member · 2 operator · 3 operands
impl Wire for Condition {
    fn encode(&self, w: &mut Writer) {
        let mut map = Map::default();
        map.put(0, |w| w.uint(self.field as u64));
        if let Some(member) = &self.member {
            map.put(1, |w| w.str(member));
        }
        map.put(2, |w| w.uint(self.op.number().into()));
        map.put_if(!self.operands.is_empty(), 3, |w| self.operands.encode(w));
        map.finish(w);
    }

    fn decode(r: &mut Reader<'_>) -> Result<Self> {
        let (mut field, mut member, mut op, mut operands) = (None, None, None, Vec::new());
        read_map(r, "a condition", |tag, r| {
            match tag {
                0 => field = Some(usize_from(r.uint()?)?),
                1 => member = Some(String::decode(r)?),
                2 => {
                    let number = r.u32()?;
                    op = Some(Op::from_number(number).map_or_else(|| unknown("operator", number), Ok)?);
                }
                3 => operands = Vec::decode(r)?,
                _ => return Ok(false),
            }
            Ok(true)
        })?;
        let field = missing(field, "a condition", "field")?;
        Ok(Self { field, member, op: missing(op, "a condition", "operator")?, operands })
    }
}

/// The field's position, or -1 - position if descending.
impl Wire for Order {
    fn encode(&self, w: &mut Writer) {
        let field = i64::try_from(self.field).unwrap_or(i64::MAX - 1);
        w.int(if self.descending { -1 - field } else { field });
    }

    fn decode(r: &mut Reader<'_>) -> Result<Self> {
        let number = r.int()?;
        let field = if number < 0 { -1 - number } else { number };
        Ok(Self { field: usize_from(field.unsigned_abs())?, descending: number < 0 })
    }
}

/// 0 values · 1 key
impl Wire for Continuation {
    fn encode(&self, w: &mut Writer) {
        let mut map = Map::default();
        map.put_if(!self.values.is_empty(), 0, |w| self.values.encode(w));
        map.put(1, |w| self.key.encode(w));
        map.finish(w);
    }

    fn decode(r: &mut Reader<'_>) -> Result<Self> {
        let (mut values, mut key) = (Vec::new(), None);
        read_map(r, "a continuation", |tag, r| {
            match tag {
                0 => values = Vec::decode(r)?,
                1 => key = Some(Key::decode(r)?),
                _ => return Ok(false),
            }
            Ok(true)
        })?;
        Ok(Self { values, key: missing(key, "a continuation", "key")? })
    }
}

/// 0 collection · 1 all · 2 order · 3 limit · 4 offset · 5 after
impl Wire for Query {
    fn encode(&self, w: &mut Writer) {
        let mut map = Map::default();
        map.put(0, |w| w.uint(self.collection.0.into()));
        map.put_if(!self.all.is_empty(), 1, |w| self.all.encode(w));
        map.put_if(!self.order.is_empty(), 2, |w| self.order.encode(w));
        if let Some(limit) = self.limit {
            map.put(3, |w| w.uint(limit));
        }
        map.put_if(self.offset > 0, 4, |w| w.uint(self.offset));
        if let Some(after) = &self.after {
            map.put(5, |w| after.encode(w));
        }
        map.finish(w);
    }

    fn decode(r: &mut Reader<'_>) -> Result<Self> {
        let mut query = Self::all(CollectionId(0));
        let mut collection = None;
        read_map(r, "a query", |tag, r| {
            match tag {
                0 => collection = Some(CollectionId(r.u32()?)),
                1 => query.all = Vec::decode(r)?,
                2 => query.order = Vec::decode(r)?,
                3 => query.limit = Some(r.uint()?),
                4 => query.offset = r.uint()?,
                5 => query.after = Some(Continuation::decode(r)?),
                _ => return Ok(false),
            }
            Ok(true)
        })?;
        query.collection = missing(collection, "a query", "collection")?;
        Ok(query)
    }
}

/// The parts that mutations and changes share; each variant takes those it has.
#[derive(Default)]
struct Parts {
    collection: Option<CollectionId>,
    row: Option<Row>,
    key: Option<Key>,
    changes: Vec<Change>,
    when: Vec<Condition>,
    query: Option<Query>,
}

impl Parts {
    fn decode(r: &mut Reader<'_>, allowed: &[u32]) -> Result<Self> {
        let mut parts = Self::default();
        read_map(r, "a mutation", |tag, r| {
            match tag {
                _ if !allowed.contains(&tag) => return Ok(false),
                0 => parts.collection = Some(CollectionId(r.u32()?)),
                1 => parts.row = Some(Row::from_bytes(r.bin()?.to_vec())),
                2 => parts.key = Some(Key::decode(r)?),
                3 => parts.changes = Vec::decode(r)?,
                4 => parts.when = Vec::decode(r)?,
                5 => parts.query = Some(Query::decode(r)?),
                _ => return Ok(false),
            }
            Ok(true)
        })?;
        Ok(parts)
    }

    fn collection(&self) -> Result<CollectionId> {
        missing(self.collection, "a mutation", "collection")
    }

    fn row(&mut self) -> Result<Row> {
        missing(self.row.take(), "a mutation", "row")
    }

    fn key(&mut self) -> Result<Key> {
        missing(self.key.take(), "a mutation", "key")
    }
}

/// Numbers: 0 insert · 1 insert next · 2 put · 3 update · 4 delete · 5 delete where · 6 expect.
/// Parts: 0 collection · 1 row · 2 key · 3 changes · 4 when · 5 query
impl Wire for Mutation {
    fn encode(&self, w: &mut Writer) {
        let mut map = Map::default();
        if !matches!(self, Self::DeleteWhere { .. }) {
            map.put(0, |w| w.uint(self.collection().0.into()));
        }
        let number = match self {
            Self::Insert { row, .. } | Self::InsertNext { row, .. } | Self::Put { row, .. } => {
                map.put(1, |w| w.bin(row.as_bytes()));
                match self {
                    Self::Insert { .. } => 0,
                    Self::InsertNext { .. } => 1,
                    _ => 2,
                }
            }
            Self::Update { key, changes, when, .. } => {
                map.put(2, |w| key.encode(w));
                map.put_if(!changes.is_empty(), 3, |w| changes.encode(w));
                map.put_if(!when.is_empty(), 4, |w| when.encode(w));
                3
            }
            Self::Delete { key, when, .. } => {
                map.put(2, |w| key.encode(w));
                map.put_if(!when.is_empty(), 4, |w| when.encode(w));
                4
            }
            Self::DeleteWhere { query } => {
                map.put(5, |w| query.encode(w));
                5
            }
            Self::Expect { key, row, .. } => {
                if let Some(row) = row {
                    map.put(1, |w| w.bin(row.as_bytes()));
                }
                map.put(2, |w| key.encode(w));
                6
            }
        };
        variant(w, number, map);
    }

    fn decode(r: &mut Reader<'_>) -> Result<Self> {
        let number = variant_number(r)?;
        let allowed: &[u32] = match number {
            0..=2 => &[0, 1],
            3 => &[0, 2, 3, 4],
            4 => &[0, 2, 4],
            5 => &[5],
            6 => &[0, 1, 2],
            _ => return unknown("mutation", number),
        };
        let mut parts = Parts::decode(r, allowed)?;
        if number == 5 {
            return Ok(Self::DeleteWhere { query: missing(parts.query, "a mutation", "query")? });
        }
        let collection = parts.collection()?;
        Ok(match number {
            0 => Self::Insert { collection, row: parts.row()? },
            1 => Self::InsertNext { collection, row: parts.row()? },
            2 => Self::Put { collection, row: parts.row()? },
            3 => Self::Update { collection, key: parts.key()?, changes: parts.changes, when: parts.when },
            4 => Self::Delete { collection, key: parts.key()?, when: parts.when },
            _ => Self::Expect { collection, key: parts.key()?, row: parts.row },
        })
    }
}

/// Numbers: 0 set · 1 increment · 2 json set · 3 json unset · 4 list add · 5 list remove.
/// Parts: 0 field · 1 value · 2 name · 3 json
impl Wire for Change {
    fn encode(&self, w: &mut Writer) {
        let mut map = Map::default();
        map.put(0, |w| w.uint(self.field() as u64));
        let number = match self {
            Self::Set { value, .. } => {
                map.put(1, |w| value.encode(w));
                0
            }
            Self::Increment { by, .. } => {
                map.put(1, |w| by.encode(w));
                1
            }
            Self::JsonSet { name, json, .. } => {
                map.put(2, |w| w.str(name));
                map.put(3, |w| w.str(json));
                2
            }
            Self::JsonUnset { name, .. } => {
                map.put(2, |w| w.str(name));
                3
            }
            Self::ListAdd { item, .. } => {
                map.put(1, |w| item.encode(w));
                4
            }
            Self::ListRemove { item, .. } => {
                map.put(1, |w| item.encode(w));
                5
            }
        };
        variant(w, number, map);
    }

    fn decode(r: &mut Reader<'_>) -> Result<Self> {
        let number = variant_number(r)?;
        let allowed: &[u32] = match number {
            0 | 1 | 4 | 5 => &[0, 1],
            2 => &[0, 2, 3],
            3 => &[0, 2],
            _ => return unknown("change", number),
        };
        let (mut field, mut value, mut name, mut json) = (None, None, None, None);
        read_map(r, "a change", |tag, r| {
            match tag {
                _ if !allowed.contains(&tag) => return Ok(false),
                0 => field = Some(usize_from(r.uint()?)?),
                1 => value = Some(Value::decode(r)?),
                2 => name = Some(String::decode(r)?),
                _ => json = Some(String::decode(r)?),
            }
            Ok(true)
        })?;
        let field = missing(field, "a change", "field")?;
        let (no_value, no_name) =
            (|| Error::invalid("a change without its value"), || Error::invalid("a change without its name"));
        Ok(match number {
            0 => Self::Set { field, value: value.ok_or_else(no_value)? },
            1 => Self::Increment { field, by: value.ok_or_else(no_value)? },
            2 => Self::JsonSet { field, name: name.ok_or_else(no_name)?, json: missing(json, "a change", "json")? },
            3 => Self::JsonUnset { field, name: name.ok_or_else(no_name)? },
            4 => Self::ListAdd { field, item: value.ok_or_else(no_value)? },
            _ => Self::ListRemove { field, item: value.ok_or_else(no_value)? },
        })
    }
}

/// An array of the task's number and its parameters: 0 verify · 1 vacuum · 2 checkpoint · 3 backup (to) · 4 rekey (password or nil) ·
/// 5 restore (from, keep or nil) · 6 verify backup (from, collections) · 7 repair ·
/// 8 move (to, bool: only a trial)
impl Wire for Task {
    fn encode(&self, w: &mut Writer) {
        let mut task = |number: u64, parameters: usize| {
            w.array(1 + parameters);
            w.uint(number);
        };
        match self {
            Self::Verify => task(0, 0),
            Self::Vacuum => task(1, 0),
            Self::Checkpoint => task(2, 0),
            Self::Backup { to } => {
                task(3, 1);
                w.str(to);
            }
            Self::Rekey { password } => {
                task(4, 1);
                password.encode(w);
            }
            Self::Restore { from, keep } => {
                task(5, 2);
                w.str(from);
                keep.encode(w);
            }
            Self::VerifyBackup { from, collections } => {
                task(6, 2);
                w.str(from);
                collections.encode(w);
            }
            Self::Repair => task(7, 0),
            Self::Move { to, dry_run } => {
                task(8, 2);
                w.str(to);
                w.bool(*dry_run);
            }
        }
    }

    fn decode(r: &mut Reader<'_>) -> Result<Self> {
        let count = r.array()?;
        let number = r.u32()?;
        match (number, count) {
            (0, 1) => Ok(Self::Verify),
            (1, 1) => Ok(Self::Vacuum),
            (2, 1) => Ok(Self::Checkpoint),
            (3, 2) => Ok(Self::Backup { to: String::decode(r)? }),
            (4, 2) => Ok(Self::Rekey { password: Option::decode(r)? }),
            (5, 3) => Ok(Self::Restore { from: String::decode(r)?, keep: Option::decode(r)? }),
            (6, 3) => Ok(Self::VerifyBackup { from: String::decode(r)?, collections: Vec::decode(r)? }),
            (7, 1) => Ok(Self::Repair),
            (8, 3) => Ok(Self::Move { to: String::decode(r)?, dry_run: r.bool()? }),
            (0..=8, _) => Err(Error::invalid(format!("task {number} with {count} values"))),
            _ => unknown("task", number),
        }
    }
}
