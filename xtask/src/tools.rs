//! What the build needs beside Rust: OpenSSL, which the encrypted SQLite stores use, is built from source by a C compiler, `make` and Perl.
//!
//! Checked before the build starts, because OpenSSL's own build says so only after minutes, and in its own words. What is missing is
//! installed with apt when we are root, and named otherwise.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::{Outcome, execute};

/// The modules that OpenSSL's build loads and that a minimal Perl lacks.
const PERL_MODULES: [&str; 4] = ["FindBin", "File::Compare", "IPC::Cmd", "Time::Piece"];

struct Tool {
    /// As a person calls it.
    name: &'static str,
    /// Debian's packages.
    packages: &'static [&'static str],
    works: fn() -> bool,
}

const TOOLS: [Tool; 3] = [
    Tool { name: "a C compiler with the C library's headers", packages: &["gcc", "libc6-dev"], works: compiles },
    Tool { name: "make", packages: &["make"], works: || cfg!(windows) || succeeds(Command::new(make()).arg("--version")) },
    Tool { name: "Perl 5 with its standard modules", packages: &["perl"], works: has_perl },
];

/// Makes sure that everything is there.
pub(crate) fn ensure() -> Outcome {
    let missing = || TOOLS.iter().filter(|tool| !(tool.works)()).collect::<Vec<_>>();
    let lacking = missing();
    if lacking.is_empty() {
        return Ok(());
    }
    let packages: Vec<&str> = lacking.iter().flat_map(|tool| tool.packages).copied().collect();
    install(&packages, &names(&lacking))?;
    match missing() {
        left if left.is_empty() => Ok(()),
        left => Err(format!("{} was installed but does not work", names(&left))),
    }
}

/// Debian's programs that the tests of faults break things with. Other systems have neither, nor those tests.
pub(crate) fn for_faults() -> Outcome {
    if !cfg!(target_os = "linux") {
        return Ok(());
    }
    let is_missing = |program: &&str| !succeeds(Command::new(program).arg("--version"));
    let missing: Vec<&str> = ["strace", "faketime"].into_iter().filter(is_missing).collect();
    if missing.is_empty() { Ok(()) } else { install(&missing, &format!("{}, for the tests of faults", missing.join(", "))) }
}

/// Debian's Redis, which the tests start servers of their own from, on ports and in folders of their own. What Debian starts from the
/// packages on installing them, on Redis's well-known port, is stopped again and does not come back with the machine.
pub(crate) fn redis() -> Outcome {
    if !cfg!(target_os = "linux") {
        return Ok(());
    }
    let programs = [("redis-server", "redis-server"), ("redis-sentinel", "redis-sentinel"), ("redis-benchmark", "redis-tools")];
    let is_missing = |program: &str| !succeeds(Command::new(program).arg("--version"));
    let missing: Vec<_> = programs.into_iter().filter(|(program, _)| is_missing(program)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let names: Vec<&str> = missing.iter().map(|(program, _)| *program).collect();
    let packages: Vec<&str> = missing.iter().map(|(_, package)| *package).collect();
    install(&packages, &format!("{}, for the tests and benches of the Redis backend", names.join(", ")))?;
    for service in packages.iter().filter(|package| **package != "redis-tools") {
        // Where there are no services to stop, none was started.
        succeeds(Command::new("service").args([service, "stop"]));
        succeeds(Command::new("update-rc.d").args([service, "disable"]));
    }
    Ok(())
}

fn names(tools: &[&Tool]) -> String {
    tools.iter().map(|tool| tool.name).collect::<Vec<_>>().join(", and ")
}

/// Installs packages with apt. `what` they are, for the error where that is not possible.
pub(crate) fn install(packages: &[&str], what: &str) -> Outcome {
    if !Path::new("/usr/bin/apt-get").exists() || !is_root() {
        return Err(format!("missing: {what}; install it and try again (Debian: apt-get install {})", packages.join(" ")));
    }
    println!("installing with apt: {}", packages.join(" "));
    execute(Command::new("apt-get").args(["update", "--quiet"]))?;
    execute(Command::new("apt-get").args(["install", "--yes", "--quiet", "--no-install-recommends"]).args(packages))
}

fn is_root() -> bool {
    let id = Command::new("id").arg("-u").output();
    id.is_ok_and(|o| o.stdout.trim_ascii() == b"0")
}

fn succeeds(command: &mut Command) -> bool {
    command.stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
}

const fn make() -> &'static str {
    if cfg!(any(
        target_os = "freebsd",
        target_os = "openbsd",
        target_os = "dragonfly",
        target_os = "solaris",
        target_os = "illumos"
    )) {
        "gmake"
    } else {
        "make"
    }
}

fn compiles() -> bool {
    // Microsoft's is found by other means than the path, and comes with Rust's own requirements there.
    if cfg!(windows) {
        return true;
    }
    let compiler = std::env::var("CC").unwrap_or_else(|_| "cc".to_owned());
    // It may be several words, as in `CC="ccache gcc"`.
    let mut words = compiler.split_whitespace();
    let Some(program) = words.next() else { return false };
    let mut command = Command::new(program);
    command.args(words).args(["-fsyntax-only", "-x", "c", "-"]).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    let Ok(mut child) = command.spawn() else { return false };
    if let Some(mut input) = child.stdin.take() {
        let _ = input.write_all(b"#include <stdio.h>\nint main(void) { return 0; }\n");
    }
    child.wait().is_ok_and(|status| status.success())
}

fn has_perl() -> bool {
    let perl = std::env::var("OPENSSL_SRC_PERL").or_else(|_| std::env::var("PERL")).unwrap_or_else(|_| "perl".to_owned());
    succeeds(Command::new(perl).args(PERL_MODULES.map(|module| format!("-M{module}"))).args(["-e", "1"]))
}
