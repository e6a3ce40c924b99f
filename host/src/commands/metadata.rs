//! `set-metadata`.

use std::fmt;
use std::io::Write;
use std::path::PathBuf;

use hivemind_model::json::{self, Json};
use hivemind_store::clients::MetadataChange;

use super::{Context, Target, certificate, pick, show};
use crate::config::redact::{self, MASK};
use crate::failure::Failure;

/// The arguments of `set-metadata`.
#[derive(clap::Args)]
#[command(
    after_help = "Policy plugins read their settings for a client from its metadata: skill_blacklist and intent_blacklist, for \
example. Members are merged one by one; first --metadata, then --key and --cert, then --unset. \
`--unset client_cert` forgets a certificate."
)]
pub struct Args {
    /// The client.
    #[command(flatten)]
    pub target: Target,
    /// A JSON object whose members are set
    #[arg(long, value_name = "JSON")]
    pub metadata: Option<String>,
    /// A single member to set, together with --value
    #[arg(long, value_name = "NAME", allow_hyphen_values = true)]
    pub key: Option<String>,
    /// The value for --key: JSON if it is, else a text
    #[arg(long, value_name = "VALUE", allow_hyphen_values = true)]
    pub value: Option<String>,
    /// A member to remove
    #[arg(long, value_name = "NAME", allow_hyphen_values = true)]
    pub unset: Option<String>,
    /// A certificate (PEM or DER) that the client must show when TLS asks for one; only its fingerprint is stored, as client_cert
    #[arg(long, value_name = "FILE")]
    pub cert: Option<PathBuf>,
    /// Print secrets instead of masking them
    #[arg(long)]
    pub show_secrets: bool,
    /// Print the client's record as JSON
    #[arg(long)]
    pub json: bool,
}

impl fmt::Debug for Args {
    /// What is set may be a key of the Noise handshake.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Args")
            .field("target", &self.target)
            .field("metadata", &self.metadata.as_ref().map(|_| MASK))
            .field("key", &self.key)
            .field("value", &self.value.as_ref().map(|_| MASK))
            .field("unset", &self.unset)
            .field("cert", &self.cert)
            .field("show_secrets", &self.show_secrets)
            .field("json", &self.json)
            .finish()
    }
}

impl Args {
    /// The names of what is changed, without the values.
    pub(super) fn names(&self) -> String {
        let Ok(change) = change_of(self) else { return String::new() };
        let set = change.set.iter().map(|(name, _)| name.clone());
        let unset = change.unset.iter().map(|name| format!("-{name}"));
        set.chain(unset).collect::<Vec<_>>().join(" ")
    }
}

/// Changes members of a client's metadata.
///
/// # Errors
/// See [`super::run`].
pub fn run(args: &Args, cx: &Context<'_>, out: &mut dyn Write) -> Result<(), Failure> {
    let change = change_of(args)?;
    let session = cx.session()?;
    let client = pick::client(&args.target, &session.clients, cx)?;
    let now = pollster::block_on(session.clients.set_metadata(&client, &change))?;
    if args.json {
        writeln!(out, "{}", show::client_json(&now, args.show_secrets))?;
        return Ok(());
    }
    let shown = redact::json_text(now.metadata.as_json(), args.show_secrets);
    writeln!(out, "Updated metadata for {}: {}", show::text(client.label()), show::text(&shown))?;
    Ok(())
}

fn change_of(args: &Args) -> Result<MetadataChange, Failure> {
    let mut change = MetadataChange::default();
    if let Some(text) = &args.metadata {
        change.set = members(text)?;
    }
    match (&args.key, &args.value) {
        (Some(name), Some(value)) => change.set.push((name.clone(), value_of(value))),
        (Some(_), None) => return Err(Failure::usage("--key requires --value")),
        (None, Some(_)) => return Err(Failure::usage("--value requires --key")),
        (None, None) => {}
    }
    if let Some(file) = &args.cert {
        change.set.push((certificate::MEMBER.to_owned(), json::quote(&certificate::fingerprint_of(file)?)));
    }
    change.unset.extend(args.unset.clone());
    if change.set.is_empty() && change.unset.is_empty() {
        return Err(Failure::usage("pass --metadata, --key/--value, --cert, or --unset"));
    }
    Ok(change)
}

/// The members of an object, each with its text.
fn members(text: &str) -> Result<Vec<(String, String)>, Failure> {
    match json::parse(text) {
        Ok(Json::Object(members)) => Ok(members.iter().map(|m| (m.name.decode().into_owned(), m.raw.to_owned())).collect()),
        Ok(other) => Err(Failure::usage(format!("--metadata must be a JSON object, found {}", other.kind()))),
        Err(error) => Err(Failure::usage(format!("--metadata must be valid JSON: {error}"))),
    }
}

fn value_of(text: &str) -> String {
    if json::parse(text).is_ok() { text.trim().to_owned() } else { json::quote(text) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_json_if_it_can_be_and_keeps_its_digits() {
        for (text, stored) in [
            ("1.50", "1.50"),
            (" 5 ", "5"),
            ("true", "true"),
            ("\"q\"", "\"q\""),
            ("007", "\"007\""),
            ("", "\"\""),
            ("a\"b", "\"a\\\"b\""),
        ] {
            assert_eq!(value_of(text), stored, "{text:?}");
        }
    }
}
