//! Which server a call goes to: the one there is, the master that the Sentinels know, or the one that has the key's slot.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use hivemind_abi::Host;
use hivemind_abi::model::{Context, Error, Result};

use super::Topology;
use super::address::Address;
use super::cluster::Cluster;
use super::exchange::Exchange;
use super::failure::{Failure, Then};
use super::opening::Opening;
use super::place::Place;
use super::retry::{Policy, Retry};
use super::sentinel::Sentinels;
use super::server::{Login, Mode};
use super::tls::Tls;
use super::{Repeat, failure};
use crate::config::Config;

/// The way to the server in charge.
pub(crate) enum Route {
    /// There is one.
    Single(Place),
    /// The one of several that is the master now.
    Sentinel(Sentinels),
    /// The one that has the slot.
    Cluster(Cluster),
}

impl Route {
    /// Finds out where the data is.
    pub(crate) fn find(config: &Config, host: &Host, cx: &Context<'_>, policy: Policy) -> Result<Self> {
        let opening = Opening {
            login: Login { user: config.username.0.clone(), password: config.password.clone() },
            db: config.db,
            tls: Tls::new(config, host)?.map(Arc::new),
            timeout: config.connect_timeout(),
            patience: config.socket_timeout(),
            protocol: 2,
            wants_master: config.sentinels.is_some(),
        };
        let addresses =
            |nodes: &[crate::config::Endpoint]| nodes.iter().map(|n| Address::tcp(&n.host, n.port)).collect::<Vec<_>>();
        let capacity = config.max_connections;
        if let Some(sentinels) = &config.sentinels {
            let login = Login {
                user: config.sentinel_username.clone().unwrap_or_else(|| "default".to_owned()),
                password: config.sentinel_password.clone(),
            };
            let theirs = Opening { login, db: 0, wants_master: false, ..opening.clone() };
            let name = config.sentinel_master.clone();
            let sentinels = Sentinels::new(addresses(sentinels), name, theirs, Arc::new(opening), capacity);
            patiently(cx, policy, || sentinels.master(cx).map(drop))?;
            return Ok(Self::Sentinel(sentinels));
        }
        if let Some(nodes) = &config.cluster_nodes {
            let cluster = Cluster::new(addresses(nodes), Arc::new(opening), capacity);
            patiently(cx, policy, || cluster.learn(cx, true))?;
            return Ok(Self::Cluster(cluster));
        }
        let address = match &config.unix_socket {
            Some(path) => Address::Unix(Arc::new(PathBuf::from(path))),
            None => Address::tcp(&config.host.0, config.port.0),
        };
        let place = Place::new(address, capacity, Arc::new(opening.clone()));
        let server = patiently(cx, policy, || place.greet(cx))?;
        match server.mode {
            Mode::Standalone => Ok(Self::Single(place)),
            Mode::Cluster => {
                let cluster = Cluster::new(vec![place.address().clone()], Arc::new(opening), capacity);
                patiently(cx, policy, || cluster.learn(cx, true))?;
                Ok(Self::Cluster(cluster))
            }
            Mode::Sentinel => {
                let address = place.address();
                let message = format!(
                    "{address} is a Sentinel, which holds no data; expected a Redis server. Name it in the setting sentinels instead"
                );
                Err(Error::invalid(message).place(address.to_string()))
            }
        }
    }

    /// Asks once. A refusal with one of the codes `wanted` is an answer.
    pub(crate) fn attempt<E: Exchange>(&self, cx: &Context<'_>, exchange: &E, wanted: &[&str]) -> Result<E::Reply, Failure> {
        match self {
            Self::Single(place) => place.attempt(cx, exchange, wanted),
            Self::Sentinel(sentinels) => sentinels.master(cx)?.attempt(cx, exchange, wanted),
            Self::Cluster(cluster) => cluster.attempt(cx, exchange, wanted),
        }
    }

    /// The server that a call with this slot goes to.
    pub(crate) fn place(&self, cx: &Context<'_>, slot: Option<u16>) -> Result<Place, Failure> {
        match self {
            Self::Single(place) => Ok(place.clone()),
            Self::Sentinel(sentinels) => sentinels.master(cx),
            Self::Cluster(cluster) => cluster.place(cx, slot),
        }
    }

    /// Every master, as known now; `fresh`: of a cluster, as it says itself now.
    pub(crate) fn masters(&self, cx: &Context<'_>, fresh: bool) -> Result<Vec<Place>, Failure> {
        match self {
            Self::Cluster(cluster) => cluster.masters(cx, fresh),
            other => other.place(cx, None).map(|place| vec![place]),
        }
    }

    /// What was known of places is not trusted any more.
    pub(crate) fn look_again(&self) {
        match self {
            Self::Single(place) => place.pool().renew(),
            Self::Sentinel(sentinels) => sentinels.look_again(),
            Self::Cluster(cluster) => cluster.look_again(),
        }
    }

    pub(crate) const fn topology(&self) -> Topology {
        match self {
            Self::Single(_) | Self::Sentinel(_) => Topology::Single,
            Self::Cluster(_) => Topology::Cluster,
        }
    }

    /// The server, or one that was configured, for messages.
    pub(crate) fn address(&self) -> Address {
        match self {
            Self::Single(place) => place.address().clone(),
            Self::Sentinel(sentinels) => sentinels.address(),
            Self::Cluster(cluster) => cluster.address(),
        }
    }

    pub(crate) fn close(&self) {
        match self {
            Self::Single(place) => place.pool().close(),
            Self::Sentinel(sentinels) => sentinels.close(),
            Self::Cluster(cluster) => cluster.close(),
        }
    }
}

/// As often as a call would be tried.
fn patiently<T>(cx: &Context<'_>, policy: Policy, mut attempt: impl FnMut() -> Result<T, Failure>) -> Result<T> {
    let mut retry = Retry::new(policy, Repeat::Safe);
    loop {
        match attempt() {
            Ok(found) => return Ok(found),
            Err(failure) => retry.or_fail(cx, failure).map(drop)?,
        }
    }
}

/// Nothing is known of where to go.
pub(crate) fn nowhere(message: String) -> Failure {
    Failure::new(Error::unavailable(failure::printable(&message)).known_not_applied(), Then::Look)
}

impl fmt::Debug for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Route").field("address", &self.address()).finish_non_exhaustive()
    }
}
