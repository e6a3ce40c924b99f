//! `db`: what an operator does to a store rather than with it.

mod rekey;
mod repair;
mod verify;

use std::io::Write;

use hivemind_model::{Report, Task};

use super::{Context, backup, status};
use crate::failure::Failure;

/// The commands about the store itself.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Read everything and name what is wrong, in the store or in a backup
    Verify(verify::Args),
    /// Mend what can be mended without losing a record, after a backup
    Repair(repair::Args),
    /// Give unused space back
    Vacuum,
    /// Move what is in a log into the main file
    Checkpoint,
    /// Tell sizes, versions and counters
    Stats(StatsArgs),
    /// Encrypt the store with another password, or no longer, while nothing else has it open
    Rekey(rekey::Args),
}

/// The arguments of `db stats`.
#[derive(Debug, Default, clap::Args)]
pub struct StatsArgs {
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Runs a command about the store.
///
/// # Errors
/// See [`super::run`].
pub fn run(command: &Command, cx: &Context<'_>, out: &mut dyn Write) -> Result<(), Failure> {
    match command {
        Command::Verify(args) => verify::run(args, cx, out),
        Command::Repair(args) => repair::run(args, cx, out),
        Command::Vacuum => task(&Task::Vacuum, cx, out),
        Command::Checkpoint => task(&Task::Checkpoint, cx, out),
        Command::Stats(args) => stats(args, cx, out),
        Command::Rekey(args) => rekey::run(args, cx, out),
    }
}

fn task(task: &Task, cx: &Context<'_>, out: &mut dyn Write) -> Result<(), Failure> {
    let report = cx.session()?.maintain(task)?;
    backup::tell(&report, cx);
    print(&report, false, out)
}

fn stats(args: &StatsArgs, cx: &Context<'_>, out: &mut dyn Write) -> Result<(), Failure> {
    let session = cx.session()?;
    let report = pollster::block_on(session.opened.storage.run_reads(|backend, cx| backend.stats(cx)))?;
    backup::tell(&report, cx);
    print(&report, args.json, out)
}

/// Prints facts.
fn print(report: &Report, json: bool, out: &mut dyn Write) -> Result<(), Failure> {
    let facts: Vec<_> = report.entries.iter().map(|(name, value)| status::entry(name, value)).collect();
    status::print(facts, json, out)
}
