//! `rename-client`.

use std::io::Write;

use super::{Context, Target, pick, show};
use crate::failure::Failure;

/// The arguments of `rename-client`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The client.
    #[command(flatten)]
    pub target: Target,
    /// The client's new name
    #[arg(long, value_name = "NAME", allow_hyphen_values = true)]
    pub name: String,
}

/// Gives a client another name.
///
/// # Errors
/// See [`super::run`].
pub fn run(args: &Args, cx: &Context<'_>, out: &mut dyn Write) -> Result<(), Failure> {
    let session = cx.session()?;
    let client = pick::client(&args.target, &session.clients, cx)?;
    let renamed = pollster::block_on(session.clients.rename(&client, &args.name))?;
    writeln!(out, "Renamed '{}' to '{}'", show::text(client.label()), show::text(renamed.label()))?;
    Ok(())
}
