//! The project's chores: setup, test, demo, layers, bench.

fn main() {}
