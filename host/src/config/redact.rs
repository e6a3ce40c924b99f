//! Hiding secrets in what is shown.
//!
//! By the name of what holds a value, wherever it is nested, because a plugin's settings are its own business and their secrets must
//! not be shown before anybody has listed them. An empty value is left: that a password is *not* set is what an operator looks for.

use hivemind_model::json::{self, Json};
use serde_json::Value;

/// What stands in a secret's place.
pub const MASK: &str = "********";

/// Whether what goes by this name is a secret.
#[must_use]
pub fn is_secret(name: &str) -> bool {
    const WORDS: [&str; 10] =
        ["password", "passwd", "passphrase", "pwd", "secret", "token", "psk", "credentials", "authorization", "bearer"];
    const KEYS: [&str; 6] = ["apikey", "privatekey", "secretkey", "accesskey", "encryptionkey", "cryptokey"];
    let plain: String = name.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect();
    if plain.ends_with("pubkey") || plain.ends_with("publickey") {
        return false;
    }
    let words = name.to_ascii_lowercase();
    plain == "key"
        || words.ends_with("_key")
        || words.ends_with("-key")
        || plain.starts_with("noisepsk")
        // A key that was mistyped is unknown to the backend, but its value is what it is.
        || strsim::damerau_levenshtein(&plain, "password") <= 2
        || WORDS.iter().chain(&KEYS).any(|w| plain.ends_with(w))
}

/// The same document with secrets masked.
#[must_use]
pub fn redact(value: &Value) -> Value {
    match value {
        Value::Object(members) => members
            .iter()
            .map(|(name, value)| {
                let hidden = is_secret(name) && !is_empty(value);
                (name.clone(), if hidden { Value::from(MASK) } else { redact(value) })
            })
            .collect::<serde_json::Map<_, _>>()
            .into(),
        Value::Array(items) => items.iter().map(redact).collect::<Vec<_>>().into(),
        Value::String(text) => without_userinfo(text).into(),
        other => other.clone(),
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(_) => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(members) => members.is_empty(),
        Value::Number(_) => false,
    }
}

/// JSON text of a record's free-form data on one line, names sorted, secrets masked unless `show_secrets`. Numbers keep their digits;
/// `NaN` and the infinities, which JSON does not have but the Python node writes, become null.
#[must_use]
pub fn json_text(text: &str, show_secrets: bool) -> String {
    let mut out = String::new();
    match json::parse(text) {
        Ok(parsed) => write(&parsed, show_secrets, &mut out),
        Err(_) => out.push_str("null"),
    }
    out
}

fn write(value: &Json<'_>, show_secrets: bool, out: &mut String) {
    match value {
        Json::Null | Json::Number("NaN" | "Infinity" | "-Infinity") => out.push_str("null"),
        Json::Bool(v) => out.push_str(if *v { "true" } else { "false" }),
        Json::Number(raw) => out.push_str(raw),
        Json::String(text) => {
            let text = text.decode();
            json::quote_into(&if show_secrets { text.into_owned() } else { without_userinfo(&text) }, out);
        }
        Json::Array(items) => {
            out.push('[');
            for (i, item) in items.iter().enumerate() {
                out.push_str(if i == 0 { "" } else { ", " });
                write(item, show_secrets, out);
            }
            out.push(']');
        }
        Json::Object(members) => {
            let mut sorted: Vec<_> = members.iter().map(|m| (m.name.decode(), &m.value)).collect();
            sorted.sort_by(|(a, _), (b, _)| a.cmp(b));
            out.push('{');
            for (i, (name, value)) in sorted.into_iter().enumerate() {
                out.push_str(if i == 0 { "" } else { ", " });
                json::quote_into(&name, out);
                out.push_str(": ");
                let nothing = match value {
                    Json::Null | Json::Bool(_) => true,
                    Json::String(text) => text.raw.is_empty(),
                    Json::Array(items) => items.is_empty(),
                    Json::Object(members) => members.is_empty(),
                    Json::Number(_) => false,
                };
                if !show_secrets && is_secret(&name) && !nothing {
                    json::quote_into(MASK, out);
                } else {
                    write(value, show_secrets, out);
                }
            }
            out.push('}');
        }
    }
}

/// The text with `user:password@` masked in every URL in it.
#[must_use]
pub fn without_userinfo(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    text.split_inclusive(char::is_whitespace).for_each(|word| mask_userinfo(word, &mut out));
    out
}

