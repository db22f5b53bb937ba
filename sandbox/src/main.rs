//! The sandbox: gateways and the SMS carrier for development and tests.

fn main() {}
