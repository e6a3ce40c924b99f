//! Logs go to stderr, because output is for the next program in the pipe.

use tracing_subscriber::EnvFilter;

use super::Command;
use crate::commands::listen::LogFormat;

/// Starts logging: warnings, `-v` information, `-vv` everything; `$RUST_LOG` goes before that. A node, which nobody waits for, tells one
/// step more.
pub(super) fn start(verbose: u8, command: &Command) {
    let (told, format) = match command {
        Command::Listen(args) => (verbose.saturating_add(1), args.log_format),
        _ => (verbose, LogFormat::Text),
    };
    let level = match told {
        0 => "warn",
        1 => "info",
        _ => "debug",
    };
    let filter = match std::env::var("RUST_LOG") {
        Ok(directives) if !directives.is_empty() => EnvFilter::new(directives),
        _ => EnvFilter::new(level),
    };
    let logs = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(false);
    // It fails only if logging was started already, and then it is.
    let _ = match format {
        LogFormat::Text => logs.try_init(),
        LogFormat::Json => logs.json().flatten_event(true).try_init(),
    };
}
