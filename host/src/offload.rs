//! Where a command's calls run: each in a thread of its own, so that a plugin which does not come back holds nobody up for ever.
//!
//! A command makes few calls, and a thread costs less than any write. A node, which makes many, brings a pool.

use std::collections::BTreeMap;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, Instant};

use hivemind_store::Offload;

type Wake = Box<dyn FnOnce() + Send>;

/// See the module.
#[derive(Debug)]
pub struct Threads {
    timer: Option<Sender<(Instant, Wake)>>,
}

impl Threads {
    /// Starts the thread that watches the time. Without it nobody is woken.
    #[must_use]
    pub fn new() -> Self {
        let (sender, receiver) = mpsc::channel::<(Instant, Wake)>();
        let watch = move || {
            let (mut waiting, mut number) = (BTreeMap::new(), 0_u64);
            loop {
                let next = waiting.first_key_value().map(|((at, _), _): (&(Instant, u64), &Wake)| *at);
                let left = next.map_or(Duration::from_secs(3600), |at| at.saturating_duration_since(Instant::now()));
                match receiver.recv_timeout(left) {
                    Ok((at, wake)) => {
                        number += 1;
                        waiting.insert((at, number), wake);
                    }
                    Err(RecvTimeoutError::Timeout) => {
                        while let Some(entry) = waiting.first_entry().filter(|e| e.key().0 <= Instant::now()) {
                            entry.remove()();
                        }
                    }
                    Err(RecvTimeoutError::Disconnected) => return,
                }
            }
        };
        let watching = thread::Builder::new().name("deadlines".to_owned()).spawn(watch);
        Self { timer: watching.is_ok().then_some(sender) }
    }
}

impl Default for Threads {
    fn default() -> Self {
        Self::new()
    }
}

impl Offload for Threads {
    fn run(&self, job: Box<dyn FnOnce() + Send>) {
        // A thread that cannot be had drops the job, which its caller is told.
        let _ = thread::Builder::new().name("store-call".to_owned()).spawn(job);
    }

    fn wake_after(&self, time: Duration, wake: Box<dyn FnOnce() + Send>) {
        if let (Some(timer), Some(at)) = (&self.timer, Instant::now().checked_add(time)) {
            let _ = timer.send((at, wake));
        }
    }
}
