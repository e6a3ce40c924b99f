//! The threads of a node: a bounded number, started when there is work and ended when there is none for a while, behind a bounded queue.
//!
//! They are apart from the network's own, so that a backend that does not answer fills these and nothing else. A job that finds the
//! queue full is dropped, which its caller is told as `unavailable`; one whose caller has given up waiting is skipped when it is
//! reached.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use hivemind_store::{Offload, Wake};

use super::Deadlines;

type Job = Box<dyn FnOnce() + Send>;

/// Jobs that wait for each thread, before they are refused.
const WAITING: usize = 1024;

/// How long a thread waits for more to do.
const IDLE: Duration = Duration::from_secs(20);

/// See the module.
#[derive(Debug)]
pub struct Pool {
    shared: Arc<Shared>,
    deadlines: Deadlines,
}

#[derive(Debug)]
struct Shared {
    most: usize,
    state: Mutex<State>,
    work: Condvar,
}

#[derive(Default)]
struct State {
    jobs: VecDeque<Job>,
    threads: usize,
    idle: usize,
    is_over: bool,
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("State").field("jobs", &self.jobs.len()).field("threads", &self.threads).finish_non_exhaustive()
    }
}

impl Pool {
    /// A pool of up to so many threads. None is started yet, but for the one that watches the time.
    #[must_use]
    pub fn new(most: usize) -> Self {
        let shared = Shared { most: most.max(1), state: Mutex::default(), work: Condvar::new() };
        Self { shared: Arc::new(shared), deadlines: Deadlines::default() }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn work(&self) {
        let mut state = self.state();
        loop {
            if let Some(job) = state.jobs.pop_front() {
                drop(state);
                // A job that panics is its caller's loss, not this thread's.
                let _ = catch_unwind(AssertUnwindSafe(job));
                state = self.state();
                continue;
            }
            if state.is_over {
                break;
            }
            state.idle += 1;
            let (woken, waited) = self.work.wait_timeout(state, IDLE).unwrap_or_else(PoisonError::into_inner);
            state = woken;
            state.idle -= 1;
            if waited.timed_out() && state.jobs.is_empty() {
                break;
            }
        }
        state.threads -= 1;
    }
}

impl Offload for Pool {
    fn run(&self, job: Job) {
        let mut state = self.shared.state();
        if state.jobs.len() >= WAITING * self.shared.most {
            return;
        }
        state.jobs.push_back(job);
        if state.idle >= state.jobs.len() || state.threads >= self.shared.most {
            drop(state);
            self.shared.work.notify_one();
            return;
        }
        state.threads += 1;
        drop(state);
        let shared = Arc::clone(&self.shared);
        if thread::Builder::new().name("store-call".to_owned()).spawn(move || shared.work()).is_err() {
            let mut state = self.shared.state();
            state.threads -= 1;
            if state.threads == 0 {
                // Nobody would ever do them.
                state.jobs.clear();
            }
        }
    }

    fn wake_after(&self, time: Duration, wake: Box<dyn Wake>) {
        self.deadlines.wake_after(time, wake);
    }
}

impl Drop for Pool {
    /// The threads end when all that was asked for is done. They are not waited for: one may be in a call that does not come back.
    fn drop(&mut self) {
        self.shared.state().is_over = true;
        self.shared.work.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn all_jobs_are_done_by_no_more_threads_than_allowed() {
        let pool = Pool::new(3);
        let (at_once, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let (sender, receiver) = mpsc::channel();
        for n in 0..500 {
            let (at_once, most, sender) = (Arc::clone(&at_once), Arc::clone(&most), sender.clone());
            pool.run(Box::new(move || {
                most.fetch_max(at_once.fetch_add(1, SeqCst) + 1, SeqCst);
                thread::yield_now();
                at_once.fetch_sub(1, SeqCst);
                sender.send(n).expect("received");
                assert!(n % 50 != 7, "a job that dies takes nobody along");
            }));
        }
        drop((pool, sender));
        let mut done: Vec<i32> = receiver.iter().collect();
        done.sort_unstable();
        assert_eq!(done, (0..500).collect::<Vec<_>>());
        assert!((1..=3).contains(&most.load(SeqCst)));
    }

    #[test]
    fn what_does_not_fit_is_dropped_and_not_kept() {
        let pool = Pool::new(1);
        let (hold, held) = mpsc::channel::<()>();
        let (began, begins) = mpsc::channel();
        pool.run(Box::new(move || {
            began.send(()).expect("received");
            let _ = held.recv();
        }));
        begins.recv().expect("the thread has begun");
        let dropped = Arc::new(());
        for _ in 0..WAITING + 100 {
            let mine = Arc::clone(&dropped);
            pool.run(Box::new(move || drop(mine)));
        }
        assert_eq!(Arc::strong_count(&dropped), 1 + WAITING);
        drop(hold);
    }
}
