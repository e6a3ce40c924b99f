//! `list-clients`.

use std::io::Write;

use hivemind_store::Error;

use super::{Context, pick, show};
use crate::failure::Failure;

/// The arguments of `list-clients`.
#[derive(Debug, Default, clap::Args)]
pub struct Args {
    /// Print a JSON array of client records
    #[arg(long)]
    pub json: bool,
    /// Print secrets instead of masking them
    #[arg(long)]
    pub show_secrets: bool,
    /// List revoked clients too
    #[arg(long)]
    pub all: bool,
}

/// Lists the clients.
///
/// # Errors
/// See [`super::run`].
pub fn run(args: &Args, cx: &Context<'_>, out: &mut dyn Write) -> Result<(), Failure> {
    let session = cx.session()?;
    let mut table = show::table(&["ID", "Name", "Access key", "Password", "Admin", "Allowed message types"]);
    let mut printed = 0_u64;
    let unreadable = pollster::block_on(session.clients.for_each(|client| {
        if client.is_revoked() && !args.all {
            return Ok(());
        }
        printed += 1;
        if args.json {
            // One record a line, written as it is read: the list may be long.
            let start = if printed == 1 { "[\n" } else { ",\n" };
            return write!(out, "{start}{}", show::client_json(&client, args.show_secrets)).map_err(Stop::from);
        }
        let password = client.password.as_deref().map(|p| show::secret(p, args.show_secrets)).unwrap_or_default();
        table.add_row([
            client.id.to_string(),
            show::name(client.label()),
            show::text(&client.api_key).into_owned(),
            show::text(password).into_owned(),
            if client.is_admin { "yes" } else { "" }.to_owned(),
            pick::types(&client),
        ]);
        Ok(())
    }));
    let unreadable = unreadable.map_err(Failure::from)?;
    if args.json {
        writeln!(out, "{}", if printed == 0 { "[]" } else { "\n]" })?;
    } else {
        writeln!(out, "{table}")?;
    }
    report(&unreadable, cx);
    Ok(())
}

/// Names the records that a list leaves out because they cannot be read.
pub(super) fn report(unreadable: &[hivemind_model::Unreadable], cx: &Context<'_>) {
    for record in unreadable {
        let why = show::text(&record.message);
        cx.console.note(&format!("warning: record {} cannot be read and was left as it is: {why}", record.key));
    }
}

/// Why going through the clients stopped.
pub(super) enum Stop {
    Store(Error),
    Output(Failure),
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Store(error)
    }
}

impl From<std::io::Error> for Stop {
    fn from(error: std::io::Error) -> Self {
        Self::Output(error.into())
    }
}

impl From<Stop> for Failure {
    fn from(stop: Stop) -> Self {
        match stop {
            Stop::Store(error) => error.into(),
            Stop::Output(failure) => failure,
        }
    }
}
