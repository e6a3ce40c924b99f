//! Many cuts, one after another on the same stores, each followed by a full comparison.
//!
//! A store is kept over several cuts, so that recoveries are cut and recovered from in turn. What was under way at a cut may have
//! been done or not; each combination is tried against what is found, and one must fit exactly, to the last record.

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use fastrand::Rng;

use super::cut::{End, Moment, Operation, Run, run};
use super::figures::Figures;
use super::model::{Model, Records, difference};
use super::op::{Op, Step};
use super::site::{Age, Backend, Site, check_with_python};
use super::worker::{Assignment, Mutant};

/// The phase of a process that finds what a cut left.
pub const OPENING: &str = "opening after a cut";
/// How many processes for each cut may end before it reaches them. One in ten or so does; a backend whose calls are never met would
/// go on for ever.
const MOST_MISSES: u64 = 20;

/// Something done to a store between two processes, to show that the check finds it.
pub type Tampering = fn(&dyn Site, &Records);

/// How a campaign goes.
#[derive(Debug, Clone)]
pub struct Options {
    /// How many processes are killed.
    pub cuts: u64,
    /// Where the dice start.
    pub seed: u64,
    /// How many stores are worked on at a time.
    pub jobs: usize,
    /// Threads that write in each worker.
    pub threads: usize,
    /// Cuts that a store lives through.
    pub cuts_per_store: u64,
    /// Whether the Python node reads each store at its end.
    pub python: bool,
    /// Whether some cuts come at chosen system calls.
    pub system_calls: bool,
    /// What every worker does wrong.
    pub mutant: Option<Mutant>,
    /// What is done to the store behind each cut.
    pub tampering: Option<Tampering>,
}

impl Options {
    /// So many cuts with these dice, everything else as usual.
    #[must_use]
    pub fn new(cuts: u64, seed: u64) -> Self {
        Self {
            cuts,
            seed,
            jobs: 3,
            threads: 4,
            cuts_per_store: 15,
            python: true,
            system_calls: true,
            mutant: None,
            tampering: None,
        }
    }
}

/// Kills workers on stores of a backend. `worker` is the program `fault-worker`.
///
/// # Errors
/// The first store that was not as it must be: what differs, where it lies, and how to get there again.
pub fn campaign(backend: &dyn Backend, worker: &Path, options: &Options) -> Result<Figures, String> {
    let baselines = baselines(backend, worker, options)?;
    let (left, next_store, failed) = (AtomicU64::new(options.cuts), AtomicU64::new(0), AtomicBool::new(false));
    let results = Mutex::new((Figures::default(), None));
    std::thread::scope(|scope| {
        for _ in 0..options.jobs {
            scope.spawn(|| {
                while !failed.load(Ordering::Relaxed) {
                    let cuts = claim(&left, options.cuts_per_store);
                    if cuts == 0 {
                        return;
                    }
                    let number = next_store.fetch_add(1, Ordering::Relaxed);
                    let mut figures = Figures::default();
                    let story = Story::begin(backend, worker, options, &baselines, number);
                    let done = story.and_then(|mut story| story.live(cuts, &mut figures));
                    let mut results = results.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                    results.0.add(&figures);
                    if let Err(error) = done {
                        failed.store(true, Ordering::Relaxed);
                        let which = format!("{}, seed {}, store {number}", backend.name(), options.seed);
                        results.1.get_or_insert(format!("{which}: {error}"));
                    }
                }
            });
        }
    });
    let (figures, error) = results.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    error.map_or(Ok(figures), Err)
}

/// The maintenance that mends what stands beside the records.
const MENDING: &str = "sync";

fn claim(left: &AtomicU64, most: u64) -> u64 {
    let taken = left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| Some(left.saturating_sub(most)));
    taken.unwrap_or_default().min(most)
}

/// A store as a process finds it that nobody cut.
#[derive(Debug, Clone, Default)]
struct Baseline {
    records: Records,
    problems: Vec<String>,
    opened_in: Duration,
}

