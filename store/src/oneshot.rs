//! A value handed over once, from the thread that makes it to the future that waits for it.
//!
//! Written here because it is all the asynchrony this crate needs, and because it tells a job that never started (nothing was
//! applied) from one that died half-way.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Waker};

use crate::storage::Wake;

enum State<T> {
    Queued(Option<Waker>),
    Started(Option<Waker>),
    Done(T),
    Lost { started: bool },
    Late { started: bool },
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
    /// It was given up on.
    Late {
        /// Whether it had begun. If not, it never will.
        started: bool,
    },
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
    /// Says that the job begins; `false` if nobody waits for it any more.
    pub(crate) fn start(&self) -> bool {
        let mut state = self.0.lock();
        if let State::Queued(waker) = &mut *state {
            *state = State::Started(waker.take());
        }
        matches!(*state, State::Started(_))
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

/// Lets a receiver wait no longer, if it still does.
pub(crate) struct Expiry<T>(Weak<Shared<T>>);

impl<T: Send> Wake for Expiry<T> {
    fn is_over(&self) -> bool {
        // The waiting end goes when its caller has the answer, the other when the job ends.
        self.0.upgrade().is_none_or(|shared| !matches!(*shared.lock(), State::Queued(_) | State::Started(_)))
    }

    fn wake(self: Box<Self>) {
        if let Some(shared) = self.0.upgrade() {
            shared.finish(|started| State::Late { started });
        }
    }
}

impl<T> Receiver<T> {
    /// What ends the waiting.
    pub(crate) fn expiry(&self) -> Expiry<T> {
        Expiry(Arc::downgrade(&self.0))
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
                State::Late { started } => Delivery::Late { started },
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

        let (sender, mut receiver) = channel::<u8>();
        Box::new(receiver.expiry()).wake();
        assert!(receiver.expiry().is_over() && !sender.start(), "nobody waits for it");
        assert_eq!(poll(&mut receiver), Poll::Ready(Delivery::Late { started: false }));
        let (sender, mut receiver) = channel();
        assert!(sender.start());
        Box::new(receiver.expiry()).wake();
        sender.send(7);
        assert_eq!(poll(&mut receiver), Poll::Ready(Delivery::Late { started: true }), "what comes later is too late");

        let (sender, mut receiver) = channel();
        sender.start();
        let expiry = receiver.expiry();
        assert!(!expiry.is_over());
        sender.send(7);
        assert!(expiry.is_over());
        assert_eq!(poll(&mut receiver), Poll::Ready(Delivery::Value(7)));
    }
}
