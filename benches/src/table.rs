//! What is printed: a table for each contest, and at the end all bars with what was found.

use crate::contest::{Outcome, Spread};

/// Prints a contest's table; the first contestant is the measure.
pub(crate) fn print(title: &str, outcome: &Outcome) {
    println!("{title}");
    println!("  {:<64}{:>12}{:>20}{:>10}", "", "µs", "middle half", "ratio");
    for (at, name) in outcome.names.iter().enumerate() {
        let micros = outcome.micros(at);
        let half = format!("{} – {}", figure(micros.low), figure(micros.high));
        println!("  {name:<64}{:>12}{half:>20}{:>10}", figure(micros.median), figure(outcome.ratio(at, 0).median));
    }
    println!();
}

/// A number with about three digits that count.
pub(crate) fn figure(value: f64) -> String {
    match value.abs() {
        v if !v.is_finite() => "–".to_owned(),
        v if v < 10.0 => format!("{value:.2}"),
        v if v < 100.0 => format!("{value:.1}"),
        _ => format!("{value:.0}"),
    }
}

/// What a figure must not pass.
#[derive(Clone, Copy)]
pub(crate) enum Limit {
    AtMost(f64),
    AtLeast(f64),
}

/// Every bar of the run.
#[derive(Default)]
pub(crate) struct Bars(Vec<(String, Limit, Spread)>);

impl Bars {
    /// Notes what was found for a bar.
    pub(crate) fn add(&mut self, what: impl Into<String>, limit: Limit, found: Spread) {
        self.0.push((what.into(), limit, found));
    }

    /// Prints them.
    pub(crate) fn print(&self) {
        if self.0.is_empty() {
            return;
        }
        println!("Bars");
        println!("  {:<72}{:>10}{:>10}{:>20}", "", "bar", "found", "middle half");
        for (what, limit, found) in &self.0 {
            let (bar, met) = match limit {
                Limit::AtMost(most) => (format!("≤ {most}"), found.median <= *most),
                Limit::AtLeast(least) => (format!("≥ {least}"), found.median >= *least),
            };
            let half = format!("{} – {}", figure(found.low), figure(found.high));
            let word = if met { "pass" } else { "FAIL" };
            println!("  {what:<72}{bar:>10}{:>10}{half:>20}  {word}", figure(found.median));
        }
    }
}
