//! `server.json` and the options of `listen`, as what a node is told.
//!
//! The Python node's settings keep their places and their defaults. What only this program knows stands in one block of its own,
//! [`OWN`], which a Python node leaves alone. A wrong value stops the start and is named by file and key: a node that listens
//! elsewhere than its operator wrote, or admits whom it was told not to, is worse than one that does not start.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use hivemind_node::settings::{Agent, ClientCertificates, Limits, Policy, Settings, Tls};
use serde_json::Value;

use super::block::Block;
use super::listener;
use super::not_offered;
use crate::audit;
use crate::config::{Config, Places};
use crate::failure::{Exit, Failure};

/// The block of what only this program knows.
pub const OWN: &str = "hivemind-host";

/// The Python node's name for what listens.
pub const WEBSOCKET: &str = "hivemind-websocket-plugin";

/// The Python node's name for the agent on an OVOS messagebus.
pub const OVOS: &str = "hivemind-ovos-agent-plugin";

/// The Python node's name for the policy that carries blacklists into the session.
const OVOS_POLICY: &str = "hivemind-ovos-agent-policy";

/// How long satellites have to take their leave when the node stops.
const GRACE: Duration = Duration::from_secs(5);

/// As good as never: ten years.
const FAR: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);

/// What the command line says, which goes before `server.json`.
#[derive(Debug, Clone, Default)]
pub struct Given {
    /// `--host`.
    pub host: Option<String>,
    /// `--port`.
    pub port: Option<u16>,
    /// `--ssl`.
    pub ssl: Option<bool>,
    /// `--cert-dir`.
    pub cert_dir: Option<PathBuf>,
    /// `--cert-name`.
    pub cert_name: Option<String>,
    /// `--client-certs`.
    pub client_certificates: Option<ClientCertificates>,
    /// `--agent`, unless it is to be found out.
    pub agent: Option<AgentKind>,
    /// `--allow-empty`.
    pub allow_empty: bool,
    /// `--new-identity`.
    pub new_identity: bool,
    /// `--metrics`.
    pub metrics: Option<SocketAddr>,
    /// `--audit`.
    pub audit: Option<PathBuf>,
}

/// Who answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AgentKind {
    /// An OVOS messagebus.
    Ovos,
    /// The node itself.
    Echo,
}

/// All that `listen` goes by.
#[derive(Debug, Clone)]
pub struct Read {
    /// What the node is told.
    pub settings: Settings,
    /// Where what happens is written down.
    pub audit: audit::Settings,
    /// How many calls to the storage run at once.
    pub storage_threads: usize,
    /// How long satellites have to take their leave.
    pub grace: Duration,
    /// What the operator should know of what is configured and not offered.
    pub remarks: Vec<String>,
}

/// Reads all of it.
///
/// # Errors
/// A configuration failure naming file and key; a usage failure for an option.
pub fn read(
    config: &Config,
    places: &Places,
    given: &Given,
    environment: &dyn Fn(&str) -> Option<String>,
) -> Result<Read, Failure> {
    read_stored(config, places, given, environment).map_err(|failure| config.named(failure))
}

fn read_stored(
    config: &Config,
    places: &Places,
    given: &Given,
    environment: &dyn Fn(&str) -> Option<String>,
) -> Result<Read, Failure> {
    let root = Block::root(config.stored());
    let own = root.block(OWN)?;
    own.only(&["limits", "client_certificates", "metrics", "audit", "storage_threads", "stop_seconds"])?;
    let network = listener::block(&root)?;
    let identity = places.config.join("hivemind");
    let address = listener::address(&network, given, &identity)?;
    let settings = Settings {
        address: address.text,
        tls: tls(&network, &own, places, given)?,
        identity,
        agent: agent(&root, given)?,
        policy: policy(&root)?,
        last_seen_interval: time(root.number("last_seen_update_interval")?.unwrap_or(60.0)),
        min_password_bits: password_bits(&root, environment)?,
        allow_empty: given.allow_empty,
        new_identity: given.new_identity,
        limits: limits(&root, &network, &own.block("limits")?, environment)?,
        metrics: metrics(&own, given)?,
    };
    Ok(Read {
        settings,
        audit: audit::Settings::read(config, places, given.audit.as_deref())?,
        storage_threads: size(&own, "storage_threads", 1..=512)?.unwrap_or(16),
        grace: own.whole("stop_seconds", 0..=3600)?.map_or(GRACE, Duration::from_secs),
        remarks: address.remark.into_iter().chain(not_offered::remarks(&root)?).collect(),
    })
}

