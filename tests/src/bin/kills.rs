//! Kills processes for as long as wanted and prints what was found: `cargo xtask kills`.

use std::path::Path;

use hivemind_tests::faults::campaign::{Options, campaign};
use hivemind_tests::faults::site::{Backend, Files};
use hivemind_tests::redis::site::DurableServer;

const USAGE: &str = "usage: kills [--cuts N (each backend; 1000)] [--cuts-per-store N (15)] [--seed N (drawn)] [--jobs N (3)] [--backend sqlite|sqlite-encrypted|json|json-encrypted|redis|ledger]";

fn main() {
    let mut options = Options::new(1000, fastrand::u64(..1_000_000_000));
    let all: [&dyn Backend; 6] =
        [&Files::Sqlite, &Files::Json, &DurableServer, &Files::SqliteEncrypted, &Files::JsonEncrypted, &Files::Ledger];
    // The others are there to be asked for.
    let mut backends = all[..3].to_vec();
    let mut arguments = std::env::args().skip(1);
    while let Some(name) = arguments.next() {
        let value = arguments.next().unwrap_or_default();
        let number = || value.parse::<u64>().unwrap_or_else(|e| fail(&format!("{name} {value}: {e}\n{USAGE}")));
        match name.as_str() {
            "--cuts" => options.cuts = number(),
            "--cuts-per-store" => options.cuts_per_store = number().max(1),
            "--seed" => options.seed = number(),
            "--jobs" => options.jobs = usize::try_from(number()).unwrap_or(1).max(1),
            "--backend" => {
                backends = all.into_iter().filter(|b| b.name() == value).collect();
                if backends.is_empty() {
                    fail(&format!("no backend {value}\n{USAGE}"));
                }
            }
            _ => fail(USAGE),
        }
    }
    let own = std::env::current_exe().unwrap_or_default();
    let worker = own.parent().unwrap_or(Path::new(".")).join("fault-worker");
    for backend in backends {
        println!("## {}, seed {}\n", backend.name(), options.seed);
        match campaign(backend, &worker, &options) {
            Ok(figures) => println!("{figures}\n"),
            Err(error) => fail(&error),
        }
    }
}

fn fail(why: &str) -> ! {
    eprintln!("kills: {why}");
    std::process::exit(1);
}
