//! A client of the OVOS messagebus: one WebSocket, one JSON text in each frame, everything for everybody.
//!
//! A bus that is not there is looked for in the background, and until it is found nothing is taken for it: a command that is carried
//! out minutes after it was spoken is worse than one that is refused.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use futures_util::{Sink, SinkExt as _, Stream, StreamExt as _};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error, Message};

use super::{Agent, Unavailable};
use crate::account::{Account, Budget};
use crate::hub::Hub;

/// The pause before a bus is looked for again, at first and at most.
const PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// How long a bus has to accept a connection.
const CONNECT: Duration = Duration::from_secs(10);
/// How often it is asked whether it is still there, and how long it may be silent.
const PING: Duration = Duration::from_secs(20);
const SILENCE: Duration = Duration::from_secs(60);
/// How often it is looked whether the node is still there.
const TICK: Duration = Duration::from_secs(1);
/// What may wait for the bus, in bytes, of one client at most half of it, and for how long: across a short loss of the connection, but not across a restart.
const WAITING: usize = 32 << 20;
const FRESH: Duration = Duration::from_secs(5);
/// The longest message a bus is sure to take: it ends the connection of whoever sends a longer one, which would be this node's.
const LONGEST: usize = 10 << 20;

const DOWN: Unavailable = Unavailable("OVOS messagebus is not connected");
const BUSY: Unavailable = Unavailable("OVOS messagebus does not keep up");
const TOO_LONG: Unavailable = Unavailable("the message is longer than an OVOS messagebus takes");

/// A connection to an OVOS messagebus that comes back by itself.
#[derive(Debug)]
pub struct Ovos {
    url: String,
    up: AtomicBool,
    queue: UnboundedSender<Waiting>,
    waiting: Budget,
    /// What the node itself has waiting.
    own: Arc<Account>,
    /// The other end, until the agent is started.
    receiver: Mutex<Option<UnboundedReceiver<Waiting>>>,
}

#[derive(Debug)]
struct Waiting {
    text: String,
    since: Instant,
    account: Arc<Account>,
}

impl Ovos {
    /// A client of the bus at `ws://HOST:PORT/core`. It connects once it is started.
    #[must_use]
    pub fn new(url: String) -> Arc<Self> {
        let (queue, receiver) = unbounded_channel();
        Arc::new(Self {
            url,
            up: AtomicBool::new(false),
            queue,
            waiting: Budget::new(WAITING),
            own: Arc::default(),
            receiver: Mutex::new(Some(receiver)),
        })
    }

    async fn run(self: Arc<Self>, hub: Weak<Hub>, mut queue: UnboundedReceiver<Waiting>) {
        let (mut pause, mut silent) = (PAUSE, false);
        while hub.strong_count() > 0 {
            let config = WebSocketConfig::default().max_frame_size(Some(64 << 20));
            let connecting = tokio_tungstenite::connect_async_with_config(&*self.url, Some(config), true);
            let why = match tokio::time::timeout(CONNECT, connecting).await {
                Ok(Ok((socket, _))) => {
                    tracing::info!(bus = self.url, "connected to the OVOS messagebus");
                    (pause, silent) = (PAUSE, false);
                    self.tell(&hub, true);
                    let (sink, stream) = socket.split();
                    let why = self.talk(sink, stream, &hub, &mut queue).await;
                    self.tell(&hub, false);
                    why
                }
                Ok(Err(error)) => error.to_string(),
                Err(_) => format!("it did not answer within {CONNECT:?}"),
            };
            // Once is enough until it is back.
            if !silent && hub.strong_count() > 0 {
                tracing::warn!(bus = self.url, why, "no OVOS messagebus; is ovos-messagebus running? Trying again until it is");
                silent = true;
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    fn tell(&self, hub: &Weak<Hub>, up: bool) {
        self.up.store(up, Ordering::Release);
        if let Some(hub) = hub.upgrade() {
            hub.agent_is(up);
        }
    }

    /// Reads and writes until the connection ends or the bus seems gone, and says why. Neither waits for the other.
    async fn talk(
        &self,
        mut sink: impl Sink<Message, Error = Error> + Unpin,
        mut stream: impl Stream<Item = Result<Message, Error>> + Unpin,
        hub: &Weak<Hub>,
        queue: &mut UnboundedReceiver<Waiting>,
    ) -> String {
        let (start, heard) = (Instant::now(), AtomicU64::new(0));
        let read = async {
            loop {
                match stream.next().await {
                    Some(Ok(Message::Text(text))) => match hub.upgrade() {
                        Some(hub) => hub.deliver(&text),
                        None => return "the node ends".to_owned(),
                    },
                    Some(Ok(Message::Close(_))) | None => return "it closed the connection".to_owned(),
                    Some(Ok(_)) => {}
                    Some(Err(error)) => return error.to_string(),
                }
                heard.store(start.elapsed().as_secs(), Ordering::Relaxed);
            }
        };
        let write = async {
            let mut ping = tokio::time::interval(PING);
            loop {
                let done = tokio::select! {
                    Some(waiting) = queue.recv() => self.write(&mut sink, waiting, queue).await,
                    _ = ping.tick() => sink.send(Message::Ping(Vec::new().into())).await,
                };
                if let Err(error) = done {
                    return error.to_string();
                }
            }
        };
        // Apart from writing, which may hang for as long as the bus does.
        let watch = async {
            loop {
                tokio::time::sleep(TICK).await;
                let silence = start.elapsed().saturating_sub(Duration::from_secs(heard.load(Ordering::Relaxed)));
                if hub.strong_count() == 0 {
                    return "the node ends".to_owned();
                }
                if silence > SILENCE {
                    return format!("it said nothing for {SILENCE:?}");
                }
            }
        };
        tokio::select! {
            why = read => why,
            why = write => why,
            why = watch => why,
        }
    }

    /// Writes what waits, in one go as far as it fits.
    async fn write(
        &self,
        sink: &mut (impl Sink<Message, Error = Error> + Unpin),
        first: Waiting,
        queue: &mut UnboundedReceiver<Waiting>,
    ) -> Result<(), Error> {
        let (mut next, mut stale) = (Some(first), 0);
        while let Some(Waiting { text, since, account }) = next {
            self.waiting.give_back(&account.for_agent, text.len());
            if since.elapsed() < FRESH {
                sink.feed(Message::Text(text.into())).await?;
            } else {
                stale += 1;
            }
            next = queue.try_recv().ok();
        }
        if stale > 0 {
            tracing::warn!(messages = stale, "dropping messages for the OVOS messagebus that waited for longer than {FRESH:?}");
        }
        sink.flush().await
    }
}

impl Agent for Ovos {
    fn start(self: Arc<Self>, hub: Weak<Hub>) {
        let receiver = self.receiver.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(receiver) = receiver {
            tokio::spawn(self.run(hub, receiver));
        }
    }

    fn send(&self, message: String) -> Result<(), Unavailable> {
        self.send_for(message, &self.own)
    }

    fn send_for(&self, message: String, client: &Arc<Account>) -> Result<(), Unavailable> {
        if !self.is_up() {
            return Err(DOWN);
        }
        let size = message.len();
        if size > LONGEST {
            return Err(TOO_LONG);
        }
        if !self.waiting.take(&client.for_agent, size) {
            return Err(BUSY);
        }
        self.queue.send(Waiting { text: message, since: Instant::now(), account: Arc::clone(client) }).map_err(|_| DOWN)
    }

    fn is_up(&self) -> bool {
        self.up.load(Ordering::Acquire)
    }
}
