//! Pools of connections, whose callers wait no longer than they said.

use std::fmt;
use std::ops::Deref;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use hivemind_abi::model::{Context, Error, Result};
use rusqlite::Connection;

use crate::connection::Watched;
use crate::error;

/// How often a waiting caller looks at its cancel flag.
const POLL: Duration = Duration::from_millis(10);

/// Connections that callers take and give back.
pub(crate) struct Pool {
    state: Mutex<State>,
    returned: Condvar,
    capacity: usize,
}

struct State {
    idle: Vec<Watched>,
    out: usize,
    /// Callers that wait for a connection. Waking up nobody would be a system call all the same.
    waiting: usize,
    closed: bool,
}

/// Which callers a pool lets in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Use {
    /// A call that is over in microseconds.
    Brief,
    /// One that reads many rows. The last connection of several is not given to it, so that brief calls never queue behind.
    Long,
}

impl Pool {
    /// A pool of at most `capacity` connections that begins with this one.
    pub(crate) fn new(capacity: usize, idle: Option<Connection>) -> Result<Self> {
        let idle = idle.map(Watched::new).transpose().map_err(|e| error::from_sqlite(&e, "SQLite"))?.into_iter().collect();
        Ok(Self { state: Mutex::new(State { idle, out: 0, waiting: 0, closed: false }), returned: Condvar::new(), capacity })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a connection, `open`ing one if none is idle and the pool may grow. Its statements take what time they need.
    pub(crate) fn take(
        &self,
        cx: &Context<'_>,
        patience: Duration,
        why: Use,
        open: impl FnOnce() -> Result<Connection>,
    ) -> Result<Lease<'_>> {
        let reserved = usize::from(why == Use::Long && self.capacity > 1);
        let mut state = self.state();
        let mut waiting_since = None;
        while !state.closed && state.out + reserved >= self.capacity {
            cx.check()?;
            let since = *waiting_since.get_or_insert_with(Instant::now);
            let left = patience.saturating_sub(since.elapsed());
            if left.is_zero() {
                cx.check()?;
                return Err(Error::busy("all connections are in use by other calls of this program"));
            }
            state.waiting += 1;
            state = self.returned.wait_timeout(state, left.min(POLL)).unwrap_or_else(PoisonError::into_inner).0;
            state.waiting -= 1;
        }
        if state.closed {
            return Err(closed());
        }
        state.out += 1;
        let idle = state.idle.pop();
        drop(state);
        // From here on the lease gives the place back, also when opening fails.
        let at_once = waiting_since.is_none() && idle.is_some();
        let mut lease = Lease { pool: self, connection: idle, at_once, damage: None };
        if lease.connection.is_none() {
            let watched = Watched::new(open()?).map_err(|e| error::from_sqlite(&e, "SQLite"))?;
            lease.connection = Some(watched);
        }
        Ok(lease)
    }

    /// Lets every connection go; those in use go when they are given back, which is waited for so long.
    /// `false` if one is in use still.
    pub(crate) fn close(&self, patience: Duration) -> bool {
        self.shut();
        let since = Instant::now();
        let mut state = self.state();
        while state.out > 0 {
            let left = patience.saturating_sub(since.elapsed());
            if left.is_zero() {
                return false;
            }
            state.waiting += 1;
            state = self.returned.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
            state.waiting -= 1;
        }
        true
    }

    /// Lets every idle connection go, and gives none away from now on.
    pub(crate) fn shut(&self) {
        let mut state = self.state();
        state.closed = true;
        self.returned.notify_all();
        let idle = std::mem::take(&mut state.idle);
        drop(state);
        drop(idle);
    }

    /// How many connections are open.
    pub(crate) fn open_count(&self) -> usize {
        let state = self.state();
        state.idle.len() + state.out
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").field("capacity", &self.capacity).finish_non_exhaustive()
    }
}

/// The answer of every call after `close`.
pub(crate) fn closed() -> Error {
    Error::unavailable("this handle was closed")
}

/// A connection on loan.
pub(crate) struct Lease<'p> {
    pool: &'p Pool,
    connection: Option<Watched>,
    at_once: bool,
    damage: Option<(&'p AtomicU64, u64)>,
}

impl<'p> Lease<'p> {
    /// Whether nothing was waited for or opened: what time a call had before is what it has now.
    pub(crate) const fn came_at_once(&self) -> bool {
        self.at_once
    }

    /// The connection does not go back to the pool if this number moves meanwhile.
    pub(crate) fn discard_after(mut self, damage: &'p AtomicU64) -> Self {
        self.damage = Some((damage, damage.load(Ordering::Relaxed)));
        self
    }

    /// Whether it goes back to the pool.
    pub(crate) fn is_sound(&self) -> bool {
        self.damage.is_none_or(|(damage, before)| damage.load(Ordering::Relaxed) == before)
    }
}

#[cfg(test)]
impl Lease<'_> {
    /// For hooks.
    pub(crate) fn connection_mut(&mut self) -> Option<&mut Connection> {
        self.connection.as_mut().map(Watched::connection_mut)
    }
}

impl Deref for Lease<'_> {
    type Target = Watched;

    fn deref(&self) -> &Watched {
        match &self.connection {
            Some(connection) => connection,
            None => unreachable!("a lease is handed out with its connection"),
        }
    }
}

impl Drop for Lease<'_> {
    fn drop(&mut self) {
        let is_sound = self.is_sound();
        let connection = self.connection.take();
        let mut state = self.pool.state();
        if state.closed || !is_sound {
            // It counts until it is closed, and closing it may take a while.
            drop(state);
            drop(connection);
            state = self.pool.state();
        } else if let Some(connection) = connection {
            connection.end_within(None);
            state.idle.push(connection);
        }
        state.out -= 1;
        let is_awaited = state.waiting > 0;
        drop(state);
        if is_awaited {
            self.pool.returned.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use hivemind_abi::model::Code;

    use super::*;

    #[test]
    fn a_long_call_leaves_the_last_connection_to_brief_ones() {
        let pool = Pool::new(2, None).expect("a pool");
        let open = || Ok(Connection::open_in_memory().expect("memory"));
        let cx = Context::unbounded();
        let long = pool.take(&cx, Duration::ZERO, Use::Long, open).expect("the first");
        let error = pool.take(&cx, Duration::ZERO, Use::Long, open).map(drop).expect_err("the last is reserved");
        assert_eq!(error.code(), Code::Busy);
        drop(pool.take(&cx, Duration::ZERO, Use::Brief, open).expect("for a brief call"));
        drop(long);
        assert_eq!(pool.open_count(), 2);
        pool.close(Duration::ZERO);
        assert_eq!(pool.take(&cx, Duration::ZERO, Use::Brief, open).map(drop).expect_err("closed").code(), Code::Unavailable);
    }
}
