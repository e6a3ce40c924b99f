//! Faults at exact system calls, by `strace`: a real process on a real file system, and the kernel's answer changed or the process
//! killed at the call of our choice.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Where `strace` is.
///
/// # Panics
/// If it is missing or the system does not let it trace.
#[must_use]
pub fn program() -> PathBuf {
    let usable = Command::new("strace").args(["-o", "/dev/null", "true"]).stdout(Stdio::null()).stderr(Stdio::piped()).output();
    match usable {
        Ok(output) if output.status.success() => PathBuf::from("strace"),
        Ok(output) => panic!("strace cannot trace here (ptrace): {}", String::from_utf8_lossy(&output.stderr)),
        Err(error) => panic!("no strace ({error}); `cargo xtask test` installs it, or: apt-get install strace"),
    }
}

/// What is done at a system call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault<'f> {
    /// The process is killed before it is carried out.
    Kill,
    /// It is not carried out and answers this error.
    Error(&'f str),
}

/// A call that a thread makes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// The system call.
    pub name: String,
    /// Which one of the thread's calls of this name it is, from 1.
    pub number: usize,
    /// The line of the log: arguments, paths of descriptors, answer.
    pub line: String,
}

/// A command that runs `program` with a fault at a thread's `number`th call of `name`, noting calls of `watched` in `log`.
#[must_use]
pub fn with_fault(program: &Path, watched: &str, log: &Path, fault: Option<(&str, usize, Fault<'_>)>) -> Command {
    let mut command = Command::new(self::program());
    // With it strace delivers no signals; without it every system call is stopped at.
    if !matches!(fault, Some((.., Fault::Kill))) {
        command.arg("--seccomp-bpf");
    }
    command.args(["-f", "-qq", "-y", "-s", "8", "-o"]).arg(log).args(["-e", &format!("trace={watched}"), "-e", "signal=none"]);
    if let Some((name, number, fault)) = fault {
        let what = match fault {
            Fault::Kill => "signal=KILL".to_owned(),
            Fault::Error(error) => format!("error={error}"),
        };
        command.args(["-e", &format!("inject={name}:{what}:when={number}")]);
    }
    command.arg(program);
    command
}

/// The calls in a log, each thread's counted by name. A call that was interrupted by another thread's stands in two parts.
#[must_use]
pub fn calls(log: &str) -> Vec<Call> {
    let mut counts = std::collections::HashMap::new();
    let mut calls = Vec::new();
    for line in log.lines() {
        let Some((thread, call)) = line.split_once(' ') else { continue };
        let call = call.trim_start();
        if let Some(rest) = call.strip_prefix("<... ") {
            // The rest of an unfinished one: only its answer is new.
            let name = rest.split(' ').next().unwrap_or_default();
            let started = calls.iter_mut().rev().find(|c: &&mut (String, Call)| c.0 == thread && c.1.name == name);
            if let Some((_, started)) = started {
                started.line.push_str(rest);
            }
            continue;
        }
        let Some((name, _)) = call.split_once('(') else { continue };
        let number = counts.entry((thread.to_owned(), name.to_owned())).and_modify(|n| *n += 1).or_insert(1);
        calls.push((thread.to_owned(), Call { name: name.to_owned(), number: *number, line: call.to_owned() }));
    }
    calls.into_iter().map(|(_, call)| call).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_counted_for_each_thread_and_parts_put_together() {
        let log = "10 write(1</x>, \"a\", 1) = 1\n11  write(2</y> <unfinished ...>\n10 fsync(1</x>) = 0\n\
                   11 <... write resumed>, \"b\", 1) = -1 EIO (INJECTED)\n10 write(1</x>, \"c\", 1) = 1\n";
        let calls = calls(log);
        let told: Vec<_> = calls.iter().map(|c| (c.name.as_str(), c.number)).collect();
        assert_eq!(told, [("write", 1), ("write", 1), ("fsync", 1), ("write", 2)]);
        assert!(calls[1].line.contains("/y") && calls[1].line.contains("INJECTED"), "{:?}", calls[1]);
    }
}
