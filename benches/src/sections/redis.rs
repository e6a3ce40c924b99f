//! Redis: one server on this machine, reached over TCP, and what a round trip to it costs at least.

use std::cell::RefCell;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hivemind_model::{Backend, Context};
use hivemind_store::Clients;
use hivemind_tests::redis::{CONTROL_USER, Server};
use serde_json::{Map, Value, json};

use crate::contest::{self, Doing};
use crate::machine::OneCore;
use crate::ours::{self, Cache};
use crate::peer::Python;
use crate::stores::Scratch;
use crate::table::{self, Bars, Limit};
use crate::{Failure, clients};

const PATIENCE: Duration = Duration::from_secs(60);
/// Threads, and connections of redis-benchmark.
const THREADS: usize = 32;
/// Lookups in a round of the contest of threads.
const LOOKUPS: usize = 16_000;
/// Clients in one call.
const ADDS: usize = 500;

/// Lookups, adds, many threads.
pub(crate) fn run(size: u64, rounds: usize, bars: &mut Bars) -> Result<(), Failure> {
    let scratch = Scratch::new()?;
    let one_core = OneCore::begin()?;
    let server = Server::start(&[]);
    println!("Redis {}, one server without persistence, over TCP\n", server.info("redis_version"));
    lookups(&server, &scratch, (size, rounds), bars)?;
    drop((server, one_core));
    let server = Server::start(&[]);
    adds(&server, &scratch, rounds, bars)?;
    threads(&server, &scratch, (size, rounds), bars)
}

fn settings(server: &Server, prefix: &str) -> Map<String, Value> {
    let settings = json!({"host": "127.0.0.1", "port": server.port(), "index_prefix": prefix});
    settings.as_object().cloned().unwrap_or_default()
}

fn load(server: &Server, scratch: &Scratch, prefix: &str) -> Result<Arc<dyn Backend>, Failure> {
    ours::load_with("redis", &scratch.folder(prefix)?, &settings(server, prefix))
}

fn lookups(server: &Server, scratch: &Scratch, (size, rounds): (u64, usize), bars: &mut Bars) -> Result<(), Failure> {
    let backend = load(server, scratch, "client")?;
    clients::add_all(backend.as_ref(), size, 1000)?;
    let python = Python::start_with("redis", &scratch.folder("python")?, &settings(server, "client"), PATIENCE)?;
    let python = RefCell::new(python);
    let ask = |what: &'static str| {
        let python = &python;
        move |picks: &[u64]| python.borrow_mut().ask(what, &clients::keys(picks, size))
    };
    let outcome = contest::run(
        rounds,
        &mut [
            Box::new(Doing("one PING round trip, a socket by hand".to_owned(), 500, pings(server)?)),
            Box::new(Doing(
                "its command on a socket by hand, the answer unread".to_owned(),
                500,
                by_hand(server, size, |_| true)?,
            )),
            Box::new(Doing("the same, the record read by serde_json".to_owned(), 500, by_hand(server, size, is_record)?)),
            Box::new(ours::LookUp::new("typed get, loaded library", &backend, Cache::None, size)?),
            Box::new(ours::LookUp::new("typed get, loaded library, cached", &backend, Cache::All, size)?),
            Box::new(Doing("the Python plugin, no admission record".to_owned(), 200, ask("look_up_cold"))),
            Box::new(Doing("the Python plugin, with its admission record".to_owned(), 200, ask("look_up_warm"))),
        ],
    )?;
    table::print(&format!("Redis, {size} clients: get by access key, all on one core"), &outcome);
    bars.add(format!("Redis, {size}: uncached typed get ÷ PING"), Limit::AtMost(1.3), outcome.ratio(3, 0));
    bars.add(format!("Redis, {size}: Python, cold ÷ uncached typed get"), Limit::AtLeast(5.0), outcome.ratio(5, 3));
    bars.add(format!("Redis, {size}: Python, cold ÷ cached typed get"), Limit::AtLeast(100.0), outcome.ratio(5, 4));
    Ok(())
}

