//! Four processes of ours beside four of Python's on one store: nothing acknowledged is lost, and both list the same.
//!
//! Python writes whole rows from an earlier copy and takes the next id without a lock. So each of its processes owns clients that
//! nobody else changes, and only ours add; everything else goes at once.

use std::time::{Duration, Instant};

use hivemind_tests::python::hivemind_core;
use hivemind_tests::together::expected;
use hivemind_tests::together::log::{self, Change, Log, now};
use serde_json::{Map, Value, json};

use super::*;

const SHARED: usize = 8;
const PROGRAMS: usize = 5;
const PYTHONS: usize = 10;
const SECONDS: u64 = 20;

#[test]
fn ours_and_python_lose_nothing_on_one_sqlite_database() {
    side_by_side(SQLITE);
}

#[test]
fn ours_and_python_lose_nothing_on_one_json_file() {
    side_by_side(JSON);
}

#[test]
fn ours_and_python_lose_nothing_on_one_redis_server() {
    side_by_side(REDIS);
}

#[test]
fn ours_and_python_lose_nothing_on_one_redis_cluster_with_a_tag() {
    on(&Place::on(Kind::ClusterTagged));
}

/// Adds the clients to begin with and gives their ids.
fn seed(worker: &mut Peer, logs: &Path, count: usize) -> Vec<i64> {
    let log = Log::new(logs, "0-seed");
    let mut ids = Vec::new();
    for number in 1..=count {
        let key = format!("seed-{number}");
        let id = worker.ask(&json!({"op": "add", "key": key})).as_i64().expect("an id");
        log.note(id, Change::Added(Map::from_iter([("api_key".to_owned(), json!(key))])));
        ids.push(id);
    }
    ids
}

fn side_by_side(module: &'static str) {
    on(&Place::new(module));
}

fn on(place: &Place) {
    let _alone = alone();
    let module = place.deployment().map_or(place.module, |deployment| deployment.kind.name());
    let operator = place;
    let (home, logs) = (operator.home(), &operator.home().join("logs"));
    let mut workers: Vec<Peer> = (0..4).map(|_| worker(place)).collect();
    let ids = seed(&mut workers[0], logs, SHARED + 2 * PROGRAMS + 3 * PYTHONS);
    let (shared, rest) = ids.split_at(SHARED);
    let (of_our_program, rest) = rest.split_at(PROGRAMS);
    let (of_their_program, of_plugins) = rest.split_at(PROGRAMS);
    let time = run_time(SECONDS);
    let words: Vec<String> = {
        let command = operator.command(&[]);
        let words = std::iter::once(command.get_program()).chain(command.get_args());
        words.map(|word| word.to_str().expect("UTF-8").to_owned()).collect()
    };
    let mut pythons: Vec<Peer> = (0..3).map(|_| place.python()).collect();

    let counts: Vec<Result<Value, String>> = std::thread::scope(|scope| {
        for (n, worker) in workers.iter_mut().enumerate() {
            let mut part = json!({
                "op": "beside", "by": format!("ours{n}"), "logs": logs, "threads": 3, "ms": time.as_millis(), "shared": shared,
                "victim": shared[n],
            });
            if n == 3 {
                part["program"] = json!(words);
                part["own"] = json!(of_our_program);
            }
            worker.tell(&part);
        }
        let mut others: Vec<_> = std::iter::zip(&mut pythons, of_plugins.chunks(PYTHONS))
            .enumerate()
            .map(|(n, (peer, own))| scope.spawn(move || python_works(place, peer, (logs, &format!("python{n}")), own, time)))
            .collect();
        others.push(scope.spawn(move || pythons_program_works(place, home, logs, of_their_program, time)));
        let ours: Vec<_> = workers.iter_mut().map(Peer::answer).collect();
        ours.into_iter()
            .chain(others.into_iter().map(|other| other.join().unwrap_or_else(|_| Err("a panic".to_owned()))))
            .collect()
    });

    let mut problems: Vec<String> = counts.iter().filter_map(|result| result.as_ref().err().cloned()).collect();
    let entries = log::read_all(logs);
    for (who, listed) in [("ours", operator.clients()), ("python", place.python_lists())] {
        problems.extend(expected::problems(&entries, &listed).into_iter().map(|what| format!("as {who} lists it: {what}")));
    }
    let records = expected::records(&entries);
    for (id, expected) in &records {
        let cached = workers[0].ask(&json!({"op": "look", "id": id}));
        let found = expected::differing(&entries, *id, expected, &cached);
        problems.extend(found.into_iter().map(|what| format!("in a cache: {what}")));
    }
    problems.extend(place.repairs(Writers::Both).into_iter().map(|what| format!("Python's sync repaired {what}")));
    println!("{module}: {} acknowledged changes of {} clients", entries.len(), records.len());
    for (who, count) in ["ours0", "ours1", "ours2", "ours3", "python0", "python1", "python2", "hivemind-core"].iter().zip(&counts)
    {
        println!("  {who}: {}", count.as_ref().map_or("failed".to_owned(), Value::to_string));
        let all: u64 = count.iter().flat_map(|c| c.as_object()).flat_map(Map::values).filter_map(Value::as_u64).sum();
        if all == 0 {
            problems.push(format!("{who} got nothing done"));
        }
    }
    assert!(problems.is_empty(), "{module}, {} problems:\n{}", problems.len(), problems.join("\n"));
}

