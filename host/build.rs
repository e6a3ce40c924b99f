//! Hands the target triple to the loader, which compares plugins' with it.

fn main() {
    println!("cargo:rustc-env=HIVEMIND_TARGET={}", std::env::var("TARGET").unwrap_or_default());
    println!("cargo:rerun-if-changed=build.rs");
}
