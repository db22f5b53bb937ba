//! Readings in Postgres: their history, and the newest of each class beside the capacity.

use std::collections::HashSet;

use jiff::Timestamp;
use jiff_sqlx::ToSqlx;
use sqlx::postgres::PgConnection;
use uuid::Uuid;

use super::{Reading, Taken};
use crate::kernel::ids::LotId;
use crate::kernel::vehicle::VehicleClass;
use crate::lots::capacity::CapacityRow;
use crate::lots::store::CapacityRecord;
use crate::platform::db::DbError;

/// Readings kept for this many days.
pub const KEPT_DAYS: i64 = 60;

/// The newest reading of a class as stored.
struct Newest {
    class: VehicleClass,
    rank: Option<(Timestamp, i64, String)>,
}

/// Takes checked readings in, in the order given, and returns the rows that changed.
///
/// The insert comes first: of two deliveries of one report side by side, the second waits there
/// and then finds all of its readings known. Then the capacity rows are locked and each reading
/// is compared with the newest at its turn, so a report counts the same as its readings one by
/// one.
pub async fn record(
    tx: &mut PgConnection,
    lot: LotId,
    readings: &[Reading],
    now: Timestamp,
) -> Result<(Taken, Vec<CapacityRow>), DbError> {
    let mut fresh = insert(tx, lot, readings, now).await?;
    let mut newest = lock_newest(tx, lot).await?;
    let mut taken = Taken::default();
    let mut winners: Vec<&Reading> = Vec::new();
    for reading in readings {
        // A number that stands twice in the report is new only once.
        let key = (reading.device_id.clone(), reading.class, reading.sequence);
        if !fresh.remove(&key) {
            taken.duplicate += 1;
            continue;
        }
        let known = newest.iter_mut().find(|known| known.class == reading.class);
        let Some(known) = known else { continue };
        let older = known
            .rank
            .as_ref()
            .is_some_and(|(at, sequence, device)| reading.rank() <= (*at, *sequence, device));
        if older {
            taken.stale += 1;
            continue;
        }
        taken.accepted += 1;
        known.rank = Some((reading.observed_at, reading.sequence, reading.device_id.clone()));
        winners.retain(|winner| winner.class != reading.class);
        winners.push(reading);
    }
    let rows = if winners.is_empty() { Vec::new() } else { observe(tx, lot, &winners).await? };
    Ok((taken, rows))
}

async fn insert(
    tx: &mut PgConnection,
    lot: LotId,
    readings: &[Reading],
    now: Timestamp,
) -> Result<HashSet<(String, VehicleClass, i64)>, DbError> {
    // In one order for all, so that two reports of a device cannot wait for each other in turn.
    let mut sorted: Vec<&Reading> = readings.iter().collect();
    sorted.sort_by(|a, b| {
        (&a.device_id, a.class.as_str(), a.sequence).cmp(&(
            &b.device_id,
            b.class.as_str(),
            b.sequence,
        ))
    });
    let devices: Vec<String> = sorted.iter().map(|reading| reading.device_id.clone()).collect();
    let classes: Vec<String> =
        sorted.iter().map(|reading| reading.class.as_str().to_owned()).collect();
    let sequences: Vec<i64> = sorted.iter().map(|reading| reading.sequence).collect();
    let occupied: Vec<i32> =
        sorted.iter().map(|reading| i32::try_from(reading.occupied).unwrap_or(i32::MAX)).collect();
    let times: Vec<jiff_sqlx::Timestamp> =
        sorted.iter().map(|reading| reading.observed_at.to_sqlx()).collect();
    let inserted = sqlx::query!(
        r#"
        insert into occupancy_readings
            (lot_id, device_id, vehicle_class, sequence, occupied, observed_at, received_at)
        select $1, r.device_id, r.vehicle_class, r.sequence, r.occupied, r.observed_at, $2
        from unnest($3::text[], $4::text[], $5::bigint[], $6::integer[], $7::timestamptz[])
            as r (device_id, vehicle_class, sequence, occupied, observed_at)
        on conflict do nothing
        returning device_id, vehicle_class as "class: VehicleClass", sequence
        "#,
        lot.get(),
        now.to_sqlx() as _,
        &devices,
        &classes,
        &sequences,
        &occupied,
        &times as _,
    )
    .fetch_all(tx)
    .await?;
    Ok(inserted.into_iter().map(|row| (row.device_id, row.class, row.sequence)).collect())
}

