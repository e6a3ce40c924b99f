//! `listen`: runs the node until it is told to stop.

mod announce;
mod observers;
mod signals;
mod systemd;

use std::ffi::OsString;
use std::io::Write;
use std::net::{SocketAddr, TcpStream, ToSocketAddrs as _};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::ValueEnum;
use clap::builder::BoolishValueParser;
use hivemind_node::event::Observer;
use hivemind_node::health::{Server, Vital};
use hivemind_node::metrics::Metrics;
use hivemind_node::settings::{Agent, ClientCertificates};
use hivemind_node::{Node, StartError};

use super::{Context, Session};
use crate::audit::{Entry, Log, Recorder};
use crate::failure::{Exit, Failure};
use crate::modes;
use crate::node::settings::{self, AgentKind, Given, bus_address};
use crate::offload::Pool;
use crate::plugins::search::is_privileged;
use observers::{Logged, Several};
use signals::{Signal, Signals};

/// The arguments of `listen`.
#[derive(Debug, Default, clap::Args)]
#[command(
    after_help = "What is not given here comes from server.json, where the Python node keeps it too. SIGTERM and SIGINT stop the node \
after it has told its satellites; a second one stops it at once. Certificates and clients are looked at anew while it runs, so there is nothing \
to reload."
)]
pub struct Args {
    /// Listen on this name or address of the machine
    #[arg(long, value_name = "HOST")]
    pub host: Option<String>,
    /// Listen on this port; 0 takes a free one
    #[arg(long, value_name = "PORT")]
    pub port: Option<u16>,
    /// Encrypt connections with TLS, or not
    #[arg(long, value_name = "BOOLEAN", num_args = 0..=1, default_missing_value = "true", value_parser = BoolishValueParser::new())]
    pub ssl: Option<bool>,
    /// The folder of the certificate and its key; made on the first run if they are not there
    #[arg(long, value_name = "DIR")]
    pub cert_dir: Option<PathBuf>,
    /// The certificate is NAME.crt, its key NAME.key
    #[arg(long, value_name = "NAME")]
    pub cert_name: Option<String>,
    /// Whether satellites show a certificate: those of add-client --cert must match
    #[arg(long, value_name = "WHETHER", value_enum)]
    pub client_certs: Option<ClientCerts>,
    /// Who answers satellites: the OVOS messagebus, the node itself, or the node if no messagebus can be reached now
    #[arg(long, value_name = "AGENT", value_enum)]
    pub agent: Option<AgentChoice>,
    /// Start on a store without clients, or with far fewer than before, and take strangers for strangers
    #[arg(long)]
    pub allow_empty: bool,
    /// Make what is missing of the node's identity although clients are paired with a node: each has to be paired anew
    #[arg(long)]
    pub new_identity: bool,
    /// Serve /metrics and /_healthz here: a loopback address and port, or a port
    #[arg(long, value_name = "ADDR", value_parser = settings::parse_metrics)]
    pub metrics: Option<SocketAddr>,
    /// Write the audit log here
    #[arg(long, value_name = "FILE")]
    pub audit: Option<PathBuf>,
    /// How log lines look
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t)]
    pub log_format: LogFormat,
}

/// `--client-certs`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ClientCerts {
    /// They are not asked
    Off,
    /// They may; a client that has one in its record must
    Optional,
    /// Each must show the one of its record
    Require,
}

/// `--agent`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum AgentChoice {
    /// The OVOS messagebus of server.json
    Ovos,
    /// The node itself: utterances come back as spoken
    Echo,
    /// The messagebus if it can be reached now, else echo
    Auto,
}

/// `--log-format`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum LogFormat {
    /// Lines for people
    #[default]
    Text,
    /// A JSON object a line
    Json,
}

