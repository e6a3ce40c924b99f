//! `audit tail`, `audit grep`, `audit report`: reading the audit log.

mod report;

use std::collections::VecDeque;
use std::io::Write;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::{Context, show};
use crate::audit::{Entry, Follower, Reader, Settings, fingerprint, moment};
use crate::failure::{Exit, Failure};

/// How often a log that is followed is looked at.
const GLANCE: Duration = Duration::from_millis(200);

/// The commands of `audit`.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Print the last entries, and with -f those that come
    Tail(TailArgs),
    /// Print the entries that fit
    Grep(GrepArgs),
    /// Name what is unusual: bursts of refused keys, one key at several addresses, long silence, denials
    Report(report::Args),
}

/// The arguments of `audit tail`.
#[derive(Debug, clap::Args)]
pub struct TailArgs {
    /// How many
    #[arg(long, short = 'n', value_name = "COUNT", default_value_t = 20)]
    pub lines: usize,
    /// Go on with what is written from now on
    #[arg(long, short)]
    pub follow: bool,
    /// Which entries.
    #[command(flatten)]
    pub filter: Filter,
    /// Print them as they stand in the log
    #[arg(long)]
    pub json: bool,
}

/// The arguments of `audit grep`.
#[derive(Debug, clap::Args)]
pub struct GrepArgs {
    /// Which entries.
    #[command(flatten)]
    pub filter: Filter,
    /// Print them as they stand in the log
    #[arg(long)]
    pub json: bool,
}

/// Which entries are meant. All that is given must fit.
#[derive(Debug, Default, clap::Args)]
pub struct Filter {
    /// Of this client: its number, name or access key
    #[arg(long, value_name = "CLIENT")]
    pub client: Option<String>,
    /// About messages, or envelopes, of this type
    #[arg(long = "type", value_name = "TYPE")]
    pub message_type: Option<String>,
    /// Of this kind: started, stopped, admitted, refused, denied, left, too_slow, admin, lost
    #[arg(long, value_name = "EVENT")]
    pub event: Option<String>,
    /// That ended so: the reason of a refusal, the code of a denial, `done` of a command
    #[arg(long, value_name = "OUTCOME")]
    pub outcome: Option<String>,
    /// From this address
    #[arg(long, value_name = "ADDRESS")]
    pub address: Option<IpAddr>,
    /// Not before this time (UTC), or this long ago: 24h, 7d
    #[arg(long, value_name = "TIME", value_parser = moment::parse_or_ago)]
    pub since: Option<i64>,
    /// Before this time (UTC), or this long ago
    #[arg(long, value_name = "TIME", value_parser = moment::parse_or_ago)]
    pub until: Option<i64>,
    /// Read this log instead of the configured one
    #[arg(long, value_name = "FILE")]
    pub file: Option<PathBuf>,
}

impl Filter {
    fn fits(&self, entry: &Entry) -> bool {
        self.is_in_time(entry) && self.fits_but_for_time(entry)
    }

    fn is_in_time(&self, entry: &Entry) -> bool {
        self.since.is_none_or(|since| entry.time >= since) && self.until.is_none_or(|until| entry.time < until)
    }

    fn fits_but_for_time(&self, entry: &Entry) -> bool {
        self.client.as_ref().is_none_or(|client| is_of(entry, client))
            && self.message_type.as_ref().is_none_or(|kind| entry.message_type == *kind || entry.envelope == *kind)
            && self.event.as_ref().is_none_or(|event| entry.event == *event)
            && self.outcome.as_ref().is_none_or(|outcome| entry.outcome == *outcome)
            && self.address.is_none_or(|address| entry.address.is_some_and(|a| a.to_canonical() == address.to_canonical()))
    }

    /// The log that is meant.
    fn path(&self, cx: &Context<'_>) -> Result<PathBuf, Failure> {
        if let Some(file) = &self.file {
            return if file.exists() {
                Ok(file.clone())
            } else {
                Err(unreadable(&format!("{}: there is no such file", file.display())))
            };
        }
        Settings::read(&cx.config()?, &cx.places, None)?.file.ok_or_else(|| {
            Failure::config("the audit log is switched off")
                .help("set `audit` of the hivemind-host block to true, or name a --file")
        })
    }
}

