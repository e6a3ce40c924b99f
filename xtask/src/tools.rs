//! The system's programs that tests use to break things: Debian's `strace` and `faketime`.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::peers::is_root;
use crate::{Outcome, execute};

/// Installs with apt what is missing if we are root; else says what to install.
pub(crate) fn for_faults() -> Outcome {
    let present = |program: &str| {
        Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|s| s.success())
    };
    let missing: Vec<&str> = ["strace", "faketime"].into_iter().filter(|program| !present(program)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    if !Path::new("/usr/bin/apt-get").exists() || !is_root() {
        return Err(format!("the tests of faults need {0}; install them (Debian: apt-get install {0})", missing.join(" ")));
    }
    execute(Command::new("apt-get").args(["update", "--quiet"]))?;
    execute(Command::new("apt-get").args(["install", "--yes", "--quiet", "--no-install-recommends"]).args(missing))
}
