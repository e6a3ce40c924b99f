//! Tests that need rights over a part of the system.
//!
//! They run themselves again in a namespace of their own, as root or as one in a user namespace. Where neither is allowed they say so on
//! standard error, past the test harness, and fail if `HIVEMIND_REQUIRE_MOUNT` is set, as `cargo xtask ci` does.

use std::io::Write as _;
use std::net::Ipv4Addr;
use std::process::Command;

/// Set for a test that runs in a namespace of its own.
const INSIDE: &str = "HIVEMIND_TEST_NAMESPACE";

/// Runs an ignored test of the same program in a namespace of this kind (`--mount`), if these commands work in one: `may` says what
/// they try.
pub(crate) fn run(test: &str, kind: &str, commands: &str, may: &str) {
    // Built and looked for outside, because the namespace may be that of another user.
    let _ = (crate::build::shipped_plugins(), crate::build::program());
    let ways: [&[&str]; 2] = [&[kind], &[kind, "--map-root-user"]];
    let works = |way: &&&[&str]| {
        Command::new("unshare").args(**way).args(["sh", "-c", commands]).output().is_ok_and(|o| o.status.success())
    };
    let Some(way) = ways.iter().find(works) else {
        let required = std::env::var_os("HIVEMIND_REQUIRE_MOUNT").is_some();
        let why = format!("neither root nor a user namespace may {may} here (util-linux's unshare)");
        assert!(!required, "{why}, but it is required");
        let _ = writeln!(std::io::stderr(), "\nSKIPPED {test}: {why}\n");
        return;
    };
    let own = std::env::current_exe().expect("this test's path");
    let mut command = Command::new("unshare");
    command.args(*way).arg(own).args(["--exact", test, "--ignored", "--nocapture"]).env(INSIDE, "1");
    let output = command.output().expect("unshare runs");
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
}

/// Whether this is run in a namespace of its own. `--include-ignored` runs these tests too, where what they do would be everybody's.
#[must_use]
pub fn is_inside() -> bool {
    let inside = std::env::var_os(INSIDE).is_some();
    if !inside {
        eprintln!("nothing is done here: another test runs this one in a namespace of its own");
    }
    inside
}

/// Gives this machine an address.
const ADDRESS: &str = "ip link set lo up && ip address add";

/// Runs an ignored test of the same program where it may give itself addresses, see [`have_addresses`].
///
/// # Panics
/// If that fails.
pub fn in_network_of_its_own(test: &str) {
    run(test, "--net", &format!("{ADDRESS} 192.0.2.1/32 dev lo"), "have a network of its own with iproute2's ip");
}

/// Gives this machine these addresses, besides those of loopback, which works from then on.
///
/// # Panics
/// If the system does not let it.
pub fn have_addresses(addresses: &[Ipv4Addr]) {
    for address in addresses {
        let status = Command::new("sh").args(["-c", &format!("{ADDRESS} {address}/32 dev lo")]).status().expect("sh");
        assert!(status.success(), "{address}");
    }
}
