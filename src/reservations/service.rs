//! Holding, cancelling, using and expiring.

use std::sync::Arc;

use jiff::Timestamp;
use sqlx::postgres::PgConnection;
use uuid::Uuid;

use super::decide::Facts;
use super::filter::FullSpaces;
use super::writer::{self, Outcome, PATIENT, SWIFT, Temper, whole_us};
use super::{
    HoldRequest, Refusal, Reservation, ReservationError, ReservationStatus, end_store, store,
};
use crate::kernel::ids::{DriverId, ReservationId};
use crate::lots::capacity::CapacityRow;
use crate::occupancy::live::{self, Write};
use crate::occupancy::service::{Occupancy, Room};
use crate::platform::App;
use crate::platform::db::DbError;
use crate::platform::groups::{GroupLimits, GroupWriter};
use crate::{in_tx, on_conn};

/// Look-ups of keys for requests that are about to be refused: no locks, so larger groups.
const LOOKUPS: GroupLimits = GroupLimits { writers: 2, group_max: 256, queue_max: 4_096 };

/// Holds that one sweep transaction expires at most: it locks their capacity rows meanwhile.
const SWEEP_MAX: i64 = 200;

/// Sweep transactions in a row; what is left is for the next second.
const SWEEPS_MAX: u32 = 50;

/// The way to a hold: the early filter and the group writer behind it. Cheap to clone.
#[derive(Clone)]
pub struct Reservations {
    occupancy: Occupancy,
    full: Arc<FullSpaces>,
    swift: GroupWriter<HoldRequest, Outcome>,
    patient: GroupWriter<HoldRequest, Outcome>,
    lookups: GroupWriter<HoldRequest, Option<Facts>>,
}

impl Reservations {
    /// Starts the writers; they end with the process.
    pub fn start(occupancy: &Occupancy) -> Reservations {
        let app = occupancy.app();
        let full = Arc::new(FullSpaces::default());
        let writer = |limits: GroupLimits, temper: Temper| {
            let (occupancy, full) = (occupancy.clone(), Arc::clone(&full));
            GroupWriter::start(app, limits, move |requests| {
                writer::work(occupancy.clone(), Arc::clone(&full), temper, requests)
            })
        };
        let swift = writer(SWIFT, Temper::Swift);
        let patient = writer(PATIENT, Temper::Patient);
        let lookups = {
            let app_of_lookups = app.clone();
            GroupWriter::start(app, LOOKUPS, move |requests| {
                look_up(app_of_lookups.clone(), requests)
            })
        };
        Reservations { occupancy: occupancy.clone(), full, swift, patient, lookups }
    }

    /// Holds a space, or says why not. Decided and durable when this returns; the decision is
    /// made even if the caller goes away, and the same key gives the same answer again.
    pub async fn hold(&self, request: HoldRequest) -> Result<Reservation, ReservationError> {
        let held = match self.refused_early(&request).await {
            Some(known) => known,
            None => self.decided(request).await,
        };
        let outcome = match &held {
            Ok(_) => "held",
            Err(ReservationError::Refused(Refusal::LotFull)) => "full",
            Err(ReservationError::Refused(_)) => "refused",
            Err(_) => "failed",
        };
        metrics::counter!("reservations_total", "outcome" => outcome).increment(1);
        held
    }

    async fn decided(&self, request: HoldRequest) -> Result<Reservation, ReservationError> {
        let mut outcome = self.swift.submit(request.clone()).await;
        if matches!(outcome, Ok(Outcome::Busy)) {
            outcome = self.patient.submit(request).await;
        }
        match outcome {
            Ok(Outcome::Held(hold)) => Ok(hold),
            Ok(Outcome::Refused(refusal)) => Err(ReservationError::Refused(refusal)),
            Ok(Outcome::Failed(error)) => Err(ReservationError::Group(error)),
            // A patient writer sees every row; a class that vanished meanwhile can be asked again.
            Ok(Outcome::Busy) => Err(DbError::Unavailable(None).into()),
            Err(error) => Err(ReservationError::Undecided(error)),
        }
    }

    /// The answer that the same request got before, if it was made before.
    pub async fn known(
        &self,
        request: &HoldRequest,
    ) -> Result<Option<Reservation>, ReservationError> {
        let facts = self.lookups.submit(request.clone()).await;
        match facts.map_err(ReservationError::Undecided)? {
            Some(facts) => known_of(request, &facts).transpose(),
            None => Err(DbError::Unavailable(None).into()),
        }
    }

    /// The answer to a request for a lot that is full by Postgres and by Redis; `None` when the
    /// writer has to decide.
    async fn refused_early(
        &self,
        request: &HoldRequest,
    ) -> Option<Result<Reservation, ReservationError>> {
        if !self.full.any_of(request.lot_id) {
            return None;
        }
        let facts = self.lookups.submit(request.clone()).await.ok()??;
        if let Some(known) = known_of(request, &facts) {
            return Some(known);
        }
        let (lot, class) = (request.lot_id, facts.class?);
        let refused =
            self.full.has((lot, class)) && self.occupancy.room(lot, class).await == Room::Full;
        refused.then_some(Err(ReservationError::Refused(Refusal::LotFull)))
    }
}

/// The answer that the request's key got before, if it was used.
fn known_of(request: &HoldRequest, facts: &Facts) -> Option<Result<Reservation, ReservationError>> {
    let (hold, hash) = facts.known.as_ref()?;
    Some(if *hash == request.hash {
        Ok(hold.clone().as_created())
    } else {
        Err(ReservationError::Refused(Refusal::KeyReused))
    })
}

