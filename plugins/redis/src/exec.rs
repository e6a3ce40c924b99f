//! Plans without scripts: the keys are watched and looked at here, and what is to be written follows in one transaction.
//!
//! Everything that could fail within the transaction is looked at before it, as the script does: Redis takes nothing back here either.

use hivemind_abi::model::{Context, Result};
use redis::{Cmd, Pipeline, Value, cmd};

use crate::commit::{Committed, belongs_to_something_else};
use crate::link::{AfterLook, Link, Watched, integer, text};
use crate::plan::{Check, Plan, Write};
use crate::read;
use crate::receipt::KEPT;
use crate::record::Raw;

/// What a look at one key must show.
enum Wanted<'p> {
    Check(&'p Check),
    /// The type, if there is such a key.
    Type(&'static str),
    /// A number, if there is something.
    Counter,
}

/// Carries a plan out, or finds what is not as it was. A plan without writes is only compared.
///
/// # Errors
/// See [`crate::commit::Committer::carry_out`].
pub(crate) fn carry_out(cx: &Context<'_>, link: &Link, plan: &Plan) -> Result<Committed> {
    let mut looks: Vec<(&[u8], Wanted<'_>)> =
        plan.checks.iter().map(|(key, check)| (key.as_slice(), Wanted::Check(check))).collect();
    let is_removed = |key: &[u8]| plan.writes.iter().any(|(other, write)| other == key && *write == Write::Delete);
    for (key, write) in &plan.writes {
        match write {
            Write::Add(_) | Write::Remove(_) => looks.push((key, Wanted::Type("set"))),
            Write::Document(..) if !is_removed(key) => looks.push((key, Wanted::Type("hash"))),
            Write::Grow(_) | Write::Raise(_) => looks.push((key, Wanted::Counter)),
            _ => {}
        }
    }
    let questions: Vec<Cmd> = looks.iter().map(|(key, wanted)| question(key, wanted)).collect();
    let mut keys: Vec<Vec<u8>> =
        plan.checks.iter().map(|(key, _)| key).chain(plan.writes.iter().map(|(key, _)| key)).cloned().collect();
    keys.sort_unstable();
    keys.dedup();
    let watched = link.watched(cx, &keys, &questions, |answers| {
        for ((key, wanted), answer) in looks.iter().zip(answers) {
            if let Some(committed) = judge(link, key, wanted, answer)? {
                return Ok(AfterLook::Leave(committed));
            }
        }
        let counters = looks.iter().zip(answers).filter(|((_, wanted), _)| matches!(wanted, Wanted::Counter));
        let counters: Vec<(&[u8], &Value)> = counters.map(|((key, _), answer)| (*key, answer)).collect();
        Ok(AfterLook::CarryOut(transaction(plan, &counters)))
    })?;
    Ok(match watched {
        Watched::Left(committed) => committed,
        Watched::Done => Committed::Done,
        Watched::Changed => Committed::Changed(Vec::new()),
    })
}

fn question(key: &[u8], wanted: &Wanted<'_>) -> Cmd {
    let ask = |name: &str| {
        let mut command = cmd(name);
        command.arg(key);
        command
    };
    match wanted {
        Wanted::Check(Check::Is(_) | Check::Below(_)) | Wanted::Counter => ask("GET"),
        Wanted::Check(Check::Absent) => ask("EXISTS"),
        Wanted::Check(Check::Size(_)) => ask("SCARD"),
        Wanted::Check(Check::Member(member)) => ask("SISMEMBER").arg(member.as_slice()).to_owned(),
        Wanted::Type(_) => ask("TYPE"),
    }
}

/// What keeps the plan from being carried out, if this answer does.
fn judge(link: &Link, key: &[u8], wanted: &Wanted<'_>, answer: &Value) -> Result<Option<Committed>> {
    if let Value::ServerError(error) = answer
        && error.code() != "WRONGTYPE"
    {
        return Err(link.refused(error, "a look before a write"));
    }
    let is_so = match wanted {
        Wanted::Check(Check::Is(expected)) => matches!(answer, Value::BulkString(found) if found == expected),
        Wanted::Check(Check::Absent) => integer(answer) == Some(0),
        Wanted::Check(Check::Size(size)) => integer(answer).and_then(|n| usize::try_from(n).ok()) == Some(*size),
        Wanted::Check(Check::Member(_)) => integer(answer) == Some(1),
        Wanted::Check(Check::Below(limit)) => counter(key, answer)? < *limit,
        Wanted::Type(expected) if text(answer).is_some_and(|found| found == "none" || found == *expected) => true,
        Wanted::Type(_) => return Err(belongs_to_something_else(key)),
        Wanted::Counter => counter(key, answer).map(|_| true)?,
    };
    Ok((!is_so).then(|| Committed::Changed(key.to_vec())))
}

fn counter(key: &[u8], answer: &Value) -> Result<i64> {
    let raw = match answer {
        Value::Nil => Raw::Absent,
        Value::BulkString(text) => Raw::Text(text.clone()),
        _ => Raw::OtherType,
    };
    read::counter(key, &raw)
}

fn transaction(plan: &Plan, counters: &[(&[u8], &Value)]) -> Pipeline {
    let mut pipeline = redis::pipe();
    pipeline.atomic();
    for (key, write) in &plan.writes {
        let key = key.as_slice();
        match write {
            Write::Set(value) => pipeline.cmd("SET").arg(key).arg(value.as_slice()),
            Write::Note(value) => pipeline.cmd("SET").arg(key).arg(value.as_slice()).arg("EX").arg(KEPT),
            Write::Add(member) => pipeline.cmd("SADD").arg(key).arg(member.as_slice()),
            Write::Remove(member) => pipeline.cmd("SREM").arg(key).arg(member.as_slice()),
            Write::Document(name, api_key) => pipeline.cmd("HSET").arg(key).arg("name").arg(name).arg("api_key").arg(api_key),
            Write::Delete => pipeline.cmd("DEL").arg(key),
            Write::Grow(by) => pipeline.cmd("INCRBY").arg(key).arg(*by),
            Write::Raise(to) => {
                let now = counters.iter().find(|(other, _)| *other == key).and_then(|(_, answer)| integer(answer)).unwrap_or(0);
                pipeline.cmd("SET").arg(key).arg(now.max(*to))
            }
        };
    }
    if plan.writes.is_empty() {
        // Something to carry out, so that it is told whether a watched key changed.
        plan.checks.iter().take(1).for_each(|(key, _)| {
            pipeline.cmd("EXISTS").arg(key.as_slice());
        });
    }
    pipeline
}
