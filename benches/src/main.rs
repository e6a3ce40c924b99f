//! Side-by-side measurements of hivemind-host.

fn main() {}
