//! The rounds of a move.

use std::cmp::Ordering;
use std::thread::sleep;
use std::time::Duration;

use hivemind_model::{Code, Collection, CollectionId, Error, Key, Mutation, Row, RowView, eval};

use super::Places;
use super::digest::Digest;
use super::marker::Mode;
use super::progress::Progress;
use super::rows::{self, Carried, Rows as _, StoreRows, Wanted};
use super::source::{Changed, Source};
use super::store::Store;
use super::survey::unique_values;
use crate::failure::{Exit, Failure};
use crate::plain::plain;

/// Between two rounds of a source that changes.
const PAUSE: Duration = Duration::from_millis(500);

/// Whose record stays where both sides of a merge have one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Prefer {
    /// The source's.
    Source,
    /// The target's.
    Target,
}

/// A move.
pub struct Copy<'a> {
    /// Where from.
    pub source: &'a dyn Source,
    /// Where to.
    pub target: &'a Store,
    /// How.
    pub mode: Mode,
    /// What a merge does about conflicts.
    pub prefer: Option<Prefer>,
    /// Records that are not carried.
    pub left: &'a Places,
    /// How many rounds a source that changes is followed for.
    pub rounds: u32,
    /// Bytes of records in one commit.
    pub batch: usize,
}

/// What was moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moved {
    /// The records of the source that are in the target now, revoked ones in gaps included.
    pub digest: Digest,
    /// How many records were written or removed, repetitions included.
    pub written: u64,
}

/// What a round found.
#[derive(Default)]
struct Round {
    differing: u64,
    source: Digest,
    target: Digest,
}

