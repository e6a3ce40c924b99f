//! WIRE-1: the bit-packed frames that binary messages travel in.

use crate::message_type::MessageType;

/// A frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BinaryFrame {
    /// What the message is: mostly [`MessageType::Binary`].
    pub kind: MessageType,
    /// Free-form, a JSON object.
    pub metadata: String,
    /// What is to be done with the bytes; 0 for other types.
    pub bin_type: u8,
    /// The bytes, or for other types JSON.
    pub payload: Vec<u8>,
}

/// Why bytes are no frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum FrameError {
    /// It ends too early.
    Short,
    /// A version other than 1.
    Version,
    /// A type that there is not, or that has no code.
    Type,
    /// The metadata is not a JSON object, or does not fit.
    Metadata,
    /// What is compressed cannot be read, or is too large.
    Compression,
}

impl BinaryFrame {
    /// Reads a frame.
    ///
    /// # Errors
    /// If it is none.
    pub fn parse(_frame: &[u8]) -> Result<Self, FrameError> {
        todo!()
    }

    /// The frame's bytes, uncompressed.
    ///
    /// # Errors
    /// If the type has no code or the metadata is longer than 255 bytes.
    pub fn to_bytes(&self) -> Result<Vec<u8>, FrameError> {
        todo!()
    }
}
