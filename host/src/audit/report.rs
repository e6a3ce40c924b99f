//! What is unusual in a log: bursts of refusals, one key at several places at once, a key that was silent for long, and denials.
//!
//! One pass over the entries in their order. What is kept is bounded by the log, which is bounded by its rotation.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{IpAddr, Ipv6Addr};

use serde::Serialize;

use super::entry::Entry;
use super::moment;

/// What counts as unusual.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// So many refusals of one address are a burst.
    pub burst: u64,
    /// As long as none of them is later than this after the one before, in milliseconds.
    pub pause: i64,
    /// A key that is used again after so long was silent, in milliseconds.
    pub silence: i64,
}

/// Refusals in a row.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Burst {
    /// From where; of IPv6 the network of 64 bits.
    pub source: String,
    /// The first one.
    #[serde(with = "moment::as_text")]
    pub first: i64,
    /// The last one.
    #[serde(with = "moment::as_text")]
    pub last: i64,
    /// How many.
    pub refusals: u64,
    /// How many different keys, as far as they were written down one by one.
    pub keys: usize,
    /// How often for which reason.
    pub outcomes: BTreeMap<String, u64>,
    #[serde(skip)]
    seen: BTreeSet<String>,
}

/// One client at several addresses at once.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Shared {
    /// Its number.
    pub client: i64,
    /// Its name.
    pub name: String,
    /// The first time.
    #[serde(with = "moment::as_text")]
    pub first: i64,
    /// The last time.
    #[serde(with = "moment::as_text")]
    pub last: i64,
    /// How often it came while it was elsewhere.
    pub times: u64,
    /// Where.
    pub addresses: BTreeSet<IpAddr>,
}

/// A client that came back after a long time.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Returned {
    /// Its number.
    pub client: i64,
    /// Its name.
    pub name: String,
    /// When it came back.
    #[serde(with = "moment::as_text")]
    pub time: i64,
    /// From where.
    pub address: Option<IpAddr>,
    /// After how many days.
    pub days: i64,
}

/// What one client was denied.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Denied {
    /// Its number.
    pub client: Option<i64>,
    /// Its name.
    pub name: String,
    /// The code of the denial.
    pub code: String,
    /// The message's type.
    #[serde(rename = "type")]
    pub message_type: String,
    /// How often.
    pub times: u64,
}

/// All that is found.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Report {
    /// How many there were of each event.
    pub events: BTreeMap<String, u64>,
    /// Bursts of refusals, the largest first.
    pub bursts: Vec<Burst>,
    /// Clients at several addresses at once.
    pub shared: Vec<Shared>,
    /// Clients that came back after long.
    pub returned: Vec<Returned>,
    /// Denials, the most frequent first.
    pub denied: Vec<Denied>,
}

/// Looks at entries one after the other.
#[derive(Debug)]
pub struct Analysis {
    bounds: Bounds,
    events: BTreeMap<String, u64>,
    open_bursts: HashMap<String, Burst>,
    bursts: Vec<Burst>,
    /// Where each client is connected, and how often.
    places: HashMap<i64, HashMap<IpAddr, u64>>,
    shared: BTreeMap<i64, Shared>,
    last_seen: HashMap<i64, i64>,
    returned: Vec<Returned>,
    denied: HashMap<(Option<i64>, String, String), Denied>,
}