impl Copy<'_> {
    /// Makes the target hold what it is to hold.
    ///
    /// # Errors
    /// `source-changing` if the source does not stand still, `not-carried` if what appeared in it meanwhile cannot be carried,
    /// `differs` if the check fails, and those of both sides. The target keeps its marker.
    pub fn run(&self, expected: u64, progress: &mut dyn Progress) -> Result<Moved, Failure> {
        let mut written = 0;
        for round in 0..self.rounds.max(2) {
            if round > 1 {
                sleep(PAUSE);
            }
            let moment = self.source.moment()?;
            progress.begin(if round == 0 { "copying" } else { "checking" }, Some(expected));
            let found = self.round(progress, true)?;
            progress.end();
            written += found.differing;
            let changed = self.source.changed_since(&moment)?;
            if self.mode == Mode::Merge && round == 0 && changed == Changed::Yes {
                return Err(self.changing("changed while it was merged, and nobody can tell a change from a conflict then"));
            }
            if found.differing == 0 && changed != Changed::Yes {
                return if found.source == found.target {
                    Ok(Moved { digest: found.source, written })
                } else {
                    let message =
                        format!("the records of {} do not have the hash of those they were copied from", self.target.place());
                    Err(Failure::new(Exit::Data, "differs", message)
                        .help("this is a fault of a backend; the target stays marked, do not use it"))
                };
            }
        }
        Err(self.changing(&format!("was changed by other programs in each of {} rounds", self.rounds.max(2))))
    }

    fn changing(&self, how: &str) -> Failure {
        Failure::new(Exit::Unavailable, "source-changing", format!("{} {how}", self.source.place())).help(
            "stop what writes to it and run the command again, which goes on where this one was; the target stays marked until then",
        )
    }

    /// Whether the target holds already what it is to hold. Ends at the first difference.
    ///
    /// # Errors
    /// Those of both sides.
    pub fn is_done(&self, progress: &mut dyn Progress) -> Result<Option<Digest>, Failure> {
        let moment = self.source.moment()?;
        let found = self.round(progress, false)?;
        let still = self.source.changed_since(&moment)? != Changed::Yes;
        Ok((still && found.differing == 0 && found.source == found.target).then_some(found.source))
    }

    /// Goes through all collections once, and writes unless it is only to look.
    fn round(&self, progress: &mut dyn Progress, write: bool) -> Result<Round, Failure> {
        let mut round = Round::default();
        for at in 0..self.target.len() {
            self.side_by_side(at, &mut round, progress, write)?;
            if !write && round.differing > 0 {
                break;
            }
        }
        Ok(round)
    }

    fn side_by_side(&self, at: usize, round: &mut Round, progress: &mut dyn Progress, write: bool) -> Result<(), Failure> {
        let (id, collection) = self.target.collection(at);
        let mut wanted = Carried::new(self.source.rows(at)?, at, self.left, collection);
        let mut there = StoreRows::new(self.target, at);
        let mut batch = Batch { copy: self, at, id, collection, mutations: Vec::new(), bytes: 0 };
        let mut scratch = Vec::new();
        let (mut ours, mut theirs) = (wanted.advance()?, there.next()?);
        self.check_target(collection, &there)?;
        while write || round.differing == 0 {
            let order = match (&ours, &theirs) {
                (None, None) => break,
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some(ours), Some((theirs, _))) => ours.key.cmp(theirs),
            };
            let verdict = match (order, &ours, &theirs) {
                (Ordering::Equal, Some(ours), Some((_, theirs))) => {
                    let verdict = self.compare(collection, ours, theirs)?;
                    if verdict == Verdict::Same {
                        round.add(collection, &ours.row, theirs, &mut scratch)?;
                    }
                    verdict
                }
                (Ordering::Less, ..) => Verdict::Write,
                _ if self.mode == Mode::Merge => Verdict::Keep,
                _ => Verdict::Remove,
            };
            match (verdict, &ours, &theirs) {
                (Verdict::Write, Some(ours), _) if write => batch.put(ours.row.clone())?,
                (Verdict::Remove, _, Some((key, _))) if write => batch.delete(key.clone())?,
                _ => {}
            }
            round.differing += u64::from(matches!(verdict, Verdict::Write | Verdict::Remove));
            if order.is_le() {
                progress.step(1);
                ours = wanted.advance()?;
            }
            if order.is_ge() {
                theirs = there.next()?;
            }
        }
        if write { batch.flush() } else { Ok(()) }
    }

    /// What cannot be read in the target cannot be replaced either.
    fn check_target(&self, collection: &Collection, there: &StoreRows<'_>) -> Result<(), Failure> {
        let Some(unreadable) = there.unreadable.first() else { return Ok(()) };
        let (place, name) = (self.target.place(), &collection.name);
        let message = format!("{name} {} of the target {place} cannot be read: {}", unreadable.key, plain(&unreadable.message));
        Err(Failure::new(Exit::Data, "corrupt", message).help("repair it there, or choose another target"))
    }

    fn compare(&self, collection: &Collection, ours: &Wanted, theirs: &Row) -> Result<Verdict, Failure> {
        if ours.row == *theirs || eval::same_rows(&ours.row.view(collection)?, &theirs.view(collection)?) {
            return Ok(Verdict::Same);
        }
        match (self.mode, self.prefer) {
            (Mode::Merge, _) if ours.fills => Ok(Verdict::Keep),
            (Mode::Merge, Some(Prefer::Target)) => Ok(Verdict::Keep),
            (Mode::Merge, None) => {
                Err(conflict(format!("{} {} is another one in {}", collection.name, ours.key, self.target.place())))
            }
            _ => Ok(Verdict::Write),
        }
    }
}

/// What is to be done about one key.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Verdict {
    /// Nothing: both sides have the same.
    Same,
    /// Nothing: a merge leaves the target's record as it is.
    Keep,
    /// The source's record is to be written.
    Write,
    /// The target's record is to be removed.
    Remove,
}

impl Round {
    /// Adds one record that both sides have.
    fn add(&mut self, collection: &Collection, ours: &Row, theirs: &Row, scratch: &mut Vec<u8>) -> Result<(), Failure> {
        let digest = Digest::of(&collection.name, &ours.view(collection)?, scratch);
        self.source.add(digest);
        // What is the same byte for byte has the same hash.
        let same = ours == theirs;
        self.target.add(if same { digest } else { Digest::of(&collection.name, &theirs.view(collection)?, scratch) });
        Ok(())
    }
}

/// A conflict that showed itself only while writing.
fn conflict(message: String) -> Failure {
    Failure::new(Exit::Conflict, "merge-conflict", message)
        .help("somebody changed it meanwhile; run the command again, which lists all conflicts first")
}

/// Changes that are written together.
struct Batch<'b> {
    copy: &'b Copy<'b>,
    at: usize,
    id: CollectionId,
    collection: &'b Collection,
    mutations: Vec<Mutation>,
    bytes: usize,
}

