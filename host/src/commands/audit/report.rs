//! `audit report`.

use std::io::Write;

use serde_json::{Value, json};

use super::{Filter, open, report_damage, unreadable};
use crate::audit::moment;
use crate::audit::report::{Analysis, Bounds, Report};
use crate::commands::{Context, show};
use crate::config::pretty;
use crate::failure::Failure;

/// The arguments of `audit report`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// So many refusals of one address, with no pause of 10 minutes, are a burst
    #[arg(long, value_name = "COUNT", default_value_t = 10)]
    pub burst: u64,
    /// A client that is not seen for so long is silent
    #[arg(long, value_name = "SPAN", default_value = "30d", value_parser = span)]
    pub silent: i64,
    /// Do not ask the store who was not seen for long
    #[arg(long)]
    pub no_store: bool,
    /// How many lines of a table
    #[arg(long, value_name = "COUNT", default_value_t = 20)]
    pub top: usize,
    /// Which entries.
    #[command(flatten)]
    pub filter: Filter,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

fn span(text: &str) -> Result<i64, String> {
    moment::span(text).ok_or_else(|| "expected a span such as 12h, 30d or 4w".to_owned())
}

/// A client that the store has not seen for long.
struct Silent {
    id: i64,
    name: String,
    /// In milliseconds; `None`: never.
    last_seen: Option<i64>,
}

/// Names what is unusual.
pub(super) fn run(args: &Args, cx: &Context<'_>, out: &mut dyn Write) -> Result<(), Failure> {
    let mut reader = open(&args.filter.path(cx)?)?;
    let mut analysis = Analysis::new(Bounds { burst: args.burst.max(1), pause: 600_000, silence: args.silent });
    for entry in reader.by_ref() {
        let entry = entry.map_err(|e| unreadable(&e.to_string()))?;
        // A start is everybody's business.
        if args.filter.fits_but_for_time(&entry) || entry.event == "started" {
            analysis.look(&entry, !args.filter.fits(&entry));
        }
    }
    let report = analysis.report();
    let silent = if args.no_store { None } else { Some(silent(args, cx)?) };
    if args.json {
        let mut all = serde_json::to_value(&report).unwrap_or_default();
        all["damaged_lines"] = json!(reader.damaged());
        if let Some(silent) = &silent {
            all["silent"] = silent.iter().map(Silent::json).collect();
        }
        writeln!(out, "{}", pretty(&all, b"  "))?;
        return Ok(());
    }
    print(&report, args, out)?;
    if let Some(silent) = silent {
        print_silent(&silent, args, out)?;
    }
    report_damage(reader.damaged(), cx);
    Ok(())
}

impl Silent {
    fn json(&self) -> Value {
        json!({"client": self.id, "name": self.name, "last_seen": self.last_seen.map(moment::text)})
    }
}

/// Clients that were not seen for long, by what the store says, the longest first.
fn silent(args: &Args, cx: &Context<'_>) -> Result<Vec<Silent>, Failure> {
    let session = cx.session()?;
    let before = moment::now().saturating_sub(args.silent);
    let mut silent = Vec::new();
    let unreadable = pollster::block_on(session.clients.for_each(|client| {
        #[expect(clippy::cast_possible_truncation, reason = "times beyond all calendars are long ago, or not at all")]
        let last_seen = (client.last_seen >= 0.0).then_some((client.last_seen * 1000.0) as i64);
        let is_meant = args
            .filter
            .client
            .as_ref()
            .is_none_or(|named| named.parse() == Ok(client.id) || client.label() == named || client.api_key == *named);
        if !client.is_revoked() && is_meant && last_seen.is_none_or(|seen| seen < before) {
            silent.push(Silent { id: client.id, name: client.label().to_owned(), last_seen });
        }
        Ok::<(), hivemind_store::Error>(())
    }))?;
    crate::commands::list::report(&unreadable, cx);
    silent.sort_by_key(|s| (s.last_seen, s.id));
    Ok(silent)
}

fn print(report: &Report, args: &Args, out: &mut dyn Write) -> Result<(), Failure> {
    let events: Vec<String> = report.events.iter().map(|(event, count)| format!("{count} {}", show::text(event))).collect();
    writeln!(out, "Entries: {}", if events.is_empty() { "none".to_owned() } else { events.join(", ") })?;

    let mut table = show::table(&["From", "Refusals", "Keys", "First", "Last", "Why"]);
    for burst in report.bursts.iter().take(args.top) {
        let why: Vec<String> = burst.outcomes.iter().map(|(outcome, count)| format!("{} {count}", show::text(outcome))).collect();
        let (first, last) = (moment::text(burst.first), moment::text(burst.last));
        table.add_row([burst.source.clone(), burst.refusals.to_string(), burst.keys.to_string(), first, last, why.join(", ")]);
    }
    section("Bursts of refusals", report.bursts.len(), &table, args, out)?;

    let mut table = show::table(&["Client", "Name", "Addresses", "Times", "First", "Last"]);
    for shared in report.shared.iter().take(args.top) {
        let addresses: Vec<String> = shared.addresses.iter().take(10).map(ToString::to_string).collect();
        let (first, last) = (moment::text(shared.first), moment::text(shared.last));
        table.add_row([
            shared.client.to_string(),
            show::name(&shared.name),
            addresses.join(" "),
            shared.times.to_string(),
            first,
            last,
        ]);
    }
    section("One key at several addresses at once", report.shared.len(), &table, args, out)?;

    let mut table = show::table(&["Client", "Name", "Came back", "From", "After days"]);
    for returned in report.returned.iter().take(args.top) {
        let from = returned.address.map_or_else(String::new, |address| address.to_string());
        table.add_row([
            returned.client.to_string(),
            show::name(&returned.name),
            moment::text(returned.time),
            from,
            returned.days.to_string(),
        ]);
    }
    section("Back after long silence", report.returned.len(), &table, args, out)?;

    let mut table = show::table(&["Client", "Name", "Type", "Code", "Times"]);
    for denied in report.denied.iter().take(args.top) {
        let client = denied.client.map_or_else(String::new, |id| id.to_string());
        let (message_type, code) = (show::name(&denied.message_type), show::name(&denied.code));
        table.add_row([client, show::name(&denied.name), message_type, code, denied.times.to_string()]);
    }
    section("Denials by client and type", report.denied.len(), &table, args, out)
}

fn print_silent(silent: &[Silent], args: &Args, out: &mut dyn Write) -> Result<(), Failure> {
    let mut table = show::table(&["Client", "Name", "Last seen"]);
    for client in silent.iter().take(args.top) {
        let last = client.last_seen.map_or_else(|| "never".to_owned(), moment::text);
        table.add_row([client.id.to_string(), show::name(&client.name), last]);
    }
    section("Silent for long, by the store", silent.len(), &table, args, out)
}

fn section(title: &str, found: usize, table: &comfy_table::Table, args: &Args, out: &mut dyn Write) -> Result<(), Failure> {
    if found == 0 {
        writeln!(out, "\n{title}: none")?;
        return Ok(());
    }
    let more = if found > args.top { format!(", of which the first {}", args.top) } else { String::new() };
    writeln!(out, "\n{title}: {found}{more}\n{table}")?;
    Ok(())
}
