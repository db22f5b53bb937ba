//! Operators' words about their lots: reports of devices, and numbers of spaces.

use std::collections::HashMap;

use jiff::{SignedDuration, Timestamp};

use super::service::Occupancy;
use super::{OccupancyError, RawReading, Taken, check, store};
use crate::kernel::ids::{LotId, OperatorId};
use crate::kernel::vehicle::VehicleClass;
use crate::lots::capacity::CapacityRow;
use crate::lots::{self, LotError};
use crate::platform::App;
use crate::{in_tx, on_conn};

/// Steps of removing old readings in one run.
const PRUNES_MAX: u32 = 100;

/// Takes a report about an operator's lot: all readings or none. Shown before it returns, so that
/// the next search on this server has the new numbers.
pub async fn take(
    occupancy: &Occupancy,
    operator: OperatorId,
    lot: LotId,
    raw: Vec<RawReading>,
) -> Result<Taken, OccupancyError> {
    let app = occupancy.app();
    let now = app.now();
    let (taken, changed) = in_tx!(app.db(), "occupancy.report", |tx| {
        if !lots::store::is_of_operator(tx, operator, lot).await? {
            return Err(OccupancyError::NotFound);
        }
        let capacities: HashMap<VehicleClass, u32> = lots::store::capacities(tx, &[lot])
            .await?
            .into_iter()
            .map(|row| (row.class, row.now.capacity))
            .collect();
        let readings = check(&raw, |class| capacities.get(&class).copied(), now)
            .map_err(OccupancyError::Readings)?;
        Ok(store::record(tx, lot, &readings, now).await?)
    })?;
    for (outcome, count) in
        [("accepted", taken.accepted), ("duplicate", taken.duplicate), ("stale", taken.stale)]
    {
        metrics::counter!("occupancy_readings_total", "outcome" => outcome).increment(count.into());
    }
    occupancy.show(&changed).await;
    Ok(taken)
}

/// Sets the number of spaces of a class at an operator's lot.
pub async fn set_capacity(
    occupancy: &Occupancy,
    operator: OperatorId,
    lot: LotId,
    class: VehicleClass,
    capacity: i32,
) -> Result<CapacityRow, OccupancyError> {
    let app = occupancy.app();
    let row: Result<CapacityRow, OccupancyError> = in_tx!(app.db(), "lots.set_capacity", |tx| {
        if !lots::store::is_of_operator(tx, operator, lot).await? {
            return Err(OccupancyError::NotFound);
        }
        lots::store::set_capacity(tx, lot, class, capacity).await.map_err(|error| match error {
            LotError::CapacityInUse => OccupancyError::CapacityInUse,
            LotError::NotFound | LotError::CodeTaken => OccupancyError::NotFound,
            LotError::Db(error) => OccupancyError::Db(error),
        })
    });
    let row = row?;
    occupancy.show(&[row]).await;
    Ok(row)
}

/// Removes readings older than [`store::KEPT_DAYS`]; gives their number. For the schedule: what is
/// left over after a bounded number of steps goes in the next hour.
pub async fn forget_old_readings(app: &App) -> Result<u64, OccupancyError> {
    let kept = SignedDuration::from_hours(24 * store::KEPT_DAYS);
    let before = app.now().checked_sub(kept).unwrap_or(Timestamp::UNIX_EPOCH);
    let mut total = 0_u64;
    for _ in 0..PRUNES_MAX {
        let pruned: Result<u64, OccupancyError> =
            on_conn!(app.db(), |conn| Ok(store::prune(conn, before).await?));
        let pruned = pruned?;
        total = total.saturating_add(pruned);
        if pruned == 0 {
            break;
        }
    }
    Ok(total)
}
