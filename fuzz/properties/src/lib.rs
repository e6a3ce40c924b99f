//! What must hold for every input, whoever wrote it.
//!
//! The decision here: a target is an ordinary function from bytes that panics where a property does not hold. So the same code runs
//! under a fuzzer (`../fuzz_targets`, a nightly compiler) and over every kept input in an ordinary test on stable
//! (`tests/kept.rs`), and a found input stays a test for ever.
//!
//! The properties say more than "it does not panic": what is decoded encodes to the same, what is written reads back as it was, two
//! readers of one format agree, what a check lets pass is so by another way of looking, and a refusal is one of the promised kinds and
//! repeats no secret.

#![deny(missing_docs)]
#![forbid(unsafe_code)]

pub mod clients_json;
mod collections;
pub mod engine;
pub mod envelope;
pub mod frame;
pub mod handshake;
pub mod manifest;
mod messagepack;
mod noise;
pub mod object;
pub mod record;
pub mod row;
pub mod server_json;
pub mod text;
pub mod wire;

pub use collections::{Specimen, collections};

/// A target's name and its function.
pub type Target = (&'static str, fn(&[u8]));

/// Every target.
pub const TARGETS: [Target; 12] = [
    ("row", row::check),
    ("record", record::check),
    ("wire", wire::check),
    ("engine", engine::check),
    ("server_json", server_json::check),
    ("manifest", manifest::check),
    ("object", object::check),
    ("clients_json", clients_json::check),
    ("text", text::check),
    ("envelope", envelope::check),
    ("handshake", handshake::check),
    ("frame", frame::check),
];

/// Whether an error of the reader of deeply nested JSON may be: what it says of it.
fn is_too_deep(message: &str) -> bool {
    message.contains("nested too deep") || message.contains("nested deeper")
}
