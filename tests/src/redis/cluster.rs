//! Three masters that share the slots.

use crate::waiting::wait_until;

use super::server::Server;
use super::{Certificates, Dump};

/// How many masters: the fewest that Redis calls a cluster.
const MASTERS: u16 = 3;
/// How many slots a cluster has.
const SLOTS: u16 = 16_384;

/// A running cluster.
#[derive(Debug)]
pub struct Cluster {
    /// Its masters.
    pub masters: Vec<Server>,
}

impl Cluster {
    /// Starts one and waits until every master says that it is whole.
    ///
    /// # Panics
    /// If it does not come together.
    #[must_use]
    pub fn start(lines: &[&str]) -> Self {
        Self::of(Server::start, lines)
    }

    /// The same with TLS between everybody.
    ///
    /// # Panics
    /// If it does not come together.
    #[must_use]
    pub fn with_tls(certificates: &Certificates, lines: &[&str]) -> Self {
        let mut all = vec!["tls-cluster yes"];
        all.extend(lines);
        Self::of(|lines| Server::with_tls(certificates, lines), &all)
    }

    fn of(start: impl Fn(&[&str]) -> Server, lines: &[&str]) -> Self {
        let mut all = vec!["cluster-enabled yes", "cluster-node-timeout 5000", "cluster-require-full-coverage yes"];
        all.extend(lines);
        let masters: Vec<Server> = (0..MASTERS).map(|_| start(&all)).collect();
        for (number, master) in (0..).zip(&masters) {
            let slot = |of: u16| u32::from(of) * u32::from(SLOTS) / u32::from(MASTERS);
            let (first, last) = (slot(number).to_string(), (slot(number + 1) - 1).to_string());
            master.ask::<()>(&["CLUSTER", "ADDSLOTSRANGE", &first, &last]);
            // Of two with one epoch neither could tell the others what it has.
            master.ask::<()>(&["CLUSTER", "SET-CONFIG-EPOCH", &(number + 1).to_string()]);
        }
        for other in &masters[1..] {
            masters[0].ask::<()>(&["CLUSTER", "MEET", "127.0.0.1", &other.port().to_string()]);
        }
        let cluster = Self { masters };
        cluster.wait();
        cluster
    }

    /// Waits until every master knows all others and every slot.
    ///
    /// # Panics
    /// If it takes too long.
    pub fn wait(&self) {
        wait_until("the cluster is whole", || {
            self.masters.iter().all(|master| {
                let info: String = master.try_ask(&["CLUSTER", "INFO"]).unwrap_or_default();
                let has = |line: &str| info.lines().any(|found| found == line);
                has("cluster_state:ok")
                    && has(&format!("cluster_known_nodes:{MASTERS}"))
                    && has(&format!("cluster_size:{MASTERS}"))
            })
        });
    }

    /// The ports of all masters.
    #[must_use]
    pub fn ports(&self) -> Vec<u16> {
        self.masters.iter().map(Server::port).collect()
    }

    /// Everything that all masters hold under a prefix.
    #[must_use]
    pub fn dump(&self, prefix: &str) -> Dump {
        self.masters.iter().map(|master| master.dump(prefix)).fold(Dump::default(), Dump::and)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cluster_keeps_each_key_where_its_slot_is_and_sends_others_on() {
        let cluster = Cluster::start(&[]);
        let (mut kept, mut sent_on) = (0, 0);
        for n in 0..60 {
            for master in &cluster.masters {
                match master.try_ask::<()>(&["SET", &format!("key:{n}"), "v"]) {
                    Ok(()) => kept += 1,
                    Err(error) => {
                        assert_eq!(error.code(), Some("MOVED"), "{error}");
                        sent_on += 1;
                    }
                }
            }
        }
        assert_eq!((kept, sent_on), (60, 120));
        assert!(cluster.masters.iter().all(|master| !master.dump("key:").0.is_empty()), "all have some");
        assert_eq!(cluster.dump("key:").0.len(), 60);
    }
}
