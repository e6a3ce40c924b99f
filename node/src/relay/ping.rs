//! PING: who is where in the hive.

use std::time::{SystemTime, UNIX_EPOCH};

use hivemind_protocol::{MessageType, RawJson};

use crate::frame::{self, Frame, quoted};
use crate::seat::Seat;

impl Seat {
    /// Tells the agent who announced itself, and announces this node: to everybody, or to whoever asks if everybody heard it lately.
    pub(super) fn answer_ping(&self, payload: RawJson<'_>) {
        let (hub, Ok(ping)) = (self.hub(), payload.object()) else { return };
        let (id, from) = (ping.text("flood_id").unwrap_or_default(), ping.text("peer").unwrap_or_default());
        let (floods, satellites) = (&hub.relay.floods, hub.len());
        if !id.is_empty() && !from.is_empty() && !floods.was_mapped(&id, &from, satellites) {
            let member = |name| ping.get(name).map_or("null", RawJson::get);
            let data = format!(
                "{{\"flood_id\":{},\"peer\":{},\"site_id\":{},\"timestamp\":{}}}",
                quoted(&id),
                member("peer"),
                member("site_id"),
                member("timestamp")
            );
            // The hive can be mapped without an agent.
            let _ = hub.agent.send(frame::bus("hive.ping.received", &data, "{}"));
        }
        if id.is_empty() || floods.was_answered(&id, satellites) {
            return;
        }
        let own = self.own_ping(&id);
        if floods.may_answer_all() {
            hub.relay_to_all(None, own);
        } else {
            self.send(own);
        }
    }

    fn own_ping(&self, flood_id: &str) -> String {
        let (hub, now) = (self.hub(), SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default());
        let node = quoted(&hub.node_id);
        let site = hub.site_id.as_deref().map_or("null".to_owned(), quoted);
        let payload = format!(
            "{{\"flood_id\":{},\"peer\":{node},\"site_id\":{site},\"timestamp\":{:.6},\"public_key\":{node}}}",
            quoted(flood_id),
            now.as_secs_f64()
        );
        let ping = Frame::new(MessageType::Ping, &payload).write();
        Frame::new(MessageType::Propagate, &ping).write()
    }
}
