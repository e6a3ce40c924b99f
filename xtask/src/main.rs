//! Build, run and test commands of this repository.

fn main() {}
