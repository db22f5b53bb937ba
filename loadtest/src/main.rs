//! Benchmarks of the server.

fn main() {}
