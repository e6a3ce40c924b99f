//! Rounds, medians and ratios.

use std::time::Duration;

use crate::Failure;

/// Somebody who can do a batch of work.
pub(crate) trait Contestant {
    /// What the table calls it.
    fn name(&self) -> String;

    /// How many pieces of work it does in a round; fewer for the slow, so that rounds stay short.
    fn batch(&self) -> usize;

    /// Does a piece of work for each of these random numbers, and says how long all took together.
    fn work(&mut self, picks: &[u64]) -> Result<Duration, Failure>;
}

/// A contestant made of a function.
pub(crate) struct Doing<F>(pub(crate) String, pub(crate) usize, pub(crate) F);

impl<F: FnMut(&[u64]) -> Result<Duration, Failure>> Contestant for Doing<F> {
    fn name(&self) -> String {
        self.0.clone()
    }

    fn batch(&self) -> usize {
        self.1
    }

    fn work(&mut self, picks: &[u64]) -> Result<Duration, Failure> {
        (self.2)(picks)
    }
}

/// A middle value, and the quartiles around it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Spread {
    pub(crate) low: f64,
    pub(crate) median: f64,
    pub(crate) high: f64,
}

impl Spread {
    /// The spread of some values.
    pub(crate) fn of(mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        let at = |part: usize| values.get((values.len().saturating_sub(1) * part + 2) / 4).copied().unwrap_or(f64::NAN);
        Self { low: at(1), median: at(2), high: at(3) }
    }

    /// All three multiplied.
    pub(crate) fn times(self, factor: f64) -> Self {
        Self { low: self.low * factor, median: self.median * factor, high: self.high * factor }
    }
}

/// What the rounds gave: for each contestant its microseconds a piece, round by round.
pub(crate) struct Outcome {
    pub(crate) names: Vec<String>,
    times: Vec<Vec<f64>>,
}

impl Outcome {
    /// The microseconds a piece of one contestant.
    pub(crate) fn micros(&self, of: usize) -> Spread {
        Spread::of(self.times[of].clone())
    }

    /// How many times as long one takes as another, compared within each round.
    pub(crate) fn ratio(&self, of: usize, to: usize) -> Spread {
        Spread::of(self.times[of].iter().zip(&self.times[to]).map(|(of, to)| of / to).collect())
    }
}

/// Lets contestants work in turn. A first round warms caches and does not count, and every round begins with another one, so that
/// nobody always comes after the same neighbour.
pub(crate) fn run(rounds: usize, contestants: &mut [Box<dyn Contestant + '_>]) -> Result<Outcome, Failure> {
    let mut random: u64 = 0x2545_f491_4f6c_dd1d;
    let mut pick = || {
        // xorshift64: the same numbers in every run.
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random
    };
    let largest = contestants.iter().map(|c| c.batch()).max().unwrap_or(0);
    let mut times = vec![Vec::with_capacity(rounds); contestants.len()];
    for round in 0..=rounds {
        let picks: Vec<u64> = (0..largest).map(|_| pick()).collect();
        for turn in 0..contestants.len() {
            let at = (round + turn) % contestants.len();
            let batch = contestants[at].batch();
            let took = contestants[at].work(&picks[..batch])?;
            if round > 0 {
                times[at].push(took.as_secs_f64() * 1e6 / batch as f64);
            }
        }
    }
    Ok(Outcome { names: contestants.iter().map(|c| c.name()).collect(), times })
}
