//! Several programs on one store: a worker of ours that lives long, what each program writes down of what it was acknowledged, and
//! the check that all of it is there in the end.
//!
//! The decision: **each part of a record has one writer** (a thread, a Python process, a program that is started again and again),
//! and each writer keeps a log. So what every record must be in the end follows from the logs alone, field by field, whatever the
//! order in which the programs came to write. Where many write one and the same part, `same_rows` counts instead.

pub mod beside;
pub mod expected;
pub mod log;
pub mod place;
pub mod same_rows;
pub mod worker;

use hivemind_store::Client;
use serde_json::{Value, json};

/// A client as `list-clients --json` and the Python peer show it.
#[must_use]
pub fn as_json(client: &Client) -> Value {
    json!({
        "client_id": client.id,
        "api_key": client.api_key,
        "name": client.name,
        "description": client.description,
        "is_admin": client.is_admin,
        "last_seen": client.last_seen,
        "allowed_types": client.allowed_types,
        "password": client.password,
        "can_broadcast": client.can_broadcast,
        "can_escalate": client.can_escalate,
        "can_propagate": client.can_propagate,
        "metadata": serde_json::from_str::<Value>(client.metadata.as_json()).unwrap_or_default(),
    })
}

/// Whether two values are the same, numbers by value: one program writes -1, the other -1.0.
#[must_use]
pub fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => a == b || a.as_f64() == b.as_f64(),
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        (Value::Object(a), Value::Object(b)) => a.len() == b.len() && a.iter().all(|(k, v)| b.get(k).is_some_and(|w| same(v, w))),
        _ => a == b,
    }
}

/// Numbers that look random and are the same in every run.
#[derive(Debug)]
pub struct Random(u64);

impl Random {
    /// A sequence of its own for each seed.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// A number below this one.
    pub fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 33).unwrap_or_default() % end.max(1)
    }
}
