//! QUERY and CASCADE: questions to the hive, and the answers to them.

use std::sync::Arc;

use hivemind_protocol::{Envelope, MessageType, Object, RawJson};

use super::questions::Question;
use super::{Inner, Route, rewrapped};
use crate::frame::{self, Frame, quoted};
use crate::policy::Denial;
use crate::seat::{Judged, Seat};
use crate::text::{is_true, push_member, spelled};

/// The messages that carry what somebody said.
const UTTERANCES: [&str; 2] = ["recognizer_loop:utterance", "ovos.utterance.handle"];

/// The longest id of a question.
const ID: usize = 256;

impl Seat {
    /// A question, or an answer of this satellite to one.
    pub(super) fn question(&mut self, envelope: &Envelope<'_>, inner: &Inner<'_>, route: &Route<'_>) -> Judged {
        let metadata = envelope.metadata.and_then(|metadata| metadata.object().ok()).unwrap_or_default();
        let text = |name| metadata.text(name).filter(|text| !text.is_empty()).map(std::borrow::Cow::into_owned);
        let originator = text("originator_peer");
        if metadata.get("is_response").is_some_and(is_true) {
            return self.answer(envelope, route, (text("query_id"), originator));
        }
        let query_id = text("query_id").unwrap_or_else(|| uuid::Uuid::new_v4().to_string());
        if query_id.len() > ID {
            return self.deny(envelope.kind.word(), Denial::malformed("a query_id of more than 256 bytes"));
        }
        let utterance = match self.utterance(inner) {
            Ok(utterance) => utterance,
            Err((kind, denial)) => return self.deny(&kind, denial),
        };
        let originator = originator.unwrap_or_else(|| self.peer().to_owned());
        let hub = Arc::clone(self.hub());
        hub.relay.returns.add(&query_id, self.own_peer());
        let word = if envelope.kind == MessageType::Query { "hive.query.received" } else { "hive.cascade.received" };
        let data = format!("{{\"query_id\":{},\"originator_peer\":{}}}", quoted(&query_id), quoted(&originator));
        let context = format!("{{\"source\":{}}}", quoted(self.peer()));
        if let Err(unavailable) = hub.agent.send_for(frame::bus(word, &data, &context), &self.own_peer().account) {
            return self.deny(envelope.kind.word(), Denial::unavailable(unavailable.0));
        }
        let lang = utterance.as_ref().map_or_else(String::new, |utterance| utterance.lang.clone());
        let question = Question {
            kind: envelope.kind,
            peer: Arc::clone(self.own_peer()),
            query_id: query_id.clone(),
            originator: originator.clone(),
            route: route.to_json(),
            lang,
        };
        self.ask_agent(utterance, question);
        if envelope.kind == MessageType::Cascade && !route.has(&hub.node_id) {
            let metadata = with_ids(&metadata, &query_id, &originator);
            let route = route.through(&hub.node_id, &inner.envelope);
            let text = rewrapped(envelope, inner, &route, &hub.node_id, Some(&metadata));
            hub.relay_to_all(Some(self.own_peer()), text);
        }
        Judged::Passed
    }

    /// What is asked of the agent, if it is something that agents answer, and passes the policy.
    fn utterance(&mut self, inner: &Inner<'_>) -> Result<Option<Utterance>, (String, Denial)> {
        let Some(request) = &inner.request else { return Ok(None) };
        let kind = request.kind().1;
        if !UTTERANCES.contains(&&*kind) {
            return Ok(None);
        }
        self.admit(request).map_err(|denial| (kind.into_owned(), denial))?;
        Ok(Utterance::of(request.data(), request.context()))
    }

    /// Asks the agent in a session of its own, which forbids what the client's record forbids.
    fn ask_agent(&self, utterance: Option<Utterance>, question: Question) {
        let (hub, id) = (self.hub(), uuid::Uuid::new_v4().simple().to_string());
        let Some(utterance) = utterance else { return hub.decline(&question) };
        let session = match self.question_session(&id) {
            Ok(session) => session,
            Err(_) => return hub.decline(&question),
        };
        if let Err(question) = hub.relay.questions.add(&id, question) {
            tracing::debug!(peer = self.peer(), "declining a question: too many are open");
            return hub.decline(&question);
        }
        let data = format!("{{\"utterances\":[{}],\"lang\":{}}}", utterance.said, utterance.lang);
        let context = format!("{{\"query_id\":{},\"session\":{session}}}", quoted(&id));
        let asked = frame::bus("recognizer_loop:utterance", &data, &context);
        if hub.agent.send_for(asked, &self.own_peer().account).is_err() {
            hub.end_question(&id);
        }
    }

    /// An answer goes to the connection that the question came from, if it says that it is meant for it.
    fn answer(&self, envelope: &Envelope<'_>, route: &Route<'_>, ids: (Option<String>, Option<String>)) -> Judged {
        let (hub, (query_id, originator)) = (self.hub(), ids);
        let Some(asker) = query_id.and_then(|id| hub.relay.returns.get(&id)) else { return Judged::Ignored };
        let name = asker.name();
        let is_meant = originator.as_deref() == Some(&*name) || (&*name != self.peer() && route.has(&name));
        if !is_meant {
            tracing::debug!(from = self.peer(), to = &*name, "dropping an answer that names another receiver than who asked");
            return Judged::Ignored;
        }
        let raw = |value: Option<RawJson<'_>>| value.map_or("null", RawJson::get).to_owned();
        let frame = Frame {
            metadata: envelope.metadata.map_or("{}", RawJson::get),
            route: &route.to_json(),
            node: &raw(envelope.node),
            target_site_id: &raw(envelope.target_site_id),
            target_pubkey: &raw(envelope.target_pubkey),
            source_peer: &quoted(self.peer()),
            ..Frame::new(envelope.kind, envelope.payload.get())
        };
        hub.relay_to(&asker, frame.write());
        Judged::Passed
    }
}

/// What somebody said, and in which language, as JSON.
struct Utterance {
    said: String,
    lang: String,
}

impl Utterance {
    fn of(data: &str, context: &str) -> Option<Self> {
        let data = Object::parse(data).ok()?;
        let utterances = data.get("utterances")?.items().ok()?;
        let said = utterances.first()?.as_str().filter(|said| !said.is_empty())?;
        let context = Object::parse(context).unwrap_or_default();
        let lang = data.text("lang").or_else(|| context.text("lang")).unwrap_or("en-US".into());
        Some(Self { said: quoted(&said), lang: quoted(&lang) })
    }
}

/// The metadata of a question with the ids that it goes on under.
fn with_ids(metadata: &Object<'_>, query_id: &str, originator: &str) -> String {
    let mut out = String::from("{");
    let others = metadata.iter().filter(|(name, _)| !matches!(&*spelled(name), "query_id" | "originator_peer"));
    for (name, value) in others {
        push_member(&mut out, name, value.get());
    }
    push_member(&mut out, "query_id", &quoted(query_id));
    push_member(&mut out, "originator_peer", &quoted(originator));
    out.push('}');
    out
}
