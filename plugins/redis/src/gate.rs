//! Who may write now: everybody at once, or one that was overtaken too often alone.
//!
//! A batch that finds its records changed is computed again, so under contention the slowest could lose for ever. After a few defeats it
//! asks to be alone among the writers of this handle, and whoever comes later waits behind it.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hivemind_abi::model::{Context, Result};

/// How long to wait before looking at the caller's deadline and cancel flag again.
const SLICE: Duration = Duration::from_millis(10);

/// See the module.
#[derive(Default)]
pub(crate) struct Gate {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    inside: usize,
    is_alone: bool,
    /// The next ticket of one that wants to be alone, and the one whose turn it is.
    next: u64,
    turn: u64,
    /// Tickets whose holders gave up before their turn.
    gone: Vec<u64>,
}

impl State {
    /// Passes the turn on, over those who are gone.
    fn pass(&mut self) {
        self.turn += 1;
        while let Some(at) = self.gone.iter().position(|ticket| *ticket == self.turn) {
            self.gone.swap_remove(at);
            self.turn += 1;
        }
    }
}

/// Being inside.
pub(crate) struct Inside<'g> {
    gate: &'g Gate,
    alone: bool,
}

impl Gate {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Enters beside others.
    ///
    /// # Errors
    /// `deadline`.
    pub(crate) fn enter(&self, cx: &Context<'_>) -> Result<Inside<'_>> {
        let mut state = self.state();
        while state.is_alone || state.turn != state.next {
            cx.check()?;
            state = self.wait(cx, state);
        }
        state.inside += 1;
        Ok(Inside { gate: self, alone: false })
    }

    /// Enters alone, in the order of asking.
    ///
    /// # Errors
    /// `deadline`.
    pub(crate) fn enter_alone(&self, cx: &Context<'_>) -> Result<Inside<'_>> {
        let mut state = self.state();
        let ticket = state.next;
        state.next += 1;
        while state.turn != ticket || state.is_alone || state.inside > 0 {
            if let Err(error) = cx.check() {
                self.give_up(state, ticket);
                return Err(error);
            }
            state = self.wait(cx, state);
        }
        state.is_alone = true;
        Ok(Inside { gate: self, alone: true })
    }

    /// Lets a ticket go whose holder waits no longer.
    fn give_up(&self, mut state: MutexGuard<'_, State>, ticket: u64) {
        if state.turn == ticket {
            state.pass();
        } else {
            state.gone.push(ticket);
        }
        drop(state);
        self.changed.notify_all();
    }

    fn wait<'s>(&'s self, cx: &Context<'_>, state: MutexGuard<'s, State>) -> MutexGuard<'s, State> {
        let slice = cx.remaining_or(SLICE);
        self.changed.wait_timeout(state, slice).unwrap_or_else(PoisonError::into_inner).0
    }
}

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        let mut state = self.gate.state();
        if self.alone {
            state.is_alone = false;
            state.pass();
        } else {
            state.inside -= 1;
        }
        drop(state);
        self.gate.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use hivemind_abi::model::Code;

    use super::*;

    #[test]
    fn whoever_is_alone_is_alone() {
        let (gate, inside) = (Gate::default(), AtomicUsize::new(0));
        let cx = Context::within(Duration::from_secs(60));
        std::thread::scope(|scope| {
            for thread in 0..8 {
                let (gate, inside, cx) = (&gate, &inside, &cx);
                scope.spawn(move || {
                    for round in 0..200 {
                        let alone = (thread + round) % 3 == 0;
                        let _guard = if alone { gate.enter_alone(cx) } else { gate.enter(cx) }.expect("inside");
                        let others = inside.fetch_add(1, Ordering::SeqCst);
                        assert!(!alone || others == 0);
                        inside.fetch_sub(1, Ordering::SeqCst);
                    }
                });
            }
        });
    }

    #[test]
    fn who_gives_up_holds_nobody_up() {
        let gate = Gate::default();
        let cx = Context::within(Duration::from_secs(60));
        let inside = gate.enter(&cx).expect("inside");
        for _ in 0..3 {
            let error = gate.enter_alone(&Context::within(Duration::ZERO)).err().expect("no time");
            assert_eq!(error.code(), Code::Deadline);
        }
        drop(inside);
        drop(gate.enter_alone(&cx).expect("alone"));
        drop(gate.enter(&cx).expect("inside again"));
    }
}
