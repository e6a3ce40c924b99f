//! From what a satellite sent to what the agent gets: the session of its connection under the one of the message, its place in the
//! namespace of its client, the chain of policies, and the labels that only a node writes.
//!
//! Most messages of a satellite carry the context of the one before it. So what became of a context is kept with the context's text,
//! and the next message that has the same is finished by two copies.

mod session;

pub(crate) use session::Baseline;

use hivemind_protocol::{Object, RawJson};
use sha2::{Digest as _, Sha256};

use crate::frame::quoted;
use crate::policy::{self, Denial};
use crate::settings::Policy;
use crate::standing::Standing;
use crate::text::{is_text, push_member, spelled, unquoted};

/// The label that a message for the agent is addressed by. Nothing reads it but people: answers go to its `source`.
const AGENT: &str = "\"hivemind\"";

/// Longer contexts are not kept: what a connection holds is bounded.
const KEPT_CONTEXT: usize = 32 << 10;

/// The part of a session id that belongs to one client of one node, for life.
pub(crate) fn namespace(node_id: &str, client_id: i64) -> String {
    let digest = Sha256::digest(format!("{node_id}:{client_id}"));
    digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

/// A bus message as a satellite sent it.
#[derive(Debug)]
pub(crate) struct Request<'m> {
    object: Object<'m>,
}

impl<'m> Request<'m> {
    /// `None` if it is not a bus message.
    pub(crate) fn parse(payload: RawJson<'m>) -> Option<Self> {
        let object = payload.object().ok()?;
        let is_kind = object.get("type").is_some_and(is_text);
        let is_object = |name| object.get(name).is_none_or(|value| value.is_object() || value.is_null());
        (is_kind && is_object("data") && is_object("context")).then_some(Self { object })
    }

    /// Its type as JSON, and as text.
    pub(crate) fn kind(&self) -> (&str, std::borrow::Cow<'_, str>) {
        let Some(kind) = self.object.get("type") else { return ("\"\"", "".into()) };
        let raw = kind.get();
        // Half a surrogate pair is no text. Its spelling is in no whitelist either.
        (raw, kind.as_str().unwrap_or_else(|| unquoted(raw).into()))
    }

    /// What it says, an object.
    pub(crate) fn data(&self) -> &str {
        self.part("data")
    }

    /// Its context, an object.
    pub(crate) fn context(&self) -> &str {
        self.part("context")
    }

    fn part(&self, name: &str) -> &str {
        self.object.get(name).filter(|value| !value.is_null()).map_or("{}", RawJson::get)
    }
}

/// What a connection knows for the admission of its messages.
#[derive(Debug)]
pub(crate) struct Admission {
    pub(crate) namespace: String,
    pub(crate) baseline: Baseline,
    kept: Option<Kept>,
}

/// A context, and what became of it.
#[derive(Debug)]
struct Kept {
    context: String,
    admitted: String,
}

impl Admission {
    pub(crate) fn new(namespace: String, baseline: Baseline) -> Self {
        Self { namespace, baseline, kept: None }
    }

    /// To be called when the client's record, the connection's session or its name has changed.
    pub(crate) fn forget(&mut self) {
        self.kept = None;
    }

    /// The message for the agent's bus.
    pub(crate) fn admit(
        &mut self,
        request: &Request<'_>,
        (chain, standing): (&[Policy], &Standing),
        peer: &str,
    ) -> Result<String, Denial> {
        let (kind_json, kind) = request.kind();
        policy::check_type(standing, &kind)?;
        let (data, context) = (request.data(), request.context());
        let finish = |admitted: &str| {
            let mut out = String::with_capacity(kind_json.len() + data.len() + admitted.len() + 32);
            for part in ["{\"type\":", kind_json, ",\"data\":", data, ",\"context\":", admitted, "}"] {
                out.push_str(part);
            }
            out
        };
        if let Some(kept) = self.kept.as_ref().filter(|kept| kept.context == context) {
            return Ok(finish(&kept.admitted));
        }
        let admitted = self.context(context, (chain, standing), peer)?;
        let message = finish(&admitted);
        self.kept = (context.len() <= KEPT_CONTEXT).then(|| Kept { context: context.to_owned(), admitted });
        Ok(message)
    }

    fn context(&self, context: &str, (chain, standing): (&[Policy], &Standing), peer: &str) -> Result<String, Denial> {
        let members = Object::parse(context).map_err(|_| Denial::malformed("'bus' payload"))?;
        let declared = members.get("session").filter(|session| session.is_object()).map(RawJson::object);
        let declared = declared.transpose().map_err(|_| Denial::malformed("'bus' payload"))?;
        let mut out = String::with_capacity(context.len() + self.baseline.size() + 2 * peer.len() + 96);
        out.push('{');
        for (name, value) in members.iter() {
            // What the satellite says about who it is and whom it speaks to does not count.
            if !matches!(&*spelled(name), "peer" | "source" | "destination" | "session") {
                push_member(&mut out, name, value.get());
            }
        }
        let peer = quoted(peer);
        push_member(&mut out, "peer", &peer);
        push_member(&mut out, "source", &peer);
        push_member(&mut out, "destination", AGENT);
        out.push_str(",\"session\":");
        let id = self.baseline.id(declared.as_ref(), (!standing.client.is_admin).then_some(&*self.namespace));
        let additions = policy::check_session(chain, standing, &id.text)?;
        self.baseline.write(declared.as_ref(), &id, additions, &mut out)?;
        out.push('}');
        Ok(out)
    }

    /// The connection's session without that of any message, as the agent knows it.
    pub(crate) fn session(&self, admin: bool) -> String {
        let id = self.baseline.id(None, (!admin).then_some(&*self.namespace));
        let mut out = String::new();
        // Nothing is added to it, so nothing can be wrong with it.
        let _ = self.baseline.write(None, &id, policy::Additions::default(), &mut out);
        out
    }
}

#[cfg(test)]
mod tests;
