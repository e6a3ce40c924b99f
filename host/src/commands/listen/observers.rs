//! Who is told what happens in the node.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

use hivemind_model::Code;
use hivemind_node::event::{Event, Observer};

use crate::audit::fingerprint;
use crate::plain::plain;

/// Where log lines say that they come from.
const TARGET: &str = "hivemind_host::node";

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
    /// Whether there is anything in `failing`, for the many calls that succeed.
    storage_fails: AtomicBool,
    /// Which calls fail, and how often they did. One succeeds where another cannot: a full disk is read, and of a server that is gone
    /// it is known that nothing has changed.
    failing: Mutex<BTreeMap<&'static str, u64>>,
}

impl Observer for Logged {
    fn see(&self, event: &Event<'_>) {
        match event {
            Event::Admitted { party, pattern, took } => tracing::info!(
                target: TARGET, client = party.client,
                name = &*plain(party.name),
                address = %party.address,
                pattern,
                ms = took.as_secs_f64() * 1000.0,
                "admitted"
            ),
            Event::Left { party, code, reason, lasted } => tracing::info!(
                target: TARGET, client = party.client,
                address = %party.address,
                code,
                reason = &*plain(reason),
                seconds = lasted.as_secs_f64(),
                "left"
            ),
            Event::Refused { party, refusal } => tracing::debug!(
                target: TARGET, client = party.client,
                key = fingerprint(party.access_key),
                address = %party.address,
                why = refusal.word(),
                "refused"
            ),
            Event::Judged { party, message_type, denied: Some(code), .. } => {
                tracing::debug!(target: TARGET, client = party.client, message_type = &*plain(message_type), code, "denied");
            }
            Event::TooSlow { party } => {
                tracing::warn!(target: TARGET, client = party.client, address = %party.address, "does not read what it is sent; its connection was closed");
            }
            Event::Called { call, error, .. } => self.called(call, *error),
            Event::Agent { up: true } => tracing::info!(target: TARGET, "the agent is reached"),
            Event::Agent { up: false } => {
                tracing::warn!(target: TARGET, "the agent cannot be reached; messages are denied until it can")
            }
            _ => {}
        }
    }
}

impl Logged {
    /// Says once that a call of the storage's fails, and once that it succeeds again.
    fn called(&self, call: &'static str, error: Option<Code>) {
        let failing = || self.failing.lock().unwrap_or_else(PoisonError::into_inner);
        match error {
            None if self.storage_fails.load(Relaxed) => {
                let mut failing = failing();
                if let Some(failures) = failing.remove(call) {
                    tracing::warn!(target: TARGET, "the storage answers again ({call}), after {failures} calls that failed");
                }
                self.storage_fails.store(!failing.is_empty(), Relaxed);
            }
            None | Some(Code::Conflict | Code::NotFound) => {}
            Some(code) => {
                let mut failing = failing();
                self.storage_fails.store(true, Relaxed);
                let failures = failing.entry(call).or_default();
                *failures += 1;
                if *failures == 1 {
                    tracing::error!(
                        target: TARGET, "the storage failed ({call}: {code}); satellites are told to come back, until it answers again"
                    );
                }
            }
        }
    }
}
