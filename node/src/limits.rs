//! What strangers can make the node hold: connections, those of one address, and those that have not proved anything yet.
//!
//! Whoever opens connections and leaves them so cannot lock out others: when there are too many unfinished handshakes, the oldest gives
//! way to the newest, first among those that have not even named a known access key. An honest satellite needs a second; who dawdles
//! pays. And whoever was told to go, and waits until it is gone, gives way to anybody.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::settings::Limits;

/// Counts connections and lets in as many as are allowed.
#[derive(Debug)]
pub(crate) struct Gate {
    limits: Limits,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    connections: usize,
    addresses: HashMap<IpAddr, usize>,
    next: u64,
    /// Handshakes by age: those that have named no known access key, and those that have.
    strangers: BTreeMap<u64, Arc<Notify>>,
    named: BTreeMap<u64, Arc<Notify>>,
    /// Those that the node ends, while it waits for the other end to have heard it.
    leaving: BTreeMap<u64, Arc<Notify>>,
}

/// A connection's place. It is free again when this is dropped.
#[derive(Debug)]
pub(crate) struct Slot {
    gate: Arc<Gate>,
    address: IpAddr,
    number: u64,
    eviction: Arc<Notify>,
}

impl Gate {
    pub(crate) fn new(limits: Limits) -> Arc<Self> {
        Arc::new(Self { limits, state: Mutex::default() })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many connections there are.
    pub(crate) fn connections(&self) -> usize {
        self.state().connections
    }

    /// Lets a connection in, at the cost of the oldest unfinished handshake, or of one that is leaving, if it must be. `None` if there
    /// are too many.
    pub(crate) fn enter(self: &Arc<Self>, address: IpAddr) -> Option<Slot> {
        let address = address.to_canonical();
        let mut state = self.state();
        if state.connections >= self.limits.connections {
            // Gone in a moment: for as long there is one more.
            let (_, eviction) = state.leaving.pop_first()?;
            eviction.notify_one();
        }
        // Whatever stands before the node on its own machine speaks for many.
        if !address.is_loopback() {
            let here = state.addresses.entry(network(address)).or_default();
            if *here >= self.limits.connections_per_address {
                return None;
            }
            *here += 1;
        }
        state.connections += 1;
        state.next += 1;
        let (number, eviction) = (state.next, Arc::new(Notify::new()));
        state.strangers.insert(number, Arc::clone(&eviction));
        if state.strangers.len() + state.named.len() > self.limits.handshakes.max(1) {
            let oldest = state.strangers.pop_first().filter(|(oldest, _)| *oldest != number).or_else(|| {
                let named = state.named.pop_first();
                state.strangers.insert(number, Arc::clone(&eviction));
                named
            });
            if let Some((_, eviction)) = oldest {
                eviction.notify_one();
            }
        }
        drop(state);
        Some(Slot { gate: Arc::clone(self), address, number, eviction })
    }
}

impl Slot {
    /// Where the connection is from.
    pub(crate) const fn address(&self) -> IpAddr {
        self.address
    }

    /// It has named a known access key.
    pub(crate) fn named(&self) {
        let mut state = self.gate.state();
        if let Some(eviction) = state.strangers.remove(&self.number) {
            state.named.insert(self.number, eviction);
        }
    }

    /// Its session is up: it can no longer be evicted.
    pub(crate) fn session_up(&self) {
        self.gate.state().leave_handshakes(self.number);
    }

    /// It did not come to a session, and is told so. It keeps its place until that is heard, or somebody else needs it.
    pub(crate) fn leaving(&self) {
        let mut state = self.gate.state();
        state.leave_handshakes(self.number);
        state.leaving.insert(self.number, Arc::clone(&self.eviction));
    }

    /// It has to give way to another.
    pub(crate) async fn evicted(&self) {
        self.eviction.notified().await;
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut state = self.gate.state();
        state.leave_handshakes(self.number);
        state.leaving.remove(&self.number);
        state.connections -= 1;
        let network = network(self.address);
        if let Some(here) = state.addresses.get_mut(&network) {
            *here -= 1;
            if *here == 0 {
                state.addresses.remove(&network);
            }
        }
    }
}

impl State {
    fn leave_handshakes(&mut self, number: u64) {
        if self.strangers.remove(&number).is_none() {
            self.named.remove(&number);
        }
    }
}

/// Who has one address of a /64 network has all of them.
fn network(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(v6) => IpAddr::V6((v6.to_bits() & !u128::from(u64::MAX)).into()),
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    fn gate(connections: usize, connections_per_address: usize, handshakes: usize) -> Arc<Gate> {
        Gate::new(Limits { connections, connections_per_address, handshakes, ..Limits::default() })
    }

    fn address(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn one_address_gets_its_share_and_a_network_counts_as_one() {
        let gate = gate(5, 2, 9);
        let first = gate.enter(address("192.0.2.1")).expect("free");
        let _second = gate.enter(address("::ffff:192.0.2.1")).expect("free");
        assert!(gate.enter(address("192.0.2.1")).is_none());
        drop(first);
        let _third = gate.enter(address("192.0.2.1")).expect("free again");
        let _v6 = gate.enter(address("2001:db8::1")).expect("free");
        let _same = gate.enter(address("2001:db8::2")).expect("free");
        assert!(gate.enter(address("2001:db8::3")).is_none(), "the same network");
        let local = gate.enter(address("127.0.0.1")).expect("free");
        assert!(gate.enter(address("127.0.0.1")).is_none(), "all are taken");
        drop(local);
        assert_eq!((gate.connections(), gate.state().addresses.len()), (4, 2));
    }

    #[test]
    fn who_is_leaving_gives_way_when_all_places_are_taken() {
        let gate = gate(3, 99, 99);
        let local = address("127.0.0.1");
        let enter = || gate.enter(local).expect("free");
        let evicted = |slot: &Slot| slot.evicted().now_or_never().is_some();
        let (a, b, c) = (enter(), enter(), enter());
        a.session_up();
        assert!(gate.enter(local).is_none(), "none is leaving");
        c.leaving();
        b.leaving();
        let d = enter();
        assert!(evicted(&b) && !evicted(&c), "the oldest");
        drop(b);
        let e = enter();
        assert!(evicted(&c) && !evicted(&d));
        assert!(gate.enter(local).is_none(), "each gives way once");
        drop((a, c, d, e));
        let state = gate.state();
        assert_eq!((state.connections, state.leaving.len()), (0, 0));
    }

    #[test]
    fn the_oldest_stranger_gives_way_then_the_oldest_that_is_named() {
        let gate = gate(99, 99, 2);
        let local = address("127.0.0.1");
        let enter = || gate.enter(local).expect("free");
        let evicted = |slot: &Slot| slot.evicted().now_or_never().is_some();
        let (a, b) = (enter(), enter());
        a.named();
        let c = enter();
        assert!(evicted(&b) && !evicted(&a) && !evicted(&c));
        c.named();
        let d = enter();
        assert!(evicted(&a) && !evicted(&c) && !evicted(&d), "of those that are named, the oldest");
        c.session_up();
        let e = enter();
        assert!(!evicted(&d) && !evicted(&e));
        drop((a, b, c, d, e));
        let state = gate.state();
        assert_eq!((state.connections, state.strangers.len(), state.named.len()), (0, 0, 0));
    }
}
