//! What a worker of ours does beside Python processes: adds, grants, takes back, renames, revokes, on clients that it added itself and on
//! some that all of ours change; one of its threads may start the program again and again instead.
//!
//! Before each change it looks the client up, and what it wrote there last must still be so: a change that somebody undoes is found when
//! it happens, not only if it is still undone in the end.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use hivemind_store::clients::{MetadataChange, NewClient, Permission};
use hivemind_store::{Client, Clients, Error};
use pollster::block_on;
use serde_json::{Value, json};

use super::Random;
use super::log::{Change, Log, now};
use super::worker::set;

/// A worker's part in a run.
#[derive(Debug, Clone)]
pub struct Part {
    /// Its name in the logs.
    pub by: String,
    /// The folder of the logs.
    pub logs: PathBuf,
    /// How many threads it has.
    pub threads: usize,
    /// How long it works.
    pub time: Duration,
    /// Clients that all workers change.
    pub shared: Vec<i64>,
    /// One of them, which this worker revokes half-way.
    pub victim: Option<i64>,
    /// The program and its first words, for one more thread that starts it again and again.
    pub program: Vec<String>,
    /// Clients that only that thread changes.
    pub own: Vec<i64>,
}

impl Part {
    /// The part that a request describes.
    ///
    /// # Errors
    /// If something is missing.
    pub fn read(request: &Value) -> Result<Self, String> {
        let list = |name: &str| request[name].as_array().cloned().unwrap_or_default();
        let ids = |name: &str| list(name).iter().filter_map(Value::as_i64).collect();
        let number = |name: &str| request[name].as_u64().ok_or_else(|| format!("{name} is missing"));
        let text = |name: &str| request[name].as_str().map(str::to_owned).ok_or_else(|| format!("{name} is missing"));
        Ok(Self {
            by: text("by")?,
            logs: text("logs")?.into(),
            threads: usize::try_from(number("threads")?).map_err(|e| e.to_string())?,
            time: Duration::from_millis(number("ms")?),
            shared: ids("shared"),
            victim: request["victim"].as_i64(),
            program: list("program").iter().filter_map(Value::as_str).map(str::to_owned).collect(),
            own: ids("own"),
        })
    }
}

/// Works its part and gives how often each thing was acknowledged.
///
/// # Errors
/// The first thing that went wrong in each thread.
pub fn run(clients: &Clients, part: &Part) -> Result<Value, String> {
    let end = Instant::now() + part.time;
    let done: Vec<Result<Counts, String>> = std::thread::scope(|scope| {
        let start = |number| scope.spawn(move || Hand::new(clients.clone(), part, number).work(end));
        let mut hands: Vec<_> = (0..part.threads).map(start).collect();
        if !part.program.is_empty() {
            hands.push(scope.spawn(move || start_again_and_again(part, end)));
        }
        hands.into_iter().map(|hand| hand.join().unwrap_or_else(|_| Err("a thread panicked".to_owned()))).collect()
    });
    let mut counts = Counts::new();
    let mut wrong = Vec::new();
    for result in done {
        match result {
            Ok(of_one) => of_one.into_iter().for_each(|(what, n)| *counts.entry(what).or_default() += n),
            Err(error) => wrong.push(error),
        }
    }
    if wrong.is_empty() { Ok(json!(counts)) } else { Err(wrong.join("\n")) }
}

type Counts = BTreeMap<&'static str, u64>;

/// A client as its thread last left it.
#[derive(Debug)]
struct Kept {
    id: i64,
    key: String,
    types: BTreeSet<String>,
    count: u64,
    shared: bool,
}

struct Hand<'p> {
    clients: Clients,
    part: &'p Part,
    by: String,
    leads: bool,
    log: Log,
    random: Random,
    kept: Vec<Kept>,
    number: u64,
    counts: Counts,
}

impl<'p> Hand<'p> {
    fn new(clients: Clients, part: &'p Part, number: usize) -> Self {
        let by = format!("{}-{number}", part.by);
        let log = Log::new(&part.logs, &by);
        let seed = by.bytes().fold(7, |seed: u64, b| seed.wrapping_mul(31).wrapping_add(b.into()));
        let (kept, counts) = (Vec::new(), Counts::new());
        Self { clients, part, by, leads: number == 0, log, random: Random::new(seed), kept, number: 0, counts }
    }

