//! The program `hivemind-host`.

fn main() -> std::process::ExitCode {
    hivemind_host::cli::main()
}
