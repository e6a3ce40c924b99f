//! `delete-client`: revokes, because ids are never used twice.

use std::io::Write;

use super::{Context, Target, pick, show};
use crate::failure::{Exit, Failure};

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
        confirm(&format!("Delete client '{name}' (id {})? This permanently revokes its credentials. [y/N]: ", client.id), cx)?;
    }
    pollster::block_on(session.clients.revoke(&client))?;
    writeln!(out, "Revoked credentials!\n")?;
    writeln!(out, "Node ID: {}\nFriendly Name: {name}\nAccess Key: {}", client.id, show::text(&client.api_key))?;
    Ok(())
}

fn confirm(question: &str, cx: &Context<'_>) -> Result<(), Failure> {
    loop {
        let Some(answer) = cx.console.ask(question)? else {
            return Err(Failure::usage("no answer came; nothing was changed").help("add --yes to revoke without being asked"));
        };
        match answer.trim().to_lowercase().as_str() {
            "y" | "yes" => return Ok(()),
            "" | "n" | "no" => return Err(Failure::new(Exit::Aborted, "aborted", "nothing was changed")),
            _ => cx.console.note("Please answer y or n."),
        }
    }
}