    fn work(mut self, end: Instant) -> Result<Counts, String> {
        let half = Instant::now() + self.part.time / 2;
        for id in &self.part.shared {
            let client = block_on(self.clients.by_id(*id)).map_err(|e| e.to_string())?.ok_or("a shared client is missing")?;
            self.kept.push(Kept { id: *id, key: client.api_key.clone(), types: BTreeSet::new(), count: 0, shared: true });
        }
        let mut victim = self.part.victim.filter(|_| self.leads);
        while Instant::now() < end {
            let step = match victim {
                Some(id) if Instant::now() > half => {
                    victim = None;
                    self.revoke(self.kept.iter().position(|k| k.id == id))
                }
                _ => self.step(),
            };
            step.map_err(|e| format!("at {} {}: {e}", now(), self.by))?;
        }
        Ok(self.counts)
    }

    fn step(&mut self) -> Result<(), String> {
        let own = self.kept.iter().filter(|k| !k.shared).count();
        let choice = self.random.below(20);
        if own == 0 || choice == 0 {
            return self.add();
        }
        if choice == 1 && own > 3 {
            let start = self.random.below(self.kept.len());
            let at = (0..self.kept.len()).map(|n| (start + n) % self.kept.len()).find(|at| !self.kept[*at].shared);
            return self.revoke(at);
        }
        let at = self.random.below(self.kept.len());
        let Some(client) = self.look(at)? else { return Ok(()) };
        self.number += 1;
        let made = self.change(at, &client, choice);
        match made {
            Ok(what) => *self.counts.entry(what).or_default() += 1,
            // Another worker revoked it meanwhile: nothing was changed, and nothing may be expected of it.
            Err(Error::Revoked { .. }) if self.kept[at].shared => drop(self.kept.swap_remove(at)),
            Err(error) => return Err(format!("changing client {}: {error}", client.id)),
        }
        Ok(())
    }

