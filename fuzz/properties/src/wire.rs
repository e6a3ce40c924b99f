//! Requests and replies: what is decoded encodes to one form, which decodes to the same; nothing shorter or longer than that does.

use std::fmt::Debug;

use hivemind_model::msgpack::{MAX_DEPTH, Reader};
use hivemind_model::wire::Wire;
use hivemind_model::{
    Applied, Capabilities, Changes, Code, Collection, Condition, Continuation, Error, Key, Lookup, Mutation, Page, Query, Report,
    Resource, Task, Token, Value,
};

use crate::messagepack;

/// What crosses the boundary between host and plugin, in the order in which an input's first byte chooses.
pub const TYPES: [fn(&[u8]); 18] = [
    round_trip::<Vec<Collection>>,
    round_trip::<Query>,
    round_trip::<Vec<Mutation>>,
    round_trip::<Vec<Key>>,
    round_trip::<Value>,
    round_trip::<Task>,
    round_trip::<Vec<Lookup>>,
    round_trip::<Page>,
    round_trip::<Applied>,
    round_trip::<Changes>,
    round_trip::<Report>,
    round_trip::<Vec<Resource>>,
    round_trip::<Capabilities>,
    round_trip::<Error>,
    round_trip::<Token>,
    round_trip::<Vec<u32>>,
    round_trip::<Vec<Condition>>,
    round_trip::<Option<Continuation>>,
];

/// The first byte chooses the type, the rest is its encoding.
///
/// # Panics
/// Where a property does not hold.
pub fn check(data: &[u8]) {
    let Some((choice, bytes)) = data.split_first() else { return };
    skip(bytes);
    TYPES[usize::from(*choice) % TYPES.len()](bytes);
}

/// Passing over a value agrees with another reader on whether there is one and where it ends.
fn skip(bytes: &[u8]) {
    let mut reader = Reader::new(bytes);
    let skipped = reader.skip();
    match (skipped, messagepack::first(bytes)) {
        (Ok(value), other) => {
            let (_, used) = other.expect("another reader finds a value too");
            assert_eq!((value.len(), reader.position()), (used, used));
        }
        (Err(error), Some((value, _))) => {
            assert_eq!(error.code(), Code::Invalid);
            let agreed = messagepack::is_reserved(&error) || !messagepack::is_plain(&value, MAX_DEPTH);
            assert!(agreed, "{error}, though it is {value:?}");
        }
        (Err(error), None) => assert_eq!(error.code(), Code::Invalid),
    }
}

fn round_trip<T: Wire + Debug>(bytes: &[u8]) {
    let value = match T::from_bytes(bytes) {
        Ok(value) => value,
        Err(error) => {
            assert!(matches!(error.code(), Code::Invalid | Code::Unsupported), "{error}");
            assert!(!error.retryable() && !error.message().is_empty());
            return;
        }
    };
    assert!(messagepack::whole(bytes).is_some(), "{value:?} was decoded from what is no MessagePack value");
    let encoded = value.to_bytes();
    assert!(encoded.len() <= 8 * bytes.len() + 64, "{} bytes from {}", encoded.len(), bytes.len());
    assert!(messagepack::whole(&encoded).is_some(), "{value:?} was encoded to what is no MessagePack value");
    let again = T::from_bytes(&encoded).expect("what was encoded is decoded");
    // Compared as bytes, because NaN equals nothing.
    assert_eq!(again.to_bytes(), encoded, "{value:?} has two forms");
    assert_eq!(format!("{again:?}"), format!("{value:?}"));
    let step = encoded.len().div_ceil(64).max(1);
    for cut in (0..encoded.len()).step_by(step) {
        assert!(T::from_bytes(&encoded[..cut]).is_err(), "{value:?} cut at {cut} was decoded");
    }
    let longer = [&encoded[..], &[0xc0]].concat();
    assert!(T::from_bytes(&longer).is_err(), "{value:?} with a byte more was decoded");
}
