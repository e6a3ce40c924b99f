//! Batches applied wrongly.

use std::thread;
use std::time::Duration;

use hivemind_model::{
    Applied, Change, Collection, Context, Error, Key, Mutation, Outcome, Query, Result, Row, Value, change, engine, json,
};

use super::{Fault, Mutant};

/// The key of the record that a mutation names.
pub(super) fn key_of(mutation: &Mutation) -> Option<Key> {
    match mutation {
        Mutation::Insert { row, .. } | Mutation::Put { row, .. } => {
            let mut reader = hivemind_model::msgpack::Reader::new(row.as_bytes());
            reader.array().ok()?;
            match reader.read().ok()? {
                hivemind_model::msgpack::Token::Int(key) => Some(Key::Int(key)),
                hivemind_model::msgpack::Token::Str(key) => Some(Key::from(key)),
                _ => None,
            }
        }
        Mutation::Update { key, .. } | Mutation::Delete { key, .. } => Some(key.clone()),
        _ => None,
    }
}

impl Mutant {
    pub(super) fn broken_apply(&self, cx: &Context<'_>, mutations: &[Mutation]) -> Result<Applied> {
        match self.fault {
            Some(Fault::NotRolledBack) => self.one_by_one(cx, mutations),
            Some(Fault::LaterMutationsBlind) => {
                // Conditions and expectations are all checked against what was there before the batch.
                for (i, mutation) in mutations.iter().enumerate() {
                    if let Mutation::Expect { .. } = mutation {
                        self.inner.apply(cx, &mutations[i..=i])?;
                    }
                }
                let all: Result<Vec<_>> = mutations.iter().map(|m| self.changed(cx, m)).collect();
                self.inner.apply(cx, &all?)
            }
            _ => {
                let changed: Result<Vec<_>> = mutations.iter().map(|m| self.changed(cx, m)).collect();
                let applied = self.inner.apply(cx, &changed?);
                self.answered(mutations, applied)
            }
        }
    }

    fn one_by_one(&self, cx: &Context<'_>, mutations: &[Mutation]) -> Result<Applied> {
        let mut outcomes = Vec::new();
        let mut token = Default::default();
        for (i, mutation) in mutations.iter().enumerate() {
            let applied = self.inner.apply(cx, std::slice::from_ref(mutation)).map_err(|e| e.mutation(i))?;
            outcomes.extend(applied.outcomes);
            token = applied.token;
        }
        Ok(Applied { outcomes, token })
    }

    /// The outcomes that the fault makes of the sound ones.
    fn answered(&self, mutations: &[Mutation], applied: Result<Applied>) -> Result<Applied> {
        if let (Some(Fault::UpdateOfAbsentSucceeds), Err(e)) = (self.fault, &applied)
            && e.code() == hivemind_model::Code::NotFound
        {
            return Ok(Applied { outcomes: vec![Outcome::Deleted(0); mutations.len()], token: Default::default() });
        }
        if let (Some(Fault::OtherKeysAreAbsent), Err(e), [Mutation::Delete { key: Key::Text(_), .. }]) =
            (self.fault, &applied, mutations)
            && e.code() == hivemind_model::Code::Invalid
        {
            return Ok(Applied { outcomes: vec![Outcome::Deleted(0)], token: Default::default() });
        }
        if self.has(Fault::InsertNextBurnsKeys) && applied.is_err() {
            let next = mutations.iter().filter(|m| matches!(m, Mutation::InsertNext { .. })).count();
            self.state.lock().unwrap().burnt += next as i64;
        }
        let mut applied = applied?;
        for (mutation, outcome) in mutations.iter().zip(&mut applied.outcomes) {
            match (self.fault, mutation, &outcome) {
                (Some(Fault::InsertReplaces | Fault::InsertNextReadsBefore), _, Outcome::Put { .. })
                    if !matches!(mutation, Mutation::Put { .. }) =>
                {
                    let assigned = self.state.lock().unwrap().burnt;
                    let key = key_of(mutation).filter(|_| !matches!(mutation, Mutation::InsertNext { .. }));
                    *outcome = Outcome::Inserted(key.unwrap_or(Key::Int(assigned)));
                }
                (Some(Fault::DeleteOfAbsentFails), _, Outcome::Deleted(0)) => return Err(Error::not_found("nothing there")),
                (Some(Fault::DeleteCountsWrong), _, Outcome::Deleted(0)) => *outcome = Outcome::Deleted(1),
                _ => {}
            }
        }
        Ok(applied)
    }

