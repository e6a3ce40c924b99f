//! `add-client`.

use std::fmt;
use std::io::Write;
use std::path::PathBuf;

use clap::ArgAction;
use clap::builder::BoolishValueParser;
use hivemind_model::json::{self, Json};
use hivemind_store::clients::{NewClient, check_message_type};
use hivemind_store::{Client, Error};

use super::{Context, certificate, show};
use crate::config::redact::{self, MASK};
use crate::failure::{Exit, Failure};

/// The arguments of `add-client`.
#[derive(Default, clap::Args)]
#[command(
    after_help = "Without --access-key or --password 16 random bytes are made for each. What is printed is the only time this \
program shows the password unasked."
)]
pub struct Args {
    /// What people call the client
    #[arg(long, value_name = "NAME", allow_hyphen_values = true)]
    pub name: Option<String>,
    /// What identifies it
    #[arg(long, value_name = "KEY", allow_hyphen_values = true)]
    pub access_key: Option<String>,
    /// The secret it authenticates with; other users can see it in the process list, so better use $HIVEMIND_PASSWORD or
    /// --password-stdin
    #[arg(long, value_name = "PASSWORD", env = "HIVEMIND_PASSWORD", hide_env_values = true, allow_hyphen_values = true)]
    pub password: Option<String>,
    /// Read the password from the first line of the standard input
    #[arg(long)]
    pub password_stdin: bool,
    /// Make it an administrator
    #[arg(long, value_name = "BOOLEAN", num_args = 0..=1, default_missing_value = "true", value_parser = BoolishValueParser::new())]
    pub admin: Option<bool>,
    /// Its metadata, a JSON object
    #[arg(long, value_name = "JSON")]
    pub metadata: Option<String>,
    /// A certificate (PEM or DER) that it must show when TLS asks for one; only its fingerprint is stored
    #[arg(long, value_name = "FILE")]
    pub cert: Option<PathBuf>,
    /// Accept a password that is easy to guess
    #[arg(long)]
    pub allow_weak_password: bool,
    /// A message type it may send; may be given several times. Without any it is denied on every message
    #[arg(long, value_name = "TYPE", action = ArgAction::Append)]
    pub allow: Vec<String>,
    /// Print the new client's record as JSON
    #[arg(long)]
    pub json: bool,
    /// Print secrets in the metadata too; the new password is always printed
    #[arg(long)]
    pub show_secrets: bool,
}

impl fmt::Debug for Args {
    /// The password and the metadata, which may hold a key, are told by their being there alone.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Args")
            .field("name", &self.name)
            .field("access_key", &self.access_key.as_ref().map(|_| MASK))
            .field("password", &self.password.as_ref().map(|_| MASK))
            .field("password_stdin", &self.password_stdin)
            .field("admin", &self.admin)
            .field("metadata", &self.metadata.as_ref().map(|_| MASK))
            .field("cert", &self.cert)
            .field("allow_weak_password", &self.allow_weak_password)
            .field("allow", &self.allow)
            .field("json", &self.json)
            .field("show_secrets", &self.show_secrets)
            .finish()
    }
}

/// Adds a client and prints its credentials.
///
/// # Errors
/// See [`super::run`].
pub fn run(args: &Args, cx: &Context<'_>, out: &mut dyn Write) -> Result<(), Failure> {
    args.allow.iter().try_for_each(|name| check_message_type(name)).map_err(|e| Failure::usage(format!("--allow: {e}")))?;
    let password = password(args, cx)?;
    let config = cx.config()?;
    if let Some(password) = &password
        && !args.allow_weak_password
    {
        check_strength(password, config.min_password_bits())?;
    }
    let metadata = metadata(args)?;
    let session = cx.open(config)?;
    let given = |value: &Option<String>| value.clone().filter(|v| !v.is_empty());
    let access_key = given(&args.access_key).map_or_else(random_hex, Ok)?;
    let name = match given(&args.name) {
        Some(name) => name,
        None => format!("HiveMind-Node-{}", pollster::block_on(session.clients.count())?),
    };
    let new = NewClient {
        password: Some(password.map_or_else(random_hex, Ok)?),
        name,
        is_admin: args.admin.unwrap_or_default(),
        allowed_types: args.allow.clone(),
        metadata,
        ..NewClient::new(access_key.clone())
    };
    let client = match pollster::block_on(session.clients.add(new)) {
        Ok(client) => client,
        Err(Error::KeyTaken { .. }) => return Err(taken(&access_key, &session.clients)),
        Err(other) => return Err(other.into()),
    };
    cx.subject.replace(Some((&*client).into()));
    if args.json {
        writeln!(out, "{}", show::new_client_json(&client, args.show_secrets))?;
    } else {
        print(&client, &session.opened.module, args, out)?;
    }
    if access_key.trim().parse::<i64>().is_ok() {
        cx.console.note("note: this access key looks like a client's number, and goes before it where a client is named");
    }
    Ok(())
}

