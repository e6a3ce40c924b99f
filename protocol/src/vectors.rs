//! What the Python packages make of fixed inputs: `tests/python/protocol_vectors.py` writes it.

use std::sync::LazyLock;

use serde_json::Value;

/// The list of this name.
pub(crate) fn of(name: &str) -> &'static [Value] {
    static ALL: LazyLock<Value> = LazyLock::new(|| serde_json::from_str(include_str!("../testdata/vectors.json")).expect("JSON"));
    let list = ALL[name].as_array().expect("a list");
    assert!(list.len() > 3, "hardly anything: {name}");
    list
}

/// The text of this name.
pub(crate) fn text<'v>(vector: &'v Value, name: &str) -> &'v str {
    vector[name].as_str().unwrap_or_else(|| panic!("no text '{name}'"))
}

/// The bytes of this name.
pub(crate) fn bytes(vector: &Value, name: &str) -> Vec<u8> {
    base16ct::lower::decode_vec(text(vector, name)).expect("hex")
}
