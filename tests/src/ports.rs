//! Ports for servers.

use std::collections::BTreeSet;
use std::net::TcpListener;
use std::sync::{Mutex, PoisonError};

/// Where ports for servers begin. Above the lower end of the ephemeral range lie the ports of outgoing connections: a client that
/// tries a dead server again and again may get the server's own port there and be connected to itself.
const FIRST: u16 = 10_000;

/// A port that nothing listened on a moment ago and that this process has given to nobody.
#[must_use]
pub fn free() -> u16 {
    static GIVEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());
    let ephemeral = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
    let end = ephemeral.split_whitespace().next().and_then(|n| n.parse().ok()).filter(|n| *n > 2 * FIRST).unwrap_or(32_768);
    loop {
        let port = fastrand::u16(FIRST..end);
        if TcpListener::bind(("127.0.0.1", port)).is_ok() && GIVEN.lock().unwrap_or_else(PoisonError::into_inner).insert(port) {
            return port;
        }
    }
}
