//! Doing things from several threads at once.

use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use hivemind_model::{Error, Result};

use crate::case::{Checked, Failure, panic_text};

/// How many threads race. More than the cores of a small machine, so that they are interrupted in odd places too.
pub(crate) const THREADS: usize = 6;

/// Runs `work` in [`THREADS`] threads that start together, and gives each one's result.
pub(crate) fn together<T: Send>(work: impl Fn(usize) -> Checked<T> + Sync) -> Checked<Vec<T>> {
    let barrier = Barrier::new(THREADS);
    let run = |number: usize| {
        barrier.wait();
        work(number)
    };
    thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS).map(|number| scope.spawn(move || run_one(&run, number))).collect();
        threads.into_iter().map(joined).collect()
    })
}

fn run_one<T>(run: &impl Fn(usize) -> Checked<T>, number: usize) -> Checked<T> {
    run(number)
}

/// What a thread gave; its panic is a failure.
pub(crate) fn joined<T>(thread: thread::ScopedJoinHandle<'_, Checked<T>>) -> Checked<T> {
    match thread.join() {
        Ok(result) => result,
        Err(panic) => Err(Failure::wrong(format!("expected an answer, found a panic: {}", panic_text(&*panic)))),
    }
}

/// Repeats a call as long as its error says that it may be repeated, as any caller under contention does.
pub(crate) fn patiently<T>(mut call: impl FnMut() -> Result<T, Error>) -> Result<T, Error> {
    let until = Instant::now() + Duration::from_secs(60);
    loop {
        match call() {
            Err(error) if error.retryable() && Instant::now() < until => thread::sleep(Duration::from_millis(1)),
            answer => return answer,
        }
    }
}

/// Asks again and again until it holds or `limit` is over. Asks once at least, at once.
pub(crate) fn eventually(limit: Duration, mut holds: impl FnMut() -> Checked<bool>) -> Checked<bool> {
    let started = Instant::now();
    loop {
        if holds()? {
            return Ok(true);
        }
        if started.elapsed() >= limit {
            return Ok(false);
        }
        thread::sleep(Duration::from_millis(1));
    }
}
