//! What operators change goes into the audit log too: which command, about whom, how it ended. Commands that only show are left out, but
//! for those that write credentials to a file.

use std::borrow::Cow;

use hivemind_store::Client;

use super::{Context, blacklist, db, plugins};
use crate::audit::{Entry, Log, Settings, fingerprint};
use crate::cli::Command;
use crate::config::Config;
use crate::failure::{Exit, Failure};

/// The client that a command was about.
#[derive(Debug, Clone)]
pub struct Subject {
    id: i64,
    name: String,
    key: String,
}

impl From<&Client> for Subject {
    fn from(client: &Client) -> Self {
        Self { id: client.id, name: crate::audit::short(client.label()), key: fingerprint(&client.api_key) }
    }
}

/// Writes down that a command ended. A log that cannot be written is no reason to fail: what was asked for is done.
pub(super) fn record(command: &Command, result: &Result<(), Failure>, cx: &Context<'_>) {
    let Some((name, detail)) = described(command) else { return };
    let outcome = match result {
        Ok(()) => Cow::Borrowed("done"),
        Err(failure) if failure.is_closed_pipe() => Cow::Borrowed("done"),
        // Nothing was tried.
        Err(Failure { exit: Exit::Usage | Exit::Config | Exit::Aborted, .. }) => return,
        Err(failure) if failure.code.starts_with("plugin-") => return,
        Err(failure) => failure.code.clone(),
    };
    let Some(settings) = settings(cx) else { return };
    let Some(file) = settings.file else { return };
    let subject = cx.subject.borrow().clone();
    let entry = Entry {
        outcome,
        command: name.into(),
        detail: crate::audit::short(&detail),
        client: subject.as_ref().map(|s| s.id),
        name: subject.as_ref().map_or_else(String::new, |s| s.name.clone()),
        key: subject.map_or_else(String::new, |s| s.key),
        uid: uid(),
        ..Entry::now("admin")
    };
    let mut log = Log::new(file, settings.max_bytes, settings.keep);
    if let Err(error) = log.append(&entry.line()) {
        cx.console.note(&format!("warning: the audit log {} cannot be written: {error}", log.path().display()));
    }
}

/// A command that got this far has read its configuration, so there is one.
fn settings(cx: &Context<'_>) -> Option<Settings> {
    let path = cx.global.config.clone().unwrap_or_else(|| cx.places.server_json());
    if !path.exists() {
        return None;
    }
    let config = Config::load(cx.global.config.as_deref(), &cx.places).ok()?;
    Settings::read(&config, &cx.places, None)
        .inspect_err(|failure| cx.console.note(&format!("warning: no audit log: {}", failure.message)))
        .ok()
}

#[cfg(unix)]
fn uid() -> Option<u32> {
    Some(rustix::process::getuid().as_raw())
}

#[cfg(not(unix))]
const fn uid() -> Option<u32> {
    None
}

/// A command's name and what it was to do, without any secret.
fn described(command: &Command) -> Option<(&'static str, String)> {
    let path = |path: &std::path::Path| path.display().to_string();
    Some(match command {
        Command::AddClient(args) => {
            let admin = if args.admin == Some(true) { "as an administrator " } else { "" };
            ("add-client", format!("{admin}allowed: {}", args.allow.join(" ")).trim_end_matches([' ', ':']).to_owned())
        }
        Command::RenameClient(args) => ("rename-client", args.name.clone()),
        Command::DeleteClient(_) => ("delete-client", String::new()),
        Command::MakeAdmin(_) => ("make-admin", String::new()),
        Command::RevokeAdmin(_) => ("revoke-admin", String::new()),
        Command::AllowMsg(args) => {
            let types = args.words.types().join(" ");
            ("allow-msg", if args.reset { format!("only {types}") } else { types })
        }
        Command::BlacklistMsg(args) => ("blacklist-msg", args.types().join(" ")),
        Command::AllowBroadcast(_) => ("allow-broadcast", String::new()),
        Command::BlacklistBroadcast(_) => ("blacklist-broadcast", String::new()),
        Command::AllowEscalate(_) => ("allow-escalate", String::new()),
        Command::BlacklistEscalate(_) => ("blacklist-escalate", String::new()),
        Command::AllowPropagate(_) => ("allow-propagate", String::new()),
        Command::BlacklistPropagate(_) => ("blacklist-propagate", String::new()),
        Command::AllowSkill(blacklist::SkillArgs { skill_id, .. }) => ("allow-skill", skill_id.clone()),
        Command::BlacklistSkill(blacklist::SkillArgs { skill_id, .. }) => ("blacklist-skill", skill_id.clone()),
        Command::AllowIntent(blacklist::IntentArgs { intent_id, .. }) => ("allow-intent", intent_id.clone()),
        Command::BlacklistIntent(blacklist::IntentArgs { intent_id, .. }) => ("blacklist-intent", intent_id.clone()),
        Command::SetMetadata(args) => ("set-metadata", args.names()),
        Command::ResetNoisePin(_) => ("reset-noise-pin", String::new()),
        Command::ExportClients(args) => ("export-clients", args.path.as_deref().map_or_else(|| "to the output".to_owned(), path)),
        Command::Export(args) => ("export", path(&args.file)),
        Command::Import(args) => ("import", path(&args.file)),
        Command::MigrateDb(args) => {
            ("migrate-db", format!("{} to {}", args.from.as_deref().unwrap_or("the configured backend"), args.to))
        }
        Command::Backup(args) => ("backup", args.file.as_deref().map_or_else(String::new, path)),
        Command::Restore(args) => ("restore", path(&args.file)),
        Command::Db(db::Command::Repair(_)) => ("db repair", String::new()),
        Command::Db(db::Command::Rekey(args)) => ("db rekey", if args.decrypt { "decrypted" } else { "" }.to_owned()),
        Command::MoveNamespace(args) => ("move-namespace", args.to.clone()),
        Command::Plugins(plugins::Command::Pin(_)) => ("plugins pin", String::new()),
        _ => return None,
    })
}
