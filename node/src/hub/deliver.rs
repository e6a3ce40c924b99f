//! From the agent's bus to satellites.
//!
//! Only `context.destination` selects who gets a message, and only by a name that a connected satellite has. A message whose `source` is
//! a connected satellite is somebody's question on its way to the agent, which the bus has echoed, and no answer.

use std::borrow::Cow;
use std::sync::Arc;

use hivemind_protocol::{MessageType, Object, RawJson};

use super::Hub;
use crate::event::Event;
use crate::frame::{self, Frame, quoted};
use crate::peer::Peer;
use crate::text::{is_text, push_member, spelled};

/// The bus message by which something else than an answer is sent to satellites.
const DOWNSTREAM: &str = "hive.send.downstream";

impl Hub {
    /// A text frame came from the agent's bus.
    pub fn deliver(&self, message: &str) {
        let Ok(object) = Object::parse(message) else {
            tracing::debug!("ignoring what is no bus message");
            return;
        };
        let Some(kind) = object.get("type").filter(|kind| is_text(*kind)) else { return };
        let data = object.get("data").filter(|data| data.is_object()).map_or("{}", RawJson::get);
        let Some(Ok(context)) = object.get("context").filter(|c| c.is_object()).map(RawJson::object) else {
            if kind.as_str().as_deref() == Some(DOWNSTREAM) {
                self.send_downstream(data, "{}");
            }
            return;
        };
        if kind.as_str().as_deref() == Some(DOWNSTREAM) {
            self.send_downstream(data, object.get("context").map_or("{}", RawJson::get));
        }
        let receivers = self.receivers(&context);
        if receivers.is_empty() && !self.has_questions() {
            return;
        }
        if context.text("source").is_some_and(|source| self.registry.contains(&source)) {
            return;
        }
        self.take_answer(kind, data, &context);
        if receivers.is_empty() {
            return;
        }
        let answer = Answer::new(kind.get(), data, &context);
        let count = receivers.iter().filter(|(name, peer)| self.send_to(peer, answer.frame(name, peer))).count();
        self.observer.see(&Event::Delivered { receivers: count });
    }

    /// The connected satellites that a context is addressed to, each once.
    fn receivers<'c>(&self, context: &'c Object<'_>) -> Vec<(Cow<'c, str>, Arc<Peer>)> {
        let Some(destination) = context.get("destination") else { return Vec::new() };
        let names: Vec<Cow<'_, str>> = match destination.as_str() {
            Some(name) => vec![name],
            None => destination.items().unwrap_or_default().iter().filter_map(|item| item.as_str()).collect(),
        };
        let mut receivers: Vec<(Cow<'_, str>, Arc<Peer>)> = Vec::new();
        for name in names {
            match self.registry.get(&name) {
                Some(peer) if receivers.iter().all(|(_, other)| !Arc::ptr_eq(other, &peer)) => receivers.push((name, peer)),
                Some(_) => {}
                // OVOS also addresses its own services, as `audio`; only satellites have such names.
                None if name.contains("::") => tracing::debug!(peer = &*name, "an answer for a satellite that is not connected"),
                None => {}
            }
        }
        receivers
    }

    /// Sends an envelope of another type: `data` names it, its payload and its receiver.
    fn send_downstream(&self, data: &str, context: &str) {
        let Ok(data) = Object::parse(data) else { return };
        let Some(kind) = data.text("msg_type").and_then(|word| MessageType::from_word(&word)) else { return };
        let Some(payload) = data.get("payload").filter(|payload| payload.is_object()) else { return };
        let mut frame = Frame::new(kind, payload.get());
        match kind {
            MessageType::Propagate | MessageType::Broadcast => {
                frame.target_site_id = data.get("site_id").map_or("null", RawJson::get);
                let receivers = self.send_to_all(frame.write());
                self.observer.see(&Event::Delivered { receivers });
            }
            // Nobody is above this node, and what it says in a handshake it says itself. Bytes do not fit into JSON.
            MessageType::Escalate | MessageType::Handshake | MessageType::Binary => {}
            _ => {
                let Some(name) = data.text("peer") else { return };
                let Some(peer) = self.registry.get(&name) else {
                    let error = format!("{{\"error\":\"That client is not connected\",\"peer\":{}}}", quoted(&name));
                    // If the bus is gone again, nobody is left to be told.
                    let _ = self.agent.send(frame::bus("hive.client.send.error", &error, context));
                    return;
                };
                let sent = self.send_to(&peer, downstream(kind, payload, &peer, frame));
                self.observer.see(&Event::Delivered { receivers: usize::from(sent) });
            }
        }
    }
}

/// A bus message names the session as its satellite knows it; all else goes as it is.
fn downstream(kind: MessageType, payload: RawJson<'_>, peer: &Peer, frame: Frame<'_>) -> String {
    if kind == MessageType::Bus
        && let Ok(object) = payload.object()
        && let Some(Ok(context)) = object.get("context").map(RawJson::object)
        && let Some(session) = own_session(context.get("session"), peer)
    {
        let part = |name: &str, default| object.get(name).map_or(default, RawJson::get).to_owned();
        let mut rest = members_but(&context, &["session"]);
        push_member(&mut rest, "session", &session);
        rest.push('}');
        let payload = format!("{{\"type\":{},\"data\":{},\"context\":{rest}}}", part("type", "\"\""), part("data", "{}"));
        return Frame { payload: &payload, ..frame }.write();
    }
    frame.write()
}

/// An answer of the agent, as far as it is the same for all it goes to.
struct Answer<'a> {
    /// The message up to its context's `session`.
    head: String,
    session: Option<RawJson<'a>>,
}

impl<'a> Answer<'a> {
    fn new(kind: &str, data: &str, context: &'a Object<'_>) -> Self {
        let mut rest = members_but(context, &["session", "source"]);
        push_member(&mut rest, "source", "\"hive\"");
        let head = format!("{{\"type\":{kind},\"data\":{data},\"context\":{rest}");
        Self { head, session: context.get("session") }
    }

    fn frame(&self, name: &str, peer: &Peer) -> String {
        let mut payload = self.head.clone();
        match own_session(self.session, peer) {
            Some(session) => push_member(&mut payload, "session", &session),
            None => {
                if let Some(session) = self.session {
                    push_member(&mut payload, "session", session.get());
                }
            }
        }
        payload.push_str("}}");
        Frame { source_peer: &quoted(name), ..Frame::new(MessageType::Bus, &payload) }.write()
    }
}

/// The beginning of an object with all members but these.
fn members_but(object: &Object<'_>, without: &[&str]) -> String {
    let mut out = String::from("{");
    for (name, value) in object.iter().filter(|(name, _)| !without.contains(&&*spelled(name))) {
        push_member(&mut out, name, value.get());
    }
    out
}

/// The session with its id as the satellite knows it: without its client's namespace. `None` if it is not in there.
fn own_session(session: Option<RawJson<'_>>, peer: &Peer) -> Option<String> {
    let session = session?.object().ok()?;
    let id = session.text("session_id")?;
    let own = id.strip_prefix(&*peer.namespace)?.strip_prefix(':').filter(|own| !own.is_empty())?;
    let mut out = members_but(&session, &["session_id"]);
    push_member(&mut out, "session_id", &quoted(own));
    out.push('}');
    Some(out)
}