impl Args {
    fn given(&self) -> Given {
        Given {
            host: self.host.clone(),
            port: self.port,
            ssl: self.ssl,
            cert_dir: self.cert_dir.clone(),
            cert_name: self.cert_name.clone(),
            client_certificates: self.client_certs.map(|certs| match certs {
                ClientCerts::Off => ClientCertificates::Off,
                ClientCerts::Optional => ClientCertificates::Optional,
                ClientCerts::Require => ClientCertificates::Require,
            }),
            agent: self.agent.and_then(|agent| match agent {
                AgentChoice::Ovos => Some(AgentKind::Ovos),
                AgentChoice::Echo => Some(AgentKind::Echo),
                AgentChoice::Auto => None,
            }),
            allow_empty: self.allow_empty,
            new_identity: self.new_identity,
            metrics: self.metrics,
            audit: self.audit.clone(),
        }
    }
}

/// Runs the node.
///
/// # Errors
/// Whatever kept it from starting. One that is told to stop ends well.
pub fn run(args: &Args, cx: &Context<'_>, _out: &mut dyn Write) -> Result<(), Failure> {
    let config = cx.config()?;
    let trusted = !is_privileged();
    let environment = |name: &str| trusted.then(|| std::env::var_os(name)).flatten().map(OsString::into_string)?.ok();
    let mut read = settings::read(&config, &cx.places, &args.given(), &environment)?;
    if args.agent == Some(AgentChoice::Auto)
        && let Agent::Ovos { url } = &read.settings.agent
        && !is_reachable(bus_address(url))
    {
        read.remarks
            .push(format!("no messagebus answers at {}, so this node answers utterances itself (echo)", bus_address(url)));
        read.settings.agent = Agent::Echo;
    }
    read.remarks.iter().for_each(|remark| tracing::warn!("{remark}"));
    let identity = hivemind_node::identity_files(&read.settings.identity);
    modes::check_files(identity.iter().map(PathBuf::as_path), cx.global.strict)?;

    let pool = Arc::new(Pool::new(read.storage_threads));
    let opened = cx.opener.open_on(cx.global, &config, pool)?;
    let clients = opened.clients()?;
    let session = Session { config, opened, clients };

    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name("node")
        .build()
        .map_err(|e| Failure::new(Exit::Failed, "no-threads", format!("the system gave the node no threads: {e}")))?;
    let result = runtime.block_on(serve(args, &session, read, cx));
    // A lookup of a name that does not come back is not waited for.
    runtime.shutdown_timeout(Duration::from_secs(1));
    result
}

async fn serve(args: &Args, session: &Session, read: settings::Read, cx: &Context<'_>) -> Result<(), Failure> {
    // Before anything is announced: whoever sees the announcement may send one.
    let mut signals = Signals::new().map_err(|e| Failure::new(Exit::Failed, "no-signals", format!("signals: {e}")))?;
    let metrics = Arc::new(Metrics::default());
    if let Some(counts) = session.clients.cache_counts() {
        metrics.watch_cache(counts);
    }
    let recorder = recorder(&read)?;
    let mut observers: Vec<Arc<dyn Observer>> = vec![Arc::clone(&metrics) as _, Arc::new(Logged::default())];
    observers.extend(recorder.clone().map(|recorder| recorder as _));
    let agent = read.settings.agent.clone();
    let (tls, metrics_at) = (read.settings.tls.clone(), read.settings.metrics);
    let vital = Arc::new(Vital::default());
    let server = match metrics_at {
        None => None,
        Some(at) => Some(Server::start(at, Arc::clone(&metrics), Arc::clone(&vital)).await.map_err(|e| {
            Failure::new(Exit::Failed, "address", format!("cannot serve metrics on {at}: {e}"))
                .help("choose another --metrics address")
        })?),
    };
    let observer = Arc::new(Several(observers));
    let node = Node::start(read.settings, session.clients.clone(), observer).await.map_err(refused)?;
    vital.set(node.health());
    if let Some(recorder) = &recorder {
        recorder.record(Entry { detail: format!("listening on {}", node.address()), ..Entry::now("started") });
    }
    let live = announce::clients(session).await;
    let facts = announce::Facts {
        address: node.address(),
        is_encrypted: tls.is_some(),
        agent: &agent,
        module: &session.opened.module,
        live,
        metrics: server.as_ref().map(Server::address),
        audit: read.audit.file.as_deref().filter(|_| recorder.is_some()),
    };
    announce::started(&facts, args.log_format, cx.console);
    systemd::ready(&facts);

    until_stopped(&mut signals, &node, &vital).await;
    systemd::stopping(read.grace);
    tracing::info!("stopping; satellites have {} s to go", read.grace.as_secs());
    let is_in_a_hurry = tokio::select! {
        () = node.stop(read.grace) => false,
        () = signals.stop() => true,
    };
    if is_in_a_hurry {
        tracing::warn!("stopped at once");
        node.stop_at_once().await;
    }
    drop(server);
    if let Some(recorder) = recorder {
        recorder.record(Entry::now("stopped"));
        // It waits for the disk.
        let _ = tokio::task::spawn_blocking(move || recorder.end()).await;
    }
    Ok(())
}

