//! How holds end, and how they are read: SQL on one hold or a few at a time.

use jiff::Timestamp;
use jiff_sqlx::ToSqlx;
use sqlx::postgres::PgConnection;
use uuid::Uuid;

use super::store::ReservationRecord;
use super::{Reservation, ReservationStatus};
use crate::kernel::ids::{DriverId, LotId, ReservationId, VehicleId};
use crate::kernel::vehicle::VehicleClass;
use crate::lots::capacity::CapacityRow;
use crate::lots::store::CapacityRecord;
use crate::platform::db::DbError;

/// A driver's hold.
pub async fn find(
    conn: &mut PgConnection,
    driver: DriverId,
    id: ReservationId,
) -> Result<Option<Reservation>, DbError> {
    let record = sqlx::query_as!(
        ReservationRecord,
        r#"
        select
            id as "id: ReservationId", lot_id as "lot_id: LotId",
            vehicle_id as "vehicle_id: VehicleId", vehicle_class as "vehicle_class: VehicleClass",
            status as "status: ReservationStatus", created_at, arrive_by, expires_at, ended_at
        from reservations
        where id = $1 and driver_id = $2
        "#,
        id.get(),
        driver.get(),
    )
    .fetch_optional(conn)
    .await?;
    Ok(record.map(ReservationRecord::reservation))
}

/// A driver's holds, newest first, those before `before`.
pub async fn page(
    conn: &mut PgConnection,
    driver: DriverId,
    status: Option<ReservationStatus>,
    before: Option<Uuid>,
    limit: i64,
) -> Result<Vec<Reservation>, DbError> {
    let records = sqlx::query_as!(
        ReservationRecord,
        r#"
        select
            id as "id: ReservationId", lot_id as "lot_id: LotId",
            vehicle_id as "vehicle_id: VehicleId", vehicle_class as "vehicle_class: VehicleClass",
            status as "status: ReservationStatus", created_at, arrive_by, expires_at, ended_at
        from reservations
        where driver_id = $1
            and ($2::text is null or status = $2)
            and ($3::uuid is null or id < $3)
        order by id desc
        limit $4
        "#,
        driver.get(),
        status.map(ReservationStatus::as_str),
        before,
        limit,
    )
    .fetch_all(conn)
    .await?;
    Ok(records.into_iter().map(ReservationRecord::reservation).collect())
}

/// Locks the capacity row of a lot's class. Always taken before the reservation and the session.
pub async fn lock_space(
    tx: &mut PgConnection,
    lot: LotId,
    class: VehicleClass,
) -> Result<Option<CapacityRow>, DbError> {
    let record = sqlx::query_as!(
        CapacityRecord,
        r#"
        select
            lot_id as "lot_id: LotId", vehicle_class as "vehicle_class: VehicleClass", capacity,
            held, in_use, observed, observed_at, version
        from lot_capacity
        where lot_id = $1 and vehicle_class = $2
        for update
        "#,
        lot.get(),
        class.as_str(),
    )
    .fetch_optional(tx)
    .await?;
    Ok(record.map(CapacityRecord::row))
}

/// Adds to the holds and sessions of a capacity row that the caller has locked.
pub async fn change_space(
    tx: &mut PgConnection,
    lot: LotId,
    class: VehicleClass,
    held: i32,
    in_use: i32,
) -> Result<CapacityRow, DbError> {
    let record = sqlx::query_as!(
        CapacityRecord,
        r#"
        update lot_capacity
        set held = held + $3, in_use = in_use + $4, version = version + 1
        where lot_id = $1 and vehicle_class = $2
        returning
            lot_id as "lot_id: LotId", vehicle_class as "vehicle_class: VehicleClass", capacity,
            held, in_use, observed, observed_at, version
        "#,
        lot.get(),
        class.as_str(),
        held,
        in_use,
    )
    .fetch_one(tx)
    .await?;
    Ok(record.row())
}

