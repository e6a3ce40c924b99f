//! Storage in memory, for tests and throw-away nodes.
//!
//! The decision behind it: it is the model's own indexed [tables](hivemind_abi::model::table::Tables) behind one lock and nothing
//! else, so that what it answers is the model's meaning and what it costs is the floor that other backends are measured against.
//! Everything is lost when the process ends, and it says so: it does not declare `durable`.
//!
//! `docs.md` has the design, the settings and what to use it for.

#![deny(missing_docs)]
#![forbid(unsafe_code)]

pub mod backend;
pub mod config;
mod seed;

/// The name in `database.module`.
pub const MODULE: &str = "hivemind-memory-db-plugin";

mod export {
    hivemind_abi::export_backend! {
        module: super::MODULE,
        aliases: ["memory"],
        vendor: "hivemind-host",
        licence: "MIT OR Apache-2.0",
        capabilities: [AtomicBatch, Unique, ChangeTracking, InlineReads],
        config_schema: include_str!("config.schema.json"),
        open: super::backend::open,
    }
}
