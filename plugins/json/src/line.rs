//! The line in which the writers of one handle stand: whoever is first leads, and carries what those behind it want along.
//!
//! The decision here: no thread of our own. The first caller does the work for all who came meanwhile, answers them, and the next one
//! leads. Who still stands in line may leave it, and nothing was done for it; who is carried waits for the answer.

use std::collections::{HashMap, VecDeque};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hivemind_abi::model::Result;

/// How often one who waits looks at its deadline and cancel flag.
const LOOK: Duration = Duration::from_millis(20);

/// A line of those who want `J` done and get `A`.
#[derive(Debug)]
pub(crate) struct Line<J, A> {
    inner: Mutex<Inner<J, A>>,
    moved: Condvar,
}

#[derive(Debug)]
struct Inner<J, A> {
    is_led: bool,
    tickets: u64,
    // Without a job: one that wants to lead, and to be alone in it.
    waiting: VecDeque<(u64, Option<J>)>,
    // `None`: whoever carried it was lost on the way.
    answers: HashMap<u64, Option<A>>,
}

/// How waiting ended.
#[derive(Debug)]
pub(crate) enum Turn<'l, J, A> {
    /// It is one's own turn to lead, until this is dropped.
    Lead(Lead<'l, J, A>),
    /// Another one did it; `None` if it panicked with that.
    Carried(Option<A>),
}

/// The head of the line.
#[derive(Debug)]
pub(crate) struct Lead<'l, J, A> {
    line: &'l Line<J, A>,
    carried: Vec<u64>,
}

impl<J, A> Line<J, A> {
    /// An empty line.
    pub(crate) fn new() -> Self {
        let inner = Inner { is_led: false, tickets: 0, waiting: VecDeque::new(), answers: HashMap::new() };
        Self { inner: Mutex::new(inner), moved: Condvar::new() }
    }

    fn inner(&self) -> MutexGuard<'_, Inner<J, A>> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Stands in line until it is one's turn or the job was done. `job` is asked for only if there is somebody to wait for.
    ///
    /// # Errors
    /// Those of `check`, which is asked while nobody has taken the job.
    pub(crate) fn enter(&self, job: impl FnOnce() -> Option<J>, check: impl Fn() -> Result<()>) -> Result<Turn<'_, J, A>> {
        let mut inner = self.inner();
        if !inner.is_led && inner.waiting.is_empty() {
            inner.is_led = true;
            return Ok(Turn::Lead(Lead { line: self, carried: Vec::new() }));
        }
        drop(inner);
        let job = job();
        inner = self.inner();
        let ticket = inner.tickets;
        inner.tickets += 1;
        inner.waiting.push_back((ticket, job));
        loop {
            if let Some(answer) = inner.answers.remove(&ticket) {
                return Ok(Turn::Carried(answer));
            }
            if !inner.is_led && inner.waiting.front().is_some_and(|(first, _)| *first == ticket) {
                inner.waiting.pop_front();
                inner.is_led = true;
                return Ok(Turn::Lead(Lead { line: self, carried: Vec::new() }));
            }
            if let Some(at) = inner.waiting.iter().position(|(waiting, _)| *waiting == ticket)
                && let Err(error) = check()
            {
                inner.waiting.remove(at);
                // The next one may be first now.
                self.moved.notify_all();
                return Err(error);
            }
            (inner, _) = self.moved.wait_timeout(inner, LOOK).unwrap_or_else(PoisonError::into_inner);
        }
    }

    #[cfg(test)]
    pub(crate) fn waiting(&self) -> usize {
        self.inner().waiting.len()
    }
}

