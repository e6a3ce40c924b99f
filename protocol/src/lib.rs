//! What HiveMind satellites and nodes say to each other, without any input or output of its own.

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
