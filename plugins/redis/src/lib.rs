//! Storage in Redis, under the keys of the Python node.
//!
//! `docs.md` has the design, the settings and what a write is worth after each kind of crash.

#![deny(missing_docs)]
#![deny(unsafe_code)]

pub mod config;
#[allow(dead_code, unused_imports, reason = "the backend on top of it is being written")]
mod link;

/// The name in `database.module`.
pub const MODULE: &str = "hivemind-redis-db-plugin";
