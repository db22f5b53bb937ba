//! The group writer: requests that wait together are decided in one transaction.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use uuid::Uuid;

use super::decide::{Decision, Facts, Limits, Space, SpaceKey, Table, decide};
use super::filter::FullSpaces;
use super::store::{self, NewHold};
use super::{HoldRequest, Refusal, Reservation, ReservationError, ReservationStatus};
use crate::in_tx;
use crate::kernel::ids::LotId;
use crate::kernel::vehicle::VehicleClass;
use crate::lots::capacity::CapacityRow;
use crate::occupancy::service::Occupancy;
use crate::platform::App;
use crate::platform::db::DbError;
use crate::platform::groups::GroupLimits;

/// The first writer: one, because a second one would only halve the groups (measured: 110 instead
/// of 72 µs of the database's time per hold). It leaves rows alone that somebody else has locked,
/// so it never waits. Requests above the queue are shed.
pub const SWIFT: GroupLimits = GroupLimits { writers: 1, group_max: 128, queue_max: 4_096 };

/// The second writers: for requests whose row was locked; they wait for it.
pub const PATIENT: GroupLimits = GroupLimits { writers: 2, group_max: 128, queue_max: 4_096 };

/// How a writer takes locks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Temper {
    /// Leaves locked rows alone.
    Swift,
    /// Waits for them.
    Patient,
}

/// What becomes of one request.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// The space is held: now, or since the request was first made.
    Held(Reservation),
    /// It is not.
    Refused(Refusal),
    /// Somebody else has the row locked: ask a patient writer.
    Busy,
    /// Not known; the same key may be tried again.
    Failed(Arc<ReservationError>),
}

/// A group that was decided and committed.
struct Decided {
    outcomes: Vec<Outcome>,
    changed: Vec<CapacityRow>,
    /// Each row that was looked at, and whether it has a space left.
    room: Vec<(SpaceKey, bool)>,
}

/// Decides a group and shows the result; one outcome per request, in order.
pub async fn work(
    occupancy: Occupancy,
    full: Arc<FullSpaces>,
    temper: Temper,
    requests: Vec<HoldRequest>,
) -> Vec<Outcome> {
    let app = occupancy.app();
    metrics::histogram!("reservation_group_size")
        .record(f64::from(u32::try_from(requests.len()).unwrap_or(u32::MAX)));
    match transact(app, temper, &requests).await {
        Ok(decided) => conclude(&occupancy, &full, decided),
        // One request that the database cannot take must not cost the others their answer.
        Err(error) if requests.len() > 1 && !error.is_passing() => {
            tracing::warn!(error = %error, "a group of reservations is decided one by one");
            let mut outcomes = Vec::with_capacity(requests.len());
            for request in &requests {
                match transact(app, temper, std::slice::from_ref(request)).await {
                    Ok(decided) => outcomes.extend(conclude(&occupancy, &full, decided)),
                    Err(error) => outcomes.push(Outcome::Failed(Arc::new(error.into()))),
                }
            }
            outcomes
        }
        Err(error) => {
            let error = Arc::new(ReservationError::from(error));
            requests.iter().map(|_| Outcome::Failed(Arc::clone(&error))).collect()
        }
    }
}

fn conclude(occupancy: &Occupancy, full: &FullSpaces, decided: Decided) -> Vec<Outcome> {
    for (space, has_room) in decided.room {
        full.note(space, has_room);
    }
    super::service::show(occupancy, decided.changed);
    decided.outcomes
}

