//! WIRE-1: the bit-packed frames that binary messages travel in.
//!
//! Zeros up to a byte boundary, a one; a bit that says whether a version (8 bits) follows; 5 bits type; 1 bit compression; 8 bits
//! length of the metadata, in bytes, and these; for binary messages 4 bits that say what to do with the bytes; then the payload.
//! So the payload of a binary message begins in the middle of a byte.

use std::fmt;
use std::io::Read as _;

use flate2::read::ZlibDecoder;

use crate::message_type::MessageType;
use crate::object::RawJson;

/// The longest metadata read from a frame, once it is decompressed.
const MAX_INFLATED_METADATA: usize = 64 << 10;
/// The longest payload, once it is decompressed: a frame of a kilobyte may hold a megabyte, and nobody is offered to send these.
const MAX_INFLATED_PAYLOAD: usize = 1 << 20;
/// The highest `bin_type` that there is; others are read as 0, which says nothing.
const MAX_BIN_TYPE: u8 = 6;

/// A frame.
#[derive(Clone, PartialEq, Eq)]
pub struct BinaryFrame {
    /// What the message is: mostly [`MessageType::Binary`].
    pub kind: MessageType,
    /// Free-form, a JSON object.
    pub metadata: String,
    /// What is to be done with the bytes, as 1 for raw audio; 0 says nothing.
    pub bin_type: u8,
    /// The bytes; for other types than [`MessageType::Binary`] a JSON object.
    pub payload: Vec<u8>,
}

/// Why bytes are no frame, or cannot be made one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum FrameError {
    /// It does not begin, or does not end, where it should.
    Length,
    /// A version other than 0 and 1.
    Version,
    /// A type that there is not, or that has no code.
    Type,
    /// The metadata is not a JSON object, or is too long.
    Metadata,
    /// The payload should be a JSON object, and is not.
    Payload,
    /// What is compressed cannot be read, or is too large.
    Compression,
}

impl fmt::Display for FrameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Length => "a binary frame that is cut off",
            Self::Version => "a binary frame of a version above 1",
            Self::Type => "a binary frame of an unknown type",
            Self::Metadata => "a binary frame whose metadata is not a JSON object of at most 255 bytes",
            Self::Payload => "a binary frame whose payload is not a JSON object",
            Self::Compression => "a binary frame that cannot be decompressed",
        })
    }
}

impl std::error::Error for FrameError {}

impl BinaryFrame {
    /// Reads a frame.
    ///
    /// # Errors
    /// If it is none.
    pub fn parse(frame: &[u8]) -> Result<Self, FrameError> {
        let padding = frame.first().ok_or(FrameError::Length)?.leading_zeros();
        if padding > 7 {
            return Err(FrameError::Length);
        }
        let mut bits = Bits { frame, at: padding as usize + 1 };
        if bits.number(1)? == 1 && bits.number(8)? > 1 {
            return Err(FrameError::Version);
        }
        let kind = kind_of(bits.number(5)?).ok_or(FrameError::Type)?;
        let is_compressed = bits.number(1)? == 1;
        let length = usize::from(bits.number(8)?);
        let metadata = inflated(bits.bytes(length)?, is_compressed, MAX_INFLATED_METADATA)?;
        let metadata = object(if metadata.is_empty() { b"{}".to_vec() } else { metadata }).ok_or(FrameError::Metadata)?;
        if kind == MessageType::Binary {
            let bin_type = bits.number(4)?;
            let payload = bits.rest()?;
            return Ok(Self { kind, metadata, bin_type: if bin_type > MAX_BIN_TYPE { 0 } else { bin_type }, payload });
        }
        let payload = object(inflated(bits.rest()?, is_compressed, MAX_INFLATED_PAYLOAD)?).ok_or(FrameError::Payload)?;
        Ok(Self { kind, metadata, bin_type: 0, payload: payload.into_bytes() })
    }

