//! One satellite's place in the hub: what its messages are checked against, and where each goes.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hivemind_protocol::{BinaryFrame, Envelope, EnvelopeError, Message, MessageType, Object, RawJson};
use hivemind_store::Client;

use crate::account::Account;
use crate::admission::{Admission, Baseline, Request};
use crate::close::Close;
use crate::event::Event;
use crate::frame::{self, Frame, quoted};
use crate::hub::{Arrival, Hub, peer_name, revoked};
use crate::peer::Peer;
use crate::policy::{self, Additions, Denial};
use crate::relay::{self, is_readable};
use crate::standing::Standing;
use crate::text::is_text;

/// The longest HELLO.
const HELLO: usize = 256 << 10;
/// The longest session of a connection, without what is not kept: it goes into each of its messages.
const SESSION: usize = 16 << 10;
/// The longest id of a site.
const SITE_ID: usize = 512;
/// The longest id of a session that a satellite is named by.
const SESSION_ID: usize = 512;
/// A key is pinned at most this often: HELLO costs a satellite nothing, and what is written waits for a disk.
const PIN_INTERVAL: Duration = Duration::from_secs(60);
/// The longest key that is pinned for a client.
const PUBKEY: usize = 16 << 10;
/// A longer message is looked at in turn with what others say.
const LONG: usize = 1 << 20;

/// One satellite's place in the hub, held by the task that reads its socket. It leaves when this is dropped.
pub struct Seat {
    hub: Arc<Hub>,
    peer: Arc<Peer>,
    /// Its name, as the peer has it.
    name: Arc<str>,
    /// The name without what was added because another had it.
    wanted: String,
    user_agent: String,
    standing: Standing,
    admission: Admission,
    /// Whether the agent knows that it is there.
    announced: bool,
    /// When a key may be pinned next.
    pin_after: Instant,
}

impl fmt::Debug for Seat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Seat").field("peer", &self.name).finish_non_exhaustive()
    }
}

/// What became of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Judged {
    /// It went on.
    Passed,
    /// It was denied, with this code.
    Denied(&'static str),
    /// There is nothing to do about it.
    Ignored,
}

/// Why a client's record does not help.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NoRecord {
    /// The client was revoked.
    Revoked,
    /// The storage does not say.
    Storage,
}

/// The close for what is no message at all.
fn invalid() -> Close {
    Close::new(Close::POLICY, "invalid message")
}

impl Seat {
    pub(crate) fn new(hub: Arc<Hub>, peer: Arc<Peer>, arrival: Arrival) -> Self {
        let admission = Admission::new(peer.namespace.clone(), Baseline::of_id(&arrival.session_id));
        Self {
            name: peer.name(),
            wanted: peer_name(&arrival.user_agent, &arrival.client, &arrival.session_id),
            user_agent: arrival.user_agent,
            standing: Standing::new(arrival.client),
            admission,
            announced: false,
            pin_after: Instant::now(),
            hub,
            peer,
        }
    }

    /// Takes a message of the satellite. What is denied is answered through its outbox.
    ///
    /// # Errors
    /// The close that ends its connection.
    pub async fn receive(&mut self, message: Message<'_>) -> Result<(), Close> {
        let started = Instant::now();
        match message {
            Message::Json(text) => self.text(text, started).await,
            Message::Binary(frame) => {
                let frame = BinaryFrame::parse(frame).map_err(|_| invalid())?;
                if frame.kind == MessageType::Binary {
                    let judged = self.bytes(&frame).await;
                    self.tell(MessageType::Binary, "", judged, started);
                    return Ok(());
                }
                // Only bytes need this form, but any message may come in it.
                let payload = std::str::from_utf8(&frame.payload).map_err(|_| invalid())?;
                let text = Frame { metadata: &frame.metadata, ..Frame::new(frame.kind, payload) }.write();
                self.text(&text, started).await
            }
        }
    }

    /// Its name among the peers: `USERAGENT::ID::NAME::SESSION`.
    #[must_use]
    pub fn peer(&self) -> &str {
        &self.name
    }

    /// Its record, as of its last message.
    #[must_use]
    pub fn client(&self) -> &Arc<Client> {
        &self.standing.client
    }

    pub(crate) const fn hub(&self) -> &Arc<Hub> {
        &self.hub
    }

    pub(crate) fn account(&self) -> Arc<Account> {
        Arc::clone(&self.peer.account)
    }

    pub(crate) const fn own_peer(&self) -> &Arc<Peer> {
        &self.peer
    }

    pub(crate) const fn standing(&self) -> &Standing {
        &self.standing
    }

