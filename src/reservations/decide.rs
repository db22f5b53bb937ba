//! Which requests of a group get a space: pure, in the order in which they came.

use std::collections::{HashMap, HashSet};

use jiff::{SignedDuration, Timestamp};

use super::{HoldRequest, Refusal, Reservation, held_until};
use crate::kernel::ids::{DriverId, LotId, VehicleId};
use crate::kernel::vehicle::VehicleClass;
use crate::lots::LotStatus;
use crate::lots::capacity::Snapshot;
use crate::lots::hours::OpeningHours;

/// Which of a lot's spaces.
pub type SpaceKey = (LotId, VehicleClass);

/// A capacity row under lock, and what its lot says of itself.
#[derive(Clone, Debug)]
pub struct Space {
    /// The numbers.
    pub snapshot: Snapshot,
    /// Whether the lot takes vehicles.
    pub status: LotStatus,
    /// When it is open; `None` is always.
    pub opening_hours: Option<OpeningHours>,
    /// How long it holds a space.
    pub hold_minutes: i32,
}

impl Space {
    /// Whether the lot takes a vehicle at an instant.
    pub fn takes_vehicles(&self, at: Timestamp) -> bool {
        let open = self.opening_hours.as_ref().is_none_or(|hours| hours.open_at(at));
        self.status == LotStatus::Open && open
    }
}

/// What the database knows about one request.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// The class of the vehicle, if it is the driver's and not removed.
    pub class: Option<VehicleClass>,
    /// The hold that was made under the request's key, with the hash of the wish then.
    pub known: Option<(Reservation, Vec<u8>)>,
    /// Live holds of the driver.
    pub live: i64,
    /// Whether the vehicle has a live hold.
    pub vehicle_held: bool,
    /// Holds of the driver that expired within the last hour.
    pub expired: i64,
    /// When the first of them did.
    pub first_expired_at: Option<Timestamp>,
}

/// The limits that apply to all drivers.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Live holds of one driver.
    pub live_per_driver_max: i64,
    /// Holds that a driver may let expire within an hour.
    pub expired_per_hour_max: i64,
}

/// What becomes of one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It gets a space.
    Grant {
        /// Which.
        space: SpaceKey,
        /// Until when.
        expires_at: Timestamp,
    },
    /// It was answered before, with this.
    Known(Box<Reservation>),
    /// It is the same as another request of this group: the index of that one.
    SameAs(usize),
    /// It gets none.
    Refuse(Refusal),
    /// Somebody else has the row locked: decide later.
    Busy,
}

/// The present, the rules and the rows under lock.
pub struct Table<'a> {
    /// The instant at which the group is decided.
    pub now: Timestamp,
    /// The limits.
    pub limits: Limits,
    /// The capacity rows.
    pub spaces: &'a HashMap<SpaceKey, Space>,
    /// Lots that a request found no locked row at, with the classes that they have.
    pub lots: &'a HashMap<LotId, HashSet<VehicleClass>>,
}

/// What the group did so far.
#[derive(Default)]
struct Progress<'a> {
    granted: HashMap<SpaceKey, u32>,
    holds: HashMap<DriverId, i64>,
    vehicles: HashSet<(DriverId, VehicleId)>,
    keys: HashMap<(DriverId, &'a str), usize>,
}

/// Decides a group: one decision per request, in order. Never grants more of a row than is free.
pub fn decide(table: &Table<'_>, requests: &[(HoldRequest, Facts)]) -> Vec<Decision> {
    let mut progress = Progress::default();
    let mut decisions = Vec::with_capacity(requests.len());
    for (index, (request, facts)) in requests.iter().enumerate() {
        let twin = progress.keys.get(&(request.driver_id, request.key.as_str())).copied();
        let decision = match twin {
            Some(first) => same_as(first, requests, request),
            None => one(table, &mut progress, request, facts),
        };
        if matches!(decision, Decision::Grant { .. }) {
            progress.keys.insert((request.driver_id, request.key.as_str()), index);
        }
        decisions.push(decision);
    }
    decisions
}

fn same_as(first: usize, requests: &[(HoldRequest, Facts)], request: &HoldRequest) -> Decision {
    let same = requests.get(first).is_some_and(|(other, _)| other.hash == request.hash);
    if same { Decision::SameAs(first) } else { Decision::Refuse(Refusal::KeyReused) }
}

fn one(
    table: &Table<'_>,
    progress: &mut Progress<'_>,
    request: &HoldRequest,
    facts: &Facts,
) -> Decision {
    if let Some((hold, hash)) = &facts.known {
        return if *hash == request.hash {
            Decision::Known(Box::new(hold.clone().as_created()))
        } else {
            Decision::Refuse(Refusal::KeyReused)
        };
    }
    match place(table, progress, request, facts) {
        Ok(Some((space, expires_at))) => {
            *progress.granted.entry(space).or_default() += 1;
            *progress.holds.entry(request.driver_id).or_default() += 1;
            progress.vehicles.insert((request.driver_id, request.vehicle_id));
            Decision::Grant { space, expires_at }
        }
        Ok(None) => Decision::Busy,
        Err(refusal) => Decision::Refuse(refusal),
    }
}

/// The space that a request gets; `None` when its row is locked by somebody else. What the driver
/// can mend comes before what only time mends.
fn place(
    table: &Table<'_>,
    progress: &Progress<'_>,
    request: &HoldRequest,
    facts: &Facts,
) -> Result<Option<(SpaceKey, Timestamp)>, Refusal> {
    let class = facts.class.ok_or(Refusal::VehicleNotFound)?;
    let key = (request.lot_id, class);
    let Some(space) = table.spaces.get(&key) else {
        let classes = table.lots.get(&request.lot_id).ok_or(Refusal::LotNotFound)?;
        return if classes.contains(&class) { Ok(None) } else { Err(Refusal::ClassNotServed) };
    };
    if !space.takes_vehicles(request.arrive_by.unwrap_or(table.now)) {
        return Err(Refusal::LotClosed);
    }
    if facts.vehicle_held || progress.vehicles.contains(&(request.driver_id, request.vehicle_id)) {
        return Err(Refusal::VehicleAlreadyHeld);
    }
    let here = progress.holds.get(&request.driver_id).copied().unwrap_or(0);
    if facts.live.saturating_add(here) >= table.limits.live_per_driver_max {
        return Err(Refusal::HoldLimitReached);
    }
    if facts.expired >= table.limits.expired_per_hour_max {
        return Err(Refusal::Cooldown { retry_after_s: cooldown_s(table.now, facts) });
    }
    let granted = progress.granted.get(&key).copied().unwrap_or(0);
    if granted >= space.snapshot.free(table.now) {
        return Err(Refusal::LotFull);
    }
    // The handler checked `arrive_by`; in the moment since then it can only have passed.
    let until = held_until(table.now, space.hold_minutes, request.arrive_by)
        .or_else(|| held_until(table.now, space.hold_minutes, None));
    until.map(|until| Some((key, until))).ok_or(Refusal::LotClosed)
}

/// Seconds until the first of the last hour's expired holds is an hour old.
fn cooldown_s(now: Timestamp, facts: &Facts) -> i64 {
    let first = facts.first_expired_at.unwrap_or(now);
    let over = first.checked_add(SignedDuration::from_hours(1)).unwrap_or(now);
    now.duration_until(over).as_secs().max(1)
}

#[cfg(test)]
mod tests;
