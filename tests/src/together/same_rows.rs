//! What a worker does where all of ours change the same few clients: nothing of it may be lost, and of several that want the same thing
//! exactly one may get it. What was acknowledged is counted; the test adds the counts up and compares.

use std::time::{Duration, Instant};

use hivemind_model::{Change, Condition, Key, KeyRef, Mutation, Op, Row};
use hivemind_store::clients::{Blacklist, NewClient, Pinned};
use hivemind_store::{Client, Clients, Error};
use pollster::block_on;
use serde_json::{Value, json};

use super::log::now;

/// How many different things are done to a client before the next one's turn.
const ROUND: usize = 8;

/// A worker's part in a run.
#[derive(Debug, Clone)]
pub struct Part {
    /// Its name.
    pub by: String,
    /// How many threads it has.
    pub threads: usize,
    /// How long it works.
    pub time: Duration,
    /// The clients that everybody changes.
    pub rows: Vec<i64>,
    /// Clients that everybody wants to pin and then to revoke.
    pub prizes: Vec<i64>,
}

impl Part {
    /// The part that a request describes.
    ///
    /// # Errors
    /// If something is missing.
    pub fn read(request: &Value) -> Result<Self, String> {
        let ids = |name: &str| request[name].as_array().into_iter().flatten().filter_map(Value::as_i64).collect();
        Ok(Self {
            by: request["by"].as_str().ok_or("by is missing")?.to_owned(),
            threads: request["threads"].as_u64().and_then(|n| usize::try_from(n).ok()).ok_or("threads is missing")?,
            time: Duration::from_millis(request["ms"].as_u64().ok_or("ms is missing")?),
            rows: ids("rows"),
            prizes: ids("prizes"),
        })
    }
}

/// What one thread was acknowledged.
#[derive(Debug, Default)]
struct Done {
    /// For each client: increments in a transaction, increments under a condition.
    increments: Vec<[u64; 2]>,
    refused: u64,
    types: Vec<(i64, String)>,
    blacklisted: Vec<(i64, String)>,
    added: Vec<(i64, String)>,
    pinned: Vec<(i64, String)>,
    revoked: Vec<i64>,
}

impl Done {
    /// Whether it got something done that only it does.
    fn progressed(&self) -> bool {
        !(self.types.is_empty() && self.blacklisted.is_empty() && self.added.is_empty())
    }
}

/// Works its part and gives what was acknowledged.
///
/// # Errors
/// The first thing that went wrong in each thread.
pub fn run(clients: &Clients, part: &Part) -> Result<Value, String> {
    let end = Instant::now() + part.time;
    let done: Vec<Result<Done, String>> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..part.threads).map(|n| scope.spawn(move || work(clients, part, n, end))).collect();
        threads.into_iter().map(|t| t.join().unwrap_or_else(|_| Err("a thread panicked".to_owned()))).collect()
    });
    let done: Vec<Done> = done.into_iter().collect::<Result<_, _>>()?;
    Ok(json!(done.iter().map(|d| json!({
        "increments": d.increments, "refused": d.refused, "types": d.types, "blacklisted": d.blacklisted, "added": d.added,
        "pinned": d.pinned, "revoked": d.revoked,
    })).collect::<Vec<_>>()))
}

fn work(clients: &Clients, part: &Part, number: usize, end: Instant) -> Result<Done, String> {
    let by = format!("{}-{number}", part.by);
    let mut done = Done { increments: vec![[0; 2]; part.rows.len()], ..Done::default() };
    let mut round = 0;
    // On a slow machine it takes longer until a thread has been everywhere; it is asked that each gets something done, not how soon.
    let last = end + Duration::from_secs(60);
    let is_done = |round: usize, done: &Done| round >= ROUND * part.rows.len() && done.progressed();
    while Instant::now() < if is_done(round, &done) { end } else { last } {
        round += 1;
        step(clients, part, &by, round, &mut done).map_err(|e| format!("at {} {by}, round {round}: {e}", now()))?;
    }
    Ok(done)
}

