//! The first lines of a node: where it listens, on what, for whom, and what to do next.

use std::net::SocketAddr;
use std::path::Path;

use hivemind_node::settings::Agent;

use super::{LogFormat, Session};
use crate::cli::Console;
use crate::plain::plain;

/// What a node that has just started is.
pub(super) struct Facts<'a> {
    pub(super) address: SocketAddr,
    pub(super) is_encrypted: bool,
    pub(super) agent: &'a Agent,
    pub(super) module: &'a str,
    /// How many clients it knows; `None` if the storage could not tell.
    pub(super) live: Option<u64>,
    pub(super) metrics: Option<SocketAddr>,
    pub(super) audit: Option<&'a Path>,
}

impl Facts<'_> {
    fn url(&self) -> String {
        format!("{}://{}", if self.is_encrypted { "wss" } else { "ws" }, self.address)
    }

    fn agent(&self) -> String {
        match self.agent {
            Agent::Ovos { url } => plain(url).into_owned(),
            Agent::Echo => "echo (utterances come back as spoken)".to_owned(),
        }
    }

    /// How a satellite on this machine reaches it.
    fn host(&self) -> String {
        let ip = self.address.ip();
        let host = if !ip.is_unspecified() {
            ip.to_string()
        } else if ip.is_ipv6() {
            "::1".to_owned()
        } else {
            "127.0.0.1".to_owned()
        };
        let scheme = if self.is_encrypted { "wss" } else { "ws" };
        if host.contains(':') { format!("{scheme}://[{host}]") } else { format!("{scheme}://{host}") }
    }
}

/// What to type for this program: as it was called, because a newcomer's is on no search path.
fn program() -> String {
    let called = std::env::args().next().unwrap_or_default();
    let is_path = called.contains('/') && called.chars().all(|c| c.is_ascii_alphanumeric() || "/._-+".contains(c));
    if is_path { called } else { "hivemind-host".to_owned() }
}

/// How many clients there are, if the storage tells.
pub(super) async fn clients(session: &Session) -> Option<u64> {
    session.clients.count_live().await.inspect_err(|error| tracing::warn!("the clients cannot be counted: {error}")).ok()
}

/// Tells the operator. Never on the output: that is nobody's data.
pub(super) fn started(facts: &Facts<'_>, format: LogFormat, console: &dyn Console) {
    if format == LogFormat::Json {
        let metrics = facts.metrics.map(|at| at.to_string());
        let audit = facts.audit.map(|path| path.display().to_string());
        tracing::info!(
            url = facts.url(),
            backend = facts.module,
            clients = facts.live,
            agent = facts.agent(),
            metrics,
            audit,
            "listening"
        );
        return;
    }
    let mut lines = vec![format!("Listening on {}", facts.url())];
    let clients = match facts.live {
        None => "clients cannot be counted".to_owned(),
        Some(1) => "1 client".to_owned(),
        Some(count) => format!("{count} clients"),
    };
    lines.push(format!("Backend: {}, {clients}", facts.module));
    lines.push(format!("Agent: {}", facts.agent()));
    lines.extend(facts.metrics.map(|at| format!("Metrics: http://{at}/metrics")));
    lines.extend(facts.audit.map(|path| format!("Audit log: {}", path.display())));
    if facts.live == Some(0) {
        let port = facts.address.port();
        lines.extend([
            String::new(),
            "There are no clients yet, so nobody is admitted. In another terminal:".to_owned(),
            format!("  {} add-client --name kitchen --allow recognizer_loop:utterance", program()),
            "and with the access key and the password that it prints, on a satellite (pip install hivemind-bus-client):"
                .to_owned(),
            format!("  hivemind-client terminal --host {} --port {port} --key KEY --password PASSWORD", facts.host()),
        ]);
    }
    // As one piece: log lines of other threads do not come between.
    console.note(&lines.join("\n"));
}