    /// What the fault makes of a mutation.
    fn changed(&self, cx: &Context<'_>, mutation: &Mutation) -> Result<Mutation> {
        let Ok(collection) = self.collection(mutation.collection()) else { return Ok(mutation.clone()) };
        let mut mutation = mutation.clone();
        match (self.fault, &mut mutation) {
            (Some(Fault::InsertReplaces), Mutation::Insert { collection, row }) => {
                return Ok(Mutation::Put { collection: *collection, row: row.clone() });
            }
            (Some(Fault::PutMerges), Mutation::Put { collection: id, row }) => {
                let old = key_of(&Mutation::Put { collection: *id, row: row.clone() })
                    .and_then(|key| self.inner.get(cx, *id, key.as_ref()).ok().flatten());
                if let Some(old) = old {
                    *row = merged(&collection, &old, row)?;
                }
            }
            (Some(Fault::UpdateRewritesOldRow), Mutation::Update { collection: id, key, changes, when }) if when.is_empty() => {
                if let Some(old) = self.inner.get(cx, *id, key.as_ref())? {
                    thread::sleep(Duration::from_micros(200));
                    return Ok(Mutation::Put { collection: *id, row: change::apply(&old.view(&collection)?, changes)? });
                }
            }
            (Some(Fault::WhenIgnored), Mutation::Update { when, .. } | Mutation::Delete { when, .. }) => when.clear(),
            (Some(Fault::WhenCheckedBefore), Mutation::Update { collection: id, key, when, .. }) => {
                if let Some(old) = self.inner.get(cx, *id, key.as_ref())? {
                    engine::check_when(&collection, &old.view(&collection)?, when)?;
                    thread::sleep(Duration::from_micros(200));
                    when.clear();
                }
            }
            (Some(Fault::ExpectIgnored), Mutation::Expect { collection: id, key, row }) => {
                *row = self.inner.get(cx, *id, key.as_ref())?;
            }
            (Some(Fault::ExpectComparesBytes), Mutation::Expect { collection: id, key, row })
                if self.inner.get(cx, *id, key.as_ref())? != *row =>
            {
                return Err(Error::conflict("other bytes").mutation(0));
            }
            (Some(Fault::ExpectIsNotFolded), Mutation::Expect { row: Some(row), .. })
                if !hivemind_model::eval::same_rows(
                    &row.view(&collection)?,
                    &hivemind_model::record::as_stored(&collection, row)?.view(&collection)?,
                ) =>
            {
                return Err(Error::conflict("as it was not stored").mutation(0));
            }
            (Some(Fault::DeleteWhereIgnoresLimit), Mutation::DeleteWhere { query }) => query.limit = None,
            (Some(Fault::DeleteWhereIgnoresOrder), Mutation::DeleteWhere { query }) => query.order.clear(),
            (Some(Fault::IncrementWraps), Mutation::Update { collection: id, key, changes, .. }) => {
                if let (Some(row), [Change::Increment { field, by: Value::Int(by) }]) =
                    (self.inner.get(cx, *id, key.as_ref())?, &changes[..])
                    && let Value::Int(n) = row.view(&collection)?.at(*field).to_value()
                {
                    *changes = vec![Change::set(*field, n.wrapping_add(*by))];
                }
            }
            (
                Some(Fault::InsertNextCounts | Fault::InsertNextReadsBefore | Fault::InsertNextBurnsKeys),
                Mutation::InsertNext { .. },
            ) => {
                return self.assigned(cx, &collection, &mutation);
            }
            (Some(Fault::NilIsUnique), Mutation::Insert { collection: id, row } | Mutation::Put { collection: id, row }) => {
                self.no_second_nil(cx, &collection, &Query::all(*id), row)?;
            }
            (_, Mutation::Insert { row, .. } | Mutation::InsertNext { row, .. } | Mutation::Put { row, .. }) => {
                if let Ok(spoilt) = self.spoilt_row(&collection, row) {
                    *row = spoilt;
                }
            }
            _ => {}
        }
        Ok(mutation)
    }

    /// A key for InsertNext, chosen outside of the batch.
    fn assigned(&self, cx: &Context<'_>, collection: &Collection, mutation: &Mutation) -> Result<Mutation> {
        let Mutation::InsertNext { collection: id, row } = mutation else { return Ok(mutation.clone()) };
        let count = self.inner.count(cx, &Query::all(*id))? as i64;
        let rows = self.inner.find(cx, &Query::all(*id).order_by(collection.key, true).limit(1), usize::MAX)?.rows;
        let greatest = match rows.first().map(|row| row.view(collection).map(|v| v.key().to_key())).transpose()? {
            Some(Key::Int(key)) => key.max(0),
            _ => 0,
        };
        let burnt = self.state.lock().unwrap().burnt;
        let key = match self.fault {
            Some(Fault::InsertNextCounts) => count + 1,
            Some(Fault::InsertNextBurnsKeys) if burnt == 0 => return Ok(mutation.clone()),
            Some(Fault::InsertNextBurnsKeys) => greatest + burnt + 1,
            _ => greatest + 1,
        };
        let row = engine::with_key(collection, row, &Key::Int(key))?;
        if self.has(Fault::InsertNextReadsBefore) {
            thread::sleep(Duration::from_micros(200));
            self.state.lock().unwrap().burnt = key;
            return Ok(Mutation::Put { collection: *id, row });
        }
        Ok(Mutation::Insert { collection: *id, row })
    }