fn password(args: &Args, cx: &Context<'_>) -> Result<Option<String>, Failure> {
    if !args.password_stdin {
        return Ok(args.password.clone().filter(|p| !p.is_empty()));
    }
    match cx.console.ask("")? {
        Some(password) if !password.is_empty() => Ok(Some(password)),
        _ => Err(Failure::usage("--password-stdin: the standard input holds no password")),
    }
}

/// The metadata that was given, as it was written, and the certificate's fingerprint.
fn metadata(args: &Args) -> Result<String, Failure> {
    let text = args.metadata.as_deref().unwrap_or("{}");
    let members = match json::parse(text) {
        Ok(Json::Object(members)) => members,
        Ok(other) => return Err(Failure::usage(format!("--metadata must be a JSON object, found {}", other.kind()))),
        Err(error) => return Err(Failure::usage(format!("--metadata must be valid JSON: {error}"))),
    };
    let Some(file) = &args.cert else { return Ok(text.to_owned()) };
    if members.iter().any(|member| member.name.decode() == certificate::MEMBER) {
        return Err(Failure::usage(format!(
            "--cert and `{}` of --metadata say the same thing; leave one out",
            certificate::MEMBER
        )));
    }
    let mut all: Vec<String> = members.iter().map(|m| format!("{}: {}", json::quote(&m.name.decode()), m.raw)).collect();
    all.push(format!("{}: {}", json::quote(certificate::MEMBER), json::quote(&certificate::fingerprint_of(file)?)));
    Ok(format!("{{{}}}", all.join(", ")))
}

/// Refuses what the node's handshake would refuse later.
fn check_strength(password: &str, required: f64) -> Result<(), Failure> {
    if required <= 0.0 {
        return Ok(());
    }
    let bits = hivemind_node::password_bits(password);
    if bits >= required {
        return Ok(());
    }
    let start: String = password.chars().take(72).collect();
    let estimate = zxcvbn::zxcvbn(&start, &[]);
    let feedback = estimate.feedback();
    let warning = feedback.and_then(zxcvbn::feedback::Feedback::warning).map(|w| w.to_string());
    let hint = warning.or_else(|| feedback?.suggestions().first().map(ToString::to_string)).unwrap_or_default();
    let message = format!("the password is too guessable (~{bits:.0} bits of resistance; {required:.0} required). {hint}");
    Err(Failure::new(Exit::Usage, "weak-password", message.trim_end())
        .help("use a longer passphrase, leave the password out to have one made, or pass --allow-weak-password"))
}

fn random_hex() -> Result<String, Failure> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes)
        .map_err(|e| Failure::new(Exit::Failed, "no-randomness", format!("the system gave no random bytes: {e}")))?;
    Ok(bytes.iter().map(|b| format!("{b:02x}")).collect())
}

fn taken(access_key: &str, clients: &hivemind_store::Clients) -> Failure {
    let holder = pollster::block_on(clients.by_access_key(access_key)).ok().flatten();
    let whose = holder.map_or_else(String::new, |c| format!(" (Node ID: {}, Friendly Name: {})", c.id, show::text(c.label())));
    Failure::new(
        Exit::Conflict,
        "key-taken",
        format!("a client already exists for access key '{}'{whose}", show::text(access_key)),
    )
    .help("change it with rename-client, allow-*, blacklist-* or delete-client, or choose another access key")
}

fn print(client: &Client, module: &str, args: &Args, out: &mut dyn Write) -> Result<(), Failure> {
    writeln!(out, "Database backend: {module}\nCredentials added to database!\n")?;
    writeln!(out, "Node ID: {}", client.id)?;
    writeln!(out, "Admin Privileges: {}", show::truth(client.is_admin))?;
    writeln!(out, "Friendly Name: {}", show::text(client.label()))?;
    writeln!(out, "Access Key: {}", show::text(&client.api_key))?;
    writeln!(out, "Password: {}", show::text(client.password.as_deref().unwrap_or_default()))?;
    if args.metadata.is_some() || args.cert.is_some() {
        writeln!(out, "Metadata: {}", show::text(&redact::json_text(client.metadata.as_json(), args.show_secrets)))?;
    }
    if !client.allowed_types.is_empty() {
        writeln!(out, "Allowed Message Types: {}", show::text(&client.allowed_types.join(", ")))?;
        return Ok(());
    }
    writeln!(out, "Allowed Message Types: (none — the client is DENIED on every message)")?;
    writeln!(out, "\nNOTE: Allowed message types is empty — this client will be DENIED on every message.")?;
    writeln!(out, "      Grant access explicitly, e.g.:")?;
    writeln!(out, "      hivemind-host allow-msg ovos.utterance.handle recognizer_loop:utterance {}", client.id)?;
    writeln!(out, "      (a client is admitted on the exact topic it sends: ovos.utterance.handle is")?;
    writeln!(out, "      the current name, recognizer_loop:utterance the legacy one)")?;
    writeln!(out, "      (admin status does not exempt a client from the message type whitelist)")?;
    Ok(())
}
