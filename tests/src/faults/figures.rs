//! What a campaign saw, by the phase in which the cut came.

use std::collections::BTreeMap;
use std::fmt;

/// One phase's numbers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Count {
    /// Processes killed.
    pub cuts: u64,
    /// Operations acknowledged before, every one of which was found.
    pub acknowledged: u64,
    /// Operations refused as they should be.
    pub refused: u64,
    /// Operations under way at the cut that were found, as a whole.
    pub whole: u64,
    /// Operations under way at the cut of which nothing was found.
    pub absent: u64,
}

impl Count {
    fn add(&mut self, other: Self) {
        self.cuts += other.cuts;
        self.acknowledged += other.acknowledged;
        self.refused += other.refused;
        self.whole += other.whole;
        self.absent += other.absent;
    }
}

/// The numbers of a campaign.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Figures {
    /// By phase.
    pub phases: BTreeMap<String, Count>,
    /// Stores made.
    pub stores: u64,
    /// How often the Python node read the same.
    pub python: u64,
}

impl Figures {
    /// The numbers of a phase.
    pub fn phase(&mut self, phase: &str) -> &mut Count {
        self.phases.entry(phase.to_owned()).or_default()
    }

    /// Those of another part of the campaign as well.
    pub fn add(&mut self, other: &Self) {
        for (phase, count) in &other.phases {
            self.phase(phase).add(*count);
        }
        self.stores += other.stores;
        self.python += other.python;
    }

    /// All phases together.
    #[must_use]
    pub fn total(&self) -> Count {
        let mut total = Count::default();
        self.phases.values().for_each(|count| total.add(*count));
        total
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "| cut while | cuts | acknowledged | refused | cut, found whole | cut, found absent |")?;
        writeln!(f, "|---|---|---|---|---|---|")?;
        let total = self.total();
        for (phase, c) in self.phases.iter().map(|(p, c)| (p.as_str(), c)).chain([("**all**", &total)]) {
            writeln!(f, "| {phase} | {} | {} | {} | {} | {} |", c.cuts, c.acknowledged, c.refused, c.whole, c.absent)?;
        }
        write!(f, "\n{} stores; read {} times by the Python node as well, with the same result.", self.stores, self.python)
    }
}
