//! A wall clock that a test sets back and forward.
//!
//! A process lives by Debian's libfaketime, which reads its time from a file that the test changes; it leaves the monotonic clock alone,
//! as a step of the real clock does.

use std::path::{Path, PathBuf};
use std::process::Command;

/// The library.
fn faketime() -> PathBuf {
    let folders = std::fs::read_dir("/usr/lib").into_iter().flatten().flatten();
    let found = folders.map(|f| f.path().join("faketime/libfaketimeMT.so.1")).find(|path| path.exists());
    found.expect("no libfaketime; `cargo xtask test` installs it, or: apt-get install faketime")
}

/// A clock that a test sets.
#[derive(Debug)]
pub struct Clock(PathBuf);

impl Clock {
    /// One that goes right, kept in this file.
    ///
    /// # Panics
    /// If the system does not let it.
    #[must_use]
    pub fn at(file: &Path) -> Self {
        let clock = Self(file.to_owned());
        clock.set("+0");
        clock
    }

    /// Sets it this far from the right time: `-1h`, `+20y`.
    ///
    /// # Panics
    /// If the system does not let it.
    pub fn set(&self, offset: &str) {
        // Renamed into place: a reader never sees half of it.
        let new = self.0.with_extension("new");
        std::fs::write(&new, offset).and_then(|()| std::fs::rename(&new, &self.0)).expect("the clock is set");
    }

    /// A program that lives by it.
    #[must_use]
    pub fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        self.prepare(&mut command);
        command
    }

    /// Makes a program live by it.
    pub fn prepare(&self, command: &mut Command) {
        command
            .env("LD_PRELOAD", faketime())
            .env("FAKETIME_TIMESTAMP_FILE", &self.0)
            .env("FAKETIME_NO_CACHE", "1")
            .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
            .env("DONT_FAKE_MONOTONIC", "1")
            .env("NO_FAKE_STAT", "1");
    }

    /// The year in which a process with this clock believes to be.
    ///
    /// # Panics
    /// If it does not say.
    #[must_use]
    pub fn year(&self) -> i32 {
        let output = self.command(Path::new("date")).arg("+%Y").output().expect("date runs");
        String::from_utf8_lossy(&output.stdout).trim().parse().expect("a year")
    }
}
