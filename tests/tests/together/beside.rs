//! Four processes of ours beside four of Python's on one store: nothing acknowledged is lost, and both list the same.
//!
//! Python writes whole rows from an earlier copy and takes the next id without a lock. So each of its processes owns clients that
//! nobody else changes, and only ours add; everything else goes at once.

use std::path::Path;
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

fn side_by_side(module: &str) {
    let _alone = alone();
    let operator = &Operator::with_module(module);
    let (home, logs) = (operator.home(), &operator.home().join("logs"));
    let mut workers: Vec<Peer> = (0..4).map(|_| worker(operator, module)).collect();
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
    let mut pythons: Vec<Peer> = (0..3).map(|_| python(operator, module)).collect();

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
            .map(|(n, (peer, own))| scope.spawn(move || python_works(peer, logs, &format!("python{n}"), own, time)))
            .collect();
        others.push(scope.spawn(move || pythons_program_works(home, logs, of_their_program, time)));
        let ours: Vec<_> = workers.iter_mut().map(Peer::answer).collect();
        ours.into_iter()
            .chain(others.into_iter().map(|other| other.join().unwrap_or_else(|_| Err("a panic".to_owned()))))
            .collect()
    });

    let mut problems: Vec<String> = counts.iter().filter_map(|result| result.as_ref().err().cloned()).collect();
    let entries = log::read_all(logs);
    for (who, listed) in [("ours", operator.clients()), ("python", python_lists(operator, module))] {
        problems.extend(expected::problems(&entries, &listed).into_iter().map(|what| format!("as {who} lists it: {what}")));
    }
    for id in expected::records(&entries).keys() {
        let cached = workers[0].ask(&json!({"op": "look", "id": id}));
        let found =
            expected::problems(&entries, &[cached]).into_iter().filter(|what| what.starts_with(&format!("client {id}: ")));
        problems.extend(
            found.filter(|what| !what.contains("it was added and is not there")).map(|what| format!("in a cache: {what}")),
        );
    }
    println!("{module}: {} acknowledged changes of {} clients", entries.len(), expected::records(&entries).len());
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

/// Changes and revokes clients through the node's own plugin, as a node that runs does.
fn python_works(peer: &mut Peer, logs: &Path, by: &str, own: &[i64], time: Duration) -> Result<Value, String> {
    let (log, end) = (Log::new(logs, by), Instant::now() + time);
    let (mut own, mut changed, mut revoked) = (own.to_vec(), 0, 0);
    while Instant::now() < end {
        let number = changed + revoked;
        let at = number % own.len();
        let id = own[at];
        let said = |error| format!("at {} {by}, client {id}: {error}", now());
        if number % 8 == 7 && own.len() > 3 {
            peer.try_ask(&json!({"op": "revoke", "id": id})).map_err(said)?;
            log.note(id, Change::Revoked);
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
fn pythons_program_works(home: &Path, logs: &Path, own: &[i64], time: Duration) -> Result<Value, String> {
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
            log.note(*last, Change::Revoked);
        }
    }
    Ok(json!({"programs": number}))
}