/// New, then each legacy shape.
fn baselines(backend: &dyn Backend, worker: &Path, options: &Options) -> Result<Vec<Baseline>, String> {
    let ages = std::iter::once(Age::New).chain((0..backend.legacy_shapes()).map(Age::Legacy));
    ages.map(|age| {
        let site = backend.fresh(age).map_err(|e| e.to_string())?;
        let assignment = assignment(&*site, options, 0, 0, 0);
        let run = run(worker, site.home(), &assignment, &Moment::Never)?;
        ended_well(&run)?;
        Ok(Baseline { records: run.records, problems: run.problems, opened_in: run.opened_in })
    })
    .collect()
}

fn assignment(site: &dyn Site, options: &Options, generation: u64, seed: u64, threads: usize) -> Assignment {
    let opening = site.opening();
    Assignment {
        plugins: opening.plugins,
        module: opening.module,
        settings: opening.settings,
        data_dir: opening.data_dir,
        generation,
        seed,
        threads,
        maintenance: Vec::new(),
        mutant: options.mutant,
    }
}

fn ended_well(run: &Run) -> Result<(), String> {
    match &run.broken {
        Some(what) => Err(format!("a worker could not go on: {what}")),
        None if run.ready => Ok(()),
        None => Err(format!("a worker ended before it had read the store: {}", run.said)),
    }
}

/// One store and what is known of it.
struct Story<'c> {
    backend: &'c dyn Backend,
    worker: PathBuf,
    options: &'c Options,
    baseline: Baseline,
    dice: Rng,
    site: Box<dyn Site>,
    legacy: bool,
    model: Model,
    /// What was under way at the last cut, and in which phase that was.
    pending: (Vec<Operation>, String),
    seen: bool,
    /// Whether a process has begun to mend what stands beside the records.
    mending: bool,
    generation: u64,
}

impl<'c> Story<'c> {
    fn begin(
        backend: &'c dyn Backend,
        worker: &Path,
        options: &'c Options,
        baselines: &[Baseline],
        number: u64,
    ) -> Result<Self, String> {
        let mut dice = Rng::with_seed(options.seed.wrapping_mul(1_000_003).wrapping_add(number));
        // Every third store is one to migrate.
        let shape = if number % 3 == 2 && baselines.len() > 1 { dice.usize(1..baselines.len()) } else { 0 };
        let age = if shape == 0 { Age::New } else { Age::Legacy(shape - 1) };
        let site = backend.fresh(age).map_err(|e| e.to_string())?;
        let baseline = baselines[shape].clone();
        Ok(Self {
            backend,
            worker: worker.to_owned(),
            options,
            model: Model::of(baseline.records.clone()),
            baseline,
            dice,
            site,
            legacy: shape > 0,
            pending: (Vec::new(), String::new()),
            seen: false,
            mending: false,
            generation: 0,
        })
    }

    fn live(&mut self, cuts: u64, figures: &mut Figures) -> Result<(), String> {
        let lived = self.cuts(cuts, figures).and_then(|()| self.end(figures));
        lived.map_err(|error| {
            format!("after {} processes: {error}\nthe store is kept: {}", self.generation, self.site.keep().display())
        })
    }