    /// One change, noted when it is acknowledged.
    fn change(&mut self, at: usize, client: &Client, choice: usize) -> Result<&'static str, Error> {
        let (number, kept) = (self.number, &mut self.kept[at]);
        let name = format!("{}.{number}", self.by);
        match choice {
            2..=7 => {
                block_on(self.clients.allow_types(client, &[&name]))?;
                self.log.note(kept.id, Change::Type(name.clone(), true));
                kept.types.insert(name);
                Ok("grants")
            }
            8..=10 if !kept.types.is_empty() => {
                let taken: Vec<String> = kept.types.iter().take(2).cloned().collect();
                block_on(self.clients.deny_types(client, &taken.iter().map(String::as_str).collect::<Vec<_>>()))?;
                for name in taken {
                    kept.types.remove(&name);
                    self.log.note(kept.id, Change::Type(name, false));
                }
                Ok("taken back")
            }
            11..=12 if !kept.shared => {
                block_on(self.clients.rename(client, &name))?;
                self.log.note(kept.id, Change::Field("name".to_owned(), json!(name)));
                Ok("renamed")
            }
            13..=14 if !kept.shared => {
                let allowed = !client.can_escalate;
                block_on(self.clients.set_permission(client, Permission::Escalate, allowed))?;
                self.log.note(kept.id, Change::Field("can_escalate".to_owned(), json!(allowed)));
                Ok("permissions")
            }
            15 if kept.count > 0 => {
                let change = MetadataChange { set: Vec::new(), unset: vec![self.by.clone()] };
                block_on(self.clients.set_metadata(client, &change))?;
                self.log.note(kept.id, Change::Member(self.by.clone(), None));
                kept.count = 0;
                Ok("metadata")
            }
            _ => {
                set(&self.clients, client, &self.by, &json!(number))?;
                self.log.note(kept.id, Change::Member(self.by.clone(), Some(json!(number))));
                kept.count = number;
                Ok("metadata")
            }
        }
    }

    /// The client through the cache, by one of its two names; what this thread wrote must be there.
    fn look(&mut self, at: usize) -> Result<Option<std::sync::Arc<Client>>, String> {
        let by_key = self.random.below(2) == 0;
        let kept = &self.kept[at];
        let found = block_on(async {
            if by_key { self.clients.by_access_key(&kept.key).await } else { self.clients.by_id(kept.id).await }
        });
        let found = found.map_err(|e| format!("looking up client {}: {e}", kept.id))?.filter(|client| !client.is_revoked());
        let Some(client) = found else {
            let id = kept.id;
            let shared = self.kept.swap_remove(at).shared;
            return if shared { Ok(None) } else { Err(format!("client {id} is gone, and only this thread revokes it")) };
        };
        let prefix = format!("{}.", self.by);
        let types: BTreeSet<String> = client.allowed_types.iter().filter(|t| t.starts_with(&prefix)).cloned().collect();
        let count = client.metadata.member(&self.by).and_then(|n| n.parse().ok()).unwrap_or(0);
        if (&types, count) == (&kept.types, kept.count) {
            return Ok(Some(client));
        }
        Err(format!(
            "client {}: this thread left the types {:?} and {}, found {types:?} and {count}",
            kept.id, kept.types, kept.count
        ))
    }

    fn add(&mut self) -> Result<(), String> {
        self.number += 1;
        let key = format!("{}.{}", self.by, self.number);
        let new = NewClient { name: key.clone(), password: Some("a password".to_owned()), ..NewClient::new(&key) };
        let added = block_on(self.clients.add(new)).map_err(|e| format!("adding {key}: {e}"))?;
        let fields = json!({"api_key": key, "name": key, "password": "a password"});
        self.log.note(added.id, Change::Added(fields.as_object().cloned().unwrap_or_default()));
        self.kept.push(Kept { id: added.id, key, types: BTreeSet::new(), count: 0, shared: false });
        *self.counts.entry("added").or_default() += 1;
        Ok(())
    }

    fn revoke(&mut self, at: Option<usize>) -> Result<(), String> {
        let Some(at) = at else { return Ok(()) };
        let Some(client) = self.look(at)? else { return Ok(()) };
        block_on(self.clients.revoke(&client)).map_err(|e| format!("revoking client {}: {e}", client.id))?;
        self.log.note(client.id, Change::Revoked);
        self.kept.swap_remove(at);
        *self.counts.entry("revoked").or_default() += 1;
        Ok(())
    }
}

/// Starts the program with one change after another; the last of its clients is revoked half-way.
fn start_again_and_again(part: &Part, end: Instant) -> Result<Counts, String> {
    let by = format!("{}-program", part.by);
    let log = Log::new(&part.logs, &by);
    let mut counts = Counts::new();
    let (last, own) = part.own.split_last().ok_or("the program has no clients of its own")?;
    let run = |words: &[&str]| {
        let output = Command::new(&part.program[0]).args(&part.program[1..]).args(words).output().map_err(|e| e.to_string())?;
        let said = String::from_utf8_lossy(&output.stderr);
        if output.status.success() { Ok(()) } else { Err(format!("at {} {by}: {words:?}: {}: {said}", now(), output.status)) }
    };
    let mut number = 0;
    while Instant::now() < end {
        number += 1;
        let (id, name) = (own[number % own.len()], format!("{by}.{number}"));
        let shown = id.to_string();
        match number % 3 {
            0 => {
                run(&["set-metadata", &shown, "--key", &by, "--value", &number.to_string()])?;
                log.note(id, Change::Member(by.clone(), Some(json!(number))));
            }
            1 => {
                run(&["rename-client", &shown, "--name", &name])?;
                log.note(id, Change::Field("name".to_owned(), json!(name)));
            }
            _ => {
                run(&["allow-msg", &name, &shown])?;
                log.note(id, Change::Type(name, true));
            }
        }
        *counts.entry("programs").or_default() += 1;
        if number == 5 {
            run(&["delete-client", &last.to_string(), "--yes"])?;
            log.note(*last, Change::Revoked);
        }
    }
    Ok(counts)
}
