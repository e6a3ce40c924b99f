//! The HiveMind node: admits satellites and passes their messages to an agent.

#![deny(missing_docs)]
#![forbid(unsafe_code)]

pub mod close;
pub mod event;
pub mod outbox;
pub mod settings;
