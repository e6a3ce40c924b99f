//! A process to be killed: see `hivemind_tests::faults::worker`.
//!
//! usage: fault-worker ASSIGNMENT-JSON

fn main() {
    let argument = std::env::args().nth(1).unwrap_or_default();
    if let Err(error) = hivemind_tests::faults::worker::run(&argument) {
        eprintln!("fault-worker: {error}");
        std::process::exit(1);
    }
}
