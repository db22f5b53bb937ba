//! What "free" means: the one rule for search, reservations and the walk-in.
//!
//! A space is taken when one of our sessions or a live hold says so. A device sees all vehicles,
//! ours among them, so its count and our sessions are not added up: the larger of the two counts.
//! A count that nobody has renewed for [`OBSERVED_S_MAX`] is forgotten, so that a dead device
//! cannot close a lot for ever.

use jiff::Timestamp;
use serde::Serialize;

use crate::kernel::ids::LotId;
use crate::kernel::vehicle::VehicleClass;

/// Seconds for which a reading is `live`.
pub const LIVE_S: i64 = 120;

/// Seconds for which a reading is `recent`.
pub const RECENT_S: i64 = 900;

/// Seconds for which a reading counts at all; older is as good as none.
pub const OBSERVED_S_MAX: i64 = 6 * 3_600;

/// How sure a number of free spaces is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, strum::IntoStaticStr)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum Confidence {
    /// Read within two minutes.
    Live,
    /// Read within a quarter of an hour.
    Recent,
    /// Older, or this server is not in step with the others.
    Stale,
    /// Never read, or too long ago: only our own sessions and holds are counted.
    Unknown,
}

impl Confidence {
    /// The word in the interface.
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

/// What a device saw.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Observed {
    /// Occupied spaces.
    pub occupied: u32,
    /// When.
    pub at: Timestamp,
}

/// One class of one lot at one version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// Spaces in all.
    pub capacity: u32,
    /// Live holds.
    pub held: u32,
    /// Active parking sessions.
    pub in_use: u32,
    /// The newest reading.
    pub observed: Option<Observed>,
    /// Grows by one with every change.
    pub version: i64,
}

/// A row of `lot_capacity`: what every change of it hands on to Redis and the servers' memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CapacityRow {
    /// The lot.
    pub lot_id: LotId,
    /// The class.
    pub class: VehicleClass,
    /// The numbers.
    pub now: Snapshot,
}

impl Snapshot {
    /// Age of the newest reading in whole seconds; a reading from the future has none.
    fn age_s(&self, now: Timestamp) -> Option<i64> {
        self.observed.map(|observed| now.as_second().saturating_sub(observed.at.as_second()).max(0))
    }

    /// How sure the number of free spaces is.
    pub fn confidence(&self, now: Timestamp) -> Confidence {
        match self.age_s(now) {
            Some(..=LIVE_S) => Confidence::Live,
            Some(..=RECENT_S) => Confidence::Recent,
            Some(..=OBSERVED_S_MAX) => Confidence::Stale,
            Some(_) | None => Confidence::Unknown,
        }
    }

    /// Spaces that are parked in or held.
    pub fn taken(&self, now: Timestamp) -> u32 {
        let seen = match (self.observed, self.age_s(now)) {
            (Some(observed), Some(..=OBSERVED_S_MAX)) => observed.occupied,
            _ => 0,
        };
        self.in_use.max(seen).saturating_add(self.held)
    }

    /// Spaces that are free.
    pub fn free(&self, now: Timestamp) -> u32 {
        self.capacity.saturating_sub(self.taken(now))
    }

    /// When the number was last true: the time of the reading it rests on.
    pub fn as_of(&self, now: Timestamp) -> Option<Timestamp> {
        let counts = self.age_s(now).is_some_and(|age| age <= OBSERVED_S_MAX);
        self.observed.filter(|_| counts).map(|observed| observed.at)
    }
}

/// A class's numbers as answers show them.
#[derive(Clone, Debug, Serialize)]
pub struct ClassCapacity {
    /// The class.
    pub vehicle_class: VehicleClass,
    /// Spaces in all.
    pub capacity: u32,
    /// Free spaces.
    pub free_spaces: u32,
    /// When that was read.
    pub as_of: Option<Timestamp>,
    /// How sure it is.
    pub confidence: Confidence,
}

impl ClassCapacity {
    /// The numbers at an instant.
    pub fn at(now: Timestamp, class: VehicleClass, snapshot: &Snapshot) -> ClassCapacity {
        ClassCapacity {
            vehicle_class: class,
            capacity: snapshot.capacity,
            free_spaces: snapshot.free(now),
            as_of: snapshot.as_of(now),
            confidence: snapshot.confidence(now),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rstest::rstest;

    const NOW: Timestamp = Timestamp::constant(1_795_766_400, 0);

    fn seen(capacity: u32, held: u32, in_use: u32, observed: Option<(u32, i64)>) -> Snapshot {
        let observed = observed.map(|(occupied, age_s)| Observed {
            occupied,
            at: Timestamp::from_second(NOW.as_second() - age_s).unwrap(),
        });
        Snapshot { capacity, held, in_use, observed, version: 1 }
    }

    #[rstest]
    #[case::no_device(seen(10, 2, 3, None), 5)]
    #[case::device_sees_more_than_we_sold(seen(10, 2, 3, Some((6, 60))), 2)]
    #[case::we_sold_more_than_the_device_sees(seen(10, 2, 6, Some((3, 60))), 2)]
    #[case::old_but_the_best_there_is(seen(10, 0, 0, Some((9, OBSERVED_S_MAX))), 1)]
    #[case::dead_device(seen(10, 0, 0, Some((9, OBSERVED_S_MAX + 1))), 10)]
    #[case::never_below_nothing(seen(10, 5, 0, Some((10, 1))), 0)]
    #[case::clock_of_the_device_is_ahead(seen(10, 0, 0, Some((4, -90))), 6)]
    fn free_is_what_neither_we_nor_the_device_see_taken(#[case] s: Snapshot, #[case] free: u32) {
        assert_eq!(s.free(NOW), free);
    }

    #[rstest]
    #[case(Some(0), Confidence::Live)]
    #[case(Some(-60), Confidence::Live)]
    #[case(Some(120), Confidence::Live)]
    #[case(Some(121), Confidence::Recent)]
    #[case(Some(900), Confidence::Recent)]
    #[case(Some(901), Confidence::Stale)]
    #[case(Some(21_600), Confidence::Stale)]
    #[case(Some(21_601), Confidence::Unknown)]
    #[case(None, Confidence::Unknown)]
    fn confidence_falls_with_age(#[case] age_s: Option<i64>, #[case] confidence: Confidence) {
        let snapshot = seen(10, 0, 0, age_s.map(|age_s| (5, age_s)));
        assert_eq!(snapshot.confidence(NOW), confidence);
        assert_eq!(snapshot.as_of(NOW).is_none(), confidence == Confidence::Unknown);
    }

    proptest! {
        #[test]
        fn free_spaces_are_never_more_than_the_capacity_leaves(
            capacity in 0_u32..1_000, held in 0_u32..1_000, in_use in 0_u32..1_000,
            observed in proptest::option::of((0_u32..1_000, -120_i64..100_000)),
        ) {
            let snapshot = seen(capacity, held, in_use, observed);
            prop_assert!(snapshot.free(NOW) <= capacity.saturating_sub(held.saturating_add(in_use)));
        }
    }
}
