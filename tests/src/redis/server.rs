//! One server on a port and a Unix socket, with its data in a folder of its own.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use redis::{
    Cmd, Connection, ConnectionAddr, ErrorKind, FromRedisValue, IntoConnectionInfo as _, RedisConnectionInfo, ServerErrorKind,
};
use rustix::process::{Pid, Signal, kill_process};

use super::{Certificates, Dump};
use crate::ports;
use crate::spawn::{spawn, tied};
use crate::waiting::HANGS;

/// The user that tests themselves are, on every server: it may do everything, with any password.
pub const CONTROL_USER: &str = "control";

/// A running `redis-server`, ended when this goes.
#[derive(Debug)]
pub struct Server {
    folder: tempfile::TempDir,
    port: u16,
    /// `None` while it is down.
    child: Mutex<Option<Child>>,
}

impl Server {
    /// Starts one that keeps everything in memory, with these lines at the end of its configuration.
    ///
    /// # Panics
    /// If it does not start.
    #[must_use]
    pub fn start(lines: &[&str]) -> Self {
        Self::new("redis-server", "port", lines)
    }

    /// Starts one that has written and synced each change before it acknowledges it.
    ///
    /// # Panics
    /// If it does not start.
    #[must_use]
    pub fn durable(lines: &[&str]) -> Self {
        let mut all = vec!["appendonly yes", "appendfsync always"];
        all.extend(lines);
        Self::start(&all)
    }

    /// Starts one that speaks TLS on its port and asks for a client's certificate.
    ///
    /// # Panics
    /// If it does not start.
    #[must_use]
    pub fn with_tls(certificates: &Certificates, lines: &[&str]) -> Self {
        let name = |what: &str, path: PathBuf| format!("{what} {}", path.display());
        let (cert, key) = certificates.server();
        let tls = [name("tls-cert-file", cert), name("tls-key-file", key), name("tls-ca-cert-file", certificates.authority())];
        let mut all: Vec<&str> = tls.iter().map(String::as_str).collect();
        all.extend(["port 0", "tls-auth-clients yes"]);
        all.extend(lines);
        Self::new("redis-server", "tls-port", &all)
    }

    /// Starts a Sentinel with these lines.
    pub(super) fn sentinel(lines: &[&str]) -> Self {
        Self::new("redis-sentinel", "port", lines)
    }

    fn new(program: &str, port_option: &str, lines: &[&str]) -> Self {
        let folder = tempfile::Builder::new().prefix("hivemind-redis-").tempdir().expect("a folder");
        for _ in 0..100 {
            let port = ports::free();
            write_config(folder.path(), program, &format!("{port_option} {port}"), lines).expect("a configuration");
            // Another process may have taken it since.
            if let Some(child) = started(program, folder.path()) {
                return Self { folder, port, child: Mutex::new(Some(child)) };
            }
        }
        panic!("no free port for {program} in 100 tries");
    }

    /// The port it listens on.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// Its Unix socket.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        socket(self.folder.path())
    }

    /// A connection that may do everything.
    ///
    /// # Panics
    /// If it is down.
    #[must_use]
    pub fn connection(&self) -> Connection {
        connect(self.folder.path()).unwrap_or_else(|e| panic!("{}: {e}", self.socket().display()))
    }

    /// Carries a command out and gives its answer.
    ///
    /// # Errors
    /// The server's.
    pub fn try_ask<T: FromRedisValue>(&self, words: &[&str]) -> redis::RedisResult<T> {
        command(words).query(&mut connect(self.folder.path())?)
    }

    /// Carries a command out and gives its answer.
    ///
    /// # Panics
    /// If it fails.
    pub fn ask<T: FromRedisValue>(&self, words: &[&str]) -> T {
        self.try_ask(words).unwrap_or_else(|e| panic!("{words:?}: {e}"))
    }

    /// One entry of `INFO`.
    ///
    /// # Panics
    /// If the server is down or has no such entry.
    #[must_use]
    pub fn info(&self, name: &str) -> String {
        let all: String = self.ask(&["INFO", "everything"]);
        let found = all.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        found.unwrap_or_else(|| panic!("no {name} in {all}")).to_owned()
    }

    /// Everything it holds under a prefix.
    ///
    /// # Panics
    /// If it is down.
    #[must_use]
    pub fn dump(&self, prefix: &str) -> Dump {
        Dump::of(&mut self.connection(), prefix)
    }

    /// Kills it, as a machine that fails does.
    ///
    /// # Panics
    /// If it is down already.
    pub fn kill(&self) {
        let mut child = self.child();
        let mut killed = child.take().expect("it runs");
        killed.kill().expect("killed");
        killed.wait().expect("it ends");
    }

    /// Starts it again on what it left.
    ///
    /// # Panics
    /// If it runs, or does not start.
    pub fn restart(&self) {
        let mut child = self.child();
        assert!(child.is_none(), "it runs");
        let end = Instant::now() + HANGS;
        while child.is_none() {
            assert!(Instant::now() < end, "port {} is not free again", self.port);
            *child = started("redis-server", self.folder.path());
        }
    }

    /// Stops it in the middle of what it does: connections stay and nobody answers.
    ///
    /// # Panics
    /// If it is down.
    pub fn freeze(&self) {
        self.signal(Signal::STOP);
    }

    /// Lets a frozen one go on.
    ///
    /// # Panics
    /// If it is down.
    pub fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        let child = self.child();
        kill_process(Pid::from_child(child.as_ref().expect("it runs")), signal).expect("the signal is sent");
    }

    fn child(&self) -> MutexGuard<'_, Option<Child>> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(mut child) = self.child().take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// A command of these words.
