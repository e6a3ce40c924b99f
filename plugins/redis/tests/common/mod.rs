//! Real Redis servers for the tests: each on a free port and in a folder of its own, ended with its handle.

#![allow(dead_code, reason = "no test uses all of it")]

pub(crate) mod certificates;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// How long a server may take until it answers.
const START: Duration = Duration::from_secs(20);
/// A port may be taken between the moment it is found free and the server's start.
const TRIES: usize = 5;

/// A port that nobody listens on.
pub(crate) fn free_port() -> u16 {
    // Cluster nodes listen on the port 10000 above as well.
    loop {
        let port = TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a free port").port();
        if port < 50_000 && TcpListener::bind(("127.0.0.1", port + 10_000)).is_ok() {
            return port;
        }
    }
}

/// A running `redis-server`.
pub(crate) struct Server {
    child: Option<Child>,
    pub(crate) port: u16,
    file: Option<PathBuf>,
    args: Vec<String>,
    pub(crate) folder: TempDir,
    kept: Option<TempDir>,
}

impl Server {
    /// With further arguments, as on its command line.
    pub(crate) fn start(args: &[&str]) -> Self {
        Self::start_as("--port", args)
    }

    /// With this option for its port: `--port`, or `--tls-port` to speak TLS alone.
    pub(crate) fn start_as(port_option: &str, args: &[&str]) -> Self {
        Self::start_with(None, port_option, args)
    }

    fn start_with(file: Option<&Path>, port_option: &str, args: &[&str]) -> Self {
        let mut said = String::new();
        for _ in 0..TRIES {
            let folder = tempfile::tempdir().expect("a folder");
            let port = free_port();
            let mut all: Vec<String> = vec![port_option.to_owned(), port.to_string()];
            if port_option == "--tls-port" {
                all.extend(["--port".to_owned(), "0".to_owned()]);
            }
            all.extend(args.iter().map(|a| (*a).to_owned()));
            let mut server = Self { child: None, port, file: file.map(Path::to_owned), args: all, folder, kept: None };
            if server.launch() {
                return server;
            }
            said = std::fs::read_to_string(server.folder.path().join("log")).unwrap_or_default();
        }
        panic!("no redis-server started with {args:?}: {said}");
    }

    /// Its Unix socket.
    pub(crate) fn socket(&self) -> PathBuf {
        self.folder.path().join("s")
    }

    fn launch(&mut self) -> bool {
        let log = std::fs::File::create(self.folder.path().join("log")).expect("a log");
        let mut command = Command::new("redis-server");
        command
            .args(&self.file)
            .args(["--bind", "127.0.0.1", "--save", "", "--unixsocket"])
            .arg(self.socket())
            .arg("--dir")
            .arg(self.folder.path());
        command.args(&self.args).stdin(Stdio::null()).stdout(log).stderr(Stdio::null());
        self.child = Some(command.spawn().expect("redis-server is installed"));
        let since = Instant::now();
        while since.elapsed() < START {
            if self.child.as_mut().is_some_and(|c| c.try_wait().is_ok_and(|ended| ended.is_some())) {
                return false;
            }
            if TcpStream::connect(("127.0.0.1", self.port)).is_ok() {
                return true;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        false
    }

    /// Ends it as a crash would.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Starts it again, on its port.
    pub(crate) fn restart(&mut self) {
        self.kill();
        assert!(self.launch(), "the server starts again on port {}", self.port);
    }

    /// Sends one line as an inline command, on a connection of its own, and gives the first answer's bytes.
    pub(crate) fn tell(&self, line: &str) -> String {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).expect("the server");
        stream.set_read_timeout(Some(START)).expect("a timeout");
        stream.write_all(format!("{line}\r\n").as_bytes()).expect("sent");
        let mut answer = vec![0; 64 << 10];
        let length = stream.read(&mut answer).expect("an answer");
        String::from_utf8_lossy(&answer[..length]).into_owned()
    }
}

/// Waits until this is so.
pub(crate) fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let since = Instant::now();
    while !is_so() {
        assert!(since.elapsed() < START, "{what} did not come");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Three masters that share the slots.
pub(crate) fn cluster() -> Vec<Server> {
    let nodes: Vec<Server> =
        (0..3).map(|_| Server::start(&["--cluster-enabled", "yes", "--cluster-node-timeout", "2000"])).collect();
    for (node, slots) in nodes.iter().zip(["0 5460", "5461 10922", "10923 16383"]) {
        assert_eq!(node.tell(&format!("CLUSTER ADDSLOTSRANGE {slots}")), "+OK\r\n");
        nodes[0].tell(&format!("CLUSTER MEET 127.0.0.1 {}", node.port));
    }
    for node in &nodes {
        until("the cluster", || {
            node.tell("CLUSTER INFO").contains("cluster_state:ok") && node.tell("CLUSTER SLOTS").starts_with("*3")
        });
    }
    nodes
}

/// A replica of this master of a cluster.
pub(crate) fn cluster_replica(master: &Server) -> Server {
    let replica = Server::start(&["--cluster-enabled", "yes", "--cluster-node-timeout", "2000"]);
    replica.tell(&format!("CLUSTER MEET 127.0.0.1 {}", master.port));
    let id = master.tell("CLUSTER MYID").lines().nth(1).expect("an id").to_owned();
    until("the replica", || replica.tell(&format!("CLUSTER REPLICATE {id}")).starts_with("+OK"));
    until("the copy", || master.tell("INFO replication").contains("state=online"));
    replica
}

/// A master, its replica, and a Sentinel that calls the master `hub`.
pub(crate) fn sentinel() -> (Server, Server, Server) {
    let master = Server::start(&[]);
    let replica = Server::start(&["--replicaof", "127.0.0.1", &master.port.to_string(), "--repl-diskless-sync-delay", "0"]);
    until("the replica", || master.tell("INFO replication").contains("state=online"));
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("sentinel.conf");
    let lines = format!(
        "sentinel monitor hub 127.0.0.1 {} 1\nsentinel down-after-milliseconds hub 1000\nsentinel failover-timeout hub 4000\n",
        master.port
    );
    std::fs::write(&file, lines).expect("written");
    let mut sentinel = Server::start_with(Some(&file), "--port", &["--sentinel"]);
    sentinel.kept = Some(folder);
    until("the Sentinel", || sentinel.tell("SENTINEL replicas hub").starts_with("*1"));
    (master, replica, sentinel)
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}
