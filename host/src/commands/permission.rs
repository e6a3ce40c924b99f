//! `allow-` and `blacklist-` `broadcast`, `escalate` and `propagate`.

use std::io::Write;

use hivemind_store::clients::Permission;

use super::{Context, Target, pick, show};
use crate::failure::Failure;

/// Lets a client send a kind of message, or forbids it.
///
/// # Errors
/// See [`super::run`].
pub fn run(target: &Target, permission: Permission, allow: bool, cx: &Context<'_>, out: &mut dyn Write) -> Result<(), Failure> {
    let session = cx.session()?;
    let client = pick::client(target, &session.clients, cx)?;
    let name = show::text(client.label());
    let (kind, allowed) = match permission {
        Permission::Broadcast => ("BROADCAST", client.can_broadcast),
        Permission::Escalate => ("ESCALATE", client.can_escalate),
        Permission::Propagate => ("PROPAGATE", client.can_propagate),
    };
    if allowed == allow {
        if allow {
            writeln!(out, "Client {name} already allowed to send '{kind}' messages")?;
        } else {
            writeln!(out, "Client '{name}' '{kind}' messages already blacklisted")?;
        }
        return Ok(());
    }
    let client = pollster::block_on(session.clients.set_permission(&client, permission, allow))?;
    writeln!(out, "{} '{kind}' messages for {name}", if allow { "Allowed" } else { "Blacklisted" })?;
    if allow && permission == Permission::Broadcast && !client.is_admin {
        writeln!(out, "NOTE: {name} is not an admin, so it still can not broadcast")?;
    }
    Ok(())
}