    fn cuts(&mut self, cuts: u64, figures: &mut Figures) -> Result<(), String> {
        figures.stores += 1;
        let (mut made, mut misses, mut reopened) = (0, 0, false);
        while made < cuts {
            self.generation += 1;
            let mut assignment = assignment(&*self.site, self.options, self.generation, self.dice.u64(..), self.options.threads);
            // Chance may leave it out, and opening what a cut left is what this is for.
            let moment = if self.seen && !reopened && made * 2 >= cuts { self.early() } else { self.moment() };
            let closing = self.seen && matches!(moment, Moment::At(..)) && self.dice.u32(..5) == 0;
            if closing {
                assignment.threads = 0;
            } else if self.seen && self.dice.u32(..6) == 0 {
                assignment.maintenance = self.backend.maintenance().iter().map(|task| (*task).to_owned()).collect();
                self.mending |= assignment.maintenance.iter().any(|task| task == MENDING);
            }
            let run = run(&self.worker, self.site.home(), &assignment, &moment)?;
            if let Some(what) = &run.broken {
                return Err(format!("a worker could not go on: {what}"));
            }
            if closing && !run.killed {
                // The call was not among those of closing; another look has been had, but nothing was cut.
                self.settle(&run, figures)?;
                misses += 1;
                if misses > MOST_MISSES * cuts {
                    return Err(format!("{misses} processes ended before their cut, of {made} that were cut"));
                }
                continue;
            }
            if !run.killed {
                return Err(format!("a worker ended by itself: {}", run.said));
            }
            let phase = if closing && run.ready { "closing".to_owned() } else { self.phase(&run, &moment) };
            self.settle(&run, figures)?;
            reopened |= phase == OPENING;
            self.take(run, &phase, figures)?;
            made += 1;
            self.site.recover().map_err(|e| format!("recovering: {e}"))?;
            if let Some(tampering) = self.options.tampering {
                tampering(&*self.site, &self.model.records());
            }
        }
        Ok(())
    }

    /// A cut while the store is opened.
    fn early(&mut self) -> Moment {
        Moment::AfterStart(self.baseline.opened_in.mul_f64(0.1 + self.dice.f64() * 0.7))
    }

    /// Where the next cut is.
    fn moment(&mut self) -> Moment {
        // A machine that got busier since the first look opens no store in that time: until one was opened, each cut comes later.
        let patience = if self.seen { 1.0 } else { 1.25_f64.powi(i32::try_from(self.generation.min(30)).unwrap_or(30)) };
        let opening = self.baseline.opened_in.mul_f64((0.3 + self.dice.f64() * 0.9) * patience);
        let call = |dice: &mut Rng, calls: &[&str], most: usize| {
            Moment::At(calls[dice.usize(..calls.len())].to_owned(), 1 + dice.usize(..most))
        };
        let calls = self.backend.calls();
        match (self.seen, self.options.system_calls, self.dice.u32(..100)) {
            (false, true, 0..70) => call(&mut self.dice, calls, 25),
            (false, ..) | (true, _, 0..12) => Moment::AfterStart(opening),
            (true, true, 12..40) => call(&mut self.dice, calls, 25),
            // By the machine's own measure, so that a slow one writes something before the cut as well.
            (true, ..) => {
                let longest = Duration::from_millis(60).max(self.baseline.opened_in / 2);
                Moment::AfterReady(longest.mul_f64(self.dice.f64()))
            }
        }
    }

    fn phase(&self, run: &Run, moment: &Moment) -> String {
        if !run.ready {
            return match (self.seen, self.legacy) {
                (true, _) => OPENING,
                (false, true) => "migrating an old store",
                (false, false) => "creating the store",
            }
            .to_owned();
        }
        match (moment, &run.maintaining) {
            (Moment::At(call, _), _) if run.reached => format!("writing, before `{call}`"),
            (_, Some(task)) => format!("writing beside {task}"),
            _ => "writing".to_owned(),
        }
    }

