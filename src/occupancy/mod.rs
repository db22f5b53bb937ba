//! How full the lots are: readings from devices, the live picture, and who follows it.
//!
//! Postgres holds the numbers and a version for each lot and class. Redis and every server's
//! memory hold copies: the newer version wins, whatever order they arrive in. A copy may be late
//! and is repaired; it never decides.
//!
//! A batch of readings is taken whole or not at all. The newest reading wins by
//! `(observed_at, sequence, device_id)`, so any order of arrival ends in the same picture.

pub mod build;
pub mod events_http;
pub mod follow;
pub mod http;
pub mod index;
pub mod live;
pub mod numbers;
pub mod repair;
pub mod report;
pub mod service;
pub mod slots;
pub mod store;
pub mod stream;

use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;

use crate::kernel::vehicle::VehicleClass;

/// The most readings in one report: the benefit of batching ends at about a hundred.
pub const READINGS_MAX: usize = 500;

/// Seconds that a device's clock may be ahead of ours.
pub const AHEAD_S_MAX: i64 = 120;

/// Days after which a reading is history that nobody asked for.
pub const AGE_DAYS_MAX: i64 = 7;

/// The largest sequence number that every JSON reader keeps exact, 2^53 − 1.
pub const SEQUENCE_MAX: i64 = 9_007_199_254_740_991;

/// A reading as a device sends it.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawReading {
    /// What was counted.
    pub vehicle_class: VehicleClass,
    /// Occupied spaces; or `free`.
    pub occupied: Option<i64>,
    /// Free spaces; or `occupied`.
    pub free: Option<i64>,
    /// When it was counted, by the device's clock.
    pub observed_at: Timestamp,
    /// The device's own name.
    pub device_id: String,
    /// Counts up by device; the same number again is a repeat.
    pub sequence: i64,
}

/// A reading that makes sense at its lot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reading {
    /// What was counted.
    pub class: VehicleClass,
    /// Occupied spaces.
    pub occupied: u32,
    /// When, by the device's clock.
    pub observed_at: Timestamp,
    /// The device's own name.
    pub device_id: String,
    /// Counts up by device.
    pub sequence: i64,
}

impl Reading {
    /// What decides which of two readings is newer. The device's name comes last, so that two
    /// devices that count at the same instant end in the same picture in either order.
    pub fn rank(&self) -> (Timestamp, i64, &str) {
        (self.observed_at, self.sequence, &self.device_id)
    }
}

/// What is wrong with a reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ReadingFault {
    /// Both numbers, or none.
    #[error("give either occupied or free")]
    OneNumber,
    /// Negative, or more than the lot has.
    #[error("must be between 0 and the capacity of the lot for this class")]
    OverCapacity,
    /// The lot has no such spaces.
    #[error("the lot has no spaces for this class")]
    ClassNotServed,
    /// Observed in the future.
    #[error("must not be more than 2 minutes in the future")]
    Future,
    /// Observed long ago.
    #[error("must not be more than 7 days ago")]
    TooOld,
    /// Negative or too large.
    #[error("must be between 0 and 9007199254740991")]
    Sequence,
    /// Empty, too long, or not printable.
    #[error("must be 1 to 64 printable ASCII characters without spaces")]
    Device,
}

impl ReadingFault {
    /// The rule in a word, as errors name it.
    pub fn rule(self) -> &'static str {
        match self {
            ReadingFault::OneNumber => "one_of",
            ReadingFault::OverCapacity | ReadingFault::Sequence => "range",
            ReadingFault::ClassNotServed => "class_not_served",
            ReadingFault::Future => "future",
            ReadingFault::TooOld => "too_old",
            ReadingFault::Device => "format",
        }
    }
}

/// A faulty reading of a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BadReading {
    /// Its place in the report, from 0.
    pub index: usize,
    /// The field that is wrong.
    pub field: &'static str,
    /// Why.
    pub fault: ReadingFault,
}

/// Checks a report: all readings, or every fault.
pub fn check(
    raw: &[RawReading],
    capacity_of: impl Fn(VehicleClass) -> Option<u32>,
    now: Timestamp,
) -> Result<Vec<Reading>, Vec<BadReading>> {
    let mut good = Vec::with_capacity(raw.len());
    let mut bad = Vec::new();
    for (index, reading) in raw.iter().enumerate() {
        match check_one(reading, &capacity_of, now) {
            Ok(reading) => good.push(reading),
            Err((field, fault)) => bad.push(BadReading { index, field, fault }),
        }
    }
    if bad.is_empty() { Ok(good) } else { Err(bad) }
}

fn check_one(
    raw: &RawReading,
    capacity_of: &impl Fn(VehicleClass) -> Option<u32>,
    now: Timestamp,
) -> Result<Reading, (&'static str, ReadingFault)> {
    let capacity =
        capacity_of(raw.vehicle_class).ok_or(("vehicle_class", ReadingFault::ClassNotServed))?;
    let within = |field: &'static str, number: i64| {
        u32::try_from(number)
            .ok()
            .filter(|number| *number <= capacity)
            .ok_or((field, ReadingFault::OverCapacity))
    };
    let occupied = match (raw.occupied, raw.free) {
        (Some(occupied), None) => within("occupied", occupied)?,
        (None, Some(free)) => capacity.saturating_sub(within("free", free)?),
        (Some(_), Some(_)) | (None, None) => return Err(("occupied", ReadingFault::OneNumber)),
    };
    let age = now.duration_since(raw.observed_at);
    if age < SignedDuration::from_secs(-AHEAD_S_MAX) {
        return Err(("observed_at", ReadingFault::Future));
    }
    if age > SignedDuration::from_hours(24 * AGE_DAYS_MAX) {
        return Err(("observed_at", ReadingFault::TooOld));
    }
    if !(0..=SEQUENCE_MAX).contains(&raw.sequence) {
        return Err(("sequence", ReadingFault::Sequence));
    }
    let named = (1..=64).contains(&raw.device_id.len())
        && raw.device_id.bytes().all(|byte| byte.is_ascii_graphic());
    if !named {
        return Err(("device_id", ReadingFault::Device));
    }
    Ok(Reading {
        class: raw.vehicle_class,
        occupied,
        // Postgres keeps microseconds; a finer time would never equal its own copy.
        observed_at: Timestamp::from_microsecond(raw.observed_at.as_microsecond())
            .unwrap_or(raw.observed_at),
        device_id: raw.device_id.clone(),
        sequence: raw.sequence,
    })
}

