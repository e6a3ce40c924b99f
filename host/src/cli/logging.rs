//! Logs go to stderr, because output is for the next program in the pipe.

use tracing_subscriber::EnvFilter;

/// Starts logging: warnings, `-v` information, `-vv` everything; `$RUST_LOG` goes before that.
pub(super) fn start(verbose: u8) {
    let level = match verbose {
        0 => "warn",
        1 => "info",
        _ => "debug",
    };
    let filter = match std::env::var("RUST_LOG") {
        Ok(directives) if !directives.is_empty() => EnvFilter::new(directives),
        _ => EnvFilter::new(level),
    };
    // It fails only if logging was started already, and then it is.
    let _ = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(false).try_init();
}
