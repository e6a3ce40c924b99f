//! The ways in which Redis is run, each with the settings that lead to it: ours, and those of the Python node's plugin.

use redis::FromRedisValue;
use serde_json::{Map, Value, json};

use super::dump::keys;
use super::{Certificates, Cluster, Dump, Sentinels, Server};

/// The ACL user of servers with TLS, who may do what a node needs and nothing else.
const USER: &str = "node";
/// Its password.
const PASSWORD: &str = "it's a \"secret\"!";
/// The tag of the tagged cluster.
const TAG: &str = "hive";

/// A way to run Redis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// One server.
    Single,
    /// The same by its Unix socket.
    Socket,
    /// Three masters, the namespace in one slot.
    ClusterTagged,
    /// Three masters, keys everywhere.
    ClusterUntagged,
    /// One server with TLS, certificates on both sides, and an ACL user.
    TlsAcl,
    /// A master and a replica behind three Sentinels, which have changed places once.
    Sentinel,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Single, Self::Socket, Self::ClusterTagged, Self::ClusterUntagged, Self::TlsAcl, Self::Sentinel];

    /// What it is called in the names of tests.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Single => "redis",
            Self::Socket => "redis-socket",
            Self::ClusterTagged => "redis-cluster-tagged",
            Self::ClusterUntagged => "redis-cluster-untagged",
            Self::TlsAcl => "redis-tls-acl",
            Self::Sentinel => "redis-sentinel",
        }
    }
}

/// Servers that run in one of these ways.
#[derive(Debug)]
pub struct Deployment {
    /// Which.
    pub kind: Kind,
    servers: Servers,
}

#[derive(Debug)]
enum Servers {
    One(Server),
    Tls(Server, Certificates),
    Cluster(Cluster),
    Sentinels(Sentinels),
}

impl Deployment {
    /// Starts one, with these lines in the configuration of each server that keeps data.
    ///
    /// # Panics
    /// If it does not come together.
    #[must_use]
    pub fn start(kind: Kind, lines: &[&str]) -> Self {
        let servers = match kind {
            Kind::Single | Kind::Socket => Servers::One(Server::start(lines)),
            Kind::ClusterTagged | Kind::ClusterUntagged => Servers::Cluster(Cluster::start(lines)),
            Kind::TlsAcl => {
                let certificates = Certificates::new();
                // INFO counts as dangerous because it tells much; a node asks what an acknowledged write is worth.
                let user = format!("user {USER} on {} ~* &* +@all -@dangerous -@admin +info", quoted(&format!(">{PASSWORD}")));
                let mut all = vec!["user default off", user.as_str()];
                all.extend(lines);
                Servers::Tls(Server::with_tls(&certificates, &all), certificates)
            }
            Kind::Sentinel => {
                let sentinels = Sentinels::start(lines);
                sentinels.fail_over();
                Servers::Sentinels(sentinels)
            }
        };
        Self { kind, servers }
    }

    /// The settings of our plugin that lead there, for keys that begin with `prefix`.
    #[must_use]
    pub fn settings(&self, prefix: &str) -> Map<String, Value> {
        let nodes = |ports: Vec<u16>| ports.into_iter().map(|port| json!({"host": "127.0.0.1", "port": port})).collect::<Value>();
        let mut settings = match &self.servers {
            Servers::Sentinels(sentinels) => {
                json!({"sentinels": nodes(sentinels.ports()), "sentinel_master": sentinels.name})
            }
            Servers::One(server) if self.kind == Kind::Socket => json!({"unix_socket": server.socket()}),
            _ => Value::Object(self.python_settings(prefix)),
        };
        settings["index_prefix"] = json!(prefix);
        settings.as_object().cloned().unwrap_or_default()
    }

