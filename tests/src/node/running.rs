//! A node that runs: the Python one, or ours.

use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::site::Site;
use crate::spawn::{spawn, tied};
use crate::waiting::HANGS;
use crate::{build, python};

/// Which node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Make {
    /// `hivemind-core listen`: the yardstick.
    Python,
    /// `hivemind-host listen`.
    Ours,
}

/// A node, killed when this goes.
pub struct Node {
    /// Which.
    pub make: Make,
    child: Child,
    port: u16,
    log: PathBuf,
}

impl Node {
    /// Starts it and waits until it takes connections; `prepare` may put something into its environment.
    ///
    /// # Panics
    /// If it does not start.
    pub(super) fn start(site: &Site, make: Make, words: &[&str], prepare: impl FnOnce(&mut Command)) -> Self {
        let mut command = match make {
            Make::Python => tied(python::venv().join("bin/hivemind-core").to_str().expect("UTF-8")),
            Make::Ours => {
                let mut command = tied(build::program().to_str().expect("UTF-8"));
                command.arg("--plugins-dir").arg(build::shipped_plugins());
                command
            }
        };
        command.arg("listen").args(words).current_dir(site.home());
        python::isolate(&mut command, site.home());
        prepare(&mut command);
        let log = site.new_log();
        let output = std::fs::File::create(&log).expect("a log");
        command.stdin(Stdio::null()).stdout(output.try_clone().expect("a handle")).stderr(output);
        let child = spawn(command).expect("the node starts");
        let mut node = Self { make, child, port: site.port(), log };
        node.wait_until_it_listens();
        node
    }

    fn wait_until_it_listens(&mut self) {
        let end = Instant::now() + HANGS;
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            let ended = self.child.try_wait().expect("it is asked");
            assert!(ended.is_none(), "the node ended ({ended:?}):\n{}", self.log());
            assert!(Instant::now() < end, "nobody listens on port {}:\n{}", self.port, self.log());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Where it listens.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// All that it printed.
    #[must_use]
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// Sends it a signal.
    ///
    /// # Panics
    /// If it is gone.
    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("the signal is sent");
    }

    /// Asks it to stop and waits until it has.
    ///
    /// # Panics
    /// If it has not after [`HANGS`].
    pub fn stop(mut self) -> (ExitStatus, String) {
        self.signal(Signal::TERM);
        let status = self.wait();
        (status, self.log())
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// If it runs on after [`HANGS`].
    pub fn wait(&mut self) -> ExitStatus {
        let end = Instant::now() + HANGS;
        loop {
            if let Some(status) = self.child.try_wait().expect("it is asked") {
                return status;
            }
            assert!(Instant::now() < end, "it runs on:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Whether it has ended.
    ///
    /// # Panics
    /// If the system does not say.
    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().expect("it is asked").is_some()
    }

    /// Its resident memory in bytes, as Linux counts it.
    ///
    /// # Panics
    /// If it is gone.
    #[must_use]
    pub fn resident(&self) -> u64 {
        self.memory("VmRSS:")
    }

    /// By how many bytes its resident memory was greater at its peak while something was done than it was before.
    ///
    /// # Panics
    /// If it is gone.
    pub fn grown_while(&self, deed: impl FnOnce()) -> u64 {
        self.forget_peak();
        let before = self.resident();
        deed();
        self.peak().saturating_sub(before)
    }

    /// The most resident memory in bytes that it has had since [`Node::forget_peak`].
    ///
    /// # Panics
    /// If it is gone.
    #[must_use]
    pub fn peak(&self) -> u64 {
        self.memory("VmHWM:")
    }

    /// Begins to watch for the most resident memory anew.
    ///
    /// # Panics
    /// If the system does not let it.
    pub fn forget_peak(&self) {
        std::fs::write(self.proc("clear_refs"), "5").expect("its peak is forgotten");
    }

    fn memory(&self, name: &str) -> u64 {
        let status = std::fs::read_to_string(self.proc("status")).expect("it runs");
        let line = status.lines().find_map(|line| line.strip_prefix(name)).expect(name);
        let kilobytes: u64 = line.trim().trim_end_matches(" kB").parse().expect("a number");
        kilobytes * 1024
    }

    fn proc(&self, file: &str) -> PathBuf {
        Path::new("/proc").join(self.child.id().to_string()).join(file)
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            println!("--- the node said:\n{}", self.log());
        }
    }
}
