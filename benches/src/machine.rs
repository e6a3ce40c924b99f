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
