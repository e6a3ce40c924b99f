//! `make-admin` and `revoke-admin`.

use std::io::Write;

use super::{Context, Target, pick, show};
use crate::failure::Failure;

/// Makes a client an administrator, or an ordinary one.
///
/// # Errors
/// See [`super::run`].
pub fn run(target: &Target, admin: bool, cx: &Context<'_>, out: &mut dyn Write) -> Result<(), Failure> {
    let session = cx.session()?;
    let client = pick::client(target, &session.clients, cx)?;
    let name = show::text(client.label());
    if client.is_admin == admin {
        let state = if admin { "is already an administrator!" } else { "is not an administrator" };
        writeln!(out, "{name} {state}")?;
        return Ok(());
    }
    pollster::block_on(session.clients.set_admin(&client, admin))?;
    let done = if admin { "Gave administrator powers to" } else { "Revoked administrator powers for" };
    writeln!(out, "{done} {name}")?;
    Ok(())
}
