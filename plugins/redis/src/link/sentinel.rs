//! The master, as the Sentinels know it.
//!
//! The decision behind it: **a master is believed only when it says so itself.** Sentinels name the old one until they have agreed on
//! a new one, so each new connection's greeting must say `master`; what is none is asked for again. After every failure that a failover
//! may explain, the Sentinels are asked anew, one after another, beginning with the one that answered last.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::Duration;

use hivemind_abi::model::{Code, Context, Error};
use redis::{Value, cmd};

use super::address::Address;
use super::failure::{Failure, Then, printable, refused};
use super::limit::Limit;
use super::opening::Opening;
use super::place::Place;
use super::pool::closed;
use super::server::Mode;
use super::value::{items, text};

/// How often who waits for another's question looks for its answer.
const GLANCE: Duration = Duration::from_millis(2);

/// The Sentinels, and the master they named last.
pub(crate) struct Sentinels {
    addresses: Vec<Address>,
    name: String,
    theirs: Opening,
    opening: Arc<Opening>,
    capacity: usize,
    /// Where asking begins.
    last: AtomicUsize,
    /// Whether `current` may be the master no more.
    doubted: AtomicBool,
    closed: AtomicBool,
    current: Mutex<Option<Place>>,
    asking: Mutex<()>,
}

impl Sentinels {
    pub(crate) fn new(addresses: Vec<Address>, name: String, theirs: Opening, opening: Arc<Opening>, capacity: usize) -> Self {
        Self {
            addresses,
            name,
            theirs,
            opening,
            capacity,
            last: AtomicUsize::new(0),
            doubted: AtomicBool::new(true),
            closed: AtomicBool::new(false),
            current: Mutex::new(None),
            asking: Mutex::new(()),
        }
    }

    fn current(&self) -> MutexGuard<'_, Option<Place>> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The master.
    pub(crate) fn master(&self, cx: &Context<'_>) -> Result<Place, Failure> {
        if self.closed.load(Ordering::Acquire) {
            return Err(Failure::new(closed(), Then::GiveUp));
        }
        if !self.doubted.load(Ordering::Acquire)
            && let Some(place) = &*self.current()
        {
            return Ok(place.clone());
        }
        // One asks for all, or each would renew the connections that another has just made.
        let _asking = loop {
            match self.asking.try_lock() {
                Ok(guard) => break guard,
                Err(TryLockError::Poisoned(poisoned)) => break poisoned.into_inner(),
                Err(TryLockError::WouldBlock) => {
                    cx.check().map_err(|error| Failure::new(error.context("waiting for the Sentinels"), Then::GiveUp))?;
                    std::thread::sleep(cx.remaining_or(GLANCE));
                }
            }
        };
        if !self.doubted.load(Ordering::Acquire)
            && let Some(place) = &*self.current()
        {
            return Ok(place.clone());
        }
        let place = self.ask(cx)?;
        self.doubted.store(false, Ordering::Release);
        Ok(place)
    }

    /// Asks the Sentinels, and sees that who they name is a master.
    fn ask(&self, cx: &Context<'_>) -> Result<Place, Failure> {
        let begin = self.last.load(Ordering::Relaxed);
        let mut said: Vec<String> = Vec::new();
        for step in 0..self.addresses.len() {
            let at = (begin + step) % self.addresses.len();
            let sentinel = &self.addresses[at];
            match self.ask_one(sentinel, cx).and_then(|address| self.at(address, cx)) {
                Ok(place) => {
                    self.last.store(at, Ordering::Relaxed);
                    return Ok(place);
                }
                Err(failure) if cx.check().is_err() => return Err(failure),
                Err(failure) => {
                    if failure.error.code() == Code::Denied {
                        return Err(failure);
                    }
                    said.push(failure.error.message().to_owned());
                }
            }
        }
        let message =
            format!("no Sentinel of {} leads to a master called {:?}: {}", self.addresses.len(), self.name, said.join("; "));
        Err(Failure::new(Error::unavailable(message).known_not_applied(), Then::Look))
    }

    fn ask_one(&self, sentinel: &Address, cx: &Context<'_>) -> Result<Address, Failure> {
        let mut connection = self.theirs.open(sentinel, cx)?;
        let bounded = super::opening::bounded(cx, self.theirs.timeout);
        let mut limit = Limit::new(&bounded, self.theirs.timeout);
        if connection.server().mode != Mode::Sentinel {
            let message = format!("{sentinel} is no Sentinel but a Redis server; name it in host and port, and not in sentinels");
            return Err(Failure::new(Error::invalid(message).place(sentinel.to_string()), Then::GiveUp));
        }
        let mut question = cmd("SENTINEL");
        question.arg("get-master-addr-by-name").arg(&self.name);
        let cut = |cut: super::failure::Cut| Failure { maybe_applied: false, ..cut.at(sentinel) };
        let answer = connection.ask(&mut limit, &question).map_err(cut)?;
        if let Value::ServerError(error) = &answer {
            return Err(refused(error, "SENTINEL", &self.theirs.login.user, sentinel));
        }
        let place = items(&answer).and_then(|parts| match parts {
            [host, port] => Some(Address::tcp(text(host)?, text(port)?.parse().ok()?)),
            _ => None,
        });
        place.ok_or_else(|| {
            let names = connection.ask(&mut limit, cmd("SENTINEL").arg("masters")).ok().as_ref().map(master_names);
            let known = names.filter(|n| !n.is_empty()).map_or_else(|| "none".to_owned(), |n| printable(&n.join(", ")));
            let message =
                format!("{sentinel} knows no master called {:?}, only: {known}; check the setting sentinel_master", self.name);
            Failure::new(Error::unavailable(message).known_not_applied().place(sentinel.to_string()), Then::Look)
        })
    }

    /// The place at this address, when a new connection to it says that it is a master.
    fn at(&self, address: Address, cx: &Context<'_>) -> Result<Place, Failure> {
        let known = self.current().as_ref().filter(|place| *place.address() == address).cloned();
        let place = known.unwrap_or_else(|| Place::new(address, self.capacity, Arc::clone(&self.opening)));
        // Idle connections were made when it was one.
        place.pool().renew();
        place.greet(cx)?;
        let old = self.current().replace(place.clone());
        if let Some(old) = old.filter(|old| old.address() != place.address()) {
            old.pool().close();
        }
        if self.closed.load(Ordering::Acquire) {
            place.pool().close();
        }
        Ok(place)
    }

    pub(crate) fn look_again(&self) {
        self.doubted.store(true, Ordering::Release);
    }

    pub(crate) fn address(&self) -> Address {
        let current = self.current().as_ref().map(|place| place.address().clone());
        current.unwrap_or_else(|| self.addresses[0].clone())
    }

    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::Release);
        if let Some(place) = &*self.current() {
            place.pool().close();
        }
    }
}

fn master_names(masters: &Value) -> Vec<String> {
    let name = |master: &Value| {
        let pairs = super::value::pairs(master)?;
        pairs.iter().find(|(key, _)| text(key) == Some("name")).and_then(|(_, v)| text(v)).map(str::to_owned)
    };
    items(masters).unwrap_or_default().iter().filter_map(name).collect()
}
