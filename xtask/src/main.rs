//! `cargo xtask run` and `cargo xtask test`: everything a fresh machine with Rust needs, in one command each.
//!
//! It depends on nothing but `std`, so that it is built in a second before anything else is.

mod build;
mod fuzz;
#[cfg(unix)]
mod newcomer;
mod peers;
mod tools;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

const HELP: &str = "\
cargo xtask COMMAND

  run [ARGS…]    builds the host and its plugins, puts the plugins beside it, and runs `hivemind-host ARGS`
                 (without ARGS: `listen --agent auto`, a node on the default store, and what to type next)
  stage          the same without running anything
  test [ARGS…]   sets up the Python peers, tries `run`, and runs every test; ARGS go to `cargo test`
  kills [ARGS…]  kills processes that write, over and over, and prints what was found (`--cuts N --seed N`)
  bench [ARGS…]  builds everything optimised and prints the comparisons (`--help` lists them)
  fuzz [ARGS…]   runs the fuzz targets, 20 minutes each (`--help` lists them); needs a nightly compiler and cargo-fuzz
  ci             formatting, lints and tests, as CI runs them
";

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    let command = arguments.next().unwrap_or_default();
    let rest: Vec<OsString> = arguments.collect();
    let result = match command.to_str() {
        Some("run") => run(&rest),
        Some("stage") => build::stage("dev").map(|program| println!("staged: {}", program.display())),
        Some("test") => test(&rest),
        Some("kills") => kills(&rest),
        Some("bench") => bench(&rest),
        Some("fuzz") => fuzz::run(&rest),
        Some("ci") => ci(),
        Some("help" | "--help" | "-h") => {
            print!("{HELP}");
            Ok(())
        }
        _ => Err(format!("no such command\n\n{HELP}")),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error}");
            ExitCode::FAILURE
        }
    }
}

type Outcome<T = ()> = Result<T, String>;

/// The repository's root.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new(".")).to_owned()
}

/// Runs a command in the repository and fails with its words if it does.
fn execute(command: &mut Command) -> Outcome {
    let status = command.current_dir(root()).status().map_err(|e| format!("{command:?} does not start: {e}"))?;
    if status.success() { Ok(()) } else { Err(format!("{command:?} failed ({status})")) }
}

fn cargo() -> Command {
    Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

fn run(arguments: &[OsString]) -> Outcome {
    let program = build::stage("dev")?;
    let mut command = Command::new(&program);
    if arguments.is_empty() {
        // A newcomer has no assistant yet, and shall see an answer all the same.
        println!(
            "\nThe program is {}, its plugins lie beside it in plugins/. It runs now; Ctrl-C stops it.\n",
            program.display()
        );
        command.args(["listen", "--agent", "auto"]);
    }
    become_program(command.args(arguments).current_dir(root()))
}

/// The program in the place of this one, so that a signal to one is a signal to the other.
#[cfg(unix)]
fn become_program(command: &mut Command) -> Outcome {
    let error = std::os::unix::process::CommandExt::exec(command);
    Err(format!("{command:?} does not start: {error}"))
}

#[cfg(not(unix))]
fn become_program(command: &mut Command) -> Outcome {
    execute(command)
}

fn test(arguments: &[OsString]) -> Outcome {
    execute(tests()?.args(arguments))
}

/// Every test, with everything it needs.
fn tests() -> Outcome<Command> {
    peers::python()?;
    tools::for_faults()?;
    tools::redis()?;
    build::stage("dev")?;
    #[cfg(unix)]
    newcomer::runs()?;
    let mut command = cargo();
    command.args(["test", "--workspace", "--locked"]);
    Ok(command)
}

fn kills(arguments: &[OsString]) -> Outcome {
    peers::python()?;
    tools::for_faults()?;
    tools::redis()?;
    // The worker lies beside it.
    execute(cargo().args(["build", "--quiet", "--locked", "--package", "hivemind-tests", "--bins"]))?;
    execute(cargo().args(["run", "--quiet", "--locked", "--package", "hivemind-tests", "--bin", "kills", "--"]).args(arguments))
}

fn bench(arguments: &[OsString]) -> Outcome {
    if std::env::var_os("HIVEMIND_PYTHON_PEERS").is_none() {
        peers::python()?;
    }
    tools::redis()?;
    build::stage("release")?;
    execute(cargo().args(["run", "--quiet", "--release", "--locked", "--package", "hivemind-benches", "--"]).args(arguments))
}

fn ci() -> Outcome {
    tools::ensure()?;
    execute(cargo().args(["fmt", "--all", "--check"]))?;
    execute(cargo().args(["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"]))?;
    let mut tests = tests()?;
    // A test that could not do its work has not passed.
    if cfg!(target_os = "linux") {
        tests.env("HIVEMIND_REQUIRE_MOUNT", "1");
    }
    execute(&mut tests)
}
