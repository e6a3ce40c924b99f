//! `restore`: puts a backup in the place of what is stored, and keeps what was there.

use std::io::Write;
use std::path::PathBuf;

use hivemind_model::{Task, Value};

use super::{Context, backup, confirm, show};
use crate::failure::{Exit, Failure};

/// The arguments of `restore`.
#[derive(Debug, Default, clap::Args)]
pub struct Args {
    /// The backup to restore
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Keep what is stored now in this file; left out, in one with the time in its name in `backups` beside the store
    #[arg(long, value_name = "FILE", conflicts_with = "no_keep")]
    pub keep: Option<PathBuf>,
    /// Do not keep what is stored now, because it cannot be read
    #[arg(long)]
    pub no_keep: bool,
    /// Do not ask for confirmation
    #[arg(long)]
    pub yes: bool,
}

/// Restores a backup.
///
/// # Errors
/// See [`super::run`].
pub fn run(args: &Args, cx: &Context<'_>, out: &mut dyn Write) -> Result<(), Failure> {
    let shown = show::text(&args.file.to_string_lossy()).into_owned();
    if let Err(error) = std::fs::metadata(&args.file) {
        return Err(Failure::usage(format!("cannot read {shown}: {error}")).help("name a file that `backup` made"));
    }
    let session = cx.session().map_err(|failure| {
        if failure.exit != Exit::Data {
            return failure;
        }
        failure.help("the store itself cannot be opened: move its files away, and restore into the new one")
    })?;
    if !args.yes {
        confirm(
            &format!("Replace everything that is stored by {shown}? [y/N]: "),
            "add --yes to restore without being asked",
            cx,
        )?;
    }
    let keep = match (&args.keep, args.no_keep) {
        (_, true) => None,
        (Some(file), false) => Some(file.clone()),
        (None, false) => Some(backup::new_name(&backup::folder(&session)?, &session.opened, "before-restore-")),
    };
    let task = Task::Restore { from: backup::text(&args.file)?, keep: keep.as_deref().map(backup::text).transpose()? };
    let report = session.maintain(&task)?;
    backup::tell(&report, cx);
    let records = match report.get("records") {
        Some(Value::Int(count)) => format!(" ({count} records)"),
        _ => String::new(),
    };
    writeln!(out, "Restored {shown}{records}")?;
    if let Some(keep) = keep {
        writeln!(out, "What was stored before is in {}", show::text(&keep.to_string_lossy()))?;
    }
    Ok(())
}
