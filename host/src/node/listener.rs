//! Where the node listens.

use std::path::Path;

use serde_json::Value;

use super::block::Block;
use super::settings::{Given, WEBSOCKET};
use crate::failure::Failure;
use crate::files;

/// The block of the listener. Transports are switched on by their being there, so a list without this one is a node that nobody reaches.
pub(super) fn block<'c>(root: &Block<'c>) -> Result<Block<'c>, Failure> {
    let transports = root.block("network_protocol")?;
    let names: Vec<&str> = transports.names().collect();
    if transports.is_there() && !names.contains(&WEBSOCKET) {
        let found = if names.is_empty() { "nothing".to_owned() } else { names.join(", ") };
        return Err(Failure::config(format!("network_protocol: expected {WEBSOCKET}, found {found}"))
            .help(format!("add \"{WEBSOCKET}\": {{}}; it is the transport that this program offers")));
    }
    transports.block(WEBSOCKET)
}

/// An address and where it is from.
pub(super) struct Address {
    /// `host:port`.
    pub(super) text: String,
    /// What the operator should know of it.
    pub(super) remark: Option<String>,
}

/// The command line's, the block's, or the one that `hivemind-client set-identity` left in the identity, as in the Python node: it may be
/// a narrower one than all of this machine. Where no transports are configured at all, the Python node assumes a block that names both.
pub(super) fn address(network: &Block<'_>, given: &Given, identity: &Path) -> Result<Address, Failure> {
    let of_identity = if network.is_there() { Master::of(identity) } else { Master::default() };
    let (mut text, mut from_identity) = (None, Vec::new());
    let host = match (&given.host, network.text("host")?, &of_identity.host) {
        (Some(host), ..) => host,
        (None, Some(host), _) => host,
        (None, None, Some(host)) => {
            from_identity.push("default_master");
            text.insert(host.clone())
        }
        (None, None, None) => "0.0.0.0",
    };
    // The Python node takes an address with a scheme too.
    let host = host.rsplit("://").next().unwrap_or(host).trim_end_matches('/');
    let host = host.trim_start_matches('[').trim_end_matches(']');
    if host.is_empty() || host.contains(|c: char| c.is_whitespace() || c == '/') {
        let expected = "expected the name or address of this machine to listen on";
        return Err(if given.host.is_some() {
            Failure::usage(format!("--host: {expected}"))
        } else if from_identity.is_empty() {
            Failure::config(format!("{}: {expected}", network.place_of("host")))
        } else {
            let what = format!("{} names no address, and default_master in {} is none", network.place_of("host"), file(identity));
            Failure::config(format!("{what}: {expected}"))
        });
    }
    let port = match (given.port, network.whole("port", 0..=65535)?, of_identity.port) {
        (Some(port), ..) => u64::from(port),
        (None, Some(port), _) => port,
        (None, None, Some(port)) => {
            from_identity.push("default_port");
            u64::from(port)
        }
        (None, None, None) => 5678,
    };
    let text = if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
    let remark = (!from_identity.is_empty()).then(|| {
        let (names, file) = (from_identity.join(" and "), file(identity));
        format!(
            "listening on {text}, as {names} in {file} say; set host and port of network_protocol.{WEBSOCKET} to be sure of it"
        )
    });
    Ok(Address { text, remark })
}

fn file(identity: &Path) -> String {
    identity.join("_identity.json").display().to_string()
}

/// Where the identity says that the master of this machine's clients is.
#[derive(Default)]
struct Master {
    host: Option<String>,
    port: Option<u16>,
}

impl Master {
    /// What is set. A file that cannot be read is named when the node opens its identity.
    fn of(identity: &Path) -> Self {
        let text = files::read_text(&identity.join("_identity.json")).unwrap_or_default();
        let stored: Value = serde_json::from_str(&text).unwrap_or_default();
        let port = match &stored["default_port"] {
            Value::String(port) => port.trim().parse().ok(),
            port => port.as_u64().and_then(|port| u16::try_from(port).ok()),
        };
        Self {
            host: stored["default_master"].as_str().filter(|host| !host.is_empty()).map(str::to_owned),
            port: port.filter(|port| *port != 0),
        }
    }
}