    /// The settings of the Python node's plugin: the same, but that it knows no Sentinels and no sockets.
    #[must_use]
    pub fn python_settings(&self, prefix: &str) -> Map<String, Value> {
        let path = |path: std::path::PathBuf| json!(path);
        let mut settings = match &self.servers {
            Servers::One(server) => json!({"host": "127.0.0.1", "port": server.port()}),
            Servers::Tls(server, certificates) => {
                let (cert, key) = certificates.client();
                json!({
                    "host": "127.0.0.1", "port": server.port(), "username": USER, "password": PASSWORD, "use_ssl": true,
                    "ssl_certfile": path(cert), "ssl_keyfile": path(key), "ssl_ca_certs": path(certificates.authority()),
                })
            }
            Servers::Cluster(cluster) => {
                let nodes: Value = cluster.ports().into_iter().map(|port| json!({"host": "127.0.0.1", "port": port})).collect();
                let tag = if self.kind == Kind::ClusterTagged { json!(TAG) } else { Value::Null };
                json!({"cluster_nodes": nodes, "cluster_hash_tag": tag})
            }
            Servers::Sentinels(sentinels) => json!({"host": "127.0.0.1", "port": sentinels.master().port()}),
        };
        settings["index_prefix"] = json!(prefix);
        settings.as_object().cloned().unwrap_or_default()
    }

    /// What every key of a namespace begins with.
    #[must_use]
    pub fn base(&self, prefix: &str) -> String {
        if self.kind == Kind::ClusterTagged { format!("{prefix}:{{{TAG}}}") } else { prefix.to_owned() }
    }

    /// The servers that keep data and can be written.
    #[must_use]
    pub fn masters(&self) -> Vec<&Server> {
        match &self.servers {
            Servers::One(server) | Servers::Tls(server, _) => vec![server],
            Servers::Cluster(cluster) => cluster.masters.iter().collect(),
            Servers::Sentinels(sentinels) => vec![sentinels.master()],
        }
    }

    /// Carries a command out where its key is.
    ///
    /// # Panics
    /// If it fails.
    pub fn ask<T: FromRedisValue>(&self, words: &[&str]) -> T {
        for master in self.masters() {
            match master.try_ask(words) {
                Ok(answer) => return answer,
                Err(error) if error.code() == Some("MOVED") => {}
                Err(error) => panic!("{words:?}: {error}"),
            }
        }
        panic!("{words:?}: no master has the slot");
    }

    /// Everything under a prefix.
    ///
    /// # Panics
    /// If a server is down.
    #[must_use]
    pub fn dump(&self, prefix: &str) -> Dump {
        self.masters().into_iter().map(|master| master.dump(prefix)).fold(Dump::default(), Dump::and)
    }

    /// Removes everything under a prefix.
    ///
    /// # Panics
    /// If a server is down.
    pub fn clear(&self, prefix: &str) {
        for master in self.masters() {
            let mut connection = master.connection();
            // One by one, because on a cluster they are in many slots.
            let mut removals = redis::pipe();
            for key in keys(&mut connection, prefix) {
                removals.unlink(key).ignore();
            }
            // A master may have none of them, and a pipeline of nothing is an error.
            if !removals.is_empty() {
                removals.query::<()>(&mut connection).expect("removed");
            }
        }
    }
}

/// A word of a configuration file that may hold spaces and quotes.
fn quoted(word: &str) -> String {
    format!("\"{}\"", word.replace('\\', "\\\\").replace('"', "\\\""))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::python::Peer;

    /// The Python node's plugin works on each of them with the settings that we give it.
    #[test]
    fn python_adds_and_finds_a_client_in_each() {
        for kind in Kind::ALL {
            let deployment = Deployment::start(kind, &[]);
            let home = tempfile::tempdir().expect("a folder");
            let mut peer = Peer::start(home.path());
            let mut open = deployment.python_settings("side");
            open.extend([("op".to_owned(), json!("open")), ("kind".to_owned(), json!("redis"))]);
            peer.ask(&Value::Object(open));
            peer.ask(&json!({"op": "add_client", "name": "küche", "key": "key-1"}));
            assert_eq!(peer.ask(&json!({"op": "get_by_key", "key": "key-1"}))["name"], "küche", "{kind:?}");
            let base = deployment.base("side");
            let dump = deployment.dump("side");
            assert!(dump.text(&format!("{base}:client:1")).is_some_and(|r| r.contains("küche")), "{kind:?}: {dump:?}");
            assert!(dump.0.keys().all(|key| key.starts_with(&base)), "{kind:?}: {dump:?}");
            let record: String = deployment.ask(&["GET", &format!("{base}:client:1")]);
            assert!(record.contains("key-1"));
            drop(peer);
            deployment.clear("side");
            assert!(deployment.dump("").0.is_empty(), "{kind:?}");
        }
    }
}
