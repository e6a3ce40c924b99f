//! How many lines of one kind are written in a minute. Beyond that only counts are kept, by who and why, and written when the minute is
//! over: a flood costs a bounded number of lines whatever its rate.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::entry::Entry;

/// How long a window lasts.
pub(super) const WINDOW: Duration = Duration::from_secs(60);

/// How many different ones are counted apart in a window; all others are counted together.
const DIFFERENT: usize = 100;

/// One kind of lines.
pub(super) struct Gate {
    budget: u32,
    event: &'static str,
    hasher: RandomState,
    state: Mutex<State>,
}

struct State {
    since: Instant,
    written: u32,
    /// By the hash of who and why, so that what repeats costs no memory.
    more: HashMap<u64, Entry>,
    others: u64,
}

impl Gate {
    pub(super) fn new(event: &'static str, budget: u32) -> Self {
        let state = State { since: Instant::now(), written: 0, more: HashMap::new(), others: 0 };
        Self { budget, event, hasher: RandomState::new(), state: Mutex::new(state) }
    }

    /// The line, if it is to be written by itself; else it is counted. `same` is what it is counted by.
    pub(super) fn pass(&self, same: impl std::hash::Hash, entry: impl FnOnce() -> Entry) -> Option<Entry> {
        // What a satellite wrote is not read while all others wait.
        let hash = self.hasher.hash_one(same);
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.written < self.budget {
            state.written += 1;
            drop(state);
            return Some(entry());
        }
        if let Some(counted) = state.more.get_mut(&hash) {
            counted.count = Some(counted.weight().saturating_add(1));
        } else if state.more.len() < DIFFERENT {
            state.more.insert(hash, Entry { count: Some(1), ..entry() });
        } else {
            state.others += 1;
        }
        None
    }

    /// The counts of a window that is over, or of this one if it is the `last`.
    pub(super) fn counts(&self, now: Instant, last: bool) -> Vec<Entry> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if !last && now.saturating_duration_since(state.since) < WINDOW {
            return Vec::new();
        }
        (state.since, state.written) = (now, 0);
        let (more, others) = (std::mem::take(&mut state.more), std::mem::take(&mut state.others));
        drop(state);
        let mut counts: Vec<Entry> = more.into_values().collect();
        counts.sort_by_key(|entry| entry.time);
        if others > 0 {
            counts.push(Entry { outcome: "others".into(), count: Some(others), ..Entry::now(self.event) });
        }
        counts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_costs_a_bounded_number_of_lines_and_loses_no_count() {
        let gate = Gate::new("refused", 5);
        let entry = |n: u32| Entry { reason: n.to_string(), ..Entry::now("refused") };
        let single = (0..10_000_u32).filter_map(|n| gate.pass(n % 7, || entry(n % 7))).count();
        assert_eq!(single, 5);
        let flood = (0..10_000_u32).filter_map(|n| gate.pass(n, || entry(n))).count();
        assert_eq!(flood, 0);
        let now = Instant::now();
        assert!(gate.counts(now, false).is_empty(), "the minute is not over");
        let counts = gate.counts(now + WINDOW, false);
        assert_eq!(counts.len(), DIFFERENT + 1);
        assert_eq!(counts.iter().map(Entry::weight).sum::<u64>(), 20_000 - 5);
        assert!(gate.pass(1, || entry(1)).is_some(), "a new window");
        assert!(gate.counts(now + WINDOW, true).is_empty(), "nothing was only counted");
    }

    /// Every satellite's denials pass through one gate.
    #[test]
    fn nothing_is_hashed_while_others_wait() {
        struct Probe<'g>(&'g Gate);
        impl std::hash::Hash for Probe<'_> {
            fn hash<H: std::hash::Hasher>(&self, _: &mut H) {
                assert!(self.0.state.try_lock().is_ok());
            }
        }
        let gate = Gate::new("denied", 1);
        for _ in 0..3 {
            gate.pass(Probe(&gate), || Entry::now("denied"));
        }
        assert_eq!(gate.counts(Instant::now(), true)[0].weight(), 2);
    }
}
