//! Numbers of spaces in Postgres.

use sqlx::postgres::PgConnection;

use super::LotError;
use super::capacity::{CapacityRow, Observed, Snapshot};
use crate::kernel::ids::LotId;
use crate::kernel::vehicle::VehicleClass;
use crate::platform::db::DbError;

/// A row of `lot_capacity` as `query_as!` reads it; every statement that changes such rows
/// returns these columns, so that the change can be shown.
#[derive(Debug)]
pub struct CapacityRecord {
    /// The lot.
    pub lot_id: LotId,
    /// The class.
    pub vehicle_class: VehicleClass,
    /// Spaces in all.
    pub capacity: i32,
    /// Live holds.
    pub held: i32,
    /// Active sessions.
    pub in_use: i32,
    /// The newest reading.
    pub observed: Option<i32>,
    /// Its time.
    pub observed_at: Option<jiff_sqlx::Timestamp>,
    /// Grows by one with every change.
    pub version: i64,
}

impl CapacityRecord {
    /// The row as the rest of the product knows it.
    pub fn row(self) -> CapacityRow {
        let count = |number: i32| u32::try_from(number).unwrap_or(0);
        CapacityRow {
            lot_id: self.lot_id,
            class: self.vehicle_class,
            now: Snapshot {
                capacity: count(self.capacity),
                held: count(self.held),
                in_use: count(self.in_use),
                observed: self
                    .observed
                    .zip(self.observed_at)
                    .map(|(occupied, at)| Observed { occupied: count(occupied), at: at.to_jiff() }),
                version: self.version,
            },
        }
    }
}

fn rows(records: Vec<CapacityRecord>) -> Vec<CapacityRow> {
    records.into_iter().map(CapacityRecord::row).collect()
}

/// The capacities of some lots, by lot and class.
pub async fn capacities(
    conn: &mut PgConnection,
    lots: &[LotId],
) -> Result<Vec<CapacityRow>, DbError> {
    let ids: Vec<uuid::Uuid> = lots.iter().map(|id| id.get()).collect();
    let records = sqlx::query_as!(
        CapacityRecord,
        r#"
        select
            lot_id as "lot_id: LotId", vehicle_class as "vehicle_class: VehicleClass", capacity,
            held, in_use, observed, observed_at, version
        from lot_capacity
        where lot_id = any($1)
        order by lot_id, vehicle_class
        "#,
        &ids,
    )
    .fetch_all(conn)
    .await?;
    Ok(rows(records))
}

/// All capacities by lot, for lots after `after` up to and including `until`.
pub async fn capacities_between(
    conn: &mut PgConnection,
    after: Option<LotId>,
    until: LotId,
) -> Result<Vec<CapacityRow>, DbError> {
    let records = sqlx::query_as!(
        CapacityRecord,
        r#"
        select
            lot_id as "lot_id: LotId", vehicle_class as "vehicle_class: VehicleClass", capacity,
            held, in_use, observed, observed_at, version
        from lot_capacity
        where ($1::uuid is null or lot_id > $1) and lot_id <= $2
        order by lot_id, vehicle_class
        "#,
        after.map(LotId::get),
        until.get(),
    )
    .fetch_all(conn)
    .await?;
    Ok(rows(records))
}

/// Sets the number of spaces of a class. The caller has checked whose lot it is.
pub async fn set_capacity(
    conn: &mut PgConnection,
    lot: LotId,
    class: VehicleClass,
    capacity: i32,
) -> Result<CapacityRow, LotError> {
    let record = sqlx::query_as!(
        CapacityRecord,
        r#"
        insert into lot_capacity as c (lot_id, vehicle_class, capacity)
        values ($1, $2, $3)
        on conflict (lot_id, vehicle_class) do update
        set capacity = excluded.capacity, version = c.version + 1
        returning
            lot_id as "lot_id: LotId", vehicle_class as "vehicle_class: VehicleClass", capacity,
            held, in_use, observed, observed_at, version
        "#,
        lot.get(),
        class.as_str(),
        capacity,
    )
    .fetch_one(conn)
    .await
    .map_err(DbError::from);
    match record {
        Ok(record) => Ok(record.row()),
        Err(error) if error.constraint() == Some("lot_capacity_not_promised_twice") => {
            Err(LotError::CapacityInUse)
        }
        Err(error) => Err(error.into()),
    }
}
