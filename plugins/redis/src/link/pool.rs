//! The connections to one server. Callers wait no longer than they said; whether a connection is still good is seen when it is used,
//! by a look at its socket and not by a question to the server, or by a read that is asked again where it is not.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use hivemind_abi::model::{Context, Error};

use super::address::Address;
use super::connection::Connection;
use super::failure::{Failure, Then};
use super::limit::SLICE;
use super::opening::Opening;

/// Whether a connection that was idle is looked at before it is used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sight {
    /// It is, so that nothing is sent on one that was closed meanwhile.
    Seen,
    /// It is not: who takes it asks again where it is closed.
    Unseen,
}

/// Connections that callers take and give back.
pub(crate) struct Pool {
    address: Address,
    capacity: usize,
    state: Mutex<State>,
    returned: Condvar,
}

#[derive(Default)]
struct State {
    idle: Vec<Connection>,
    out: usize,
    /// Callers that wait for a connection. Waking up nobody would be a system call all the same.
    waiting: usize,
    /// Connections of an earlier one are not taken back.
    generation: u64,
    closed: bool,
}

impl Pool {
    pub(crate) fn new(address: Address, capacity: usize) -> Self {
        Self { address, capacity, state: Mutex::default(), returned: Condvar::new() }
    }

    pub(crate) const fn address(&self) -> &Address {
        &self.address
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a connection, making one if no good one is idle.
    pub(crate) fn take(&self, cx: &Context<'_>, opening: &Opening, sight: Sight) -> Result<Lease<'_>, Failure> {
        let mut state = self.state();
        while !state.closed && state.out >= self.capacity {
            if let Err(error) = cx.check() {
                return Err(Failure::new(
                    error.context("all connections are in use by other calls of this program"),
                    Then::GiveUp,
                ));
            }
            state.waiting += 1;
            state = self.returned.wait_timeout(state, cx.remaining_or(SLICE)).unwrap_or_else(PoisonError::into_inner).0;
            state.waiting -= 1;
        }
        if state.closed {
            return Err(Failure::new(closed(), Then::GiveUp));
        }
        state.out += 1;
        let idle = state.idle.pop();
        let generation = state.generation;
        drop(state);
        // From here on the lease gives the place back, also when opening fails.
        let mut lease = Lease { pool: self, connection: idle, generation, is_unseen: false, is_spoiled: false };
        while let Some(connection) = lease.connection.take() {
            if sight == Sight::Unseen || connection.is_sound() {
                lease.is_unseen = sight == Sight::Unseen;
                lease.connection = Some(connection);
                return Ok(lease);
            }
            drop(connection);
            lease.connection = self.state().idle.pop();
        }
        lease.connection = Some(opening.open(&self.address, cx)?);
        Ok(lease)
    }

    /// Lets idle connections go, and those that are out when they come back: the server is not what it was.
    pub(crate) fn renew(&self) {
        let mut state = self.state();
        state.generation += 1;
        let idle = std::mem::take(&mut state.idle);
        drop(state);
        drop(idle);
    }

    /// Lets every connection go, and gives none away from now on.
    pub(crate) fn close(&self) {
        let mut state = self.state();
        state.closed = true;
        self.returned.notify_all();
        let idle = std::mem::take(&mut state.idle);
        drop(state);
        drop(idle);
    }

    /// How many connections are open: idle, and out.
    pub(crate) fn open_count(&self) -> (usize, usize) {
        let state = self.state();
        (state.idle.len(), state.out)
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").field("address", &self.address).field("capacity", &self.capacity).finish_non_exhaustive()
    }
}

/// The answer of every call after `close`.
pub(crate) fn closed() -> Error {
    Error::unavailable("this handle was closed")
}

/// A connection on loan.
pub(crate) struct Lease<'p> {
    pool: &'p Pool,
    connection: Option<Connection>,
    generation: u64,
    is_unseen: bool,
    is_spoiled: bool,
}

impl Lease<'_> {
    /// Whether it was idle, and nobody has looked at it since.
    pub(crate) const fn is_unseen(&self) -> bool {
        self.is_unseen
    }

    /// It does not go back to the pool.
    pub(crate) const fn discard(&mut self) {
        self.is_spoiled = true;
    }
}

impl Deref for Lease<'_> {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        match &self.connection {
            Some(connection) => connection,
            None => unreachable!("a lease is handed out with its connection"),
        }
    }
}

impl DerefMut for Lease<'_> {
    fn deref_mut(&mut self) -> &mut Connection {
        match &mut self.connection {
            Some(connection) => connection,
            None => unreachable!("a lease is handed out with its connection"),
        }
    }
}

impl Drop for Lease<'_> {
    fn drop(&mut self) {
        let mut useless = None;
        let mut state = self.pool.state();
        match self.connection.take() {
            Some(connection)
                if connection.is_at_rest() && !self.is_spoiled && !state.closed && self.generation == state.generation =>
            {
                state.idle.push(connection);
            }
            other => useless = other,
        }
        state.out -= 1;
        let is_awaited = state.waiting > 0;
        drop(state);
        drop(useless);
        if is_awaited {
            self.pool.returned.notify_one();
        }
    }
}
