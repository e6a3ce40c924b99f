//! What an operator asks for: where the data is, what keeps it, and what an acknowledged write is worth there.

use hivemind_abi::model::{Context, Problem, Report, Result};

use crate::keys::Namespace;
use crate::link::{About, Link, Topology};
use crate::read::{self};
use crate::record::Raw;
use crate::space::Spaces;

/// Facts about the servers and what is stored there.
pub(crate) struct Describing<'d> {
    pub(crate) cx: &'d Context<'d>,
    pub(crate) link: &'d Link,
    pub(crate) namespace: &'d Namespace,
    pub(crate) database: i64,
    pub(crate) spaces: &'d Spaces,
    pub(crate) is_bare: bool,
    pub(crate) is_tracked: bool,
}

impl Describing<'_> {
    /// All that can be learnt. What the ACL forbids to ask is left out.
    ///
    /// # Errors
    /// The link's.
    pub(crate) fn report(&self) -> Result<Report> {
        let masters = self.link.about(self.cx)?;
        let Some(first) = masters.first() else { return Ok(Report::new()) };
        let addresses: Vec<&str> = masters.iter().map(|about| about.address.as_str()).collect();
        let keys = format!("database {}, keys {}:*", self.database, self.namespace.base());
        let mut report = Report::new()
            .with("engine", format!("Redis {}", first.version))
            .with("location", format!("{}, {keys}", addresses.join(", ")))
            .with("topology", self.topology())
            .with("acknowledged_write", worth(&masters));
        if let Some(version) = self.schema_version()? {
            report = report.with("schema_version", version);
        }
        report = facts(report, first);
        let (idle, busy) = masters.iter().map(|about| about.connections).fold((0, 0), |sum, n| (sum.0 + n.0, sum.1 + n.1));
        let count = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
        report = report
            .with("connections_idle", count(idle))
            .with("connections_in_use", count(busy))
            .with("changes_by_others", if self.is_tracked { "told within a second" } else { "not told: every lookup asks" })
            .with("writes", self.writes());
        report.problems = masters.iter().flat_map(problems).collect();
        Ok(report)
    }

    fn topology(&self) -> &'static str {
        match (self.link.topology(), self.is_bare) {
            (Topology::Single, _) => "one server",
            (Topology::Cluster, false) => "a cluster, all keys in the slot of the tag",
            (Topology::Cluster, true) => {
                "a cluster without a tag: single records only, access keys not kept unique, searches read everything; move to a tag"
            }
        }
    }

    fn writes(&self) -> &'static str {
        match self.link.scripts_allowed() {
            true => "a script that compares and writes",
            false => "WATCH, MULTI and EXEC, because scripts are forbidden",
        }
    }

    fn schema_version(&self) -> Result<Option<i64>> {
        let Some(space) = self.spaces.iter().find(|space| space.collection.primary) else { return Ok(None) };
        let asked = read::ask(self.cx, self.link, std::slice::from_ref(&space.keys.version), &[])?;
        Ok(match asked.strings.first() {
            Some(Raw::Text(text)) => std::str::from_utf8(text).ok().and_then(|text| text.trim().parse().ok()),
            _ => None,
        })
    }
}

/// What a server says of itself, as far as it says it.
fn facts(report: Report, about: &About) -> Report {
    let mut report = report.with("role", if about.role == "master" { "master" } else { "replica" });
    if let Some(replicas) = about.replicas {
        report = report.with("replicas", replicas);
    }
    if let Some(wanted) = about.replicas_wanted {
        report = report.with("min_replicas_to_write", wanted);
    }
    if let Some(appends) = about.appends {
        report = report.with("appendonly", appends);
    }
    if let Some(syncs) = &about.syncs {
        report = report.with("appendfsync", syncs.as_str());
    }
    if let Some(snapshots) = &about.snapshots {
        report = report.with("save", snapshots.as_str());
    }
    if let Some((used, most)) = about.memory {
        report = report.with("used_memory", used).with("maxmemory", most);
    }
    if let Some(eviction) = &about.eviction {
        report = report.with("maxmemory_policy", eviction.as_str());
    }
    if about.modules.is_empty() { report } else { report.with("modules", about.modules.join(", ")) }
}