/// The least that any question costs.
fn pings(server: &Server) -> Result<impl FnMut(&[u64]) -> Result<Duration, Failure>, Failure> {
    let mut connection = TcpStream::connect(("127.0.0.1", server.port()))?;
    connection.set_nodelay(true)?;
    Ok(move |picks: &[u64]| {
        let mut answer = [0; 7];
        let start = Instant::now();
        for _ in picks {
            connection.write_all(b"*1\r\n$4\r\nPING\r\n")?;
            connection.read_exact(&mut answer)?;
        }
        let took = start.elapsed();
        if &answer == b"+PONG\r\n" { Ok(took) } else { Err(format!("PING was answered with {answer:?}").into()) }
    })
}

/// What a look-up of ours asks, on a socket and nothing else: how much of its time is the server's and the system's.
fn by_hand(
    server: &Server,
    size: u64,
    read: impl Fn(&str) -> bool,
) -> Result<impl FnMut(&[u64]) -> Result<Duration, Failure>, Failure> {
    const REST: &str = "$2\r\nBY\r\n$6\r\nnosort\r\n$5\r\nLIMIT\r\n$1\r\n0\r\n$2\r\n65\r\n$3\r\nGET\r\n$1\r\n#\r\n$3\r\nGET\r\n$15\r\nclient:client:*\r\n";
    let mut connection = TcpStream::connect(("127.0.0.1", server.port()))?;
    connection.set_nodelay(true)?;
    let mut answer = [0; 4096];
    Ok(move |picks: &[u64]| {
        let commands: Vec<String> = clients::keys(picks, size)
            .iter()
            .map(|key| {
                format!("*11\r\n$7\r\nSORT_RO\r\n${}\r\nclient:api_key:{key}\r\n{REST}", "client:api_key:".len() + key.len())
            })
            .collect();
        let start = Instant::now();
        for command in &commands {
            connection.write_all(command.as_bytes())?;
            // Short enough to come as a whole.
            let length = connection.read(&mut answer)?;
            let record = std::str::from_utf8(&answer[..length])?.trim_end().rsplit("\r\n").next().unwrap_or_default();
            if !record.starts_with('{') || !read(record) {
                return Err(format!("SORT_RO was answered with {record:?}").into());
            }
        }
        Ok(start.elapsed())
    })
}

/// Whether a text is a client's record.
fn is_record(text: &str) -> bool {
    /// The fields of a typed client.
    #[derive(serde::Deserialize)]
    #[expect(dead_code, reason = "decoding them is what is measured")]
    struct Client {
        client_id: i64,
        api_key: String,
        name: String,
        description: Option<String>,
        is_admin: bool,
        last_seen: f64,
        allowed_types: Vec<String>,
        password: Option<String>,
        can_broadcast: bool,
        can_escalate: bool,
        can_propagate: bool,
        metadata: Map<String, Value>,
    }
    serde_json::from_str::<Client>(text).map(std::hint::black_box).is_ok()
}

fn adds(server: &Server, scratch: &Scratch, rounds: usize, bars: &mut Bars) -> Result<(), Failure> {
    let backend = load(server, scratch, "batch")?;
    let python = Python::start_with("redis", &scratch.folder("python-adds")?, &settings(server, "single"), PATIENCE)?;
    let python = RefCell::new(python);
    let collection = hivemind_store::clients::collection();
    let id = backend.prepare(&Context::unbounded(), std::slice::from_ref(&collection))?[0];
    let mut next = 0;
    let batch = |picks: &[u64]| {
        let numbers = next..next + picks.len() as u64;
        next = numbers.end;
        let mutations: Result<Vec<_>, _> = numbers.map(|number| clients::insert(&collection, id, number)).collect();
        let mutations = mutations?;
        let start = Instant::now();
        backend.apply(&Context::unbounded(), &mutations)?;
        Ok(start.elapsed())
    };
    let mut added = 0;
    let single = |picks: &[u64]| {
        let keys: Vec<String> = (added..added + picks.len() as u64).map(clients::key).collect();
        added += picks.len() as u64;
        python.borrow_mut().ask("add", &keys)
    };
    let outcome = contest::run(
        rounds,
        &mut [
            Box::new(Doing(format!("ours, {ADDS} in one call"), ADDS, batch)),
            Box::new(Doing("the Python plugin: add_item".to_owned(), 100, single)),
            Box::new(Doing(format!("{ADDS} in one MULTI by hand, nothing compared"), ADDS, adds_by_hand(server)?)),
        ],
    )?;
    table::print("Redis: add a client", &outcome);
    bars.add("Redis: Python's add_item ÷ ours in a batch", Limit::AtLeast(20.0), outcome.ratio(1, 0));
    Ok(())
}

