//! What the logs say each record must be, against what a program lists.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use super::log::{Change, Entry};
use super::same;

/// How many of the latest changes of a record are told when it is not what it must be.
const TOLD: usize = 6;

/// Every record as the logs say it must be, by id.
///
/// # Panics
/// If two writers changed one part of a record: the test itself would be wrong then.
#[must_use]
pub fn records(entries: &[Entry]) -> BTreeMap<i64, Value> {
    let mut owners: BTreeMap<(i64, String), &str> = BTreeMap::new();
    let mut revoked = BTreeSet::new();
    let mut records: BTreeMap<i64, Value> = BTreeMap::new();
    // An id is used by no log before the one that added it has it.
    let (added, changed): (Vec<_>, Vec<_>) = entries.iter().partition(|e| matches!(e.change, Change::Added(_)));
    for Entry { by, id, change, .. } in added.into_iter().chain(changed) {
        let part = match change {
            Change::Added(_) => "everything".to_owned(),
            Change::Field(name, _) => name.clone(),
            Change::Type(name, _) => format!("type {name}"),
            Change::Member(name, _) => format!("metadata.{name}"),
            Change::Revoked | Change::Blanked => "revoked".to_owned(),
        };
        let owner = owners.entry((*id, part.clone())).or_insert(by);
        assert!(*owner == by, "both {owner} and {by} changed {part} of client {id}: the test must not do that");
        let record = records.entry(*id).or_insert_with(|| fresh(*id));
        match change {
            Change::Added(fields) => fields.iter().for_each(|(name, value)| record[name] = value.clone()),
            Change::Field(name, value) => record[name] = value.clone(),
            Change::Type(name, allowed) => {
                let types = record["allowed_types"].as_array_mut().expect("a list");
                types.retain(|t| t != name);
                if *allowed {
                    types.push(json!(name));
                }
            }
            Change::Member(name, Some(value)) => record["metadata"][name] = value.clone(),
            Change::Member(name, None) => drop(record["metadata"].as_object_mut().map(|m| m.remove(name))),
            Change::Revoked => drop(revoked.insert(*id)),
            Change::Blanked => {
                for (name, value) in [("api_key", json!("revoked")), ("name", json!("")), ("password", Value::Null)] {
                    record[name] = value;
                }
            }
        }
    }
    // Nothing brings a revoked client back, and what was granted before is gone with it.
    for id in revoked {
        let mut record = fresh(id);
        record["api_key"] = json!("revoked");
        records.insert(id, record);
    }
    records
}

fn fresh(id: i64) -> Value {
    json!({
        "client_id": id, "api_key": null, "name": "", "description": "", "is_admin": false, "last_seen": -1, "allowed_types": [],
        "password": null, "can_broadcast": true, "can_escalate": true, "can_propagate": true, "metadata": {},
    })
}

/// Everything in which a listing is not what the logs say, each with the record, the part, and the latest changes to it.
#[must_use]
pub fn problems(entries: &[Entry], listed: &[Value]) -> Vec<String> {
    let expected = records(entries);
    let mut problems = identities(listed);
    let mut seen = BTreeSet::new();
    for record in listed {
        let id = record["client_id"].as_i64().unwrap_or_default();
        seen.insert(id);
        match expected.get(&id) {
            None => problems.push(format!("client {id} is there, but nobody was told that it was added: {record}")),
            Some(expected) => problems.extend(differing(entries, id, expected, record)),
        }
    }
    let lost = expected.keys().filter(|id| !seen.contains(id));
    problems.extend(lost.map(|id| told(entries, *id, "it was added and is not there")));
    problems
}

/// In what one record is not what the logs say, each with the latest changes to it.
#[must_use]
pub fn differing(entries: &[Entry], id: i64, expected: &Value, found: &Value) -> Vec<String> {
    differences(expected, found).map(|what| told(entries, id, &what)).collect()
}

/// Ids that are not 1, 2, 3 …, and access keys that two clients have.
fn identities(listed: &[Value]) -> Vec<String> {
    let mut problems = Vec::new();
    let mut ids: Vec<i64> = listed.iter().filter_map(|r| r["client_id"].as_i64()).collect();
    ids.sort_unstable();
    if ids.iter().zip(1..).any(|(id, expected)| *id != expected) || ids.len() != listed.len() {
        problems.push(format!("the ids are not 1 to {}: {ids:?}", listed.len()));
    }
    let mut holders: BTreeMap<&str, i64> = BTreeMap::new();
    for record in listed {
        let (key, id) = (record["api_key"].as_str().unwrap_or_default(), record["client_id"].as_i64().unwrap_or_default());
        if key != "revoked"
            && let Some(other) = holders.insert(key, id)
        {
            problems.push(format!("clients {other} and {id} both have the access key {key:?}"));
        }
    }
    problems
}

fn differences(expected: &Value, found: &Value) -> impl Iterator<Item = String> {
    let empty = Map::new();
    let names = |record: &Value| record.as_object().unwrap_or(&empty).keys().cloned().collect::<BTreeSet<_>>();
    let all: BTreeSet<String> = names(expected).union(&names(found)).cloned().collect();
    let differ = all.into_iter().filter_map(|name| {
        let (expected, found) = (sorted(&name, &expected[&name]), sorted(&name, &found[&name]));
        (!same(&expected, &found)).then(|| format!("{name}: expected {expected}, found {found}"))
    });
    differ.collect::<Vec<_>>().into_iter()
}

/// Several writers add to a whitelist in no order that could be known.
fn sorted(name: &str, value: &Value) -> Value {
    match value {
        Value::Array(items) if name == "allowed_types" => {
            let mut items = items.clone();
            items.sort_by_key(Value::to_string);
            Value::Array(items)
        }
        other => other.clone(),
    }
}

fn told(entries: &[Entry], id: i64, what: &str) -> String {
    let mut of_it: Vec<&Entry> = entries.iter().filter(|e| e.id == id).collect();
    of_it.sort_by_key(|e| e.at);
    let latest = of_it.iter().rev().take(TOLD).rev();
    let latest: Vec<String> = latest.map(|e| format!("    at {} by {}: {:?}", e.at, e.by, e.change)).collect();
    format!("client {id}: {what}; of {} acknowledged changes the latest were\n{}", of_it.len(), latest.join("\n"))
}