/// Ends a live hold as `used` or `cancelled`; `None` when it is not live at `now`. The sweep uses
/// the same condition, so only one of them ends the hold.
pub async fn end(
    tx: &mut PgConnection,
    driver: DriverId,
    id: ReservationId,
    status: ReservationStatus,
    now: Timestamp,
) -> Result<Option<Reservation>, DbError> {
    let record = sqlx::query_as!(
        ReservationRecord,
        r#"
        update reservations
        set status = $3, ended_at = $4
        where id = $1 and driver_id = $2 and status = 'held' and expires_at > $4
        returning
            id as "id: ReservationId", lot_id as "lot_id: LotId",
            vehicle_id as "vehicle_id: VehicleId", vehicle_class as "vehicle_class: VehicleClass",
            status as "status: ReservationStatus", created_at, arrive_by, expires_at, ended_at
        "#,
        id.get(),
        driver.get(),
        status.as_str(),
        now.to_sqlx() as _,
    )
    .fetch_optional(tx)
    .await?;
    Ok(record.map(ReservationRecord::reservation))
}

/// Expires up to `limit` holds whose time is over and frees their spaces: locks the capacity rows
/// in order first, then the holds. Holds that somebody else is ending are left alone.
/// Returns the changed rows and how many holds expired.
pub async fn expire(
    tx: &mut PgConnection,
    now: Timestamp,
    limit: i64,
) -> Result<(Vec<CapacityRow>, i64), DbError> {
    let (lots, classes) = lock_due(tx, now, limit).await?;
    if lots.is_empty() {
        return Ok((Vec::new(), 0));
    }
    let rows = sqlx::query!(
        r#"
        with expired as (
            update reservations r
            set status = 'expired', ended_at = $1
            where r.id in (
                select h.id
                from reservations h
                join unnest($3::uuid[], $4::text[]) as s (lot_id, vehicle_class)
                    on s.lot_id = h.lot_id and s.vehicle_class = h.vehicle_class
                where h.status = 'held' and h.expires_at <= $1
                order by h.expires_at
                limit $2
                for update of h skip locked
            )
            returning r.lot_id, r.vehicle_class
        ),
        freed as (
            select lot_id, vehicle_class, count(*)::int as spaces
            from expired
            group by lot_id, vehicle_class
        )
        update lot_capacity c
        set held = c.held - f.spaces, version = c.version + 1
        from freed f
        where c.lot_id = f.lot_id and c.vehicle_class = f.vehicle_class
        returning
            c.lot_id as "lot_id: LotId", c.vehicle_class as "vehicle_class: VehicleClass",
            c.capacity, c.held, c.in_use, c.observed, c.observed_at, c.version,
            f.spaces as "spaces!"
        "#,
        now.to_sqlx() as _,
        limit,
        &lots,
        &classes,
    )
    .fetch_all(tx)
    .await?;
    let expired = rows.iter().map(|row| i64::from(row.spaces)).sum();
    let changed = rows.into_iter().map(|row| {
        let record = CapacityRecord {
            lot_id: row.lot_id,
            vehicle_class: row.vehicle_class,
            capacity: row.capacity,
            held: row.held,
            in_use: row.in_use,
            observed: row.observed,
            observed_at: row.observed_at,
            version: row.version,
        };
        record.row()
    });
    Ok((changed.collect(), expired))
}

/// Locks the capacity rows of holds whose time is over, in order.
async fn lock_due(
    tx: &mut PgConnection,
    now: Timestamp,
    limit: i64,
) -> Result<(Vec<Uuid>, Vec<String>), DbError> {
    let spaces = sqlx::query!(
        r#"
        select c.lot_id, c.vehicle_class
        from (
            select distinct due.lot_id, due.vehicle_class
            from (
                select lot_id, vehicle_class from reservations
                where status = 'held' and expires_at <= $1
                order by expires_at
                limit $2
            ) due
        ) d
        join lot_capacity c on c.lot_id = d.lot_id and c.vehicle_class = d.vehicle_class
        order by c.lot_id, c.vehicle_class
        for update of c
        "#,
        now.to_sqlx() as _,
        limit,
    )
    .fetch_all(tx)
    .await?;
    Ok(spaces.into_iter().map(|row| (row.lot_id, row.vehicle_class)).unzip())
}