async fn transact(app: &App, temper: Temper, requests: &[HoldRequest]) -> Result<Decided, DbError> {
    in_tx!(app.db(), "reservations.hold", |tx| {
        let spaces = store::lock_group(tx, requests, temper == Temper::Patient).await?;
        let now = whole_us(app.now());
        let hour_ago = now.checked_sub(SignedDuration::from_hours(1)).unwrap_or(now);
        let facts = store::facts(tx, requests, hour_ago).await?;
        let pairs: Vec<(HoldRequest, Facts)> = requests.iter().cloned().zip(facts).collect();
        let homeless: Vec<Uuid> = pairs
            .iter()
            .filter(|(request, facts)| {
                facts.class.is_some_and(|class| !spaces.contains_key(&(request.lot_id, class)))
            })
            .map(|(request, _)| request.lot_id.get())
            .collect();
        let lots = if homeless.is_empty() {
            HashMap::new()
        } else {
            store::existing_lots(tx, &homeless).await?
        };
        let decisions = decide(&table(app, now, &spaces, &lots), &pairs);
        let holds = new_holds(app, now, &pairs, &decisions);
        let changed = if holds.iter().all(Option::is_none) {
            Vec::new()
        } else {
            let rows: Vec<NewHold<'_>> = pairs
                .iter()
                .zip(&holds)
                .filter_map(|((request, _), hold)| {
                    hold.clone().map(|hold| NewHold { request, hold })
                })
                .collect();
            store::insert_holds(tx, &rows).await?
        };
        let room = room(now, &spaces, &changed);
        Ok(Decided { outcomes: outcomes(decisions, &holds), changed, room })
    })
}

fn table<'a>(
    app: &App,
    now: Timestamp,
    spaces: &'a HashMap<SpaceKey, Space>,
    lots: &'a HashMap<LotId, HashSet<VehicleClass>>,
) -> Table<'a> {
    let settings = &app.config().reservations;
    let limits = Limits {
        live_per_driver_max: settings.live_per_driver_max,
        expired_per_hour_max: settings.expired_per_hour_max,
    };
    Table { now, limits, spaces, lots }
}

fn new_holds(
    app: &App,
    now: Timestamp,
    pairs: &[(HoldRequest, Facts)],
    decisions: &[Decision],
) -> Vec<Option<Reservation>> {
    let hold = |((request, _), decision): (&(HoldRequest, Facts), &Decision)| match decision {
        Decision::Grant { space: (lot_id, class), expires_at } => Some(Reservation {
            id: app.new_id(),
            lot_id: *lot_id,
            vehicle_id: request.vehicle_id,
            vehicle_class: *class,
            status: ReservationStatus::Held,
            created_at: now,
            arrive_by: request.arrive_by,
            expires_at: *expires_at,
            ended_at: None,
        }),
        Decision::Known(_) | Decision::SameAs(_) | Decision::Refuse(_) | Decision::Busy => None,
    };
    pairs.iter().zip(decisions).map(hold).collect()
}

fn outcomes(decisions: Vec<Decision>, holds: &[Option<Reservation>]) -> Vec<Outcome> {
    let made = |index: usize| holds.get(index).cloned().flatten();
    decisions
        .into_iter()
        .enumerate()
        .map(|(index, decision)| match decision {
            Decision::Grant { .. } => {
                made(index).map_or(Outcome::Refused(Refusal::LotFull), Outcome::Held)
            }
            Decision::SameAs(first) => {
                made(first).map_or(Outcome::Refused(Refusal::LotFull), Outcome::Held)
            }
            Decision::Known(hold) => Outcome::Held(*hold),
            Decision::Refuse(refusal) => Outcome::Refused(refusal),
            Decision::Busy => Outcome::Busy,
        })
        .collect()
}

/// Whether each row has a space left after the group.
fn room(
    now: Timestamp,
    spaces: &HashMap<SpaceKey, Space>,
    changed: &[CapacityRow],
) -> Vec<(SpaceKey, bool)> {
    let before = spaces.iter().map(|(key, space)| (*key, space.snapshot.free(now) > 0));
    let after = changed.iter().map(|row| ((row.lot_id, row.class), row.now.free(now) > 0));
    before.chain(after).collect()
}

/// Postgres keeps microseconds: what is answered now must equal what is read later.
pub fn whole_us(at: Timestamp) -> Timestamp {
    Timestamp::from_microsecond(at.as_microsecond()).unwrap_or(at)
}
