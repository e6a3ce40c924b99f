//! A message of the agent's bus: the payload of a `bus` envelope, and what goes over the OVOS messagebus as it is.

use std::borrow::Cow;

use crate::object::{Malformed, Object, RawJson};

/// A bus message, borrowing from its text.
#[derive(Debug, Clone)]
pub struct Bus<'a> {
    /// Its type, as `recognizer_loop:utterance`.
    pub kind: Cow<'a, str>,
    /// What it says, an object; never looked into.
    pub data: RawJson<'a>,
    /// Where it comes from and goes to, and its session.
    pub context: Object<'a>,
}

impl<'a> Bus<'a> {
    /// Reads a payload, or a frame of the OVOS messagebus.
    ///
    /// # Errors
    /// If it is no bus message.
    pub fn parse(_text: &'a str) -> Result<Self, Malformed> {
        todo!()
    }

    /// Appends the message as JSON.
    pub fn write(&self, _out: &mut Vec<u8>) {
        todo!()
    }
}
