//! The process itself, read when somebody asks.

use std::fmt;

use super::numbers::Output;

/// What the process uses, where the system tells it.
pub(super) fn encode(out: &mut Output<'_>) -> fmt::Result {
    if let Some(bytes) = resident_bytes() {
        out.gauge("resident_memory_bytes", "Memory of the process that is in use", bytes)?;
    }
    if let Some(files) = open_files() {
        out.gauge("open_files", "Open files and sockets of the process", files)?;
    }
    Ok(())
}

#[cfg(target_os = "linux")]
fn resident_bytes() -> Option<i64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.split_whitespace().next()?.parse::<i64>().ok().map(|kib| kib * 1024)
}

#[cfg(target_os = "linux")]
fn open_files() -> Option<i64> {
    i64::try_from(std::fs::read_dir("/proc/self/fd").ok()?.count()).ok()
}

#[cfg(not(target_os = "linux"))]
const fn resident_bytes() -> Option<i64> {
    None
}

#[cfg(not(target_os = "linux"))]
const fn open_files() -> Option<i64> {
    None
}
