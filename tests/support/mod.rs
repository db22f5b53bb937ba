//! What the tests stand on: a whole server on its own database, a client that checks every answer
//! against the contract, and actors.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::allow_attributes,
    clippy::allow_attributes_without_reason,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::missing_panics_doc,
    missing_docs
)]

pub mod actors;
pub mod app;
pub mod client;
pub mod contract;
pub mod db;
pub mod gateway;
pub mod paying;
pub mod places;
pub mod lots;
pub mod proxy;
pub mod redis_server;
pub mod sms;
