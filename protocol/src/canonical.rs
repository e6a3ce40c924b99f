//! The one form of a payload that both ends bind into the handshake.

use crate::object::Malformed;

/// A JSON value with the members of every object sorted, no white space and nothing escaped that need not be.
///
/// # Errors
/// If it is not JSON, or nothing Python could write as UTF-8.
pub fn canonical(_json: &[u8]) -> Result<Vec<u8>, Malformed> {
    todo!()
}