fn tls(network: &Block<'_>, own: &Block<'_>, places: &Places, given: &Given) -> Result<Option<Tls>, Failure> {
    let configured = match own.text("client_certificates")? {
        None => ClientCertificates::Off,
        Some("off") => ClientCertificates::Off,
        Some("optional") => ClientCertificates::Optional,
        Some("require") => ClientCertificates::Require,
        Some(_) => {
            let place = own.place_of("client_certificates");
            return Err(Failure::config(format!("{place}: expected off, optional or require, found another text")));
        }
    };
    let client_certificates = given.client_certificates.unwrap_or(configured);
    if !given.ssl.map_or_else(|| network.truth("ssl"), |ssl| Ok(Some(ssl)))?.unwrap_or(false) {
        if client_certificates == ClientCertificates::Off {
            return Ok(None);
        }
        // Without TLS nobody shows one, and whoever asked for them would believe that they are asked for.
        let message = "client certificates are asked for, but connections are not encrypted";
        let help = "add --ssl, or set `ssl` of the network_protocol block to true";
        return Err(Failure::new(if given.ssl == Some(false) { Exit::Usage } else { Exit::Config }, "config", message).help(help));
    }
    let folder = match &given.cert_dir {
        Some(folder) => folder.clone(),
        None => network.text("cert_dir")?.map_or_else(|| places.data.join("hivemind"), PathBuf::from),
    };
    let name = match &given.cert_name {
        Some(name) => name.as_str(),
        None => network.text("cert_name")?.unwrap_or("hivemind"),
    };
    if name.contains(['/', '\\', '\0']) {
        return Err(Failure::config(format!("{}: expected a file's name without its ending", network.place_of("cert_name"))));
    }
    Ok(Some(Tls { folder: std::path::absolute(&folder).unwrap_or(folder), name: name.to_owned(), client_certificates }))
}

fn agent(root: &Block<'_>, given: &Given) -> Result<Agent, Failure> {
    let block = root.block("agent_protocol")?;
    let module = block.text("module")?.unwrap_or(OVOS);
    let configured = match module {
        OVOS | "ovos" => AgentKind::Ovos,
        "echo" => AgentKind::Echo,
        _ => {
            let message = format!("{}: expected {OVOS} or echo, found another module", block.place_of("module"));
            return Err(Failure::config(message).help("other agents need the Python node; `echo` answers utterances itself"));
        }
    };
    if given.agent.unwrap_or(configured) == AgentKind::Echo {
        return Ok(Agent::Echo);
    }
    let ovos = block.block(if block.get(OVOS).is_none() { module } else { OVOS })?;
    let host = ovos.text("host")?.unwrap_or("127.0.0.1");
    let port = ovos.whole("port", 1..=65535)?.unwrap_or(8181);
    let (scheme, host) = host.split_once("://").unwrap_or(("ws", host));
    let host = host.trim_end_matches('/').trim_start_matches('[').trim_end_matches(']');
    if scheme != "ws" || host.is_empty() || host.contains(|c: char| c.is_whitespace() || c == '/') {
        let message = format!("{}: expected the name or address of a messagebus reached by ws", ovos.place_of("host"));
        return Err(Failure::config(message));
    }
    let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
    Ok(Agent::Ovos { url: format!("ws://{host}:{port}/core") })
}

/// The chain behind the whitelist.
///
/// # Errors
/// A configuration failure naming the entry.
pub fn chain(config: &Config) -> Result<Vec<Policy>, Failure> {
    policy(&Block::root(config.stored())).map_err(|failure| config.named(failure))
}

/// The same of a file's settings. What is not known here cannot be enforced here, so it is no chain to start with.
fn policy(root: &Block<'_>) -> Result<Vec<Policy>, Failure> {
    let block = root.block("policy")?;
    let chain = match block.get("chain") {
        None => return Ok(vec![Policy::Ovos]),
        Some(Value::Array(chain)) => chain,
        Some(other) => return Err(block.wrong("chain", "a list of policies", other)),
    };
    let mut policies = Vec::new();
    for (position, entry) in chain.iter().enumerate() {
        let name = match entry {
            Value::String(name) => Some(name.as_str()),
            Value::Object(entry) => entry.get("module").and_then(Value::as_str),
            _ => None,
        };
        match name {
            Some(OVOS_POLICY) => policies.push(Policy::Ovos),
            _ => {
                let message =
                    format!("policy.chain[{position}]: expected {{\"module\": \"{OVOS_POLICY}\"}}, found another policy");
                return Err(Failure::config(message)
                    .help("a policy that is not known cannot be enforced; remove it, or keep the Python node"));
            }
        }
    }
    Ok(policies)
}

/// The runtime check of passwords, switched off as the Python node's is.
fn password_bits(root: &Block<'_>, environment: &dyn Fn(&str) -> Option<String>) -> Result<Option<f64>, Failure> {
    let bits = root.number("min_password_bits")?.unwrap_or(40.0);
    let checked = root.truth("runtime_password_strength_check")?.unwrap_or(true);
    let disabled = environment("HIVEMIND_DISABLE_PASSWORD_STRENGTH_CHECK").unwrap_or_default();
    let disabled = matches!(disabled.trim().to_lowercase().as_str(), "1" | "true" | "yes" | "on");
    Ok((checked && !disabled && bits > 0.0).then_some(bits))
}

