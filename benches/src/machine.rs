//! What the figures were measured on, and what a process holds.

use std::path::PathBuf;

use crate::Failure;

/// One line: cores, CPU, memory, kernel.
pub(crate) fn description() -> String {
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    let read = |path| std::fs::read_to_string(path).unwrap_or_default();
    let after = |text: &str, name: &str| {
        text.lines().find_map(|l| l.strip_prefix(name)).map(|v| v.trim_start_matches([' ', '\t', ':']).to_owned())
    };
    let model = after(&read("/proc/cpuinfo"), "model name").unwrap_or_else(|| std::env::consts::ARCH.to_owned());
    let memory = after(&read("/proc/meminfo"), "MemTotal").and_then(|m| m.split(' ').next()?.parse::<u64>().ok());
    let memory = memory.map_or_else(String::new, |kib| format!(", {} GiB", kib.div_ceil(1 << 20)));
    let kernel = read("/proc/sys/kernel/osrelease");
    let load = read("/proc/loadavg").split(' ').next().map(|l| format!(", load {l} at the start")).unwrap_or_default();
    format!("{cpus} cores, {model}{memory}, {} {}{load}", std::env::consts::OS, kernel.trim())
}

/// What this process holds of the machine's memory, in bytes: its share of every page it has in use.
pub(crate) fn resident() -> Result<u64, Failure> {
    let rollup = std::fs::read_to_string("/proc/self/smaps_rollup")?;
    let kib = rollup.lines().find_map(|l| l.strip_prefix("Pss:")).and_then(|l| l.trim().split(' ').next()?.parse::<u64>().ok());
    Ok(kib.ok_or("smaps_rollup has no Pss")? * 1024)
}

/// The folder this program lies in, with the plugins beside it.
pub(crate) fn exe_folder() -> Result<PathBuf, Failure> {
    let exe = std::env::current_exe()?;
    Ok(exe.parent().ok_or("the program has no folder")?.to_owned())
}

/// While it lives, this thread and all that it starts, processes too, share one core.
///
/// Two processes that take turns for a few microseconds each are put on one core or on two by the system as it sees fit. On two, each turn
/// wakes a core that has gone to sleep, and on a virtual machine that takes longer than the work. Whoever is put there by chance loses.
pub(crate) struct OneCore {
    #[cfg(target_os = "linux")]
    before: rustix::thread::CpuSet,
}

impl OneCore {
    #[cfg(target_os = "linux")]
    pub(crate) fn begin() -> Result<Self, Failure> {
        use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
        let before = sched_getaffinity(None)?;
        let core = (0..CpuSet::MAX_CPU).find(|core| before.is_set(*core)).ok_or("this thread may run nowhere")?;
        let mut one = CpuSet::new();
        one.set(core);
        sched_setaffinity(None, &one)?;
        Ok(Self { before })
    }

    #[cfg(not(target_os = "linux"))]
    pub(crate) fn begin() -> Result<Self, Failure> {
        Ok(Self {})
    }
}

#[cfg(target_os = "linux")]
impl Drop for OneCore {
    fn drop(&mut self) {
        let _ = rustix::thread::sched_setaffinity(None, &self.before);
    }
}
