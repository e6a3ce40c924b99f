//! `db repair`: what can be mended without losing a record.
//!
//! The plugin mends what only it knows: indexes, and what crashes left. Here is what follows from what a client is: ids without gaps,
//! because a Python node gives a new client the number of rows + 1; and, if asked for, one client for each access key.

use std::io::Write;

use hivemind_model::{Code, Mutation, Row, Task};
use hivemind_store::clients::REVOKED;

use super::verify::{self, MOST_GAPS};
use crate::commands::{Context, Session, backup, show, status};
use crate::failure::{Exit, Failure};

/// Records in one write.
const BATCH: usize = 500;

/// The arguments of `db repair`.
#[derive(Debug, Default, clap::Args)]
pub struct Args {
    /// Revoke all but the first of several clients with one access key
    #[arg(long)]
    pub revoke_duplicates: bool,
    /// Do not take a backup first
    #[arg(long)]
    pub no_backup: bool,
}

/// Mends the store.
///
/// # Errors
/// `problems` if something remains that cannot be mended here.
pub(super) fn run(args: &Args, cx: &Context<'_>, out: &mut dyn Write) -> Result<(), Failure> {
    let session = cx.session()?;
    let folder = backup::folder(&session)?;
    if !args.no_backup {
        let file = backup::new_name(&folder, &session.opened, "before-repair-");
        backup::create(&session.opened, &file)
            .map_err(|failure| failure.help("nothing was changed; if no backup can be taken, add --no-backup"))?;
        writeln!(out, "Backed up to {}", show::text(&file.to_string_lossy()))?;
    }
    let report = session.maintain(&Task::Repair)?;
    for (_, label, value) in report.entries.iter().map(|(name, value)| status::entry(name, value)) {
        writeln!(out, "{label}: {}", show::text(&status::words(&value)))?;
    }
    let filled = fill_gaps(&session)?;
    if filled > 0 {
        writeln!(out, "Missing ids filled with revoked clients: {filled}")?;
    }
    if args.revoke_duplicates {
        let revoked = revoke_duplicates(&session)?;
        writeln!(out, "Clients with the access key of another revoked: {revoked}")?;
    }
    let left = verify::store(&session)?.problems;
    for problem in &left {
        writeln!(out, "{}", show::text(&verify::line(problem)))?;
    }
    match left.len() {
        0 => writeln!(out, "Nothing is wrong with the store").map_err(Failure::from),
        count => {
            let message =
                format!("{count} problem{} cannot be mended without losing something", if count == 1 { "" } else { "s" });
            Err(Failure::new(Exit::Data, "problems", message)
                .help("restore a backup, or correct the records named; `db repair --help`"))
        }
    }
}

/// Puts a revoked client under every id that is missing below the greatest.
fn fill_gaps(session: &Session) -> Result<usize, Failure> {
    let missing = verify::gaps(session)?;
    if missing.len() >= MOST_GAPS {
        return Err(Failure::new(Exit::Data, "problems", format!("more than {MOST_GAPS} ids are missing; nothing was filled"))
            .help("give the clients with the greatest ids smaller ones: export and import them"));
    }
    let collection = hivemind_store::clients::collection();
    let id = session.clients.id();
    let mut filled = 0;
    for batch in missing.chunks(BATCH) {
        let insert = |key: &i64| {
            let row = Row::builder(&collection).set("client_id", *key).and_then(|row| row.set("api_key", REVOKED));
            row.map(|row| Mutation::Insert { collection: id, row: row.build() })
        };
        let mutations: Vec<Mutation> = batch.iter().map(insert).collect::<Result<_, _>>()?;
        filled += apply(session, mutations)?;
    }
    Ok(filled)
}

/// Writes a batch, or, if somebody took one of its ids meanwhile, what is left of it one by one.
fn apply(session: &Session, mutations: Vec<Mutation>) -> Result<usize, Failure> {
    let storage = &session.opened.storage;
    let count = mutations.len();
    match pollster::block_on(storage.apply(mutations.clone())) {
        Ok(_) => Ok(count),
        Err(error) if matches!(error.code(), Code::Conflict | Code::Unsupported) && count > 1 => {
            mutations.into_iter().map(|mutation| apply(session, vec![mutation])).sum()
        }
        Err(error) if error.code() == Code::Conflict => Ok(0),
        Err(error) => Err(error.into()),
    }
}

/// Revokes clients whose access key one with a lower id has.
fn revoke_duplicates(session: &Session) -> Result<usize, Failure> {
    let mut seen = std::collections::HashSet::new();
    let mut later = Vec::new();
    pollster::block_on(session.clients.for_each(|client| {
        if !client.is_revoked() && !seen.insert(client.api_key.clone()) {
            later.push(client);
        }
        Ok::<(), hivemind_store::Error>(())
    }))?;
    for client in &later {
        pollster::block_on(session.clients.revoke(client))?;
    }
    Ok(later.len())
}