    /// Compares what a process found with what must be there, and so learns what became of what was under way.
    fn settle(&mut self, run: &Run, figures: &mut Figures) -> Result<(), String> {
        if !run.ready {
            return Ok(());
        }
        self.seen = true;
        // What a legacy node left behind is there until it is mended, and then for good.
        let mended = self.mending && run.problems.iter().all(|problem| self.baseline.problems.contains(problem));
        if run.problems != self.baseline.problems && !mended {
            return Err(format!("problems: expected {:?}, found {:?}", self.baseline.problems, run.problems));
        }
        self.baseline.problems.clone_from(&run.problems);
        self.check_ids(&run.records)?;
        let id_of = |key: &str| {
            let client = run.records.values().find(|r| r["api_key"] == key)?;
            client["client_id"].as_i64()
        };
        let (pending, phase) = std::mem::take(&mut self.pending);
        for chosen in 0..1_u32 << pending.len() {
            let mut model = self.model.clone();
            let is_chosen = |at: usize| chosen & (1 << at) != 0;
            let mut of_chosen = pending.iter().enumerate().filter(|(at, _)| is_chosen(*at));
            if of_chosen.all(|(_, o)| model.apply(&o.op, &id_of).is_ok()) && model.records() == run.records {
                self.model = model;
                if !pending.is_empty() {
                    let whole = u64::from(chosen.count_ones());
                    figures.phase(&phase).whole += whole;
                    figures.phase(&phase).absent += pending.len() as u64 - whole;
                }
                return Ok(());
            }
        }
        let under_way: Vec<_> = pending.iter().map(|o| format!("  thread {}: {:?}", o.thread, o.op)).collect();
        let what = difference(&self.model.records(), &run.records);
        Err(format!("cut while {phase}: {what}\nunder way, each whole or absent:\n{}", under_way.join("\n")))
    }

    fn check_ids(&self, found: &Records) -> Result<(), String> {
        let ids = |records: &Records| {
            let mut ids: Vec<i64> = records.values().filter_map(|r| r["client_id"].as_i64()).collect();
            ids.sort_unstable();
            ids
        };
        let (old, now) = (ids(&self.baseline.records), ids(found));
        let first = old.last().map_or(1, |last| last + 1);
        let expected: Vec<i64> = old.iter().copied().chain(first..).take(now.len()).collect();
        if now == expected { Ok(()) } else { Err(format!("ids: expected one after another, found {now:?}")) }
    }

    /// Takes over what was acknowledged, and remembers what was not.
    fn take(&mut self, run: Run, phase: &str, figures: &mut Figures) -> Result<(), String> {
        let count = figures.phase(phase);
        count.cuts += 1;
        if run.ready {
            self.pending = (Vec::new(), phase.to_owned());
        }
        for operation in run.operations {
            match &operation.end {
                Some(End::Done(ids)) => {
                    let assigned: Vec<(&str, i64)> = new_keys(&operation.op).into_iter().zip(ids.iter().copied()).collect();
                    let id_of = |key: &str| assigned.iter().find(|(k, _)| *k == key).map(|(_, id)| *id);
                    let done = self.model.apply(&operation.op, &id_of);
                    done.map_err(|_| format!("acknowledged although it must be refused: {operation:?}"))?;
                    count.acknowledged += 1;
                }
                Some(End::Refused) => count.refused += 1,
                Some(End::Failed(true, _)) => {}
                Some(End::Failed(false, message)) => return Err(format!("failed without a fault: {message}: {operation:?}")),
                None => self.pending.0.push(operation),
            }
        }
        Ok(())
    }

    /// The last look, by a process that nobody cuts, and by the Python node.
    fn end(&mut self, figures: &mut Figures) -> Result<(), String> {
        self.generation += 1;
        let assignment = assignment(&*self.site, self.options, self.generation, 0, 0);
        let run = run(&self.worker, self.site.home(), &assignment, &Moment::Never)?;
        ended_well(&run)?;
        self.settle(&run, figures)?;
        if let Some(kind) = self.backend.python_kind().filter(|_| self.options.python) {
            check_with_python(&*self.site, kind, &run.records)?;
            figures.python += 1;
        }
        Ok(())
    }
}

/// The access keys of an operation's new clients, in their order.
fn new_keys<'o>(op: &'o Op) -> Vec<&'o str> {
    match op {
        Op::Add { key, .. } => vec![key],
        Op::Batch { steps } => {
            let key = |step: &'o Step| match step {
                Step::AddClient { key, .. } => Some(key.as_str()),
                _ => None,
            };
            steps.iter().filter_map(key).collect()
        }
        _ => Vec::new(),
    }
}
