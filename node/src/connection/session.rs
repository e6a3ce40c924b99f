//! The session: messages in, messages out, and whether the satellite is still there.

use std::sync::Arc;
use std::time::Instant;

use hivemind_protocol::session::{Opener, Sealer};
use hivemind_protocol::{Body, SessionError};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_tungstenite::tungstenite::Message;

use super::{CLOSE_TIME, Established, Who, broken};
use crate::close::Close;
use crate::event::Event;
use crate::hub::{Arrival, Seat};
use crate::outbox::{Inbox, Item, outbox};
use crate::peer::TOO_SLOW;
use crate::server::Shared;
use crate::socket::Socket;

mod incoming;
mod keepalive;

use incoming::Incoming;
use keepalive::{Due, Keepalive};

/// The longest message in a session, in bytes: no Noise message is longer.
const LONGEST_FRAME: usize = 65_535;

/// How a session ended.
enum End {
    /// The satellite left, or its connection broke.
    Left,
    /// The node ends it.
    Closed(Close),
    /// The satellite does not read.
    TooSlow,
}

/// Tells how a session ended, also when its task is dropped.
struct Presence<'s> {
    shared: &'s Shared,
    who: Who,
    since: Instant,
    close: Option<Close>,
}

impl Drop for Presence<'_> {
    fn drop(&mut self) {
        let (code, reason) = self.close.as_ref().map_or((None, ""), |close| (Some(close.code), close.reason.as_ref()));
        let lasted = self.since.elapsed();
        self.shared.observer.see(&Event::Left { party: self.who.party(), code, reason, lasted });
    }
}

/// Serves a session until it ends.
pub(super) async fn run(shared: &Arc<Shared>, established: Established, who: Who) {
    let Established { mut socket, proved } = established;
    let mut presence = Presence { shared, who, since: Instant::now(), close: None };
    socket.allow(LONGEST_FRAME);
    let (sealer, opener) = proved.session.split();
    let (outbox, inbox) = outbox(shared.settings.limits.outbox_bytes);
    let arrival = Arrival {
        client: proved.client,
        user_agent: proved.user_agent,
        address: presence.who.address,
        session_id: proved.session_id,
    };
    let seat = shared.hub.join(arrival, outbox);
    let end = if shared.stop.is_cancelled() {
        // All were told before this one was among them.
        End::Closed(Close::stopping())
    } else {
        let keepalive = Keepalive::new(&shared.settings.limits);
        let incoming = Incoming::new(&shared.incoming, seat.account(), shared.settings.limits.message_time);
        let (sending, seen) = (None, Instant::now());
        let mut session = Live { shared, socket: &mut socket, sealer, opener, incoming, seat, inbox, sending, keepalive, seen };
        session.serve().await
    };
    presence.close = match end {
        End::Left => None,
        End::Closed(close) => Some(close),
        End::TooSlow => {
            shared.observer.see(&Event::TooSlow { party: presence.who.party() });
            Some(Close::new(Close::INTERNAL, TOO_SLOW))
        }
    };
    let close = presence.close.clone().unwrap_or_else(|| Close::new(Close::NORMAL, ""));
    drop(presence);
    socket.close(&close, CLOSE_TIME).await;
}

/// A message of which some is sealed. It may be shared with many who get the same, until the last of them has it.
struct Sending {
    body: Arc<[u8]>,
    from: usize,
}

