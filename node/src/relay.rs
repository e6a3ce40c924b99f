//! Envelopes that go on to others: what a node does that has nobody above it.
//!
//! Who may send them is for the client's record to say. A relayed envelope keeps what its sender wrote; its route tells where it has been,
//! and one that has been here is not relayed again.

mod envelope;
mod flood;
mod intercom;
mod ping;
mod query;
mod questions;
mod returns;

use std::sync::Arc;
use std::time::{Duration, Instant};

use hivemind_protocol::{Envelope, MessageType, RawJson};

use crate::close::Close;
use crate::frame::{Frame, quoted};
use crate::peer::Peer;
use crate::policy::Denial;
use crate::seat::{Judged, Seat};
pub(crate) use envelope::{Inner, Route, is_readable, unwrap};
use flood::Floods;
use questions::Questions;
use returns::Returns;

/// The longest envelope around an envelope that is taken, in bytes: each level of it is read again, and everybody gets it.
pub(crate) const LONGEST: usize = 1 << 20;

/// What a node remembers of what it relayed.
#[derive(Debug)]
pub(crate) struct Relay {
    floods: Floods,
    questions: Questions,
    returns: Returns,
}

impl Relay {
    pub(crate) fn new(ping_flood_interval: Duration) -> Self {
        Self { floods: Floods::new(ping_flood_interval), questions: Questions::default(), returns: Returns::default() }
    }

    pub(crate) fn leave(&self, peer: &Arc<Peer>) {
        self.questions.leave(peer);
        self.returns.leave(peer);
    }
}

/// Why a client may not send a type of message, in the word for who watches and the close for the client.
fn forbidden(kind: MessageType) -> (&'static str, Close) {
    let (word, reason) = match kind {
        MessageType::Broadcast => ("illegal_broadcast", "BROADCAST is not allowed for this client"),
        MessageType::Propagate => ("illegal_propagate", "PROPAGATE is not allowed for this client"),
        MessageType::Escalate => ("illegal_escalate", "ESCALATE is not allowed for this client"),
        MessageType::Query => ("illegal_query", "QUERY is not allowed for this client"),
        _ => ("illegal_cascade", "CASCADE is not allowed for this client"),
    };
    (word, Close::new(Close::FORBIDDEN, reason))
}

impl Seat {
    /// Whether the client's record lets it send this type.
    fn may_send(&self, kind: MessageType) -> bool {
        let client = &self.standing().client;
        match kind {
            MessageType::Broadcast => client.is_admin && client.can_broadcast,
            MessageType::Propagate | MessageType::Cascade => client.can_propagate,
            _ => client.can_escalate,
        }
    }

    /// Takes an envelope around an envelope.
    pub(crate) async fn relay(&mut self, envelope: &Envelope<'_>, started: Instant) -> Result<Judged, Close> {
        let kind = envelope.kind;
        let Some(inner) = unwrap(envelope.payload) else {
            return Ok(self.deny(kind.word(), Denial::malformed(&format!("'{}' payload", kind.word()))));
        };
        if let Err(no_record) = self.refresh().await {
            return Ok(self.refuse(kind.word(), no_record));
        }
        if !self.may_send(kind) {
            let (code, close) = forbidden(kind);
            self.tell(kind, "", Judged::Denied(code), started);
            return Err(close);
        }
        let Some(route) = Route::of(envelope, self.peer()) else {
            return Ok(self.deny(kind.word(), Denial::malformed(&format!("'{}' route", kind.word()))));
        };
        Ok(match kind {
            MessageType::Query | MessageType::Cascade => self.question(envelope, &inner, &route),
            _ => self.pass_on(envelope, &inner, &route),
        })
    }

    /// BROADCAST, PROPAGATE and ESCALATE: first what concerns this node, then the others.
    fn pass_on(&mut self, envelope: &Envelope<'_>, inner: &Inner<'_>, route: &Route<'_>) -> Judged {
        let hub = Arc::clone(self.hub());
        let mut judged = Judged::Passed;
        match inner.envelope.kind {
            MessageType::Intercom => {
                let pinned = self.standing().client.metadata.text("intercom_pubkey");
                if !intercom::is_for_others(&inner.envelope, &hub.node_id, pinned.as_deref()) {
                    tracing::debug!(
                        peer = self.peer(),
                        "dropping an INTERCOM that is for this node, or not signed by who sent it"
                    );
                    return Judged::Ignored;
                }
            }
            MessageType::Bus => {
                let site = envelope.target_site_id.and_then(RawJson::as_str);
                if let Some(request) = &inner.request
                    && site.is_some_and(|site| !site.is_empty() && hub.site_id.as_deref() == Some(&*site))
                {
                    judged = self.pass_to_agent(request);
                }
            }
            MessageType::Ping if envelope.kind == MessageType::Propagate => self.answer_ping(inner.envelope.payload),
            _ => {}
        }
        // An envelope that escalates has arrived at the top.
        if envelope.kind == MessageType::Escalate {
            return judged;
        }
        let floods = envelope.kind == MessageType::Propagate;
        if floods && (route.has(&hub.node_id) || hub.relay.floods.was_relayed(inner, hub.len())) {
            return judged;
        }
        let route = if floods { route.through(&hub.node_id, &inner.envelope) } else { route.to_json() };
        let text = rewrapped(envelope, inner, &route, &hub.node_id, None);
        hub.relay_to_all(Some(self.own_peer()), text);
        judged
    }

    /// RENDEZVOUS: this node keeps no messages for others, and says so.
    pub(crate) fn no_rendezvous(&self) {
        let node = quoted(&self.hub().node_id);
        let payload = format!("{{\"status\":\"error\",\"reason\":\"not_a_rendezvous_node\",\"mailbox_node\":{node}}}");
        self.send(Frame::new(MessageType::Rendezvous, &payload).write());
    }
}

/// The envelope as it goes on: what its sender wrote, the route with what was added to it, and this node as where the inner one comes
/// from.
fn rewrapped(envelope: &Envelope<'_>, inner: &Inner<'_>, route: &str, node_id: &str, metadata: Option<&str>) -> String {
    let raw = |value: Option<RawJson<'_>>| value.map_or("null", RawJson::get).to_owned();
    let metadata_of = |e: &Envelope<'_>| e.metadata.filter(|m| !m.is_null()).map_or("{}", RawJson::get).to_owned();
    let within = &inner.envelope;
    let payload = Frame {
        metadata: &metadata_of(within),
        route,
        node: &raw(within.node),
        target_site_id: &raw(within.target_site_id),
        target_pubkey: &raw(within.target_pubkey),
        source_peer: &quoted(node_id),
        ..Frame::new(within.kind, within.payload.get())
    }
    .write();
    Frame {
        metadata: metadata.unwrap_or(&metadata_of(envelope)),
        route,
        target_site_id: &raw(envelope.target_site_id),
        target_pubkey: &raw(envelope.target_pubkey),
        ..Frame::new(envelope.kind, &payload)
    }
    .write()
}
