//! Storage in the JSON files of the Python node.
//!
//! The decision behind it: **the file is the truth, memory is its index.** A collection is one JSON file that people and the Python
//! node read and change at the same time; so every call first makes sure, cheaply, that what it knows is what is there, and
//! every change is evaluated under Python's own lock on the re-read state and replaces the file whole, keeping each record that it
//! does not touch byte for byte.
//!
//! `docs.md` has the design: formats, locking, what a crash leaves, and what is assumed of the media.

#![deny(missing_docs)]
#![forbid(unsafe_code)]

mod archive;
pub mod backend;
mod backup;
mod cipher;
mod commit;
pub mod config;
mod document;
mod entry;
mod inspect;
mod journal;
mod line;
mod loaded;
mod lock;
mod place;
mod prepare;
mod rekey;
mod replace;
mod seen;
mod sentinel;
mod state;
mod watch;

/// The name in `database.module`.
pub const MODULE: &str = "hivemind-json-db-plugin";

mod export {
    hivemind_abi::export_backend! {
        module: super::MODULE,
        aliases: ["json"],
        vendor: "hivemind-host",
        licence: "MIT OR Apache-2.0",
        capabilities: [Durable, AtomicBatch, Unique, MultiProcess, Encryption, OnlineBackup, ChangeTracking, InlineReads],
        config_schema: include_str!("config.schema.json"),
        open: super::backend::open,
    }
}
