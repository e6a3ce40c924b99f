//! The programs that tests compare with: a Python node's packages, pinned, in a virtual environment under `target/`.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::{Outcome, execute, root};

/// Sets the virtual environment up, if it is not there as pinned.
pub(crate) fn python() -> Outcome {
    let pins = root().join("tests/python/requirements.txt");
    let venv = root().join("target/python-peers");
    let wanted = std::fs::read_to_string(&pins).map_err(|e| format!("{}: {e}", pins.display()))?;
    // Written last: an environment without it was cut off half way.
    let stamp = venv.join("hivemind-pins.txt");
    if std::fs::read_to_string(&stamp).is_ok_and(|have| have == wanted) {
        return Ok(());
    }
    println!("setting up the Python peers (once; about half a minute)");
    let _ = std::fs::remove_dir_all(&venv);
    let python = interpreter()?;
    execute(Command::new(&python).args(["-m", "venv"]).arg(&venv))?;
    let mut pip = Command::new(venv.join("bin/python"));
    pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--pre", "--no-deps", "--requirement"])
        .arg(&pins);
    execute(&mut pip)?;
    std::fs::write(&stamp, wanted).map_err(|e| format!("{}: {e}", stamp.display()))
}

/// A Python that can make virtual environments; installed with apt if it is missing and we are root.
fn interpreter() -> Outcome<String> {
    if usable("python3") {
        return Ok("python3".to_owned());
    }
    let packages = ["python3", "python3-venv"];
    if !Path::new("/usr/bin/apt-get").exists() || !is_root() {
        return Err(format!(
            "the tests need Python 3 with its venv module; install it (Debian: apt-get install {})",
            packages.join(" ")
        ));
    }
    execute(Command::new("apt-get").args(["update", "--quiet"]))?;
    execute(Command::new("apt-get").args(["install", "--yes", "--quiet", "--no-install-recommends"]).args(packages))?;
    if usable("/usr/bin/python3") {
        Ok("/usr/bin/python3".to_owned())
    } else {
        Err("python3 was installed but cannot make virtual environments".to_owned())
    }
}

fn usable(python: &str) -> bool {
    let script = "import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 10))";
    Command::new(python).args(["-c", script]).stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|s| s.success())
}

pub(crate) fn is_root() -> bool {
    let id = Command::new("id").arg("-u").output();
    id.is_ok_and(|o| o.stdout.trim_ascii() == b"0")
}
