//! Real Redis servers for the tests: each on a free port and in a folder of its own, ended with its handle.

#![allow(dead_code, reason = "no test uses all of it")]

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
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
    args: Vec<String>,
    pub(crate) folder: TempDir,
}

impl Server {
    /// With further arguments, as on its command line.
    pub(crate) fn start(args: &[&str]) -> Self {
        Self::start_as("--port", args)
    }

    /// With this option for its port: `--port`, or `--tls-port` to speak TLS alone.
    pub(crate) fn start_as(port_option: &str, args: &[&str]) -> Self {
        for _ in 0..TRIES {
            let folder = tempfile::tempdir().expect("a folder");
            let port = free_port();
            let mut all: Vec<String> = vec![port_option.to_owned(), port.to_string()];
            if port_option == "--tls-port" {
                all.extend(["--port".to_owned(), "0".to_owned()]);
            }
            all.extend(args.iter().map(|a| (*a).to_owned()));
            let mut server = Self { child: None, port, args: all, folder };
            if server.launch() {
                return server;
            }
        }
        panic!("no redis-server started with {args:?}");
    }

    /// Its Unix socket.
    pub(crate) fn socket(&self) -> PathBuf {
        self.folder.path().join("s")
    }

    fn launch(&mut self) -> bool {
        let log = std::fs::File::create(self.folder.path().join("log")).expect("a log");
        let mut command = Command::new("redis-server");
        command
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

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}
