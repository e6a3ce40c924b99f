//! Numbers that threads add to, and how they are written.

use std::fmt::{self, Error};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use hivemind_model::Code;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

/// The name for what no list has.
const OTHER: &str = "other";

/// A number for each word of a list.
#[derive(Debug)]
pub(super) struct Counters(Vec<(&'static str, AtomicU64)>);

impl Counters {
    pub(super) fn new(words: impl IntoIterator<Item = &'static str>) -> Self {
        Self(words.into_iter().chain([OTHER]).map(|word| (word, AtomicU64::default())).collect())
    }

    pub(super) fn add(&self, word: &str) {
        let found = self.0.iter().find(|(known, _)| *known == word).or(self.0.last());
        if let Some((_, count)) = found {
            count.fetch_add(1, Relaxed);
        }
    }

    /// Those that were ever added to.
    fn used(&self) -> impl Iterator<Item = (&'static str, u64)> {
        self.0.iter().map(|(word, count)| (*word, count.load(Relaxed))).filter(|(_, count)| *count > 0)
    }
}

/// Upper bounds in nanoseconds: from what memory takes to what a server that is stuck takes.
const BOUNDS: [u64; 18] = [
    2_000,
    5_000,
    10_000,
    25_000,
    50_000,
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    25_000_000,
    100_000_000,
    250_000_000,
    1_000_000_000,
    5_000_000_000,
    30_000_000_000,
];

/// How often something took how long.
#[derive(Debug, Default)]
pub(super) struct Times {
    /// One for each bound, and one for what took longer.
    counts: [AtomicU64; BOUNDS.len() + 1],
    nanoseconds: AtomicU64,
}

impl Times {
    pub(super) fn add(&self, took: Duration) {
        let nanoseconds = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.counts[BOUNDS.partition_point(|bound| *bound < nanoseconds)].fetch_add(1, Relaxed);
        self.nanoseconds.fetch_add(nanoseconds, Relaxed);
    }

    fn encode(&self, mut encoder: MetricEncoder<'_>) -> Result<(), Error> {
        let seconds = |nanoseconds: u64| Duration::from_nanos(nanoseconds).as_secs_f64();
        let bounds = BOUNDS.iter().map(|bound| seconds(*bound)).chain([f64::INFINITY]);
        let buckets: Vec<(f64, u64)> = bounds.zip(self.counts.iter().map(|count| count.load(Relaxed))).collect();
        // From the buckets, so that they add up whatever is counted meanwhile.
        let count = buckets.iter().map(|(_, count)| count).sum();
        encoder.encode_histogram::<NoLabelSet>(seconds(self.nanoseconds.load(Relaxed)), count, &buckets, None)
    }
}

/// One kind of call to the storage.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) name: &'static str,
    pub(super) times: Times,
    pub(super) errors: Counters,
}

/// Calls by their names, of which a node has a dozen. A name gets its place when it is first seen.
#[derive(Debug, Default)]
pub(super) struct Calls([OnceLock<Call>; 24]);

impl Calls {
    pub(super) fn add(&self, name: &'static str, took: Duration, error: Option<Code>) {
        for place in &self.0 {
            let call = place.get_or_init(|| Call { name, times: Times::default(), errors: Counters::new(codes()) });
            if call.name == name {
                call.times.add(took);
                if let Some(code) = error {
                    call.errors.add(code.name());
                }
                return;
            }
        }
    }

    pub(super) fn known(&self) -> impl Iterator<Item = &Call> {
        self.0.iter().map_while(OnceLock::get)
    }
}

/// The names of the errors that a backend gives.
fn codes() -> impl Iterator<Item = &'static str> {
    (1..).map(Code::from_number).take_while(|code| *code != Code::Unrecognized).map(Code::name)
}

/// Writes numbers as metrics.
pub(super) struct Output<'a>(DescriptorEncoder<'a>);

impl<'a> Output<'a> {
    pub(super) const fn new(encoder: DescriptorEncoder<'a>) -> Self {
        Self(encoder)
    }

    pub(super) fn gauge(&mut self, name: &str, help: &str, value: i64) -> fmt::Result {
        ConstGauge::new(value).encode(self.0.encode_descriptor(name, help, None, MetricType::Gauge)?)
    }

    pub(super) fn counter(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        ConstCounter::new(value).encode(self.0.encode_descriptor(name, help, None, MetricType::Counter)?)
    }

    pub(super) fn counters(&mut self, name: &str, help: &str, label: &'static str, counters: &Counters) -> fmt::Result {
        self.labelled(name, help, label, &counters.used().collect::<Vec<_>>())
    }

    pub(super) fn labelled(&mut self, name: &str, help: &str, label: &'static str, values: &[(&str, u64)]) -> fmt::Result {
        let mut family = self.0.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (word, value) in values {
            ConstCounter::new(*value).encode(family.encode_family(&[(label, *word)])?)?;
        }
        Ok(())
    }

    /// Counters by two labels.
    pub(super) fn matrix<C: std::borrow::Borrow<Counters>>(
        &mut self,
        name: &str,
        help: &str,
        (row, rows): (&'static str, impl Iterator<Item = &'static str>),
        (column, columns): (&'static str, &[C]),
    ) -> fmt::Result {
        let mut family = self.0.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (first, counters) in rows.zip(columns) {
            for (second, value) in counters.borrow().used() {
                ConstCounter::new(value).encode(family.encode_family(&[(row, first), (column, second)])?)?;
            }
        }
        Ok(())
    }

    pub(super) fn times(&mut self, name: &str, help: &str, all: &[(&'static str, &str, &Times)]) -> fmt::Result {
        let mut family = self.0.encode_descriptor(name, help, None, MetricType::Histogram)?;
        for (label, word, times) in all {
            times.encode(family.encode_family(&[(*label, *word)])?)?;
        }
        Ok(())
    }
}
