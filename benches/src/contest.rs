//! Rounds, medians and the table.

use std::time::Duration;

use crate::Failure;

/// Somebody who can look clients up.
pub(crate) trait Contestant {
    /// What the table calls it.
    fn name(&self) -> String;

    /// Looks every key up and says how long all of them took.
    fn look_up(&mut self, keys: &[&str]) -> Result<Duration, Failure>;

    /// Look-ups a round; fewer for the slow, so that rounds stay short.
    fn batch(&self) -> usize {
        2000
    }
}

/// Runs contestants on one set of keys.
pub(crate) struct Contest {
    keys: Vec<String>,
    rounds: usize,
    random: u64,
}

impl Contest {
    /// A contest over these keys.
    pub(crate) fn new(keys: Vec<String>, rounds: usize) -> Self {
        Self { keys, rounds, random: 0x2545_f491_4f6c_dd1d }
    }

    /// The keys.
    pub(crate) fn keys(&self) -> &[String] {
        &self.keys
    }

    fn random_keys(&mut self, count: usize) -> Vec<String> {
        let mut pick = || {
            // xorshift64: the same keys in every run.
            self.random ^= self.random << 13;
            self.random ^= self.random >> 7;
            self.random ^= self.random << 17;
            self.keys[usize::try_from(self.random % self.keys.len() as u64).unwrap_or(0)].clone()
        };
        (0..count).map(|_| pick()).collect()
    }

    /// Runs all rounds and prints the table; the first contestant is the measure.
    pub(crate) fn run(&mut self, title: &str, mut contestants: Vec<Box<dyn Contestant>>) -> Result<(), Failure> {
        let mut times: Vec<Vec<f64>> = vec![Vec::new(); contestants.len()];
        // The first round warms caches and does not count.
        for round in 0..=self.rounds {
            let keys = self.random_keys(2000);
            for (contestant, times) in contestants.iter_mut().zip(&mut times) {
                let batch: Vec<&str> = keys.iter().take(contestant.batch()).map(String::as_str).collect();
                let took = contestant.look_up(&batch)?;
                if round > 0 {
                    times.push(took.as_secs_f64() * 1e6 / batch.len() as f64);
                }
            }
        }
        println!("\n{title}\n{:<44}{:>12}{:>10}", "", "µs", "ratio");
        let medians: Vec<f64> = times.into_iter().map(median).collect();
        for (contestant, median) in contestants.iter().zip(&medians) {
            println!("{:<44}{:>12.2}{:>10.2}", contestant.name(), median, median / medians[0]);
        }
        Ok(())
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
