//! An agent that says what it hears: a round trip for whoever has no OVOS yet.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use hivemind_model::json::quote_into;
use hivemind_protocol::Object;

use super::{Agent, Unavailable};
use crate::frame;
use crate::hub::Hub;
use crate::text::{push_member, spelled};

/// Answers every utterance by speaking it.
#[derive(Debug, Default)]
pub struct Echo {
    hub: Mutex<Weak<Hub>>,
}

impl Echo {
    /// An agent that says what it hears.
    #[must_use]
    pub fn new() -> Arc<Self> {
        Arc::default()
    }
}

impl Agent for Echo {
    fn start(self: Arc<Self>, hub: Weak<Hub>) {
        let there = hub.upgrade();
        *self.hub.lock().unwrap_or_else(PoisonError::into_inner) = hub;
        if let Some(hub) = there {
            hub.agent_is(true);
        }
    }

    fn send(&self, message: String) -> Result<(), Unavailable> {
        let hub = self.hub.lock().unwrap_or_else(PoisonError::into_inner).upgrade();
        let Some(hub) = hub else { return Err(Unavailable("the node ends")) };
        if let Some([speak, handled]) = answer(&message) {
            hub.deliver(&speak);
            hub.deliver(&handled);
        }
        Ok(())
    }

    fn is_up(&self) -> bool {
        true
    }
}

/// What is said to an utterance, and that it is all that will be said: the messages OVOS has for both. `None` for other messages.
fn answer(message: &str) -> Option<[String; 2]> {
    let message = Object::parse(message).ok()?;
    if !matches!(&*message.text("type")?, "recognizer_loop:utterance" | "ovos.utterance.handle") {
        return None;
    }
    let data = message.get("data")?.object().ok()?;
    let utterances = data.get("utterances")?.items().ok()?;
    let said = utterances.first()?.get();
    let mut spoken = format!("{{\"utterance\":{said},\"expect_response\":false,\"meta\":{{}},\"lang\":");
    quote_into(data.text("lang").as_deref().unwrap_or("en-US"), &mut spoken);
    spoken.push('}');

    // Back to where it came from, as every answer on the bus.
    let context = message.get("context")?.object().ok()?;
    let mut back = String::from("{");
    for (name, value) in context.iter() {
        match &*spelled(name) {
            "source" => push_member(&mut back, "destination", value.get()),
            "destination" => push_member(&mut back, "source", value.get()),
            name => push_member(&mut back, name, value.get()),
        }
    }
    back.push('}');
    Some([frame::bus("speak", &spoken, &back), frame::bus("ovos.utterance.handled", "{}", &back)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_utterance_comes_back_to_its_source_with_its_session() {
        let message = concat!(
            r#"{"type":"recognizer_loop:utterance","data":{"utterances":["hello \u00fc","x"],"lang":"pt-pt"},"#,
            r#""context":{"source":"a::1::n::s","destination":"hivemind","session":{"session_id":"x:s","n":1.50}}}"#
        );
        let [speak, handled] = answer(message).expect("an answer");
        let context = r#"{"destination":"a::1::n::s","source":"hivemind","session":{"session_id":"x:s","n":1.50}}"#;
        let spoken = r#"{"utterance":"hello \u00fc","expect_response":false,"meta":{},"lang":"pt-pt"}"#;
        assert_eq!(speak, format!(r#"{{"type":"speak","data":{spoken},"context":{context}}}"#));
        assert_eq!(handled, format!(r#"{{"type":"ovos.utterance.handled","data":{{}},"context":{context}}}"#));
    }

    #[test]
    fn nothing_else_is_answered() {
        for other in [
            r#"{"type":"speak","data":{"utterances":["x"]},"context":{}}"#,
            r#"{"type":"recognizer_loop:utterance","data":{},"context":{}}"#,
            r#"{"type":"recognizer_loop:utterance","data":{"utterances":[]},"context":{}}"#,
        ] {
            assert!(answer(other).is_none(), "{other}");
        }
    }
}
