//! Looking a source through before anything is written: how much it is, and what of it cannot be carried.
//!
//! Which unique values stand there twice is found in memory that does not depend on the count: a table of bits says of nearly all
//! that they are the only one, and the few that it cannot tell apart are counted in a second reading.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};

use hivemind_model::{Collection, Index, Key, RowView, ValueRef, eval};

use super::Places;
use super::progress::Progress;
use super::rows;
use super::source::Source;
use crate::failure::{Exit, Failure};
use crate::plain::plain;

/// Ids that are filled with revoked clients, at most: with one id far out there is no end to them.
const MOST_FILLED: u64 = 1_000_000;
/// Bits of the table, as a power of two: 8 MiB.
const TABLE_BITS: u32 = 26;
/// Places that one value has in the table.
const PLACES: u64 = 4;

/// What was found.
#[derive(Debug, Default)]
pub struct Survey {
    /// Records that can be read.
    pub records: u64,
    /// Those of them that are carried, by collection.
    pub carried: Vec<u64>,
    /// Why each of the others stays behind.
    pub problems: Vec<String>,
    /// Where they are.
    pub left: Places,
    /// Ids that no record has, below the greatest one, and those of records that stay behind.
    pub gaps: u64,
}

impl Survey {
    /// Looks through the first so many collections of a source.
    ///
    /// # Errors
    /// What kept it from being read; `not-carried` if an id is too far out to fill what is below it.
    pub fn take(source: &dyn Source, collections: usize, progress: &mut dyn Progress) -> Result<Self, Failure> {
        let mut survey = Self::default();
        for at in 0..collections {
            let before = survey.records;
            let unreadable = survey.look_through(source, at, progress)?;
            let left = survey.left.iter().filter(|(of, _)| *of == at).count() as u64;
            survey.carried.push(survey.records - before + unreadable - left);
        }
        for stray in source.strays()? {
            let why = plain(&stray.message);
            // One that stands in the way of a key was named as that key's record.
            if !survey.problems.iter().any(|named| named.ends_with(&*why)) {
                survey.problems.push(format!("{}: {why}", stray.collection));
            }
        }
        Ok(survey)
    }

    fn look_through(&mut self, source: &dyn Source, at: usize, progress: &mut dyn Progress) -> Result<u64, Failure> {
        let collection = source.collection(at);
        let dense = rows::has_dense_ids(collection);
        for unreadable in source.unreadable(at)? {
            let (key, why) = (unreadable.key, plain(&unreadable.message).into_owned());
            self.leave(at, key.clone(), format!("{} {key} cannot be read: {why}", collection.name));
        }
        let unreadable = self.left.iter().filter(|(of, _)| *of == at).count() as u64;
        let mut seen = Seen::new();
        let (mut greatest, mut positive, mut suspects) = (0, 0, Suspects::new());
        let mut all = source.rows(at)?;
        while let Some((key, row)) = all.next()? {
            self.records += 1;
            progress.step(1);
            let view = row.view(collection)?;
            if let Some(id) = rows::id(&key).filter(|id| dense && *id > 0) {
                greatest = greatest.max(id);
                positive += 1;
            } else if dense {
                self.leave(
                    at,
                    key,
                    format!("{} {} has an id that no client can have; clients have 1 and more", collection.name, view.key()),
                );
            }
            for (field, value) in unique_values(collection, &view) {
                if seen.is_known(field, value) {
                    suspects.insert((field, value_bytes(value)), None);
                }
            }
        }
        let repeated = if suspects.is_empty() { 0 } else { self.leave_repeated(source, at, suspects)? };
        if dense {
            let left = self.left.iter().filter(|(of, _)| *of == at).filter_map(|(_, key)| rows::id(key));
            let greatest = left.max().unwrap_or(0).max(greatest);
            let missing = u64::try_from(greatest).unwrap_or(0).saturating_sub(positive).saturating_add(repeated);
            self.gaps += missing;
            if missing > MOST_FILLED {
                let message = format!(
                    "of the ids up to {greatest} no client has {missing}; at most {MOST_FILLED} are filled with revoked ones"
                );
                return Err(Failure::new(Exit::Data, "not-carried", message)
                    .help("a Python node gives ids by the number of rows and would overwrite clients behind a gap; remove the client with the greatest id from the source"));
            }
        }
        Ok(unreadable)
    }

