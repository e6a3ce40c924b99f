//! Questions that the agent was asked for a satellite, until it has answered or has been silent for too long.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use hivemind_protocol::{MessageType, Object, RawJson};

use crate::frame::{self, Frame, quoted};
use crate::hub::Hub;
use crate::outbox::Item;
use crate::peer::Peer;

/// So many at once, and so long a silence: as the Python node.
const AT_ONCE: usize = 64;
/// So many of one client, however many connections it has, so that it leaves room for others.
const OF_ONE: usize = 16;
const SILENCE: Duration = Duration::from_secs(10);

/// A question of a satellite.
#[derive(Debug)]
pub(super) struct Question {
    pub(super) kind: MessageType,
    pub(super) peer: Arc<Peer>,
    /// The id that the satellite knows it by.
    pub(super) query_id: String,
    pub(super) originator: String,
    /// The route it came, as JSON.
    pub(super) route: String,
    /// Its language, as JSON.
    pub(super) lang: String,
}

#[derive(Debug)]
struct Open {
    question: Arc<Question>,
    answered: bool,
    heard: Instant,
}

/// Those that are open, by the id that the agent knows them by.
#[derive(Debug, Default)]
pub(super) struct Questions {
    open: Mutex<HashMap<String, Open>>,
    /// How many, so that most messages of the agent need no lock to be known for no answers.
    count: AtomicUsize,
}

impl Questions {
    fn open(&self) -> MutexGuard<'_, HashMap<String, Open>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens a question; gives it back if there are too many.
    pub(super) fn add(&self, id: &str, question: Question) -> Result<(), Question> {
        let mut open = self.open();
        let of_same = open.values().filter(|open| open.question.peer.client_id == question.peer.client_id).count();
        if open.len() >= AT_ONCE || of_same >= OF_ONE {
            return Err(question);
        }
        open.insert(id.to_owned(), Open { question: Arc::new(question), answered: false, heard: Instant::now() });
        self.count.store(open.len(), Ordering::Release);
        Ok(())
    }

    /// The question an answer belongs to, which counts as answered now.
    fn answered(&self, id: &str) -> Option<Arc<Question>> {
        let mut open = self.open();
        let found = open.get_mut(id)?;
        (found.answered, found.heard) = (true, Instant::now());
        Some(Arc::clone(&found.question))
    }

    /// Closes a question: with whether it was answered.
    pub(super) fn close(&self, id: &str) -> Option<(Arc<Question>, bool)> {
        let mut open = self.open();
        let closed = open.remove(id)?;
        self.count.store(open.len(), Ordering::Release);
        Some((closed.question, closed.answered))
    }

    /// Those that were not answered for too long.
    fn stale(&self) -> Vec<String> {
        if self.count.load(Ordering::Acquire) == 0 {
            return Vec::new();
        }
        self.open().iter().filter(|(_, open)| open.heard.elapsed() >= SILENCE).map(|(id, _)| id.clone()).collect()
    }

    pub(super) fn leave(&self, peer: &Arc<Peer>) {
        let mut open = self.open();
        open.retain(|_, open| !Arc::ptr_eq(&open.question.peer, peer));
        self.count.store(open.len(), Ordering::Release);
    }
}

impl Hub {
    /// Whether any question is open.
    pub(crate) fn has_questions(&self) -> bool {
        self.relay.questions.count.load(Ordering::Acquire) > 0
    }

    /// Takes a message of the agent's for what it may be: part of the answer to a question, or its end.
    pub(crate) fn take_answer(&self, kind: RawJson<'_>, data: &str, context: &Object<'_>) {
        let questions = &self.relay.questions;
        let Some(id) = context.text("query_id") else { return };
        match kind.as_str().as_deref() {
            Some("speak") => {
                let Some(question) = questions.answered(&id) else { return };
                let said = Object::parse(data).ok();
                let said = said.as_ref().and_then(|data| data.get("utterance")).map_or("\"\"", RawJson::get);
                let data = format!("{{\"utterance\":{said},\"lang\":{}}}", question.lang);
                let context = format!("{{\"query_id\":{}}}", quoted(&question.query_id));
                self.respond(&question, &frame::bus("speak", &data, &context));
            }
            Some("ovos.utterance.handled") => self.end_question(&id),
            _ => {}
        }
    }

    /// Tells who asked that no more will come.
    pub(super) fn end_question(&self, id: &str) {
        let Some((question, answered)) = self.relay.questions.close(id) else { return };
        if answered {
            self.respond(&question, &frame::bus("hive.query.complete", "{}", "{}"));
        } else {
            self.decline(&question);
        }
    }

    /// Nobody here answers. Everybody is asked a CASCADE, so the silence of one is no news.
    pub(super) fn decline(&self, question: &Question) {
        if question.kind == MessageType::Query {
            let data = format!("{{\"query_id\":{},\"error\":\"no_answer\"}}", quoted(&question.query_id));
            self.respond(question, &frame::bus("hive.query.timeout", &data, "{}"));
        }
    }

    pub(crate) fn end_stale_questions(&self) {
        for id in self.relay.questions.stale() {
            self.end_question(&id);
        }
    }

    fn respond(&self, question: &Question, bus: &str) {
        let payload = Frame::new(MessageType::Bus, bus).write();
        let metadata = format!(
            "{{\"query_id\":{},\"originator_peer\":{},\"responder_peer\":{},\"is_response\":true}}",
            quoted(&question.query_id),
            quoted(&question.originator),
            quoted(&self.node_id)
        );
        let frame = Frame { metadata: &metadata, route: &question.route, ..Frame::new(question.kind, &payload) };
        question.peer.send(Item::Json(frame.write().into_bytes().into()), &*self.observer);
    }
}