/// The writes of added clients and nothing else: what the server takes for them at least.
fn adds_by_hand(server: &Server) -> Result<impl FnMut(&[u64]) -> Result<Duration, Failure>, Failure> {
    let mut connection = TcpStream::connect(("127.0.0.1", server.port()))?;
    connection.set_nodelay(true)?;
    let mut next = 0;
    Ok(move |picks: &[u64]| {
        let mut commands = redis::pipe();
        commands.atomic();
        for number in next..next + picks.len() {
            let key = clients::key(number as u64);
            let record = json!({
                "allowed_types": ["recognizer_loop:utterance", "speak:b64_audio"], "api_key": key, "can_broadcast": true,
                "can_escalate": true, "can_propagate": true, "client_id": number, "description": "", "is_admin": false,
                "last_seen": -1, "metadata": {"skill_blacklist": [], "room": "room 7", "noise_pubkey": format!("{key}{key}")},
                "name": format!("satellite {number}"), "password": format!("password of {number} with some length"),
            });
            commands.cmd("SET").arg(format!("hand:client:{number}")).arg(record.to_string()).ignore();
            commands.cmd("SADD").arg(format!("hand:name:satellite {number}")).arg(number).ignore();
            commands.cmd("SADD").arg(format!("hand:api_key:{key}")).arg(number).ignore();
            let document = commands.cmd("HSET").arg(format!("hand:idx:{number}")).arg("name");
            document.arg(format!("satellite {number}")).arg("api_key").arg(&key).ignore();
            commands.cmd("DEL").arg(format!("hand:api_key_record:{key}")).ignore();
        }
        next += picks.len();
        let packed = commands.get_packed_pipeline();
        let start = Instant::now();
        connection.write_all(&packed)?;
        // `EXEC` answers last, by a number for each but `SET`; before it are so many times `QUEUED`.
        let answers = b"+OK\r\n".len() + 5 * picks.len() * b"+QUEUED\r\n".len();
        let head = format!("*{}\r\n", 5 * picks.len());
        let done = picks.len() * b"+OK\r\n:1\r\n:1\r\n:2\r\n:0\r\n".len();
        let mut answer = vec![0; answers + head.len() + done];
        connection.read_exact(&mut answer)?;
        let took = start.elapsed();
        if answer.ends_with(b"+OK\r\n:1\r\n:1\r\n:2\r\n:0\r\n") {
            Ok(took)
        } else {
            Err("the writes by hand were refused".into())
        }
    })
}

