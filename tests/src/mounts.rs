//! File systems that tests mount: small ones that become full.
//!
//! Mounting needs rights. Such tests run themselves again in a mount namespace of their own, as root or as one in a user namespace.
//! Where neither is allowed they say so on standard error, past the test harness, and fail if `HIVEMIND_REQUIRE_MOUNT` is set, as
//! `cargo xtask ci` does.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Set for a test that runs in a mount namespace of its own.
const INSIDE: &str = "HIVEMIND_TEST_NAMESPACE";

/// Runs an ignored test of the same program where it may mount.
///
/// # Panics
/// If that fails.
pub fn in_namespace(test: &str) {
    // Built and looked for outside, because the namespace may be that of another user.
    let _ = crate::build::shipped_plugins();
    let ways: [&[&str]; 2] = [&["--mount"], &["--mount", "--map-root-user"]];
    let may = |way: &&&[&str]| {
        let mount = "mount -t tmpfs -o size=64k tmpfs /mnt && umount /mnt";
        Command::new("unshare").args(**way).args(["sh", "-c", mount]).output().is_ok_and(|o| o.status.success())
    };
    let Some(way) = ways.iter().find(may) else {
        let required = std::env::var_os("HIVEMIND_REQUIRE_MOUNT").is_some();
        assert!(!required, "neither root nor a user namespace may mount a tmpfs here (util-linux's unshare), but it is required");
        let mut stderr = std::io::stderr();
        let _ = writeln!(
            stderr,
            "\nSKIPPED {test}: neither root nor a user namespace may mount a tmpfs here (util-linux's unshare)\n"
        );
        return;
    };
    let own = std::env::current_exe().expect("this test's path");
    let mut command = Command::new("unshare");
    command.args(*way).arg(own).args(["--exact", test, "--ignored", "--nocapture"]).env(INSIDE, "1");
    let output = command.output().expect("unshare runs");
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
}

/// Runs a program of the system on a path.
///
/// # Panics
/// If it fails.
pub fn run(program: &str, arguments: &[&str], path: &Path) {
    let status = Command::new(program).args(arguments).arg(path).status().expect(program);
    assert!(status.success(), "{program} {arguments:?} {}", path.display());
}

/// Whether this is run by [`in_namespace`]. `--include-ignored` runs these tests too, where a mount would be everybody's.
#[must_use]
pub fn is_inside() -> bool {
    let inside = std::env::var_os(INSIDE).is_some();
    if !inside {
        eprintln!("nothing is mounted here: another test runs this one in a mount namespace");
    }
    inside
}

/// A mounted file system, unmounted when this goes: the folder below could not be removed otherwise.
pub struct Mounted(PathBuf);

impl Mounted {
    /// A file system in memory of this size (`1m`), at a folder.
    ///
    /// # Panics
    /// If it is not mounted.
    #[must_use]
    pub fn tmpfs(size: &str, at: &Path) -> Self {
        run("mount", &["-t", "tmpfs", "-o", &format!("size={size},mode=700"), "tmpfs"], at);
        Self(at.to_owned())
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let done = Command::new("umount").arg("--lazy").arg(&self.0).status().is_ok_and(|status| status.success());
        assert!(done || std::thread::panicking(), "{} is still mounted", self.0.display());
    }
}

/// Fills the file system up, but for so many pages.
///
/// # Panics
/// If the system does not let it.
pub fn fill(filler: &Path, spare: u64) {
    let mut file = std::fs::File::create(filler).expect("a filler");
    while file.write_all(&[0; 4096]).is_ok() {}
    let length = file.metadata().expect("a length").len() / 4096 * 4096;
    file.set_len(length.saturating_sub(spare * 4096)).expect("some room");
}
