//! `allow-msg` and `blacklist-msg`.

use std::io::Write;

use hivemind_store::clients::check_message_type;

use super::{Context, Session, Target, pick, show};
use crate::failure::Failure;

/// The arguments of `allow-msg` and `blacklist-msg`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Message types, and behind them the client's number or access key. Of two or more words the last one is always the client; a
    /// single word is a type, and the client is chosen from a list
    #[arg(required = true, num_args = 1.., value_name = "TYPE")]
    pub words: Vec<String>,
}

impl Args {
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
pub fn allow(args: &Args, cx: &Context<'_>, out: &mut dyn Write) -> Result<(), Failure> {
    let (types, target) = args.split();
    types.iter().try_for_each(|name| check_message_type(name))?;
    let session = cx.session()?;
    let client = find(&types, &target, &session, cx)?;
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

fn find(
    types: &[&str],
    target: &Target,
    session: &Session,
    cx: &Context<'_>,
) -> Result<std::sync::Arc<hivemind_store::Client>, Failure> {
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
