//! What a server is and what it keeps, for the operator.

use hivemind_abi::model::{Context, Result};
use redis::{Cmd, Value, cmd};

use super::place::Place;
use super::server::Version;
use super::value::{integer, items, pairs, text};
use super::{Link, Repeat};

/// One master, as it says itself. What its ACL does not let us ask is unknown.
#[derive(Debug, Clone, Default)]
pub(crate) struct About {
    /// Where it is.
    pub(crate) address: String,
    pub(crate) version: Version,
    /// `master` or `slave`.
    pub(crate) role: String,
    /// How many replicas are connected.
    pub(crate) replicas: Option<i64>,
    /// `min-replicas-to-write`.
    pub(crate) replicas_wanted: Option<i64>,
    /// Whether writes are appended to a file.
    pub(crate) appends: Option<bool>,
    /// `appendfsync`: when that file is synced.
    pub(crate) syncs: Option<String>,
    /// `save`: when snapshots are made; empty for never.
    pub(crate) snapshots: Option<String>,
    /// Whether the last snapshot and the last append went well.
    pub(crate) persists: Option<bool>,
    /// Bytes in use, and how many it may use; 0 for no limit.
    pub(crate) memory: Option<(i64, i64)>,
    /// `maxmemory-policy`: what it removes when they are used up.
    pub(crate) eviction: Option<String>,
    /// Names of its modules.
    pub(crate) modules: Vec<String>,
    /// Connections of ours: idle, and in use.
    pub(crate) connections: (usize, usize),
}

impl Link {
    /// Every master: one, but on a cluster.
    ///
    /// # Errors
    /// See [`Link::query`]; what an ACL forbids is left out instead.
    pub(crate) fn about(&self, cx: &Context<'_>) -> Result<Vec<About>> {
        self.masters(cx)?.iter().map(|place| self.about_one(cx, place)).collect()
    }

    fn about_one(&self, cx: &Context<'_>, place: &Place) -> Result<About> {
        let config = |name: &str| cmd("CONFIG").arg("GET").arg(name).to_owned();
        let questions: [Cmd; 5] = [
            cmd("INFO"),
            config("appendfsync"),
            config("save"),
            config("min-replicas-to-write"),
            cmd("MODULE").arg("LIST").to_owned(),
        ];
        let answers = self.all_at(cx, place, &questions, Repeat::Safe)?;
        let [info, syncs, snapshots, wanted, modules] = &answers[..] else { return Ok(About::default()) };
        let setting = |answer: &Value| pairs(answer)?.first().and_then(|(_, value)| text(value)).map(str::to_owned);
        let info = text(info).unwrap_or_default();
        let field =
            |name: &str| info.lines().find_map(|line| line.trim_end().strip_prefix(name)?.strip_prefix(':')).map(str::to_owned);
        let number = |name: &str| field(name)?.parse::<i64>().ok();
        let went_well = |name: &str| field(name).map(|word| word == "ok");
        Ok(About {
            address: place.address().to_string(),
            version: place.greet(cx).map_err(|failure| failure.error)?.version,
            role: field("role").unwrap_or_default(),
            replicas: number("connected_slaves"),
            replicas_wanted: setting(wanted).and_then(|n| n.parse().ok()),
            appends: number("aof_enabled").map(|n| n == 1),
            syncs: setting(syncs),
            snapshots: setting(snapshots),
            persists: went_well("rdb_last_bgsave_status").map(|ok| ok && went_well("aof_last_write_status").unwrap_or(true)),
            memory: number("used_memory").zip(number("maxmemory")),
            eviction: field("maxmemory_policy"),
            modules: module_names(modules),
            connections: place.pool().open_count(),
        })
    }
}

fn module_names(modules: &Value) -> Vec<String> {
    let name = |module: &Value| {
        let pairs = pairs(module)?;
        pairs.iter().find(|(key, _)| text(key) == Some("name")).and_then(|(_, v)| text(v)).map(str::to_owned)
    };
    items(modules).unwrap_or_default().iter().filter_map(name).collect()
}
