//! Who writes for whom: callers that arrive while another one is writing hand their batches to the next, and share its commit.
//!
//! The decision: **no thread of its own.** The first caller leads: it carries out its own batch and those that wait, commits once, and
//! hands on to the caller that waits longest. So a lone writer pays for nothing but a lock that nobody else has, nobody leads twice
//! while others wait, and between two groups the file is free for other programs.
//!
//! Nothing is lost when a leader ends early, by an error of its own, at its deadline or in a panic: what it had taken on and not
//! answered goes back to the head of the queue, because dropping its transaction has taken all of it back, and the next one leads.
//! When the transaction that they shared has failed, which of them was the cause is not known: then each of them leads in its turn
//! and is carried out by nobody else.

use std::collections::VecDeque;
use std::fmt;
use std::panic::resume_unwind;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use hivemind_abi::model::{Applied, Change, Context, Error, Mutation, Result, Value};

/// How often a waiting caller looks at its cancel flag.
const POLL: Duration = Duration::from_millis(10);

/// How long leaders may follow one another at once, and the pause for other programs after that. A program that finds the file locked
/// looks again after a while, SQLite itself after up to a tenth of a second, so that it may find it locked again and again although
/// it is free between two groups. In a pause of more than that it finds it free.
const UNBROKEN: Duration = Duration::from_secs(3);
const PAUSE: Duration = Duration::from_millis(110);

/// Most mutations, and bytes of records and values, of a batch that is carried out beside others.
const BRIEF: usize = 64;
const BRIEF_BYTES: usize = 64 << 10;

/// The callers of one handle.
#[derive(Default)]
pub(crate) struct Group {
    queue: Mutex<Queue>,
}

/// While nobody leads, nobody waits.
#[derive(Default)]
struct Queue {
    led: bool,
    /// Since when each leader had somebody waiting for it.
    unbroken: Option<Instant>,
    /// Until when other programs may have the file.
    free_until: Option<Instant>,
    waiting: VecDeque<Arc<Member>>,
}

/// A caller whose batch another one carries out.
pub(crate) struct Member {
    mutations: Vec<Mutation>,
    /// Whether it is over in about a millisecond.
    brief: bool,
    deadline: Option<Instant>,
    cancelled: AtomicBool,
    /// Whether it was in a transaction that failed as a whole, so that its caller has to carry it out.
    apart: AtomicBool,
    phase: Mutex<Phase>,
    turned: Condvar,
}

enum Phase {
    /// In the queue.
    Waiting,
    /// Taken out of it to lead, maybe after a pause.
    Leads {
        not_before: Option<Instant>,
    },
    /// Taken out of it by a leader, who will answer.
    Taken,
    Answered(Answer),
    /// Its caller has gone on.
    Over,
}

/// What became of a batch: its answer, or the panic that it ended in.
pub(crate) type Answer = std::thread::Result<Result<Applied>>;

/// What a caller is to do.
pub(crate) enum Turn<'g> {
    /// Write, for itself and others.
    Lead(Leader<'g>),
    /// Nothing more.
    Done(Result<Applied>),
}

impl Member {
    fn new(cx: &Context<'_>, mutations: &[Mutation]) -> Self {
        let since = Instant::now();
        Self {
            mutations: mutations.to_vec(),
            brief: is_brief(mutations),
            deadline: cx.remaining().and_then(|left| since.checked_add(left)),
            cancelled: AtomicBool::new(false),
            apart: AtomicBool::new(false),
            phase: Mutex::new(Phase::Waiting),
            turned: Condvar::new(),
        }
    }

    fn phase(&self) -> MutexGuard<'_, Phase> {
        self.phase.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn turn(&self, to: Phase) {
        *self.phase() = to;
        self.turned.notify_one();
    }

    pub(crate) fn mutations(&self) -> &[Mutation] {
        &self.mutations
    }

    /// Whether another caller may carry it out.
    fn is_shareable(&self) -> bool {
        self.brief && !self.apart.load(Ordering::Relaxed)
    }

    /// What its caller allows.
    pub(crate) fn context(&self) -> Context<'_> {
        let left = self.deadline.map(|at| at.saturating_duration_since(Instant::now()));
        left.map_or_else(Context::unbounded, Context::within).cancelled_by(&self.cancelled)
    }

    pub(crate) fn answer(&self, answer: Answer) {
        self.turn(Phase::Answered(answer));
    }
}

fn is_brief(mutations: &[Mutation]) -> bool {
    mutations.len() <= BRIEF
        && !mutations.iter().any(|m| matches!(m, Mutation::DeleteWhere { .. }))
        && mutations.iter().map(bytes).sum::<usize>() <= BRIEF_BYTES
}

/// How much a mutation writes or compares, about.
fn bytes(mutation: &Mutation) -> usize {
    let set = |change: &Change| match change {
        Change::Set { value: Value::Text(text) | Value::Json(text), .. } => text.len(),
        Change::Set { value: Value::Blob(bytes), .. } => bytes.len(),
        _ => 0,
    };
    match mutation {
        Mutation::Insert { row, .. } | Mutation::InsertNext { row, .. } | Mutation::Put { row, .. } => row.as_bytes().len(),
        Mutation::Expect { row, .. } => row.as_ref().map_or(0, |row| row.as_bytes().len()),
        Mutation::Update { changes, .. } => changes.iter().map(set).sum(),
        _ => 0,
    }
}

impl Group {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many have come: who leads, and who waits.
    #[cfg(test)]
    pub(crate) fn present(&self) -> usize {
        let queue = self.queue();
        usize::from(queue.led) + queue.waiting.len()
    }

