//! A value handed over once, from the thread that makes it to the future that waits for it.
//!
//! Written here because it is all the asynchrony this crate needs, and because it tells a job that never started (nothing was
//! applied) from one that died half-way.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

enum State<T> {
    Queued(Option<Waker>),
    Started(Option<Waker>),
    Done(T),
    Lost { started: bool },
    Taken,
}

/// What became of the job.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Delivery<T> {
    /// It ended with this value.
    Value(T),
    /// It was dropped before it began.
    NeverStarted,
    /// It began and did not end: it panicked.
    Died,
}

struct Shared<T>(Mutex<State<T>>);

impl<T> Shared<T> {
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn finish(&self, end: impl FnOnce(bool) -> State<T>) {
        let mut state = self.lock();
        let (waker, started) = match &mut *state {
            State::Queued(waker) => (waker.take(), false),
            State::Started(waker) => (waker.take(), true),
            _ => return,
        };
        *state = end(started);
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

/// The end that delivers; dropping it without delivering is noticed.
pub(crate) struct Sender<T>(Arc<Shared<T>>);

/// The end that waits.
pub(crate) struct Receiver<T>(Arc<Shared<T>>);

/// A pair of ends.
pub(crate) fn channel<T>() -> (Sender<T>, Receiver<T>) {
    let shared = Arc::new(Shared(Mutex::new(State::Queued(None))));
    (Sender(Arc::clone(&shared)), Receiver(shared))
}

impl<T> Sender<T> {
    /// Says that the job begins.
    pub(crate) fn start(&self) {
        let mut state = self.0.lock();
        if let State::Queued(waker) = &mut *state {
            *state = State::Started(waker.take());
        }
    }

    /// Delivers the value.
    pub(crate) fn send(self, value: T) {
        self.0.finish(|_| State::Done(value));
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        self.0.finish(|started| State::Lost { started });
    }
}

impl<T> Future for Receiver<T> {
    type Output = Delivery<T>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.0.lock();
        match &mut *state {
            State::Queued(waker) | State::Started(waker) => {
                *waker = Some(cx.waker().clone());
                Poll::Pending
            }
            _ => Poll::Ready(match std::mem::replace(&mut *state, State::Taken) {
                State::Done(value) => Delivery::Value(value),
                State::Lost { started: false } => Delivery::NeverStarted,
                _ => Delivery::Died,
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn poll<T>(receiver: &mut Receiver<T>) -> Poll<Delivery<T>> {
        Pin::new(receiver).poll(&mut Context::from_waker(Waker::noop()))
    }

    #[test]
    fn a_job_that_never_started_is_told_from_one_that_died() {
        let (sender, mut receiver) = channel::<u8>();
        assert!(poll(&mut receiver).is_pending());
        drop(sender);
        assert_eq!(poll(&mut receiver), Poll::Ready(Delivery::NeverStarted));

        let (sender, mut receiver) = channel::<u8>();
        sender.start();
        assert!(poll(&mut receiver).is_pending());
        drop(sender);
        assert_eq!(poll(&mut receiver), Poll::Ready(Delivery::Died));

        let (sender, mut receiver) = channel();
        sender.start();
        sender.send(7);
        assert_eq!(poll(&mut receiver), Poll::Ready(Delivery::Value(7)));
    }
}