impl Analysis {
    /// Nothing was looked at yet.
    #[must_use]
    pub fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            events: BTreeMap::new(),
            open_bursts: HashMap::new(),
            bursts: Vec::new(),
            places: HashMap::new(),
            shared: BTreeMap::new(),
            last_seen: HashMap::new(),
            returned: Vec::new(),
            denied: HashMap::new(),
        }
    }

    /// Looks at the next entry. What happened before the time that is asked about is only `remembered`: who is connected, and since when
    /// not.
    pub fn look(&mut self, entry: &Entry, remembered: bool) {
        if !remembered {
            let count = self.events.entry(entry.event.to_string()).or_default();
            *count = count.saturating_add(entry.weight());
        }
        match &*entry.event {
            // Whoever was connected to the node before is not connected to this one.
            "started" => self.places.clear(),
            "admitted" => self.admitted(entry, remembered),
            "left" => self.left(entry),
            "refused" if !remembered => self.refused(entry),
            "denied" if !remembered => self.denied(entry),
            _ => {}
        }
    }

    fn admitted(&mut self, entry: &Entry, remembered: bool) {
        let (Some(client), Some(address)) = (entry.client, entry.address) else { return };
        if let Some(last) = self.last_seen.insert(client, entry.time)
            && !remembered
            && entry.time.saturating_sub(last) >= self.bounds.silence
        {
            let days = (entry.time - last) / 86_400_000;
            self.returned.push(Returned { client, name: entry.name.clone(), time: entry.time, address: entry.address, days });
        }
        let places = self.places.entry(client).or_default();
        if !remembered && places.keys().any(|place| *place != address) {
            let shared = self.shared.entry(client).or_insert_with(|| Shared {
                client,
                name: entry.name.clone(),
                first: entry.time,
                last: entry.time,
                times: 0,
                addresses: BTreeSet::new(),
            });
            shared.times += 1;
            shared.last = entry.time;
            shared.addresses.extend(places.keys().copied().chain([address]));
        }
        *places.entry(address).or_default() += entry.weight();
    }

    fn left(&mut self, entry: &Entry) {
        let (Some(client), Some(address)) = (entry.client, entry.address) else { return };
        self.last_seen.insert(client, entry.time);
        if let Some(places) = self.places.get_mut(&client) {
            let count = places.get(&address).copied().unwrap_or(0).saturating_sub(entry.weight());
            if count == 0 {
                places.remove(&address)
            } else {
                places.insert(address, count)
            };
        }
    }

    fn refused(&mut self, entry: &Entry) {
        // These are not about who came.
        if matches!(&*entry.outcome, "gone" | "stopping" | "storage") {
            return;
        }
        let source = entry.address.map_or_else(|| "several".to_owned(), network);
        let begin = || Burst {
            source: source.clone(),
            first: entry.time,
            last: entry.time,
            refusals: 0,
            keys: 0,
            outcomes: BTreeMap::new(),
            seen: BTreeSet::new(),
        };
        let burst = self.open_bursts.entry(source.clone()).or_insert_with(begin);
        if entry.time.saturating_sub(burst.last) > self.bounds.pause {
            let over = std::mem::replace(burst, begin());
            if over.refusals >= self.bounds.burst {
                self.bursts.push(over);
            }
        }
        burst.last = burst.last.max(entry.time);
        burst.refusals = burst.refusals.saturating_add(entry.weight());
        *burst.outcomes.entry(entry.outcome.to_string()).or_default() += entry.weight();
        if !entry.key.is_empty() {
            burst.seen.insert(entry.key.clone());
        }
    }

    fn denied(&mut self, entry: &Entry) {
        let message_type = if entry.message_type.is_empty() { entry.envelope.to_string() } else { entry.message_type.clone() };
        let key = (entry.client, entry.outcome.to_string(), message_type);
        let denied = self.denied.entry(key).or_insert_with_key(|(client, code, message_type)| Denied {
            client: *client,
            name: entry.name.clone(),
            code: code.clone(),
            message_type: message_type.clone(),
            times: 0,
        });
        denied.times = denied.times.saturating_add(entry.weight());
    }

    /// What was found.
    #[must_use]
    pub fn report(self) -> Report {
        let enough = self.bounds.burst;
        let mut bursts = self.bursts;
        bursts.extend(self.open_bursts.into_values().filter(|burst| burst.refusals >= enough));
        for burst in &mut bursts {
            burst.keys = burst.seen.len();
        }
        bursts.sort_by(|a, b| (b.refusals, a.first).cmp(&(a.refusals, b.first)));
        let mut denied: Vec<Denied> = self.denied.into_values().collect();
        denied.sort_by(|a, b| (b.times, a.client, &a.message_type).cmp(&(a.times, b.client, &b.message_type)));
        Report { events: self.events, bursts, shared: self.shared.into_values().collect(), returned: self.returned, denied }
    }
}

