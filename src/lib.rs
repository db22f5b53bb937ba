//! iParking: find, hold, park and pay for a parking space in Hanoi.
//!
//! Modules stand in the order in which they may depend on one another; `docs/ARCHITECTURE.md`
//! has the table and `tests/architecture.rs` checks it.

pub mod audit;
pub mod auth;
pub mod cli;
pub mod dev;
pub mod drivers;
pub mod kernel;
pub mod ledger;
pub mod lots;
pub mod notifications;
pub mod occupancy;
pub mod operators;
pub mod parking_sessions;
pub mod payments;
pub mod platform;
pub mod reservations;
pub mod routes;
pub mod search;
pub mod server;
pub mod tariffs;
pub mod web;
pub mod worker;
