//! Envelopes within envelopes, and the routes they have come.

use std::borrow::Cow;

use hivemind_protocol::{Envelope, MessageType, RawJson};

use crate::admission::Request;
use crate::frame::quoted;

/// How deep envelopes may lie in each other. Each level is read again, so this bounds what a message can cost.
const MAX_LEVELS: usize = 8;

/// An envelope that is another's payload, all below it known to be readable.
#[derive(Debug)]
pub(crate) struct Inner<'m> {
    pub(crate) envelope: Envelope<'m>,
    /// Its payload, if it is a bus message.
    pub(crate) request: Option<Request<'m>>,
}

/// The envelope in a payload; `None` if it, or one that lies in it, cannot be read: its sender is told so before anybody gets it.
pub(crate) fn unwrap(payload: RawJson<'_>) -> Option<Inner<'_>> {
    let envelope = Envelope::parse(payload.get()).ok()?;
    let mut level = envelope.clone();
    for _ in 0..MAX_LEVELS {
        if !level.kind.wraps_envelope() {
            is_readable(&level).then_some(())?;
            let request = if envelope.kind == MessageType::Bus { Request::parse(envelope.payload) } else { None };
            return Some(Inner { envelope, request });
        }
        level = Envelope::parse(level.payload.get()).ok()?;
    }
    None
}

/// Whether the payload is what the type says, for types that wrap no envelope.
pub(crate) fn is_readable(envelope: &Envelope<'_>) -> bool {
    match envelope.kind {
        MessageType::Bus | MessageType::SharedBus => Request::parse(envelope.payload).is_some(),
        MessageType::Binary => false,
        _ => true,
    }
}

/// Where an envelope has been: the hops that name somebody, the satellite it came from being the last.
#[derive(Debug)]
pub(crate) struct Route<'m> {
    hops: Vec<(Cow<'m, str>, RawJson<'m>)>,
    /// The hop of the satellite, unless it named itself.
    last: Option<String>,
}

impl<'m> Route<'m> {
    /// `None` if it is too long to be taken apart.
    pub(crate) fn of(envelope: &Envelope<'m>, peer: &str) -> Option<Self> {
        let items = envelope.route.map_or_else(|| Ok(Vec::new()), RawJson::items).ok()?;
        let named = |hop: &RawJson<'m>| {
            let source = hop.object().ok()?.get("source")?.as_str()?.into_owned();
            (!source.is_empty()).then_some((source.into(), *hop))
        };
        let ends_here = items.last().and_then(&named).is_some_and(|(source, _): (Cow<'_, str>, _)| source == peer);
        let last = (!ends_here).then(|| hop(peer, envelope.target_peers));
        Some(Self { hops: items.iter().filter_map(named).collect(), last })
    }

    /// Whether it has been at this node or peer, before it came here.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.hops.iter().any(|(source, _)| source == name)
    }

    pub(crate) fn to_json(&self) -> String {
        self.json_with(None)
    }

    /// The route with this node at its end.
    pub(crate) fn through(&self, node_id: &str, inner: &Envelope<'_>) -> String {
        self.json_with(Some(&hop(node_id, inner.target_peers)))
    }

    fn json_with(&self, more: Option<&str>) -> String {
        let mut out = String::from("[");
        for hop in self.hops.iter().map(|(_, hop)| hop.get()).chain(self.last.as_deref()).chain(more) {
            if out.len() > 1 {
                out.push(',');
            }
            out.push_str(hop);
        }
        out.push(']');
        out
    }
}

fn hop(source: &str, targets: Option<RawJson<'_>>) -> String {
    let source = quoted(source);
    match targets.filter(|targets| targets.items().is_ok_and(|items| !items.is_empty())) {
        Some(targets) => format!("{{\"source\":{source},\"targets\":{}}}", targets.get()),
        None => format!("{{\"source\":{source},\"targets\":[{source}]}}"),
    }
}
