//! Running all cases and telling what came of them.

use std::fmt;
use std::time::{Duration, Instant};

use hivemind_model::Result;

use crate::applicable;
use crate::case::{Case, Checked, Failure};
use crate::fixture::cx;
use crate::subject::Subject;

/// What came of each case.
#[derive(Debug)]
pub struct Summary {
    /// The subject's name.
    pub subject: String,
    /// The cases that were run, in their order, each with its result and how long it took.
    pub results: Vec<(Case, Checked, Duration)>,
}

impl Summary {
    /// Whether nothing was wrong. Skipped cases are not wrong; they are listed.
    #[must_use]
    pub fn passed(&self) -> bool {
        self.failures().next().is_none()
    }

    /// The cases in which the backend did something else than it must.
    pub fn failures(&self) -> impl Iterator<Item = (&Case, &Failure)> {
        self.results.iter().filter_map(|(case, result, _)| match result {
            Err(failure @ Failure::Wrong(_)) => Some((case, failure)),
            _ => None,
        })
    }

    /// The cases that the subject lacks a hook for.
    pub fn skipped(&self) -> impl Iterator<Item = (&Case, &Failure)> {
        self.results.iter().filter_map(|(case, result, _)| match result {
            Err(failure @ Failure::Skipped(_)) => Some((case, failure)),
            _ => None,
        })
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (case, result, took) in &self.results {
            let word = match result {
                Ok(()) => "ok  ",
                Err(Failure::Skipped(_)) => "skip",
                Err(Failure::Wrong(_)) => "FAIL",
            };
            writeln!(f, "{word} {:<38} {:>6} ms  {}", case.name, took.as_millis(), case.sentence)?;
            if let Err(failure) = result {
                writeln!(f, "     {failure}")?;
            }
        }
        let (failed, skipped) = (self.failures().count(), self.skipped().count());
        let passed = self.results.len() - failed - skipped;
        write!(f, "{}: {passed} passed, {failed} failed, {skipped} skipped", self.subject)
    }
}

/// Runs the cases that apply to the subject and whose name contains `filter`, one after another.
///
/// # Errors
/// What keeps a store from being made and opened at all.
pub fn check(subject: &dyn Subject, filter: &str) -> Result<Summary> {
    let capabilities = {
        let instance = subject.fresh()?;
        let backend = instance.open()?;
        let capabilities = backend.capabilities();
        backend.close(&cx())?;
        capabilities
    };
    let chosen = applicable(capabilities).into_iter().filter(|case| case.name.contains(filter));
    let results = chosen.map(|case| {
        let started = Instant::now();
        let result = case.run(subject);
        (case, result, started.elapsed())
    });
    Ok(Summary { subject: subject.name(), results: results.collect() })
}
