//! The masters of a Redis Cluster, and who has which slot.
//!
//! The map is learned from any node that answers, and mended by what the nodes say: `MOVED` names the new owner of a slot and makes the
//! map be learned anew before the next call, `ASK` names where one call is to go while a slot is on its way. A redirected call was not
//! carried out, so following one repeats nothing.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use hivemind_abi::model::{Code, Context, Error};
use redis::{ServerError, Value, cmd};

use super::address::Address;
use super::exchange::{Asking, Exchange, One};
use super::failure::{Failure, Then};
use super::opening::Opening;
use super::place::Place;
use super::pool::closed;
use super::route::nowhere;
use super::slot::SLOTS;
use super::value::{integer, items, text};

/// How often a call is redirected before the cluster is taken for undecided.
const MOST_REDIRECTIONS: usize = 8;

pub(crate) struct Cluster {
    seeds: Vec<Address>,
    opening: Arc<Opening>,
    capacity: usize,
    map: RwLock<Map>,
    /// Whether the map may be wrong.
    doubted: AtomicBool,
    learning: Mutex<()>,
    closed: AtomicBool,
}

#[derive(Default)]
struct Map {
    places: HashMap<Address, Place>,
    /// For each slot its master's place, by number; empty before the first map.
    owners: Vec<Option<Place>>,
}

impl Cluster {
    pub(crate) fn new(seeds: Vec<Address>, opening: Arc<Opening>, capacity: usize) -> Self {
        Self {
            seeds,
            opening,
            capacity,
            map: RwLock::default(),
            doubted: AtomicBool::new(true),
            learning: Mutex::default(),
            closed: AtomicBool::new(false),
        }
    }

    /// Asks once, and follows redirections.
    pub(crate) fn attempt<E: Exchange>(&self, cx: &Context<'_>, exchange: &E, wanted: &[&str]) -> Result<E::Reply, Failure> {
        let mut accepted = vec!["MOVED", "ASK"];
        accepted.extend(wanted);
        let mut place = self.place(cx, exchange.slot())?;
        let mut is_asking = false;
        for _ in 0..MOST_REDIRECTIONS {
            let reply = if is_asking {
                place.attempt(cx, &Asking(exchange), &accepted)?
            } else {
                place.attempt(cx, exchange, &accepted)?
            };
            let Some((slot, address)) = exchange.refusal(&reply).and_then(|error| redirection(error, place.address())) else {
                return Ok(reply);
            };
            is_asking = exchange.refusal(&reply).is_some_and(|error| error.code() == "ASK");
            place = self.place_at(address)?;
            if !is_asking {
                self.moved(slot, &place);
            }
        }
        Err(nowhere(format!(
            "{} sent us on {MOST_REDIRECTIONS} times; the cluster has not decided who has the slot",
            place.address()
        )))
    }

    /// The master of a slot, or some master.
    pub(crate) fn place(&self, cx: &Context<'_>, slot: Option<u16>) -> Result<Place, Failure> {
        if self.doubted.load(Ordering::Acquire) {
            self.learn(cx, false)?;
        }
        let map = self.map.read().unwrap_or_else(PoisonError::into_inner);
        let found = match slot {
            Some(slot) => map.owners.get(usize::from(slot)).cloned().flatten(),
            None => map.owners.iter().flatten().next().cloned(),
        };
        found.ok_or_else(|| {
            self.look_again();
            nowhere(format!(
                "the cluster of {} has no master for slot {}; see CLUSTER INFO there",
                self.address(),
                slot.unwrap_or(0)
            ))
        })
    }

    /// Every master that has a slot.
    pub(crate) fn masters(&self, cx: &Context<'_>, fresh: bool) -> Result<Vec<Place>, Failure> {
        if fresh || self.doubted.load(Ordering::Acquire) {
            self.learn(cx, fresh)?;
        }
        let map = self.map.read().unwrap_or_else(PoisonError::into_inner);
        let mut masters: Vec<Place> = Vec::new();
        for place in map.owners.iter().flatten() {
            if masters.last().is_none_or(|last| last.address() != place.address())
                && masters.iter().all(|known| known.address() != place.address())
            {
                masters.push(place.clone());
            }
        }
        Ok(masters)
    }

    pub(crate) fn look_again(&self) {
        self.doubted.store(true, Ordering::Release);
    }

    fn place_at(&self, address: Address) -> Result<Place, Failure> {
        if self.closed.load(Ordering::Acquire) {
            return Err(Failure::new(closed(), Then::GiveUp));
        }
        let mut map = self.map.write().unwrap_or_else(PoisonError::into_inner);
        Ok(map.place(address, self.capacity, &self.opening))
    }

    fn moved(&self, slot: u16, place: &Place) {
        let mut map = self.map.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(owner) = map.owners.get_mut(usize::from(slot)) {
            *owner = Some(place.clone());
        }
        drop(map);
        self.look_again();
    }

