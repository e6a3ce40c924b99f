//! Writing: one batch, or those of several callers in one commit.
//!
//! The leader's own batch begins the transaction and needs no savepoint: when it fails or changes nothing, nobody else's was carried
//! out yet, and it is answered from what is committed. Every other batch has a savepoint of its own, and **no answer is given before
//! the commit**, a conflict included, because it may rest on what a batch before it did. When the transaction fails as a whole, each
//! batch is carried out again in one of its own, so that nobody is answered with somebody else's failure: by its own caller, in that
//! caller's time, and on a connection that has met no damage.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use hivemind_abi::model::{Applied, Code, Context, Error, Mutation, Outcome, Result};

use super::{Sqlite, Store};
use crate::connection::Watched;
use crate::group::{Leader, Member, Turn};
use crate::history::Touched;
use crate::pool::Lease;
use crate::transaction::Writing;

/// Most batches that share a commit, and how long the first one waits for others to be carried out: many enough to make the sync
/// cheap, few enough that other programs get their turn.
const MOST: usize = 64;
const LONGEST: Duration = Duration::from_millis(5);

/// What a batch did in a transaction that is not committed yet.
type Done = Result<(Vec<Outcome>, Touched)>;
/// Another caller's batch, and what came of it.
type Other = (Arc<Member>, thread::Result<Done>);

impl Sqlite {
    /// Carries a batch out, alone or with those of other callers.
    pub(super) fn join(&self, cx: &Context<'_>, store: &Store, mutations: &[Mutation]) -> Result<Applied> {
        let since = Instant::now();
        match self.group.join(cx, mutations) {
            Turn::Done(result) => result,
            Turn::Lead(leader) => self.lead(cx, store, mutations, since, leader),
        }
    }

    /// Carries out this batch and those that wait.
    fn lead(
        &self,
        cx: &Context<'_>,
        store: &Store,
        mutations: &[Mutation],
        since: Instant,
        mut leader: Leader<'_>,
    ) -> Result<Applied> {
        leader.give_way(cx)?;
        let connection = self.writer_within(cx, store, self.opener.patience_since(cx, since))?;
        let writing = self.begin(cx, store, &connection, since)?;
        let (outcomes, mut touched) = self.carry_out(&writing, cx, mutations)?;
        if touched.is_empty() {
            return Ok(Applied { outcomes, token: store.history.token() });
        }
        let others = self.carry_others(&connection, &writing, &mut leader, &mut touched);
        let failure = match others {
            Ok(others) => {
                leader.sends();
                match writing.commit(Some(touched)) {
                    Ok(token) => {
                        // Free for other programs while the answers are given.
                        drop(connection);
                        others.into_iter().for_each(|(member, done)| {
                            member.answer(done.map(|done| done.map(|(outcomes, _)| Applied { outcomes, token })));
                        });
                        return Ok(Applied { outcomes, token });
                    }
                    Err(error) if others.is_empty() => return Err(error),
                    Err(error) if error.code() == Code::OutcomeUnknown => {
                        for (member, _) in others.iter().filter(|(_, done)| changed_something(done)) {
                            member.answer(Ok(Err(error.clone())));
                        }
                        Some(error)
                    }
                    Err(_) => None,
                }
            }
            Err(_) => {
                drop(writing);
                None
            }
        };
        leader.took_back();
        // Closed if it met damage.
        drop(connection);
        failure.map_or_else(|| self.alone(cx, store, mutations, since), Err)
    }

    /// Carries waiting batches out beside the first one.
    ///
    /// # Errors
    /// The transaction is good for nothing more.
    fn carry_others(
        &self,
        connection: &Lease<'_>,
        writing: &Writing<'_>,
        leader: &mut Leader<'_>,
        touched: &mut Touched,
    ) -> Result<Vec<Other>> {
        let began = Instant::now();
        let mut others = Vec::new();
        while others.len() + 1 < MOST
            && began.elapsed() < LONGEST
            && let Some(member) = leader.take()
        {
            let cx = member.context();
            let work = || catch_unwind(AssertUnwindSafe(|| self.carry_out(writing, &cx, member.mutations())));
            let mut done = writing.apply_apart(&cx, work)?;
            if matches!(done, Ok(Err(_))) && !connection.is_sound() {
                return Err(Error::corrupt("one of the batches met damage, which the connection does not get over"));
            }
            if let Ok(Ok((_, keys))) = &mut done {
                touched.extend_from_slice(keys);
            }
            others.push((member, done));
        }
        Ok(others)
    }

    /// Carries one batch out in a transaction of its own.
    fn alone(&self, cx: &Context<'_>, store: &Store, mutations: &[Mutation], since: Instant) -> Result<Applied> {
        let connection = self.writer_within(cx, store, self.opener.patience_since(cx, since))?;
        let writing = self.begin(cx, store, &connection, since)?;
        let (outcomes, touched) = self.carry_out(&writing, cx, mutations)?;
        let token = if touched.is_empty() { store.history.token() } else { writing.commit(Some(touched))? };
        Ok(Applied { outcomes, token })
    }

    /// Takes the write lock for a caller that waits since then.
    fn begin<'w>(&'w self, cx: &Context<'_>, store: &'w Store, connection: &'w Watched, since: Instant) -> Result<Writing<'w>> {
        Writing::begin_since(cx, since, connection, &self.opener, &store.opened, &store.history)
    }

    fn carry_out(&self, writing: &Writing<'_>, cx: &Context<'_>, mutations: &[Mutation]) -> Done {
        writing.apply(cx, &self.catalog, &|id| self.table(id), mutations)
    }
}

/// Whether a batch left anything in the transaction.
fn changed_something(done: &thread::Result<Done>) -> bool {
    matches!(done, Ok(Ok((_, touched))) if !touched.is_empty())
}
