//! What a store must hold, by the lines that were read from its workers.
//!
//! Threads write records of their own, but for one shared note on which they count (increments commute), claim (one at a time) and
//! leave members of their own; so the order of acknowledgements among threads does not matter, and what is expected is exact.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::op::{Op, SHARED, Step};

/// Records by collection and key.
pub type Records = BTreeMap<(String, String), Value>;

/// A store as it must be.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Model {
    records: Records,
    holders: BTreeSet<usize>,
}

/// The operation must be refused, and leave nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refused;

fn client(id: i64) -> (String, String) {
    ("clients".to_owned(), id.to_string())
}

fn note(slug: &str) -> (String, String) {
    ("notes".to_owned(), slug.to_owned())
}

/// A new client with an id that is known.
fn new_client(id: i64, key: &str, name: &str) -> Value {
    json!({
        "client_id": id, "api_key": key, "name": name, "description": "", "is_admin": false, "last_seen": -1.0,
        "allowed_types": [], "password": null, "can_broadcast": true, "can_escalate": true, "can_propagate": true, "metadata": {},
    })
}

fn new_note(slug: &str, body: &str) -> Value {
    json!({"slug": slug, "body": body, "n": 0, "holder": null, "meta": {}, "items": []})
}

impl Model {
    /// What a store held when it was first read.
    #[must_use]
    pub fn of(records: Records) -> Self {
        Self { records, holders: BTreeSet::new() }
    }

    /// The records.
    #[must_use]
    pub fn records(&self) -> Records {
        let mut records = self.records.clone();
        if let Some(shared) = records.get_mut(&note(SHARED)) {
            // Two holders at once can never be stored; as a number that equals nothing a store could hold.
            shared["holder"] = match self.holders.iter().collect::<Vec<_>>()[..] {
                [] => Value::Null,
                [one] => json!(format!("t{one}")),
                _ => json!(self.holders.len()),
            };
        }
        records
    }

    /// How many clients there are, revoked ones included.
    #[must_use]
    pub fn clients(&self) -> usize {
        self.records.keys().filter(|(collection, _)| collection == "clients").count()
    }

    /// Does an operation; `id_of` gives the id that a new client got under its access key.
    ///
    /// # Errors
    /// [`Refused`]: nothing was done. An id that is not known counts as that.
    pub fn apply(&mut self, op: &Op, id_of: &dyn Fn(&str) -> Option<i64>) -> Result<(), Refused> {
        let before = self.clone();
        let done = self.carry_out(op, id_of);
        if done.is_err() {
            *self = before;
        }
        done
    }

    fn carry_out(&mut self, op: &Op, id_of: &dyn Fn(&str) -> Option<i64>) -> Result<(), Refused> {
        match op {
            Op::Add { key, name } => self.add(key, name, id_of),
            Op::Rename { id, name } => self.client(*id).map(|c| c["name"] = json!(name)),
            Op::Allow { id, item } => self.client(*id).map(|c| add_item(&mut c["allowed_types"], &json!(item))),
            Op::Deny { id, item } => self.client(*id).map(|c| remove_item(&mut c["allowed_types"], &json!(item))),
            Op::Remember { id, member, value } => self.client(*id).map(|c| c["metadata"][member] = json!(value)),
            Op::Touch { id, seen } => self.client(*id).map(|c| c["last_seen"] = json!(seen)),
            Op::Revoke { id } => self.client(*id).map(|c| *c = new_client(*id, "revoked", "")),
            Op::Batch { steps } => steps.iter().try_for_each(|step| self.step(step, id_of)),
        }
    }

    fn step(&mut self, step: &Step, id_of: &dyn Fn(&str) -> Option<i64>) -> Result<(), Refused> {
        match step {
            Step::AddClient { key, name } => self.add(key, name, id_of),
            Step::RenameClient { id, key, name } => {
                let client = self.client(*id)?;
                if client["api_key"] != **key {
                    return Err(Refused);
                }
                client["name"] = json!(name);
                Ok(())
            }
            Step::InsertNote { slug, body } => {
                let old = self.records.insert(note(slug), new_note(slug, body));
                old.map_or(Ok(()), |_| Err(Refused))
            }
            Step::PutNote { slug, body } => {
                self.records.insert(note(slug), new_note(slug, body));
                Ok(())
            }
            Step::UpdateNote { slug, by, member, value, item, when } => {
                let note = self.note(slug)?;
                let n = note["n"].as_i64().unwrap_or(0);
                if when.is_some_and(|when| when != n) {
                    return Err(Refused);
                }
                note["n"] = json!(n + by);
                note["meta"][member] = json!(value);
                add_item(&mut note["items"], &json!(item));
                Ok(())
            }
            Step::DeleteNote { slug } => {
                self.records.remove(&note(slug));
                Ok(())
            }
            Step::ExpectNote { slug, present } => {
                if self.records.contains_key(&note(slug)) == *present {
                    Ok(())
                } else {
                    Err(Refused)
                }
            }
            Step::Count { thread, value } => {
                let shared = self.note(SHARED)?;
                shared["n"] = json!(shared["n"].as_i64().unwrap_or(0) + 1);
                shared["meta"][format!("t{thread}")] = json!(value);
                Ok(())
            }
            Step::Claim { thread } => {
                self.holders.insert(*thread);
                Ok(())
            }
            Step::Release { thread } => {
                if self.holders.remove(thread) {
                    Ok(())
                } else {
                    Err(Refused)
                }
            }
        }
    }

