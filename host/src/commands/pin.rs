//! `reset-noise-pin`.

use std::io::Write;

use hivemind_store::clients::MetadataChange;

use super::{Context, Target, pick, show};
use crate::failure::Failure;

/// The metadata member that holds the pinned key.
const PIN: &str = "noise_pubkey";

/// Forgets a client's pinned key. Its other Noise data stays, as in the Python node.
///
/// # Errors
/// See [`super::run`].
pub fn run(target: &Target, cx: &Context<'_>, out: &mut dyn Write) -> Result<(), Failure> {
    let session = cx.session()?;
    let client = pick::client(target, &session.clients, cx)?;
    let name = show::text(client.label());
    if matches!(client.metadata.member(PIN), None | Some("null" | "\"\"")) {
        writeln!(out, "{name} has no pinned Noise key — nothing to reset")?;
        return Ok(());
    }
    let forget = MetadataChange { set: Vec::new(), unset: vec![PIN.to_owned()] };
    pollster::block_on(session.clients.set_metadata(&client, &forget))?;
    writeln!(out, "Forgot the pinned Noise key for {name}. Its next connection will pin the key it presents.")?;
    Ok(())
}