fn step(clients: &Clients, part: &Part, by: &str, round: usize, done: &mut Done) -> Result<(), Error> {
    let at = (round / ROUND) % part.rows.len();
    let id = part.rows[at];
    let client = block_on(clients.by_id(id))?.ok_or(Error::Unknown { id })?;
    let name = format!("{by}.{round}");
    match round % ROUND {
        0..=2 => match increment_in_a_transaction(clients, id) {
            Ok(()) => done.increments[at][0] += 1,
            Err(error) if is_conflict(&error) => done.refused += 1,
            Err(error) => return Err(error),
        },
        3 => match increment_under_a_condition(clients, &client) {
            Ok(()) => done.increments[at][1] += 1,
            Err(error) if is_conflict(&error) => done.refused += 1,
            Err(error) => return Err(error),
        },
        4 => {
            // One stays, one comes and goes.
            block_on(clients.allow_types(&client, &[&name, by]))?;
            block_on(clients.deny_types(&client, &[by]))?;
            done.types.push((id, name));
        }
        5 => match block_on(clients.blacklist(&client, Blacklist::Intent, &name)) {
            Ok(true) => done.blacklisted.push((id, name)),
            Ok(false) => return Err(Error::Refused(format!("client {id} has {name} already"))),
            Err(error) if is_conflict(&error) => done.refused += 1,
            Err(error) => return Err(error),
        },
        6 => {
            let added = block_on(clients.add(NewClient::new(&name)))?;
            done.added.push((added.id, name));
        }
        _ => return race_for(clients, part, by, round / ROUND, done),
    }
    Ok(())
}

/// Pins the next prize, then revokes the one before: of all who try, one may be told that it did.
fn race_for(clients: &Clients, part: &Part, by: &str, turn: usize, done: &mut Done) -> Result<(), Error> {
    if let Some(id) = part.prizes.get(turn)
        && let Some(client) = block_on(clients.by_id(*id))?
    {
        match block_on(clients.pin(&client, "noise_pubkey", by)) {
            Ok(Pinned::Now) => done.pinned.push((*id, by.to_owned())),
            Ok(Pinned::Before(_)) | Err(Error::Revoked { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    // Only every second one is revoked, so that the pins of the others stay to be compared.
    if let Some(id) = part.prizes.get(turn.wrapping_sub(1)).filter(|id| **id % 2 == 0)
        && let Some(client) = block_on(clients.by_id(*id))?
    {
        match block_on(clients.revoke(&client)) {
            Ok(_) => done.revoked.push(*id),
            Err(Error::Revoked { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn is_conflict(error: &Error) -> bool {
    matches!(error, Error::Changed { .. }) || matches!(error, Error::Backend(e) if e.code() == hivemind_model::Code::Conflict)
}

fn count_of(client: &Client, member: &str) -> i64 {
    client.metadata.member(member).and_then(|n| n.parse().ok()).unwrap_or(0)
}

fn metadata() -> usize {
    hivemind_store::clients::collection().position("metadata").expect("a field")
}

/// Reads, adds one and writes, on the condition that the record is still what was read.
fn increment_in_a_transaction(clients: &Clients, id: i64) -> Result<(), Error> {
    let (collection, described) = (clients.id(), hivemind_store::clients::collection());
    let committed = block_on(clients.storage().transaction(move |tx| {
        let row: Row = tx.get(collection, KeyRef::Int(id))?.ok_or(Error::Unknown { id })?;
        let count = count_of(&Client::from_row(&described, &row)?, "transactions") + 1;
        let set = Change::JsonSet { field: metadata(), name: "transactions".to_owned(), json: count.to_string() };
        tx.update(collection, KeyRef::Int(id), vec![set], Vec::new())?;
        Ok::<(), Error>(())
    }));
    committed.map(drop)
}

/// Writes one more than was looked up, on the condition that this member is still so; a conflict is the caller's.
fn increment_under_a_condition(clients: &Clients, client: &Client) -> Result<(), Error> {
    let (id, name) = (client.id, "conditions");
    let count = count_of(client, name);
    let is_so = match client.metadata.member(name) {
        None => Condition::is_null(metadata()),
        Some(_) => Condition::new(metadata(), Op::Eq, count),
    };
    let changes = vec![Change::JsonSet { field: metadata(), name: name.to_owned(), json: (count + 1).to_string() }];
    let when = vec![is_so.on_member(name)];
    let update = Mutation::Update { collection: clients.id(), key: Key::Int(id), changes, when };
    Ok(block_on(clients.storage().apply(vec![update])).map(drop)?)
}
