//! The settings block: the Python plugin's keys with the Python plugin's meaning, and a few of our own.
//!
//! The decision behind it: **a block that the Python node takes is taken here too.** That node lets null stand for a default, trims
//! the tag of a cluster, lets `ssl` win over `use_ssl`; so does this. What it would only stumble over later (a port of 0, half of a
//! certificate's files) is refused at once. Our own keys add what it cannot say: Sentinel, Unix sockets, how long to wait.

use std::fmt;
use std::time::Duration;

use hivemind_abi::model::{Error, Result};
use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer};
use zeroize::Zeroizing;

const LONGEST_WAIT_MS: u64 = 600_000;
const MOST_CONNECTIONS: usize = 10_000;
const MOST_RETRIES: u32 = 100;
const LONGEST_RETRY_DELAY: f64 = 60.0;

/// The settings of a handle; `config.schema.json` describes the same for the host.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Config {
    /// Name or address of the server. Default: `127.0.0.1`.
    #[serde(deserialize_with = "or_default::<_, Host>")]
    pub host: Host,
    /// Its port. Default: 6379.
    #[serde(deserialize_with = "or_default::<_, Port>")]
    pub port: Port,
    /// Path of the server's Unix socket, instead of host and port. Default: none.
    pub unix_socket: Option<String>,
    /// Number of the database, not on a cluster. Default: 0.
    #[serde(deserialize_with = "or_default::<_, i64>")]
    pub db: i64,
    /// ACL user. Default: `default`.
    #[serde(deserialize_with = "or_default::<_, User>")]
    pub username: User,
    /// Its password. Default: none.
    pub password: Option<Secret>,
    /// First part of every key of the clients. Default: `client`.
    #[serde(deserialize_with = "or_default::<_, Prefix>")]
    pub index_prefix: Prefix,
    /// Some nodes of a cluster. Default: none, and whether the server is part of one is asked of it.
    pub cluster_nodes: Option<Vec<Endpoint>>,
    /// The tag that keeps a namespace in one slot of a cluster. Default: none.
    pub cluster_hash_tag: Option<String>,
    /// Sentinels that know where the master is. Default: none.
    pub sentinels: Option<Vec<Endpoint>>,
    /// What the Sentinels call the master. Default: `mymaster`.
    pub sentinel_master: String,
    /// ACL user of the Sentinels. Default: none.
    pub sentinel_username: Option<String>,
    /// Password of the Sentinels. Default: none.
    pub sentinel_password: Option<Secret>,
    /// Most connections to one server. Default: 50.
    pub max_connections: usize,
    /// How long the Python node's admission records live, in seconds; kept for it. Default: 60.
    pub admission_record_ttl: u64,
    /// The Python node's own cache, in seconds; accepted and unused. Default: 0.
    pub api_key_cache_ttl: f64,
    /// Its size; accepted and unused. Default: 2048.
    pub api_key_cache_size: u64,
    /// How often a call is repeated that may be. Default: 3.
    pub retry_attempts: u32,
    /// The pause before the first repetition, in seconds; it doubles each time. Default: 0.1.
    pub retry_delay: f64,
    /// How long connecting may take, in milliseconds. Default: 5000, as in the Python node.
    pub connect_timeout_ms: u64,
    /// How long the server may leave a command unanswered, in milliseconds. Default: 5000, as in the Python node.
    pub socket_timeout_ms: u64,
    /// Whether connections are encrypted. Default: false.
    pub use_ssl: bool,
    /// The same by its other name, which wins. Default: none.
    pub ssl: Option<bool>,
    /// File with our certificate and those that signed it, in PEM. Default: none.
    pub ssl_certfile: Option<String>,
    /// File with its private key, in PEM. Default: none, and the key is in the certificate's file.
    pub ssl_keyfile: Option<String>,
    /// File with the certificates that are trusted besides the system's, in PEM. Default: none.
    pub ssl_ca_certs: Option<String>,
    /// Whether the server's certificate is checked. Default: `required`.
    pub ssl_cert_reqs: CertReqs,
    /// Whether the certificate must be for the server's name. Default: true.
    pub ssl_check_hostname: bool,
    /// Accepted and unused, as in the Python node. Default: `clients`.
    #[serde(deserialize_with = "or_default::<_, Unused>")]
    pub name: Unused,
    /// Accepted and unused, as in the Python node. Default: none.
    pub subfolder: Option<String>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            host: Host::default(),
            port: Port::default(),
            unix_socket: None,
            db: 0,
            username: User::default(),
            password: None,
            index_prefix: Prefix::default(),
            cluster_nodes: None,
            cluster_hash_tag: None,
            sentinels: None,
            sentinel_master: "mymaster".to_owned(),
            sentinel_username: None,
            sentinel_password: None,
            max_connections: 50,
            admission_record_ttl: 60,
            api_key_cache_ttl: 0.0,
            api_key_cache_size: 2048,
            retry_attempts: 3,
            retry_delay: 0.1,
            connect_timeout_ms: 5000,
            socket_timeout_ms: 5000,
            use_ssl: false,
            ssl: None,
            ssl_certfile: None,
            ssl_keyfile: None,
            ssl_ca_certs: None,
            ssl_cert_reqs: CertReqs::Required,
            ssl_check_hostname: true,
            name: Unused::default(),
            subfolder: None,
        }
    }
}