/// Where somebody comes from: who has one IPv6 address has 64 bits of them.
fn network(address: IpAddr) -> String {
    match address.to_canonical() {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            format!("{}/64", Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: i64 = 60_000;
    const DAY: i64 = 86_400_000;
    const BOUNDS: Bounds = Bounds { burst: 5, pause: 10 * MINUTE, silence: 30 * DAY };

    fn entry(event: &'static str, time: i64, client: i64, address: &str) -> Entry {
        let address = address.parse().ok();
        Entry { time, client: Some(client), name: format!("c{client}"), address, ..Entry::now(event) }
    }

    fn report(entries: &[Entry]) -> Report {
        let mut analysis = Analysis::new(BOUNDS);
        entries.iter().for_each(|entry| analysis.look(entry, false));
        analysis.report()
    }

    #[test]
    fn bursts_are_by_source_and_end_with_a_pause() {
        let refused = |time: i64, address: &str, key: i64, count: Option<u64>| Entry {
            client: None,
            key: key.to_string(),
            outcome: "unknown_key".into(),
            count,
            ..entry("refused", time, 0, address)
        };
        let mut entries: Vec<Entry> = (0..6).map(|n| refused(n * MINUTE, "192.0.2.1", n, None)).collect();
        entries.extend((0..4).map(|n| refused(n * MINUTE, "192.0.2.2", n, None)));
        entries.extend((0..6).map(|n| refused(n * 20 * MINUTE, "192.0.2.3", n, None)));
        entries.extend([refused(0, "2001:db8::1", 1, None), refused(1, "2001:db8::ffff:2", 1, Some(1000))]);
        entries.push(Entry { outcome: "gone".into(), ..refused(0, "192.0.2.9", 1, Some(99)) });
        let found = report(&entries);
        let bursts: Vec<_> = found.bursts.iter().map(|b| (b.source.as_str(), b.refusals, b.keys)).collect();
        assert_eq!(bursts, [("2001:db8::/64", 1001, 1), ("192.0.2.1", 6, 6)]);
        assert_eq!((found.bursts[1].first, found.bursts[1].last), (0, 5 * MINUTE));
    }

    #[test]
    fn a_key_is_shared_only_while_it_is_elsewhere_too() {
        let (here, there) = ("192.0.2.1", "192.0.2.2");
        let moved = [entry("admitted", 0, 1, here), entry("left", 1, 1, here), entry("admitted", 2, 1, there)];
        assert_eq!(report(&moved).shared, []);
        let twice = [entry("admitted", 0, 1, here), entry("admitted", 1, 1, here)];
        assert_eq!(report(&twice).shared, []);
        let restarted =
            [entry("admitted", 0, 1, here), Entry { time: 1, ..Entry::now("started") }, entry("admitted", 2, 1, there)];
        assert_eq!(report(&restarted).shared, []);
        let both = [entry("admitted", 0, 1, here), entry("admitted", 5, 1, there), entry("admitted", 6, 2, here)];
        let shared = report(&both).shared;
        assert_eq!((shared.len(), shared[0].client, shared[0].first, shared[0].addresses.len()), (1, 1, 5, 2));
    }

    #[test]
    fn who_comes_back_after_long_is_named_also_if_the_time_before_is_not_asked_about() {
        let mut analysis = Analysis::new(BOUNDS);
        analysis.look(&entry("admitted", 0, 1, "192.0.2.1"), true);
        analysis.look(&entry("left", DAY, 1, "192.0.2.1"), true);
        analysis.look(&entry("admitted", 30 * DAY, 1, "192.0.2.1"), false);
        analysis.look(&entry("admitted", 61 * DAY, 1, "192.0.2.1"), false);
        let found = analysis.report();
        assert_eq!(found.returned.iter().map(|r| (r.time, r.days)).collect::<Vec<_>>(), [(61 * DAY, 31)]);
        assert_eq!(found.events, BTreeMap::from([("admitted".to_owned(), 2)]));
    }

    #[test]
    fn denials_are_summed_by_client_and_type() {
        let denied = |client, message_type: &str, count| Entry {
            outcome: "acl_disallowed_type".into(),
            message_type: message_type.to_owned(),
            count,
            ..entry("denied", 0, client, "192.0.2.1")
        };
        let found = report(&[denied(1, "a", None), denied(2, "a", Some(7)), denied(1, "a", None), denied(1, "b", None)]);
        let sums: Vec<_> = found.denied.iter().map(|d| (d.client, d.message_type.as_str(), d.times)).collect();
        assert_eq!(sums, [(Some(2), "a", 7), (Some(1), "a", 2), (Some(1), "b", 1)]);
    }
}