    /// Gives the lead, or waits until the batch was carried out. A caller whose time ends while it is in the queue leaves it.
    pub(crate) fn join(&self, cx: &Context<'_>, mutations: &[Mutation]) -> Turn<'_> {
        let lead = |queue: &mut Queue| {
            let free = !std::mem::replace(&mut queue.led, true);
            free.then(|| Turn::Lead(Leader::new(self, None)))
        };
        if let Some(turn) = lead(&mut self.queue()) {
            return turn;
        }
        // Copied outside of the lock.
        let member = Arc::new(Member::new(cx, mutations));
        {
            let mut queue = self.queue();
            if let Some(turn) = lead(&mut queue) {
                return turn;
            }
            queue.waiting.push_back(Arc::clone(&member));
        }
        self.wait(cx, &member)
    }

    fn wait(&self, cx: &Context<'_>, member: &Arc<Member>) -> Turn<'_> {
        let mut phase = member.phase();
        loop {
            match std::mem::replace(&mut *phase, Phase::Over) {
                Phase::Leads { not_before } => return Turn::Lead(Leader::new(self, not_before)),
                Phase::Answered(Ok(result)) => return Turn::Done(result),
                Phase::Answered(Err(panic)) => {
                    drop(phase);
                    resume_unwind(panic)
                }
                waiting => *phase = waiting,
            }
            let is_taken = matches!(*phase, Phase::Taken);
            let limit = match cx.check() {
                Ok(()) if cx.cancel_flag().is_some() => Some(cx.remaining_or(POLL)),
                Ok(()) => cx.remaining(),
                Err(_) if is_taken => {
                    // The leader ends it, unless it only waits for the commit.
                    member.cancelled.store(true, Ordering::Relaxed);
                    None
                }
                Err(ended) => {
                    drop(phase);
                    if self.leave(member) {
                        return Turn::Done(Err(ended));
                    }
                    // It was taken out meanwhile.
                    phase = member.phase();
                    continue;
                }
            };
            phase = match limit {
                Some(limit) => member.turned.wait_timeout(phase, limit).unwrap_or_else(PoisonError::into_inner).0,
                None => member.turned.wait(phase).unwrap_or_else(PoisonError::into_inner),
            };
        }
    }

    /// Takes a member out of the queue. `false` if it is not there any more.
    fn leave(&self, member: &Arc<Member>) -> bool {
        let mut queue = self.queue();
        let place = queue.waiting.iter().position(|m| Arc::ptr_eq(m, member));
        place.and_then(|place| queue.waiting.remove(place)).is_some()
    }
}

impl fmt::Debug for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Group").finish_non_exhaustive()
    }
}

/// The one who writes. To be dropped after the connection was given back: that hands on.
pub(crate) struct Leader<'g> {
    group: &'g Group,
    taken: Vec<Arc<Member>>,
    sent: bool,
    not_before: Option<Instant>,
}

impl<'g> Leader<'g> {
    const fn new(group: &'g Group, not_before: Option<Instant>) -> Self {
        Self { group, taken: Vec::new(), sent: false, not_before }
    }

    /// Lets other programs have the file for a moment, if it is time for that. To be called before it is locked.
    ///
    /// # Errors
    /// `deadline` if the leader's own time ends.
    pub(crate) fn give_way(&self, cx: &Context<'_>) -> Result<()> {
        while self.not_before.is_some_and(|at| Instant::now() < at) {
            cx.check()?;
            std::thread::sleep(cx.remaining_or(POLL));
        }
        Ok(())
    }

    /// Takes on the batch of the caller that waits longest. One that may take long, or that was in a transaction that failed, is
    /// left to lead the next group, because all that were carried out would wait for it, or fail with it.
    pub(crate) fn take(&mut self) -> Option<Arc<Member>> {
        let mut queue = self.group.queue();
        let member = queue.waiting.pop_front_if(|member| member.is_shareable())?;
        *member.phase() = Phase::Taken;
        drop(queue);
        self.taken.push(Arc::clone(&member));
        Some(member)
    }

    /// From now on what was taken on may have been applied.
    pub(crate) const fn sends(&mut self) {
        self.sent = true;
    }

    /// The transaction has failed as a whole: nothing of what was taken on and not answered has been applied, and each is to be
    /// carried out by its own caller.
    pub(crate) fn took_back(&mut self) {
        self.sent = false;
        for member in &self.taken {
            member.apart.store(true, Ordering::Relaxed);
        }
    }
}

impl Drop for Leader<'_> {
    fn drop(&mut self) {
        let mut queue = self.group.queue();
        for member in self.taken.drain(..).rev() {
            if !matches!(*member.phase(), Phase::Taken) {
                continue;
            }
            if self.sent {
                let lost = "the call that carried this batch out failed while it was committing";
                member.answer(Ok(Err(Error::outcome_unknown(lost))));
            } else {
                // Told, because it may want to leave now.
                member.turn(Phase::Waiting);
                queue.waiting.push_front(member);
            }
        }
        match queue.waiting.pop_front() {
            Some(next) => {
                let now = Instant::now();
                if now.duration_since(*queue.unbroken.get_or_insert(now)) >= UNBROKEN {
                    queue.unbroken = None;
                    queue.free_until = now.checked_add(PAUSE);
                }
                // A leader whose time ends in the pause leaves the rest of it to the next one.
                next.turn(Phase::Leads { not_before: queue.free_until.filter(|at| now < *at) });
            }
            None => {
                queue.led = false;
                queue.unbroken = None;
            }
        }
    }
}

#[cfg(test)]
mod tests;
