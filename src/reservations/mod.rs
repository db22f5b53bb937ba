//! Holding one space of a lot for a vehicle until it arrives.
//!
//! Postgres decides, in groups: requests that wait together become one transaction that locks the
//! capacity rows, gives out as many spaces as there are ([`decide`]) and writes the winners. A
//! hold is one row: its unique `(driver_id, idempotency_key)` remembers the request, its
//! `expires_at` is the only timer. Holds end by being used, cancelled, or expired by a sweep; each
//! is one conditional update on `status = 'held'`, so an arriving driver and the sweep cannot both
//! win. Redis and the servers' memory only show the result and turn losers of a rush away early
//! ([`filter`]).
//!
//! Locks are taken in the order: driver, capacity rows by lot and class, reservation.

pub mod decide;
pub mod end_store;
pub mod filter;
pub mod http;
pub mod service;
pub mod store;
pub mod writer;

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use crate::kernel::ids::{DriverId, LotId, ReservationId, VehicleId};
use crate::kernel::vehicle::VehicleClass;

pub use service::Reservations;

/// The longest hold that can be asked for with `arrive_by`, in minutes from now.
pub const ARRIVE_BY_MINUTES_MAX: i64 = 120;

/// Where a hold is in its life.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    Serialize,
    serde::Deserialize,
    sqlx::Type,
    strum::EnumString,
    strum::IntoStaticStr,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
#[sqlx(type_name = "text", rename_all = "snake_case")]
pub enum ReservationStatus {
    /// The space is kept free.
    Held,
    /// The driver came in time; a parking session has the space.
    Used,
    /// The driver gave it back.
    Cancelled,
    /// The driver did not come in time.
    Expired,
}

impl ReservationStatus {
    /// The word in the interface and the database.
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

/// A hold, as its driver sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Reservation {
    /// Its id.
    pub id: ReservationId,
    /// The lot.
    pub lot_id: LotId,
    /// The driver's vehicle.
    pub vehicle_id: VehicleId,
    /// The vehicle's class: which of the lot's spaces it takes.
    pub vehicle_class: VehicleClass,
    /// Where it is in its life.
    pub status: ReservationStatus,
    /// When it was made.
    pub created_at: Timestamp,
    /// When the driver said to arrive.
    pub arrive_by: Option<Timestamp>,
    /// The space is held until then.
    pub expires_at: Timestamp,
    /// When it was used, cancelled or expired.
    pub ended_at: Option<Timestamp>,
}

impl Reservation {
    /// The hold as it was when it was made: what a repeated request is answered.
    #[must_use]
    pub fn as_created(mut self) -> Reservation {
        self.status = ReservationStatus::Held;
        self.ended_at = None;
        self
    }
}

/// A wish for a hold, checked as far as that goes without the database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HoldRequest {
    /// Who asks.
    pub driver_id: DriverId,
    /// For which vehicle.
    pub vehicle_id: VehicleId,
    /// Where.
    pub lot_id: LotId,
    /// When the driver will be there at the latest, if that was said.
    pub arrive_by: Option<Timestamp>,
    /// The `Idempotency-Key`.
    pub key: String,
    /// SHA-256 of the wish.
    pub hash: Vec<u8>,
}

/// Why a space was not held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// No space is free.
    LotFull,
    /// The lot takes no vehicles then.
    LotClosed,
    /// There is no such lot.
    LotNotFound,
    /// The lot has no spaces for the vehicle's class.
    ClassNotServed,
    /// Not a vehicle of the driver.
    VehicleNotFound,
    /// The vehicle has a live hold.
    VehicleAlreadyHeld,
    /// The driver has as many live holds as is allowed.
    HoldLimitReached,
    /// The driver let too many holds expire; seconds to wait.
    Cooldown {
        /// When to try again.
        retry_after_s: i64,
    },
    /// The key was used for another wish.
    KeyReused,
}

/// What can go wrong with reservations.
#[derive(Debug, thiserror::Error)]
pub enum ReservationError {
    /// Absent, or another driver's.
    #[error("no such reservation")]
    NotFound,
    /// The space was not held.
    #[error("the space was not held: {0:?}")]
    Refused(Refusal),
    /// It was used, cancelled or expired before.
    #[error("the reservation is not held any more: {}", .0.as_str())]
    NotHeld(ReservationStatus),
    /// `arrive_by` is in the past or too far away.
    #[error("arrive_by is not within the next {ARRIVE_BY_MINUTES_MAX} minutes")]
    ArriveBy,
    /// Too many requests wait, or the outcome is unknown: repeat with the same key.
    #[error("the reservation could not be decided")]
    Undecided(#[source] crate::platform::groups::GroupError),
    /// The transaction of the group failed.
    #[error("the group of reservations failed")]
    Group(#[source] std::sync::Arc<ReservationError>),
    /// The database failed.
    #[error("reservations: {0}")]
    Db(#[from] crate::platform::db::DbError),
}

/// Until when a hold made now lasts: the lot's minutes, or until `arrive_by` where that is later.
///
/// `None` when `arrive_by` has passed or is more than [`ARRIVE_BY_MINUTES_MAX`] minutes away. An
/// earlier `arrive_by` does not shorten the hold: traffic in Hanoi is what it is, and a hold that
/// the driver does not need ends with the arrival anyway.
pub fn held_until(
    now: Timestamp,
    hold_minutes: i32,
    arrive_by: Option<Timestamp>,
) -> Option<Timestamp> {
    let after = |minutes: i64| now.checked_add(SignedDuration::from_mins(minutes)).ok();
    let usual = after(i64::from(hold_minutes))?;
    match arrive_by {
        None => Some(usual),
        Some(at) if at < now || at > after(ARRIVE_BY_MINUTES_MAX)? => None,
        Some(at) => Some(usual.max(at)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case::usual(None, Some(15))]
    #[case::earlier_does_not_shorten(Some(5), Some(15))]
    #[case::later_lengthens(Some(40), Some(40))]
    #[case::the_longest(Some(120), Some(120))]
    #[case::too_far(Some(121), None)]
    #[case::in_the_past(Some(-1), None)]
    fn a_hold_lasts_until_the_lots_minutes_or_arrive_by(
        #[case] arrive_by_min: Option<i64>,
        #[case] until_min: Option<i64>,
    ) {
        let now = Timestamp::constant(1_795_766_400, 0);
        let at = |minutes: i64| now + SignedDuration::from_mins(minutes);
        assert_eq!(held_until(now, 15, arrive_by_min.map(at)), until_min.map(at));
    }
}
