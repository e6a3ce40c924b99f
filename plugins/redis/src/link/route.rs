//! Which server a call goes to.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hivemind_abi::Host;
use hivemind_abi::model::{Context, Result};
use redis::Value;

use super::Topology;
use super::address::Address;
use super::exchange::{Exchange, Many, empty_transaction};
use super::failure::{Cut, Failure, refused};
use super::limit::Limit;
use super::opening::Opening;
use super::pool::Pool;
use super::server::Login;
use super::tls::Tls;
use crate::config::Config;

/// A server and the connections to it.
#[derive(Clone)]
pub(crate) struct Place {
    inner: Arc<Inner>,
}

struct Inner {
    pool: Pool,
    opening: Arc<Opening>,
    /// `MULTI` was carried out there once.
    transactions: AtomicBool,
}

impl Place {
    pub(crate) fn new(address: Address, capacity: usize, opening: Arc<Opening>) -> Self {
        Self { inner: Arc::new(Inner { pool: Pool::new(address, capacity), opening, transactions: AtomicBool::new(false) }) }
    }

    pub(crate) fn address(&self) -> &Address {
        self.inner.pool.address()
    }

    pub(crate) fn pool(&self) -> &Pool {
        &self.inner.pool
    }

    /// Asks once. A refusal with the code `wanted` is an answer.
    pub(crate) fn attempt<E: Exchange>(
        &self,
        cx: &Context<'_>,
        exchange: &E,
        patience: Duration,
        user: &str,
        wanted: &str,
    ) -> Result<E::Reply, Failure> {
        let mut lease = self.inner.pool.take(cx, &self.inner.opening)?;
        let mut limit = Limit::new(cx, patience);
        let reply = lease
            .exchange(&mut limit, |out| exchange.pack(out), |answers| exchange.read(answers))
            .map_err(|cut: Cut| cut.at(self.address()))?;
        match exchange.refusal(&reply) {
            Some(error) if error.code() != wanted => Err(refused(error, &exchange.name(), user, self.address())),
            _ => Ok(reply),
        }
    }

    fn prove_transactions(&self, cx: &Context<'_>, patience: Duration, user: &str) -> Result<()> {
        if self.inner.transactions.load(Ordering::Relaxed) {
            return Ok(());
        }
        let [multi, discard] = empty_transaction();
        let proof = Many { commands: vec![&multi, &discard], slot: None };
        let answers = self.attempt(cx, &proof, patience, user, "").map_err(|failure| failure.error)?;
        for (answer, name) in answers.iter().zip(["MULTI", "DISCARD"]) {
            if let Value::ServerError(error) = answer {
                return Err(refused(error, name, user, self.address()).error);
            }
        }
        self.inner.transactions.store(true, Ordering::Relaxed);
        Ok(())
    }
}

/// The way to the server in charge.
pub(crate) enum Route {
    /// There is one.
    Single(Place),
}

impl Route {
    pub(crate) fn new(config: &Config, host: &Host) -> Result<Self> {
        let opening = Opening {
            login: Login { user: config.username.0.clone(), password: config.password.clone() },
            db: config.db,
            tls: Tls::new(config, host)?.map(Arc::new),
            timeout: config.connect_timeout(),
            protocol: 2,
        };
        let address = match &config.unix_socket {
            Some(path) => Address::Unix(Arc::new(PathBuf::from(path))),
            None => Address::tcp(&config.host.0, config.port.0),
        };
        Ok(Self::Single(Place::new(address, config.max_connections, Arc::new(opening))))
    }

    /// Finds out where the data is.
    pub(crate) fn settle(&self, cx: &Context<'_>) -> Result<(), Failure> {
        match self {
            Self::Single(place) => place.inner.pool.take(cx, &place.inner.opening).map(drop),
        }
    }

    pub(crate) fn attempt<E: Exchange>(
        &self,
        cx: &Context<'_>,
        exchange: &E,
        patience: Duration,
        user: &str,
        wanted: &str,
    ) -> Result<E::Reply, Failure> {
        match self {
            Self::Single(place) => place.attempt(cx, exchange, patience, user, wanted),
        }
    }

    /// Sees that transactions are allowed, before one is sent whose parts would be carried out without.
    pub(crate) fn prove_transactions(&self, cx: &Context<'_>, _slot: Option<u16>, patience: Duration, user: &str) -> Result<()> {
        match self {
            Self::Single(place) => place.prove_transactions(cx, patience, user),
        }
    }

    /// Every master.
    pub(crate) fn masters(&self, _cx: &Context<'_>) -> Result<Vec<Place>> {
        match self {
            Self::Single(place) => Ok(vec![place.clone()]),
        }
    }

    /// What was known of places is not trusted any more.
    pub(crate) fn look_again(&self) {
        match self {
            Self::Single(place) => place.pool().renew(),
        }
    }

    pub(crate) fn topology(&self) -> Topology {
        match self {
            Self::Single(_) => Topology::Single,
        }
    }

    /// The server, or the one that was configured, for messages.
    pub(crate) fn address(&self) -> Address {
        match self {
            Self::Single(place) => place.address().clone(),
        }
    }

    pub(crate) fn close(&self) {
        match self {
            Self::Single(place) => place.pool().close(),
        }
    }
}

impl fmt::Debug for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Route").field("address", &self.address()).finish_non_exhaustive()
    }
}
