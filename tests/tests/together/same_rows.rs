//! Eight processes of ours on the same few clients: nothing acknowledged is lost, and what only one can have one gets.

use std::collections::{BTreeMap, BTreeSet};

use super::*;

const PROCESSES: usize = 8;
const THREADS: usize = 2;
const ROWS: usize = 4;
const PRIZES: usize = 40;

#[test]
fn eight_processes_change_the_same_rows_of_one_sqlite_database() {
    same_rows(SQLITE);
}

#[test]
fn eight_processes_change_the_same_records_of_one_json_file() {
    same_rows(JSON);
}

#[test]
fn eight_processes_change_the_same_records_of_one_redis_server() {
    same_rows(REDIS);
}

fn same_rows(module: &'static str) {
    let _alone = alone();
    let operator = Place::new(module);
    let mut workers: Vec<Peer> = (0..PROCESSES).map(|_| worker(&operator)).collect();
    let mut seed = |n: usize| workers[0].ask(&json!({"op": "add", "key": format!("seed-{n}")})).as_i64().expect("an id");
    let ids: Vec<i64> = (0..ROWS + PRIZES).map(&mut seed).collect();
    let (rows, prizes) = ids.split_at(ROWS);
    for (n, worker) in workers.iter_mut().enumerate() {
        let ms = run_time(6).as_millis();
        worker.tell(
            &json!({"op": "same_rows", "by": format!("ours{n}"), "threads": THREADS, "ms": ms, "rows": rows, "prizes": prizes}),
        );
    }
    let answers: Vec<Result<Value, String>> = workers.iter_mut().map(Peer::answer).collect();
    let failed: Vec<&String> = answers.iter().filter_map(|a| a.as_ref().err()).collect();
    assert!(failed.is_empty(), "{module}: {failed:#?}");
    let threads: Vec<Value> = answers.into_iter().flatten().flat_map(|a| a.as_array().cloned().unwrap_or_default()).collect();
    assert_eq!(threads.len(), PROCESSES * THREADS);
    let clients = operator.clients();
    let client = |id: i64| clients.iter().find(|c| c["client_id"] == id).unwrap_or_else(|| panic!("client {id} is lost"));

    let mut sums = Vec::new();
    for (at, id) in rows.iter().enumerate() {
        let of = |which: usize| threads.iter().map(|t| t["increments"][at][which].as_u64().expect("a count")).sum::<u64>();
        let stored = |name: &str| client(*id)["metadata"][name].as_u64().unwrap_or(0);
        assert_eq!((stored("transactions"), stored("conditions")), (of(0), of(1)), "{module}: increments of client {id}");
        sums.push([of(0), of(1)]);
        let acknowledged =
            |what: &str| named(&threads, what).filter(|(of, _)| of == id).map(|(_, name)| name).collect::<BTreeSet<_>>();
        assert_eq!(texts(&client(*id)["allowed_types"]), acknowledged("types"), "{module}: the whitelist of client {id}");
        let listed = texts(&client(*id)["metadata"]["intent_blacklist"]);
        assert_eq!(listed, acknowledged("blacklisted"), "{module}: the blacklist of client {id}");
    }
    let added: BTreeMap<i64, String> = named(&threads, "added").collect();
    assert_eq!(added.len(), named(&threads, "added").count(), "{module}: an id was given twice");
    for (id, key) in &added {
        assert_eq!(client(*id)["api_key"], *key, "{module}: client {id}");
    }
    assert!(clients.iter().zip(1..).all(|(c, id)| c["client_id"] == id), "{module}: the ids are not dense");
    assert_eq!(clients.len(), ids.len() + added.len(), "{module}");
    prizes_have_one_winner(module, prizes, &threads, &client);
    assert_eq!(operator.repairs(Writers::Ours), Vec::<String>::new(), "{module}: Python's sync has something to repair");

    let count =
        |t: &Value| ["types", "blacklisted", "added"].iter().map(|what| t[what].as_array().map_or(0, Vec::len)).sum::<usize>();
    let progress: Vec<usize> = threads.iter().map(count).collect();
    let refused: u64 = threads.iter().filter_map(|t| t["refused"].as_u64()).sum();
    println!("{module}: increments {sums:?}, added {}, refused {refused}, grants and adds per thread {progress:?}", added.len());
    assert!(progress.iter().all(|n| *n > 0), "{module}: a thread got nothing done: {progress:?}");
    assert!(sums.iter().all(|s| s[0] > 0 && s[1] > 0), "{module}: {sums:?}");
}

/// Of all who pinned or revoked a client exactly one was told that it did.
fn prizes_have_one_winner<'c>(module: &str, prizes: &[i64], threads: &[Value], client: &dyn Fn(i64) -> &'c Value) {
    let pinned: Vec<(i64, String)> = named(threads, "pinned").collect();
    let revoked: Vec<i64> =
        threads.iter().flat_map(|t| t["revoked"].as_array().into_iter().flatten()).filter_map(Value::as_i64).collect();
    assert!(!pinned.is_empty() && !revoked.is_empty(), "{module}: nobody got that far");
    for id in prizes {
        let winners: Vec<&str> = pinned.iter().filter(|(of, _)| of == id).map(|(_, by)| by.as_str()).collect();
        assert!(winners.len() <= 1, "{module}: client {id} was pinned by {winners:?}");
        let revokers = revoked.iter().filter(|of| *of == id).count();
        let stored = client(*id);
        assert_eq!(
            revokers,
            usize::from(stored["api_key"] == "revoked"),
            "{module}: client {id} was revoked {revokers} times: {stored}"
        );
        if revokers == 0 {
            assert_eq!(stored["metadata"]["noise_pubkey"].as_str(), winners.first().copied(), "{module}: client {id}");
        } else {
            assert_eq!(stored["metadata"], json!({}), "{module}: client {id}");
        }
    }
}

fn named<'t>(threads: &'t [Value], what: &'t str) -> impl Iterator<Item = (i64, String)> + 't {
    let all = threads.iter().flat_map(move |t| t[what].as_array().into_iter().flatten());
    all.map(|pair| (pair[0].as_i64().expect("an id"), pair[1].as_str().expect("a name").to_owned()))
}

fn texts(list: &Value) -> BTreeSet<String> {
    let items = list.as_array().into_iter().flatten();
    let texts: Vec<String> = items.map(|item| item.as_str().expect("a text").to_owned()).collect();
    let set: BTreeSet<String> = texts.iter().cloned().collect();
    assert_eq!(set.len(), texts.len(), "something is listed twice: {texts:?}");
    set
}
