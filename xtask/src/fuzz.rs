//! `cargo xtask fuzz`: runs the fuzz targets one after another, as `fuzz/README.md` describes.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Command;

use crate::{Outcome, execute, root};

/// The targets with the dictionary of each and the longest input, in bytes.
const TARGETS: [(&str, &str, u32); 12] = [
    ("row", "messagepack", 4096),
    ("record", "json", 4096),
    ("wire", "messagepack", 4096),
    ("engine", "messagepack", 4096),
    ("server_json", "json", 4096),
    ("manifest", "json", 4096),
    ("object", "object", 16384),
    ("clients_json", "json", 4096),
    ("text", "json", 4096),
    ("envelope", "hivemind", 4096),
    ("handshake", "hivemind", 4096),
    ("frame", "hivemind", 4096),
];

/// One that needs more than this is a finding: seconds for one input, megabytes in one allocation and in all.
const LIMITS: [&str; 3] = ["-timeout=5", "-malloc_limit_mb=256", "-rss_limit_mb=1024"];

const HELP: &str = "\
cargo xtask fuzz [TARGET…] [--minutes N]    runs the targets (all of them) for N minutes each (20)
cargo xtask fuzz [TARGET…] --minimise       leaves of each corpus what is needed to reach all that it reaches
";

pub(crate) fn run(arguments: &[OsString]) -> Outcome {
    let (mut chosen, mut minutes, mut minimise) = (Vec::new(), 20, false);
    let mut rest = arguments.iter().map(|a| a.to_string_lossy());
    while let Some(argument) = rest.next() {
        match argument.as_ref() {
            "--help" => {
                print!("{HELP}");
                return Ok(());
            }
            "--minimise" => minimise = true,
            "--minutes" => {
                let number = rest.next().and_then(|n| n.parse::<u64>().ok());
                minutes = number.ok_or_else(|| format!("--minutes: expected a number\n\n{HELP}"))?;
            }
            name => match TARGETS.iter().find(|(known, ..)| *known == name) {
                Some(target) => chosen.push(*target),
                None => return Err(format!("{name} is no target; there are {}\n\n{HELP}", TARGETS.map(|(n, ..)| n).join(", "))),
            },
        }
    }
    let targets = if chosen.is_empty() { TARGETS.to_vec() } else { chosen };
    installed()?;
    for (name, dictionary, length) in targets {
        let folders = ["corpus", "seeds", "regressions"].map(|kind| root().join("fuzz").join(kind).join(name));
        for folder in &folders {
            std::fs::create_dir_all(folder).map_err(|e| format!("{}: {e}", folder.display()))?;
        }
        println!("{name}");
        if minimise { minimised(name, &folders[0])? } else { fuzz(name, dictionary, length, minutes, &folders)? }
    }
    Ok(())
}

/// The nightly toolchain's `cargo fuzz`, whatever this program was built with.
fn cargo_fuzz() -> Command {
    let mut command = Command::new("rustup");
    command.args(["run", "nightly", "cargo", "fuzz"]);
    command
}

fn installed() -> Outcome {
    let found = cargo_fuzz().arg("--version").output().is_ok_and(|o| o.status.success());
    if found { Ok(()) } else { Err("fuzzing needs: rustup toolchain install nightly; cargo install cargo-fuzz".to_owned()) }
}

fn fuzz(name: &str, dictionary: &str, length: u32, minutes: u64, folders: &[PathBuf]) -> Outcome {
    let dictionary = root().join("fuzz/dictionaries").join(format!("{dictionary}.dict"));
    let mut command = cargo_fuzz();
    command.args(["run", "--fuzz-dir", "fuzz", name]).args(folders).arg("--");
    command.args(LIMITS).arg(format!("-max_len={length}")).arg(format!("-dict={}", dictionary.display()));
    execute(command.arg(format!("-max_total_time={}", minutes * 60)).arg("-print_final_stats=1"))
}

fn minimised(name: &str, corpus: &PathBuf) -> Outcome {
    execute(cargo_fuzz().args(["cmin", "--fuzz-dir", "fuzz", name]).arg(corpus))
}
