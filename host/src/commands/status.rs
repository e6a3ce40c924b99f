//! `status`: which backend is in use, where the data is, and what an acknowledged write is worth.

use std::io::Write;

use hivemind_model::{Capability, Report, Value, record};
use hivemind_store::Storage;
use serde_json::json;

use super::{Context, Session, show};
use crate::config::redact;
use crate::failure::Failure;
use crate::plugins::Plugin;

/// The arguments of `status`.
#[derive(Debug, Default, clap::Args)]
pub struct Args {
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// One line of the status: its name in JSON, its label on the screen, its value.
pub(super) type Fact = (String, String, serde_json::Value);

/// Tells how things stand.
///
/// # Errors
/// See [`super::run`].
pub fn run(args: &Args, cx: &Context<'_>, out: &mut dyn Write) -> Result<(), Failure> {
    let config = cx.config()?;
    let opened = cx.opener.open(cx.global, &config)?;
    // Preparing opens the store, and then these files are this program's own.
    let in_use = is_in_use(&opened.storage);
    let clients = opened.clients()?;
    let session = Session { config, opened, clients };
    let report = pollster::block_on(session.opened.storage.run_reads(|backend, cx| backend.stats(cx)))?;
    let revoked = pollster::block_on(session.clients.count_revoked())?;
    let live = pollster::block_on(session.clients.count())?.saturating_sub(revoked);
    // Backends name all of them with the first page.
    let first = pollster::block_on(session.clients.pages().next())?;
    let unreadable = first.map_or(0, |page| page.unreadable.len());
    let mut facts = facts(&session, &report);
    if in_use {
        facts.push(fact("in_use", "In use", json!("by another program, or left so by one that was killed")));
    }
    facts.push(fact("clients", "Clients", json!(live)));
    facts.push(fact("revoked_clients", "Revoked clients", json!(revoked)));
    facts.push(fact("unreadable_clients", "Unreadable", json!(unreadable)));
    print(facts, args.json, out)?;
    if !args.json && live == 0 && unreadable == 0 {
        writeln!(
            out,
            "\nThere are no clients yet. Next:\n  hivemind-host add-client --name kitchen --allow recognizer_loop:utterance"
        )?;
        writeln!(out, "  hivemind-host list-clients")?;
    }
    if in_use {
        cx.console.note(
            "note: another program has this SQLite store open. If it runs on a system's SQLite up to 3.51.2, that one can corrupt a \
database in WAL mode in a rare race while the log is reset; see the operator guide",
        );
    }
    if unreadable > 0 {
        cx.console.note("warning: there are records that cannot be read; list-clients names them");
    }
    for problem in &report.problems {
        cx.console.note(&format!("warning: {}: {}", problem.collection, show::text(&problem.message)));
    }
    Ok(())
}

/// Prints facts, one a line, or as JSON.
pub(super) fn print(facts: Vec<Fact>, json: bool, out: &mut dyn Write) -> Result<(), Failure> {
    if json {
        let object: serde_json::Map<_, _> = facts.into_iter().map(|(name, _, value)| (name, value)).collect();
        writeln!(out, "{}", crate::config::pretty(&object.into(), b"  "))?;
        return Ok(());
    }
    let width = facts.iter().map(|(_, label, _)| label.chars().count()).max().unwrap_or_default();
    for (_, label, value) in &facts {
        writeln!(out, "{label:width$}  {}", show::text(&words(value)))?;
    }
    Ok(())
}

/// Whether a file of the store has the shared memory of SQLite's log beside it, which the last one to close it takes away.
fn is_in_use(storage: &Storage) -> bool {
    let files = storage.backend().resources().into_iter().filter(|resource| resource.kind == "file");
    files.into_iter().any(|file| std::path::Path::new(&format!("{}-shm", file.name)).is_file())
}

fn fact(name: &str, label: &str, value: serde_json::Value) -> Fact {
    (name.to_owned(), label.to_owned(), value)
}

fn facts(session: &Session, report: &Report) -> Vec<Fact> {
    let mut facts = vec![
        fact("config", "Configuration", json!(session.config.path().to_string_lossy())),
        fact("backend", "Backend", json!(session.opened.module)),
    ];
    if let Some(plugin @ Plugin { path, manifest, .. }) = &session.opened.plugin {
        facts.push(fact("plugin_version", "Plugin version", json!(manifest.version)));
        facts.push(fact("plugin_vendor", "Plugin vendor", json!(manifest.vendor)));
        facts.push(fact("plugin_file", "Plugin file", json!(path.to_string_lossy())));
        facts.push(fact("plugin_sha256", "Plugin SHA-256", json!(plugin.sha256())));
        facts.push(fact("abi", "Plugin ABI", json!(manifest.abi)));
    }
    let capabilities: Vec<&str> = session.opened.storage.capabilities().iter().map(Capability::name).collect();
    facts.push(fact("capabilities", "Capabilities", json!(capabilities)));
    facts.extend(assumed(session).into_iter().filter(|(name, ..)| report.get(name).is_none()));
    facts.extend(report.entries.iter().map(|(name, value)| entry(name, value)));
    facts
}

/// A fact that a backend tells.
pub(super) fn entry(name: &str, value: &Value) -> Fact {
    let label = match name {
        "location" => "Data".to_owned(),
        "schema_version" => "Schema version".to_owned(),
        "acknowledged_write" => "An acknowledged write".to_owned(),
        "engine" => "Engine".to_owned(),
        other => show::text(&sentence(other)).into_owned(),
    };
    (name.to_owned(), label, value_json(name, value))
}

/// What an operator looks for, for a backend that does not tell it itself.
fn assumed(session: &Session) -> [Fact; 3] {
    let storage = &session.opened.storage;
    let places: Vec<String> = storage.backend().resources().into_iter().map(|r| redact::without_userinfo(&r.name)).collect();
    let location = if places.is_empty() { serde_json::Value::Null } else { json!(places.join(", ")) };
    let worth = if storage.capabilities().has(Capability::Durable) {
        "survives the end of the process, as the plugin declares; what a power cut leaves of it only its vendor knows"
    } else {
        "lost when the process ends"
    };
    [
        fact("location", "Data", location),
        // It was opened, so what is stored is of the version that this program knows.
        fact("schema_version", "Schema version", json!(hivemind_store::clients::collection().version)),
        fact("acknowledged_write", "An acknowledged write", json!(worth)),
    ]
}

/// A snake_case name as words.
fn sentence(name: &str) -> String {
    let words = name.replace('_', " ");
    let mut chars = words.chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}

fn value_json(name: &str, value: &Value) -> serde_json::Value {
    let mut text = String::new();
    record::write_json(value.as_ref(), &mut text);
    let parsed = serde_json::from_str(&text).unwrap_or(serde_json::Value::Null);
    // An address may carry credentials, whatever a plugin's author thought of.
    let mut shown = redact::redact(&json!({ name: parsed }));
    shown.get_mut(name).map(serde_json::Value::take).unwrap_or_default()
}

/// A value for a person.
pub(super) fn words(value: &serde_json::Value) -> String {
    match value {
        serde_json::Value::String(text) => text.clone(),
        serde_json::Value::Array(items) => items.iter().map(words).collect::<Vec<_>>().join(", "),
        serde_json::Value::Null => "unknown".to_owned(),
        other => other.to_string(),
    }
}