/// Null stands for the default where the Python node replaces it.
fn or_default<'de, D: Deserializer<'de>, T: DeserializeOwned + Default>(deserializer: D) -> std::result::Result<T, D::Error> {
    Option::<T>::deserialize(deserializer).map(Option::unwrap_or_default)
}

macro_rules! defaulted {
    ($($(#[$doc:meta])* $name:ident($kind:ty) = $default:expr;)*) => {
        $(
            $(#[$doc])*
            #[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
            #[serde(transparent)]
            pub struct $name(pub $kind);

            impl Default for $name {
                fn default() -> Self {
                    Self($default)
                }
            }
        )*
    };
}

defaulted! {
    /// Name or address of a server.
    Host(String) = "127.0.0.1".to_owned();
    /// Port of a server.
    Port(u16) = 6379;
    /// Name of an ACL user.
    User(String) = "default".to_owned();
    /// First part of keys.
    Prefix(String) = "client".to_owned();
    /// What nobody reads.
    Unused(String) = "clients".to_owned();
}

/// Where a server listens.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Endpoint {
    /// Its name or address.
    pub host: String,
    /// Its port: a number, or a text that is one.
    #[serde(deserialize_with = "port")]
    pub port: u16,
}

fn port<'de, D: Deserializer<'de>>(deserializer: D) -> std::result::Result<u16, D::Error> {
    let value = serde_json::Value::deserialize(deserializer)?;
    let number = match &value {
        serde_json::Value::String(text) => text.trim().parse().ok(),
        other => other.as_u64().and_then(|n| u16::try_from(n).ok()),
    };
    number.ok_or_else(|| D::Error::custom(format!("port: expected a number from 1 to 65535, found {value}")))
}

/// A password. It is never shown, not even in an error about its own kind, and its memory is wiped.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// The password itself.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        // Any value is accepted at first, because the message about a wrong type would quote it.
        match serde_json::Value::deserialize(deserializer)? {
            serde_json::Value::String(text) => Ok(Self(Zeroizing::new(text))),
            _ => Err(D::Error::custom("password: expected null or a text")),
        }
    }
}

/// How the server's certificate is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CertReqs {
    /// It must be there and be trusted.
    Required,
    /// The same: a TLS server always shows one, and one that is shown is checked.
    Optional,
    /// It is not looked at, its name neither.
    None,
}

impl Config {
    /// Reads and checks a settings block.
    ///
    /// # Errors
    /// `invalid`, naming what is wrong with which setting.
    pub fn parse(text: &str) -> Result<Self> {
        let mut config: Self = serde_json::from_str(text).map_err(|e| wrong(&e.to_string()))?;
        config.normalize();
        config.check_ranges()?;
        config.check_places()?;
        config.check_combinations()?;
        Ok(config)
    }

    /// What the Python node does before it looks.
    fn normalize(&mut self) {
        let filled = |text: Option<String>| text.filter(|t| !t.is_empty());
        self.cluster_hash_tag = filled(self.cluster_hash_tag.take().map(|tag| tag.trim().to_owned()));
        self.unix_socket = filled(self.unix_socket.take());
        for file in [&mut self.ssl_certfile, &mut self.ssl_keyfile, &mut self.ssl_ca_certs, &mut self.sentinel_username] {
            *file = filled(file.take());
        }
        for secret in [&mut self.password, &mut self.sentinel_password] {
            *secret = secret.take().filter(|s| !s.text().is_empty());
        }
        for nodes in [&mut self.cluster_nodes, &mut self.sentinels] {
            *nodes = nodes.take().filter(|nodes| !nodes.is_empty());
        }
        self.use_ssl = self.ssl.take().unwrap_or(self.use_ssl);
    }

