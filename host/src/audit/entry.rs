//! One line of the log.

use std::borrow::Cow;
use std::net::IpAddr;

use hivemind_node::event::Party;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::moment;

/// What a satellite can make a line hold of its own words, in bytes.
const LONGEST: usize = 200;

/// Something that happened. What does not apply is left out; members that a later program writes are ignored.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Entry {
    /// When, in milliseconds since 1970.
    #[serde(with = "moment::as_text")]
    pub time: i64,
    /// `started`, `stopped`, `admitted`, `refused`, `denied`, `left`, `too_slow`, `admin`, `lost`.
    pub event: Cow<'static, str>,
    /// How it ended: why a connection was refused, the code of a denial, `done` or an error's code of a command.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub outcome: Cow<'static, str>,
    /// The client's number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client: Option<i64>,
    /// The client's name.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// The start of the access key's hash.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub key: String,
    /// From where.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<IpAddr>,
    /// The envelope's type.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub envelope: Cow<'static, str>,
    /// The message's type.
    #[serde(rename = "type", skip_serializing_if = "String::is_empty")]
    pub message_type: String,
    /// The Noise pattern.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub pattern: Cow<'static, str>,
    /// A close code.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<u16>,
    /// Why it was closed.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// How long it took, or lasted, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ms: Option<u64>,
    /// A command of this program.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub command: Cow<'static, str>,
    /// What it was to do, without secrets.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub detail: String,
    /// The system's user.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uid: Option<u32>,
    /// How many there were of it, where only a count was kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub count: Option<u64>,
}

impl Entry {
    /// Something that happened now.
    #[must_use]
    pub fn now(event: &'static str) -> Self {
        Self { time: moment::now(), event: Cow::Borrowed(event), ..Self::default() }
    }

    /// The same about a satellite.
    #[must_use]
    pub fn about(event: &'static str, party: &Party<'_>) -> Self {
        Self {
            client: party.client,
            name: short(party.name),
            key: fingerprint(party.access_key),
            address: Some(party.address),
            ..Self::now(event)
        }
    }

    /// How many it stands for.
    #[must_use]
    pub fn weight(&self) -> u64 {
        self.count.unwrap_or(1)
    }

    /// Its line.
    #[must_use]
    pub fn line(&self) -> Vec<u8> {
        // Texts, numbers and addresses have no way to fail.
        let mut line = serde_json::to_vec(self).unwrap_or_default();
        line.push(b'\n');
        line
    }
}

/// Enough of an access key's hash to tell it apart, and nothing that it could be used by.
#[must_use]
pub fn fingerprint(access_key: &str) -> String {
    if access_key.is_empty() {
        return String::new();
    }
    let hash = Sha256::digest(access_key.as_bytes());
    hash.iter().take(6).map(|byte| format!("{byte:02x}")).collect()
}

/// The beginning of what somebody else chose.
pub(crate) fn short(text: &str) -> String {
    let mut end = text.len().min(LONGEST);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let mut short = text[..end].to_owned();
    if end < text.len() {
        short.push('…');
    }
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_holds_what_applies_and_no_key() {
        let party =
            Party { address: IpAddr::from([192, 0, 2, 7]), client: Some(3), name: "kitchen", access_key: "its-access-key" };
        let entry = Entry { time: 0, outcome: "unknown_key".into(), ..Entry::about("refused", &party) };
        let line = String::from_utf8(entry.line()).expect("UTF-8");
        let expected = format!(
            "{{\"time\":\"1970-01-01T00:00:00.000Z\",\"event\":\"refused\",\"outcome\":\"unknown_key\",\"client\":3,\"name\":\"kitchen\",\"key\":\"{}\",\"address\":\"192.0.2.7\"}}\n",
            fingerprint("its-access-key")
        );
        assert_eq!(line, expected);
        assert_eq!(serde_json::from_str::<Entry>(&line).expect("read"), entry);
        assert!(fingerprint("its-access-key").len() == 12 && fingerprint("").is_empty());
    }

    #[test]
    fn a_line_stays_one_line_and_short_whatever_a_satellite_says() {
        let entry = Entry { message_type: short(&"\n\u{1b}ü".repeat(100_000)), ..Entry::now("denied") };
        let line = entry.line();
        assert!(line.iter().filter(|b| **b == b'\n').count() == 1 && line.len() < 2000, "{}", line.len());
        assert!(!line.contains(&0x1b));
    }
}