    async fn text(&mut self, text: &str, started: Instant) -> Result<(), Close> {
        let envelope = match Envelope::parse(text) {
            Ok(envelope) => envelope,
            Err(EnvelopeError::Payload) => return self.no_payload(text, started),
            Err(_) => return Err(invalid()),
        };
        let kind = envelope.kind;
        if kind == MessageType::Hello {
            if let Err(denial) = self.hello(envelope.payload).await {
                let judged = self.deny(kind.word(), denial);
                self.tell(kind, "", judged, started);
            }
            return Ok(());
        }
        self.announce();
        if text.len() > LONG {
            tokio::task::yield_now().await;
        }
        let judged = match kind {
            MessageType::Bus => return self.bus(envelope.payload, started).await,
            kind if kind.wraps_envelope() && text.len() > relay::LONGEST => {
                self.deny(kind.word(), Denial::malformed(&format!("a '{}' of more than 1 MiB", kind.word())))
            }
            kind if kind.wraps_envelope() => self.relay(&envelope, started).await?,
            MessageType::Binary => return Err(invalid()),
            MessageType::SharedBus if !is_readable(&envelope) => self.deny(kind.word(), unreadable(kind)),
            MessageType::Rendezvous => {
                self.no_rendezvous();
                Judged::Ignored
            }
            // What is shared is for whoever watches, a bare PING maps nothing, and a bare INTERCOM has arrived where no key opens it. A
            // handshake is over.
            _ => Judged::Ignored,
        };
        self.tell(kind, "", judged, started);
        Ok(())
    }

    /// A payload that is no object: its sender is told so, unless it is not even a message.
    fn no_payload(&self, text: &str, started: Instant) -> Result<(), Close> {
        let object = Object::parse(text).map_err(|_| invalid())?;
        let kind = object.text("msg_type").and_then(|word| MessageType::from_word(&word)).ok_or_else(invalid)?;
        match object.get("payload") {
            Some(payload) if !is_text(payload) && kind != MessageType::Binary => {
                self.tell(kind, "", self.deny(kind.word(), unreadable(kind)), started);
                Ok(())
            }
            _ => Err(invalid()),
        }
    }

    /// HELLO: the session of the connection, and with that its name.
    async fn hello(&mut self, payload: RawJson<'_>) -> Result<(), Denial> {
        if payload.get().len() > HELLO {
            return Err(Denial::malformed("a HELLO of more than 256 KiB"));
        }
        let hello = payload.object().map_err(|_| unreadable(MessageType::Hello))?;
        if hello.get("site_id").is_some_and(|site| site.get().len() > SITE_ID) {
            return Err(Denial::malformed("HELLO 'site_id'"));
        }
        if let Some(session) = hello.get("session").filter(|session| !session.is_null()) {
            self.set_session(session).ok_or_else(|| Denial::malformed("HELLO 'session'"))?;
        }
        if let Some(site) = hello.get("site_id") {
            self.admission.baseline.set_site(site);
        }
        self.admission.forget();
        let wanted = peer_name(&self.user_agent, &self.standing.client, &self.admission.baseline.id_text());
        if wanted != self.wanted {
            self.hub.rename(&self.peer, &wanted);
            (self.name, self.wanted) = (self.peer.name(), wanted);
        }
        self.announce();
        if let Some(key) = hello.text("pubkey") {
            self.pin(&key).await;
        }
        Ok(())
    }

    /// `None` if it is no session, one that no satellite can be named by, or one that is too long to go into each message.
    fn set_session(&mut self, session: RawJson<'_>) -> Option<()> {
        let baseline = Baseline::new(&session.object().ok()?, &self.admission.baseline.id_text());
        if baseline.id_text().len() > SESSION_ID || baseline.size() > SESSION {
            return None;
        }
        self.admission.baseline = baseline;
        Some(())
    }

    /// The first key that a client shows is the one by which others may know its INTERCOM.
    async fn pin(&mut self, key: &str) {
        let client = Arc::clone(&self.standing.client);
        let is_pinned = client.metadata.text("intercom_pubkey").is_some_and(|pinned| !pinned.is_empty());
        if is_pinned || key.is_empty() || key.len() > PUBKEY || Instant::now() < self.pin_after {
            return;
        }
        self.pin_after = Instant::now() + PIN_INTERVAL;
        if let Err(error) = self.hub.directory.pin(&client, "intercom_pubkey", key).await {
            tracing::warn!(peer = &*self.name, %error, "the client's INTERCOM key is not remembered");
        }
    }

    /// BUS: a message for the agent.
    async fn bus(&mut self, payload: RawJson<'_>, started: Instant) -> Result<(), Close> {
        let Some(request) = Request::parse(payload) else {
            let judged = self.deny(MessageType::Bus.word(), unreadable(MessageType::Bus));
            self.tell(MessageType::Bus, "", judged, started);
            return Ok(());
        };
        if payload.get().len() > LONG {
            tokio::task::yield_now().await;
        }
        let judged = match self.refresh().await {
            Ok(()) => self.pass_to_agent(&request),
            Err(no_record) => self.refuse(&request.kind().1, no_record),
        };
        self.tell(MessageType::Bus, &request.kind().1, judged, started);
        Ok(())
    }