/// What the Python node leaves of a client that it revokes.
fn revoked_by_python(place: &Place) -> Change {
    if place.keeps_what_is_revoked() { Change::Blanked } else { Change::Revoked }
}

/// Changes and revokes clients through the node's own plugin, as a node that runs does.
fn python_works(place: &Place, peer: &mut Peer, (logs, by): (&Path, &str), own: &[i64], time: Duration) -> Result<Value, String> {
    let (log, end) = (Log::new(logs, by), Instant::now() + time);
    let (mut own, mut changed, mut revoked) = (own.to_vec(), 0, 0);
    while Instant::now() < end {
        let number = changed + revoked;
        let at = number % own.len();
        let id = own[at];
        let said = |error| format!("at {} {by}, client {id}: {error}", now());
        if number % 8 == 7 && own.len() > 3 {
            peer.try_ask(&json!({"op": "revoke", "id": id})).map_err(said)?;
            log.note(id, revoked_by_python(place));
            own.remove(at);
            revoked += 1;
            continue;
        }
        let (field, value) = match number % 5 {
            0 => ("metadata", json!({"count": number, "deep": {"of": by}})),
            1 => ("name", json!(format!("{by}.{number}"))),
            2 => ("allowed_types", json!([format!("{by}.{number}"), "speak"])),
            3 => ("can_broadcast", json!(number % 2 == 0)),
            _ => ("last_seen", json!(number as f64 + 0.25)),
        };
        peer.try_ask(&json!({"op": "set_field", "id": id, "fields": {field: value}})).map_err(said)?;
        log.note(id, Change::Field(field.to_owned(), value));
        changed += 1;
    }
    Ok(json!({"changed": changed, "revoked": revoked}))
}

/// Does the same with the node's command line, one process for each change.
fn pythons_program_works(place: &Place, home: &Path, logs: &Path, own: &[i64], time: Duration) -> Result<Value, String> {
    let by = "hivemind-core";
    let (log, end) = (Log::new(logs, by), Instant::now() + time);
    let (last, own) = own.split_last().ok_or("no clients")?;
    let run = |words: &[&str]| match hivemind_core(home, words) {
        (0, said) if !said.contains("Traceback") => Ok(()),
        (code, said) => Err(format!("at {} {by} {words:?}: {code}: {said}", now())),
    };
    let mut number = 0;
    while Instant::now() < end {
        number += 1;
        let (id, name) = (own[number % own.len()], format!("{by}.{number}"));
        let shown = id.to_string();
        if number % 2 == 0 {
            run(&["allow-msg", &name, &shown])?;
            log.note(id, Change::Type(name, true));
        } else {
            run(&["rename-client", &shown, "--name", &name])?;
            log.note(id, Change::Field("name".to_owned(), json!(name)));
        }
        if number == 2 {
            run(&["delete-client", &last.to_string(), "--yes"])?;
            log.note(*last, revoked_by_python(place));
        }
    }
    Ok(json!({"programs": number}))
}
