//! `delete-client`: revokes, because ids are never used twice.

use std::io::Write;

use super::{Context, Target, confirm, pick, show};
use crate::failure::Failure;

/// The arguments of `delete-client`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The client.
    #[command(flatten)]
    pub target: Target,
    /// Do not ask for confirmation
    #[arg(long)]
    pub yes: bool,
}

/// Revokes a client after asking.
///
/// # Errors
/// See [`super::run`].
pub fn run(args: &Args, cx: &Context<'_>, out: &mut dyn Write) -> Result<(), Failure> {
    let session = cx.session()?;
    let client = pick::client_to_revoke(&args.target, &session.clients, cx)?;
    let name = show::text(client.label());
    if !args.yes {
        let question = format!("Delete client '{name}' (id {})? This permanently revokes its credentials. [y/N]: ", client.id);
        confirm(&question, "add --yes to revoke without being asked", cx)?;
    }
    pollster::block_on(session.clients.revoke(&client))?;
    writeln!(out, "Revoked credentials!\n")?;
    writeln!(out, "Node ID: {}\nFriendly Name: {name}\nAccess Key: {}", client.id, show::text(&client.api_key))?;
    Ok(())
}
