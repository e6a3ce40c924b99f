//! A message of the agent's bus: the payload of a `bus` envelope, and what goes over the OVOS messagebus as it is.

use std::borrow::Cow;
use std::fmt;

use hivemind_model::json::{Flat, Part, outline};

use crate::object::{Malformed, Object, RawJson, push_text};

/// A bus message, borrowing from its text.
#[derive(Clone)]
pub struct Bus<'a> {
    /// Its type, as `recognizer_loop:utterance`.
    pub kind: Cow<'a, str>,
    /// What it says, an object. It is never looked into, so its numbers stay what they were.
    pub data: RawJson<'a>,
    /// Where it comes from and goes to, and its session.
    pub context: Object<'a>,
}

impl<'a> Bus<'a> {
    /// Reads a payload, or a frame of the OVOS messagebus. Other members than the three are left out, as the reference does.
    ///
    /// # Errors
    /// If it is no bus message.
    pub fn parse(text: &'a str) -> Result<Self, Malformed> {
        let mut found = [None; 3];
        let mut repeated = false;
        let shape = outline(text, |part| {
            let Part::Member(name, _, value) = part else { return };
            let slot = match name.to_str().as_deref() {
                Some("type") => 0,
                Some("data") => 1,
                Some("context") => 2,
                _ => return,
            };
            repeated |= found[slot].replace(RawJson::checked(value)).is_some();
        })?;
        if shape != Flat::Object {
            return Err(Malformed::WrongKind);
        }
        if repeated {
            return Err(Malformed::Repeated);
        }
        let [kind, data, context] = found;
        let object = |value: Option<RawJson<'a>>, name| match value {
            Some(value) if value.is_object() => Ok(value),
            Some(value) if !value.is_null() => Err(Malformed::Member(name)),
            _ => Ok(RawJson::EMPTY_OBJECT),
        };
        Ok(Self {
            kind: kind.and_then(RawJson::as_str).ok_or(Malformed::Member("type"))?,
            data: object(data, "data")?,
            context: object(context, "context")?.object()?,
        })
    }

    /// Appends the message as JSON.
    pub fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"{\"type\":");
        push_text(&self.kind, out);
        out.extend_from_slice(b",\"data\":");
        out.extend_from_slice(self.data.get().as_bytes());
        out.extend_from_slice(b",\"context\":");
        self.context.write(out);
        out.push(b'}');
    }
}

/// The type alone: messages are private.
impl fmt::Debug for Bus<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bus").field("kind", &self.kind).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
