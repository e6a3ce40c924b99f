//! `policy list` and `policy test`: what every message is checked against.

use std::io::Write;

use hivemind_node::policy::{Verdict, judge};
use hivemind_node::settings::Policy;
use serde_json::{Value, json};

use super::{Context, pick, show};
use crate::config::pretty;
use crate::failure::Failure;
use crate::node::settings;

/// The commands of `policy`.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Print the chain in its order
    List,
    /// Say what would become of a message, without sending one
    Test(TestArgs),
}

/// The arguments of `policy test`.
#[derive(Debug, clap::Args)]
pub struct TestArgs {
    /// The client's access key or number
    #[arg(value_name = "ID")]
    pub id: String,
    /// The message's type
    #[arg(value_name = "TYPE")]
    pub message_type: String,
    /// The session that the message would be in; left out, one of the client's own
    #[arg(long, value_name = "SESSION", default_value = "policy-test")]
    pub session: String,
}

/// Runs a command of `policy`.
///
/// # Errors
/// See [`super::run`].
pub fn run(command: &Command, cx: &Context<'_>, out: &mut dyn Write) -> Result<(), Failure> {
    let config = cx.config()?;
    let chain = settings::chain(&config)?;
    match command {
        Command::List => list(&chain, out),
        Command::Test(args) => {
            let session = cx.open(config)?;
            let client = pick::named(&args.id, &session.clients, cx)?;
            let verdict = judge(&chain, &client, &args.message_type, &args.session);
            writeln!(out, "{}", pretty(&described(&verdict), b"  "))?;
            Ok(())
        }
    }
}

fn list(chain: &[Policy], out: &mut dyn Write) -> Result<(), Failure> {
    let mut table = show::table(&["Position", "Policy", "Source"]);
    // Both are always there, and always first.
    let always = ["the client's whitelist of message types", "no session of everybody's (`default`) but for administrators"];
    let configured = chain.iter().map(|policy| match policy {
        Policy::Ovos => "hivemind-ovos-agent-policy: the client's blacklists of skills and intents",
    });
    let all = always.iter().map(|name| (*name, "always")).chain(configured.map(|name| (name, "server.json")));
    for (position, (name, source)) in all.enumerate() {
        table.add_row([position.to_string(), name.to_owned(), source.to_owned()]);
    }
    writeln!(out, "{table}")?;
    Ok(())
}

/// The Python node's form.
fn described(verdict: &Verdict) -> Value {
    match verdict {
        Verdict::Denied(denial) => json!({
            "denied": true,
            "code": denial.code,
            "reason": denial.reason,
            "data": serde_json::from_str::<Value>(&denial.data).unwrap_or_default(),
            "mutations": [],
        }),
        Verdict::Allowed { blacklisted_skills, blacklisted_intents } => {
            let lists = [("blacklisted_skills", blacklisted_skills), ("blacklisted_intents", blacklisted_intents)];
            let set = lists.into_iter().filter(|(_, items)| !items.is_empty());
            let mutations: Vec<Value> = set.map(|(name, items)| json!({"session": name, "add": items})).collect();
            json!({"denied": false, "code": null, "reason": null, "data": {}, "mutations": mutations})
        }
    }
}
