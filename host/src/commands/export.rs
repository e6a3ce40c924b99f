//! `export-clients`: CSV with the Python node's columns, quoted where it must be. Secrets are the point of it.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use hivemind_store::Clients;

use super::list::{self, Stop};
use super::{Context, show};
use crate::failure::{Exit, Failure};
use crate::files;

/// The arguments of `export-clients`.
#[derive(Debug, Default, clap::Args)]
pub struct Args {
    /// Write to this file, readable by its owner alone, or to hivemind_clients.csv in this folder
    #[arg(long, value_name = "FILE")]
    pub path: Option<PathBuf>,
    /// Export revoked clients too
    #[arg(long)]
    pub all: bool,
}

/// Exports the clients with their credentials.
///
/// # Errors
/// See [`super::run`].
pub fn run(args: &Args, cx: &Context<'_>, out: &mut dyn Write) -> Result<(), Failure> {
    let session = cx.session()?;
    let Some(path) = &args.path else {
        if cx.console.shows_output() {
            cx.console.note("warning: the passwords below are in clear; use --path to write them to a file");
        }
        return write(&session.clients, args.all, out, cx);
    };
    let path = if path.is_dir() { path.join("hivemind_clients.csv") } else { path.clone() };
    let mut content = Vec::new();
    write(&session.clients, args.all, &mut content, cx)?;
    store(&path, &content).map_err(|e| {
        let message = format!("cannot write {}: {e}", path.display());
        Failure::new(Exit::Failed, "output", message).help("what was there before is still there")
    })
}

fn write(clients: &Clients, all: bool, out: &mut dyn Write, cx: &Context<'_>) -> Result<(), Failure> {
    let mut csv = csv::Writer::from_writer(out);
    let failed = |e: csv::Error| match e.into_kind() {
        csv::ErrorKind::Io(e) => Stop::from(e),
        other => Stop::Output(Failure::new(Exit::Failed, "output", format!("cannot write CSV: {other:?}"))),
    };
    csv.write_record(["client_id", "name", "is_admin", "access_key", "password"]).map_err(failed)?;
    let unreadable = pollster::block_on(clients.for_each(|client| {
        if client.is_revoked() && !all {
            return Ok(());
        }
        let id = client.id.to_string();
        let password = client.password.as_deref().unwrap_or_default();
        csv.write_record([id.as_str(), client.label(), show::truth(client.is_admin), &client.api_key, password]).map_err(failed)
    }))?;
    csv.flush()?;
    list::report(&unreadable, cx);
    Ok(())
}

fn store(path: &Path, content: &[u8]) -> std::io::Result<()> {
    if let Ok(old) = fs::metadata(path) {
        if !old.is_file() {
            return Err(std::io::Error::other("it is not a regular file; leave --path out to write to the output"));
        }
        // A file that is replaced keeps its mode, and this one is now for its owner alone.
        #[cfg(unix)]
        fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
    }
    files::replace(path, content, 0o600)
}
