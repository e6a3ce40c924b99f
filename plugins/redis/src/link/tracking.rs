//! What others changed, told by the server: a connection and a thread for each master.
//!
//! The decision behind it: **silence is no news.** Redis pushes the keys that were written (`CLIENT TRACKING ON BCAST`), but a broken connection
//! pushes nothing either. So the thread asks for an answer on the very connection that the pushes come on, and what it knows counts for one
//! second after the moment up to which every push is known to have come. That moment is the sending of the *last but one* question that was
//! answered: a push and an answer of one turn of the server's loop may leave it in either order, those of different turns may not.
//! Whoever asks later is told that nothing is known, and must read for himself.
//!
//! A connection that is made anew begins with "everything may have changed", and so does a flush.

use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, LazyLock, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use hivemind_abi::Host;
use hivemind_abi::model::{Code, Context, Error, Result};

use self::listener::Listener;
use super::address::Address;
use super::opening::Opening;
use super::route::Route;
use super::socket::Line;

mod listener;

/// For how long what is known counts: the bound that is declared.
pub(crate) const BOUND: Duration = Duration::from_secs(1);
/// How often the server is asked.
const INTERVAL: Duration = Duration::from_millis(200);
/// How often the masters of a cluster are asked who has which slots.
const LOOK: Duration = Duration::from_millis(300);
/// How many changed keys are remembered.
const KEPT: usize = 8192;
/// The pauses between attempts to connect.
const PAUSES: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));

/// What changed since a moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Changed {
    Nothing,
    /// These keys, maybe more than once; our own writes are among them.
    Keys(Vec<Vec<u8>>),
    Everything,
}

/// Where history stands, and what changed. Cheap to ask: two numbers in memory and the clock.
pub(crate) struct Tracking {
    shared: Arc<Shared>,
    supervisor: Mutex<Option<JoinHandle<()>>>,
}

struct Shared {
    /// Counts changes. Begins at 1, so that 0 is a moment before all of them.
    generation: AtomicU64,
    /// Up to when every change is known, in microseconds since [`origin`]; 0 while that is not so for some master.
    known_until: AtomicU64,
    log: Mutex<Log>,
    listeners: Mutex<Listeners>,
    stop: AtomicBool,
    stopped: Condvar,
    stopping: Mutex<()>,
}

#[derive(Default)]
struct Log {
    changes: VecDeque<(u64, Vec<u8>)>,
    /// Before this, something is forgotten or was never known.
    floor: u64,
}

#[derive(Default)]
struct Listeners {
    /// Each master's moment.
    moments: Vec<(Address, u64)>,
    /// When the masters were last known to be these; of no account where there is one for ever.
    looked: u64,
    may_move: bool,
}

fn origin() -> Instant {
    static ORIGIN: LazyLock<Instant> = LazyLock::new(Instant::now);
    *ORIGIN
}

/// Never 0, which means never.
fn moment() -> u64 {
    u64::try_from(origin().elapsed().as_micros()).unwrap_or(u64::MAX).saturating_add(1)
}

impl Tracking {
    pub(crate) fn new() -> Self {
        Self {
            shared: Arc::new(Shared {
                generation: AtomicU64::new(1),
                known_until: AtomicU64::new(0),
                log: Mutex::default(),
                listeners: Mutex::default(),
                stop: AtomicBool::new(false),
                stopped: Condvar::new(),
                stopping: Mutex::new(()),
            }),
            supervisor: Mutex::new(None),
        }
    }

    /// Where history stands now; `None` while that is not known well enough, and nothing from before must be served unread.
    pub(crate) fn now(&self) -> Option<u64> {
        let until = self.shared.known_until.load(Ordering::Acquire);
        let bound = u64::try_from(BOUND.as_micros()).unwrap_or(u64::MAX);
        if until == 0 || moment().saturating_sub(until) > bound {
            return None;
        }
        Some(self.shared.generation.load(Ordering::Acquire))
    }

    /// What was told so far, be it enough to rely on or not.
    pub(crate) fn heard(&self) -> u64 {
        self.shared.generation.load(Ordering::Acquire)
    }