fn limits(
    root: &Block<'_>,
    network: &Block<'_>,
    block: &Block<'_>,
    environment: &dyn Fn(&str) -> Option<String>,
) -> Result<Limits, Failure> {
    block.only(&[
        "connections",
        "connections_per_address",
        "handshakes",
        "handshake_seconds",
        "outbox_bytes",
        "incoming_bytes",
        "message_seconds",
        "derivations",
    ])?;
    let mut limits = Limits::default();
    let millions = 1..=10_000_000;
    limits.connections = size(block, "connections", millions.clone())?.unwrap_or(limits.connections);
    limits.connections_per_address =
        size(block, "connections_per_address", millions.clone())?.unwrap_or(limits.connections_per_address);
    limits.handshakes = size(block, "handshakes", millions)?.unwrap_or(limits.handshakes);
    // Stretching a password takes a slow machine seconds.
    limits.handshake_time = block.whole("handshake_seconds", 5..=3600)?.map_or(limits.handshake_time, Duration::from_secs);
    limits.outbox_bytes = size(block, "outbox_bytes", 65_536..=1 << 30)?.unwrap_or(limits.outbox_bytes);
    // Half of it has to hold the longest message.
    limits.incoming_bytes = size(block, "incoming_bytes", 64 << 20..=1 << 40)?.unwrap_or(limits.incoming_bytes);
    limits.message_time = block.whole("message_seconds", 5..=3600)?.map_or(limits.message_time, Duration::from_secs);
    limits.derivations = size(block, "derivations", 1..=64)?.unwrap_or(limits.derivations);
    limits.ping_flood_interval = root.number("ping_flood_interval")?.map_or(limits.ping_flood_interval, time);
    limits.ping_interval = seconds(network, "websocket_ping_interval", environment)?.unwrap_or(limits.ping_interval);
    limits.ping_timeout = seconds(network, "websocket_ping_timeout", environment)?.unwrap_or(limits.ping_timeout);
    Ok(limits)
}

/// A time of the listener's block, or of the variable that the Python node looks at where the block says nothing.
fn seconds(network: &Block<'_>, name: &str, environment: &dyn Fn(&str) -> Option<String>) -> Result<Option<Duration>, Failure> {
    let variable = format!("HIVEMIND_{}", name.to_ascii_uppercase());
    let number = match (network.number(name)?, environment(&variable).filter(|text| !text.trim().is_empty())) {
        (Some(number), _) => number,
        (None, None) => return Ok(None),
        (None, Some(text)) => match text.trim().parse() {
            Ok(number) if f64::is_finite(number) && number >= 0.0 => number,
            _ => return Err(Failure::new(Exit::Config, "config", format!("${variable}: expected a number of seconds"))),
        },
    };
    Ok(Some(time(number)))
}

/// So many seconds. A node adds times to the clock, which ends somewhere, so that more than [`FAR`] is that.
fn time(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).map_or(FAR, |time| time.min(FAR))
}

fn size(block: &Block<'_>, name: &str, range: std::ops::RangeInclusive<u64>) -> Result<Option<usize>, Failure> {
    Ok(block.whole(name, range)?.and_then(|n| usize::try_from(n).ok()))
}

fn metrics(own: &Block<'_>, given: &Given) -> Result<Option<SocketAddr>, Failure> {
    if let Some(address) = given.metrics {
        return loopback(address).map(Some).map_err(|what| Failure::usage(format!("--metrics: {what}")));
    }
    let place = || own.place_of("metrics");
    let address = match own.get("metrics") {
        None => return Ok(None),
        Some(Value::Bool(false)) => return Ok(None),
        Some(Value::Number(port)) => port.to_string(),
        Some(Value::String(address)) => address.clone(),
        Some(other) => return Err(own.wrong("metrics", "an address and port", other)),
    };
    let address = parse_metrics(&address).map_err(|what| Failure::config(format!("{}: {what}", place())))?;
    loopback(address).map(Some).map_err(|what| Failure::config(format!("{}: {what}", place())))
}

/// An address and port, or a port on this machine.
///
/// # Errors
/// What was expected.
pub fn parse_metrics(text: &str) -> Result<SocketAddr, String> {
    if let Ok(port) = text.trim().parse::<u16>() {
        return Ok((Ipv4Addr::LOCALHOST, port).into());
    }
    let text = text.trim().replacen("localhost:", "127.0.0.1:", 1);
    text.parse().map_err(|_| "expected an address and port such as 127.0.0.1:9464, or a port".to_owned())
}

/// What is measured is for this machine: it tells who is connected how often, and asks nobody for a password.
fn loopback(address: SocketAddr) -> Result<SocketAddr, String> {
    let is_own = match address.ip() {
        IpAddr::V6(ip) => ip.to_ipv4_mapped().map_or(ip.is_loopback(), |ip| ip.is_loopback()),
        IpAddr::V4(ip) => ip.is_loopback(),
    };
    if is_own { Ok(address) } else { Err(format!("expected a loopback address such as 127.0.0.1, found {}", address.ip())) }
}

/// Where an agent's messagebus is, as `host:port`.
#[must_use]
pub fn bus_address(url: &str) -> &str {
    url.trim_start_matches("ws://").split('/').next().unwrap_or_default()
}

#[cfg(test)]
mod tests;
