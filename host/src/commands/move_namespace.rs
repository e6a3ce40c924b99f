//! `move-namespace`: everything that is stored, copied to another place of the same engine.

use std::io::Write;

use hivemind_model::{Context as Call, Task, Value, record};

use super::{Context, show};
use crate::failure::Failure;

/// The arguments of `move-namespace`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Where to; to Redis the tag that keeps all keys in one slot of a cluster (cluster_hash_tag)
    #[arg(value_name = "TAG")]
    pub to: String,
    /// Change nothing, and tell what would be done
    #[arg(long)]
    pub dry_run: bool,
}

/// Moves what is stored. What is there now stays, and the settings too.
///
/// # Errors
/// See [`super::run`].
pub fn run(args: &Args, cx: &Context<'_>, out: &mut dyn Write) -> Result<(), Failure> {
    let session = cx.session()?;
    let task = Task::Move { to: args.to.clone(), dry_run: args.dry_run };
    // It takes as long as there are records, and can be cut anywhere.
    let report = session.opened.storage.backend().maintain(&Call::unbounded(), &task)?;
    let width = report.entries.iter().map(|(name, _)| name.chars().count()).max().unwrap_or_default();
    for (name, value) in &report.entries {
        let mut text = String::new();
        match value {
            Value::Text(value) => text.push_str(value),
            other => record::write_json(other.as_ref(), &mut text),
        }
        writeln!(out, "{:width$}  {}", show::text(name), show::text(&text))?;
    }
    for problem in &report.problems {
        let key = problem.key.as_ref().map(|key| format!(" {key}")).unwrap_or_default();
        cx.console.note(&format!("warning: {}{key}: {}", problem.collection, show::text(&problem.message)));
    }
    Ok(())
}