pub(super) fn command(words: &[&str]) -> Cmd {
    let mut command = Cmd::new();
    for word in words {
        command.arg(*word);
    }
    command
}

fn socket(folder: &Path) -> PathBuf {
    folder.join("redis.sock")
}

fn connect(folder: &Path) -> redis::RedisResult<Connection> {
    let user = RedisConnectionInfo::default().set_username(CONTROL_USER).set_password("any");
    let info = ConnectionAddr::Unix(socket(folder)).into_connection_info()?.set_redis_settings(user);
    let connection = redis::Client::open(info)?.get_connection_with_timeout(HANGS)?;
    connection.set_read_timeout(Some(HANGS))?;
    Ok(connection)
}

/// A folder's configuration file. Sentinel writes into its own and makes servers write into theirs.
fn write_config(folder: &Path, program: &str, port: &str, lines: &[&str]) -> std::io::Result<()> {
    let mut file = std::fs::File::create(folder.join("redis.conf"))?;
    let place = folder.display();
    writeln!(
        file,
        "bind 127.0.0.1\n{port}\nunixsocket {place}/redis.sock\nunixsocketperm 700\ndir {place}\nlogfile {place}/log"
    )?;
    writeln!(file, "user {CONTROL_USER} on nopass ~* &* +@all")?;
    if program == "redis-server" {
        // Snapshots would come at moments that no test chose.
        writeln!(file, "save \"\"\nenable-debug-command local")?;
    }
    for line in lines {
        writeln!(file, "{line}")?;
    }
    Ok(())
}

/// Starts a server and waits until it answers. `None` if somebody else has its port.
fn started(program: &str, folder: &Path) -> Option<Child> {
    let log = folder.join("log");
    // What was said in an earlier life is not about this one.
    let _ = std::fs::remove_file(&log);
    let mut command = tied(program);
    command.arg(folder.join("redis.conf")).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = spawn(command).unwrap_or_else(|e| panic!("{program}: {e}; `cargo xtask test` installs it"));
    let end = Instant::now() + HANGS;
    loop {
        let answer = connect(folder).and_then(|mut connection| Cmd::new().arg("PING").query::<String>(&mut connection));
        let wrong = match answer {
            Ok(_) => return Some(child),
            Err(error) if error.is_io_error() || is_loading(&error) => error,
            Err(error) => panic!("{program}: {error}"),
        };
        let said = || std::fs::read_to_string(&log).unwrap_or_default();
        if let Some(status) = child.try_wait().expect("the child is asked") {
            let said = said();
            if said.contains("Address already in use") {
                return None;
            }
            panic!("{program} ended ({status}); `cargo xtask test` installs what it needs:\n{said}");
        }
        assert!(Instant::now() < end, "{program} does not answer ({wrong}):\n{}", said());
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn is_loading(error: &redis::RedisError) -> bool {
    error.kind() == ErrorKind::Server(ServerErrorKind::BusyLoading)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_start_side_by_side_and_each_is_another_one() {
        let servers: Vec<Server> = std::thread::scope(|scope| {
            let starting: Vec<_> = (0..6).map(|_| scope.spawn(|| Server::start(&[]))).collect();
            starting.into_iter().map(|one| one.join().expect("it starts")).collect()
        });
        for (n, server) in servers.iter().enumerate() {
            server.ask::<()>(&["SET", "which", &n.to_string()]);
        }
        for (n, server) in servers.iter().enumerate() {
            let client = redis::Client::open(format!("redis://127.0.0.1:{}", server.port())).expect("an address");
            let found: usize =
                command(&["GET", "which"]).query(&mut client.get_connection().expect("its port")).expect("an answer");
            assert_eq!(found, n);
            assert_eq!(server.info("tcp_port"), server.port().to_string());
        }
    }

    #[test]
    fn a_durable_server_that_is_killed_and_restarted_has_what_it_acknowledged() {
        let server = Server::durable(&[]);
        for n in 0..100 {
            server.ask::<()>(&["SET", &format!("key:{n}"), "value"]);
        }
        server.kill();
        assert!(server.try_ask::<()>(&["PING"]).is_err(), "it is down");
        server.restart();
        assert_eq!(server.ask::<u32>(&["DBSIZE"]), 100);
    }

    #[test]
    fn a_frozen_server_answers_when_it_is_thawed() {
        let server = Server::start(&[]);
        let mut connection = server.connection();
        connection.set_read_timeout(Some(Duration::from_millis(200))).expect("set");
        server.freeze();
        assert!(command(&["PING"]).query::<String>(&mut connection).is_err());
        server.thaw();
        assert_eq!(server.ask::<String>(&["PING"]), "PONG");
    }

    #[test]
    fn a_server_is_gone_with_its_handle() {
        let server = Server::start(&[]);
        let (port, folder) = (server.port(), server.folder.path().to_owned());
        drop(server);
        assert!(std::net::TcpStream::connect(("127.0.0.1", port)).is_err());
        assert!(!folder.exists());
    }
}