async fn look_up(app: App, requests: Vec<HoldRequest>) -> Vec<Option<Facts>> {
    let now = app.now();
    let found: Result<Vec<Facts>, DbError> =
        on_conn!(app.db(), |conn| store::facts(conn, &requests, now).await);
    match found {
        Ok(facts) => facts.into_iter().map(Some).collect(),
        // The writer asks again and answers properly.
        Err(_) => requests.iter().map(|_| None).collect(),
    }
}

/// Shows changed capacity rows to Redis and the other servers, after the commit. Not waited for:
/// what is lost here is repaired by the sweep that compares Redis with Postgres.
pub fn show(occupancy: &Occupancy, rows: Vec<CapacityRow>) {
    if rows.is_empty() {
        return;
    }
    let shown = occupancy.clone();
    occupancy.app().spawn(async move { shown.show(&rows).await });
}

/// Shows changed capacity rows from a process that keeps no picture of its own.
pub async fn publish(app: &App, rows: &[CapacityRow]) {
    let writes: Vec<Write> = rows.iter().copied().map(Write::from).collect();
    if let Err(down) = live::publish(app.redis(), &writes).await {
        metrics::counter!("occupancy_publish_failures_total").increment(1);
        tracing::warn!(error = %down, rows = rows.len(), "changes could not be shown in redis");
    }
}

/// A driver's hold.
pub async fn find(
    app: &App,
    driver: DriverId,
    id: ReservationId,
) -> Result<Reservation, ReservationError> {
    let found: Result<Option<Reservation>, DbError> =
        on_conn!(app.db(), |conn| end_store::find(conn, driver, id).await);
    found?.ok_or(ReservationError::NotFound)
}

/// Gives a held space back. Cancelling again gives the same answer.
pub async fn cancel(
    occupancy: &Occupancy,
    driver: DriverId,
    id: ReservationId,
) -> Result<Reservation, ReservationError> {
    let app = occupancy.app();
    let now = whole_us(app.now());
    let (hold, changed): (Reservation, Option<CapacityRow>) =
        in_tx!(app.db(), "reservations.cancel", |tx| cancel_in(tx, driver, id, now).await)?;
    show(occupancy, changed.into_iter().collect());
    Ok(hold)
}

async fn cancel_in(
    tx: &mut PgConnection,
    driver: DriverId,
    id: ReservationId,
    now: Timestamp,
) -> Result<(Reservation, Option<CapacityRow>), ReservationError> {
    let hold = end_store::find(tx, driver, id).await?.ok_or(ReservationError::NotFound)?;
    end_store::lock_space(tx, hold.lot_id, hold.vehicle_class).await?;
    if let Some(ended) = end_store::end(tx, driver, id, ReservationStatus::Cancelled, now).await? {
        let row = end_store::change_space(tx, hold.lot_id, hold.vehicle_class, -1, 0).await?;
        return Ok((ended, Some(row)));
    }
    let hold = end_store::find(tx, driver, id).await?.ok_or(ReservationError::NotFound)?;
    match hold.status {
        ReservationStatus::Cancelled => Ok((hold, None)),
        ReservationStatus::Used => Err(ReservationError::NotHeld(hold.status)),
        // Its time is over; the sweep may not have come by yet.
        ReservationStatus::Held | ReservationStatus::Expired => {
            Err(ReservationError::NotHeld(ReservationStatus::Expired))
        }
    }
}

/// Ends a live hold because its driver has arrived. The caller has locked the capacity row and
/// moves the space from held to in use.
pub async fn use_hold(
    tx: &mut PgConnection,
    driver: DriverId,
    id: ReservationId,
    now: Timestamp,
) -> Result<Reservation, ReservationError> {
    if let Some(used) = end_store::end(tx, driver, id, ReservationStatus::Used, now).await? {
        return Ok(used);
    }
    let hold = end_store::find(tx, driver, id).await?.ok_or(ReservationError::NotFound)?;
    Err(ReservationError::NotHeld(match hold.status {
        ReservationStatus::Held => ReservationStatus::Expired,
        ended => ended,
    }))
}

/// Expires the holds whose time is over and shows the freed spaces; gives their number. Run every
/// second by one worker; two at once do no harm.
pub async fn expire_holds(app: &App) -> Result<i64, ReservationError> {
    let mut total = 0_i64;
    for _ in 0..SWEEPS_MAX {
        let now = whole_us(app.now());
        let (changed, expired): (Vec<CapacityRow>, i64) =
            in_tx!(app.db(), "reservations.expire", |tx| {
                end_store::expire(tx, now, SWEEP_MAX).await.map_err(ReservationError::from)
            })?;
        publish(app, &changed).await;
        total = total.saturating_add(expired);
        if expired < SWEEP_MAX {
            break;
        }
    }
    if total > 0 {
        metrics::counter!("reservations_expired_total")
            .increment(u64::try_from(total).unwrap_or(0));
    }
    Ok(total)
}

/// A driver's holds, newest first.
pub async fn list(
    app: &App,
    driver: DriverId,
    status: Option<ReservationStatus>,
    before: Option<Uuid>,
    limit: i64,
) -> Result<Vec<Reservation>, ReservationError> {
    let listed: Result<Vec<Reservation>, DbError> =
        on_conn!(app.db(), |conn| end_store::page(conn, driver, status, before, limit).await);
    Ok(listed?)
}