/// Whether an entry is about a client, named in any way.
fn is_of(entry: &Entry, client: &str) -> bool {
    entry.client.is_some_and(|id| client.parse() == Ok(id))
        || (!client.is_empty() && (entry.name == client || entry.key == client || entry.key == fingerprint(client)))
}

/// Runs a command of `audit`.
///
/// # Errors
/// See [`super::run`].
pub fn run(command: &Command, cx: &Context<'_>, out: &mut dyn Write) -> Result<(), Failure> {
    match command {
        Command::Tail(args) => tail(args, cx, out),
        Command::Grep(args) => grep(args, cx, out),
        Command::Report(args) => report::run(args, cx, out),
    }
}

fn grep(args: &GrepArgs, cx: &Context<'_>, out: &mut dyn Write) -> Result<(), Failure> {
    let mut reader = open(&args.filter.path(cx)?)?;
    for entry in reader.by_ref() {
        let entry = entry.map_err(|e| unreadable(&e.to_string()))?;
        if args.filter.fits(&entry) {
            print(&entry, args.json, out)?;
        }
    }
    report_damage(reader.damaged(), cx);
    Ok(())
}

fn tail(args: &TailArgs, cx: &Context<'_>, out: &mut dyn Write) -> Result<(), Failure> {
    let path = args.filter.path(cx)?;
    // Before the rest is read: an entry that comes meanwhile is rather told twice than not.
    let mut follower = args.follow.then(|| Follower::at_end(&path)).transpose().map_err(|e| unreadable(&e.to_string()))?;
    let mut reader = open(&path)?;
    let mut last = VecDeque::new();
    for entry in reader.by_ref() {
        let entry = entry.map_err(|e| unreadable(&e.to_string()))?;
        if args.lines > 0 && args.filter.fits(&entry) {
            if last.len() == args.lines {
                last.pop_front();
            }
            last.push_back(entry);
        }
    }
    last.iter().try_for_each(|entry| print(entry, args.json, out))?;
    report_damage(reader.damaged(), cx);
    while let Some(follower) = &mut follower {
        for entry in follower.read().map_err(|e| unreadable(&e.to_string()))? {
            if args.filter.fits(&entry) {
                print(&entry, args.json, out)?;
            }
        }
        out.flush()?;
        std::thread::sleep(GLANCE);
    }
    Ok(())
}

fn open(path: &std::path::Path) -> Result<Reader, Failure> {
    Reader::open(path).map_err(|e| unreadable(&format!("{}: {e}", path.display())))
}

fn unreadable(what: &str) -> Failure {
    Failure::new(Exit::Failed, "audit", format!("cannot read the audit log: {what}"))
        .help("check the path; it is readable for the user that runs the node")
}

fn report_damage(damaged: u64, cx: &Context<'_>) {
    if damaged > 0 {
        cx.console.note(&format!("note: {damaged} lines of the log cannot be read, and were left out"));
    }
}

fn print(entry: &Entry, json: bool, out: &mut dyn Write) -> Result<(), Failure> {
    if json {
        out.write_all(&entry.line())?;
        return Ok(());
    }
    let mut words = vec![moment::text(entry.time), format!("{:8}", show::text(&entry.event))];
    let mut add = |text: String| {
        if !text.is_empty() {
            words.push(text);
        }
    };
    add(show::text(&entry.outcome).into_owned());
    add(show::text(&entry.command).into_owned());
    add(show::text(&entry.detail).into_owned());
    add(entry.client.map_or_else(String::new, |id| format!("client {id}")));
    add(if entry.name.is_empty() { String::new() } else { format!("({})", show::text(&entry.name)) });
    add(entry.address.map_or_else(String::new, |address| format!("from {address}")));
    add(if entry.key.is_empty() { String::new() } else { format!("key {}", show::text(&entry.key)) });
    add(show::text(&entry.envelope).into_owned());
    add(show::text(&entry.message_type).into_owned());
    add(show::text(&entry.pattern).into_owned());
    add(entry.code.map_or_else(String::new, |code| format!("close {code}")));
    add(show::text(&entry.reason).into_owned());
    add(entry.ms.map_or_else(String::new, |ms| format!("{ms} ms")));
    add(entry.uid.map_or_else(String::new, |uid| format!("by user {uid}")));
    add(entry.count.map_or_else(String::new, |count| format!("× {count}")));
    writeln!(out, "{}", words.join("  "))?;
    Ok(())
}