    fn add(&mut self, key: &str, name: &str, id_of: &dyn Fn(&str) -> Option<i64>) -> Result<(), Refused> {
        if self.records.iter().any(|((collection, _), record)| collection == "clients" && record["api_key"] == *key) {
            return Err(Refused);
        }
        let id = id_of(key).ok_or(Refused)?;
        match self.records.insert(client(id), new_client(id, key, name)) {
            None => Ok(()),
            Some(_) => Err(Refused),
        }
    }

    fn client(&mut self, id: i64) -> Result<&mut Value, Refused> {
        self.records.get_mut(&client(id)).ok_or(Refused)
    }

    fn note(&mut self, slug: &str) -> Result<&mut Value, Refused> {
        self.records.get_mut(&note(slug)).ok_or(Refused)
    }
}

fn add_item(list: &mut Value, item: &Value) {
    if let Some(list) = list.as_array_mut()
        && !list.contains(item)
    {
        list.push(item.clone());
    }
}

fn remove_item(list: &mut Value, item: &Value) {
    if let Some(list) = list.as_array_mut() {
        list.retain(|i| i != item);
    }
}

/// What of two sets of records is not the same, a few lines of it.
#[must_use]
pub fn difference(expected: &Records, found: &Records) -> String {
    let keys: BTreeSet<_> = expected.keys().chain(found.keys()).collect();
    let different: Vec<_> = keys.into_iter().filter(|key| expected.get(*key) != found.get(*key)).collect();
    let show = |record: Option<&Value>| record.map_or("nothing".to_owned(), ToString::to_string);
    let lines: Vec<_> = different
        .iter()
        .take(6)
        .map(|key| format!("  {} {}: expected {}\n    found {}", key.0, key.1, show(expected.get(*key)), show(found.get(*key))))
        .collect();
    format!("{} records differ:\n{}", different.len(), lines.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn none(_: &str) -> Option<i64> {
        None
    }

    #[test]
    fn a_refused_batch_leaves_nothing() {
        let mut model = Model::default();
        let put = Step::PutNote { slug: "a".to_owned(), body: String::new() };
        let missing = Step::ExpectNote { slug: "b".to_owned(), present: true };
        assert_eq!(model.apply(&Op::Batch { steps: vec![put.clone(), missing] }, &none), Err(Refused));
        assert_eq!(model, Model::default());
        assert_eq!(model.apply(&Op::Batch { steps: vec![put] }, &none), Ok(()));
        assert_eq!(model.records().len(), 1);
        assert!(difference(&Records::new(), &model.records()).contains("1 records differ"));
    }

    #[test]
    fn an_access_key_belongs_to_one_client_and_two_holders_fit_no_store() {
        let mut model = Model::default();
        let add = |key: &str| Op::Add { key: key.to_owned(), name: String::new() };
        assert_eq!(model.apply(&add("k"), &|_| Some(1)), Ok(()));
        assert_eq!(model.apply(&add("k"), &|_| Some(2)), Err(Refused));
        assert_eq!(model.apply(&add("other"), &|_| Some(1)), Err(Refused));
        let shared = Step::PutNote { slug: SHARED.to_owned(), body: String::new() };
        let claim = |thread| Step::Claim { thread };
        assert_eq!(model.apply(&Op::Batch { steps: vec![shared, claim(0)] }, &none), Ok(()));
        assert_eq!(model.records()[&note(SHARED)]["holder"], "t0");
        assert_eq!(model.apply(&Op::Batch { steps: vec![claim(1)] }, &none), Ok(()));
        assert!(model.records()[&note(SHARED)]["holder"].is_number());
    }
}
