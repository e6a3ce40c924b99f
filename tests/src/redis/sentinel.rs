//! A master, its replica, and three Sentinels that watch them.

use std::time::Duration;

use redis::FromRedisValue;

use crate::waiting::wait_until;

use super::server::Server;

/// How long a master may be silent before Sentinels act, in milliseconds. Far more than a busy machine keeps one from answering.
const SILENCE: u32 = 3000;

/// A watched pair of servers.
#[derive(Debug)]
pub struct Sentinels {
    /// The name that the Sentinels know the master by.
    pub name: &'static str,
    /// The first was the master at the beginning.
    pub servers: [Server; 2],
    /// The Sentinels.
    pub sentinels: Vec<Server>,
}

impl Sentinels {
    /// Starts all five and waits until the Sentinels know the replica and each other. The lines are for the servers.
    ///
    /// # Panics
    /// If they do not come together.
    #[must_use]
    pub fn start(lines: &[&str]) -> Self {
        let name = "hive";
        let master = Server::start(lines);
        let replica_of = format!("replicaof 127.0.0.1 {}", master.port());
        let mut of_replica = vec![replica_of.as_str()];
        of_replica.extend(lines);
        let replica = Server::start(&of_replica);
        wait_until("the replica is connected", || replica.info("master_link_status") == "up");
        let watch = [
            format!("sentinel monitor {name} 127.0.0.1 {} 2", master.port()),
            format!("sentinel down-after-milliseconds {name} {SILENCE}"),
            format!("sentinel failover-timeout {name} 10000"),
            format!("sentinel parallel-syncs {name} 1"),
        ];
        let watch: Vec<&str> = watch.iter().map(String::as_str).collect();
        let sentinels: Vec<Server> = (0..3).map(|_| Server::sentinel(&watch)).collect();
        let all = Self { name, servers: [master, replica], sentinels };
        all.wait();
        all
    }

    /// Waits until each Sentinel knows the others and a replica that could take over.
    ///
    /// # Panics
    /// If it takes too long.
    pub fn wait(&self) {
        wait_until("the Sentinels know each other and the replica", || {
            self.sentinels.iter().all(|sentinel| {
                let of_master = |entry: &str| {
                    let all: Vec<String> = sentinel.try_ask(&["SENTINEL", "MASTER", self.name]).unwrap_or_default();
                    all.chunks(2).find(|pair| pair[0] == entry).map(|pair| pair[1].clone()).unwrap_or_default()
                };
                let agreed = sentinel.try_ask::<String>(&["SENTINEL", "CKQUORUM", self.name]).is_ok();
                agreed
                    && of_master("num-other-sentinels") == "2"
                    && of_master("num-slaves") == "1"
                    && of_master("flags") == "master"
            })
        });
    }

    /// The port of the master as the Sentinels have it; `None` while they differ.
    #[must_use]
    pub fn master_port(&self) -> Option<u16> {
        let ask = |sentinel: &Server| {
            let address: Vec<String> = sentinel.try_ask(&["SENTINEL", "GET-MASTER-ADDR-BY-NAME", self.name]).ok()?;
            address.get(1)?.parse::<u16>().ok()
        };
        let ports: Vec<Option<u16>> = self.sentinels.iter().map(ask).collect();
        ports.iter().all(|port| *port == ports[0]).then(|| ports[0]).flatten()
    }

    /// The master as the Sentinels have it.
    ///
    /// # Panics
    /// If they do not agree for long.
    #[must_use]
    pub fn master(&self) -> &Server {
        let mut found = None;
        wait_until("the Sentinels agree on the master", || {
            found = self.master_port().and_then(|port| self.servers.iter().find(|server| server.port() == port));
            found.is_some()
        });
        found.expect("found")
    }

    /// Makes the replica the master, and waits until everybody knows.
    ///
    /// # Panics
    /// If it does not happen.
    pub fn fail_over(&self) {
        let before = self.master().port();
        // A Sentinel refuses while the last failover is being finished.
        wait_until("a Sentinel begins the failover", || {
            let begun = self.sentinels[0].try_ask::<String>(&["SENTINEL", "FAILOVER", self.name]).is_ok();
            if !begun {
                std::thread::sleep(Duration::from_millis(50));
            }
            begun
        });
        self.wait_for_another(before);
    }

    /// Waits until the master is another one than the one with this port, and answers as one.
    ///
    /// # Panics
    /// If that does not happen.
    pub fn wait_for_another(&self, before: u16) {
        wait_until("another master", || {
            std::thread::sleep(Duration::from_millis(20));
            let now = self.master_port().filter(|port| *port != before);
            let server = self.servers.iter().find(|server| Some(server.port()) == now);
            server.is_some_and(|server| role(server).is_some_and(|role| role == "master"))
        });
    }

    /// The ports of the Sentinels.
    #[must_use]
    pub fn ports(&self) -> Vec<u16> {
        self.sentinels.iter().map(Server::port).collect()
    }
}

/// What a server is, if it answers.
fn role(server: &Server) -> Option<String> {
    let answer: Vec<redis::Value> = server.try_ask(&["ROLE"]).ok()?;
    String::from_redis_value(answer.into_iter().next()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failover_makes_the_replica_the_master_with_all_that_it_had() {
        let all = Sentinels::start(&[]);
        assert_eq!(all.master().port(), all.servers[0].port());
        all.servers[0].ask::<()>(&["SET", "key", "value"]);
        assert_eq!(all.servers[0].ask::<u32>(&["WAIT", "1", "0"]), 1);
        all.fail_over();
        assert_eq!(all.master().port(), all.servers[1].port());
        assert_eq!(all.servers[1].ask::<String>(&["GET", "key"]), "value");
        wait_until("the old master follows", || role(&all.servers[0]).is_some_and(|role| role == "slave"));
    }

    #[test]
    fn a_master_that_dies_is_replaced() {
        let all = Sentinels::start(&[]);
        let before = all.master().port();
        all.servers[0].kill();
        all.wait_for_another(before);
    }
}