    fn check_ranges(&self) -> Result<()> {
        let within = |key: &str, from: u64, to: u64, found: u64| {
            if (from..=to).contains(&found) {
                return Ok(());
            }
            Err(wrong(&format!("{key}: expected {from} to {to}, found {found}")))
        };
        within("port", 1, u64::from(u16::MAX), u64::from(self.port.0))?;
        within("max_connections", 1, MOST_CONNECTIONS as u64, self.max_connections as u64)?;
        within("retry_attempts", 0, u64::from(MOST_RETRIES), u64::from(self.retry_attempts))?;
        within("connect_timeout_ms", 1, LONGEST_WAIT_MS, self.connect_timeout_ms)?;
        within("socket_timeout_ms", 1, LONGEST_WAIT_MS, self.socket_timeout_ms)?;
        within("admission_record_ttl", 1, u64::MAX, self.admission_record_ttl)?;
        within("api_key_cache_size", 1, u64::MAX, self.api_key_cache_size)?;
        if self.db < 0 {
            return Err(wrong(&format!("db: expected a number from 0 on, found {}", self.db)));
        }
        if !(0.0..=LONGEST_RETRY_DELAY).contains(&self.retry_delay) {
            return Err(wrong(&format!("retry_delay: expected 0 to {LONGEST_RETRY_DELAY} seconds, found {}", self.retry_delay)));
        }
        if self.api_key_cache_ttl.is_nan() || self.api_key_cache_ttl < 0.0 {
            return Err(wrong(&format!("api_key_cache_ttl: expected a number from 0 on, found {}", self.api_key_cache_ttl)));
        }
        Ok(())
    }

    fn check_places(&self) -> Result<()> {
        let nodes = |key: &'static str, list: &Option<Vec<Endpoint>>| {
            list.iter().flatten().map(move |node| (key, node.host.clone(), node.port)).collect::<Vec<_>>()
        };
        let mut places = vec![("host", self.host.0.clone(), self.port.0)];
        places.extend(nodes("cluster_nodes", &self.cluster_nodes));
        places.extend(nodes("sentinels", &self.sentinels));
        for (key, host, port) in places {
            if host.trim().is_empty() || host.contains('\0') || host.contains("://") || host.contains('/') {
                return Err(wrong(&format!("{key}: expected a host's name or address alone, found {:?}", masked(&host))));
            }
            if port == 0 {
                return Err(wrong(&format!("{key}: expected a port from 1 to 65535, found 0")));
            }
        }
        if let Some(tag) = self.cluster_hash_tag.as_deref().filter(|tag| tag.contains(['{', '}'])) {
            return Err(wrong(&format!("cluster_hash_tag: expected a text without {{ and }}, found {tag:?}")));
        }
        Ok(())
    }

    fn check_combinations(&self) -> Result<()> {
        let given = [
            ("unix_socket", self.unix_socket.is_some()),
            ("cluster_nodes", self.cluster_nodes.is_some()),
            ("sentinels", self.sentinels.is_some()),
        ];
        let given: Vec<&str> = given.into_iter().filter_map(|(key, is_given)| is_given.then_some(key)).collect();
        if let [one, other, ..] = given[..] {
            return Err(wrong(&format!("{one} and {other} name different places; remove one of them")));
        }
        if self.cluster_nodes.is_some() && self.db != 0 {
            return Err(wrong(&format!("db: a cluster has database 0 alone, found {}", self.db)));
        }
        if self.unix_socket.is_some() && self.use_ssl {
            return Err(wrong("use_ssl: a Unix socket is not encrypted; remove one of use_ssl and unix_socket"));
        }
        if self.ssl_keyfile.is_some() && self.ssl_certfile.is_none() {
            return Err(wrong("ssl_keyfile: a key is of use with its certificate only; set ssl_certfile too"));
        }
        Ok(())
    }

    /// How long connecting may take.
    #[must_use]
    pub const fn connect_timeout(&self) -> Duration {
        Duration::from_millis(self.connect_timeout_ms)
    }

    /// How long the server may leave a command unanswered.
    #[must_use]
    pub const fn socket_timeout(&self) -> Duration {
        Duration::from_millis(self.socket_timeout_ms)
    }

    /// Whether the name in the certificate is compared. Never without looking at the certificate.
    #[must_use]
    pub fn checks_hostname(&self) -> bool {
        self.ssl_check_hostname && self.ssl_cert_reqs != CertReqs::None
    }
}

fn wrong(what: &str) -> Error {
    Error::invalid(format!("the settings of {} are wrong: {what}", crate::MODULE))
}

/// Somebody may have written a whole address there, with its password.
fn masked(host: &str) -> String {
    host.rsplit_once('@').map_or_else(|| host.to_owned(), |(_, rest)| format!("…@{rest}"))
}

#[cfg(test)]
mod tests;
