//! The second reader of MessagePack: `rmpv`, which knows nothing of rows or requests.

use hivemind_model::Error;
use rmpv::ValueRef;

/// One value and how many bytes it took; `None` if there is no whole one.
pub(crate) fn first(bytes: &[u8]) -> Option<(ValueRef<'_>, usize)> {
    let mut rest = bytes;
    let value = rmpv::decode::read_value_ref(&mut rest).ok()?;
    Some((value, bytes.len() - rest.len()))
}

/// One value with nothing behind it.
pub(crate) fn whole(bytes: &[u8]) -> Option<ValueRef<'_>> {
    first(bytes).filter(|(_, used)| *used == bytes.len()).map(|(value, _)| value)
}

/// Whether a value is within what rows and requests use: no extension, text that is UTF-8, not nested deeper than `depth`.
pub(crate) fn is_plain(value: &ValueRef<'_>, depth: usize) -> bool {
    match value {
        ValueRef::Ext(..) => false,
        ValueRef::String(text) => text.as_str().is_some(),
        ValueRef::Array(items) => items.iter().all(|v| depth > 0 && is_plain(v, depth - 1)),
        ValueRef::Map(pairs) => pairs.iter().all(|(k, v)| depth > 0 && is_plain(k, depth - 1) && is_plain(v, depth - 1)),
        _ => true,
    }
}

/// Whether an error is about the one byte that stands for nothing, which the other reader takes for nil.
pub(crate) fn is_reserved(error: &Error) -> bool {
    error.message().ends_with("type 0xc1 is not used here")
}
