//! `db verify`: everything is read, by the plugin and by the store above it.

use std::io::Write;
use std::path::PathBuf;

use hivemind_model::{Problem, Report, Task, Value};
use serde_json::json;

use crate::commands::{Context, Session, backup, maintain, show, status};
use crate::config::pretty;
use crate::failure::{Exit, Failure};

/// The arguments of `db verify`.
#[derive(Debug, Default, clap::Args)]
pub struct Args {
    /// A backup to look at; left out, the store
    #[arg(value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Looks at the store or at a backup.
///
/// # Errors
/// `problems` if something is wrong.
pub(super) fn run(args: &Args, cx: &Context<'_>, out: &mut dyn Write) -> Result<(), Failure> {
    let (report, what) = match &args.file {
        Some(file) => {
            if let Err(error) = std::fs::metadata(file) {
                return Err(
                    Failure::usage(format!("cannot read {}: {error}", file.display())).help("name a file that `backup` made")
                );
            }
            // Not prepared: the store may be the damaged one of the two.
            let opened = cx.opener.open(cx.global, &cx.config()?)?;
            let collections = vec![hivemind_store::clients::collection()];
            let report = maintain(&opened, &Task::VerifyBackup { from: backup::text(file)?, collections })?;
            (report, file.display().to_string())
        }
        None => {
            let session = cx.session()?;
            (store(&session)?, "the store".to_owned())
        }
    };
    if args.json {
        let mut object = serde_json::Map::new();
        for (name, _, value) in report.entries.iter().map(|(name, value)| status::entry(name, value)) {
            object.insert(name, value);
        }
        let problems = report.problems.iter().map(|problem| {
            let key = problem.key.as_ref().map(ToString::to_string);
            json!({"collection": problem.collection, "key": key, "message": problem.message})
        });
        object.insert("problems".to_owned(), problems.collect());
        writeln!(out, "{}", pretty(&object.into(), b"  "))?;
    } else {
        for problem in &report.problems {
            writeln!(out, "{}", show::text(&line(problem)))?;
        }
    }
    match report.problems.len() {
        0 if args.json => Ok(()),
        0 => {
            let records = match report.get("records") {
                Some(Value::Int(count)) => format!("; {count} records"),
                _ => String::new(),
            };
            writeln!(out, "Nothing is wrong with {}{records}", show::text(&what))?;
            if report.get("sealed") == Some(&Value::Bool(false)) {
                cx.console.note("note: it has no seal, so a changed byte inside of a stored text would not be noticed");
            }
            Ok(())
        }
        count => {
            let help = if args.file.is_some() {
                "take another backup, or restore another one"
            } else {
                "`db repair` mends what can be mended"
            };
            let message = format!("{what} has {count} problem{}", if count == 1 { "" } else { "s" });
            Err(Failure::new(Exit::Data, "problems", message).help(help))
        }
    }
}

/// One line about a problem.
pub(super) fn line(problem: &Problem) -> String {
    let Problem { collection, key, message } = problem;
    match (collection.as_str(), key) {
        ("", _) => message.clone(),
        (name, None) => format!("{name}: {message}"),
        (name, Some(key)) => format!("{name} {key}: {message}"),
    }
}

/// What is wrong with an open store: what its plugin says, and gaps between ids.
pub(super) fn store(session: &Session) -> Result<Report, Failure> {
    let mut report = session.maintain(&Task::Verify)?;
    let missing = match gaps(session) {
        // What cannot be walked through has been named already.
        Err(failure) if failure.exit == Exit::Data && !report.problems.is_empty() => return Ok(report),
        other => other?,
    };
    if let Some(first) = missing.first() {
        let message = format!(
            "{} ids are missing between others, the first of them {first}: a Python node would give a new client the id of another one",
            missing.len()
        );
        report.problems.push(Problem { collection: "clients".to_owned(), key: None, message });
    }
    Ok(report)
}

/// Ids below the greatest that no record has, readable or not.
pub(super) fn gaps(session: &Session) -> Result<Vec<i64>, Failure> {
    use hivemind_model::Key;
    let mut ids = Vec::new();
    let unreadable = pollster::block_on(session.clients.for_each(|client| {
        ids.push(client.id);
        Ok::<(), hivemind_store::Error>(())
    }))?;
    ids.extend(unreadable.iter().filter_map(|record| if let Key::Int(id) = record.key { Some(id) } else { None }));
    ids.sort_unstable();
    let mut missing = Vec::new();
    let mut next = 1;
    for id in ids.into_iter().filter(|id| *id > 0) {
        // A store that somebody gave an id of billions is not filled, and what is wrong with it said all the same.
        missing.extend((next..id).take(MOST_GAPS.saturating_sub(missing.len())));
        next = id.saturating_add(1);
    }
    Ok(missing)
}

/// As many missing ids as are looked for.
pub(super) const MOST_GAPS: usize = 100_000;