    /// Bytes: for a node that hears or sees. This one does neither, but whoever may send nothing is told so.
    async fn bytes(&mut self, frame: &BinaryFrame) -> Judged {
        self.announce();
        match self.refresh().await {
            Ok(()) if !self.standing.allows_nothing() => Judged::Ignored,
            Err(NoRecord::Storage) => self.refuse("binary", NoRecord::Storage),
            other => {
                let denial = Denial::disallowed_binary();
                let more = format!(",\"bin_type\":\"{}\"", frame.bin_type);
                self.send(frame::denied(&self.name, "binary", &denial, &more));
                if other.is_err() {
                    self.peer.close(revoked());
                }
                Judged::Denied(denial.code)
            }
        }
    }

    /// Looks at the client's record. Nearly always it is the one of the last message.
    pub(crate) async fn refresh(&mut self) -> Result<(), NoRecord> {
        let found = self.hub.directory.current(self.peer.client_id, self.peer.access_key()).await;
        let client = found.map_err(|_| NoRecord::Storage)?.ok_or(NoRecord::Revoked)?;
        if !Arc::ptr_eq(&client, &self.standing.client) {
            self.standing = Standing::new(client);
            self.admission.forget();
        }
        Ok(())
    }

    /// The message as the agent is to get it.
    pub(crate) fn admit(&mut self, request: &Request<'_>) -> Result<String, Denial> {
        self.admission.admit(request, (&self.hub.policy, &self.standing), &self.name)
    }

    /// Passes a bus message to the agent if the policy lets it. The record has been looked at.
    pub(crate) fn pass_to_agent(&mut self, request: &Request<'_>) -> Judged {
        let sent = self.admit(request).and_then(|message| {
            self.hub.agent.send_for(message, &self.peer.account).map_err(|unavailable| Denial::unavailable(unavailable.0))
        });
        match sent {
            Ok(()) => Judged::Passed,
            Err(denial) => self.deny(&request.kind().1, denial),
        }
    }

    /// A session of this id, for one question, in which is forbidden what the client's record forbids.
    pub(crate) fn question_session(&self, id: &str) -> Result<String, Denial> {
        let additions: Additions<'_> = policy::blacklists(&self.standing)?;
        let (baseline, mut out) = (Baseline::of_id(id), String::new());
        baseline.write(None, &baseline.id(None, None), additions, &mut out)?;
        Ok(out)
    }

    /// Tells the satellite that a message does not pass.
    pub(crate) fn deny(&self, denied_type: &str, denial: Denial) -> Judged {
        self.send(frame::denied(&self.name, denied_type, &denial, ""));
        Judged::Denied(denial.code)
    }

    /// The same where the record does not say whether it may pass. A revoked client's connection ends after that.
    pub(crate) fn refuse(&self, denied_type: &str, no_record: NoRecord) -> Judged {
        match no_record {
            NoRecord::Storage => self.deny(denied_type, Denial::storage()),
            NoRecord::Revoked => {
                let judged = self.deny(denied_type, Denial::disallowed(denied_type, "[]"));
                self.peer.close(revoked());
                judged
            }
        }
    }

    pub(crate) fn send(&self, text: String) {
        self.hub.send_to(&self.peer, text);
    }

    /// Tells who watches what became of a message.
    pub(crate) fn tell(&self, envelope: MessageType, message_type: &str, judged: Judged, started: Instant) {
        let denied = match judged {
            Judged::Passed => None,
            Judged::Denied(code) => Some(code),
            Judged::Ignored => return,
        };
        let (party, envelope) = (self.peer.party(), envelope.word());
        self.hub.observer.see(&Event::Judged { party, envelope, message_type, denied, took: started.elapsed() });
    }

    /// Tells the agent that the satellite is there, under the name its messages will have: so after its HELLO, if it says one.
    fn announce(&mut self) {
        if self.announced {
            return;
        }
        self.announced = true;
        let (peer, session) = (quoted(&self.name), quoted(&self.admission.baseline.id_text()));
        let data = format!("{{\"peer\":{peer},\"session_id\":{session}}}");
        // An agent that is not there knows of nobody.
        let _ = self.hub.agent.send(frame::bus("hive.client.connect", &data, &format!("{{\"source\":{peer}}}")));
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.hub.leave(&self.peer);
        if self.announced {
            let (peer, session) = (quoted(&self.name), self.admission.session(self.standing.client.is_admin));
            let context = format!("{{\"source\":{peer},\"session\":{session}}}");
            let _ = self.hub.agent.send(frame::bus("hive.client.disconnect", &format!("{{\"peer\":{peer}}}"), &context));
        }
    }
}

fn unreadable(kind: MessageType) -> Denial {
    Denial::malformed(&format!("'{}' payload", kind.word()))
}