/// The same for one word. Each place of it is looked at a few times only, however many `://` there are.
fn mask_userinfo(word: &str, out: &mut String) {
    let mut rest = word;
    while let Some(at) = rest.find("://") {
        let (before, after) = rest.split_at(at + 3);
        out.push_str(before);
        rest = after;
        let Some(last) = after.rfind('@') else { break };
        let authority = after.find(['/', '?', '#']).unwrap_or(after.len());
        // A password may hold any of those unescaped, and `@` too: where the authority has none, the word's last one ends the secret.
        let end = after[..authority].rfind('@').or_else(|| after[..last].contains(':').then_some(last));
        if let Some(end) = end {
            out.push_str(MASK);
            rest = &after[end..];
        }
    }
    out.push_str(rest);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_hold_secrets_are_known_and_their_neighbours_are_not() {
        for secret in [
            "password",
            "Password",
            "redis_password",
            "key",
            "noise_psk",
            "noise_psk_for",
            "psk",
            "api_key",
            "apiKey",
            "auth_token",
            "client-secret",
            "crypto_key",
            "ssl_keyfile_password",
            "PASSPHRASE",
            "x-token",
            "passwrd",
            "pasword",
        ] {
            assert!(is_secret(secret), "{secret}");
        }
        for open in [
            "min_password_bits",
            "runtime_password_strength_check",
            "ssl_keyfile",
            "noise_pubkey",
            "public_key",
            "intercom_pubkey",
            "api_key_cache_ttl",
            "cluster_hash_tag",
            "name",
            "keys",
            "keyboard",
            "host",
            "subfolder",
            "index_prefix",
            "monkey",
            "keyword",
            "card",
        ] {
            assert!(!is_secret(open), "{open}");
        }
    }

    #[test]
    fn secrets_are_masked_at_any_depth_and_empty_ones_shown() {
        let value = serde_json::json!({
            "upstream": {"key": "k1", "password": "", "url": "redis://u:p@host:1/0"},
            "list": [{"token": 5, "secret": {"a": "b"}, "password": null}],
            "allowed": true,
        });
        let expected = serde_json::json!({
            "upstream": {"key": MASK, "password": "", "url": format!("redis://{MASK}@host:1/0")},
            "list": [{"token": MASK, "secret": MASK, "password": null}],
            "allowed": true,
        });
        assert_eq!(redact(&value), expected);
    }

    #[test]
    fn urls_lose_their_userinfo_only() {
        for (text, expected) in [
            ("see http://h/x@y and ftp://a:b@h", format!("see http://h/x@y and ftp://{MASK}@h")),
            ("redis://:p@ss@h:1", format!("redis://{MASK}@h:1")),
            ("redis://u:p/w@h", format!("redis://{MASK}@h")),
            ("redis://u:p/w@x@h", format!("redis://{MASK}@h")),
            ("a://b://u:p@h\nc://d@e f:@g", format!("a://{MASK}@h\nc://{MASK}@e f:@g")),
            ("http://h:80/x?y#z ://u@h://v@i", format!("http://h:80/x?y#z ://{MASK}@h://{MASK}@i")),
            ("mail me@home", "mail me@home".to_owned()),
            ("://", "://".to_owned()),
        ] {
            assert_eq!(without_userinfo(text), expected, "{text}");
        }
    }

    /// Were each of them looked through to the end, this would take hours.
    #[test]
    fn a_million_urls_in_one_word_do_not_cost_their_square() {
        for (url, masked) in [("://", "://".to_owned()), ("x://y/", "x://y/".to_owned()), ("://u@", format!("://{MASK}@"))] {
            assert!(without_userinfo(&url.repeat(1_000_000)) == masked.repeat(1_000_000), "{url}");
        }
    }

    #[test]
    fn record_data_keeps_its_digits_and_becomes_strict_json() {
        let text =
            r#"{"z": 123456789012345678901, "a": [NaN, 1.50], "noise_psk": "s", "noise_psk_for": "", "m": {"password": "p"}}"#;
        let expected = format!(
            r#"{{"a": [null, 1.50], "m": {{"password": "{MASK}"}}, "noise_psk": "{MASK}", "noise_psk_for": "", "z": 123456789012345678901}}"#
        );
        assert_eq!(json_text(text, false), expected);
        assert!(json_text(text, true).contains(r#""noise_psk": "s""#));
    }
}