impl<J, A> Lead<'_, J, A> {
    /// Takes the jobs of those next in line, at most so many, up to the first that wants to lead.
    pub(crate) fn take(&mut self, most: usize) -> Vec<J> {
        let mut inner = self.line.inner();
        let mut jobs = Vec::new();
        while jobs.len() < most
            && let Some((_, job)) = inner.waiting.front_mut()
            && let Some(job) = job.take()
        {
            jobs.push(job);
            self.carried.extend(inner.waiting.pop_front().map(|(ticket, _)| ticket));
        }
        jobs
    }

    /// Answers those whose jobs were taken, in the same order.
    pub(crate) fn answer(&mut self, answers: impl IntoIterator<Item = A>) {
        let answers = self.carried.drain(..).zip(answers.into_iter().map(Some));
        self.line.inner().answers.extend(answers);
        self.line.moved.notify_all();
    }
}

impl<J, A> Drop for Lead<'_, J, A> {
    fn drop(&mut self) {
        let mut inner = self.line.inner();
        inner.is_led = false;
        inner.answers.extend(self.carried.drain(..).map(|ticket| (ticket, None)));
        drop(inner);
        self.line.moved.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::thread;

    use hivemind_abi::model::Error;

    use super::*;

    fn lead(line: &Line<u32, u32>) -> Lead<'_, u32, u32> {
        match line.enter(|| None, || Ok(())) {
            Ok(Turn::Lead(lead)) => lead,
            _ => panic!("a turn"),
        }
    }

    fn wait_for(line: &Line<u32, u32>, waiting: usize) {
        while line.waiting() != waiting {
            thread::yield_now();
        }
    }

    /// Whether one was carried, and its answer.
    fn carried(turn: Result<Turn<'_, u32, u32>>) -> Option<Option<u32>> {
        match turn.expect("a turn") {
            Turn::Carried(answer) => Some(answer),
            Turn::Lead(_) => None,
        }
    }

    #[test]
    fn those_behind_are_carried_in_order_and_up_to_one_who_leads_alone() {
        let line = Line::new();
        thread::scope(|scope| {
            let mut first = lead(&line);
            let mut threads = Vec::new();
            for (at, job) in [Some(1), Some(2), None, Some(3)].into_iter().enumerate() {
                let line = &line;
                threads.push(scope.spawn(move || carried(line.enter(|| job, || Ok(())))));
                wait_for(line, at + 1);
            }
            assert_eq!((first.take(9), line.waiting()), (vec![1, 2], 2));
            first.answer([10, 20]);
            drop(first);
            let answers: Vec<_> = threads.into_iter().map(|t| t.join().expect("a thread")).collect();
            // The third led, and when it was done the fourth did.
            assert_eq!(answers, [Some(Some(10)), Some(Some(20)), None, None]);
        });
    }

    #[test]
    fn one_who_stands_in_line_may_leave_it_and_one_who_is_carried_may_not() {
        let line = Line::new();
        let gives_up = AtomicBool::new(false);
        let check = || if gives_up.load(Ordering::Relaxed) { Err(Error::deadline("enough")) } else { Ok(()) };
        thread::scope(|scope| {
            let mut first = lead(&line);
            let goes = scope.spawn(|| line.enter(|| Some(1), || Err(Error::deadline("at once"))).map(drop));
            assert_eq!(goes.join().expect("a thread").expect_err("left").message(), "at once");
            assert_eq!(line.waiting(), 0);
            let stays = scope.spawn(|| carried(line.enter(|| Some(2), check)));
            wait_for(&line, 1);
            assert_eq!(first.take(9), [2]);
            gives_up.store(true, Ordering::Relaxed);
            thread::sleep(LOOK * 3);
            first.answer([20]);
            assert_eq!(stays.join().expect("a thread"), Some(Some(20)));
        });
    }

    #[test]
    fn a_leader_that_panics_leaves_nobody_waiting() {
        let line = Line::new();
        thread::scope(|scope| {
            let first = lead(&line);
            let carried_along = scope.spawn(|| carried(line.enter(|| Some(1), || Ok(()))));
            wait_for(&line, 1);
            let panics = scope.spawn(move || {
                let mut first = first;
                assert_eq!(first.take(9), [1]);
                panic!("planted");
            });
            assert!(panics.join().is_err());
            assert_eq!(carried_along.join().expect("a thread"), Some(None));
            drop(lead(&line));
        });
    }
}