    fn no_second_nil(&self, cx: &Context<'_>, collection: &Collection, all: &Query, row: &Row) -> Result<()> {
        for (at, field) in collection.fields.iter().enumerate() {
            let unique = matches!(field.index, hivemind_model::Index::Unique { .. });
            let nil = hivemind_model::Condition::is_null(at);
            if unique && row.view(collection)?.at(at).is_nil() && self.inner.count(cx, &all.clone().filter(nil))? > 0 {
                return Err(Error::conflict("a second nil").field(&field.name).mutation(0));
            }
        }
        Ok(())
    }

    fn spoilt_row(&self, collection: &Collection, row: &Row) -> Result<Row> {
        let view = hivemind_model::RowView::keyless(collection, row.as_bytes())?;
        let values: Vec<Value> = (0..collection.fields.len()).map(|at| view.at(at).to_value()).collect();
        let values: Vec<Value> =
            values.into_iter().enumerate().map(|(at, v)| if at == collection.key { v } else { self.spoilt(v) }).collect();
        Ok(hivemind_model::row::encode(values.iter().map(Value::as_ref)))
    }

    /// What the fault makes of a value.
    fn spoilt(&self, value: Value) -> Value {
        match (self.fault, value) {
            (Some(Fault::TextCutAtNul), Value::Text(text)) => text.split('\0').next().unwrap_or("").into(),
            (Some(Fault::TextTrimmed), Value::Text(text)) => text.trim().into(),
            (Some(Fault::TextNormalised), Value::Text(text)) => text.replace("e\u{301}", "\u{e9}").into(),
            (Some(Fault::EmptyTextIsNil), Value::Text(text)) if text.is_empty() => Value::Nil,
            (Some(Fault::LongTextCut), Value::Text(text)) => text.chars().take(65_535).collect::<String>().into(),
            (Some(Fault::IntsThroughDoubles), Value::Int(int)) => Value::Int(int as f64 as i64),
            (Some(Fault::RealsRounded), Value::Real(real)) => {
                let rounded: f64 = format!("{real:.14e}").parse().unwrap_or(real);
                Value::Real(if rounded.is_finite() { rounded } else { real })
            }
            (Some(Fault::JsonNumbersRounded), Value::Json(text)) => match json::parse(&text) {
                Ok(document) => Value::Json(rounded(&document)),
                Err(_) => Value::Json(text),
            },
            (Some(Fault::JsonUnchecked), Value::Json(text)) if json::parse(&text).is_err() => Value::Json(json::quote(&text)),
            (Some(Fault::JsonNullIsAValue), Value::Json(text)) if text.trim() == "null" => Value::Json("\"null\"".to_owned()),
            (Some(Fault::HalfSurrogatesMerged), Value::Json(text)) => {
                Value::Json(["\\ud800", "\\ud801", "\\udc00"].iter().fold(text, |text, half| text.replace(half, "\\ufffd")))
            }
            (_, value) => value,
        }
    }
}

/// The new row with the old one's values where it has nil.
fn merged(collection: &Collection, old: &Row, new: &Row) -> Result<Row> {
    let (old, new) = (old.view(collection)?, new.view(collection)?);
    let mut builder = new.to_builder();
    for at in 0..collection.fields.len() {
        if new.at(at).is_nil() {
            builder.put(at, old.at(at).to_value())?;
        }
    }
    Ok(builder.build())
}

/// The document with its numbers taken through doubles.
fn rounded(document: &json::Json<'_>) -> String {
    match document {
        json::Json::Number(raw) => match raw.parse::<f64>() {
            Ok(real) if real.is_finite() => format!("{real}"),
            _ => (*raw).to_owned(),
        },
        json::Json::Array(items) => format!("[{}]", items.iter().map(rounded).collect::<Vec<_>>().join(",")),
        json::Json::Object(members) => {
            let members = members.iter().map(|m| format!("\"{}\":{}", m.name.raw, rounded(&m.value)));
            format!("{{{}}}", members.collect::<Vec<_>>().join(","))
        }
        other => other.to_text(),
    }
}
