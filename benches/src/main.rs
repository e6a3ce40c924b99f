//! Comparisons side by side: the same look-ups by the engine called by hand, by the typed store through a loaded library, and by the
//! Python node's plugin.
//!
//! The decision behind the method: **only ratios of one run count.** Every contestant does a small batch in turn, round after round,
//! so that whatever else the machine does meets all of them; the median of the rounds is taken. Contestants on SQLite have copies of
//! one file, because two SQLite images on one file in one process would drop each other's locks.

mod by_hand;
mod contest;
mod ours;
mod peer;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use contest::{Contest, Contestant};

const HELP: &str = "\
cargo xtask bench [--clients N] [--rounds N]

Looks random clients up by access key, decoded into a typed client. Prints a table for each backend:
microseconds a look-up (median of the rounds) and the ratio to the first line.
";

struct Options {
    clients: usize,
    rounds: usize,
}

fn main() -> ExitCode {
    let mut options = Options { clients: 10_000, rounds: 15 };
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut number = || arguments.next().and_then(|n| n.parse().ok());
        let parsed = match argument.as_str() {
            "--clients" => number().map(|n| options.clients = n),
            "--rounds" => number().map(|n| options.rounds = n),
            _ => None,
        };
        if parsed.is_none() {
            print!("{HELP}");
            return ExitCode::from(u8::from(argument != "--help") * 2);
        }
    }
    match run(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error}");
            ExitCode::FAILURE
        }
    }
}

type Failure = Box<dyn std::error::Error>;

fn run(options: &Options) -> Result<(), Failure> {
    println!("{} clients, {} rounds; {}", options.clients, options.rounds, machine());
    // On the disk that the build is on: a temp folder may be memory.
    let target = exe_folder()?;
    let home = tempfile::Builder::new().prefix("bench-").tempdir_in(&target)?;
    let keys: Vec<String> =
        (0..options.clients).map(|n| format!("{:032x}", (n as u128 + 1) * 0x9e37_79b9_7f4a_7c15_f39c)).collect();
    let mut contest = Contest::new(keys, options.rounds);

    let sqlite = home.path().join("sqlite");
    let backend = ours::filled("sqlite", &sqlite, contest.keys())?;
    let (copy, pythons) = (home.path().join("copy"), home.path().join("python"));
    copy_data(&sqlite, &copy)?;
    copy_data(&sqlite, &pythons)?;
    let contestants: Vec<Box<dyn Contestant>> = vec![
        Box::new(by_hand::Sqlite::open(&copy)?),
        Box::new(ours::Loaded::new("sqlite", &backend, false)?),
        Box::new(ours::Loaded::new("sqlite", &backend, true)?),
        Box::new(peer::Python::start("sqlite", &pythons)?),
    ];
    contest.run("SQLite, get by access key", contestants)?;

    let json = home.path().join("json");
    let backend = ours::filled("json", &json, contest.keys())?;
    let contestants: Vec<Box<dyn Contestant>> = vec![
        Box::new(ours::Loaded::new("json", &backend, false)?),
        Box::new(ours::Loaded::new("json", &backend, true)?),
        Box::new(peer::Python::start("json", &json)?),
    ];
    contest.run("JSON, get by access key", contestants)?;

    let backend = ours::filled("memory", &home.path().join("memory"), contest.keys())?;
    let contestants: Vec<Box<dyn Contestant>> = vec![
        Box::new(ours::Linked::filled(contest.keys(), false)?),
        Box::new(ours::Loaded::new("memory", &backend, false)?),
        Box::new(ours::Loaded::new("memory", &backend, true)?),
    ];
    contest.run("Memory, get by access key", contestants)?;
    Ok(())
}

fn exe_folder() -> Result<PathBuf, Failure> {
    let exe = std::env::current_exe()?;
    Ok(exe.parent().ok_or("the program has no folder")?.to_owned())
}

fn copy_data(from: &Path, to: &Path) -> Result<(), Failure> {
    let (from, to) = (from.join("hivemind-core"), to.join("hivemind-core"));
    std::fs::create_dir_all(&to)?;
    for entry in std::fs::read_dir(from)? {
        let path = entry?.path();
        std::fs::copy(&path, to.join(path.file_name().unwrap_or_default()))?;
    }
    Ok(())
}

fn machine() -> String {
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model =
        info.lines().find_map(|l| l.strip_prefix("model name")).map_or("unknown CPU", |m| m.trim_start_matches([' ', '\t', ':']));
    format!("{cpus} cores, {model}")
}