impl Batch<'_> {
    fn put(&mut self, row: Row) -> Result<(), Failure> {
        self.bytes += row.as_bytes().len() + 32;
        self.mutations.push(Mutation::Put { collection: self.id, row });
        self.flush_full()
    }

    fn delete(&mut self, key: Key) -> Result<(), Failure> {
        self.bytes += 32;
        self.mutations.push(Mutation::Delete { collection: self.id, key, when: Vec::new() });
        self.flush_full()
    }

    fn flush_full(&mut self) -> Result<(), Failure> {
        if self.bytes < self.copy.batch { Ok(()) } else { self.flush() }
    }

    fn flush(&mut self) -> Result<(), Failure> {
        while !self.mutations.is_empty() {
            match self.copy.target.apply(&self.mutations) {
                Ok(()) => self.mutations.clear(),
                Err(error) => self.make_way(error)?,
            }
        }
        self.bytes = 0;
        Ok(())
    }

    /// Takes a unique value from the record of the target that has it, which is older than what is written: it gets its own new state
    /// in this round or the next one.
    fn make_way(&mut self, error: Error) -> Result<(), Failure> {
        let at = error.detail().mutation.and_then(|at| usize::try_from(at).ok());
        let (Code::Conflict, Some(at), Some(Mutation::Put { row, .. })) =
            (error.code(), at, at.and_then(|at| self.mutations.get(at)))
        else {
            return Err(error.into());
        };
        let name = &self.collection.name;
        let view = row.view(self.collection)?;
        let own = view.key().to_key();
        let Some((field, holder)) = self.holder(&view, &self.mutations[..at])? else {
            // Nobody in the target: then somebody before it in this batch, and both are in the source.
            let place = self.copy.source.place();
            let message = format!("{name} {own} of {place} has a value that another one has there: {}", plain(error.message()));
            return Err(Failure::new(Exit::Data, "not-carried", message)
                .help("run the command again, which lists what cannot be carried first"));
        };
        let collection = self.id;
        let delete = |key| Mutation::Delete { collection, key, when: Vec::new() };
        let way = match (self.copy.mode, self.copy.prefer, holder) {
            (Mode::Merge, Some(Prefer::Source), Key::Int(id)) if rows::has_dense_ids(self.collection) => {
                Mutation::Put { collection, row: rows::revoked(self.collection, id)? }
            }
            (Mode::Merge, Some(Prefer::Target), _) => return self.give_way(at, &own),
            (Mode::Merge, None, holder) => {
                let field = &self.collection.fields[field].name;
                let place = self.copy.target.place();
                return Err(conflict(format!("{name} {own} has the {field} of {name} {holder} of {place}")));
            }
            (.., holder) => delete(holder),
        };
        self.mutations.insert(0, way);
        Ok(())
    }

    /// The record of the target that has one of this one's unique values, and which.
    fn holder(&self, view: &RowView<'_>, before: &[Mutation]) -> Result<Option<(usize, Key)>, Failure> {
        for (field, value) in unique_values(self.collection, view) {
            if let Some(row) = self.copy.target.get_by(self.at, field, value)? {
                let holder = row.view(self.collection)?.key().to_key();
                // What came before in this batch was written already when the conflict was met.
                let moved_on = before.iter().any(|m| match m {
                    Mutation::Put { row, .. } => row.view(self.collection).is_ok_and(|view| view.key() == holder.as_ref()),
                    Mutation::Delete { key, .. } => *key == holder,
                    _ => false,
                });
                if view.key() != holder.as_ref() && !moved_on {
                    return Ok(Some((field, holder)));
                }
            }
        }
        Ok(None)
    }

    /// Lets the target's record keep the value; an id that would be a gap then is filled.
    fn give_way(&mut self, at: usize, own: &Key) -> Result<(), Failure> {
        let there = self.copy.target.get(self.at, own.as_ref())?.is_some();
        match own {
            Key::Int(id) if !there && rows::has_dense_ids(self.collection) => {
                let row = rows::revoked(self.collection, *id)?;
                self.mutations[at] = Mutation::Put { collection: self.id, row };
            }
            _ => drop(self.mutations.remove(at)),
        }
        Ok(())
    }
}