    /// Asks the nodes that are known, and then the configured ones, for the map. `fresh`: a map that is being asked for already will not do.
    pub(crate) fn learn(&self, cx: &Context<'_>, fresh: bool) -> Result<(), Failure> {
        if self.closed.load(Ordering::Acquire) {
            return Err(Failure::new(closed(), Then::GiveUp));
        }
        // Others who come meanwhile go by the old map, and are redirected where it is wrong.
        let _guard = match self.learning.try_lock() {
            Ok(guard) => guard,
            Err(std::sync::TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(std::sync::TryLockError::WouldBlock) if self.has_map() && !fresh => return Ok(()),
            Err(std::sync::TryLockError::WouldBlock) => {
                return Err(nowhere("another call is asking the cluster who has which slot".to_owned()));
            }
        };
        let mut said = Vec::new();
        for address in self.candidates() {
            match self.map_of(&address, cx) {
                Ok(owners) => {
                    self.adopt(&owners);
                    self.doubted.store(false, Ordering::Release);
                    return Ok(());
                }
                Err(failure) if cx.check().is_err() => return Err(failure),
                Err(failure) => {
                    if matches!(failure.error.code(), Code::Denied | Code::Unsupported | Code::Invalid) {
                        return Err(failure);
                    }
                    said.push(failure.error.message().to_owned());
                }
            }
        }
        Err(nowhere(format!("no node of the cluster says who has which slot: {}", said.join("; "))))
    }

    fn has_map(&self) -> bool {
        !self.map.read().unwrap_or_else(PoisonError::into_inner).owners.is_empty()
    }

    fn candidates(&self) -> Vec<Address> {
        let map = self.map.read().unwrap_or_else(PoisonError::into_inner);
        let mut known: Vec<Address> = map.places.keys().cloned().collect();
        fastrand::shuffle(&mut known);
        known.extend(self.seeds.iter().filter(|seed| !map.places.contains_key(*seed)).cloned());
        known
    }

    fn map_of(&self, address: &Address, cx: &Context<'_>) -> Result<Vec<(u16, u16, Address)>, Failure> {
        let known = self.map.read().unwrap_or_else(PoisonError::into_inner).places.get(address).cloned();
        let place = known.unwrap_or_else(|| Place::new(address.clone(), 1, Arc::clone(&self.opening)));
        let mut question = cmd("CLUSTER");
        question.arg("SLOTS");
        // A node that is down must not use up all of the caller's time.
        let bounded = super::opening::bounded(cx, self.opening.timeout);
        let answer = place.attempt(&bounded, &One(&question), &[]).map_err(|mut failure| {
            if failure.error.message().contains("cluster support disabled") {
                failure.error = Error::invalid(format!(
                    "{address} is no part of a cluster; name it in host and port, and not in cluster_nodes"
                ));
            }
            Failure { maybe_applied: false, ..failure }
        })?;
        let ranges = items(&answer).unwrap_or_default().iter().map(|range| read_range(range, address));
        let ranges: Option<Vec<_>> = ranges.collect();
        ranges.filter(|r| !r.is_empty()).ok_or_else(|| nowhere(format!("{address} knows of no slot that anybody has")))
    }

    fn adopt(&self, ranges: &[(u16, u16, Address)]) {
        let mut map = self.map.write().unwrap_or_else(PoisonError::into_inner);
        let mut owners: Vec<Option<Place>> = vec![None; usize::from(SLOTS)];
        for (from, to, address) in ranges {
            let place = map.place(address.clone(), self.capacity, &self.opening);
            for owner in owners.iter_mut().take(usize::from(*to) + 1).skip(usize::from(*from)) {
                *owner = Some(place.clone());
            }
        }
        map.owners = owners;
        // What owns nothing is a replica or gone; its connections are of no use.
        let gone: Vec<Address> =
            map.places.keys().filter(|known| !ranges.iter().any(|(_, _, owner)| owner == *known)).cloned().collect();
        for address in gone {
            if let Some(place) = map.places.remove(&address) {
                place.pool().close();
            }
        }
    }

    pub(crate) fn address(&self) -> Address {
        self.seeds[0].clone()
    }

    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::Release);
        let map = self.map.read().unwrap_or_else(PoisonError::into_inner);
        for place in map.places.values() {
            place.pool().close();
        }
    }
}

impl Map {
    fn place(&mut self, address: Address, capacity: usize, opening: &Arc<Opening>) -> Place {
        let known = self.places.entry(address.clone());
        known.or_insert_with(|| Place::new(address, capacity, Arc::clone(opening))).clone()
    }
}

/// `MOVED 3999 127.0.0.1:6381`; without a host it is the one that says so.
fn redirection(error: &ServerError, said_by: &Address) -> Option<(u16, Address)> {
    if !matches!(error.code(), "MOVED" | "ASK") {
        return None;
    }
    let (slot, place) = error.details()?.split_once(' ')?;
    Some((slot.parse().ok()?, located(Address::parse(place)?, said_by)))
}

/// From, to, and who has them: `[from, to, [host, port, …], replicas…]`.
fn read_range(range: &Value, said_by: &Address) -> Option<(u16, u16, Address)> {
    let [from, to, master, ..] = items(range)? else { return None };
    let [host, port, ..] = items(master)? else { return None };
    let slot = |value| u16::try_from(integer(value)?).ok().filter(|slot| *slot < SLOTS);
    let port = u16::try_from(integer(port)?).ok()?;
    // Where hosts have no name to give, none or `?` stands for the one that answers.
    let host = text(host).filter(|host| *host != "?").unwrap_or_default();
    Some((slot(from)?, slot(to)?, located(Address::tcp(host, port), said_by)))
}

fn located(address: Address, said_by: &Address) -> Address {
    match (address, said_by) {
        (Address::Tcp(host, port), Address::Tcp(same, _)) if host.is_empty() => Address::Tcp(Arc::clone(same), port),
        (address, _) => address,
    }
}