/// Threads that look clients up, against redis-benchmark with the commands that they were seen to send, on as many connections.
fn threads(server: &Server, scratch: &Scratch, (size, rounds): (u64, usize), bars: &mut Bars) -> Result<(), Failure> {
    let backend = load(server, scratch, "many")?;
    let collection = hivemind_store::clients::collection();
    let id = backend.prepare(&Context::unbounded(), std::slice::from_ref(&collection))?[0];
    for from in (0..size).step_by(1000) {
        let mutations: Result<Vec<_>, _> =
            (from..size.min(from + 1000)).map(|number| clients::insert_as(&collection, id, number, drawn(number))).collect();
        backend.apply(&Context::unbounded(), &mutations?)?;
    }
    let store = ours::typed(&backend, Cache::None)?;
    let commands = seen(server, || look_up(&store, 0))?;
    let [words] = &commands[..] else { return Err(format!("a lookup is one command, found {commands:?}").into()) };
    let words: Vec<String> = words.iter().map(|word| word.replace(&drawn(0), "__rand_int__")).collect();
    println!("a lookup sends {}", words.join(" ").chars().take(100).collect::<String>());
    let many = |picks: &[u64]| {
        let start = Instant::now();
        std::thread::scope(|scope| {
            let shares = picks.chunks(picks.len().div_ceil(THREADS));
            let running: Vec<_> = shares
                .map(|share| {
                    scope.spawn(|| share.iter().try_for_each(|pick| look_up(&store, pick % size).map_err(|e| e.to_string())))
                })
                .collect();
            running.into_iter().try_for_each(|thread| thread.join().unwrap_or_else(|_| Err("a thread panicked".to_owned())))
        })?;
        Ok(start.elapsed())
    };
    let outcome = contest::run(
        rounds,
        &mut [
            Box::new(Doing(format!("redis-benchmark, {THREADS} connections"), LOOKUPS, |picks: &[u64]| {
                benchmark(server, &words, picks.len(), size)
            })),
            Box::new(Doing(format!("typed get, loaded library, {THREADS} threads"), LOOKUPS, many)),
        ],
    )?;
    table::print(&format!("Redis, {size} clients: get by access key, {THREADS} at a time (µs a lookup, all together)"), &outcome);
    let what = format!("Redis, {size}: lookups a second, {THREADS} threads ÷ redis-benchmark");
    bars.add(what, Limit::AtLeast(0.8), outcome.ratio(0, 1));
    Ok(())
}

/// An access key that redis-benchmark can draw: it puts twelve digits where it is told to.
fn drawn(number: u64) -> String {
    format!("{number:012}")
}

fn look_up(store: &Clients, number: u64) -> Result<(), Failure> {
    let client = pollster::block_on(store.by_access_key(&drawn(number)))?;
    std::hint::black_box(client.ok_or("a client is missing")?);
    Ok(())
}

/// The commands that the server gets while something is done, each with its words.
fn seen(server: &Server, doing: impl FnOnce() -> Result<(), Failure>) -> Result<Vec<Vec<String>>, Failure> {
    // As a slow command each is kept whole, if it is not too long; those of tests are another user's, and are left out.
    server.ask::<()>(&["CONFIG", "SET", "slowlog-log-slower-than", "0", "slowlog-max-len", "1000"]);
    server.ask::<()>(&["SLOWLOG", "RESET"]);
    let done = doing();
    let entries: Vec<(u64, u64, u64, Vec<String>, String, String)> = server.ask(&["SLOWLOG", "GET", "-1"]);
    server.ask::<()>(&["CONFIG", "SET", "slowlog-log-slower-than", "-1"]);
    done?;
    // What keeps connections alive is not the lookup.
    let passing =
        |word: &String| ["slowlog", "config", "auth", "hello", "client", "ping"].contains(&word.to_lowercase().as_str());
    Ok(entries.into_iter().rev().map(|entry| entry.3).filter(|words| !words.first().is_none_or(passing)).collect())
}

/// The time that redis-benchmark takes for so many of a command.
fn benchmark(server: &Server, words: &[String], count: usize, size: u64) -> Result<Duration, Failure> {
    let output = Command::new("redis-benchmark")
        .args(["-h", "127.0.0.1", "-p", &server.port().to_string(), "--user", CONTROL_USER, "-a", "any"])
        .args(["-c", &THREADS.to_string(), "-n", &count.to_string(), "-r", &size.to_string(), "--csv"])
        .args(words)
        .output()?;
    let said = String::from_utf8_lossy(&output.stdout);
    // "name","requests a second",…
    let rate = said.lines().last().and_then(|line| line.rsplit("\",\"").nth(6)?.parse::<f64>().ok());
    let rate = rate.filter(|rate| *rate > 0.0).ok_or_else(|| format!("redis-benchmark said {said:?}"))?;
    Ok(Duration::from_secs_f64(count as f64 / rate))
}
