//! A messagebus: whoever connects gets whatever anybody says, what it says itself as well, as the one of OVOS does it.
//!
//! It is this program's own, because the real one costs more per message than the node; and because what arrives is to be timed here.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures_util::{SinkExt as _, StreamExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, broadcast};
use tokio::task::JoinSet;
use tokio_tungstenite::tungstenite::{Message, Utf8Bytes};

use crate::Failure;

/// What stands in front of the time at which a message was sent, in nanoseconds since the bus began.
pub const MARK: &str = "\"sent\":";

/// A messagebus, gone when this is dropped.
pub struct Bus {
    address: SocketAddr,
    heard: Arc<Heard>,
    _tasks: JoinSet<()>,
}

/// What arrived of what was marked.
struct Heard {
    begin: Instant,
    /// A permit for each message, for whoever waits for it.
    arrived: Semaphore,
    took: Mutex<Vec<Duration>>,
}

impl Bus {
    /// Starts one on a free port of loopback.
    ///
    /// # Errors
    /// If there is none.
    pub async fn start() -> Result<Self, Failure> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let heard = Arc::new(Heard { begin: Instant::now(), arrived: Semaphore::new(0), took: Mutex::default() });
        let mut tasks = JoinSet::new();
        tasks.spawn(serve(listener, Arc::clone(&heard)));
        Ok(Self { address, heard, _tasks: tasks })
    }

    /// Where it listens.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.address.port()
    }

    /// The number that marks a message sent now.
    #[must_use]
    pub fn now(&self) -> u128 {
        self.heard.begin.elapsed().as_nanos()
    }

    /// Waits for so many marked messages.
    pub async fn wait(&self, messages: u32) {
        if let Ok(permits) = self.heard.arrived.acquire_many(messages).await {
            permits.forget();
        }
    }

    /// How long each marked message took that has arrived since this was asked last.
    #[must_use]
    pub fn took(&self) -> Vec<Duration> {
        std::mem::take(&mut self.heard.took.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

async fn serve(listener: TcpListener, heard: Arc<Heard>) {
    let (said, _) = broadcast::channel(65_536);
    let mut members = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        members.spawn(member(stream, said.clone(), Arc::clone(&heard)));
    }
}

async fn member(stream: TcpStream, said: broadcast::Sender<Utf8Bytes>, heard: Arc<Heard>) {
    let _ = stream.set_nodelay(true);
    let Ok(socket) = tokio_tungstenite::accept_async(stream).await else { return };
    let (mut sink, mut stream) = socket.split();
    let mut all = said.subscribe();
    let listen = async {
        while let Some(Ok(message)) = stream.next().await {
            if let Message::Text(text) = message {
                heard.hear(&text);
                let _ = said.send(text);
            }
        }
    };
    let speak = async {
        loop {
            let next = match all.recv().await {
                Ok(text) => sink.send(Message::Text(text)).await,
                Err(broadcast::error::RecvError::Lagged(_)) => Ok(()),
                Err(broadcast::error::RecvError::Closed) => return,
            };
            if next.is_err() {
                return;
            }
        }
    };
    tokio::select! { () = listen => (), () = speak => () }
}

impl Heard {
    fn hear(&self, text: &str) {
        let Some((_, after)) = text.split_once(MARK) else { return };
        let digits = after.trim_start();
        let end = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
        let Ok(sent) = digits[..end].parse::<u64>() else { return };
        let took = self.begin.elapsed().saturating_sub(Duration::from_nanos(sent));
        self.took.lock().unwrap_or_else(PoisonError::into_inner).push(took);
        self.arrived.add_permits(1);
    }
}
