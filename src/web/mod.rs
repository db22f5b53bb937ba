//! Our HTTP toolkit: problems, extractors, observation of requests. Knows nothing of parking.

pub mod extract;
pub mod gcra;
pub mod observe;
pub mod ordered;
pub mod problem;
pub mod query;
pub mod rate_limit;
pub mod slow_sender;
