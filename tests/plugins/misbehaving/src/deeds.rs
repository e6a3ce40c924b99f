//! The misdeeds that take more than a line.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use hivemind_abi::Host;
use hivemind_abi::model::{Continuation, Key, Query};

/// A panic's payload that panics when it is dropped.
pub(super) struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        panic!("the payload of a panic panics");
    }
}

/// Whatever is done in `open`.
pub(super) fn while_opening(misdeed: &str, host: &Host) {
    match misdeed {
        "panic-in-open" => panic!("misbehaving as told in open"),
        "panic-in-background" => {
            let thread = thread::spawn(|| panic!("misbehaving as told in the background"));
            // The host may do what it likes meanwhile; the test must not be over before.
            let _ = thread.join();
        }
        "rude-log" => host.error("\u{1b}[2Jhello\nERROR forged"),
        "close-descriptors" => close_descriptors(),
        _ => {}
    }
}

/// Ignores deadline and cancel flag, for longer than any test waits.
pub(super) fn block<T>() -> T {
    loop {
        thread::sleep(Duration::from_secs(1));
    }
}

pub(super) fn slowly<T>(run: impl FnOnce() -> T) -> T {
    thread::sleep(Duration::from_millis(150));
    run()
}

pub(super) fn panic_while_locked<T>() -> T {
    static LOCK: Mutex<()> = Mutex::new(());
    let _locked = LOCK.lock();
    panic!("misbehaving as told while holding a lock")
}

/// A place to go on from that leads nowhere.
pub(super) fn anywhere(query: &Query) -> Option<Continuation> {
    Some(query.after.clone().unwrap_or_else(|| Continuation { values: Vec::new(), key: Key::Int(0) }))
}

/// 1, 2, 3 and so on.
pub(super) fn ever_more() -> u64 {
    static CALLS: AtomicU64 = AtomicU64::new(0);
    CALLS.fetch_add(1, Ordering::Relaxed) + 1
}

unsafe extern "C" {
    fn close(descriptor: i32) -> i32;
}

/// Closes the memory file it was mapped from, as programs do that close whatever they did not open.
fn close_descriptors() {
    for entry in std::fs::read_dir("/proc/self/fd").into_iter().flatten().flatten() {
        let is_ours = std::fs::read_link(entry.path()).is_ok_and(|to| to.to_string_lossy().starts_with("/memfd:misbehaving-fd-plugin"));
        if let Some(number) = entry.file_name().to_str().and_then(|n| n.parse().ok()).filter(|_| is_ours) {
            // SAFETY: it is not; that is the misdeed.
            unsafe { close(number) };
        }
    }
}
