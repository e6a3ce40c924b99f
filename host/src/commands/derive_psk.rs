//! `derive-psk`: what a device that cannot stretch a password is given instead of it.

use std::fmt;
use std::io::Write;

use hivemind_protocol::Psk;

use super::Context;
use crate::config::redact::MASK;
use crate::failure::Failure;

/// The arguments of `derive-psk`.
#[derive(clap::Args)]
#[command(after_help = "What is printed is as good as the password, for this node alone: the node's id is part of it.")]
pub struct Args {
    /// The client's password; other users can see it in the process list, so better use $HIVEMIND_PASSWORD or --password-stdin
    #[arg(long, value_name = "PASSWORD", env = "HIVEMIND_PASSWORD", hide_env_values = true, allow_hyphen_values = true)]
    pub password: Option<String>,
    /// Read the password from the first line of the standard input
    #[arg(long)]
    pub password_stdin: bool,
    /// The node's id, if it is not this operator's own node
    #[arg(long, value_name = "ID", allow_hyphen_values = true)]
    pub node_id: Option<String>,
}

impl fmt::Debug for Args {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Args")
            .field("password", &self.password.as_ref().map(|_| MASK))
            .field("password_stdin", &self.password_stdin)
            .field("node_id", &self.node_id)
            .finish()
    }
}

/// Derives and prints the key.
///
/// # Errors
/// See [`super::run`].
pub fn run(args: &Args, cx: &Context<'_>, out: &mut dyn Write) -> Result<(), Failure> {
    let password = if args.password_stdin { cx.console.ask("")? } else { args.password.clone() };
    let password = password.filter(|p| !p.is_empty()).ok_or_else(|| {
        Failure::usage("there is no password").help("give it in $HIVEMIND_PASSWORD, with --password-stdin or with --password")
    })?;
    let node_id = match &args.node_id {
        Some(id) if id.is_empty() => return Err(Failure::usage("--node-id is empty")),
        Some(id) => id.clone(),
        None => own_id(cx)?,
    };
    writeln!(out, "{}", Psk::derive(&password, &node_id).to_hex().as_str())?;
    Ok(())
}

/// The id that this operator's node tells satellites.
fn own_id(cx: &Context<'_>) -> Result<String, Failure> {
    let file = cx.places.config.join("hivemind").join("_identity.json");
    let none = |what: String| {
        Failure::config(format!("the node's id is not known: {what}"))
            .help("start the node once, which makes its identity, or give --node-id")
    };
    let text = crate::files::read_text(&file).map_err(|e| none(format!("{}: {e}", file.display())))?;
    let stored: serde_json::Value = serde_json::from_str(&text).map_err(|e| none(format!("{}: {e}", file.display())))?;
    let id = stored.get("public_key").and_then(serde_json::Value::as_str).filter(|id| !id.is_empty());
    id.map(str::to_owned).ok_or_else(|| none(format!("{}: public_key is not set", file.display())))
}
