//! Waiting with an end: a test that fails must not leave a process, a thread or the whole run behind that never ends.

use std::process::Child;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};

/// Longer than anything takes that does not hang, on the slowest machine.
pub const HANGS: Duration = Duration::from_secs(120);

/// Waits until it is so.
///
/// # Panics
/// If it is not so after [`HANGS`].
pub fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let end = Instant::now() + HANGS;
    while !is_so() {
        assert!(Instant::now() < end, "not after {HANGS:?}: {what}");
        std::thread::yield_now();
    }
}

/// Tells threads to stop when it goes, also when a panic takes it: the scope that waits for them would never end.
#[derive(Debug)]
pub struct StopOnDrop<'f>(pub &'f AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// A process that is killed when this goes.
#[derive(Debug)]
pub struct KillOnDrop(pub Child);

impl Drop for KillOnDrop {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The leader of a process group, which has been told to end, such as by closing its input. It is waited for when this goes; if it
/// hangs, the group is killed: a tracer alone would leave behind what it traces.
#[derive(Debug)]
pub struct EndOnDrop(pub Child);

impl Drop for EndOnDrop {
    fn drop(&mut self) {
        let end = Instant::now() + HANGS;
        while Instant::now() < end {
            match self.0.try_wait() {
                Ok(None) => std::thread::sleep(Duration::from_millis(2)),
                Ok(Some(_)) | Err(_) => return,
            }
        }
        kill_group(&self.0);
        let _ = self.0.wait();
    }
}

/// Kills a process that leads a group, and everyone in it.
pub fn kill_group(leader: &Child) {
    let _ = kill_process_group(Pid::from_child(leader), Signal::KILL);
}
