//! The one binary of the product; roles are subcommands.

fn main() {}
