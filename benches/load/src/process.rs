//! What the system says of a process (Linux).

use std::io::{Error, Result};
use std::time::Duration;

/// The clock of `/proc/PID/stat`: Linux shows it to programs in hundredths of a second, whatever it counts in.
const TICK: Duration = Duration::from_millis(10);

/// The processor time that a process with all its threads has taken: user and system.
///
/// # Errors
/// If there is no such process.
pub fn cpu(pid: u32) -> Result<Duration> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The name in parentheses may hold anything; the state follows it.
    let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields);
    let mut ticks = fields.split_whitespace().skip(11).map_while(|field| field.parse::<u32>().ok());
    match (ticks.next(), ticks.next()) {
        (Some(user), Some(system)) => Ok(TICK * (user + system)),
        _ => Err(Error::other("/proc/PID/stat has no times")),
    }
}

/// The memory of a process that is resident, in bytes.
///
/// # Errors
/// If there is no such process.
pub fn resident(pid: u32) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok());
    Ok(kib.ok_or_else(|| Error::other("/proc/PID/status has no VmRSS"))? * 1024)
}