struct Live<'s, S> {
    shared: &'s Shared,
    socket: &'s mut Socket<S>,
    sealer: Sealer,
    opener: Opener,
    incoming: Incoming<'s>,
    seat: Seat,
    inbox: Inbox,
    /// What is being sent, part by part.
    sending: Option<Sending>,
    keepalive: Keepalive,
    /// When it is next to be said that the client was seen.
    seen: Instant,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Live<'_, S> {
    async fn serve(&mut self) -> End {
        self.heard();
        let urgent = self.inbox.urgent();
        loop {
            if let Some(end) = self.seal_waiting() {
                return end;
            }
            let has_room = self.socket.has_room();
            tokio::select! {
                read = self.socket.read_or_room() => match read {
                    Ok(Some(message)) => if let Err(end) = self.take(message).await { return end },
                    Ok(None) => if let Err(end) = self.listen().await { return end },
                    Err(error) => return broken(&error).map_or(End::Left, End::Closed),
                },
                item = self.inbox.next(), if has_room => match item {
                    Some(item) => if let Some(end) = self.begin(item) { return end },
                    None => return End::Left,
                },
                // What cannot be sent now is not sent any more.
                () = urgent.notified(), if !has_room => if let Some(end) = self.skip_to_the_end() { return end },
                close = self.incoming.late() => return End::Closed(close),
                () = self.keepalive.tick() => match self.keepalive.look(self.socket.progress()) {
                    Some(Due::Ping) => self.socket.put_ping(),
                    Some(Due::Gone) => return End::Closed(Close::new(Close::NORMAL, "no answer to a ping")),
                    Some(Due::Stalled) => return End::TooSlow,
                    None => {}
                },
            }
        }
    }

    /// Seals what waits, as much as there is room for, and leaves no room for another if it cannot finish one. It is sent in one go with
    /// what else there is.
    fn seal_waiting(&mut self) -> Option<End> {
        while self.socket.has_room() {
            let ended = match self.sending.take() {
                Some(sending) => self.seal(sending),
                None => {
                    let item = self.inbox.try_next()?;
                    self.begin(item)
                }
            };
            if ended.is_some() {
                return ended;
            }
        }
        None
    }

    fn begin(&mut self, item: Item) -> Option<End> {
        match item {
            Item::Json(body) => self.seal(Sending { body, from: 0 }),
            Item::Close(close) => Some(End::Closed(close)),
        }
    }

    fn seal(&mut self, sending: Sending) -> Option<End> {
        match self.sealer.seal_part(Body::Json, &sending.body, sending.from) {
            Ok((frame, next)) => {
                self.socket.put_binary(&frame);
                self.sending = next.map(|from| Sending { from, ..sending });
                None
            }
            Err(SessionError::TooLarge) => {
                tracing::warn!(peer = self.seat.peer(), "a message is longer than a satellite takes, and is not sent");
                None
            }
            Err(_) => Some(End::Closed(Close::new(Close::INTERNAL, "the session cannot go on"))),
        }
    }

    /// Hears what a satellite says that is sent much and reads it slowly: its pings, our answers, and one message, whose answer waits with
    /// the rest.
    async fn listen(&mut self) -> Result<(), End> {
        loop {
            match self.socket.read_now().await {
                Ok(Some(message)) => {
                    let is_last = message.is_binary();
                    self.take(message).await?;
                    if is_last {
                        return Ok(());
                    }
                }
                Ok(None) => return Ok(()),
                Err(error) => return Err(broken(&error).map_or(End::Left, End::Closed)),
            }
        }
    }

    fn skip_to_the_end(&mut self) -> Option<End> {
        while let Some(item) = self.inbox.try_next() {
            if let Item::Close(close) = item {
                return Some(End::Closed(close));
            }
        }
        None
    }

    async fn take(&mut self, message: Message) -> Result<(), End> {
        let closed = |reason: &'static str| End::Closed(Close::new(Close::POLICY, reason));
        self.keepalive.heard();
        match message {
            Message::Binary(frame) => {
                let held = self.opener.held();
                if let Some(held) = held {
                    self.incoming.hold(held + frame.len()).map_err(End::Closed)?;
                }
                match self.opener.open(&frame).map_err(|error| closed(error.reason()))? {
                    Some(message) => {
                        self.seat.receive(message).await.map_err(End::Closed)?;
                        if held.is_some() {
                            self.opener.let_go();
                            self.incoming.let_go();
                        }
                    }
                    None if held.is_none() => self.incoming.hold(frame.len()).map_err(End::Closed)?,
                    None => {}
                }
                self.heard();
            }
            Message::Pong(_) => self.heard(),
            Message::Text(_) => return Err(closed("non-Noise message received on a protocol v3 session")),
            Message::Close(_) => return Err(End::Left),
            Message::Ping(_) | Message::Frame(_) => {}
        }
        Ok(())
    }

    fn heard(&mut self) {
        if Instant::now() >= self.seen {
            self.seen = self.shared.directory.heard(self.seat.client());
        }
    }
}
