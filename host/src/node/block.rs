//! Reading a block of `server.json` member by member. What is wrong is named by its place; a member that is null counts as left out, as
//! in the Python node.

use std::ops::RangeInclusive;

use serde_json::{Map, Value};

use crate::failure::Failure;
use crate::plugins::settings::nearest;

/// A block and where it stands.
pub(crate) struct Block<'c> {
    place: String,
    members: Option<&'c Map<String, Value>>,
}

impl<'c> Block<'c> {
    /// The whole file.
    pub(crate) const fn root(members: &'c Map<String, Value>) -> Self {
        Self { place: String::new(), members: Some(members) }
    }

    /// The block of this name; an empty one if there is none.
    pub(crate) fn block(&self, name: &str) -> Result<Self, Failure> {
        let members = match self.get(name) {
            None => None,
            Some(Value::Object(members)) => Some(members),
            Some(other) => return Err(self.wrong(name, "an object", other)),
        };
        Ok(Self { place: self.place_of(name), members })
    }

    /// Whether it is there.
    pub(crate) const fn is_there(&self) -> bool {
        self.members.is_some()
    }

    /// The names of its members.
    pub(crate) fn names(&self) -> impl Iterator<Item = &'c str> + use<'c> {
        self.members.into_iter().flat_map(|m| m.keys().map(String::as_str))
    }

    /// Refuses members of other names.
    pub(crate) fn only(&self, known: &[&str]) -> Result<(), Failure> {
        let Some(unknown) = self.names().find(|name| !known.contains(name)) else { return Ok(()) };
        let message = format!("{}: unknown setting", self.place_of(unknown));
        Err(Failure::config(match nearest(unknown, known.iter().copied()) {
            Some(near) => format!("{message}; did you mean `{near}`?"),
            None => format!("{message}; known are {}", known.join(", ")),
        }))
    }

    /// A member that is set.
    pub(crate) fn get(&self, name: &str) -> Option<&'c Value> {
        self.members?.get(name).filter(|value| !value.is_null())
    }

    /// A text that is not empty.
    pub(crate) fn text(&self, name: &str) -> Result<Option<&'c str>, Failure> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.as_str()).filter(|text| !text.is_empty())),
            Some(other) => Err(self.wrong(name, "a string", other)),
        }
    }

    /// True or false.
    pub(crate) fn truth(&self, name: &str) -> Result<Option<bool>, Failure> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::Bool(value)) => Ok(Some(*value)),
            Some(other) => Err(self.wrong(name, "true or false", other)),
        }
    }

    /// A number that is not below zero, as such or as text, which the Python node takes too.
    pub(crate) fn number(&self, name: &str) -> Result<Option<f64>, Failure> {
        let Some(value) = self.get(name) else { return Ok(None) };
        let number = match value {
            Value::Number(number) => number.as_f64(),
            Value::String(text) => text.trim().parse().ok(),
            _ => None,
        };
        match number.filter(|n| n.is_finite() && *n >= 0.0) {
            Some(number) => Ok(Some(number)),
            None => Err(self.wrong(name, "a number of at least 0", value)),
        }
    }

    /// A whole number in a range, as such or as text.
    pub(crate) fn whole(&self, name: &str, range: RangeInclusive<u64>) -> Result<Option<u64>, Failure> {
        let Some(value) = self.get(name) else { return Ok(None) };
        let number = match value {
            Value::Number(number) => number.as_u64(),
            Value::String(text) => text.trim().parse().ok(),
            _ => None,
        };
        match number.filter(|n| range.contains(n)) {
            Some(number) => Ok(Some(number)),
            None => Err(self.wrong(name, &format!("a whole number from {} to {}", range.start(), range.end()), value)),
        }
    }

    /// What to say of a member that is something else.
    pub(crate) fn wrong(&self, name: &str, expected: &str, found: &Value) -> Failure {
        let found = match found {
            Value::Null => "null",
            Value::Bool(_) => "a boolean",
            Value::Number(_) => "another number",
            Value::String(_) => "another text",
            Value::Array(_) => "a list",
            Value::Object(_) => "an object",
        };
        Failure::config(format!("{}: expected {expected}, found {found}", self.place_of(name)))
    }

    /// Where a member stands.
    pub(crate) fn place_of(&self, name: &str) -> String {
        if self.place.is_empty() { name.to_owned() } else { format!("{}.{name}", self.place) }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_wrong_is_named_by_its_place_and_not_quoted() {
        let stored = json!({"a": {"b": {"port": "MARK", "on": "MARK", "limt": 5, "null": null, "text": "7"}}});
        let root = Block::root(stored.as_object().expect("an object"));
        let block = root.block("a").and_then(|a| a.block("b")).expect("a block");
        assert_eq!((block.whole("null", 1..=9), block.whole("text", 1..=9)), (Ok(None), Ok(Some(7))));
        let said = block.whole("port", 1..=9).expect_err("no number").message;
        assert_eq!(said, "a.b.port: expected a whole number from 1 to 9, found another text");
        assert!(block.truth("on").is_err_and(|f| f.message.starts_with("a.b.on: expected true or false")));
        let unknown = block.only(&["port", "on", "limit", "null", "text"]).expect_err("an unknown one").message;
        assert_eq!(unknown, "a.b.limt: unknown setting; did you mean `limit`?");
        assert!(!root.block("c").expect("an empty one").is_there());
        assert!(block.block("port").is_err_and(|f| f.message == "a.b.port: expected an object, found another text"));
    }
}