/// What an acknowledged write is worth on the server that is worth least.
fn worth(masters: &[About]) -> String {
    let rank = |about: &About| match (about.appends, about.syncs.as_deref(), about.snapshots.as_deref()) {
        (Some(true), Some("always"), _) => 0,
        (Some(true), Some("everysec"), _) => 1,
        (Some(true), ..) => 2,
        (_, _, Some("")) => 4,
        (Some(false), _, Some(_)) => 3,
        _ => 5,
    };
    let worst = masters.iter().map(rank).max().unwrap_or(5);
    let mut text = match worst {
        0 => "survives the end of this process; the server syncs it to disk before it acknowledges it, so it survives a crash and a power cut \
              there",
        1 => "survives the end of this process and of the server's; a power cut there may lose the last two seconds (appendfsync everysec)",
        2 => "survives the end of this process and of the server's; a power cut there may lose what its system had not yet written (appendfsync \
              no)",
        3 => "survives the end of this process; a crash of the server loses what came after its last snapshot. Set appendonly yes there",
        4 => "survives the end of this process, and is lost when the server ends: it keeps nothing on disk. Set appendonly yes there",
        _ => "survives the end of this process; what the server keeps on disk it does not let us ask",
    }
    .to_owned();
    if masters.iter().any(|about| about.replicas.is_some_and(|replicas| replicas > 0)) {
        text.push_str("; replicas follow a little later, so a failover may lose the last writes");
    }
    text
}

/// What an operator should change at a server.
pub(crate) fn problems(about: &About) -> Vec<Problem> {
    let mut found = Vec::new();
    let mut problem = |message: String| found.push(Problem { collection: "redis".to_owned(), key: None, message });
    if let (Some((_, most)), Some(policy)) = (about.memory, about.eviction.as_deref())
        && most > 0
        && policy.starts_with("allkeys")
    {
        problem(format!(
            "{}: when its memory is full it removes clients (maxmemory-policy {policy}); set noeviction, or a volatile policy",
            about.address
        ));
    }
    if about.persists == Some(false) {
        problem(format!("{}: its last snapshot or append failed; see its log and its disk", about.address));
    }
    if about.role != "master" && !about.role.is_empty() {
        problem(format!("{}: it is a replica, which can be read only", about.address));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn about(appends: bool, syncs: &str, snapshots: &str) -> About {
        About {
            appends: Some(appends),
            syncs: Some(syncs.to_owned()),
            snapshots: Some(snapshots.to_owned()),
            role: "master".to_owned(),
            ..About::default()
        }
    }

    #[test]
    fn a_write_is_worth_what_the_weakest_server_makes_of_it() {
        assert!(worth(&[about(true, "always", "")]).contains("power cut there"));
        assert!(worth(&[about(true, "always", ""), about(true, "everysec", "")]).contains("two seconds"));
        assert!(worth(&[about(false, "everysec", "3600 1")]).contains("last snapshot"));
        assert!(worth(&[about(false, "everysec", "")]).contains("nothing on disk"));
        assert!(worth(&[About::default()]).contains("does not let us ask"));
        let followed = About { replicas: Some(1), ..about(true, "always", "") };
        assert!(worth(&[followed]).contains("failover"));
    }

    #[test]
    fn a_policy_that_removes_clients_is_a_problem_only_where_memory_is_limited() {
        let with = |most, policy: &str| About {
            memory: Some((1, most)),
            eviction: Some(policy.to_owned()),
            ..about(true, "always", "")
        };
        for (most, policy, expected) in
            [(1, "allkeys-lru", 1), (0, "allkeys-lru", 0), (1, "noeviction", 0), (1, "volatile-ttl", 0)]
        {
            assert_eq!(problems(&with(most, policy)).len(), expected, "{policy} {most}");
        }
        assert_eq!(problems(&About { persists: Some(false), ..About::default() }).len(), 1);
    }
}
