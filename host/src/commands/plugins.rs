//! `plugins list`, `info` and `pin`. None of them runs anything of a plugin.

mod inventory;

use std::io::Write;
use std::path::Path;

use serde_json::{Value, json};

use super::{Context, show};
use crate::config::{Config, pretty};
use crate::failure::Failure;
use crate::open;
use crate::plugins::{Checked, Loader, Manifest, Refusal, lock};

use inventory::inventory;

/// The commands about plugins.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// List every plugin found, with its state and why it is refused
    List(ListArgs),
    /// Tell everything about one plugin
    Info(InfoArgs),
    /// Trust these very files from now on: write their hashes to plugins.lock.toml
    Pin(PinArgs),
}

/// The arguments of `plugins list`.
#[derive(Debug, Default, clap::Args)]
pub struct ListArgs {
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// The arguments of `plugins info`.
#[derive(Debug, Default, clap::Args)]
pub struct InfoArgs {
    /// A module name, an alias, or the path of a file; left out, the configured backend
    #[arg(value_name = "NAME|FILE")]
    pub plugin: Option<String>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// The arguments of `plugins pin`.
#[derive(Debug, Default, clap::Args)]
pub struct PinArgs {
    /// Module names, aliases, or paths of files; left out, the configured backend
    #[arg(value_name = "NAME|FILE")]
    pub plugins: Vec<String>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Runs a command about plugins.
///
/// # Errors
/// See [`super::run`].
pub fn run(command: &Command, cx: &Context<'_>, out: &mut dyn Write) -> Result<(), Failure> {
    let config = cx.config()?;
    match command {
        Command::List(args) => list(args, cx, &config, out),
        Command::Info(args) => info(args, cx, &config, out),
        Command::Pin(args) => pin(args, cx, &config, out),
    }
}

fn list(args: &ListArgs, cx: &Context<'_>, config: &Config, out: &mut dyn Write) -> Result<(), Failure> {
    let loader = open::loader(cx.global, config)?;
    // The list also helps where the configuration itself is wrong.
    let configured = config.database(&cx.global.overrides()).ok().map(|database| database.module);
    let entries = inventory(&loader, configured.as_deref());
    if args.json {
        writeln!(out, "{}", pretty(&entries.into(), b"  "))?;
        return Ok(());
    }
    if entries.is_empty() {
        writeln!(out, "No plugins found. Searched:")?;
        for folder in loader.search().folders() {
            writeln!(out, "  {} ({})", show::text(&folder.path.to_string_lossy()), folder.source)?;
        }
        return Ok(());
    }
    let mut table = show::table(&["Module", "Version", "State", "File"]);
    let text = |entry: &Value, name: &str| show::text(entry.get(name).and_then(Value::as_str).unwrap_or_default()).into_owned();
    for entry in &entries {
        table.add_row(["module", "version", "state", "file"].map(|name| text(entry, name)));
    }
    writeln!(out, "{table}")?;
    for entry in entries.iter().filter(|e| e.get("why").is_some()) {
        writeln!(out, "{}", text(entry, "why"))?;
    }
    Ok(())
}

fn is_pinned(checked: &Checked, loader: &Loader) -> bool {
    let pin = loader.lock().pin_of(&checked.manifest.module);
    pin.is_some_and(|pin| {
        let found = checked.sha256();
        pin.sha256.values().any(|hash| hash.eq_ignore_ascii_case(&found))
    })
}

/// A plugin by module name, alias, or path, a relative one from the current folder.
fn find(name: &str, loader: &Loader) -> Result<Checked, Refusal> {
    let path = Path::new(name);
    let is_path = name.contains(std::path::MAIN_SEPARATOR) || (path.extension().is_some() && path.is_file());
    if is_path && let Ok(path) = std::path::absolute(path) {
        return Checked::read(&path, loader.lock());
    }
    loader.resolve(name)
}

fn info(args: &InfoArgs, cx: &Context<'_>, config: &Config, out: &mut dyn Write) -> Result<(), Failure> {
    let loader = open::loader(cx.global, config)?;
    let name = match &args.plugin {
        Some(name) => name.clone(),
        None => config.database(&cx.global.overrides())?.module,
    };
    let checked = find(&name, &loader)?;
    let facts = describe(&checked, &loader);
    if args.json {
        writeln!(out, "{}", pretty(&facts, b"  "))?;
        return Ok(());
    }
    let Value::Object(facts) = facts else { return Ok(()) };
    for (name, value) in facts.iter().filter(|(name, _)| *name != "config") {
        let value = match value {
            Value::String(text) => text.clone(),
            Value::Array(items) => items.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(", "),
            other => other.to_string(),
        };
        writeln!(out, "{name:12}  {}", show::text(&value))?;
    }
    settings(&checked.manifest, out)
}

fn describe(checked: &Checked, loader: &Loader) -> Value {
    let manifest = &checked.manifest;
    json!({
        "module": manifest.module,
        "aliases": manifest.aliases,
        "version": manifest.version,
        "vendor": manifest.vendor,
        "licence": manifest.licence,
        "file": checked.path.to_string_lossy(),
        "sha256": checked.sha256(),
        "pinned": is_pinned(checked, loader),
        "abi": manifest.abi,
        "target": manifest.target,
        "rustc": manifest.rustc,
        "capabilities": manifest.capabilities,
        "config": manifest.config,
    })
}

/// The settings a plugin takes, from its schema.
fn settings(manifest: &Manifest, out: &mut dyn Write) -> Result<(), Failure> {
    let Some(Value::Object(properties)) = manifest.config.get("properties") else { return Ok(()) };
    let mut table = show::table(&["Setting", "Type", "Default", "Description"]);
    for (name, schema) in properties {
        let text = |member: &str| match schema.get(member) {
            None => String::new(),
            Some(Value::String(text)) => text.clone(),
            Some(Value::Array(any)) if member == "type" => any.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" or "),
            Some(other) => other.to_string(),
        };
        table.add_row(
            [name.clone(), text("type"), text("default"), text("description")].map(|cell| show::text(&cell).into_owned()),
        );
    }
    writeln!(out, "\n{table}")?;
    Ok(())
}

fn describe_pin(checked: &Checked) -> Value {
    let Manifest { module, version, .. } = &checked.manifest;
    json!({"module": module, "version": version, "file": checked.path.to_string_lossy(), "sha256": checked.sha256()})
}

fn pin(args: &PinArgs, cx: &Context<'_>, config: &Config, out: &mut dyn Write) -> Result<(), Failure> {
    let mut lock = open::loader(cx.global, config)?.lock().clone();
    // What is pinned now must not stand in the way of pinning something else.
    let loader = open::loader_with(cx.global, config, lock::Lock::default())?;
    let names =
        if args.plugins.is_empty() { vec![config.database(&cx.global.overrides())?.module] } else { args.plugins.clone() };
    let mut pinned = Vec::with_capacity(names.len());
    for name in &names {
        let checked = find(name, &loader)?;
        lock.pin(&checked);
        pinned.push(checked);
    }
    lock.write()?;
    if args.json {
        let pinned: Vec<Value> = pinned.iter().map(describe_pin).collect();
        let done = json!({"lock_file": lock.path().to_string_lossy(), "pinned": pinned});
        writeln!(out, "{}", pretty(&done, b"  "))?;
        return Ok(());
    }
    for checked in pinned {
        let Manifest { module, version, .. } = &checked.manifest;
        writeln!(out, "Pinned {module} {version}: {}", checked.sha256())?;
    }
    writeln!(out, "Written to {}", show::text(&lock.path().to_string_lossy()))?;
    Ok(())
}
