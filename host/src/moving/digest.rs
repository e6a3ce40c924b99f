//! The hash of a set of records, in whatever order they come: the sum of each one's SHA-256, lane by lane.
//!
//! It tells accidents, as half a record or one too few. Against somebody who picks records on purpose it proves nothing.

use std::fmt;

use hivemind_model::{RowView, eval};
use sha2::{Digest as _, Sha256};

/// See the module.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Digest {
    /// How many records.
    pub records: u64,
    lanes: [u64; 4],
}

impl Digest {
    /// The hash of one record: equal exactly for equal records, however their numbers and objects are written.
    #[must_use]
    pub fn of(collection: &str, row: &RowView<'_>, scratch: &mut Vec<u8>) -> Self {
        scratch.clear();
        scratch.extend_from_slice(collection.as_bytes());
        scratch.push(0);
        eval::write_canonical(row, scratch);
        let hash: [u8; 32] = Sha256::digest(&*scratch).into();
        let mut lanes = [0; 4];
        for (lane, bytes) in lanes.iter_mut().zip(hash.as_chunks::<8>().0) {
            *lane = u64::from_le_bytes(*bytes);
        }
        Self { records: 1, lanes }
    }

    /// Adds another set.
    pub const fn add(&mut self, other: Self) {
        self.records += other.records;
        let mut at = 0;
        while at < self.lanes.len() {
            self.lanes[at] = self.lanes[at].wrapping_add(other.lanes[at]);
            at += 1;
        }
    }
}

/// The hash in hex, without the count.
impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.lanes.iter().try_for_each(|lane| write!(f, "{lane:016x}"))
    }
}

#[cfg(test)]
mod tests {
    use hivemind_model::{Collection, Kind, Value};

    use super::*;

    #[test]
    fn order_and_spelling_do_not_count_and_everything_else_does() {
        let things = Collection::new("things", 1, "id", Kind::Int).field("data", Kind::Json);
        let one = |id: i64, data: &str| {
            let row =
                hivemind_model::Row::builder(&things).set("id", id).and_then(|b| b.set("data", Value::Json(data.to_owned())));
            let row = row.expect("a row").build();
            Digest::of("things", &row.view(&things).expect("a view"), &mut Vec::new())
        };
        let sum = |all: &[Digest]| {
            let mut sum = Digest::default();
            all.iter().for_each(|one| sum.add(*one));
            sum
        };
        let (a, b) = (one(1, r#"{"x": 1, "y": [1.50]}"#), one(2, "[]"));
        assert_eq!(sum(&[a, b]), sum(&[b, one(1, r#"{"y":[15e-1],"x":1.0}"#)]));
        for other in [&[a][..], &[a, a], &[a, one(2, "[[]]")], &[a, one(3, "[]")], &[a, b, b]] {
            assert_ne!(sum(&[a, b]), sum(other));
        }
        assert_eq!(sum(&[a, b]).to_string().len(), 64);
    }
}