    fn leave(&mut self, at: usize, key: Key, why: String) {
        self.left.insert((at, key));
        self.problems.push(why);
    }

    /// Of records with one unique value the one with the lowest key has it, in every look-up; the others stay behind.
    fn leave_repeated(&mut self, source: &dyn Source, at: usize, mut suspects: Suspects) -> Result<u64, Failure> {
        let collection = source.collection(at);
        let before = self.left.len();
        let mut all = source.rows(at)?;
        while let Some((key, row)) = all.next()? {
            if self.left.contains(&(at, key.clone())) {
                continue;
            }
            let view = row.view(collection)?;
            for (field, value) in unique_values(collection, &view) {
                match suspects.get_mut(&(field, value_bytes(value))) {
                    Some(Some(first)) => {
                        let (name, field) = (&collection.name, &collection.fields[field].name);
                        let why = format!("{name} {key} has the {field} of {name} {first}, which is the one that counts");
                        self.leave(at, key.clone(), why);
                        break;
                    }
                    Some(first) => *first = Some(key.clone()),
                    None => {}
                }
            }
        }
        Ok((self.left.len() - before) as u64)
    }

    /// What cannot be carried, as a failure.
    #[must_use]
    pub fn failure(&self) -> Failure {
        let count = self.problems.len();
        let message = format!("{count} records cannot be carried: {}", self.problems.join("; "));
        Failure::new(Exit::Data, "not-carried", message)
            .help("nothing was written; repair them, or add --leave-behind to go without them: their ids become revoked clients")
    }
}

/// Values that may stand there twice, and who had each first.
type Suspects = HashMap<(usize, Vec<u8>), Option<Key>>;

/// The values of a record that nobody else may have.
pub(super) fn unique_values<'r>(
    collection: &'r Collection,
    view: &'r RowView<'r>,
) -> impl Iterator<Item = (usize, ValueRef<'r>)> {
    collection.fields.iter().enumerate().filter_map(|(at, field)| match &field.index {
        Index::Unique { except } => {
            let value = view.at(at);
            let free = value.is_nil() || except.iter().any(|e| eval::same(e.as_ref(), value));
            (!free).then_some((at, value))
        }
        _ => None,
    })
}

fn value_bytes(value: ValueRef<'_>) -> Vec<u8> {
    match value {
        ValueRef::Text(text) | ValueRef::Json(text) => text.as_bytes().to_vec(),
        ValueRef::Blob(bytes) => bytes.to_vec(),
        ValueRef::Int(v) => v.to_le_bytes().to_vec(),
        ValueRef::Real(v) => (v + 0.0).to_bits().to_le_bytes().to_vec(),
        ValueRef::Bool(v) => vec![u8::from(v)],
        ValueRef::Nil => Vec::new(),
    }
}

/// Which values were seen; of a few that were not it says so too.
struct Seen {
    bits: Vec<u64>,
    hashers: [RandomState; 2],
}

impl Seen {
    fn new() -> Self {
        Self { bits: vec![0; 1 << (TABLE_BITS - 6)], hashers: [RandomState::new(), RandomState::new()] }
    }

    /// Whether the value may have been seen; it has been from now on.
    fn is_known(&mut self, field: usize, value: ValueRef<'_>) -> bool {
        let bytes = (field, value_bytes(value));
        let [first, second] = self.hashers.each_ref().map(|hasher| hasher.hash_one(&bytes));
        let mut known = true;
        for place in 0..PLACES {
            let bit = first.wrapping_add(place.wrapping_mul(second | 1)) >> (64 - TABLE_BITS);
            let word = &mut self.bits[usize::try_from(bit >> 6).unwrap_or(0)];
            known &= *word >> (bit & 63) & 1 == 1;
            *word |= 1 << (bit & 63);
        }
        known
    }
}
