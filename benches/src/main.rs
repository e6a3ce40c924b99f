//! Comparisons side by side: this project, the engine called by hand, and the Python node's plugin, doing the same work.
//!
//! The decision behind the method: **only ratios of one run count.** Every contestant does a small batch in turn, round after round,
//! so that whatever else the machine does meets all of them; a ratio is taken within each round, and the median of the rounds is
//! printed with its quartiles. Contestants on SQLite have copies of one file, because two SQLite images on one file in one process
//! would drop each other's locks. `docs/performance.md` has the figures and what they mean.

mod by_hand;
mod clients;
mod contest;
mod machine;
mod nodes;
mod ours;
mod peer;
mod sections;
mod stores;
mod table;

use std::process::ExitCode;

use clap::{Parser, ValueEnum};

type Failure = Box<dyn std::error::Error>;

/// Prints how fast this project is beside the engines called by hand and beside the Python node's plugins, and whether each bar is met.
#[derive(Parser)]
#[command(name = "cargo xtask bench")]
struct Options {
    /// How many clients the stores hold; more than one number, separated by commas, for several sizes.
    #[arg(long, value_delimiter = ',', default_values_t = [10_000, 1_000_000])]
    clients: Vec<u64>,
    /// How many rounds each contest has.
    #[arg(long, default_value_t = 15)]
    rounds: usize,
    /// What to measure, separated by commas. Default: everything.
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Section>,
    /// One measurement for a bench that started this process for it.
    #[arg(long, hide = true, num_args = 1.., allow_hyphen_values = true)]
    child: Vec<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Section {
    /// Looking clients up in memory: through the loaded library, and with the engine linked in.
    Memory,
    /// Looking clients up in SQLite.
    Sqlite,
    /// Looking clients up in JSON.
    Json,
    /// Durable writes to SQLite, from one thread and from eight.
    Writes,
    /// Commits to a JSON file.
    Commits,
    /// Redis: lookups, adds, and many threads at once.
    Redis,
    /// Finding, checking and loading each plugin.
    Loading,
    /// Moving all clients from JSON to SQLite.
    Moving,
    /// Memory that a client takes, for each backend.
    Footprint,
    /// Whole nodes: connections, messages, denials, memory, latency.
    Node,
}

fn main() -> ExitCode {
    let options = Options::parse();
    let done = if options.child.is_empty() { run(&options) } else { sections::child(&options.child) };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<(), Failure> {
    println!("{}; {} rounds\n", machine::description(), options.rounds);
    let wanted = |section| options.only.is_empty() || options.only.contains(&section);
    let mut bars = table::Bars::default();
    let (sizes, rounds) = (options.clients.as_slice(), options.rounds);
    if wanted(Section::Memory) {
        sections::lookups::memory(sizes, rounds, &mut bars)?;
    }
    if wanted(Section::Sqlite) {
        sections::lookups::sqlite(sizes, rounds, &mut bars)?;
    }
    if wanted(Section::Json) {
        sections::lookups::json(sizes, rounds, &mut bars)?;
    }
    let fewest = sizes.iter().copied().min().unwrap_or(10_000);
    if wanted(Section::Writes) {
        sections::writes::run(fewest, rounds, &mut bars)?;
    }
    if wanted(Section::Commits) {
        sections::commits::run(fewest, rounds, &mut bars)?;
    }
    if wanted(Section::Redis) {
        sections::redis::run(fewest, rounds, &mut bars)?;
    }
    if wanted(Section::Loading) {
        sections::loading::run(rounds, &mut bars)?;
    }
    if wanted(Section::Moving) {
        sections::moving::run(fewest, rounds, &mut bars)?;
    }
    if wanted(Section::Footprint) {
        sections::footprint::run(sizes)?;
    }
    if wanted(Section::Node) {
        sections::node::run(rounds, &mut bars)?;
    }
    bars.print();
    Ok(())
}
