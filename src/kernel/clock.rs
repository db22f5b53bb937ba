//! Time: instants are UTC; civil time is Hanoi's.
//!
//! Code asks a [`Clock`] and never the system, so that tests move time by hand. Deadlines that
//! two processes compete for (holds) are decided by the database clock instead.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use jiff::{Timestamp, civil::Date, tz::TimeZone};

/// Where "now" comes from.
pub trait Clock: Send + Sync {
    /// The present instant.
    fn now(&self) -> Timestamp;
}

/// The machine's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the system clock")]
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }
}

/// The machine's clock plus an offset that tests move. Time goes on by itself, so time-outs and
/// deadlines in a running server behave as in life.
#[derive(Debug, Clone, Default)]
pub struct ManualClock {
    offset_ms: Arc<AtomicI64>,
}

impl ManualClock {
    /// Moves the clock forward.
    pub fn advance_ms(&self, ms: i64) {
        self.offset_ms.fetch_add(ms, Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        let now = SystemClock.now();
        let offset = jiff::SignedDuration::from_millis(self.offset_ms.load(Ordering::SeqCst));
        now.checked_add(offset).unwrap_or(now)
    }
}

/// Hanoi's time zone, UTC+7 without daylight saving since 1975, from the bundled zone data.
pub fn hanoi() -> TimeZone {
    TimeZone::get("Asia/Ho_Chi_Minh").unwrap_or_else(|_| TimeZone::fixed(jiff::tz::offset(7)))
}

/// The business day in Hanoi that `at` falls on.
pub fn business_day(at: Timestamp) -> Date {
    at.to_zoned(hanoi()).date()
}
