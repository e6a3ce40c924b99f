//! How things look on the screen.

use comfy_table::{ContentArrangement, Table, presets};
use hivemind_model::json;
use hivemind_store::Client;

use crate::config::redact::{self, MASK};
pub(super) use crate::plain::plain as text;

/// A name in a table. One that no person gave is cut: all rows are as wide as the widest, and a table of megabytes takes minutes.
pub(super) fn name(stored: &str) -> String {
    const LONGEST: usize = 200;
    let mut shown = text(stored).into_owned();
    if let Some((end, _)) = shown.char_indices().nth(LONGEST) {
        shown.truncate(end);
        shown.push('…');
    }
    shown
}

/// A truth value in the Python node's words.
pub(super) const fn truth(value: bool) -> &'static str {
    if value { "True" } else { "False" }
}

/// A secret, or what stands in its place.
pub(super) fn secret(value: &str, show_secrets: bool) -> &str {
    if show_secrets || value.is_empty() { value } else { MASK }
}

/// A table with a head, never cut: a key that lacks its end is worse than a long line.
pub(super) fn table(head: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::UTF8_FULL_CONDENSED).set_content_arrangement(ContentArrangement::Disabled).set_header(head);
    table
}

/// A client as one line of strict JSON, its fields in the order of the stored record.
pub(super) fn client_json(client: &Client, show_secrets: bool) -> String {
    record_json(client, show_secrets, show_secrets)
}

/// The same of a client that was just added: its password is shown this once.
pub(super) fn new_client_json(client: &Client, show_secrets: bool) -> String {
    record_json(client, true, show_secrets)
}

fn record_json(client: &Client, show_password: bool, show_metadata: bool) -> String {
    let mut out = String::from("{");
    let mut member = |name: &str, json: String| {
        out.push_str(if out.len() == 1 { "" } else { ", " });
        json::quote_into(name, &mut out);
        out.push_str(": ");
        out.push_str(&json);
    };
    let quoted = |text: Option<&str>| text.map_or_else(|| "null".to_owned(), json::quote);
    let types: Vec<String> = client.allowed_types.iter().map(|t| json::quote(t)).collect();
    member("client_id", client.id.to_string());
    member("api_key", json::quote(&client.api_key));
    member("name", quoted(client.name.as_deref()));
    member("description", quoted(client.description.as_deref()));
    member("is_admin", client.is_admin.to_string());
    member("last_seen", format!("{:?}", client.last_seen));
    member("allowed_types", format!("[{}]", types.join(", ")));
    member("password", quoted(client.password.as_deref().map(|p| secret(p, show_password))));
    member("can_broadcast", client.can_broadcast.to_string());
    member("can_escalate", client.can_escalate.to_string());
    member("can_propagate", client.can_propagate.to_string());
    member("metadata", redact::json_text(client.metadata.as_json(), show_metadata));
    out.push('}');
    out
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_name_is_whole_unless_no_person_gave_it() {
        assert_eq!(super::name("Küche"), "Küche");
        assert_eq!(super::name(&"ü".repeat(201)), "ü".repeat(200) + "…");
    }
}
