//! All tests through HTTP, in one binary.
#![allow(
    clippy::allow_attributes,
    clippy::allow_attributes_without_reason,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::too_many_lines,
    clippy::disallowed_methods,
    clippy::cloned_ref_to_slice_refs,
    clippy::double_ended_iterator_last,
    clippy::pedantic,
    missing_docs
)]

#[path = "../support/mod.rs"]
mod support;

mod abuse;
mod attendants;
mod auth;
mod authz;
mod drivers;
mod ipn;
mod occupancy;
mod openapi;
mod ops;
mod parking_sessions;
mod payments;
mod races;
mod refunds;
mod reservations;
mod search;
mod seed;
mod tariffs;
mod traps;
