//! `allow-` and `blacklist-` `skill` and `intent`.

use std::io::Write;

use hivemind_store::clients::Blacklist;

use super::{Context, Target, pick, show};
use crate::failure::Failure;

/// The arguments of `allow-skill` and `blacklist-skill`.
#[derive(Debug, clap::Args)]
pub struct SkillArgs {
    /// The skill's id
    pub skill_id: String,
    /// The client.
    #[command(flatten)]
    pub target: Target,
}

/// The arguments of `allow-intent` and `blacklist-intent`.
#[derive(Debug, clap::Args)]
pub struct IntentArgs {
    /// The intent's id
    pub intent_id: String,
    /// The client.
    #[command(flatten)]
    pub target: Target,
}

/// Adds a skill to a client's blacklist, or removes it.
///
/// # Errors
/// See [`super::run`].
pub fn skill(args: &SkillArgs, add: bool, cx: &Context<'_>, out: &mut dyn Write) -> Result<(), Failure> {
    run(&args.target, Blacklist::Skill, &args.skill_id, add, cx, out)
}

/// Adds an intent to a client's blacklist, or removes it.
///
/// # Errors
/// See [`super::run`].
pub fn intent(args: &IntentArgs, add: bool, cx: &Context<'_>, out: &mut dyn Write) -> Result<(), Failure> {
    run(&args.target, Blacklist::Intent, &args.intent_id, add, cx, out)
}

fn run(target: &Target, list: Blacklist, item: &str, add: bool, cx: &Context<'_>, out: &mut dyn Write) -> Result<(), Failure> {
    let session = cx.session()?;
    let client = pick::client(target, &session.clients, cx)?;
    let changed = if add {
        pollster::block_on(session.clients.blacklist(&client, list, item))?
    } else {
        pollster::block_on(session.clients.unblacklist(&client, list, item))?
    };
    let (name, item, list) = (show::text(client.label()), show::text(item), list.member());
    match (add, changed) {
        (true, true) => writeln!(out, "Blacklisted '{item}' for {name}")?,
        (true, false) => writeln!(out, "Client {name} already has '{item}' in {list}")?,
        (false, true) => writeln!(out, "Unblacklisted '{item}' for {name}")?,
        (false, false) => writeln!(out, "'{item}' is not in {list} for client {name}")?,
    }
    Ok(())
}
