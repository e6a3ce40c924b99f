//! Which client a command is about.
//!
//! As in the Python node an access key goes before a number, and without either the operator chooses from a list; the only client
//! there is needs no choosing, unless it is to be revoked. Without a terminal nothing is chosen, so that a script whose variable is
//! empty stops instead of changing whatever client happens to be there. Revoked clients are nobody's target.

use std::sync::Arc;

use hivemind_store::{Client, Clients, Error};

use super::show;
use super::{Context, Target};
use crate::failure::{Exit, Failure};

/// The client that `target` names, or that the operator chooses.
pub(super) fn client(target: &Target, clients: &Clients, cx: &Context<'_>) -> Result<Arc<Client>, Failure> {
    found(target, clients, cx, true)
}

/// The same for what cannot be undone: the only client there is has to be chosen too.
pub(super) fn client_to_revoke(target: &Target, clients: &Clients, cx: &Context<'_>) -> Result<Arc<Client>, Failure> {
    found(target, clients, cx, false)
}

fn found(target: &Target, clients: &Clients, cx: &Context<'_>, take_the_only_one: bool) -> Result<Arc<Client>, Failure> {
    let client = match &target.id {
        Some(id) => named(id, clients, cx),
        None => chosen(clients, cx, take_the_only_one),
    }?;
    cx.subject.replace(Some((&*client).into()));
    Ok(client)
}

/// The live client with this access key or number.
pub(super) fn named(id: &str, clients: &Clients, cx: &Context<'_>) -> Result<Arc<Client>, Failure> {
    let by_number = number(id).map(|n| pollster::block_on(clients.by_id(n)));
    if let Some(client) = pollster::block_on(clients.by_access_key(id))? {
        if let Some(Ok(Some(other))) = by_number
            && other.id != client.id
        {
            let key = show::text(id);
            cx.console.note(&format!(
                "note: {key} is the access key of client {}, and that goes before the number; name client {} by its access key",
                client.id, other.id
            ));
        }
        return Ok(client);
    }
    match by_number.transpose()?.flatten() {
        Some(client) if client.is_revoked() => {
            Err(Failure::new(Exit::NoSuchClient, "unknown-client", format!("client {} is revoked", client.id))
                .help("there is no way back; add a new client with add-client"))
        }
        Some(client) => Ok(client),
        None => Err(unknown(id)),
    }
}

/// Whether this names a live client. A record that cannot be read is no answer either way.
pub(super) fn is_client(id: &str, clients: &Clients, cx: &Context<'_>) -> Result<bool, Failure> {
    match named(id, clients, cx) {
        Ok(_) => Ok(true),
        Err(failure) if failure.exit == Exit::NoSuchClient => Ok(false),
        Err(failure) => Err(failure),
    }
}

fn unknown(id: &str) -> Failure {
    let message = format!("{:?} is neither an access key nor the number of a client", show::text(id));
    Failure::new(Exit::NoSuchClient, "unknown-client", message).help("list-clients shows all clients")
}

/// A number as the Python node reads one: spaces around it, a sign and leading zeros do not matter.
fn number(text: &str) -> Option<i64> {
    let trimmed = text.trim();
    trimmed.strip_prefix('+').unwrap_or(trimmed).parse().ok()
}

fn chosen(clients: &Clients, cx: &Context<'_>, take_the_only_one: bool) -> Result<Arc<Client>, Failure> {
    if !cx.console.is_interactive() {
        return Err(Failure::usage("no client was named, and there is no terminal to choose one on")
            .help("give the client's number or access key; list-clients shows them"));
    }
    let mut live = Vec::new();
    let unreadable = pollster::block_on(clients.for_each(|client| {
        if !client.is_revoked() {
            live.push(client);
        }
        Ok::<(), Error>(())
    }))?;
    super::list::report(&unreadable, cx);
    if live.is_empty() {
        let (what, help) = match unreadable.len() {
            0 => ("there are no clients", "add one with add-client"),
            _ => ("there are no clients that can be read", "repair or restore the records named above"),
        };
        return Err(Failure::new(Exit::NoSuchClient, "unknown-client", what).help(help));
    }
    // A record that cannot be read may be the client that was meant.
    if let (true, true, [only]) = (take_the_only_one, unreadable.is_empty(), &*live) {
        cx.console.note(&format!("Client {} ({}), the only one:", only.id, show::text(only.label())));
        return Ok(Arc::new(live.swap_remove(0)));
    }
    let mut table = show::table(&["ID", "Name", "Allowed message types"]);
    for client in &live {
        table.add_row([client.id.to_string(), show::name(client.label()), types(client)]);
    }
    cx.console.note(&table.to_string());
    loop {
        let answer = cx.console.ask("Which client? (its ID; nothing to leave) ")?;
        let answer = match answer.as_deref().map(str::trim) {
            None => return Err(Failure::new(Exit::Failed, "no-answer", "no answer came; nothing was changed")),
            Some("") => return Err(Failure::new(Exit::Aborted, "aborted", "no client was chosen; nothing was changed")),
            Some(answer) => answer.to_owned(),
        };
        let found = live.iter().position(|c| c.api_key == answer).or_else(|| {
            let id = number(&answer)?;
            live.iter().position(|c| c.id == id)
        });
        match found {
            Some(at) => return Ok(Arc::new(live.swap_remove(at))),
            None => cx.console.note("Please choose one of the clients listed."),
        }
    }
}

pub(super) fn types(client: &Client) -> String {
    if client.unreadable_whitelist {
        return "(unreadable: denies everything)".to_owned();
    }
    show::text(&client.allowed_types.join(" ")).into_owned()
}
