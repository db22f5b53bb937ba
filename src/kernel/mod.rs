//! Words everybody uses: money, ids, time, places, plates, phones.
//!
//! Pure: no I/O, no async, nothing of HTTP, SQL text or Redis. A thing moves in here only when
//! three other modules need it.

pub mod clock;
pub mod geo;
pub mod ids;
pub mod money;
pub mod phone;
pub mod plate;
pub mod vehicle;
