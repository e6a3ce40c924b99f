//! What HiveMind satellites and nodes say to each other: protocol 3, as `hivemind-bus-client` speaks it.
//!
//! The decision here: no input or output, no clock, no threads. Bytes go in and bytes come out, both sides of everything are here, and
//! so a node, a load generator, a fuzzer and a test speak through the same code. What comes in is borrowed and is taken apart only as
//! far as a node has to look; the rest is passed on as it was written.
//!
//! - Who connects: [`Credentials`].
//! - In clear text: [`Hello`] and [`Offer`], then the [`handshake`] with [`Responder`] or [`Initiator`], the [`Psk`] and the
//!   [`StaticKey`].
//! - From there on: the [`Session`], which seals and opens messages; in these an [`Envelope`], in that mostly a [`Bus`] message; or a
//!   [`BinaryFrame`].
//!
//! Nothing that comes in panics or makes this allocate by a length that was only declared. No `Debug` and no error shows a key, a
//! password or what somebody said. The tests compare with what the Python packages make of the same keys (`testdata/vectors.json`).

#![deny(missing_docs)]
#![forbid(unsafe_code)]

pub mod authorization;
pub mod binary;
pub mod bus;
pub mod canonical;
pub mod envelope;
pub mod handshake;
pub mod key;
pub mod message_type;
pub mod object;
pub mod opening;
pub mod psk;
pub mod session;
#[cfg(test)]
mod vectors;

pub use authorization::{AuthorizationError, Credentials};
pub use binary::{BinaryFrame, FrameError};
pub use bus::Bus;
pub use canonical::canonical;
pub use envelope::{Envelope, EnvelopeError};
pub use handshake::{HandshakeError, Initiator, Pattern, Responder, Satellite, Selected, Step, Suite};
pub use key::StaticKey;
pub use message_type::MessageType;
pub use object::{Malformed, Object, RawJson};
pub use opening::{Hello, Offer};
pub use psk::{Psk, psk_binding};
pub use session::{Body, Message, Opener, Sealer, Session, SessionError};