    /// What was told so far, and since `generation`, be it all that happened or not.
    pub(crate) fn told(&self, generation: u64) -> (u64, Changed) {
        let log = self.shared.log();
        let now = self.heard();
        if now == generation {
            return (now, Changed::Nothing);
        }
        if generation < log.floor || generation > now {
            return (now, Changed::Everything);
        }
        let first = log.changes.partition_point(|(at, _)| *at <= generation);
        (now, Changed::Keys(log.changes.range(first..).take_while(|(at, _)| *at <= now).map(|(_, key)| key.clone()).collect()))
    }

    /// Where history stands now and what changed since `generation`; `None` as in [`Tracking::now`].
    pub(crate) fn since(&self, generation: u64) -> Option<(u64, Changed)> {
        let now = self.now()?;
        if now == generation { Some((now, Changed::Nothing)) } else { Some(self.told(generation)) }
    }

    /// Begins to listen for keys with these prefixes, none of which may begin another. `false`, said once in the log, if the server does
    /// not let us: changes are not tracked then.
    ///
    /// # Errors
    /// What keeps us from asking: `unavailable`, `deadline`.
    pub(crate) fn start(&self, route: &Arc<Route>, prefixes: Vec<Vec<u8>>, host: &Host, cx: &Context<'_>) -> Result<bool> {
        let places = route.masters(cx, true).map_err(|failure| failure.error)?;
        let prefixes: Arc<[Vec<u8>]> = prefixes.into();
        let mut listeners = Vec::new();
        for place in &places {
            let opening = Opening { protocol: 3, ..place.opening().clone() };
            let listener = Listener::new(place.address().clone(), opening, Arc::clone(&prefixes), host.clone());
            match listener.connected(cx) {
                Ok(listener) => listeners.push(listener),
                Err(failure) if matches!(failure.error.code(), Code::Denied | Code::Unsupported | Code::Io) => {
                    let error = failure.error;
                    host.warn(&format!(
                        "changes by others are not tracked, so every lookup asks the server: {}",
                        error.message()
                    ));
                    return Ok(false);
                }
                Err(failure) => return Err(failure.error),
            }
        }
        self.shared.listen_at(&places.iter().map(|p| p.address().clone()).collect::<Vec<_>>(), route);
        let supervisor = Supervisor {
            shared: Arc::clone(&self.shared),
            route: Arc::clone(route),
            prefixes,
            host: host.clone(),
            threads: Vec::new(),
        };
        let thread = std::thread::Builder::new().name("redis-tracking".to_owned()).spawn(move || supervisor.run(listeners));
        let thread = thread.map_err(|e| Error::io(format!("cannot start a thread: {e}")))?;
        *self.supervisor.lock().unwrap_or_else(PoisonError::into_inner) = Some(thread);
        Ok(true)
    }

    /// Ends the threads.
    pub(crate) fn stop(&self) {
        self.shared.stop.store(true, Ordering::Release);
        self.shared.known_until.store(0, Ordering::Release);
        drop(self.shared.stopping.lock());
        self.shared.stopped.notify_all();
        let thread = self.supervisor.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            let _ = thread.join();
        }
    }
}

impl Drop for Tracking {
    fn drop(&mut self) {
        self.stop();
    }
}

impl fmt::Debug for Tracking {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tracking").field("now", &self.now()).finish_non_exhaustive()
    }
}