/// Looks after the node until somebody wants it to stop.
async fn until_stopped(signals: &mut Signals, node: &Node, vital: &Vital) {
    let mut second = tokio::time::interval(Duration::from_secs(1));
    let mut watchdog = systemd::Watchdog::new();
    loop {
        tokio::select! {
            signal = signals.next() => match signal {
                Signal::Stop => return,
                Signal::Hangup => tracing::info!("SIGHUP: certificates and clients are looked at anew by themselves; server.json needs a restart"),
            },
            _ = second.tick() => {
                let health = node.health();
                vital.set(health);
                watchdog.look(&health);
            }
        }
    }
}

fn recorder(read: &settings::Read) -> Result<Option<Arc<Recorder>>, Failure> {
    let Some(file) = &read.audit.file else { return Ok(None) };
    let log = Log::new(file.clone(), read.audit.max_bytes, read.audit.keep);
    let started = Recorder::start(log);
    started
        .map(|recorder| Some(Arc::new(recorder)))
        .map_err(|e| Failure::new(Exit::Failed, "no-threads", format!("the audit log: {e}")))
}

fn refused(error: StartError) -> Failure {
    let message = error.to_string();
    match error {
        StartError::Bind { error, .. } if error.kind() == std::io::ErrorKind::AddrInUse => {
            Failure::new(Exit::Conflict, "address-in-use", message)
                .help("another program listens there, a Python node maybe: stop it, or choose another --port")
        }
        StartError::Bind { error, .. } if error.kind() == std::io::ErrorKind::PermissionDenied => {
            Failure::new(Exit::Config, "address", message)
                .help("ports below 1024 need a right of their own; choose another --port")
        }
        StartError::Bind { .. } => Failure::new(Exit::Config, "address", message)
            .help("correct `host` and `port` of network_protocol, or --host and --port"),
        StartError::Unpaired { .. } => Failure::new(Exit::Config, "identity-missing", message).help(
            "copy that node's identity here, or run as the user it belongs to; --new-identity makes what is missing, and every \
             satellite has to be paired anew",
        ),
        StartError::Storage { error, .. } => {
            let failure = Failure::from(error);
            Failure { message, ..failure }
        }
        StartError::Identity(_) => Failure::new(Exit::Config, "identity", message),
        StartError::Tls(_) => Failure::new(Exit::Config, "certificate", message),
        _ => Failure::new(Exit::Failed, "start", message),
    }
}

/// Whether somebody takes connections there.
fn is_reachable(address: &str) -> bool {
    let Ok(addresses) = address.to_socket_addrs() else { return false };
    addresses.into_iter().any(|address| TcpStream::connect_timeout(&address, Duration::from_secs(1)).is_ok())
}
