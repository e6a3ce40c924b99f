//! The subset of MessagePack that rows and requests use.
//!
//! Written here rather than taken from a crate because every plugin carries it, and because the reader must treat its input as
//! hostile: bounds are checked before anything is allocated, and nothing recurses deeper than [`MAX_DEPTH`].
//! Source: <https://github.com/msgpack/msgpack/blob/master/spec.md>.

mod reader;
mod writer;

pub use reader::{Reader, Token};
pub use writer::Writer;

/// The deepest nesting [`Reader::skip`] follows.
pub const MAX_DEPTH: usize = 32;