impl Shared {
    fn log(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn listeners(&self) -> MutexGuard<'_, Listeners> {
        self.listeners.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_stopping(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }

    /// Sleeps, but not when all is to end.
    fn pause(&self, pause: Duration) {
        let guard = self.stopping.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.stopped.wait_timeout_while(guard, pause, |()| !self.is_stopping());
        drop(waited);
    }

    /// This key was written.
    fn changed(&self, key: Vec<u8>) {
        let mut log = self.log();
        let generation = self.generation.load(Ordering::Relaxed) + 1;
        log.changes.push_back((generation, key));
        if log.changes.len() > KEPT
            && let Some((forgotten, _)) = log.changes.pop_front()
        {
            log.floor = forgotten;
        }
        self.generation.store(generation, Ordering::Release);
    }

    /// Anything may have been written.
    fn everything(&self) {
        let mut log = self.log();
        let generation = self.generation.load(Ordering::Relaxed) + 1;
        log.changes.clear();
        log.floor = generation;
        self.generation.store(generation, Ordering::Release);
    }

    /// Up to this moment every change at this master is known; 0: it is not.
    fn known(&self, address: &Address, moment: u64) {
        let mut listeners = self.listeners();
        if let Some((_, at)) = listeners.moments.iter_mut().find(|(known, _)| known == address) {
            *at = moment;
        }
        self.settle(&listeners);
    }

    fn settle(&self, listeners: &Listeners) {
        let known = listeners.moments.iter().map(|(_, at)| *at).min().unwrap_or(0);
        let until = if listeners.may_move { known.min(listeners.looked) } else { known };
        self.known_until.store(if self.is_stopping() { 0 } else { until }, Ordering::Release);
    }

    /// These are the masters now. New ones are not listened to yet.
    fn listen_at(&self, addresses: &[Address], route: &Route) {
        let mut listeners = self.listeners();
        let known = std::mem::take(&mut listeners.moments);
        let at = |address: &Address| known.iter().find(|(k, _)| k == address).map_or(0, |(_, at)| *at);
        listeners.moments = addresses.iter().map(|address| (address.clone(), at(address))).collect();
        listeners.looked = moment();
        listeners.may_move = !matches!(route, Route::Single(_));
        self.settle(&listeners);
    }
}

/// Keeps a listener at every master there is.
struct Supervisor {
    shared: Arc<Shared>,
    route: Arc<Route>,
    prefixes: Arc<[Vec<u8>]>,
    host: Host,
    threads: Vec<(Address, Arc<Signal>, JoinHandle<()>)>,
}

/// Ends a listener, which waits for its server most of the time.
#[derive(Default)]
struct Signal {
    is_over: AtomicBool,
    line: Mutex<Option<Line>>,
}

impl Signal {
    fn line(&self) -> MutexGuard<'_, Option<Line>> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn raise(&self) {
        self.is_over.store(true, Ordering::Release);
        if let Some(line) = self.line().take() {
            line.hang_up();
        }
    }
}

impl Supervisor {
    fn run(mut self, listeners: Vec<Listener>) {
        for listener in listeners {
            self.launch(listener);
        }
        while !self.shared.is_stopping() {
            self.shared.pause(LOOK);
            // What a cluster says counts from when it was asked.
            let asked = moment();
            let cx = Context::within(BOUND).cancelled_by(&self.shared.stop);
            let Ok(places) = self.route.masters(&cx, true) else { continue };
            let addresses: Vec<Address> = places.iter().map(|place| place.address().clone()).collect();
            let is_same = self.threads.len() == addresses.len() && self.threads.iter().all(|(a, _, _)| addresses.contains(a));
            if is_same {
                let mut known = self.shared.listeners();
                known.looked = asked;
                self.shared.settle(&known);
                continue;
            }
            self.shared.listen_at(&addresses, &self.route);
            self.end(|address| !addresses.contains(address));
            for place in places {
                if self.threads.iter().all(|(address, _, _)| address != place.address()) {
                    let opening = Opening { protocol: 3, ..place.opening().clone() };
                    self.launch(Listener::new(place.address().clone(), opening, Arc::clone(&self.prefixes), self.host.clone()));
                }
            }
        }
        self.end(|_| true);
    }

    fn launch(&mut self, mut listener: Listener) {
        let (shared, signal) = (Arc::clone(&self.shared), Arc::new(Signal::default()));
        let address = listener.address().clone();
        let heard = Arc::clone(&signal);
        let thread = std::thread::Builder::new().name("redis-listen".to_owned()).spawn(move || listener.run(&shared, &heard));
        // Without one, this master's moment stays 0, and the next look tries again.
        if let Ok(thread) = thread {
            self.threads.push((address, signal, thread));
        }
    }

    fn end(&mut self, which: impl Fn(&Address) -> bool) {
        let (over, on): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.threads).into_iter().partition(|(address, _, _)| which(address));
        self.threads = on;
        for (_, signal, _) in &over {
            signal.raise();
        }
        for (_, _, thread) in over {
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests;
