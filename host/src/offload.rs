//! Where a command's calls run: each in a thread of its own, so that a plugin which does not come back holds nobody up for ever. Two
//! kinds run on the caller's thread all the same: opening a store, and look-ups of a backend that promises never to block on them.
//!
//! A command makes few calls, and a thread costs less than any write. A node, which makes many, brings a [`Pool`].

mod pool;

pub use pool::Pool;

use std::collections::BTreeMap;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, Instant};

use hivemind_store::{Offload, Wake};

type Alarm = (Instant, Box<dyn Wake>);

/// See the module.
#[derive(Debug, Default)]
pub struct Threads {
    deadlines: Deadlines,
}

impl Threads {
    /// Starts the thread that watches the time. Without it nobody is woken.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }
}

/// The thread that watches the time.
#[derive(Debug)]
struct Deadlines(Option<Sender<Alarm>>);

impl Default for Deadlines {
    fn default() -> Self {
        let (sender, receiver) = mpsc::channel();
        let watching = thread::Builder::new().name("deadlines".to_owned()).spawn(move || Alarms::default().watch(&receiver));
        Self(watching.is_ok().then_some(sender))
    }
}

impl Deadlines {
    fn wake_after(&self, time: Duration, wake: Box<dyn Wake>) {
        if let (Some(timer), Some(at)) = (&self.0, Instant::now().checked_add(time)) {
            let _ = timer.send((at, wake));
        }
    }
}

/// The fewest alarms among which those of finished calls are looked for.
const FEW: usize = 64;

/// Alarms by the time they are due, and among those of one time by number.
#[derive(Default)]
struct Alarms {
    waiting: BTreeMap<(Instant, u64), Box<dyn Wake>>,
    number: u64,
    /// How many there were left when those of finished calls were last dropped.
    kept: usize,
}

impl Alarms {
    fn watch(mut self, receiver: &Receiver<Alarm>) {
        loop {
            // Before each new one, or a stream of calls would keep the due ones waiting.
            self.wake_due(Instant::now());
            let next = self.waiting.first_key_value().map(|((at, _), _)| *at);
            let left = next.map_or(Duration::from_secs(3600), |at| at.saturating_duration_since(Instant::now()));
            match receiver.recv_timeout(left) {
                Ok((at, wake)) => self.add(at, wake),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    fn wake_due(&mut self, now: Instant) {
        while let Some(entry) = self.waiting.first_entry().filter(|e| e.key().0 <= now) {
            entry.remove().wake();
        }
    }

    /// Looks through all of them whenever they have doubled, so that each costs little and no more than twice the running calls stay.
    fn add(&mut self, at: Instant, wake: Box<dyn Wake>) {
        self.number += 1;
        self.waiting.insert((at, self.number), wake);
        if self.waiting.len() >= (self.kept * 2).max(FEW) {
            self.waiting.retain(|_, wake| !wake.is_over());
            self.kept = self.waiting.len();
        }
    }
}

impl Offload for Threads {
    fn run(&self, job: Box<dyn FnOnce() + Send>) {
        // A thread that cannot be had drops the job, which its caller is told.
        let _ = thread::Builder::new().name("store-call".to_owned()).spawn(job);
    }

    fn wake_after(&self, time: Duration, wake: Box<dyn Wake>) {
        self.deadlines.wake_after(time, wake);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

    use super::*;

    struct Counted(bool, Arc<AtomicUsize>);

    impl Wake for Counted {
        fn is_over(&self) -> bool {
            self.0
        }

        fn wake(self: Box<Self>) {
            self.1.fetch_add(1, SeqCst);
        }
    }

    #[test]
    fn alarms_of_finished_calls_do_not_pile_up_and_the_others_stay() {
        let (mut alarms, woken, now) = (Alarms::default(), Arc::new(AtomicUsize::new(0)), Instant::now());
        for n in 0..10_000 {
            alarms.add(now + Duration::from_secs(16), Box::new(Counted(n % 100 != 0, Arc::clone(&woken))));
        }
        assert!(alarms.waiting.len() < 300, "{} of 10,000, of which 100 still run", alarms.waiting.len());
        alarms.wake_due(now);
        assert_eq!(woken.load(SeqCst), 0);
        alarms.wake_due(now + Duration::from_secs(17));
        assert!(woken.load(SeqCst) >= 100 && alarms.waiting.is_empty());
    }

    /// With no pause between the calls there is no timeout ever.
    #[test]
    fn a_due_alarm_rings_before_the_next_one_is_taken() {
        let (sender, receiver) = mpsc::channel();
        let woken = Arc::new(AtomicUsize::new(0));
        for _ in 0..10 {
            sender.send((Instant::now(), Box::new(Counted(false, Arc::clone(&woken))) as Box<dyn Wake>)).expect("received");
        }
        drop(sender);
        Alarms::default().watch(&receiver);
        assert_eq!(woken.load(SeqCst), 10);
    }
}
