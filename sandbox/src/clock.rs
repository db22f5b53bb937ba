//! The sandbox's clock: real time, which tests may shift, and the gateways' date format.

use std::sync::atomic::{AtomicI64, Ordering};

use jiff::civil::DateTime;
use jiff::tz::{self, TimeZone};
use jiff::{SignedDuration, Timestamp};

/// Hanoi is seven hours ahead all year. A fixed offset, because VNPAY's Java sample, which asks
/// for the zone `Etc/GMT+7`, gets seven hours *behind* and is fourteen hours off.
const HANOI_OFFSET_HOURS: i8 = 7;

/// Real time plus an offset which `PUT /control/clock` sets.
#[derive(Debug, Default)]
pub struct Clock {
    offset_ms: AtomicI64,
}

impl Clock {
    /// Now, as the sandbox sees it.
    pub fn now(&self) -> Timestamp {
        let offset = SignedDuration::from_millis(self.offset_ms.load(Ordering::Relaxed));
        let real = real_now();
        real.checked_add(offset).unwrap_or(real)
    }

    /// Makes `now` the present; time goes on from there.
    pub fn set(&self, now: Timestamp) {
        let offset = now.as_millisecond().saturating_sub(real_now().as_millisecond());
        self.offset_ms.store(offset, Ordering::Relaxed);
    }

    /// Back to real time.
    pub fn reset(&self) {
        self.offset_ms.store(0, Ordering::Relaxed);
    }
}

#[expect(clippy::disallowed_methods, reason = "this is the sandbox's own source of time")]
fn real_now() -> Timestamp {
    Timestamp::now()
}

/// `yyyyMMddHHmmss` in Hanoi.
pub fn format_compact(at: Timestamp) -> String {
    hanoi(at).strftime("%Y%m%d%H%M%S").to_string()
}

/// `yyyyMMdd` in Hanoi: the day within which references and request ids are unique.
pub fn day(at: Timestamp) -> String {
    hanoi(at).strftime("%Y%m%d").to_string()
}

/// `HH:mm dd/MM/yyyy` in Hanoi, for people.
pub fn format_readable(at: Timestamp) -> String {
    hanoi(at).strftime("%H:%M %d/%m/%Y").to_string()
}

/// Reads `yyyyMMddHHmmss` (Hanoi); `None` for anything else.
pub fn parse_compact(text: &str) -> Option<Timestamp> {
    if text.len() != 14 || !text.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let civil = DateTime::strptime("%Y%m%d%H%M%S", text).ok()?;
    Some(civil.to_zoned(zone()).ok()?.timestamp())
}

fn hanoi(at: Timestamp) -> jiff::Zoned {
    at.to_zoned(zone())
}

fn zone() -> TimeZone {
    TimeZone::fixed(tz::offset(HANOI_OFFSET_HOURS))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compact_dates_are_hanoi_time_and_round_trip() {
        let at = parse_compact("20261123101500").unwrap();
        assert_eq!(at.to_string(), "2026-11-23T03:15:00Z");
        assert_eq!(format_compact(at), "20261123101500");
        assert_eq!(format_readable(at), "10:15 23/11/2026");
        assert_eq!(day("2026-11-23T17:00:00Z".parse().unwrap()), "20261124");
    }

    #[test]
    fn impossible_dates_are_refused() {
        for text in ["", "2026112310150", "20261323101500", "20260231101500", "2026112310150x"] {
            assert!(parse_compact(text).is_none(), "{text}");
        }
    }
}
