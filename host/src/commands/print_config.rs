//! `print-config`.

use std::io::Write;

use serde_json::Value;

use super::Context;
use crate::config::{pretty, redact};
use crate::failure::Failure;

/// The arguments of `print-config`.
#[derive(Debug, Default, clap::Args)]
pub struct Args {
    /// Print secrets instead of masking them
    #[arg(long)]
    pub show_secrets: bool,
    /// Print JSON, which it always is; accepted for symmetry with the other commands
    #[arg(long)]
    pub json: bool,
}

/// Prints what is in force: server.json, what is assumed where it says nothing, and what the command line overrides.
///
/// # Errors
/// See [`super::run`].
pub fn run(args: &Args, cx: &Context<'_>, out: &mut dyn Write) -> Result<(), Failure> {
    let config = cx.config()?;
    let database = config.database(&cx.global.overrides())?;
    let mut effective = config.effective();
    if cx.global.db_backend.is_some()
        && let Some(Value::Object(block)) = effective.get_mut("database")
    {
        block.insert("module".to_owned(), database.module.into());
    }
    let shown = if args.show_secrets { effective } else { redact::redact(&effective) };
    writeln!(out, "{}", pretty(&shown, b"  "))?;
    Ok(())
}