/// What became of a report.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct Taken {
    /// New, and newer than what was known at its turn.
    pub accepted: u32,
    /// Seen before.
    pub duplicate: u32,
    /// New, but older than what was known; kept in the history.
    pub stale: u32,
}

/// What can go wrong when a report is taken in.
#[derive(Debug, thiserror::Error)]
pub enum OccupancyError {
    /// The lot is absent or another operator's.
    #[error("no such lot")]
    NotFound,
    /// Readings that make no sense; none was taken.
    #[error("{} reading(s) make no sense", .0.len())]
    Readings(Vec<BadReading>),
    /// More spaces are parked in or held than the new capacity.
    #[error("more spaces than that are parked in or held right now")]
    CapacityInUse,
    /// The database failed.
    #[error("occupancy: {0}")]
    Db(#[from] crate::platform::db::DbError),
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    const NOW: &str = "2026-11-27T08:00:00Z";

    fn raw(change: impl FnOnce(&mut RawReading)) -> RawReading {
        let mut reading = RawReading {
            vehicle_class: VehicleClass::Car,
            occupied: Some(7),
            free: None,
            observed_at: NOW.parse().unwrap(),
            device_id: "cam-1".into(),
            sequence: 1,
        };
        change(&mut reading);
        reading
    }

    fn check_raw(reading: RawReading) -> Result<Vec<Reading>, Vec<BadReading>> {
        let capacity_of = |class| (class == VehicleClass::Car).then_some(10);
        check(&[reading], capacity_of, NOW.parse().unwrap())
    }

    #[rstest]
    #[case::occupied(raw(|_| {}), 7)]
    #[case::full(raw(|r| r.occupied = Some(10)), 10)]
    #[case::free(raw(|r| { r.occupied = None; r.free = Some(4) }), 6)]
    #[case::slightly_ahead(raw(|r| r.observed_at = "2026-11-27T08:02:00Z".parse().unwrap()), 7)]
    #[case::a_week_old(raw(|r| r.observed_at = "2026-11-20T08:00:00Z".parse().unwrap()), 7)]
    fn sound_readings_are_taken(#[case] reading: RawReading, #[case] occupied: u32) {
        assert_eq!(check_raw(reading).unwrap()[0].occupied, occupied);
    }

    #[rstest]
    #[case(raw(|r| r.occupied = None), "occupied", ReadingFault::OneNumber)]
    #[case(raw(|r| r.free = Some(1)), "occupied", ReadingFault::OneNumber)]
    #[case(raw(|r| r.occupied = Some(11)), "occupied", ReadingFault::OverCapacity)]
    #[case(raw(|r| r.occupied = Some(-1)), "occupied", ReadingFault::OverCapacity)]
    #[case(raw(|r| { r.occupied = None; r.free = Some(11) }), "free", ReadingFault::OverCapacity)]
    #[case(raw(|r| r.vehicle_class = VehicleClass::Bus), "vehicle_class", ReadingFault::ClassNotServed)]
    #[case(raw(|r| r.observed_at = "2026-11-27T08:02:00.001Z".parse().unwrap()), "observed_at", ReadingFault::Future)]
    #[case(raw(|r| r.observed_at = "2026-11-20T07:59:59Z".parse().unwrap()), "observed_at", ReadingFault::TooOld)]
    #[case(raw(|r| r.sequence = -1), "sequence", ReadingFault::Sequence)]
    #[case(raw(|r| r.sequence = SEQUENCE_MAX + 1), "sequence", ReadingFault::Sequence)]
    #[case(raw(|r| r.device_id = String::new()), "device_id", ReadingFault::Device)]
    #[case(raw(|r| r.device_id = "cam 1".into()), "device_id", ReadingFault::Device)]
    #[case(raw(|r| r.device_id = "x".repeat(65)), "device_id", ReadingFault::Device)]
    fn impossible_readings_are_refused(
        #[case] reading: RawReading,
        #[case] field: &str,
        #[case] fault: ReadingFault,
    ) {
        let bad = check_raw(reading).unwrap_err();
        assert_eq!((bad[0].index, bad[0].field, bad[0].fault), (0, field, fault));
    }

    #[test]
    fn one_bad_reading_refuses_the_report_and_every_bad_one_is_named() {
        let report = [raw(|_| {}), raw(|r| r.sequence = -1), raw(|r| r.occupied = Some(99))];
        let bad = check(&report, |_| Some(10), NOW.parse().unwrap()).unwrap_err();
        assert_eq!(bad.iter().map(|bad| bad.index).collect::<Vec<_>>(), [1, 2]);
    }
}
