//! Taking connections.
//!
//! A listener never ends before the node stops: what goes wrong with one connection is that connection's, and while the system has no
//! file descriptors left, it waits for some to come back.

use std::io::{Error, ErrorKind, Result};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpSocket, TcpStream, lookup_host};

use crate::connection;
use crate::event::{Event, Party, Refusal};
use crate::server::Shared;

/// Connections that wait to be taken: after a restart all satellites come at once.
const BACKLOG: u32 = 4096;

/// How long is waited when nothing can be taken, at first and at most.
const WAIT: Duration = Duration::from_millis(20);
const LONGEST_WAIT: Duration = Duration::from_secs(1);

/// Listens on all addresses of a name. The port is the same on each, also if the system chose it.
///
/// # Errors
/// The system's, if that fails for one of them.
pub(crate) async fn bind(address: &str) -> Result<Vec<TcpListener>> {
    let mut listeners: Vec<TcpListener> = Vec::new();
    for mut one in lookup_host(address).await? {
        if let Some(first) = listeners.first() {
            one.set_port(first.local_addr()?.port());
        }
        listeners.push(listen(one)?);
    }
    if listeners.is_empty() {
        return Err(Error::new(ErrorKind::AddrNotAvailable, "the name has no address"));
    }
    Ok(listeners)
}

fn listen(address: SocketAddr) -> Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // Elsewhere this would let two programs listen at once.
    #[cfg(unix)]
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Takes connections until the node stops.
pub(crate) async fn accept(shared: Arc<Shared>, listener: TcpListener) {
    let mut wait = WAIT;
    loop {
        let accepted = tokio::select! {
            () = shared.stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((tcp, address)) => {
                wait = WAIT;
                take(&shared, tcp, address);
            }
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) => {
                tracing::error!(%error, "no connection can be taken now; those that are there go on");
                tokio::time::sleep(wait).await;
                wait = (wait * 2).min(LONGEST_WAIT);
            }
        }
    }
}

fn take(shared: &Arc<Shared>, tcp: TcpStream, address: SocketAddr) {
    let Some(slot) = shared.gate.enter(address.ip()) else {
        let party = Party { address: address.ip().to_canonical(), client: None, name: "", access_key: "" };
        shared.observer.see(&Event::Refused { party, refusal: Refusal::TooMany });
        return;
    };
    // Messages are small, and each is waited for.
    let _ = tcp.set_nodelay(true);
    let (shared, kill) = (Arc::clone(shared), shared.kill.clone());
    let tasks = shared.tasks.clone();
    tasks.spawn(async move {
        tokio::select! {
            () = kill.cancelled() => {}
            () = connection::serve(shared, tcp, slot) => {}
        }
    });
}

fn is_of_one_connection(error: &Error) -> bool {
    use ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}
