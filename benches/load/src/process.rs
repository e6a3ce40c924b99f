//! What the system says of a process (Linux).

use std::time::Duration;

use crate::Failure;

/// The clock of `/proc/PID/stat`: Linux shows it to programs as hundredths of a second, whatever it counts in.
const TICK: Duration = Duration::from_millis(10);

/// The processor time that a process with all its threads has taken: user and system.
///
/// # Errors
/// If there is no such process.
pub fn cpu(pid: u32) -> Result<Duration, Failure> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The name in parentheses may hold anything; the state follows it.
    let (_, fields) = stat.rsplit_once(')').ok_or("no name in stat")?;
    let ticks: u32 = fields.split_whitespace().skip(11).take(2).map(str::parse::<u32>).sum::<Result<_, _>>()?;
    Ok(TICK * ticks)
}

/// The memory of a process that is resident, in bytes.
///
/// # Errors
/// If there is no such process.
pub fn resident(pid: u32) -> Result<u64, Failure> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("no VmRSS in status")?;
    Ok(line.trim().trim_end_matches(" kB").parse::<u64>()? * 1024)
}