async fn lock_newest(tx: &mut PgConnection, lot: LotId) -> Result<Vec<Newest>, DbError> {
    let rows = sqlx::query!(
        r#"
        select
            vehicle_class as "class: VehicleClass", observed_at, observed_sequence, observed_device
        from lot_capacity
        where lot_id = $1
        order by vehicle_class
        for update
        "#,
        lot.get(),
    )
    .fetch_all(tx)
    .await?;
    let newest = rows.into_iter().map(|row| Newest {
        class: row.class,
        rank: row.observed_at.map(|at| {
            let sequence = row.observed_sequence.unwrap_or(-1);
            (at.to_jiff(), sequence, row.observed_device.unwrap_or_default())
        }),
    });
    Ok(newest.collect())
}

async fn observe(
    tx: &mut PgConnection,
    lot: LotId,
    winners: &[&Reading],
) -> Result<Vec<CapacityRow>, DbError> {
    let devices: Vec<String> = winners.iter().map(|reading| reading.device_id.clone()).collect();
    let classes: Vec<String> =
        winners.iter().map(|reading| reading.class.as_str().to_owned()).collect();
    let sequences: Vec<i64> = winners.iter().map(|reading| reading.sequence).collect();
    let occupied: Vec<i32> =
        winners.iter().map(|reading| i32::try_from(reading.occupied).unwrap_or(i32::MAX)).collect();
    let times: Vec<jiff_sqlx::Timestamp> =
        winners.iter().map(|reading| reading.observed_at.to_sqlx()).collect();
    let records = sqlx::query_as!(
        CapacityRecord,
        r#"
        update lot_capacity c set
            observed = r.occupied,
            observed_at = r.observed_at,
            observed_device = r.device_id,
            observed_sequence = r.sequence,
            version = c.version + 1
        from unnest($2::text[], $3::text[], $4::bigint[], $5::integer[], $6::timestamptz[])
            as r (device_id, vehicle_class, sequence, occupied, observed_at)
        where c.lot_id = $1 and c.vehicle_class = r.vehicle_class
        returning
            c.lot_id as "lot_id: LotId", c.vehicle_class as "vehicle_class: VehicleClass",
            c.capacity, c.held, c.in_use, c.observed, c.observed_at, c.version
        "#,
        lot.get(),
        &devices,
        &classes,
        &sequences,
        &occupied,
        &times as _,
    )
    .fetch_all(tx)
    .await?;
    Ok(records.into_iter().map(CapacityRecord::row).collect())
}

/// Removes readings received before an instant, a bounded number at a time; for the schedule.
pub async fn prune(conn: &mut PgConnection, before: Timestamp) -> Result<u64, DbError> {
    let pruned = sqlx::query!(
        r#"
        delete from occupancy_readings where ctid = any(array(
            select ctid from occupancy_readings where received_at < $1 limit 10000
        ))
        "#,
        before.to_sqlx() as _,
    )
    .execute(conn)
    .await?;
    Ok(pruned.rows_affected())
}

/// The capacities of some lots and classes as they are now.
pub async fn rows_of(
    conn: &mut PgConnection,
    keys: &[(LotId, VehicleClass)],
) -> Result<Vec<CapacityRow>, DbError> {
    let lots: Vec<Uuid> = keys.iter().map(|(lot, _)| lot.get()).collect();
    let classes: Vec<String> = keys.iter().map(|(_, class)| class.as_str().to_owned()).collect();
    let records = sqlx::query_as!(
        CapacityRecord,
        r#"
        select
            c.lot_id as "lot_id: LotId", c.vehicle_class as "vehicle_class: VehicleClass",
            c.capacity, c.held, c.in_use, c.observed, c.observed_at, c.version
        from lot_capacity c
        join unnest($1::uuid[], $2::text[]) as k (lot_id, vehicle_class)
            on k.lot_id = c.lot_id and k.vehicle_class = c.vehicle_class
        "#,
        &lots,
        &classes,
    )
    .fetch_all(conn)
    .await?;
    Ok(records.into_iter().map(CapacityRecord::row).collect())
}
