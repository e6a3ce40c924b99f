//! Who is told what happens in the node.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use hivemind_model::Code;
use hivemind_node::event::{Event, Observer};

use crate::audit::fingerprint;
use crate::plain::plain;

/// Tells several, in this order.
pub(super) struct Several(pub(super) Vec<Arc<dyn Observer>>);

impl Observer for Several {
    fn see(&self, event: &Event<'_>) {
        self.0.iter().for_each(|observer| observer.see(event));
    }
}

/// Log lines about what an operator watches for. What strangers can cause as often as they like is logged with `-v` alone; the audit log
/// has it, and has a bound.
#[derive(Default)]
pub(super) struct Logged {
    storage_is_away: AtomicBool,
    failures: AtomicU64,
}

impl Observer for Logged {
    fn see(&self, event: &Event<'_>) {
        match event {
            Event::Admitted { party, pattern, took } => tracing::info!(
                client = party.client,
                name = &*plain(party.name),
                address = %party.address,
                pattern,
                ms = took.as_secs_f64() * 1000.0,
                "admitted"
            ),
            Event::Left { party, code, reason, lasted } => tracing::info!(
                client = party.client,
                address = %party.address,
                code,
                reason = &*plain(reason),
                seconds = lasted.as_secs_f64(),
                "left"
            ),
            Event::Refused { party, refusal } => tracing::debug!(
                client = party.client,
                key = fingerprint(party.access_key),
                address = %party.address,
                why = refusal.word(),
                "refused"
            ),
            Event::Judged { party, message_type, denied: Some(code), .. } => {
                tracing::debug!(client = party.client, message_type = &*plain(message_type), code, "denied");
            }
            Event::TooSlow { party } => {
                tracing::warn!(client = party.client, address = %party.address, "does not read what it is sent; its connection was closed");
            }
            Event::Called { call, error, .. } => self.called(call, *error),
            Event::Agent { up: true } => tracing::info!("the agent's bus is reached"),
            Event::Agent { up: false } => tracing::warn!("the agent's bus cannot be reached; messages are denied until it can"),
            _ => {}
        }
    }
}

impl Logged {
    /// Says once that the storage fails, and once that it answers again.
    fn called(&self, call: &str, error: Option<Code>) {
        match error {
            None if self.storage_is_away.load(Relaxed) && self.storage_is_away.swap(false, Relaxed) => {
                let failures = self.failures.swap(0, Relaxed);
                tracing::warn!("the storage answers again, after {failures} calls that failed");
            }
            None => {}
            Some(Code::Conflict | Code::NotFound) => {}
            Some(code) => {
                self.failures.fetch_add(1, Relaxed);
                if !self.storage_is_away.swap(true, Relaxed) {
                    tracing::error!(
                        "the storage failed ({call}: {code}); satellites are told to come back, until it answers again"
                    );
                }
            }
        }
    }
}
