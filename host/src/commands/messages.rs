//! `allow-msg` and `blacklist-msg`.

use std::io::Write;

use hivemind_store::Client;
use hivemind_store::clients::check_message_type;

use super::{Context, Session, Target, pick, show};
use crate::failure::{Exit, Failure};

/// The arguments of `allow-msg`.
#[derive(Debug, clap::Args)]
pub struct AllowArgs {
    /// Types and client.
    #[command(flatten)]
    pub words: Args,
    /// Replace the whole whitelist with these types; also if what is stored as one is no list
    #[arg(long)]
    pub reset: bool,
}

/// The arguments of `blacklist-msg`, and most of `allow-msg`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Message types, and behind them the client's number or access key. Of two or more words the last one is always the client; a
    /// single word is a type, and the client is chosen from a list
    #[arg(required = true, num_args = 1.., value_name = "TYPE")]
    pub words: Vec<String>,
}

impl Args {
    /// The types that are named, for whomever.
    pub(super) fn types(&self) -> Vec<&str> {
        self.split().0
    }

    fn split(&self) -> (Vec<&str>, Target) {
        let mut words: Vec<&str> = self.words.iter().map(String::as_str).collect();
        let id = if words.len() > 1 { words.pop().map(str::to_owned) } else { None };
        let mut types: Vec<&str> = Vec::with_capacity(words.len());
        for word in words {
            if !types.contains(&word) {
                types.push(word);
            }
        }
        (types, Target { id })
    }
}

/// Adds message types to a client's whitelist.
///
/// # Errors
/// See [`super::run`].
pub fn allow(args: &AllowArgs, cx: &Context<'_>, out: &mut dyn Write) -> Result<(), Failure> {
    let (types, target) = args.words.split();
    types.iter().try_for_each(|name| check_message_type(name))?;
    let session = cx.session()?;
    let client = find(&types, &target, &session, cx)?;
    if args.reset {
        pollster::block_on(session.clients.set_types(&client, &types))?;
        writeln!(out, "Allowed only {} for {}", show::text(&quoted(&types)), show::text(client.label()))?;
        return Ok(());
    }
    readable(&client)?;
    let (new, old): (Vec<&str>, Vec<&str>) = types.into_iter().partition(|t| !client.allows(t));
    if !new.is_empty() {
        pollster::block_on(session.clients.allow_types(&client, &new))?;
    }
    let name = show::text(client.label());
    for allowed in new {
        writeln!(out, "Allowed '{}' for {name}", show::text(allowed))?;
    }
    for known in old {
        writeln!(out, "Client {name} already allowed '{}'", show::text(known))?;
    }
    Ok(())
}

/// Takes message types out of a client's whitelist.
///
/// # Errors
/// See [`super::run`].
pub fn deny(args: &Args, cx: &Context<'_>, out: &mut dyn Write) -> Result<(), Failure> {
    let (types, target) = args.split();
    let session = cx.session()?;
    let client = find(&types, &target, &session, cx)?;
    readable(&client)?;
    let (listed, absent): (Vec<&str>, Vec<&str>) = types.into_iter().partition(|t| client.allows(t));
    if !listed.is_empty() {
        pollster::block_on(session.clients.deny_types(&client, &listed))?;
    }
    let name = show::text(client.label());
    for denied in listed {
        writeln!(out, "Blacklisted '{}' for {name}", show::text(denied))?;
    }
    for denied in absent {
        writeln!(out, "Client '{name}' message already blacklisted: '{}'", show::text(denied))?;
    }
    Ok(())
}

fn quoted(types: &[&str]) -> String {
    types.iter().map(|name| format!("'{name}'")).collect::<Vec<_>>().join(", ")
}

/// Nothing can be added to, or taken out of, what is no list.
fn readable(client: &Client) -> Result<(), Failure> {
    if !client.unreadable_whitelist {
        return Ok(());
    }
    let name = show::text(client.label());
    let message = format!("allowed_types of client {} ({name}) is not a list of texts; it denies everything", client.id);
    Err(Failure::new(Exit::Data, "corrupt", message)
        .help(format!("write a fresh one with `allow-msg --reset TYPE... {}`; nothing was changed", client.id)))
}

fn find(types: &[&str], target: &Target, session: &Session, cx: &Context<'_>) -> Result<std::sync::Arc<Client>, Failure> {
    if let (None, [only]) = (&target.id, types)
        && pick::is_client(only, &session.clients, cx)?
    {
        let word = show::text(only);
        return Err(Failure::usage(format!("{word:?} names a client, and no message type was given; nothing was changed"))
            .help(format!("put the types before the client; if {word:?} is meant as a type, name the client behind it")));
    }
    pick::client(target, &session.clients, cx).map_err(|mut failure| {
        if target.id.is_some() && failure.code == "unknown-client" {
            failure.message.push_str("; the last word names the client, and nothing was changed");
        }
        failure
    })
}