    /// The frame's bytes, uncompressed.
    ///
    /// # Errors
    /// If the type has no code, or the metadata is longer than 255 bytes.
    pub fn to_bytes(&self) -> Result<Vec<u8>, FrameError> {
        let code = (0..=u8::MAX >> 3).find(|code| kind_of(*code) == Some(self.kind)).ok_or(FrameError::Type)?;
        let length = u8::try_from(self.metadata.len()).map_err(|_| FrameError::Metadata)?;
        // A one, no version, the type, no compression.
        let head = [0x80 | code << 1, length];
        let metadata = self.metadata.as_bytes();
        let size = 3 + metadata.len() + self.payload.len();
        if self.kind != MessageType::Binary {
            return Ok([&head, metadata, &self.payload].concat());
        }
        // With the four bits of `bin_type`, the head lacks four bits of a byte: it is all shifted by these, up to the payload.
        let mut out = Vec::with_capacity(size);
        let mut carry = 0;
        for byte in head.iter().chain(metadata) {
            out.push(carry | byte >> 4);
            carry = byte << 4;
        }
        out.push(carry | self.bin_type & 0xf);
        out.extend_from_slice(&self.payload);
        Ok(out)
    }
}

/// Lengths alone: what is said is private.
impl fmt::Debug for BinaryFrame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BinaryFrame")
            .field("kind", &self.kind)
            .field("bin_type", &self.bin_type)
            .field("payload", &self.payload.len())
            .finish_non_exhaustive()
    }
}

/// INTERCOM has never had a code, and 11 belonged to what is no more.
const fn kind_of(code: u8) -> Option<MessageType> {
    Some(match code {
        0 => MessageType::Handshake,
        1 => MessageType::Bus,
        2 => MessageType::SharedBus,
        3 => MessageType::Broadcast,
        4 => MessageType::Propagate,
        5 => MessageType::Escalate,
        6 => MessageType::Hello,
        7 => MessageType::Query,
        8 => MessageType::Cascade,
        9 => MessageType::Ping,
        10 => MessageType::Rendezvous,
        12 => MessageType::Binary,
        _ => return None,
    })
}

struct Bits<'a> {
    frame: &'a [u8],
    /// In bits.
    at: usize,
}

impl Bits<'_> {
    /// The next bits, at most 8, as a number.
    fn number(&mut self, count: usize) -> Result<u8, FrameError> {
        if self.at + count > self.frame.len() * 8 {
            return Err(FrameError::Length);
        }
        let byte = |at: usize| u16::from(self.frame.get(at).copied().unwrap_or(0));
        let pair = byte(self.at / 8) << 8 | byte(self.at / 8 + 1);
        let [_, number] = (pair << (self.at % 8) >> (16 - count)).to_be_bytes();
        self.at += count;
        Ok(number)
    }

    fn bytes(&mut self, count: usize) -> Result<Vec<u8>, FrameError> {
        let (start, shift) = (self.at / 8, self.at % 8);
        if self.at + count * 8 > self.frame.len() * 8 {
            return Err(FrameError::Length);
        }
        self.at += count * 8;
        if shift == 0 {
            return Ok(self.frame[start..start + count].to_vec());
        }
        Ok(self.frame[start..=start + count].windows(2).map(|pair| pair[0] << shift | pair[1] >> (8 - shift)).collect())
    }

    /// All that is left, which is whole bytes.
    fn rest(&mut self) -> Result<Vec<u8>, FrameError> {
        let left = self.frame.len() * 8 - self.at;
        if left.is_multiple_of(8) { self.bytes(left / 8) } else { Err(FrameError::Length) }
    }
}

fn inflated(bytes: Vec<u8>, is_compressed: bool, limit: usize) -> Result<Vec<u8>, FrameError> {
    if !is_compressed || bytes.is_empty() {
        return Ok(bytes);
    }
    let mut out = Vec::new();
    let read = ZlibDecoder::new(bytes.as_slice()).take(limit as u64 + 1).read_to_end(&mut out);
    if read.is_ok() && out.len() <= limit { Ok(out) } else { Err(FrameError::Compression) }
}

fn object(bytes: Vec<u8>) -> Option<String> {
    let text = String::from_utf8(bytes).ok()?;
    RawJson::parse(&text).is_ok_and(RawJson::is_object).then_some(text)
}

#[cfg(test)]
mod tests;
