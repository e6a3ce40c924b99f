//! One server and the connections to it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use hivemind_abi::model::{Context, Result};
use redis::Value;

use super::address::Address;
use super::exchange::{Exchange, Many, empty_transaction};
use super::failure::{Failure, refused};
use super::limit::Limit;
use super::opening::Opening;
use super::pool::{Pool, Sight};
use super::server::Server;

/// A server that can be asked. Cheap to clone.
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

    pub(crate) fn opening(&self) -> &Opening {
        &self.inner.opening
    }

    /// What it says about itself, as of the connection that is taken.
    pub(crate) fn greet(&self, cx: &Context<'_>) -> Result<Server, Failure> {
        self.inner.pool.take(cx, &self.inner.opening, Sight::Seen).map(|lease| *lease.server())
    }

    /// Asks once. A refusal with one of the codes `wanted` is an answer.
    pub(crate) fn attempt<E: Exchange>(&self, cx: &Context<'_>, exchange: &E, wanted: &[&str]) -> Result<E::Reply, Failure> {
        let opening = &self.inner.opening;
        let mut sight = if exchange.is_asked_again() { Sight::Unseen } else { Sight::Seen };
        let (mut lease, reply) = loop {
            let mut lease = self.inner.pool.take(cx, opening, sight)?;
            let mut limit = Limit::new(cx, opening.patience);
            let reply = lease.exchange(&mut limit, |out| exchange.pack(out), |answers| exchange.read(answers));
            match reply {
                Ok(reply) => break (lease, reply),
                // It was closed while it was idle.
                Err(cut) if lease.is_unseen() && cut.is_of_the_connection() => sight = Sight::Seen,
                Err(cut) => return Err(cut.at(self.address())),
            }
        };
        match exchange.refusal(&reply) {
            Some(error) if !wanted.contains(&error.code()) => {
                if matches!(error.code(), "NOAUTH" | "READONLY" | "MASTERDOWN") {
                    // The next call begins with a login, and learns what this server is now.
                    lease.discard();
                }
                Err(refused(error, &exchange.name(), &opening.login.user, self.address()))
            }
            _ => Ok(reply),
        }
    }

    /// Sees that `MULTI` is allowed. Where it is not, what follows it would be carried out at once, command by command.
    pub(crate) fn prove_transactions(&self, cx: &Context<'_>) -> Result<(), Failure> {
        if self.inner.transactions.load(Ordering::Relaxed) {
            return Ok(());
        }
        let [multi, discard] = empty_transaction();
        let proof = Many { commands: vec![&multi, &discard] };
        let answers = self.attempt(cx, &proof, &[])?;
        for (answer, name) in answers.iter().zip(["MULTI", "DISCARD"]) {
            if let Value::ServerError(error) = answer {
                return Err(refused(error, name, &self.inner.opening.login.user, self.address()));
            }
        }
        self.inner.transactions.store(true, Ordering::Relaxed);
        Ok(())
    }
}
