//! Hands the target triple and the compiler's version to the manifest.

use std::process::Command;

fn main() {
    let target = std::env::var("TARGET").unwrap_or_default();
    let rustc = std::env::var("RUSTC").unwrap_or_else(|_| "rustc".to_owned());
    let version = Command::new(rustc).arg("--version").output().ok().and_then(|o| String::from_utf8(o.stdout).ok());
    let version = version.as_deref().and_then(|v| v.split_whitespace().nth(1)).unwrap_or("unknown").to_owned();
    println!("cargo:rustc-env=HIVEMIND_TARGET={target}");
    println!("cargo:rustc-env=HIVEMIND_RUSTC={version}");
    println!("cargo:rerun-if-changed=build.rs");
}
