//! Durable writes to SQLite: each one acknowledged when it would survive a power cut.

use std::cell::RefCell;
use std::time::{Duration, Instant};

use hivemind_store::{Client, Clients};

use crate::contest::{self, Doing};
use crate::ours::{self, Cache};
use crate::peer::Python;
use crate::stores::Scratch;
use crate::table::{self, Bars, Limit};
use crate::{Failure, by_hand, clients};

const THREADS: usize = 8;
/// Writes of one thread in a round.
const WRITES: usize = 32;

/// One thread, eight threads, by hand, and Python's plugin.
pub(crate) fn run(size: u64, rounds: usize, bars: &mut Bars) -> Result<(), Failure> {
    let scratch = Scratch::new()?;
    let backend = ours::load("sqlite", &scratch.copy("sqlite", size, "ours")?)?;
    let store = ours::typed(&backend, Cache::None)?;
    let known = known(&store, size)?;
    let python = RefCell::new(Python::start("sqlite", &scratch.copy("sqlite", size, "python")?, Duration::from_secs(60))?);
    let outcome = contest::run(
        rounds,
        &mut [
            Box::new(Doing("ours, 1 thread".to_owned(), WRITES, |picks: &[u64]| touch(&store, &known, picks, 1))),
            Box::new(Doing(format!("ours, {THREADS} threads"), WRITES * THREADS, |picks: &[u64]| {
                touch(&store, &known, picks, THREADS)
            })),
            Box::new(Doing(
                "rusqlite by hand, 1 thread".to_owned(),
                WRITES,
                by_hand::touch(&scratch.copy("sqlite", size, "by-hand")?, size)?,
            )),
            Box::new(Doing("the Python plugin: look up, change last_seen, write".to_owned(), WRITES, |picks: &[u64]| {
                python.borrow_mut().ask("touch", &clients::keys(picks, size))
            })),
        ],
    )?;
    table::print(&format!("SQLite, {size} clients: change last_seen of one client, durable"), &outcome);
    bars.add(format!("SQLite, {size}: writes a second, 8 threads ÷ 1"), Limit::AtLeast(3.0), outcome.ratio(0, 1));
    Ok(())
}

/// The first clients, as many as are changed.
fn known(store: &Clients, size: u64) -> Result<Vec<std::sync::Arc<Client>>, Failure> {
    let found = (0..size.min(1000)).map(|n| {
        let client = pollster::block_on(store.by_access_key(&clients::key(n)))?;
        client.ok_or_else(|| Failure::from("a client is missing"))
    });
    found.collect()
}

/// Changes the clients that the numbers mean, from so many threads at once.
fn touch(store: &Clients, known: &[std::sync::Arc<Client>], picks: &[u64], threads: usize) -> Result<Duration, Failure> {
    let one = |pick: &u64| {
        let at = usize::try_from(*pick).unwrap_or(0) % known.len();
        pollster::block_on(store.touch(&known[at], clients::seen(*pick))).map(drop)
    };
    let start = Instant::now();
    std::thread::scope(|scope| {
        let shares = picks.chunks(picks.len().div_ceil(threads));
        let running: Vec<_> = shares.map(|share| scope.spawn(move || share.iter().try_for_each(one))).collect();
        running.into_iter().try_for_each(|thread| match thread.join() {
            Ok(done) => done.map_err(Failure::from),
            Err(_) => Err("a writing thread panicked".into()),
        })
    })?;
    Ok(start.elapsed())
}
